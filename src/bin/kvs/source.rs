//! SOURCE: a stream, a file or standard input, and what to read of it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_stream::try_stream;
use clap::Args;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use indicatif::{HumanBytes, ProgressBar};
use kinesis_video::{
    Acks, ArchiveProgress, BodyItem, BodyStream, Bound, CheckpointStore, Clock, Error, ErrorKind, FileCheckpoint,
    Fragment, FragmentEnd, FragmentNumber, FragmentStream, FragmentStreamExt, Limits, LiveFragments, LiveStatus, Order,
    Position, Shard, Start, StreamEnd, StreamId, Timestamp,
};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::begin::{Begin, ClockName, fragment_number};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::screen::Screen;
use crate::shards;
use crate::time::{self, GivenTime};

/// A stream by name or ARN, a file, a folder of files, or `-` for standard input.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    File(PathBuf),
    Stdin,
    Stream(StreamId),
}

impl FromStr for Source {
    type Err = Infallible;

    /// Text with a path separator, the name of an existing file, and a name that ends in `.mkv` are files or folders.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let path = Path::new(text);
        Ok(match text {
            "-" => Self::Stdin,
            _ if text.starts_with("arn:") => Self::Stream(text.into()),
            _ if text.contains(std::path::is_separator) || text.ends_with(".mkv") => Self::File(path.into()),
            // A folder may well have the name of the stream whose pictures are in it.
            _ if path.exists() && !path.is_dir() => Self::File(path.into()),
            _ => Self::Stream(text.into()),
        })
    }
}

impl Source {
    /// Returns the stream, for a command that does not read files. `hint` names one that does.
    pub(crate) fn only_stream(&self, hint: &str) -> Result<&StreamId> {
        match self {
            Self::Stream(id) => Ok(id),
            Self::File(_) | Self::Stdin => {
                Err(Failure::usage(format!("{self} is not a stream: this command reads streams only")).hint(hint))
            }
        }
    }

    /// Returns the text that stands for this source on a command line.
    pub(crate) fn as_argument(&self) -> String {
        match self {
            Self::Stdin => "-".into(),
            Self::File(_) | Self::Stream(_) => self.to_string(),
        }
    }

    /// The failure of a command that found none of what it looks for.
    pub(crate) fn nothing(&self, noun: &str) -> Failure {
        let failure = Failure::nothing(format!("no {noun} in {self}"));
        match self {
            Self::Stream(_) => failure.hint("`kvs ls` shows when the last fragment arrived"),
            Self::File(_) | Self::Stdin => failure,
        }
    }
}

/// The options that choose a range of what is stored of a stream.
#[derive(Args, Clone, Debug)]
pub(crate) struct StoredRange {
    /// The start of the range, such as "10m ago" or "2026-11-21 10:00".
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    start: Timestamp,
    /// The end of the range.
    #[arg(long, value_name = "TIME", value_parser = time::parse, default_value = "now")]
    end: Timestamp,
    /// The clock of --start and --end, and of the times that are shown.
    #[arg(long, value_enum, default_value_t)]
    clock: ClockName,
}

impl StoredRange {
    pub(crate) fn range(&self) -> Result<RangeInclusive<Timestamp>> {
        range(self.start, self.end)
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.into()
    }

    /// Returns the length in nanoseconds.
    pub(crate) fn nanos(&self) -> i64 {
        self.end.as_nanos() - self.start.as_nanos()
    }
}

impl fmt::Display for StoredRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from {} to {}", time::local(self.start), time::local(self.end))
    }
}

/// Returns the range of --start and --end.
pub(crate) fn range(start: Timestamp, end: Timestamp) -> Result<RangeInclusive<Timestamp>> {
    if start > end {
        let what = format!("--start is after --end: {} and {}", time::local(start), time::local(end));
        return Err(Failure::usage(what));
    }
    Ok(start..=end)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdin => f.write_str("standard input"),
            Self::Stream(id) => f.write_str(id.name()),
        }
    }
}

