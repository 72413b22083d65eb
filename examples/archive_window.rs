//! Reads a time range of a stream's archive: as files, pictures, a list, a URL for a player, or clips.
//!
//! ```text
//! archive_window --stream NAME|ARN --start T [--end T] [--by server|producer]
//!                (--mkv DIR | --jpeg DIR [--ratio N] | --list | --hls | --clip FILE) [--skip]
//! ```
//!
//! A time is one of:
//!
//! | time | example |
//! |---|---|
//! | now | `now` |
//! | a duration before now | `10m ago` |
//! | a date, or date and time, in the time zone of this machine | `2026-11-21 10:00` |
//! | a date and time with its time zone | `2026-11-21T10:00:00Z` |
//! | seconds since 1970 | `1795255200` |
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use kinesis_video::{
    ArchiveFragments, ArchiveProgress, Clock, Discontinuity, Fragment, FragmentStreamExt, FrameStreamExt, ImageSink,
    KinesisVideo, MkvSink, OnUnavailable, Order, RecordExt, Result, Timestamp,
};
use tokio::sync::watch;

use shared::exit_code;

/// Reads a time range of a stream's archive.
#[derive(Parser)]
struct Options {
    /// The name or ARN of a stream. AWS_REGION, AWS_PROFILE and AWS_ENDPOINT_URL apply.
    #[arg(long)]
    stream: String,
    /// The start of the range: "10m ago", "2026-11-21 10:00", seconds since 1970, ...
    #[arg(long, value_parser = time)]
    start: Timestamp,
    /// The end of the range.
    #[arg(long, value_parser = time, default_value = "now")]
    end: Timestamp,
    /// The clock of the range.
    #[arg(long, value_enum, default_value_t = By::Server)]
    by: By,
    #[command(flatten)]
    output: OutputOptions,
    /// With --jpeg: save pictures 0, N, 2N, … of each fragment.
    #[arg(long, default_value_t = 1)]
    ratio: usize,
    /// Skip fragments that are unavailable, instead of failing.
    #[arg(long)]
    skip: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct OutputOptions {
    /// Save each fragment as a file in this folder.
    #[arg(long, value_name = "DIR")]
    mkv: Option<PathBuf>,
    /// Save pictures as JPEG files in this folder.
    #[arg(long, value_name = "DIR")]
    jpeg: Option<PathBuf>,
    /// Print a line per fragment: number, server time, producer time, duration, bytes.
    #[arg(long)]
    list: bool,
    /// Print a URL for a player. Keep it secret: it gives access to the video.
    #[arg(long)]
    hls: bool,
    /// Save as MP4. A range that needs several clips is saved as FILE, FILE-2, FILE-3, ...
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Producer,
    Server,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let kvs = KinesisVideo::from_env().await;
    let clock = match options.by {
        By::Producer => Clock::Producer,
        By::Server => Clock::Server,
    };
    let (stream, range) = (&options.stream, options.start..=options.end);
    let archive = || {
        let archive = kvs.archive(stream).range(range.clone()).clock(clock).order(Order::Time);
        archive.on_unavailable(if options.skip { OnUnavailable::Skip } else { OnUnavailable::Fail }).fragments()
    };
    if options.output.list {
        return list(&kvs, stream, range, clock).await;
    }
    if options.output.hls {
        let url = kvs.hls(stream).on_demand(range).clock(clock).url().await?;
        println!("{}", url.as_str());
        eprintln!("valid until {}", url.expires());
        return Ok(());
    }
    if let Some(file) = &options.output.clip {
        return clips(&kvs, stream, range, clock, file).await;
    }
    let Window { fragments, report } = Window::new(archive());
    let (recorded, dir) = match (options.output.mkv, options.output.jpeg) {
        (Some(dir), _) => (fragments.record(MkvSink::to_dir(&dir)).await, dir),
        (None, dir) => {
            let dir = dir.unwrap_or_default();
            let pictures = fragments.frames().sample_ratio(options.ratio).concurrency(2).jpeg(85);
            (pictures.record(ImageSink::to_dir(&dir)).await, dir)
        }
    };
    // Print the summary of the fragments even after an error.
    let _ = report.await;
    eprintln!("{}, in {}", recorded?, dir.display());
    Ok(())
}

async fn list(kvs: &KinesisVideo, stream: &str, range: RangeInclusive<Timestamp>, clock: Clock) -> Result<()> {
    let mut list = kvs.list_fragments(stream).range(range).clock(clock).order(Order::Time).entries();
    let (mut fragments, mut bytes) = (0u64, 0);
    while let Some(info) = list.try_next().await? {
        let time = |time: Option<Timestamp>| time.map_or_else(|| "-".into(), |time| time.to_string());
        let (server, producer, millis) = (time(info.server_time()), time(info.producer_time()), info.duration());
        println!("{}  {server}  {producer}  {} ms  {} bytes", info.number(), millis.as_millis(), info.bytes());
        (fragments, bytes) = (fragments + 1, bytes + info.bytes());
    }
    eprintln!("{fragments} fragments, {}", HumanBytes(bytes));
    Ok(())
}

async fn clips(
    kvs: &KinesisVideo,
    stream: &str,
    range: RangeInclusive<Timestamp>,
    clock: Clock,
    file: &Path,
) -> Result<()> {
    let mut clips = kvs.clips(stream).range(range).clock(clock).clips();
    for n in 1.. {
        let Some(clip) = clips.try_next().await? else {
            if n == 1 {
                eprintln!("the archive has no fragments in that range");
            }
            break;
        };
        let path = numbered(file, n);
        let (range, fragments) = (clip.range(), clip.fragments().len());
        for info in clip.left_out() {
            eprintln!("fragment {} is not in a clip: another fragment has the same time", info.number());
        }
        let bytes = clip.write_to(&path).await?;
        let (start, end) = (range.start(), range.end());
        println!("{}  {start}  {end}  {fragments} fragments  {}", path.display(), HumanBytes(bytes));
    }
    Ok(())
}

/// Returns `FILE` for the first clip, then `FILE-2` and so on. The number is before the extension.
fn numbered(file: &Path, n: u32) -> PathBuf {
    if n == 1 {
        return file.to_owned();
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let extension = file.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    file.with_file_name(format!("{stem}-{n}{extension}"))
}

/// Fragments whose progress is shown: as a bar on a terminal, and as a summary at the end.
struct Window {
    fragments: BoxStream<'static, Result<Fragment>>,
    /// The task that shows the progress. It ends when the fragments end.
    report: tokio::task::JoinHandle<()>,
}

impl Window {
    fn new(archive: ArchiveFragments) -> Self {
        let progress = archive.progress();
        let (sender, mut messages) = tokio::sync::mpsc::unbounded_channel::<String>();
        let fragments = archive.inspect_ok(move |fragment| {
            for discontinuity in fragment.discontinuities().iter().filter(|found| is_worth_reporting(found)) {
                let time = fragment.producer_time().map_or_else(|| "-".into(), |time| time.to_string());
                let _ = sender.send(format!("{time}: {discontinuity}"));
            }
        });
        let report = tokio::spawn(async move {
            let (start, bar) = (Instant::now(), bar());
            let mut discontinuities = Vec::new();
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tokio::select! {
                    message = messages.recv() => match message {
                        Some(message) => discontinuities.push(message),
                        None => break,
                    },
                    _ = tick.tick() => show(&bar, &progress),
                }
            }
            bar.finish_and_clear();
            summary(&progress.borrow(), start.elapsed(), &discontinuities);
        });
        Self { fragments: fragments.boxed(), report }
    }
}

fn is_worth_reporting(found: &Discontinuity) -> bool {
    found.is_loss() || matches!(found, Discontinuity::TimelineReset { .. } | Discontinuity::TracksChanged { .. })
}

/// Returns a progress bar, which is drawn on a terminal only.
fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {msg} {eta}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(bar: &ProgressBar, progress: &watch::Receiver<ArchiveProgress>) {
    let progress = progress.borrow();
    if let (Some(bytes), Some(fragments)) = (progress.total_bytes, progress.total_fragments) {
        bar.set_length(bytes);
        bar.set_position(progress.bytes);
        bar.set_message(format!("{}/{fragments} fragments", progress.fragments));
    }
}

fn summary(progress: &ArchiveProgress, took: Duration, discontinuities: &[String]) {
    let per_second = progress.received_bytes as f64 / took.as_secs_f64().max(0.001);
    eprintln!(
        "{} of {} fragments, {} received in {} calls and {}: {}/s",
        progress.fragments,
        progress.total_fragments.unwrap_or(0),
        HumanBytes(progress.received_bytes),
        progress.calls,
        HumanDuration(took),
        HumanBytes(per_second as u64),
    );
    let count = discontinuities.len();
    eprintln!("{count} gaps and other discontinuities, {} fragments unavailable", progress.unavailable);
    discontinuities.iter().for_each(|message| eprintln!("  {message}"));
}

/// Parses a time as people write it.
fn time(text: &str) -> std::result::Result<Timestamp, String> {
    use jiff::civil::DateTime;
    use jiff::{Span, Zoned};

    let text = text.trim();
    let now = Zoned::now();
    let zoned = if text == "now" {
        Ok(now)
    } else if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    } else if let Ok(time) = text.parse::<jiff::Timestamp>() {
        Ok(time.to_zoned(now.time_zone().clone()))
    } else if text.ends_with("ago") {
        text.parse::<Span>().and_then(|span| now.checked_add(span))
    } else {
        text.parse::<DateTime>().and_then(|time| time.to_zoned(now.time_zone().clone()))
    };
    let zoned = zoned
        .map_err(|error| format!("{text:?} is not a time such as \"10m ago\" or \"2026-11-21 10:00\": {error}"))?;
    Ok(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}
