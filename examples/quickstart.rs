//! Reads a live stream, prints a line per fragment and saves each fragment as an MKV file.
//!
//! ```text
//! quickstart [--seconds S] [--out DIR]                    reads a test stream of a local endpoint
//! quickstart --file FILE [--out DIR]                      reads a payload file through a local endpoint
//! quickstart --stream NAME|ARN [--region R] [--profile P] reads a stream in AWS
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use clap::Parser;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Error, Fragment, KinesisVideo, MkvSink, RecordExt, Result, Start};

use shared::exit_code;

/// Reads a live stream, prints a line per fragment and saves each fragment as an MKV file.
#[derive(Parser)]
struct Options {
    /// The name or ARN of a stream in AWS. Without it, a local endpoint plays a test stream.
    #[arg(long, conflicts_with = "file")]
    stream: Option<String>,
    /// A payload file that the local endpoint serves instead of the test stream.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The AWS region. Default: from the environment.
    #[arg(long, requires = "stream")]
    region: Option<String>,
    /// The AWS profile. Default: from the environment.
    #[arg(long, requires = "stream")]
    profile: Option<String>,
    /// The number of seconds to read.
    #[arg(long, default_value_t = 6.5)]
    seconds: f64,
    /// The folder for the fragments.
    #[arg(long, default_value = "out")]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    match (&options.stream, &options.file) {
        (Some(stream), _) => consume(&aws(&options).await, stream, Start::Now, &options).await,
        (None, Some(file)) => {
            let endpoint = LocalEndpoint::start().await?;
            endpoint.serve_file("file", file).await?;
            consume(&endpoint.sdk_config(), "file", Start::Earliest, &options).await
        }
        (None, None) => {
            let endpoint = LocalEndpoint::start().await?;
            endpoint.loop_media("camera", &include_bytes!("../tests/data/camera.mkv")[..])?;
            consume(&endpoint.sdk_config(), "camera", Start::Now, &options).await
        }
    }
}

/// Reads, prints and saves. A program needs no more than this.
async fn consume(config: &SdkConfig, stream: &str, start: Start, options: &Options) -> Result<()> {
    let seconds = Duration::try_from_secs_f64(options.seconds).unwrap_or(Duration::MAX);
    let kvs = KinesisVideo::new(config);
    println!("{HEADING}");
    let summary = kvs
        .live(stream)
        .start(start)
        // A file ends; a camera does not end.
        .reconnect(options.file.is_none())
        .fragments()
        .inspect_ok(print_row)
        .take_until(tokio::time::sleep(seconds))
        .record(MkvSink::to_dir(&options.out))
        .await
        .inspect_err(report_recorded)?;
    println!("{summary}, in {}", options.out.display());
    Ok(())
}

fn report_recorded(error: &Error) {
    if let Some(summary) = error.summary() {
        eprintln!("recorded before the error: {summary}");
    }
}

const HEADING: &str = "\
fragment                                         producer time              behind  tracks         packets  key    bytes  tags";

fn print_row(fragment: &Fragment) {
    let number = fragment.number().map_or_else(|| "-".into(), ToString::to_string);
    let time = fragment.producer_time().map_or_else(|| "-".into(), |time| time.to_string());
    let behind = fragment.behind_now().map_or_else(|| "-".into(), |behind| format!("{:.1} s", behind.as_secs_f64()));
    let tracks: Vec<_> =
        fragment.tracks().iter().map(|track| track.codec_id().rsplit('/').next().unwrap_or("")).collect();
    let packets = fragment.packets().count();
    let keys = fragment.packets().filter(kinesis_video::Packet::is_key).count();
    let tags: Vec<_> =
        fragment.tags().iter().filter(|tag| tag.track_uid().is_none()).map(|tag| format!("{tag:?}")).collect();
    let (tracks, bytes, tags) = (tracks.join("+"), fragment.raw().len(), tags.join(" "));
    println!("{number:<47}  {time:<24}  {behind:>7}  {tracks:<13}  {packets:>7}  {keys:>3}  {bytes:>7}  {tags}");
}

async fn aws(options: &Options) -> SdkConfig {
    let mut config = aws_config::defaults(BehaviorVersion::latest());
    if let Some(region) = &options.region {
        config = config.region(Region::new(region.clone()));
    }
    if let Some(profile) = &options.profile {
        config = config.profile_name(profile);
    }
    config.load().await
}