/// The options that choose what to read of a SOURCE. They are the same for every command.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Where to begin: now, earliest, a time, a fragment number or a saved position.
    ///
    /// Default: "now" for a stream, the beginning for a file. A fragment number or position stands for the first
    /// fragment after it.
    #[arg(long, value_name = "WHERE", help_heading = "What to read")]
    start: Option<Begin>,
    /// Read what is stored up to this time, instead of following the stream. Needs --start.
    #[arg(long, value_name = "TIME", value_parser = GivenTime::parse, help_heading = "What to read", conflicts_with = "until")]
    end: Option<GivenTime>,
    /// Follow the stream until then: a time, a duration ("90s"), a count ("20 fragments") or a fragment number.
    ///
    /// A duration of a file is one of its own time.
    #[arg(long, value_name = "WHEN", help_heading = "What to read")]
    until: Option<Until>,
    /// End when no fragment has arrived for this long, such as "30s".
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, help_heading = "What to read")]
    idle: Option<Duration>,
    /// Keep the position in this file, and continue after it the next time.
    #[arg(long, value_name = "FILE", help_heading = "What to read")]
    checkpoint: Option<PathBuf>,
    /// The clock of --start, --end and --until.
    #[arg(long, value_enum, default_value_t, help_heading = "What to read")]
    clock: ClockName,
    #[arg(skip)]
    shard: Option<Shard>,
}

#[derive(Clone, Debug)]
enum Until {
    After(Duration),
    Count(u64),
    Fragment(FragmentNumber),
    Time(Timestamp),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(count) = text.strip_suffix("fragments").or_else(|| text.strip_suffix("fragment")) {
            return count
                .trim()
                .parse()
                .map(Self::Count)
                .map_err(|_| format!("\"{text}\" is not a count of fragments"));
        }
        if let Some(number) = fragment_number(text) {
            return Ok(Self::Fragment(number));
        }
        // A bare number would be seconds since 1970, which nobody means who writes a small one.
        if text.parse::<f64>().is_ok_and(|number| number < 1e8) {
            return Err(format!("\"{text}\" has no unit; write \"{text}s\" or \"{text} fragments\""));
        }
        match time::parse_duration(text) {
            Ok(duration) if text.parse::<f64>().is_err() => Ok(Self::After(duration)),
            _ => time::parse(text).map(Self::Time).map_err(|_| {
                format!(
                    "\"{text}\" is not an end; write a duration (\"90s\"), a count (\"20 fragments\"), a time (\"14:00\", \
                     \"2026-11-21 10:00\") or a fragment number"
                )
            }),
        }
    }
}

fn begin_at(time: Timestamp) -> Begin {
    Begin::Time(time.into())
}

/// An opened SOURCE: its fragments, and what is known of how they are read.
pub(crate) struct Input<T = Fragment> {
    pub(crate) items: BoxStream<'static, kinesis_video::Result<T>>,
    /// Present with --checkpoint. A fragment is acknowledged when its results are on disk or printed.
    pub(crate) acks: Option<Acks>,
    /// Shows how far reading is. It is drawn on a terminal only.
    pub(crate) bar: ProgressBar,
    end_reason: Arc<OnceLock<StreamEnd>>,
}

impl Input {
    /// Wraps a live stream, without a bar. Its fragments are acknowledged elsewhere.
    pub(crate) fn of_live(mut fragments: LiveFragments) -> Self {
        let end_reason = Arc::<OnceLock<_>>::default();
        let end = Arc::clone(&end_reason);
        let items = try_stream! {
            while let Some(fragment) = fragments.try_next().await? {
                yield fragment;
            }
            if let Some(reason) = fragments.end_reason() {
                let _ = end.set(reason);
            }
        };
        Self { items: items.boxed(), acks: None, bar: ProgressBar::hidden(), end_reason }
    }

    fn map<T: 'static>(self, convert: fn(Fragment) -> T) -> Input<T> {
        let Self { items, acks, bar, end_reason } = self;
        Input { items: items.map_ok(convert).boxed(), acks, bar, end_reason }
    }
}

