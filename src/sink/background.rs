//! [`Background`]: writes the items of a sink on a thread for blocking work.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind, Result};

/// Writes items to files. Its methods block.
pub(super) trait Worker: Send + 'static {
    type Item: Send + 'static;

    /// Writes one item.
    fn write(&mut self, item: Self::Item) -> Result<()>;

    /// Writes everything that is buffered, so that a crash of this process loses nothing.
    fn flush(&mut self) -> Result<()>;

    /// Finishes all files, also after an error of writing.
    fn finish(&mut self, failed: Option<&Error>) -> Result<()>;
}

/// A worker, and the items that wait for it.
///
/// After an error no more items are written. The error is returned until the end.
pub(super) struct Background<W: Worker> {
    state: State<W>,
    pending: Vec<W::Item>,
    bytes: usize,
    /// The bytes that are written at once.
    batch: usize,
    is_closing: bool,
    is_finished: bool,
    failed: Option<Error>,
}

enum State<W> {
    Idle(Box<W>),
    Working(JoinHandle<(Box<W>, Result<()>)>),
    /// The worker is lost because its thread failed.
    Lost,
}

impl<W: Worker> Background<W> {
    /// Starts the worker whenever `batch` bytes wait for it.
    pub(super) fn new(worker: W, batch: usize) -> Self {
        let state = State::Idle(Box::new(worker));
        Self { state, pending: Vec::new(), bytes: 0, batch, is_closing: false, is_finished: false, failed: None }
    }

    /// Returns the worker, unless it is working.
    pub(super) fn worker(&mut self) -> Option<&mut W> {
        match &mut self.state {
            State::Idle(worker) => Some(worker),
            State::Working(_) | State::Lost => None,
        }
    }

    /// Adds an item of about this size.
    ///
    /// # Errors
    /// If the sink is closed.
    pub(super) fn push(&mut self, item: W::Item, bytes: usize) -> Result<()> {
        if self.is_closing {
            return Err(Error::invalid_argument("the sink is closed"));
        }
        self.pending.push(item);
        self.bytes += bytes;
        Ok(())
    }

    /// Writes the pending items when they fill a batch, or in any case if `all`. Is ready when there is room for more
    /// items, or, if `all`, when all are written. `done` looks at the worker after each batch.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        all: bool,
        mut done: impl FnMut(&mut W),
    ) -> Poll<Result<()>> {
        loop {
            match &mut self.state {
                State::Working(_) if !all && self.bytes < self.batch => return Poll::Ready(Ok(())),
                State::Working(work) => {
                    let (state, written) = match ready!(Pin::new(work).poll(cx)) {
                        Ok((mut worker, written)) => {
                            done(&mut worker);
                            (State::Idle(worker), written)
                        }
                        Err(error) => (State::Lost, Err(lost().caused_by(error))),
                    };
                    self.state = state;
                    self.failed = self.failed.take().or(written.err());
                }
                State::Idle(_) if self.is_closing && !self.is_finished => self.start()?,
                State::Idle(_) | State::Lost if self.failed.is_some() => {
                    self.pending.clear();
                    return Poll::Ready(self.failed.clone().map_or(Ok(()), Err));
                }
                State::Idle(_) if !self.pending.is_empty() && (all || self.bytes >= self.batch) => self.start()?,
                State::Idle(_) => return Poll::Ready(Ok(())),
                State::Lost => self.failed = Some(lost()),
            }
        }
    }

    /// Writes the rest and finishes all files, also after an earlier failure.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>, done: impl FnMut(&mut W)) -> Poll<Result<()>> {
        self.is_closing = true;
        self.poll_write(cx, true, done)
    }

    /// Gives the pending items to the worker.
    fn start(&mut self) -> Result<()> {
        let executor = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Unsupported, "writing files needs a tokio runtime").caused_by(error)
        })?;
        let State::Idle(mut worker) = std::mem::replace(&mut self.state, State::Lost) else { return Ok(()) };
        let mut items = std::mem::take(&mut self.pending);
        let failed = self.failed.clone();
        if failed.is_some() {
            items.clear();
        }
        self.bytes = 0;
        let finishes = self.is_closing;
        self.is_finished = finishes;
        self.state = State::Working(executor.spawn_blocking(move || {
            let written = items.into_iter().try_for_each(|item| worker.write(item)).and_then(|()| worker.flush());
            let finished = match finishes {
                true => worker.finish(failed.as_ref().or(written.as_ref().err())),
                false => Ok(()),
            };
            (worker, written.and(finished))
        }));
        Ok(())
    }
}

impl<W: Worker> Drop for Background<W> {
    fn drop(&mut self) {
        // Dropping an open file may write to it, which blocks the thread.
        if let (State::Idle(worker), Ok(executor)) =
            (std::mem::replace(&mut self.state, State::Lost), Handle::try_current())
        {
            drop(executor.spawn_blocking(move || drop(worker)));
        }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Io, "the thread that writes files panicked, or the runtime shut down").retryable(false)
}
