//! [`Shared`]: what the sink, the request body and the task share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::ack::{PutAck, PutAckKind};
use super::queue::{Counts, Next, Queue};
use crate::error::{Error, Result};

/// The acknowledgements that are kept for a reader.
const KEPT_ACKS: usize = 1024;

/// The status of a sink, from [`PutSink::status`](super::PutSink::status).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutStatus {
    /// The number of fragments that the sink has taken. Each Cluster counts.
    pub fragments: u64,
    /// The number of fragments that the service has persisted.
    pub persisted: u64,
    /// The bytes of the fragments that the service has persisted.
    pub persisted_bytes: u64,
    /// The number of fragments that wait to be persisted.
    pub waiting: u64,
    /// The bytes of the fragments that wait to be persisted.
    pub waiting_bytes: u64,
    /// The number of calls of PutMedia.
    pub connections: u64,
    /// How often a fragment was sent again over another connection.
    pub repeated: u64,
    /// The last error of a connection. A persisted fragment resets it to `None`.
    pub error: Option<Error>,
}

/// What the sink, the request body and the task share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

/// The state behind the mutex.
#[derive(Debug)]
pub(super) struct State {
    pub(super) queue: Queue,
    /// `None` after the end.
    pub(super) acks: Option<broadcast::Sender<PutAck>>,
    /// When the connection last took bytes or acknowledged something.
    pub(super) progress: Instant,
    sink: Option<Waker>,
    pub(super) body: Option<Waker>,
    error: Option<Error>,
    pub(super) failed: Option<Error>,
    pub(super) finished: bool,
}

impl State {
    /// Has the sink's task polled again when something changes.
    pub(super) fn wait(&mut self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.sink = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Shared {
    pub(super) fn new() -> Self {
        let state = State {
            queue: Queue::default(),
            acks: Some(broadcast::Sender::new(KEPT_ACKS)),
            progress: Instant::now(),
            sink: None,
            body: None,
            error: None,
            failed: None,
            finished: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a fragment to send. Returns false if there will be none.
    pub(super) async fn has_work(&self) -> bool {
        loop {
            {
                let state = self.lock();
                if !state.queue.is_empty() || state.queue.is_closing() {
                    return !state.queue.is_empty();
                }
            }
            self.changed.notified().await;
        }
    }

    /// Tells the task that there is a fragment, or that the sink is closed.
    pub(super) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Waits for a fragment or for the close of the sink.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn connect(&self) -> u64 {
        let mut state = self.lock();
        state.progress = Instant::now();
        state.queue.connect()
    }

    pub(super) fn disconnect(&self) {
        let mut state = self.lock();
        state.queue.disconnect();
        state.body.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn first_timecode(&self) -> Option<i64> {
        self.lock().queue.first_timecode()
    }

    pub(super) fn number_of(&self, timecode: i64) -> Option<String> {
        self.lock().queue.number_of(timecode).map(ToOwned::to_owned)
    }

    /// Polls for what a connection sends next. `None` ends its body.
    pub(super) fn poll_next(&self, connection: u64, cx: &Context<'_>) -> Poll<Option<[Bytes; 2]>> {
        let mut state = self.lock();
        match state.queue.next(connection) {
            Next::Send(parts) => Poll::Ready(Some(parts)),
            Next::End => Poll::Ready(None),
            Next::Wait => {
                state.body = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn made_progress(&self) {
        self.lock().progress = Instant::now();
    }

    /// Returns when the connection counts as broken, unless it makes progress.
    pub(super) fn stalls_at(&self, limit: Duration) -> Option<Instant> {
        let state = self.lock();
        (!state.queue.is_empty()).then(|| state.progress + limit)
    }

    pub(super) fn acknowledged(&self, ack: &PutAck) {
        let mut state = self.lock();
        state.progress = Instant::now();
        if ack.kind() == PutAckKind::Persisted
            && let Some(timecode) = ack.timecode_millis()
            && state.queue.persisted(timecode)
        {
            state.error = None;
            state.sink.take().into_iter().for_each(Waker::wake);
            // The body may have waited for the last fragment.
            state.body.take().into_iter().for_each(Waker::wake);
        }
        if let Some(acks) = &state.acks {
            // Nobody may be listening.
            let _ = acks.send(ack.clone());
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().queue.counts()
    }

    pub(super) fn has_sent(&self) -> bool {
        self.lock().queue.has_sent()
    }

    /// Returns whether fragments wait to be sent or persisted.
    pub(super) fn is_waiting(&self) -> bool {
        !self.lock().queue.is_empty()
    }

    /// Returns whether the sink is closed and everything is persisted.
    pub(super) fn is_complete(&self) -> bool {
        let state = self.lock();
        state.queue.is_closing() && state.queue.is_empty()
    }

    pub(super) fn failed_once(&self, error: &Error) {
        self.lock().error = Some(error.clone());
    }

    pub(super) fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.error = Some(error.clone());
        state.failed = Some(error);
        state.acks = None;
        state.sink.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.finished = true;
        state.acks = None;
        state.sink.take().into_iter().for_each(Waker::wake);
    }

    pub(super) fn status(&self) -> PutStatus {
        let state = self.lock();
        let Counts { taken, persisted, persisted_bytes, repeated, connections } = state.queue.counts();
        PutStatus {
            fragments: taken,
            persisted,
            persisted_bytes,
            waiting: state.queue.len() as u64,
            waiting_bytes: state.queue.bytes() as u64,
            connections,
            repeated,
            error: state.error.clone(),
        }
    }
}
