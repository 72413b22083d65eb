//! The status of a live stream: counters, the log, the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::metrics::Metrics;
use crate::error::Error;
use crate::fragment::{FragmentHeader, Position};
use crate::service::stream_id::StreamId;

/// The status of a live stream, from [`LiveStream::status`](super::LiveStream::status).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LiveStatus {
    /// The time at which the current connection was opened. `None` while there is no connection.
    pub connected_since: Option<Instant>,
    /// The last lag that the service reported with a fragment (`MILLIS_BEHIND_NOW`). `None` before the first report.
    pub behind_now: Option<Duration>,
    /// The number of connections opened after the first one. Failed calls do not count.
    pub reconnects: u64,
    /// The number of body bytes received over all connections, dropped bytes included.
    ///
    /// Updated with each fragment and at the end of each connection.
    pub bytes: u64,
    /// The number of fragments yielded.
    ///
    /// A cut fragment counts, unless the stream ends with it by a stop, a deadline or an idle timeout.
    pub fragments: u64,
    /// The number of fragments dropped because they had been yielded before.
    pub repeated: u64,
    /// The last error of a call or a body. A yielded fragment resets it to `None`.
    pub error: Option<Error>,
    /// The position of the last fragment that was yielded. `None` before the first one.
    pub position: Option<Position>,
}

/// Reports events to the status, the log and the metrics.
#[derive(Debug)]
pub(super) struct Observer {
    status: watch::Sender<LiveStatus>,
    metrics: Metrics,
    bytes: Arc<AtomicU64>,
    /// The number of bytes that the metrics have counted.
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

    /// Returns the counter of the bytes that bodies receive.
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

    /// Reports that a call failed, or that a body ended with an error.
    pub(super) fn failed(&mut self, error: &Error) {
        tracing::debug!(%error, retryable = error.is_retryable(), "failed");
        self.metrics.failed(error.kind());
        self.status.send_modify(|status| status.error = Some(error.clone()));
    }

    /// Reports the end of the connection.
    pub(super) fn closed(&mut self) {
        let bytes = self.take_bytes();
        self.status.send_modify(|status| {
            status.connected_since = None;
            status.bytes = bytes;
        });
    }

    pub(super) fn repeated(&mut self, header: &FragmentHeader) {
        tracing::debug!(fragment = ?header.number(), "received again");
        self.status.send_modify(|status| status.repeated += 1);
    }

    pub(super) fn yielded(&mut self, position: &Position, behind_now: Option<Duration>) {
        let bytes = self.take_bytes();
        self.metrics.yielded(behind_now);
        self.status.send_modify(|status| {
            status.bytes = bytes;
            status.behind_now = behind_now.or(status.behind_now);
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
