//! [`PipeSink`]: fragments to the standard input of a program.

mod program;
mod tail;

use std::fmt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll, ready};

use futures::Sink;
use tokio::process::{ChildStdout, Command};

use super::MediaSink;
use super::files::{KEPT_BUFFER, is_gap};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Fragment, FragmentNumber};
use crate::mux::mkv::{Mkv, MkvOptions};
use crate::mux::timeline::Split;
use crate::mux::{Gaps, Media, MuxedFile};
use crate::summary::Summary;
use program::Program;

/// A sink that writes fragments as one MKV to the standard input of a program.
///
/// The program is a child process, such as `ffmpeg -i -` or `gst-launch-1.0 fdsrc ! …`. Nothing is re-encoded before it
/// gets the media. A program that reads slowly slows the source down: the sink accepts a fragment after the previous one
/// is written.
///
/// The MKV has no index. Its times begin at 0. If the timeline of the producer restarts, the MKV goes on: by the
/// producer's clock, or without a gap if that is unknown.
///
/// # The end of the program
///
/// | the program | result |
/// |---|---|
/// | exits with success, after the sink is closed | closing succeeds |
/// | exits with success before that, for example `ffmpeg -t 10` | [`record`](crate::RecordExt::record) ends without an error; sending a fragment is an error |
/// | exits with another status, or is killed | an error with the status and the last lines of its standard error |
/// | closes its standard input and goes on | the sink waits for its exit |
///
/// [`end_reason`](PipeSink::end_reason) returns which it was. Closing closes the program's input and waits for its exit, so
/// that it can finish its own files. Dropping the sink kills the program.
///
/// # Errors
/// - [`Io`](ErrorKind::Io) if the program fails.
/// - [`Unsupported`](ErrorKind::Unsupported) if the tracks of a fragment differ from those of the first one. An MKV cannot
///   change its tracks: close the sink, and start the program again for this fragment.
///
/// After an error the sink takes no more fragments.
///
/// # Cancel safety
/// Dropping a `send()` future loses no fragment that was sent before.
///
/// # Panics
/// In a tokio runtime without its I/O and time drivers, as tokio's functions for processes do.
///
/// # Memory
/// One fragment, and the last 8 KiB of the program's standard error.
///
/// ```
/// use kinesis_video::{FragmentStream, PipeSink, RecordExt};
/// use tokio::process::Command;
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let mut ffmpeg = Command::new("ffmpeg");
/// ffmpeg.args(["-v", "error", "-i", "-", "-vf", "fps=1", "picture-%d.jpg"]);
/// let summary = FragmentStream::new(body).record(PipeSink::spawn(ffmpeg)?).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct PipeSink {
    program: Program,
    options: MkvOptions,
    gaps: Gaps,
    open: Option<MuxedFile<Mkv>>,
    buffer: Vec<u8>,
    /// The bytes of `buffer` that the program has.
    written: usize,
    /// The fragment in `buffer`: 1 if it counts as a gap.
    pending: Option<u64>,
    end: Option<PipeEnd>,
    failed: Option<Error>,
    summary: Summary,
}

/// How the program of a [`PipeSink`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipeEnd {
    /// The program exited after the sink had closed its input.
    Closed(ExitStatus),
    /// The program exited, or closed its input, before the sink was closed.
    Early(ExitStatus),
}

impl PipeEnd {
    /// Returns the exit status of the program.
    pub fn status(self) -> ExitStatus {
        match self {
            Self::Closed(status) | Self::Early(status) => status,
        }
    }
}

impl PipeSink {
    /// Starts a program.
    ///
    /// Its standard input and standard error become pipes of the sink. Its standard output is as the command says; tokio's
    /// default is that of this process.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) if the program cannot be started. The text says if it was not found.
    pub fn spawn(command: Command) -> Result<Self> {
        Ok(Self {
            program: Program::spawn(command)?,
            options: MkvOptions { is_live: true, ..MkvOptions::default() },
            gaps: Gaps::Keep,
            open: None,
            buffer: Vec::new(),
            written: 0,
            pending: None,
            end: None,
            failed: None,
            summary: Summary::default(),
        })
    }

    /// Sets whether the producer's tags of each fragment are written, after its media. Default: false.
    pub fn keep_tags(mut self, keep: bool) -> Self {
        self.options.keeps_tags = keep;
        self
    }

    /// Sets how time without media is written. Default: [`Gaps::Keep`].
    pub fn gaps(mut self, gaps: Gaps) -> Self {
        self.gaps = gaps;
        self
    }

