//! Reads a stored range, in order, each fragment once: `archive [SECONDS]`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Clock, KinesisVideo, Order, Result, Timestamp};

#[tokio::main]
async fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(3);

    // A camera on this machine films for some seconds. For AWS: `let kvs = KinesisVideo::from_env().await;`
    let endpoint = LocalEndpoint::start().await?;
    endpoint.loop_media("camera", &include_bytes!("../tests/data/camera.mkv")[..])?;
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    tokio::time::sleep(Duration::from_secs(seconds)).await;

    // Several calls run at once, and what is missing is requested again. The fragments still come in order.
    let end = Timestamp::from(SystemTime::now());
    let start = Timestamp::from_millis(end.as_millis() - 60_000);
    let mut fragments = kvs.archive("camera").range(start..=end).clock(Clock::Server).order(Order::Time).fragments();
    let progress = fragments.progress();
    while let Some(fragment) = fragments.try_next().await? {
        // A gap is no error. It is told by the fragment after it.
        for discontinuity in fragment.discontinuities() {
            println!("-- {discontinuity}");
        }
        println!("{}: {} packets", fragment.server_time().unwrap_or_default(), fragment.packets().count());
    }
    let progress = progress.borrow();
    println!("{} fragments, {} bytes, {} calls", progress.fragments, progress.bytes, progress.calls);
    Ok(())
}
