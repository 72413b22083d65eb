//! Saves pictures of a stream or a file as JPEG, and prints a line each: path, fragment index, picture
//! index, producer time, width x height.
//!
//! ```text
//! frames_to_jpeg FILE|--stream NAME|ARN [--ratio N | --every MS | --keyframes] [--concurrency N]
//!                [--quality Q] [--max-width W] [--start now|earliest] [--seconds S]
//!                [--idle SECONDS] --out DIR
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use kinesis_video::{
    EncodedFrame, Fragment, FragmentStream, FragmentStreamExt, FrameStreamExt, ImageSink, KinesisVideo, MediaSink,
    Result, Start,
};

/// Saves pictures of a stream or a file as JPEG.
#[derive(Parser)]
struct Options {
    /// A payload or any MKV file.
    #[arg(required_unless_present = "stream", conflicts_with = "stream")]
    file: Option<PathBuf>,
    /// A stream, by name or ARN. Where it is comes from the environment: AWS_REGION, AWS_PROFILE,
    /// AWS_ENDPOINT_URL.
    #[arg(long)]
    stream: Option<String>,
    /// Pictures 0, N, 2N, … of each fragment.
    #[arg(long, group = "sampling")]
    ratio: Option<usize>,
    /// The first picture in every so many milliseconds.
    #[arg(long, value_name = "MS", group = "sampling")]
    every: Option<u64>,
    /// Only pictures that can be decoded without others.
    #[arg(long, group = "sampling")]
    keyframes: bool,
    /// How many fragments are decoded at once.
    #[arg(long, default_value_t = 1)]
    concurrency: usize,
    /// From 1 to 100.
    #[arg(long, default_value_t = 80)]
    quality: u8,
    /// Wider pictures are made smaller.
    #[arg(long, default_value_t = u32::MAX)]
    max_width: u32,
    /// Where in a stream to begin.
    #[arg(long, value_enum, default_value_t = From::Now)]
    start: From,
    /// When to end; otherwise with the file, or when interrupted.
    #[arg(long, default_value_t = f64::INFINITY)]
    seconds: f64,
    /// Also when so many seconds nothing has come of a stream.
    #[arg(long)]
    idle: Option<f64>,
    /// The folder for the pictures.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Earliest,
    Now,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    // Drawn on a terminal only.
    let progress = ProgressBar::no_length();
    let fragments = source(&options, &progress).await?;
    let passed = progress.clone();
    let fragments =
        fragments.inspect_ok(move |fragment| passed.set_position(fragment.offset() + fragment.raw().len() as u64));

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

/// What has begun is still finished then.
async fn end(seconds: f64) {
    let limit = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    let _ = tokio::time::timeout(limit, tokio::signal::ctrl_c()).await;
}
