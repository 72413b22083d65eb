//! Saves pictures of a stream or a file as JPEG files.
//!
//! Prints a line per picture: path, fragment index, picture index, producer time, width x height.
//!
//! ```text
//! frames_to_jpeg FILE|--stream NAME|ARN [--ratio N | --every MS | --keyframes] [--concurrency N]
//!                [--quality Q] [--max-width W] [--start now|earliest] [--seconds S]
//!                [--idle SECONDS] --out DIR
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use kinesis_video::{
    EncodedFrame, Fragment, FragmentStream, FragmentStreamExt, FrameStreamExt, ImageSink, KinesisVideo, MediaSink,
    Result, Start,
};

use shared::exit_code;

/// Saves pictures of a stream or a file as JPEG files.
#[derive(Parser)]
struct Options {
    /// A payload of GetMedia, or any MKV file.
    #[arg(required_unless_present = "stream", conflicts_with = "stream")]
    file: Option<PathBuf>,
    /// The name or ARN of a stream. AWS_REGION, AWS_PROFILE and AWS_ENDPOINT_URL apply.
    #[arg(long)]
    stream: Option<String>,
    /// Save pictures 0, N, 2N, … of each fragment.
    #[arg(long, group = "sampling")]
    ratio: Option<usize>,
    /// Save the first picture of every interval of this many milliseconds.
    #[arg(long, value_name = "MS", group = "sampling")]
    every: Option<u64>,
    /// Save only key frames.
    #[arg(long, group = "sampling")]
    keyframes: bool,
    /// The number of fragments to decode at once.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// The JPEG quality, from 1 to 100.
    #[arg(long, default_value_t = 80)]
    quality: u8,
    /// The maximum width. Wider pictures are scaled down.
    #[arg(long, default_value_t = u32::MAX)]
    max_width: u32,
    /// The place in the stream to start at.
    #[arg(long, value_enum, default_value_t = From::Now)]
    start: From,
    /// End after this many seconds. Default: at the end of the file, or at Ctrl-C.
    #[arg(long, default_value_t = f64::INFINITY)]
    seconds: f64,
    /// End when no fragment of the stream has arrived for this many seconds.
    #[arg(long)]
    idle: Option<f64>,
    /// Folder for the pictures.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Earliest,
    Now,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    // The progress bar is drawn on a terminal only.
    let progress = ProgressBar::no_length();
    let fragments = source(&options, &progress).await?;
    let bar = progress.clone();
    let fragments =
        fragments.inspect_ok(move |fragment| bar.set_position(fragment.offset() + fragment.raw().len() as u64));

    let mut frames = fragments.take_until(Box::pin(end(options.seconds))).frames().concurrency(options.concurrency);
    if let Some(ratio) = options.ratio {
        frames = frames.sample_ratio(ratio);
    }
    if let Some(millis) = options.every {
        frames = frames.sample_every(Duration::from_millis(millis));
    }
    if options.keyframes {
        frames = frames.keyframes();
    }
    let mut pictures = frames.scale_within(options.max_width, u32::MAX).jpeg(options.quality);

    let mut sink = ImageSink::to_dir(&options.out);
    let result = loop {
        let picture = match pictures.try_next().await {
            Ok(Some(picture)) => picture,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let (info, path) = (picture.info().clone(), sink.path_of(&picture));
        sink.send(picture).await?;
        let time = info.producer_time().map_or_else(|| "-".into(), |time| time.to_string());
        let (fragment, index) = (info.fragment_index(), info.index());
        let line = format!("{}  {fragment}  {index}  {time}  {}x{}", path.display(), info.width(), info.height());
        progress.suspend(|| println!("{line}"));
        progress.set_message(line);
    };
    SinkExt::<EncodedFrame>::close(&mut sink).await?;
    progress.finish_and_clear();
    eprintln!("{}, in {}", MediaSink::<EncodedFrame>::summary(&sink), options.out.display());
    result
}

async fn source(options: &Options, progress: &ProgressBar) -> Result<BoxStream<'static, Result<Fragment>>> {
    let style =
        |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    Ok(match (&options.file, &options.stream) {
        (Some(path), _) => {
            let file = tokio::fs::File::open(path).await?;
            progress.set_length(file.metadata().await?.len());
            progress.set_style(style("{wide_bar} {bytes}/{total_bytes} {eta}"));
            FragmentStream::new(file).boxed()
        }
        (None, stream) => {
            progress.set_style(style("{spinner} {elapsed} {bytes} {bytes_per_sec}"));
            progress.enable_steady_tick(Duration::from_millis(200));
            let start = match options.start {
                From::Earliest => Start::Earliest,
                From::Now => Start::Now,
            };
            let kvs = KinesisVideo::from_env().await;
            let mut live = kvs.live(stream.as_deref().unwrap_or_default()).start(start);
            if let Some(seconds) = options.idle {
                live = live.idle_timeout(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
            }
            live.fragments().boxed()
        }
    })
}

/// Waits for the time limit or Ctrl-C. Fragments that have arrived by then are still processed.
async fn end(seconds: f64) {
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let _ = tokio::time::timeout(limit, tokio::signal::ctrl_c()).await;
}
