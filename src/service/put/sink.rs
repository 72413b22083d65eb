//! [`PutSink`]: the public half of sending.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::Sink;
use futures::stream::{self, BoxStream, FusedStream, Stream, StreamExt};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::ack::PutAck;
use super::encode::encode;
use super::shared::{PutStatus, Shared};
use super::{Options, PutMedia, driver};
use crate::error::{Error, Result};
use crate::fragment::Fragment;

/// A sink that sends fragments to a stream, from [`PutMedia::sink`].
///
/// A task sends the fragments as they come. `flush` waits until all of them are persisted, so `feed` is faster than
/// `send`, which flushes. `close` flushes, and ends the connection.
///
/// # Errors
/// Fails with the error of the last connection, when retrying does not help or all attempts have failed. It names the
/// stream, the endpoint, the request, and the fragment's timecode. [`Error::code`] is the service's number, such as `4004`.
/// After an error, every call fails with it. A fragment that cannot be sent fails by itself, and the sink remains
/// usable: see [`PutMedia::relative`].
///
/// # Cancel safety
/// Dropping a future of `feed`, `flush` or `close` loses nothing that the sink has taken. Dropping the sink closes the
/// connection at once, and drops what is not persisted.
///
/// # Memory
/// The sink keeps each fragment until it is persisted, within
/// [`max_waiting_fragments`](PutMedia::max_waiting_fragments) and [`max_waiting_bytes`](PutMedia::max_waiting_bytes).
#[must_use = "sinks do nothing unless polled"]
pub struct PutSink {
    shared: Arc<Shared>,
    options: Options,
    /// Aborts the task when the sink is dropped.
    task: AbortOnDropHandle<()>,
}

impl PutSink {
    pub(super) fn new(put: PutMedia) -> Self {
        let options = put.options.clone();
        let shared = Arc::new(Shared::new());
        let span = tracing::info_span!("put", stream = %options.stream);
        let task = AbortOnDropHandle::new(tokio::spawn(driver::run(put, Arc::clone(&shared)).instrument(span)));
        Self { shared, options, task }
    }

    /// Returns a stream of the acknowledgements from now on, of all connections.
    ///
    /// It ends after the sink was closed, has failed or was dropped. If it is not read, the oldest acknowledgements
    /// beyond 1,024 are dropped. The sink does not wait for it.
    pub fn acks(&self) -> PutAcks {
        let receiver = self.shared.lock().acks.as_ref().map(broadcast::Sender::subscribe);
        let acks = stream::unfold(receiver, |receiver| async {
            let mut receiver = receiver?;
            loop {
                match receiver.recv().await {
                    Ok(ack) => return Some((ack, Some(receiver))),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        PutAcks { acks: acks.boxed(), ended: false }
    }

    /// Returns what has been sent and persisted so far.
    pub fn status(&self) -> PutStatus {
        self.shared.status()
    }

    /// Polls until nothing waits to be persisted.
    fn poll_persisted(&self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.shared.lock();
        match &state.failed {
            Some(error) => Poll::Ready(Err(error.clone())),
            None if state.queue.is_empty() => Poll::Ready(Ok(())),
            None => state.wait(cx),
        }
    }
}

impl Sink<Fragment> for PutSink {
    type Error = Error;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Options { max_fragments, max_bytes, .. } = self.options;
        let mut state = self.shared.lock();
        match &state.failed {
            Some(error) => Poll::Ready(Err(error.clone())),
            None if state.queue.is_closing() => Poll::Ready(Err(closed(&self.options))),
            None if state.queue.len() < max_fragments && state.queue.bytes() < max_bytes => Poll::Ready(Ok(())),
            None => state.wait(cx),
        }
    }

    fn start_send(self: Pin<&mut Self>, fragment: Fragment) -> Result<()> {
        let encoded = encode(&fragment, self.options.relative.is_some());
        let encoded = encoded.map_err(|error| error.of_stream(self.options.stream.as_str()))?;
        let mut state = self.shared.lock();
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        if state.queue.is_closing() {
            return Err(closed(&self.options));
        }
        if state.queue.is_empty() {
            state.progress = Instant::now();
        }
        encoded.into_iter().for_each(|encoded| state.queue.push(encoded));
        state.body.take().into_iter().for_each(Waker::wake);
        self.shared.notify();
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_persisted(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut state = self.shared.lock();
        if let Some(error) = &state.failed {
            return Poll::Ready(Err(error.clone()));
        }
        if state.finished {
            return Poll::Ready(Ok(()));
        }
        if !state.queue.is_closing() {
            state.queue.close();
            state.body.take().into_iter().for_each(Waker::wake);
            self.shared.notify();
        }
        if self.task.is_finished() {
            let message = "PutMedia: the task that sends has ended; is its runtime shut down?";
            return Poll::Ready(Err(Error::new(crate::error::ErrorKind::Io, message).retryable(false)));
        }
        state.wait(cx)
    }
}

fn closed(options: &Options) -> Error {
    Error::invalid_argument("PutMedia: the sink is closed, and takes no more fragments")
        .of_stream(options.stream.as_str())
}

impl fmt::Debug for PutSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutSink").field("stream", &self.options.stream).field("status", &self.status()).finish()
    }
}

/// A stream of acknowledgements, from [`PutSink::acks`].
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing.
#[must_use = "streams do nothing unless polled"]
pub struct PutAcks {
    acks: BoxStream<'static, PutAck>,
    ended: bool,
}

impl Stream for PutAcks {
    type Item = PutAck;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<PutAck>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let ack = std::task::ready!(self.acks.poll_next_unpin(cx));
        self.ended = ack.is_none();
        Poll::Ready(ack)
    }
}

impl FusedStream for PutAcks {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl fmt::Debug for PutAcks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PutAcks").field("ended", &self.ended).finish_non_exhaustive()
    }
}
