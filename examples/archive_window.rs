//! A window of what is stored of a stream: as files, as pictures, as a list, as a URL to play, or as a clip.
//!
//! ```text
//! archive_window --stream NAME|ARN --start T [--end T] [--by server|producer]
//!                (--mkv DIR | --jpeg DIR [--ratio N] | --list | --hls | --clip FILE) [--skip]
//! ```
//!
//! A time is "now", a span such as "10m ago", a date with or without a time of day ("2026-11-21 10:00", in the
//! time zone of this machine; "2026-11-21T10:00:00Z"), or seconds since 1970.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};
use kinesis_video::{
    Archive, ArchiveProgress, Clock, Discontinuity, Fragment, FragmentStreamExt, FrameStreamExt, ImageSink,
    KinesisVideo, MkvSink, Order, RecordExt, Result, Timestamp, Unavailable,
};
use tokio::sync::watch;

/// A window of what is stored of a stream.
#[derive(Parser)]
struct Options {
    /// A stream, by name or ARN. Where it is comes from the environment: AWS_REGION, AWS_PROFILE,
    /// AWS_ENDPOINT_URL.
    #[arg(long)]
    stream: String,
    /// When it begins: "10m ago", "2026-11-21 10:00", seconds since 1970, ...
    #[arg(long, value_parser = time)]
    start: Timestamp,
    /// When it ends.
    #[arg(long, value_parser = time, default_value = "now")]
    end: Timestamp,
    /// Whose clock that is.
    #[arg(long, value_enum, default_value_t = By::Server)]
    by: By,
    #[command(flatten)]
    what: What,
    /// With --jpeg: pictures 0, N, 2N, … of each fragment.
    #[arg(long, default_value_t = 1)]
    ratio: usize,
    /// Go on behind fragments that cannot be had.
    #[arg(long)]
    skip: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Save each fragment as a file in this folder.
    #[arg(long, value_name = "DIR")]
    mkv: Option<PathBuf>,
    /// Save pictures in this folder.
    #[arg(long, value_name = "DIR")]
    jpeg: Option<PathBuf>,
    /// Print a line a fragment: number, server time, producer time, milliseconds, bytes.
    #[arg(long)]
    list: bool,
    /// Print a URL for a player; it is as good as a password.
    #[arg(long)]
    hls: bool,
    /// Save as MP4; what does not fit into one clip in FILE-2, FILE-3, ...
    #[arg(long, value_name = "FILE")]
    clip: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    Producer,
    Server,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let kvs = KinesisVideo::from_env().await;
    let clock = match options.by {
        By::Producer => Clock::Producer,
        By::Server => Clock::Server,
    };
    let (stream, range) = (&options.stream, options.start..=options.end);
    let archive = || {
        let archive = kvs.archive(stream).range(range.clone()).by(clock).order(Order::Time);
        archive.when_unavailable(if options.skip { Unavailable::Skip } else { Unavailable::Fail })
    };
    if options.what.list {
        return list(&kvs, stream, range, clock).await;
    }
    if options.what.hls {
        let url = kvs.hls(stream).on_demand(range).by(clock).url().await?;
        println!("{}", url.as_str());
        eprintln!("good until {}", url.expires());
        return Ok(());
    }
    if let Some(file) = &options.what.clip {
        return clips(&kvs, stream, range, clock, file).await;
    }
    let Window { fragments, report } = Window::new(archive());
    let (recorded, dir) = match (options.what.mkv, options.what.jpeg) {
        (Some(dir), _) => (fragments.record(MkvSink::to_dir(&dir)).await, dir),
        (None, dir) => {
            let dir = dir.unwrap_or_default();
            let pictures = fragments.frames().sample_ratio(options.ratio).concurrency(2).jpeg(85);
            (pictures.record(ImageSink::to_dir(&dir)).await, dir)
        }
    };
    // What came is summed up, also if something went wrong then.
    let _ = report.await;
    eprintln!("{}, in {}", recorded?, dir.display());
    Ok(())
}

async fn list(kvs: &KinesisVideo, stream: &str, range: RangeInclusive<Timestamp>, clock: Clock) -> Result<()> {
    let mut list = kvs.list_fragments(stream).range(range).by(clock).sorted(Order::Time);
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
    let mut clips = kvs.clips(stream).range(range).by(clock);
    for n in 1.. {
        let Some(clip) = clips.try_next().await? else {
            if n == 1 {
                eprintln!("nothing is stored of that time");
            }
            break;
        };
        let path = numbered(file, n);
        let (range, fragments) = (clip.range(), clip.fragments().len());
        for info in clip.left_out() {
            eprintln!("fragment {} is not in a clip: its time was sent more than once", info.number());
        }
        let bytes = clip.write_to(&path).await?;
        let (start, end) = (range.start(), range.end());
        println!("{}  {start}  {end}  {fragments} fragments  {}", path.display(), HumanBytes(bytes));
    }
    Ok(())
}

/// `FILE`, then `FILE-2` and so on, in front of the extension.
fn numbered(file: &Path, n: u32) -> PathBuf {
    if n == 1 {
        return file.to_owned();
    }
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let extension = file.extension().map(|extension| format!(".{}", extension.to_string_lossy())).unwrap_or_default();
    file.with_file_name(format!("{stem}-{n}{extension}"))
}

/// Fragments that are shown as they come: on a terminal as a bar, and in the end as a summary.
struct Window {
    fragments: BoxStream<'static, Result<Fragment>>,
    /// Ends when the fragments do.
    report: tokio::task::JoinHandle<()>,
}

impl Window {
    fn new(archive: Archive) -> Self {
        let progress = archive.progress();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<String>();
        let fragments = archive.inspect_ok(move |fragment| {
            for what in fragment.discontinuities().iter().filter(|what| is_worth_telling(what)) {
                let time = fragment.producer_time().map_or_else(|| "-".into(), |time| time.to_string());
                let _ = tell.send(format!("{time}: {what}"));
            }
        });
        let report = tokio::spawn(async move {
            let (start, bar) = (Instant::now(), bar());
            let mut odd = Vec::new();
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tokio::select! {
                    what = told.recv() => match what {
                        Some(what) => odd.push(what),
                        None => break,
                    },
                    _ = tick.tick() => show(&bar, &progress),
                }
            }
            bar.finish_and_clear();
            summary(&progress.borrow(), start.elapsed(), &odd);
        });
        Self { fragments: fragments.boxed(), report }
    }
}

fn is_worth_telling(what: &Discontinuity) -> bool {
    what.is_loss() || matches!(what, Discontinuity::TimelineReset { .. } | Discontinuity::TracksChanged { .. })
}

/// Drawn on a terminal only.
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

fn summary(progress: &ArchiveProgress, took: Duration, odd: &[String]) {
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
    eprintln!("{} gaps and other oddities, {} fragments unavailable", odd.len(), progress.unavailable);
    odd.iter().for_each(|what| eprintln!("  {what}"));
}

/// A time as people write it.
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
    let zoned =
        zoned.map_err(|error| format!("{text:?} is no time such as \"10m ago\" or \"2026-11-21 10:00\": {error}"))?;
    Ok(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
}
