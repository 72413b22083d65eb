//! Processes several fragments at once, and acknowledges each when it is done: `concurrency [AT_ONCE]`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::time::Duration;

use futures::TryStreamExt;
use kinesis_video::local::{Document, LocalEndpoint, Shape};
use kinesis_video::{Bound, Fragment, KinesisVideo, MemoryCheckpoint, Result, Start};

#[tokio::main]
async fn main() -> Result<()> {
    let at_once = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(4);

    // Eight fragments on this machine. For AWS: `let kvs = KinesisVideo::from_env().await;`
    let endpoint = LocalEndpoint::start().await?;
    let stream = endpoint.create_stream("camera");
    for n in 1..=8 {
        let document = Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"coded frame");
        stream.push(&document.tag("n", &n.to_string()));
    }
    let kvs = KinesisVideo::new(&endpoint.sdk_config());

    // A program would use `FileCheckpoint`.
    let live = kvs.live("camera").start(Start::Earliest).until(Bound::Count(8));
    let (fragments, acks) = live.checkpointed(MemoryCheckpoint::default());
    let acks_ref = &acks;
    fragments
        .map_ok(|fragment| async move {
            let n = process(&fragment).await;
            // Any order will do: the position moves on when all fragments before it are done.
            acks_ref.done(&fragment.position());
            Ok(n)
        })
        // The stream is read only as fast as fragments are done. `try_buffered` would keep the order.
        .try_buffer_unordered(at_once)
        .try_for_each(async |n| {
            println!("fragment {n} is done");
            Ok(())
        })
        .await?;
    if let Some(position) = acks.close().await? {
        println!("the next process resumes after {position}");
    }
    Ok(())
}

/// Stands for your own work. Some fragments take longer than others.
async fn process(fragment: &Fragment) -> u64 {
    let n = fragment.tags().get("n").and_then(|n| n.parse().ok()).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(if n % 4 == 1 { 400 } else { 100 })).await;
    n
}