    /// Returns the process id. `None` after the program has ended.
    pub fn id(&self) -> Option<u32> {
        self.program.id()
    }

    /// Returns how the program ended. `None` while it runs.
    ///
    /// To see it after a recording, [record](crate::RecordExt::record) to `&mut sink`.
    pub fn end_reason(&self) -> Option<PipeEnd> {
        self.end
    }

    /// Returns the last 8 KiB that the program has written to its standard error.
    pub fn stderr(&self) -> String {
        self.program.messages()
    }

    /// Takes the standard output of the program. `None` unless the command made it a pipe.
    ///
    /// Read it while fragments are sent. A program whose output nobody reads stops reading its input.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.program.take_stdout()
    }

    /// Writes the fragment to the buffer.
    fn mux(&mut self, fragment: &Fragment) -> Result<()> {
        let mut is_gap = is_gap(fragment);
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        self.written = 0;
        if let Some(media) = Media::of(fragment) {
            match &mut self.open {
                Some(file) => {
                    let timeline = &file.timeline;
                    is_gap |= timeline.gap_before(&media).is_some();
                    match timeline.split_before(&media) {
                        None => {}
                        Some(Split::Tracks) => return Err(tracks_changed(fragment)),
                        Some(Split::Reset | Split::LongGap) => is_gap = true,
                    }
                    file.push(media, fragment, &mut self.buffer)?;
                }
                None => {
                    let file = MuxedFile::begin(&self.options, self.gaps, media, fragment, &mut self.buffer)?;
                    self.open = Some(file);
                }
            }
        }
        self.pending = Some(is_gap.into());
        Ok(())
    }

    /// Waits until the program has the fragment, or has ended with success.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        loop {
            if let Some(error) = &self.failed {
                return Poll::Ready(Err(error.clone()));
            }
            // Also without anything to write: the exit of the program wakes this task.
            if self.poll_ended(cx).is_ready() {
                if self.failed.is_some() {
                    continue;
                }
                return Poll::Ready(Ok(()));
            }
            if !self.program.takes_input() {
                return Poll::Pending;
            }
            let rest = self.buffer.get(self.written..).unwrap_or_default();
            if rest.is_empty() {
                if let Some(gaps) = self.pending.take() {
                    self.summary.items += 1;
                    self.summary.gaps += gaps;
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(self.program.poll_write(cx, rest)) {
                Ok(length) => {
                    self.written += length;
                    self.summary.bytes += length as u64;
                }
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// Waits for the end of the program. A failure of it is kept in `failed`.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.end.is_some() {
            return Poll::Ready(());
        }
        let ended = ready!(self.program.poll_exit(cx));
        self.buffer = Vec::new();
        let failure = match ended {
            Ok(status) => {
                let is_complete = self.program.is_input_complete();
                self.end = Some(if is_complete { PipeEnd::Closed(status) } else { PipeEnd::Early(status) });
                (!status.success()).then(|| self.program.failure(status))
            }
            Err(error) => Some(error),
        };
        self.failed = self.failed.take().or(failure);
        Poll::Ready(())
    }
}

fn tracks_changed(fragment: &Fragment) -> Error {
    let message = "the tracks differ from those before, and one MKV cannot change its tracks: close the sink, and start the \
                   program again";
    let number = fragment.number().map(FragmentNumber::as_str);
    Error::new(ErrorKind::Unsupported, message).at(fragment.offset()).in_fragment(number)
}

impl Sink<Fragment> for PipeSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_written(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, fragment: Fragment) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.end.is_some() || !self.program.takes_input() {
            return Err(self.program.refusal());
        }
        let muxed = self.mux(&fragment);
        if let Err(error) = &muxed {
            // What was muxed of the fragment is no whole Cluster.
            self.buffer.clear();
            self.failed = Some(error.clone());
        }
        muxed
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.failed.is_none() && !self.program.is_input_complete() {
            // An error is returned at the end.
            let _ = ready!(self.poll_written(cx));
        }
        self.program.close_input();
        ready!(self.poll_ended(cx));
        Poll::Ready(self.failed.clone().map_or(Ok(()), Err))
    }
}

impl MediaSink<Fragment> for PipeSink {
    fn summary(&self) -> Summary {
        self.summary
    }

    fn is_done(&self) -> bool {
        self.end.is_some() && self.failed.is_none()
    }
}

impl fmt::Debug for PipeSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipeSink").field("id", &self.id()).field("summary", &self.summary).finish_non_exhaustive()
    }
}
