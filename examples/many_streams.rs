//! Reads several streams at once: `many_streams [STREAM...]`. The failure of one does not end the others.
#![allow(clippy::print_stdout, reason = "a program")]

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Bound, Fragment, KinesisVideo, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<()> {
    // Two cameras on this machine, and one that is not there. For AWS: `KinesisVideo::from_env().await`.
    let endpoint = LocalEndpoint::start().await?;
    for name in ["door", "hall"] {
        endpoint.loop_media(name, &include_bytes!("../tests/data/camera.mkv")[..])?;
    }
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = ["door", "attic", "hall"].map(Into::into).to_vec();
    }

    // A task per stream, not a thread. All share the connections of `kvs`.
    let mut tasks = JoinSet::new();
    // At most two fragments are processed at once, whatever the number of streams.
    let work = Arc::new(Semaphore::new(2));
    for name in names {
        let (kvs, work) = (kvs.clone(), Arc::clone(&work));
        tasks.spawn(async move {
            let result = read(&kvs, &name, &work).await;
            (name, result)
        });
    }
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((name, Ok(fragments))) => println!("{name}: {fragments} fragments"),
            Ok((name, Err(error))) => println!("{name}: {error}"),
            Err(panic) => println!("a task ended: {panic}"),
        }
    }
    Ok(())
}

async fn read(kvs: &KinesisVideo, name: &str, work: &Semaphore) -> Result<u64> {
    let (mut fragments, mut count) = (kvs.live(name).until(Bound::Count(3)).fragments(), 0);
    while let Some(fragment) = fragments.try_next().await? {
        // Who waits here delays only this stream. The semaphore is never closed.
        let _permit = work.acquire().await;
        process(&fragment).await;
        count += 1;
    }
    Ok(count)
}

/// Stands for your own work, such as the analysis of a picture.
async fn process(_: &Fragment) {
    tokio::time::sleep(Duration::from_millis(50)).await;
}
