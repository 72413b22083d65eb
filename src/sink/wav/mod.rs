//! [`WavSink`]: Amazon Connect audio to WAV files.

mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Sink;

use super::MediaSink;
use super::background::Background;
use crate::audio::{AudioChunk, Party, StereoChunk};
use crate::error::{Error, Result};
use crate::summary::Summary;
use writer::{LARGEST, Writer};

/// Bytes to buffer before a thread for blocking work writes them.
const BATCH: usize = 256 << 10;

/// A sink that writes Amazon Connect conversations as WAV files of 8 kHz and 16 bits.
///
/// | constructor | takes | writes |
/// |---|---|---|
/// | [`create(path)`](WavSink::create) | [`StereoChunk`], or [`AudioChunk`] of one party | one file at `path` |
/// | [`per_party(prefix)`](WavSink::per_party) | either | `PREFIX-PARTY.wav` for each party |
/// | [`per_contact(prefix)`](WavSink::per_contact) | [`StereoChunk`] | `PREFIX-CONTACT.wav` |
/// | [`per_contact(prefix)`](WavSink::per_contact) | [`AudioChunk`] | `PREFIX-CONTACT-PARTY.wav` for each party |
/// | [`per_fragment(prefix)`](WavSink::per_fragment) | [`AudioChunk`] | `PREFIX-FRAGMENT-PARTY.wav` for each party |
///
/// | part of a name | value |
/// |---|---|
/// | `PREFIX` | `prefix`, which may contain folders; missing folders are created |
/// | `PARTY` | `AUDIO_FROM_CUSTOMER` or `AUDIO_TO_CUSTOMER` |
/// | `CONTACT` | [`contact_in_name`](WavSink::contact_in_name) of the contact id |
/// | `FRAGMENT` | the fragment number, or the index of the fragment |
///
/// Files begin with the contact's first sample, and silence makes the files of both parties equally long. But
/// [`per_fragment`](WavSink::per_fragment) writes only the fragment's own audio, without filled silence. A party of
/// which the sink receives no [`AudioChunk`] gets no file.
///
/// Each file is written as `NAME.part` and renamed when it is complete. An existing file of the same name is replaced,
/// unless [`keep_existing`](WavSink::keep_existing) is set. [`files`](WavSink::files) returns the complete files.
///
/// Samples are written in batches of 256 KiB, and on flush. [`record`](crate::RecordExt::record) flushes when the
/// stream has nothing more for now. Each batch updates the header, so a file can also be read after a crash.
///
/// Audio continues in `NAME-2.wav` when a file reaches the 4 GiB limit of WAV, and when a contact starts again
/// after another contact.
///
/// # Errors
/// - On close, if the sink received no audio. No file is created then.
/// - When another contact begins, except with [`per_contact`](WavSink::per_contact) and
///   [`per_fragment`](WavSink::per_fragment).
/// - With [`create`](WavSink::create), if both parties arrive as [`AudioChunk`]s.
/// - With [`per_fragment`](WavSink::per_fragment), if a [`StereoChunk`] arrives.
/// - For chunks made in [real time](crate::audio::Stereo::real_time), because audio may be missing from them.
/// - Errors of writing, and outside a tokio runtime.
///
/// Audio is written in the background, so most errors are returned at a later item, flush or close. After an error no
/// more audio is written.
///
/// # Cancel safety
/// Dropping a `send()` future loses no chunk that was sent before. Dropping the sink without closing it leaves
/// the written batches under the temporary name, with a correct header. Chunks sent after the last batch are
/// lost.
///
/// # Memory
/// Half a megabyte, plus the names of all files written.
///
/// ```
/// use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, RecordExt, WavSink};
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let audio = FragmentStream::new(body).connect_audio().contact("4a573372-1f28-4e26-b97b-3f8b5d2a9e11");
/// let summary = audio.stereo().record(WavSink::create("conversation.wav")).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct WavSink {
    background: Background<Writer>,
    /// The totals after the last written batch.
    summary: Summary,
    files: Vec<WavFile>,
}

/// A file that a [`WavSink`] has completed, from [`WavSink::files`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WavFile {
    path: PathBuf,
    contact: Option<Arc<str>>,
    party: Option<Party>,
}