impl<T> Input<T> {
    /// Returns why the live stream ended, once it has.
    pub(crate) fn end_reason(&self) -> Option<StreamEnd> {
        self.end_reason.get().copied()
    }
}

/// Saves the last position. A command calls it after the last item, also after an error.
pub(crate) async fn save_position(acks: Option<Acks>, cx: &Context) -> Result<()> {
    if let Some(acks) = acks
        && let Some(position) = acks.close().await?
    {
        let number = position.number().map_or_else(|| position.to_string(), ToString::to_string);
        cx.screen.note(&format!("the next run continues after fragment {number}"));
    }
    Ok(())
}

impl Selection {
    /// Returns whether the position is to be kept.
    pub(crate) fn has_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// Selects one part of the range. The checkpoint gets a file for this part.
    pub(crate) fn of_shard(mut self, source: &Source, shard: Shard) -> Result<Self> {
        if !matches!(source, Source::Stream(_)) {
            return Err(Failure::usage(format!("{source} is not a stream: --shard is for what is stored of a stream")));
        }
        let start = match &self.start {
            Some(Begin::Time(start)) => Some(*start),
            _ => None,
        };
        shards::check_range(start, self.end)?;
        self.checkpoint = self.checkpoint.map(|file| shards::path_of(&file, shard));
        self.shard = Some(shard);
        Ok(self)
    }

    /// Ends a command that found no fragment. A shard may well have none.
    pub(crate) fn nothing(&self, source: &Source, noun: &str, cx: &Context) -> Result<()> {
        match self.shard {
            Some(shard) => {
                cx.screen.note(&format!("no {noun} in shard {shard} of {source}"));
                Ok(())
            }
            None => Err(source.nothing(noun)),
        }
    }

    /// Selects the fragments that begin in a range.
    pub(crate) fn of_range(start: Option<Timestamp>, end: Option<Timestamp>, clock: ClockName) -> Self {
        Self { start: start.map(begin_at), end: end.map(Into::into), clock, ..Self::default() }
    }

    /// Follows a stream from a time, until no fragment arrives for a while.
    #[cfg(feature = "ffmpeg")]
    pub(crate) fn live_from(start: Timestamp, idle: Duration, clock: ClockName) -> Self {
        Self { start: Some(begin_at(start)), idle: Some(idle), clock, ..Self::default() }
    }

    /// Opens a SOURCE for its fragments.
    pub(crate) async fn open(&self, source: &Source, cx: &Context) -> Result<Input> {
        match source {
            Source::Stream(stream) if self.end.is_some() => self.open_archive(stream, cx).await,
            Source::Stream(stream) => self.open_live(stream, cx).await,
            Source::File(_) | Source::Stdin => {
                let opened = OpenFile::open(source, cx).await?;
                let fragments =
                    FragmentStream::new(opened.reader).limits(file_limits()).detect_gaps(GAP_TOLERANCE).boxed();
                let Input { items, bar, end_reason, .. } = self.select(source, fragments, opened.bar, cx).await?;
                let (items, acks) = self.acknowledged(items);
                Ok(Input { items, acks, bar, end_reason })
            }
        }
    }

    /// Opens a SOURCE for all items of its body. A stream has only fragments, and so has a file with a checkpoint.
    ///
    /// With `chunk`, a file is decoded in chunks of so many bytes.
    pub(crate) async fn open_body(
        &self,
        source: &Source,
        resync: bool,
        chunk: Option<usize>,
        cx: &Context,
    ) -> Result<Input<BodyItem>> {
        let has_fragments_only = self.checkpoint.is_some() || matches!(source, Source::Stream(_));
        if has_fragments_only {
            for (name, is_given) in [("--resync", resync), ("--chunk", chunk.is_some())] {
                if is_given {
                    return Err(Failure::usage(format!("{name} is for files, and not with --checkpoint")));
                }
            }
            return Ok(self.open(source, cx).await?.map(BodyItem::Fragment));
        }
        let opened = OpenFile::open(source, cx).await?;
        let chunks = ReaderStream::with_capacity(opened.reader, chunk.unwrap_or(64 << 10));
        let items = BodyStream::from_stream(chunks).limits(file_limits()).resync(resync).boxed();
        self.select(source, items, opened.bar, cx).await
    }

