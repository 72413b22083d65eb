//! [`Program`]: a child process that reads from its standard input.

use std::io;
use std::pin::{Pin, pin};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};

use super::tail::Tail;
use crate::error::{Error, ErrorKind, Result};

/// The time for the rest of the messages after the program has exited.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// A child process. It is killed when this is dropped.
pub(super) struct Program {
    name: String,
    child: Child,
    input: Input,
    messages: Arc<Mutex<Tail>>,
    /// The task that reads the messages.
    reading: AbortHandle,
    /// Ends when the messages do.
    read: Option<JoinHandle<()>>,
    exit: Exit,
}

#[derive(Debug)]
enum Input {
    Open(ChildStdin),
    /// Closed by the program, or by this process.
    Closed {
        by_program: bool,
    },
}

enum Exit {
    Running,
    /// It has exited, and its last messages are read.
    Draining(ExitStatus, BoxFuture<'static, ()>),
    Done(ExitStatus),
}

impl Program {
    /// Starts a program whose input and messages are pipes.
    pub(super) fn spawn(mut command: Command) -> Result<Self> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        let executor = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Unsupported, "starting a program needs a tokio runtime").caused_by(error)
        })?;
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => ": it was not found; install it, or give its path",
                io::ErrorKind::PermissionDenied => ": it may not be run",
                _ => "",
            };
            Error::new(ErrorKind::Io, format!("starting the program {name:?} failed{hint}"))
                .retryable(false)
                .caused_by(error)
        })?;
        let input = child.stdin.take().map_or(Input::Closed { by_program: true }, Input::Open);
        let messages = Arc::<Mutex<Tail>>::default();
        let read = executor.spawn(read(child.stderr.take(), Arc::clone(&messages)));
        let (reading, read) = (read.abort_handle(), Some(read));
        Ok(Self { name, child, input, messages, reading, read, exit: Exit::Running })
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    pub(super) fn messages(&self) -> String {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).text()
    }

    pub(super) fn takes_input(&self) -> bool {
        matches!(self.input, Input::Open(_))
    }

    /// Returns true if this process has closed the input.
    pub(super) fn is_input_complete(&self) -> bool {
        matches!(self.input, Input::Closed { by_program: false })
    }

    pub(super) fn close_input(&mut self) {
        if self.takes_input() {
            self.input = Input::Closed { by_program: false };
        }
    }

    /// Writes some of the bytes, and returns their number. It is 0 if the program takes no more.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let Input::Open(stdin) = &mut self.input else { return Poll::Ready(Ok(0)) };
        match ready!(Pin::new(stdin).poll_write(cx, bytes)) {
            Ok(written) if written > 0 => Poll::Ready(Ok(written)),
            Err(error) if !matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
                let message = format!("writing to the program {:?} failed", self.name);
                Poll::Ready(Err(Error::new(ErrorKind::Io, message).retryable(false).caused_by(error)))
            }
            Ok(_) | Err(_) => {
                self.input = Input::Closed { by_program: true };
                Poll::Ready(Ok(0))
            }
        }
    }

    /// Waits for the exit of the program and for its last messages.
    pub(super) fn poll_exit(&mut self, cx: &mut Context<'_>) -> Poll<Result<ExitStatus>> {
        loop {
            match &mut self.exit {
                Exit::Running => {
                    // Waiting keeps its state in the child, so a new future continues it.
                    let status = ready!(pin!(self.child.wait()).poll(cx)).map_err(|error| {
                        let message = format!("waiting for the program {:?} failed", self.name);
                        Error::new(ErrorKind::Io, message).retryable(false).caused_by(error)
                    })?;
                    let read = self.read.take();
                    // A process that the program has started may keep the pipe of the messages open.
                    self.exit = Exit::Draining(
                        status,
                        Box::pin(async move {
                            if let Some(read) = read {
                                let _ = tokio::time::timeout(LAST_MESSAGES, read).await;
                            }
                        }),
                    );
                }
                Exit::Draining(status, reading) => {
                    ready!(reading.as_mut().poll(cx));
                    self.exit = Exit::Done(*status);
                }
                Exit::Done(status) => return Poll::Ready(Ok(*status)),
            }
        }
    }

    /// Describes a failure of the program, with its last messages.
    pub(super) fn failure(&self, status: ExitStatus) -> Error {
        let last = self.messages.lock().unwrap_or_else(PoisonError::into_inner).last_lines();
        let last = if last.is_empty() { "it wrote no message".into() } else { last };
        Error::new(ErrorKind::Io, format!("the program {:?} failed ({status}): {last}", self.name)).retryable(false)
    }

    /// Describes input for a program that takes no more.
    pub(super) fn refusal(&self) -> Error {
        Error::new(ErrorKind::Io, format!("the program {:?} has ended and takes no more input", self.name))
            .retryable(false)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Reads messages to their end.
async fn read(stderr: Option<ChildStderr>, messages: Arc<Mutex<Tail>>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        messages.lock().unwrap_or_else(PoisonError::into_inner).push(buffer.get(..length).unwrap_or_default());
    }
}
