//! Reads a live stream and prints three fragments: `quickstart [STREAM]`.
//!
//! STREAM is the name or ARN of a stream in AWS. Without it, a test camera on this machine is read.
#![allow(clippy::print_stdout, reason = "a program")]

use futures::TryStreamExt;
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Bound, KinesisVideo, Result};

#[tokio::main]
async fn main() -> Result<()> {
    // A camera for those who have no stream in AWS: it plays a file in a loop.
    let endpoint = LocalEndpoint::start().await?;
    endpoint.loop_media("camera", &include_bytes!("../tests/data/camera.mkv")[..])?;

    let (kvs, stream) = match std::env::args().nth(1) {
        Some(stream) => (KinesisVideo::from_env().await, stream),
        None => (KinesisVideo::new(&endpoint.sdk_config()), "camera".into()),
    };

    // A live stream never ends by itself: it reconnects, and resumes without loss. The bound ends it.
    let mut fragments = kvs.live(stream).until(Bound::Count(3)).fragments();
    while let Some(fragment) = fragments.try_next().await? {
        let time = fragment.producer_time().unwrap_or_default();
        println!("{time}: {} packets, {} bytes", fragment.packets().count(), fragment.raw().len());
        for track in fragment.tracks().iter() {
            println!("  track {}: {}", track.number(), track.codec_id());
        }
    }
    Ok(())
}