    async fn open_live(&self, stream: &StreamId, cx: &Context) -> Result<Input> {
        let start = self.start.as_ref().map_or(Start::Now, |start| start.of_live(self.clock));
        let mut live = cx.aws.kvs().await?.live(stream).start(start);
        if let Some(until) = &self.until {
            live = live.until(self.bound(until));
        }
        if let Some(idle) = self.idle {
            live = live.idle_timeout(idle);
        }
        let (mut fragments, acks) = match &self.checkpoint {
            Some(file) => {
                let (fragments, acks) = live.checkpointed(FileCheckpoint::new(file));
                (fragments, Some(acks))
            }
            None => (live.fragments(), None),
        };
        let (stop, interrupted) = (fragments.stop_handle(), cx.signals.interrupted());
        tokio::spawn(async move {
            interrupted.await;
            stop.stop();
        });
        let (bar, status, end_reason) = (cx.screen.spinner(), fragments.status(), Arc::<OnceLock<_>>::default());
        let (shown, end, name) = (bar.clone(), Arc::clone(&end_reason), stream.name().to_owned());
        shown.set_message(format!("{name}: connecting"));
        let items = try_stream! {
            let mut is_empty = true;
            while let Some(fragment) = fragments.try_next().await? {
                is_empty = false;
                shown.set_message(format!("{name}: {}", live_message(&status.borrow())));
                yield fragment;
            }
            if let Some(reason) = fragments.end_reason() {
                let _ = end.set(reason);
                // It did not end for want of media, but because no call came through.
                let error = status.borrow().error.clone().filter(|_| is_empty && reason != StreamEnd::Stopped);
                if let Some(error) = error {
                    Err(error)?;
                }
            }
        };
        Ok(Input { items: items.boxed(), acks, bar, end_reason })
    }

    async fn open_archive(&self, stream: &StreamId, cx: &Context) -> Result<Input> {
        let range = self.archive_range()?;
        let Some(range) = self.shard.map_or(Some(range.clone()), |shard| shard.range(&range)) else {
            let (items, acks) = self.acknowledged(stream::empty().boxed());
            return Ok(Input { items, acks, bar: cx.screen.bar(0), end_reason: Arc::default() });
        };
        let mut archive = cx.aws.kvs().await?.archive(stream).range(range.clone()).clock(self.clock.into());
        archive = archive.order(Order::Time);
        if let Some(shard) = self.shard {
            archive = shards::with_share_of_quota(archive, shard);
        }
        let saved = self.saved().await?;
        if let (Some(_), Some(file), Some(position)) = (self.shard, &self.checkpoint, &saved) {
            shards::check_position(position, &range, self.clock.into(), file)?;
        }
        let start = match &self.start {
            Some(Begin::Position(position)) => Some(position.clone()),
            _ => None,
        };
        if let Some(position) = saved.or(start) {
            // A position may lack the time that orders by time.
            let time = match self.clock {
                ClockName::Producer => position.producer_time(),
                ClockName::Server => position.server_time(),
            };
            let order = if time.is_some() { Order::Time } else { Order::Number };
            archive = archive.order(order).start_after(position);
        }
        let fragments = archive.fragments();
        let (bar, progress) = (cx.screen.bar(0), fragments.progress());
        let shown = bar.clone();
        let items = fragments.inspect_ok(move |_| show_archive(&shown, &progress.borrow()));
        let items = idle(items.boxed(), self.idle).take_until(Box::pin(cx.signals.interrupted()));
        let (items, acks) = self.acknowledged(items.boxed());
        Ok(Input { items, acks, bar, end_reason: Arc::default() })
    }

