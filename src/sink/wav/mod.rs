//! [`WavSink`]: calls to WAV files.

mod writer;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Sink;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::MediaSink;
use crate::audio::{AudioChunk, StereoChunk};
use crate::error::{Error, ErrorKind, Result};
use crate::summary::Summary;
use writer::{LARGEST, Writer};

/// So many bytes are gathered before a thread is asked to write them.
const BATCH: usize = 256 << 10;

/// Writes calls as WAV files of 8 kHz and 16 bits.
///
/// | made with | takes | writes |
/// |---|---|---|
/// | [`create(path)`](WavSink::create) | [`StereoChunk`], or [`AudioChunk`] of one party | that file |
/// | [`per_party(prefix)`](WavSink::per_party) | either | `PREFIX-AUDIO_FROM_CUSTOMER.wav` and `PREFIX-AUDIO_TO_CUSTOMER.wav`, equally long |
/// | [`per_contact(prefix)`](WavSink::per_contact) | either | `PREFIX-CONTACT.wav`, or the two of each party with the contact before the party |
/// | [`per_fragment(prefix)`](WavSink::per_fragment) | [`AudioChunk`] | `PREFIX-FRAGMENT-AUDIO_…_CUSTOMER.wav`, what came in it and nothing else |
///
/// Files begin with the contact's first sample; a party that was never heard has none. Each is written as `NAME.part` and
/// renamed when it is whole. What its header says is brought up to date with each stretch that is written, every 256 KiB or
/// when nothing more comes for now, so that also after a crash it can be read. One that would become larger than a WAV file
/// can be, 4 GiB, goes on in `NAME-2.wav`; so does a contact that comes back after another.
///
/// # Errors
/// When it is closed, if there was no audio at all: no file is made then. When another contact begins, unless it is
/// [`per_contact`](WavSink::per_contact) or [`per_fragment`](WavSink::per_fragment). For chunks that were made in
/// [real time](crate::audio::Stereo::real_time), since something may be missing from them.
///
/// # Cancel safety
/// Dropping a `send()` future loses nothing that was sent. Dropping the sink without closing it leaves what was written under
/// its temporary name, with a header that is right; what was sent since the last stretch is lost.
///
/// # Memory
/// Half a megabyte, and the names of its files.
///
/// ```
/// use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, RecordExt, WavSink};
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let call = FragmentStream::new(body).connect_audio().contact("4a573372-1f28-4e26-b97b-3f8b5d2a9e11");
/// let summary = call.stereo().record(WavSink::create("call.wav")).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct WavSink {
    state: State,
    pending: Vec<Order>,
    bytes: usize,
    is_closing: bool,
    /// What went wrong first while it was being closed.
    failure: Option<Error>,
    /// As of the last batch that was written.
    summary: Summary,
}

enum State {
    Idle(Box<Writer>),
    Working(JoinHandle<(Box<Writer>, Result<()>)>),
    /// With the thread that had it.
    Lost,
}

/// How files are called, and what goes into one.
#[derive(Clone, Debug)]
enum Layout {
    One(PathBuf),
    Party(PathBuf),
    Contact(PathBuf),
    Fragment(PathBuf),
}

/// What is to be written.
enum Order {
    Mono(AudioChunk),
    Stereo(StereoChunk),
    /// All files are finished.
    Finish,
}

impl WavSink {
    /// Writes one call to this file.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self::new(Layout::One(path.into()))
    }

    /// Writes one call to two files, one for each party.
    pub fn per_party(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Party(prefix.into()))
    }

    /// Writes each contact to files of its own, with its id in their names.
    pub fn per_contact(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Contact(prefix.into()))
    }

    /// Writes each track of each fragment to a file of its own, as AWS's library for Python does.
    pub fn per_fragment(prefix: impl Into<PathBuf>) -> Self {
        Self::new(Layout::Fragment(prefix.into()))
    }

    /// How a contact is called in the names of [`per_contact`](WavSink::per_contact): its id, with anything but
    /// letters, digits, `-`, `_` and `.` replaced by `_`.
    ///
    /// ```
    /// assert_eq!(kinesis_video::WavSink::contact_in_name(Some("../a b")), ".._a_b");
    /// assert_eq!(kinesis_video::WavSink::contact_in_name(None), "unknown");
    /// ```
    pub fn contact_in_name(id: Option<&str>) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
        id.map_or_else(|| "unknown".into(), |id| id.chars().take(128).map(plain).collect())
    }

    /// The size at which a file goes on in another. By default what a WAV file can hold.
    pub fn roll_over_at(mut self, bytes: u64) -> Self {
        if let State::Idle(writer) = &mut self.state {
            writer.largest = bytes.clamp(1024, LARGEST);
        }
        self
    }

    fn new(layout: Layout) -> Self {
        Self {
            state: State::Idle(Box::new(Writer::new(layout))),
            pending: Vec::new(),
            bytes: 0,
            is_closing: false,
            failure: None,
            summary: Summary::default(),
        }
    }

    fn order(&mut self, order: Order, bytes: usize) {
        self.pending.push(order);
        self.bytes += bytes;
    }

    /// Has what is pending written if it is worth it, or if `all` is to be. Ready when there is room for more, or when
    /// all is written.
    fn poll_write(&mut self, cx: &mut Context<'_>, all: bool) -> Poll<Result<()>> {
        loop {
            match &mut self.state {
                State::Working(_) if !all && self.bytes < BATCH => return Poll::Ready(Ok(())),
                State::Working(work) => {
                    let written = ready!(Pin::new(work).poll(cx));
                    let (writer, result) = match written {
                        Ok(written) => written,
                        Err(error) => {
                            self.state = State::Lost;
                            return Poll::Ready(Err(lost().caused_by(error)));
                        }
                    };
                    self.summary = writer.summary;
                    self.state = State::Idle(writer);
                    result?;
                }
                State::Idle(_) if self.pending.is_empty() || !all && self.bytes < BATCH => return Poll::Ready(Ok(())),
                State::Idle(_) => {
                    let orders = std::mem::take(&mut self.pending);
                    self.bytes = 0;
                    let executor = Handle::try_current().map_err(|error| {
                        Error::new(ErrorKind::Unsupported, "writing audio needs a tokio runtime").caused_by(error)
                    })?;
                    let State::Idle(mut writer) = std::mem::replace(&mut self.state, State::Lost) else { continue };
                    self.state = State::Working(executor.spawn_blocking(move || {
                        let result = writer.carry_out_all(orders);
                        (writer, result)
                    }));
                }
                State::Lost => return Poll::Ready(Err(lost())),
            }
        }
    }

    /// Has the rest written, and all files finished, whatever went wrong with what was written before.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.is_closing {
            self.is_closing = true;
            self.order(Order::Finish, 0);
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
        self.order(Order::Mono(chunk), bytes);
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
            let message = "audio made in real time is for listening: record what is not, so that nothing is missing";
            return Err(Error::invalid_argument(message));
        }
        let bytes = chunk.samples().len() * 2 + 64;
        self.order(Order::Stereo(chunk), bytes);
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
        // Dropping an open file writes its header: not on the executor's thread.
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
    Error::new(ErrorKind::Io, "the thread that writes audio is lost").retryable(false)
}
