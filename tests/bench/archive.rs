//! Speed and CPU time of `kvs.archive()`, compared with downloading the same bytes raw.
//!
//! The raw download uses the same SDK, the same number of calls, and as many calls at a time. The endpoint is a
//! process of its own, so only the reader is measured.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, reason = "a program")]

use std::io::{BufRead, BufReader};
use std::ops::RangeInclusive;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::config::{
    Credentials, SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use futures::{StreamExt, TryStreamExt, stream};
use kinesis_video::local::{Document, LocalEndpoint, Quotas, Shape, Stamp, fragment_number};
use kinesis_video::{KinesisVideo, Timestamp};

/// The number of measurements. The median counts.
const ROUNDS: usize = 5;

/// The start of the first fragment of each stream.
const BEGIN: i64 = 1_700_000_000_000;

/// A stream of fragments of 1 s, each with `blocks` blocks of `length` bytes.
struct Media {
    name: &'static str,
    shape: Shape,
    fragments: u32,
    blocks: i16,
    length: usize,
}

const MEDIA: [Media; 2] = [
    Media { name: "video, 1 GB in 1 MB", shape: Shape::Ffmpeg, fragments: 1000, blocks: 30, length: 33_333 },
    Media { name: "Connect, 200 MB in 36 KB", shape: Shape::Producer, fragments: 5556, blocks: 34, length: 1024 },
];

impl Media {
    fn stamps(&self) -> impl Iterator<Item = Stamp> {
        (0..self.fragments).map(|n| {
            let time = Timestamp::from_millis(BEGIN + i64::from(n) * 1000);
            Stamp { number: fragment_number(n + 1, time.as_millis() as u64), server_time: time, producer_time: time }
        })
    }

    fn range(&self) -> RangeInclusive<Timestamp> {
        Timestamp::from_millis(BEGIN)..=Timestamp::from_millis(BEGIN + i64::from(self.fragments) * 1000)
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "endpoint") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        return runtime.block_on(endpoint());
    }
    let other = Other::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!(
        "{:<26} {:>11} {:>6} {:>10} {:>10} {:>8} {:>12}",
        "archive over loopback", "connections", "calls", "raw, GB/s", "ours, GB/s", "of raw", "CPU of raw"
    );
    for media in &MEDIA {
        for connections in 1..=5 {
            // The first run is not measured. It sets the number of calls of the raw download.
            let (bytes, calls) = runtime.block_on(read(&other.config(), media, connections));
            let batch = media.fragments.div_ceil(calls as u32) as usize;
            let (mut raw, mut ours) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                raw.push(timed(|| {
                    assert_eq!(runtime.block_on(drain(&other.config(), media, connections, batch)), bytes);
                }));
                ours.push(timed(|| assert_eq!(runtime.block_on(read(&other.config(), media, connections)).0, bytes)));
            }
            let ((raw, raw_cpu), (ours, ours_cpu)) = (median(&raw), median(&ours));
            println!(
                "{:<26} {connections:>11} {calls:>6} {:>10.2} {:>10.2} {:>8.2} {:>12.2}",
                media.name,
                bytes as f64 / raw / 1e9,
                bytes as f64 / ours / 1e9,
                raw / ours,
                ours_cpu / raw_cpu,
            );
        }
    }
}

/// Returns the elapsed time and the CPU time of this thread, in seconds.
fn timed(work: impl FnOnce()) -> (f64, f64) {
    let (start, computed) = (Instant::now(), computed());
    work();
    (start.elapsed().as_secs_f64(), self::computed() - computed)
}

fn computed() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn median(rounds: &[(f64, f64)]) -> (f64, f64) {
    let of = |values: &mut dyn Iterator<Item = f64>| {
        let mut values: Vec<_> = values.collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (of(&mut rounds.iter().map(|round| round.0)), of(&mut rounds.iter().map(|round| round.1)))
}

/// Reads the range as fragments. Returns the number of bytes and of calls.
async fn read(config: &SdkConfig, media: &Media, connections: usize) -> (usize, u64) {
    let kvs = KinesisVideo::new(config);
    let archive = kvs.archive(media.name).range(media.range());
    let archive = archive.connections(connections).points_per_second(1_000_000).fragments();
    let progress = archive.progress();
    let bytes = archive.try_fold(0, async |bytes, fragment| Ok(bytes + fragment.raw().len())).await.unwrap();
    assert_eq!(progress.borrow().fragments, u64::from(media.fragments));
    (bytes, progress.borrow().calls)
}

/// Downloads the same bytes raw, in calls of `batch` fragments.
async fn drain(config: &SdkConfig, media: &Media, connections: usize, batch: usize) -> usize {
    let archived = Client::new(config);
    let numbers: Vec<String> = media.stamps().map(|stamp| stamp.number.to_string()).collect();
    let calls = numbers.chunks(batch).map(async |numbers| {
        let call = archived.get_media_for_fragment_list().stream_name(media.name);
        let mut body = call.set_fragments(Some(numbers.to_vec())).send().await.unwrap().payload;
        let mut bytes = 0;
        while let Some(chunk) = body.try_next().await.unwrap() {
            bytes += chunk.len();
        }
        bytes
    });
    stream::iter(calls).buffer_unordered(connections).fold(0, async |sum, bytes| sum + bytes).await
}

/// Runs the endpoint in the other process: prints its URL and serves until it is killed.
async fn endpoint() {
    let quotas = Quotas::default().calls_per_second(None).metadata_points(None).media_points(None);
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    for media in &MEDIA {
        let stream = endpoint.create_stream(media.name);
        // The oldest fragment must not expire during the run.
        stream.set_retention(Duration::from_secs(100 * 365 * 86_400));
        let payload = vec![7; media.length];
        let document = (0..media.blocks)
            .fold(Document::new(media.shape).video_track(1), |document, i| document.block(1, i * 29, i == 0, &payload));
        media.stamps().for_each(|stamp| stream.push_stamped(&document, stamp));
    }
    println!("{}", endpoint.url());
    std::future::pending::<()>().await;
}

/// The process of the endpoint, and its URL.
struct Other(Child, String);

impl Other {
    fn start() -> Self {
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program).arg("endpoint").stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self(child, url.trim().to_owned())
    }

    /// Returns a configuration with connections of its own.
    fn config(&self) -> SdkConfig {
        let credentials = Credentials::new("local", "local", None, None, "bench");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-west-2"))
            .endpoint_url(&self.1)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