    /// Returns the range of --start and --end.
    fn archive_range(&self) -> Result<RangeInclusive<Timestamp>> {
        let end = self.end.map(|end| end.time).unwrap_or_default();
        let start = match &self.start {
            None | Some(Begin::Now) => {
                return Err(Failure::usage("--end needs --start").hint("--start \"1h ago\""));
            }
            Some(Begin::Earliest) => Timestamp::default(),
            Some(Begin::Position(position)) => position.server_time().unwrap_or_default().min(end),
            Some(Begin::Time(start)) => start.time,
        };
        range(start, end)
    }

    /// Selects from the items of a file, and saves their positions.
    async fn select<T: Item>(
        &self,
        source: &Source,
        items: BoxStream<'static, kinesis_video::Result<T>>,
        bar: ProgressBar,
        cx: &Context,
    ) -> Result<Input<T>> {
        if matches!(self.start, Some(Begin::Now)) {
            return Err(Failure::usage("a file has no \"now\"").hint("leave --start out to read all of it"));
        }
        if self.end.is_some() && self.start.is_some() {
            self.archive_range()?;
        }
        let (selection, saved, screen) = (self.clone(), self.saved().await?, cx.screen.clone());
        let choice = Choice { selection, saved, count: 0, first_ns: None, name: source.to_string(), screen };
        let (shown, screen, name) = (bar.clone(), cx.screen.clone(), source.to_string());
        let items = items.inspect_ok(move |item| {
            shown.set_position(item.end_offset());
            if item.fragment().is_some_and(|fragment| fragment.end_reason() == FragmentEnd::Cut) {
                screen.warn(&format!("{name}: cut off inside the fragment that ends at byte {}", item.end_offset()));
            }
        });
        let items = choose(idle(items.boxed(), self.idle), choice);
        let items = items.take_until(Box::pin(cx.signals.interrupted()));
        Ok(Input { items: items.boxed(), acks: None, bar, end_reason: Arc::default() })
    }

    fn acknowledged(
        &self,
        fragments: BoxStream<'static, kinesis_video::Result<Fragment>>,
    ) -> (BoxStream<'static, kinesis_video::Result<Fragment>>, Option<Acks>) {
        match &self.checkpoint {
            Some(file) => {
                let (fragments, acks) = fragments.acknowledged(FileCheckpoint::new(file));
                (fragments.boxed(), Some(acks))
            }
            None => (fragments, None),
        }
    }

    /// Returns the position that the checkpoint has.
    async fn saved(&self) -> Result<Option<Position>> {
        match &self.checkpoint {
            Some(file) => Ok(FileCheckpoint::new(file).load().await?),
            None => Ok(None),
        }
    }

    fn bound(&self, until: &Until) -> Bound {
        match (until, self.clock) {
            (Until::After(duration), _) => {
                let now = Instant::now();
                Bound::Deadline(now.checked_add(*duration).unwrap_or(now + Duration::from_secs(u32::MAX.into())))
            }
            (Until::Count(count), _) => Bound::Count(*count),
            (Until::Fragment(number), _) => Bound::Fragment(number.clone()),
            (Until::Time(time), ClockName::Producer) => Bound::ProducerTime(*time),
            (Until::Time(time), ClockName::Server) => Bound::ServerTime(*time),
        }
    }
}

/// The library's default for a stream.
pub(crate) const GAP_TOLERANCE: Duration = Duration::from_millis(500);

/// The fragments of a file, of which each Cluster is one.
pub(crate) type Clusters = BoxStream<'static, kinesis_video::Result<Fragment>>;

/// Opens a file, a folder or standard input for its Clusters, until the user interrupts.
pub(crate) async fn open_clusters(source: &Source, cx: &Context) -> Result<(Clusters, ProgressBar)> {
    let opened = OpenFile::open(source, cx).await?;
    let shown = opened.bar.clone();
    let fragments = FragmentStream::new(opened.reader).limits(file_limits()).per_cluster(true);
    let fragments = fragments.inspect_ok(move |fragment| shown.set_position(fragment.end_offset()));
    Ok((fragments.take_until(Box::pin(cx.signals.interrupted())).boxed(), opened.bar))
}