impl WavFile {
    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the contact id, or `None` if the audio had none.
    pub fn contact_id(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    /// Returns the party, or `None` if the file is not of one party of several.
    pub fn party(&self) -> Option<Party> {
        self.party
    }
}

/// The names of the files, and the audio that goes into each.
#[derive(Clone, Debug)]
enum Layout {
    One(PathBuf),
    Party(PathBuf),
    Contact(PathBuf),
    Fragment(PathBuf),
}

/// A chunk of audio to write.
enum Chunk {
    Mono(AudioChunk),
    Stereo(StereoChunk),
}

impl WavSink {
    /// Creates a sink that writes one conversation to the file `path`.
    ///
    /// The file is stereo for [`StereoChunk`]s and mono for [`AudioChunk`]s of one party.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self::new(Layout::One(path.into()))
    }

    /// Creates a sink that writes one conversation to two files, one for each party.
    pub fn per_party(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Party(prefix.into()))
    }

    /// Creates a sink that writes each contact to files of its own.
    ///
    /// The file names contain the contact id: see [`contact_in_name`](WavSink::contact_in_name).
    pub fn per_contact(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Contact(prefix.into()))
    }

    /// Creates a sink that writes one file for each fragment and party.
    ///
    /// AWS's Python library divides its files in the same way.
    pub fn per_fragment(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Fragment(prefix.into()))
    }

    /// Returns the text for a contact in the file names of [`per_contact`](WavSink::per_contact).
    ///
    /// The text is the first 128 characters of the contact id, or `unknown` for `None`. Each character other than ASCII
    /// letters, digits, `-`, `_` and `.` is replaced by `_`.
    ///
    /// ```
    /// assert_eq!(kinesis_video::WavSink::contact_in_name(Some("../a b")), ".._a_b");
    /// assert_eq!(kinesis_video::WavSink::contact_in_name(None), "unknown");
    /// ```
    pub fn contact_in_name(id: Option<&str>) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        id.map_or_else(|| "unknown".into(), |id| id.chars().take(128).map(plain).collect())
    }

    /// Sets the file size in bytes at which audio continues in another file.
    ///
    /// Default and maximum: 4,294,901,759 bytes, 64 KiB below the limit of WAV. Minimum: 1,024 bytes. Values outside
    /// these limits count as the nearer limit.
    pub fn roll_over_at(mut self, bytes: u64) -> Self {
        if let Some(writer) = self.background.worker() {
            writer.largest = bytes.clamp(1024, LARGEST);
        }
        self
    }

    /// Sets whether existing files are kept. Default: false, and they are replaced.
    ///
    /// If a file of the name exists, the audio goes to `NAME-2.wav`, `NAME-3.wav` and so on.
    pub fn keep_existing(mut self, keep: bool) -> Self {
        if let Some(writer) = self.background.worker() {
            writer.keeps_existing = keep;
        }
        self
    }

    /// Returns the files that are complete, in the order in which they were completed.
    ///
    /// To see all of them after a recording, [record](crate::RecordExt::record) to `&mut sink`.
    pub fn files(&self) -> &[WavFile] {
        &self.files
    }

    fn new(layout: Layout) -> Self {
        let background = Background::new(Writer::new(layout), BATCH);
        Self { background, summary: Summary::default(), files: Vec::new() }
    }

    fn push(&mut self, chunk: Chunk, samples: usize) -> Result<()> {
        self.background.push(chunk, samples * 2 + 64)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<Result<()>> {
        let Self { background, summary, files } = self;
        background.poll_write(cx, all, |writer| writer.report(summary, files))
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { background, summary, files } = self;
        background.poll_close(cx, |writer| writer.report(summary, files))
    }
}

impl Sink<AudioChunk> for WavSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, false)
    }

    fn start_send(mut self: Pin<&mut Self>, chunk: AudioChunk) -> Result<()> {
        let samples = chunk.samples().len();
        self.push(Chunk::Mono(chunk), samples)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, true)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_closed(cx)
    }
}

impl Sink<StereoChunk> for WavSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, false)
    }

    fn start_send(mut self: Pin<&mut Self>, chunk: StereoChunk) -> Result<()> {
        if chunk.is_real_time() {
            let message = "real-time audio may have samples missing: record audio made without `real_time`";
            return Err(Error::invalid_argument(message));
        }
        let samples = chunk.samples().len();
        self.push(Chunk::Stereo(chunk), samples)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, true)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_closed(cx)
    }
}

impl MediaSink<AudioChunk> for WavSink {
    fn summary(&self) -> Summary {
        self.summary
    }
}

impl MediaSink<StereoChunk> for WavSink {
    fn summary(&self) -> Summary {
        self.summary
    }
}

impl fmt::Debug for WavSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WavSink").field("summary", &self.summary).finish_non_exhaustive()
    }
}
