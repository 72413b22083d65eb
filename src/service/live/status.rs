//! How a live stream is doing.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::metrics::Metrics;
use crate::error::Error;
use crate::fragment::{FragmentHeader, Position};
use crate::service::stream_id::StreamId;

/// How a live stream is doing, from [`LiveStream::status`](super::LiveStream::status).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LiveStatus {
    /// Since when the connection is there that is read; `None` while there is none.
    pub connected_since: Option<Instant>,
    /// How far the last fragment was behind the newest of the stream when it was sent.
    pub behind: Option<Duration>,
    /// How often a connection was made again.
    pub reconnects: u64,
    /// Bytes received, those that were dropped included; brought up to date with each fragment and
    /// each end of a connection.
    pub bytes: u64,
    /// Fragments given out.
    pub fragments: u64,
    /// Fragments dropped because they had been given out before.
    pub repeated: u64,
    /// What went wrong last, since the last fragment.
    pub error: Option<Error>,
    /// Behind the last fragment that was given out.
    pub position: Option<Position>,
}

/// Tells all who want to know: the status, the log, the metrics.
#[derive(Debug)]
pub(super) struct Observer {
    status: watch::Sender<LiveStatus>,
    metrics: Metrics,
    bytes: Arc<AtomicU64>,
    /// How many of the bytes are in the metrics.
    recorded_bytes: u64,
    connections: u64,
}

impl Observer {
    pub(super) fn new(stream: &StreamId) -> Self {
        let (status, bytes) = (watch::Sender::default(), Arc::default());
        Self { status, metrics: Metrics::new(stream), bytes, recorded_bytes: 0, connections: 0 }
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<LiveStatus> {
        self.status.subscribe()
    }

    /// Counts what bodies read.
    pub(super) fn bytes(&self) -> &Arc<AtomicU64> {
        &self.bytes
    }

    pub(super) fn opened(&mut self, calls: u32, request_id: Option<&str>, endpoint: &str) {
        tracing::debug!(endpoint, request_id, calls, "connected");
        self.connections += 1;
        let reconnects = self.connections - 1;
        if reconnects > 0 {
            self.metrics.reconnected();
        }
        self.status.send_modify(|status| {
            status.connected_since = Some(tokio::time::Instant::now().into_std());
            status.reconnects = reconnects;
        });
    }

    /// A call failed, or a body ended with this error.
    pub(super) fn failed(&mut self, error: &Error) {
        let cause = std::iter::successors(error.source(), |&cause| cause.source()).last();
        tracing::warn!(%error, cause = cause.map(tracing::field::display), retryable = error.is_retryable(), "failed");
        self.metrics.failed(error.kind());
        self.status.send_modify(|status| status.error = Some(error.clone()));
    }

    /// The connection is gone.
    pub(super) fn closed(&mut self) {
        let bytes = self.take_bytes();
        self.status.send_modify(|status| {
            status.connected_since = None;
            status.bytes = bytes;
        });
    }

    pub(super) fn repeated(&mut self, header: &FragmentHeader) {
        tracing::debug!(fragment = ?header.number(), "came again");
        self.status.send_modify(|status| status.repeated += 1);
    }

    pub(super) fn yielded(&mut self, position: &Position, behind: Option<Duration>) {
        let bytes = self.take_bytes();
        self.metrics.yielded(behind);
        self.status.send_modify(|status| {
            status.bytes = bytes;
            status.behind = behind.or(status.behind);
            status.fragments += 1;
            status.error = None;
            status.position = Some(position.clone());
        });
    }

    fn take_bytes(&mut self) -> u64 {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.metrics.received(bytes - self.recorded_bytes);
        self.recorded_bytes = bytes;
        bytes
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.closed();
    }
}