/// A file on this machine may have fragments of any size.
fn file_limits() -> Limits {
    Limits::default().fragment_bytes(u32::MAX >> 1).blocks(u32::MAX)
}

/// A file, a folder of files, or standard input.
struct OpenFile {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    bar: ProgressBar,
}

impl OpenFile {
    async fn open(source: &Source, cx: &Context) -> Result<Self> {
        let Source::File(path) = source else {
            return Ok(Self { reader: Box::pin(tokio::io::stdin()), bar: cx.screen.spinner() });
        };
        let failed = |error: std::io::Error| Failure::of_file("open", path, &error);
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        if metadata.is_dir() {
            return Self::open_folder(path, cx).await;
        }
        Ok(Self { reader: Box::pin(file), bar: cx.screen.bar(metadata.len()) })
    }

    /// Opens the MKV files of a folder as one: in the order of their names, which `kvs save` makes that of the fragments.
    async fn open_folder(dir: &Path, cx: &Context) -> Result<Self> {
        let failed = |error: std::io::Error| Failure::of_file("read", dir, &error);
        let mut entries = tokio::fs::read_dir(dir).await.map_err(failed)?;
        let (mut files, mut bytes) = (BTreeSet::new(), 0);
        while let Some(entry) = entries.next_entry().await.map_err(failed)? {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "mkv") {
                bytes += entry.metadata().await.map_err(failed)?.len();
                files.insert(path);
            }
        }
        if files.is_empty() {
            return Err(Failure::nothing(format!("no .mkv file in {}", dir.display())));
        }
        let files = stream::iter(files).then(tokio::fs::File::open).map_ok(ReaderStream::new).try_flatten();
        Ok(Self { reader: Box::pin(StreamReader::new(files)), bar: cx.screen.bar(bytes) })
    }
}

/// An item of a file.
pub(crate) trait Item: Sized + Send + 'static {
    fn fragment(&self) -> Option<&Fragment>;

    /// Returns the offset after the item.
    fn end_offset(&self) -> u64;
}

impl Item for Fragment {
    fn fragment(&self) -> Option<&Fragment> {
        Some(self)
    }

    fn end_offset(&self) -> u64 {
        self.offset() + self.raw().len() as u64
    }
}

impl Item for BodyItem {
    fn fragment(&self) -> Option<&Fragment> {
        match self {
            Self::Fragment(fragment) => Some(fragment),
            _ => None,
        }
    }

    fn end_offset(&self) -> u64 {
        match self {
            Self::Fragment(fragment) => fragment.end_offset(),
            Self::Fault(fault) => fault.offset() + fault.raw().len() as u64,
            Self::Skipped(skipped) => skipped.offset() + skipped.length(),
            _ => 0,
        }
    }
}

/// What to do with a fragment of a file.
enum Verdict {
    Skip,
    Take,
    TakeLast,
    End,
}

/// Chooses from the fragments of a file, as the service chooses from a stream.
struct Choice {
    selection: Selection,
    saved: Option<Position>,
    count: u64,
    /// The start of the first chosen fragment, in the file's own time.
    first_ns: Option<i64>,
    name: String,
    screen: Screen,
}

