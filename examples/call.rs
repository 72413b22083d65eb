//! Saves an Amazon Connect conversation as a stereo WAV file: `call [FILE]`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::path::PathBuf;
use std::time::Duration;

use kinesis_video::local::{ConnectCall, LocalEndpoint};
use kinesis_video::{AudioStreamExt, FragmentStreamExt, KinesisVideo, RecordExt, Result, Start, WavSink};

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::args_os().nth(1).map_or_else(|| "call.wav".into(), PathBuf::from);

    // A conversation of three seconds on this machine. For AWS: `let kvs = KinesisVideo::from_env().await;`
    let endpoint = LocalEndpoint::start().await?;
    endpoint.play_call("calls", &ConnectCall::new("contact-1").duration(Duration::from_secs(3)));
    let kvs = KinesisVideo::new(&endpoint.sdk_config());

    // A stream carries one contact after the other, and says nothing at the end of the last.
    let live = kvs.live("calls").start(Start::Earliest).idle_timeout(Duration::from_secs(2));
    let summary = live
        .fragments()
        .connect_audio()
        .contact("contact-1")
        // The customer on the left, what the customer hears on the right. Holes are filled with silence.
        .stereo()
        // The file can be played while it grows, and after a crash.
        .record(WavSink::create(&file))
        .await?;
    println!("{summary}, in {}", file.display());
    Ok(())
}
