//! [`WavSink`]: Amazon Connect audio to WAV files.

mod writer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Sink;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::MediaSink;
use crate::audio::{AudioChunk, Party, StereoChunk};
use crate::error::{Error, ErrorKind, Result};
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
    state: State,
    pending: Vec<Job>,
    bytes: usize,
    is_closing: bool,
    /// The first error while closing.
    failure: Option<Error>,
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

enum State {
    Idle(Box<Writer>),
    Working(JoinHandle<(Box<Writer>, Result<()>)>),
    /// The writer is lost because its thread failed.
    Lost,
}

/// The names of the files, and the audio that goes into each.
#[derive(Clone, Debug)]
enum Layout {
    One(PathBuf),
    Party(PathBuf),
    Contact(PathBuf),
    Fragment(PathBuf),
}

/// A piece of work for the writer.
enum Job {
    Mono(AudioChunk),
    Stereo(StereoChunk),
    /// Finish all files.
    Finish,
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
        if let State::Idle(writer) = &mut self.state {
            writer.largest = bytes.clamp(1024, LARGEST);
        }
        self
    }

    /// Sets whether existing files are kept. Default: false, and they are replaced.
    ///
    /// If a file of the name exists, the audio goes to `NAME-2.wav`, `NAME-3.wav` and so on.
    pub fn keep_existing(mut self, keep: bool) -> Self {
        if let State::Idle(writer) = &mut self.state {
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
        Self {
            state: State::Idle(Box::new(Writer::new(layout))),
            pending: Vec::new(),
            bytes: 0,
            is_closing: false,
            failure: None,
            summary: Summary::default(),
            files: Vec::new(),
        }
    }

    fn enqueue(&mut self, job: Job, bytes: usize) {
        self.pending.push(job);
        self.bytes += bytes;
    }

    /// Writes the pending jobs when they fill a batch, or in any case if `all`. Is ready when there is room for
    /// more jobs, or, if `all`, when all are written.
    fn poll_write(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<Result<()>> {
        loop {
            match &mut self.state {
                State::Working(_) if !all && self.bytes < BATCH => return Poll::Ready(Ok(())),
                State::Working(work) => {
                    let written = ready!(Pin::new(work).poll(cx));
                    let (mut writer, result) = match written {
                        Ok(written) => written,
                        Err(error) => {
                            self.state = State::Lost;
                            return Poll::Ready(Err(lost().caused_by(error)));
                        }
                    };
                    self.summary = writer.summary;
                    self.files.append(&mut writer.complete);
                    self.state = State::Idle(writer);
                    result?;
                }
                State::Idle(_) if self.pending.is_empty() || !all && self.bytes < BATCH => return Poll::Ready(Ok(())),
                State::Idle(_) => {
                    let jobs = std::mem::take(&mut self.pending);
                    self.bytes = 0;
                    let executor = Handle::try_current().map_err(|error| {
                        Error::new(ErrorKind::Unsupported, "writing audio needs a tokio runtime").caused_by(error)
                    })?;
                    let State::Idle(mut writer) = std::mem::replace(&mut self.state, State::Lost) else { continue };
                    self.state = State::Working(executor.spawn_blocking(move || {
                        let result = writer.run_all(jobs);
                        (writer, result)
                    }));
                }
                State::Lost => return Poll::Ready(Err(lost())),
            }
        }
    }

    /// Writes the rest and finishes all files, also after an earlier failure.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.is_closing {
            self.is_closing = true;
            self.enqueue(Job::Finish, 0);
        }
        loop {
            let written = ready!(self.poll_write(cx, true));
            let is_lost = matches!(self.state, State::Lost);
            self.failure = self.failure.take().or(written.err());
            if self.pending.is_empty() || is_lost {
                return Poll::Ready(self.failure.take().map_or(Ok(()), Err));
            }
        }
    }

    fn check_open(&self) -> Result<()> {
        match self.is_closing {
            true => Err(Error::invalid_argument("the sink is closed")),
            false => Ok(()),
        }
    }
}

impl Sink<AudioChunk> for WavSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_write(cx, false)
    }

    fn start_send(mut self: Pin<&mut Self>, chunk: AudioChunk) -> Result<()> {
        self.check_open()?;
        let bytes = chunk.samples().len() * 2 + 64;
        self.enqueue(Job::Mono(chunk), bytes);
        Ok(())
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
        self.check_open()?;
        if chunk.is_real_time() {
            let message = "real-time audio may have samples missing: record audio made without `real_time`";
            return Err(Error::invalid_argument(message));
        }
        let bytes = chunk.samples().len() * 2 + 64;
        self.enqueue(Job::Stereo(chunk), bytes);
        Ok(())
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

impl Drop for WavSink {
    fn drop(&mut self) {
        // Dropping an open file writes its header, which blocks the thread.
        if let (State::Idle(writer), Ok(executor)) =
            (std::mem::replace(&mut self.state, State::Lost), Handle::try_current())
        {
            drop(executor.spawn_blocking(move || drop(writer)));
        }
    }
}

impl fmt::Debug for WavSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WavSink").field("summary", &self.summary).finish_non_exhaustive()
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "the thread that writes audio panicked, or the runtime shut down").retryable(false)
}