impl Choice {
    fn judge(&mut self, fragment: &Fragment) -> kinesis_video::Result<Verdict> {
        let Selection { start, end, until, .. } = &self.selection;
        let is_through = |position: &Position| match (fragment.number(), position.number()) {
            (Some(number), Some(last)) => number <= last,
            _ => fragment.server_time() <= position.server_time(),
        };
        if self.saved.as_ref().is_some_and(is_through) {
            return Ok(Verdict::Skip);
        }
        match start {
            Some(Begin::Position(position)) if is_through(position) => return Ok(Verdict::Skip),
            Some(Begin::Time(GivenTime { time: start, .. })) => {
                let begins = self.time(fragment)?;
                // A stream that is followed begins with the fragment that contains the time; a range, with the first
                // that begins in it.
                let ends = begins.as_nanos() + fragment.duration().as_nanos() as i64;
                if begins < *start && (end.is_some() || ends <= start.as_nanos()) {
                    return Ok(Verdict::Skip);
                }
            }
            _ => {}
        }
        if let Some(end) = end
            && self.time(fragment)? > end.time
        {
            return Ok(Verdict::End);
        }
        let is_last = match until {
            Some(Until::Count(count)) if self.count >= *count => return Ok(Verdict::End),
            Some(Until::Count(count)) => self.count + 1 == *count,
            Some(Until::Fragment(last)) if fragment.number().is_some_and(|number| number > last) => {
                return Ok(Verdict::End);
            }
            Some(Until::Fragment(last)) => fragment.number() == Some(last),
            Some(Until::Time(time)) if self.time(fragment)? >= *time => return Ok(Verdict::End),
            // A file is read faster than it was recorded, so its own time counts.
            Some(Until::After(duration)) => {
                let begins = self.time(fragment).map_or_else(|_| fragment.header().timecode_ns(), Timestamp::as_nanos);
                let first = *self.first_ns.get_or_insert(begins);
                let left = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX).saturating_sub(begins - first);
                if left <= 0 {
                    return Ok(Verdict::End);
                }
                let rest = fragment.duration().saturating_sub(Duration::from_nanos(left.unsigned_abs()));
                if rest > Duration::from_secs(1) {
                    let (name, rest) = (&self.name, time::duration(rest));
                    self.screen
                        .warn(&format!("{name}: fragments are read whole; the last one ends {rest} after --until"));
                }
                !rest.is_zero()
            }
            _ => false,
        };
        self.count += 1;
        Ok(if is_last { Verdict::TakeLast } else { Verdict::Take })
    }

    /// Returns the start of a fragment on the chosen clock, or else on the other one.
    fn time(&self, fragment: &Fragment) -> kinesis_video::Result<Timestamp> {
        let time = self.selection.clock.first_of(fragment.server_time(), fragment.producer_time());
        let message = "its fragments have no time of day, so nothing can be selected by time";
        time.ok_or_else(|| Error::new(ErrorKind::Unsupported, message))
    }
}

fn choose<T: Item>(
    mut items: BoxStream<'static, kinesis_video::Result<T>>,
    mut choice: Choice,
) -> BoxStream<'static, kinesis_video::Result<T>> {
    try_stream! {
        if matches!(choice.selection.until, Some(Until::Count(0))) {
            return;
        }
        while let Some(item) = items.try_next().await? {
            let verdict = item.fragment().map(|fragment| choice.judge(fragment)).transpose()?;
            match verdict {
                None | Some(Verdict::Take) => yield item,
                Some(Verdict::Skip) => {}
                Some(Verdict::TakeLast) => {
                    yield item;
                    return;
                }
                Some(Verdict::End) => return,
            }
        }
    }
    .boxed()
}

/// Ends a stream when no item has arrived for a time.
fn idle<T: Send + 'static>(
    mut items: BoxStream<'static, kinesis_video::Result<T>>,
    limit: Option<Duration>,
) -> BoxStream<'static, kinesis_video::Result<T>> {
    let Some(limit) = limit else { return items };
    try_stream! {
        while let Ok(Some(item)) = tokio::time::timeout(limit, items.next()).await {
            yield item?;
        }
    }
    .boxed()
}

fn live_message(status: &LiveStatus) -> String {
    let behind = status.behind_now.map(|behind| format!(", {} behind", time::duration(behind))).unwrap_or_default();
    let LiveStatus { fragments, bytes, reconnects, .. } = status;
    let reconnects = if *reconnects == 0 { String::new() } else { format!(", {reconnects} reconnects") };
    format!("{fragments} fragments, {}{behind}{reconnects}", HumanBytes(*bytes))
}

fn show_archive(bar: &ProgressBar, progress: &ArchiveProgress) {
    if let (Some(bytes), Some(fragments)) = (progress.total_bytes, progress.total_fragments) {
        bar.set_length(bytes);
        bar.set_position(progress.bytes);
        bar.set_message(format!("{}/{fragments} fragments", progress.fragments));
    }
}
