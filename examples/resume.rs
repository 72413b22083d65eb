//! Reads a stream in two runs. The second continues where the first stopped: `resume [CHECKPOINT]`.
//!
//! CHECKPOINT is the file that keeps the position.
#![allow(clippy::print_stdout, reason = "a program")]

use std::path::PathBuf;

use futures::TryStreamExt;
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Bound, FileCheckpoint, KinesisVideo, Result, Start};

#[tokio::main]
async fn main() -> Result<()> {
    // A camera on this machine. For AWS: `let kvs = KinesisVideo::from_env().await;`
    let endpoint = LocalEndpoint::start().await?;
    endpoint.loop_media("camera", &include_bytes!("../tests/data/camera.mkv")[..])?;
    let kvs = KinesisVideo::new(&endpoint.sdk_config());

    let default = || std::env::temp_dir().join(format!("camera-{}.checkpoint", std::process::id()));
    let file = std::env::args_os().nth(1).map_or_else(default, PathBuf::from);

    // Each run stands for a process, which may crash at any time.
    for run in 1..=2 {
        // The start matters only until there is a checkpoint.
        let live = kvs.live("camera").start(Start::Earliest).until(Bound::Count(2));
        let (mut fragments, acks) = live.checkpointed(FileCheckpoint::new(&file));
        while let Some(fragment) = fragments.try_next().await? {
            println!("run {run}: {}", fragment.producer_time().unwrap_or_default());
            // Acknowledge what is done. Fragments that are not acknowledged come again after a crash.
            acks.done(&fragment.position());
        }
        // The position is saved in the background. This saves the last one.
        acks.close().await?;
    }
    println!("the position is in {}", file.display());
    Ok(())
}
