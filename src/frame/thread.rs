//! Runs work on tokio's threads for blocking work.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, ErrorKind, Result};

/// Work on another thread. Dropping it cancels work that has not started.
pub(super) struct OnThread<T> {
    work: AbortOnDropHandle<T>,
    what: &'static str,
}

/// Starts work on another thread.
///
/// # Errors
/// If there is no tokio runtime.
pub(super) fn on_thread<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<OnThread<T>> {
    let executor = Handle::try_current().map_err(|error| {
        Error::new(ErrorKind::Unsupported, format!("{what} needs a tokio runtime")).caused_by(error)
    })?;
    Ok(OnThread { work: AbortOnDropHandle::new(executor.spawn_blocking(work)), what })
}

impl<T> OnThread<T> {
    /// Polls the result.
    ///
    /// # Errors
    /// If the thread panicked, or the runtime is shut down.
    pub(super) fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<Result<T>> {
        Poll::Ready(ready!(Pin::new(&mut self.work).poll(cx)).map_err(|error| {
            let cause = if error.is_panic() { "its thread panicked" } else { "the runtime shut down" };
            Error::new(ErrorKind::Unsupported, format!("{} did not finish: {cause}", self.what)).caused_by(error)
        }))
    }
}

impl<T> Future for OnThread<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_done(cx)
    }
}
