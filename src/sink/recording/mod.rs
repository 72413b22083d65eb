//! [`RecordingSink`]: fragments to one file that players open, without re-encoding.

mod audio;
mod names;
mod recorder;

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Sink;

use super::MediaSink;
use super::background::Background;
use crate::error::{Error, Result};
use crate::fragment::{Fragment, Timestamp};
use crate::mux::mkv::{Mkv, MkvOptions};
use crate::mux::mp4::{Brand, Mp4, Mp4Options};
use crate::mux::{Gaps, Muxer};
use crate::summary::Summary;
pub use audio::{AudioFormat, AudioSink};
use names::Names;
use recorder::Recorder;

/// A sink that records fragments as MP4 or MOV: see [`RecordingSink`].
///
/// | codec | MP4 | MOV |
/// |---|---|---|
/// | H.264, H.265 | yes | yes |
/// | AAC, Opus, G.711 | yes | yes |
/// | PCM, also that of Amazon Connect | no | yes |
///
/// Another codec is an error that says which container has a place for it.
///
/// The file is fragmented while it grows, so that it plays after a crash. On close it becomes a conventional file with an
/// index at its end: every player can seek in it. Set [`fragmented`](Mp4Sink::fragmented) to keep it fragmented.
///
/// # Memory
/// Two fragments, the bytes of one of them as they are written, and for the index about 8 bytes a frame. Fragmented files have
/// no index.
///
/// ```no_run
/// use std::time::Duration;
/// use kinesis_video::{Bound, KinesisVideo, Mp4Sink, RecordExt};
///
/// # async fn f(kvs: KinesisVideo) -> kinesis_video::Result<()> {
/// let fragments = kvs.live("front-door").until(Bound::Count(1800)).fragments();
/// let summary = fragments.record(Mp4Sink::create("front-door.mp4").every(Duration::from_secs(3600))).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
pub type Mp4Sink = RecordingSink<Mp4Format>;

/// A sink that records fragments as one MKV file: see [`RecordingSink`].
///
/// MKV has a place for every codec. The file is one Segment with an index (Cues) at its end. It plays while it grows, and
/// after a crash. To write a file for each fragment, use [`MkvSink`](super::MkvSink).
///
/// # Memory
/// Two fragments, the bytes of one of them as they are written, and 16 bytes a fragment for the index.
///
/// ```
/// use kinesis_video::{FragmentStream, MkvFileSink, RecordExt};
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let summary = FragmentStream::new(body).record(MkvFileSink::create("front-door.mkv").keep_tags(true)).await?;
/// # Ok(())
/// # }
/// ```
pub type MkvFileSink = RecordingSink<MkvFormat>;

/// A file format that a [`RecordingSink`] writes: [`Mp4Format`], [`MkvFormat`] or [`AudioFormat`].
#[expect(private_bounds, reason = "only the formats of this crate implement it")]
pub trait Format: Container {}

pub(crate) trait Container: 'static {
    type Muxer: Muxer;
}

/// The format of an [`Mp4Sink`]: MP4 and MOV.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Mp4Format;

/// The format of an [`MkvFileSink`]: Matroska.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MkvFormat;

impl Format for Mp4Format {}

impl Container for Mp4Format {
    type Muxer = Mp4;
}

impl Format for MkvFormat {}

impl Container for MkvFormat {
    type Muxer = Mkv;
}

/// A sink that records fragments as files that players open. [`Mp4Sink`], [`MkvFileSink`] and [`AudioSink`] are its formats.
///
/// Nothing is re-encoded: each coded frame is in the file as the producer sent it.
///
/// # Files
/// The first file has the name that was given. A later file has `-2`, `-3` and so on before the extension, or the name of the
/// [`pattern`](RecordingSink::pattern). Missing folders are created. While a file grows, it is named `NAME.part` and plays. When it
/// is complete, it is renamed. If a file of the name exists, complete or not, the next free number is used: see
/// [`keep_existing`](RecordingSink::keep_existing).
///
/// A new file begins at the start of a fragment when
/// - a limit is reached: [`every`](RecordingSink::every), [`max_bytes`](RecordingSink::max_bytes);
/// - the tracks change, for example their codec private data;
/// - the timeline or the clock of the producer goes back: it has restarted;
/// - there is no media for more than 12 hours.
///
/// # Time
/// Every file begins at time 0, with the first picture or sound of its first fragment. Pictures keep the times of their
/// blocks. Where the producer's clock moves more than 1 s differently from the times of the blocks, the clock counts. Audio frames follow each other without a gap as long as the times of their blocks are at most 30 ms away. See
/// [`gaps`](RecordingSink::gaps) for time without media. A fragment counts as a gap in the summary if media before it is missing, if
/// there is a gap before it of more than 500 ms, or if it is cut.
///
/// # Errors
/// - [`Unsupported`](crate::ErrorKind::Unsupported) if the format has no place for a codec. The text names formats that have.
/// - Errors of writing, which name the path. The file keeps its temporary name, with all fragments before the error.
///
/// Files are written in the background, so an error is returned at a later item, flush or close. After an error nothing
/// more is written.
///
/// # Cancel safety
/// Dropping a `send()` future loses no fragment that was sent before. Dropping the sink without closing it leaves the file
/// under its temporary name. The file plays up to its last fragment that was written.
#[must_use = "sinks do nothing unless something is sent to them"]
#[expect(private_bounds, reason = "only the formats of this crate implement it")]
pub struct RecordingSink<F: Container> {
    background: Background<Recorder<F::Muxer>>,
    summary: Summary,
    files: Vec<RecordedFile>,
}

