//! Measures the whole path: local endpoint, loopback, AWS SDK, and fragments.
//!
//! It compares the path with draining the body with the same SDK, and with copying the body into a buffer once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, reason = "a program")]

use std::time::Instant;

use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use kinesis_video::local::{Document, LocalEndpoint, Quotas, Shape, Stamp, fragment_number};
use kinesis_video::{KinesisVideo, Start, Timestamp};

/// The number of reads of a payload, to reach 1 GB in total.
const READS: usize = 8;

fn main() {
    // The endpoint has its own thread, as the service has its own machines.
    let serving = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let quotas = Quotas::default().calls_per_second(None);
    let endpoint = serving.block_on(LocalEndpoint::start_with(0, quotas)).unwrap();
    let reading = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{:<34} {:>10} {:>10} {:>10} {:>14} {:>14}",
        "1 GB over loopback, GB/s", "raw", "copied", "fragments", "of raw", "of copied"
    );
    for (name, shape, blocks, length) in [
        ("video, fragments of 480 KB", Shape::Ffmpeg, 60, 8_000),
        ("Connect, fragments of 36 KB", Shape::Producer, 34, 1024),
    ] {
        let payload = payload(shape, blocks, length);
        let total = (payload.len() * READS) as f64;
        endpoint.serve_payload("bench", payload);
        let speed = |work: &dyn Fn() -> usize| {
            let mut seconds: Vec<f64> = (0..5)
                .map(|_| {
                    let start = Instant::now();
                    let read: usize = (0..READS).map(|_| work()).sum();
                    assert_eq!(read as f64, total);
                    start.elapsed().as_secs_f64()
                })
                .collect();
            seconds.sort_by(f64::total_cmp);
            total / seconds[2] / 1e9
        };
        let raw = speed(&|| reading.block_on(drain(&endpoint, None)));
        let copied = speed(&|| reading.block_on(drain(&endpoint, Some(BytesMut::new()))));
        let fragments = speed(&|| reading.block_on(read(&endpoint)));
        println!(
            "{name:<34} {raw:>10.2} {copied:>10.2} {fragments:>10.2} {:>14.2} {:>14.2}",
            fragments / raw,
            fragments / copied
        );
    }
}

fn payload(shape: Shape, blocks: i16, length: usize) -> Bytes {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let document =
        (0..blocks).fold(Document::new(shape).video_track(1), |d, i| d.block(1, i * 33, i == 0, &vec![7; length]));
    let mut payload = BytesMut::new();
    let mut ordinal = 0;
    while payload.len() < 128 << 20 {
        ordinal += 1;
        let stamp = Stamp { number: fragment_number(ordinal, 1), server_time: time, producer_time: time };
        payload.extend_from_slice(&document.to_bytes(&stamp, 0));
    }
    payload.freeze()
}

/// Reads the body to its end. With a buffer, also copies it in pieces of a fragment's size.
async fn drain(endpoint: &LocalEndpoint, mut copy: Option<BytesMut>) -> usize {
    let media = aws_sdk_kinesisvideomedia::Client::new(&endpoint.sdk_config());
    let selector = StartSelector::builder().start_selector_type(StartSelectorType::Earliest).build().unwrap();
    let mut body = media.get_media().stream_name("bench").start_selector(selector).send().await.unwrap().payload;
    let mut read = 0;
    while let Some(chunk) = body.try_next().await.unwrap() {
        read += chunk.len();
        if let Some(buffer) = &mut copy {
            buffer.extend_from_slice(&chunk);
            if buffer.len() >= 480_000 {
                drop(buffer.split().freeze());
            }
        }
    }
    read
}

async fn read(endpoint: &LocalEndpoint) -> usize {
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let fragments = kvs.live("bench").start(Start::Earliest).reconnect(false).fragments();
    fragments.try_fold(0, async |read, fragment| Ok(read + fragment.raw().len())).await.unwrap()
}