/// A file that a [`RecordingSink`] has completed, from [`RecordingSink::files`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedFile {
    path: PathBuf,
    start: Option<Timestamp>,
    duration: Duration,
    fragments: u64,
    bytes: u64,
    gaps: u64,
}

impl RecordedFile {
    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the start of the first fragment on the producer's clock.
    pub fn start(&self) -> Option<Timestamp> {
        self.start
    }

    /// Returns the duration of the file. Closed gaps are not included.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns the number of fragments in the file.
    pub fn fragments(&self) -> u64 {
        self.fragments
    }

    /// Returns the size of the file in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of gaps in the file.
    pub fn gaps(&self) -> u64 {
        self.gaps
    }
}

impl Mp4Sink {
    /// Creates a sink that writes MP4, or MOV (QuickTime) if the path ends in `.mov`.
    ///
    /// Nothing is written before the first fragment.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let is_mov = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mov"));
        let brand = if is_mov { Brand::Mov } else { Brand::Mp4 };
        Self::with(path, Mp4Options { brand, is_fragmented: false })
    }

    /// Sets whether files stay fragmented. Default: false, and they get an index on close.
    pub fn fragmented(mut self, fragmented: bool) -> Self {
        self.change(|recorder| recorder.options.is_fragmented = fragmented);
        self
    }
}

impl MkvFileSink {
    /// Creates a sink that writes MKV. Nothing is written before the first fragment.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self::with(path.into(), MkvOptions::default())
    }

    /// Sets whether the producer's tags of each fragment are written, after its media. Default: false.
    pub fn keep_tags(mut self, keep: bool) -> Self {
        self.change(|recorder| recorder.options.keeps_tags = keep);
        self
    }
}

#[expect(private_bounds, reason = "only the formats of this crate implement it")]
impl<F: Container> RecordingSink<F> {
    fn with(path: PathBuf, options: <F::Muxer as Muxer>::Options) -> Self {
        // One fragment is written while the next one waits.
        let background = Background::new(Recorder::new(Names::new(path), options), 1);
        Self { background, summary: Summary::default(), files: Vec::new() }
    }

    fn change(&mut self, change: impl FnOnce(&mut Recorder<F::Muxer>)) {
        if let Some(recorder) = self.background.worker() {
            change(recorder);
        }
    }

    /// Begins a new file when the current one is this long. Default: never.
    ///
    /// A file ends with the last fragment that begins before this time.
    pub fn every(mut self, duration: Duration) -> Self {
        self.change(|recorder| recorder.every = Some(duration));
        self
    }

    /// Sets whether [`every`](RecordingSink::every) follows the clock. Default: false.
    ///
    /// With `every` of one hour, a new file then begins with the first fragment of every full hour, in UTC on the producer's
    /// clock. Fragments without a producer time count by the length of the file.
    pub fn aligned(mut self, aligned: bool) -> Self {
        self.change(|recorder| recorder.is_aligned = aligned);
        self
    }

    /// Begins a new file before the current one becomes larger than this. Default: never.
    ///
    /// A file has at least one fragment, whatever its size. An index at the end is not counted.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.change(|recorder| recorder.max_bytes = Some(bytes));
        self
    }

    /// Sets how time without media is recorded. Default: [`Gaps::Keep`].
    pub fn gaps(mut self, gaps: Gaps) -> Self {
        self.change(|recorder| recorder.gaps = gaps);
        self
    }

    /// Sets the pattern of the file names in the folder of the path: text with placeholders in braces.
    ///
    /// | placeholder | value |
    /// |---|---|
    /// | `{index}` | number of earlier files of this sink |
    /// | `{number}` | number of the first fragment |
    /// | `{producer_ms}` | its producer time in milliseconds since 1970 |
    /// | `{server_ms}` | its server time in milliseconds since 1970 |
    /// | `{time}` | its producer time in UTC, such as `20261125T140307Z` |
    ///
    /// If the fragment does not have the value, the placeholder has the value of `{index}`.
    ///
    /// # Errors
    /// If the pattern has an unknown placeholder, a `{` without a `}`, a folder separator, or no placeholder.
    pub fn pattern(mut self, pattern: &str) -> Result<Self> {
        let pattern = Names::parse(pattern)?;
        self.change(|recorder| recorder.names.pattern = Some(pattern));
        Ok(self)
    }

    /// Sets whether existing files are kept. Default: true, and the next free name is used.
    ///
    /// With false, complete files and unfinished files of the same name are replaced, but never those of this sink.
    pub fn keep_existing(mut self, keep: bool) -> Self {
        self.change(|recorder| recorder.names.keeps_existing = keep);
        self
    }

    /// Returns the files that are complete, in the order in which they were completed.
    ///
    /// To see all of them after a recording, [record](crate::RecordExt::record) to `&mut sink`.
    pub fn files(&self) -> &[RecordedFile] {
        &self.files
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<Result<()>> {
        let Self { background, summary, files } = self;
        background.poll_write(cx, all, |recorder| recorder.report(summary, files))
    }
}

impl<F: Container> Sink<Fragment> for RecordingSink<F> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, false)
    }

    fn start_send(mut self: Pin<&mut Self>, fragment: Fragment) -> Result<()> {
        let bytes = fragment.raw().len();
        self.background.push(fragment, bytes.max(1))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, true)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { background, summary, files } = &mut *self;
        background.poll_close(cx, |recorder| recorder.report(summary, files))
    }
}

impl<F: Container> MediaSink<Fragment> for RecordingSink<F> {
    fn summary(&self) -> Summary {
        self.summary
    }
}

impl<F: Container> fmt::Debug for RecordingSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordingSink").field("summary", &self.summary).finish_non_exhaustive()
    }
}
