//! [`Lease`]: the right of one worker to read a stream.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use tokio::sync::mpsc::UnboundedSender;

use super::clock;
use super::store::{LeaseRow, LeaseStore, Swap, contended};
use crate::checkpoint::CheckpointStore;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Position, StreamEnd};
use crate::service::stream_id::StreamId;

/// The number of conflicting writes of one save after which it fails. Only an administrator causes them.
const MAX_CONFLICTS: u32 = 8;

/// The right of one worker to read a stream, and the checkpoint of the stream.
///
/// Pass the lease to [`Live::checkpointed`](crate::Live::checkpointed). The live stream then starts at the lease's
/// checkpoint, and ends when the lease does:
///
/// | the lease | the stream | end reason |
/// |---|---|---|
/// | is valid | yields fragments | |
/// | could not be extended in time | yields nothing until it is extended or lost | |
/// | is given up: another worker has room, the stream is removed, the worker leaves | ends at once | [`StreamEnd::LeaseReleased`] |
/// | was lost to another worker | ends at once | [`StreamEnd::LeaseLost`] |
///
/// The live stream and its [`Acks`](crate::Acks) own the lease. When both are dropped, the worker gives the lease up. Save
/// the last position with [`Acks::close`](crate::Acks::close) first. Then the next worker repeats nothing. To ask
/// [`is_valid`](Self::is_valid) before own writes, pass an `Arc<Lease>`, and drop it too.
///
/// If a consumer ends by itself while its lease is valid, its worker claims the stream again after one lease duration.
/// Each further time, the pause doubles, up to 5 minutes. To end for good, [remove](LeaseStore::remove) the stream.
///
/// # Errors
/// [`save`](CheckpointStore::save) fails with [`ErrorKind::LeaseLost`] if another worker has claimed the stream. The
/// saved position is then not changed.
pub struct Lease {
    store: Arc<dyn LeaseStore>,
    row: tokio::sync::Mutex<LeaseRow>,
    stream: StreamId,
    epoch: u64,
    owner: String,
    save_interval: Duration,
    gate: Arc<Gate>,
    closed: UnboundedSender<LeaseRow>,
}

/// The time until which the leases of a worker are valid.
#[derive(Debug, Default)]
pub(super) struct Validity {
    /// In nanoseconds of [`clock::now`].
    until: AtomicU64,
}

impl Validity {
    pub(super) fn extend(&self, until: Duration) {
        self.until.store(nanos(until), Ordering::Release);
    }

    pub(super) fn is_valid(&self) -> bool {
        nanos(clock::now()) < self.until.load(Ordering::Acquire)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The part of a lease that the worker controls.
#[derive(Debug)]
pub(super) struct Gate {
    validity: Arc<Validity>,
    end: Mutex<Option<StreamEnd>>,
    waker: AtomicWaker,
    /// When a position was last saved, or when the lease began, in nanoseconds of [`clock::now`].
    saved: AtomicU64,
}

impl Gate {
    pub(super) fn new(validity: Arc<Validity>) -> Self {
        let saved = AtomicU64::new(nanos(clock::now()));
        Self { validity, end: Mutex::default(), waker: AtomicWaker::new(), saved }
    }

    /// Ends the lease. The first reason stays.
    pub(super) fn revoke(&self, end: StreamEnd) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        self.waker.wake();
    }

    /// Has the consumer look again.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Returns the time since a position was last saved.
    pub(super) fn unsaved_for(&self) -> Duration {
        clock::now().saturating_sub(Duration::from_nanos(self.saved.load(Ordering::Relaxed)))
    }

    fn end(&self) -> Option<StreamEnd> {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, waker: &Waker) -> Poll<Result<(), StreamEnd>> {
        // Before the checks, so that no change is missed.
        self.waker.register(waker);
        match self.end() {
            Some(end) => Poll::Ready(Err(end)),
            None if self.validity.is_valid() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }
}

impl Lease {
    pub(super) fn new(
        store: Arc<dyn LeaseStore>,
        row: LeaseRow,
        save_interval: Duration,
        gate: Arc<Gate>,
        closed: UnboundedSender<LeaseRow>,
    ) -> Self {
        let (stream, epoch, owner) = (row.stream.clone(), row.epoch, row.owner.clone().unwrap_or_default());
        Self { store, row: tokio::sync::Mutex::new(row), stream, epoch, owner, save_interval, gate, closed }
    }

    /// Returns the stream to read.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// Returns the number of times the stream was claimed: a fencing token.
    ///
    /// Each new holder of a stream's lease has a larger epoch. A sink that stores the epoch with what it writes, and
    /// refuses a smaller one, takes nothing from a worker that lost its lease and does not know it yet.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the id of the worker that holds the lease.
    pub fn worker(&self) -> &str {
        &self.owner
    }

    /// Returns whether work on the stream may go on now.
    ///
    /// It may not after the lease's end, nor while the lease could not be extended in time.
    pub fn is_valid(&self) -> bool {
        self.gate.end().is_none() && self.gate.validity.is_valid()
    }

    /// Waits until the lease ends, and returns why.
    ///
    /// # Cancel safety
    /// The future may be dropped and called again. A live stream that owns the lease must not be polled meanwhile by
    /// another task: only the last one to wait is woken.
    pub async fn ended(&self) -> StreamEnd {
        std::future::poll_fn(|cx| {
            self.gate.waker.register(cx.waker());
            self.gate.end().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn lost(&self, by: Option<&LeaseRow>) -> Error {
        self.gate.revoke(StreamEnd::LeaseLost);
        let message = match by.and_then(|row| row.owner.as_deref()) {
            Some(owner) => format!("the lease of {} belongs to the worker {owner} now", self.stream),
            None => format!("the lease of {} was taken from this worker", self.stream),
        };
        Error::new(ErrorKind::LeaseLost, message)
    }

    async fn write(&self, position: &Position) -> Result<()> {
        let mut row = self.row.lock().await;
        for _ in 0..MAX_CONFLICTS {
            let new = row.changed(|row| row.checkpoint = Some(position.clone()));
            match self.store.swap_lease(&new, Some(row.version())).await? {
                Swap::Done => {
                    *row = new;
                    self.gate.saved.store(nanos(clock::now()), Ordering::Relaxed);
                    return Ok(());
                }
                // An earlier save had its effect, and its reply was lost; or the stream was removed.
                Swap::Conflict(Some(current)) if current.is_owned_by(&self.owner) && current.epoch == self.epoch => {
                    *row = current;
                }
                Swap::Conflict(current) => return Err(self.lost(current.as_ref())),
            }
        }
        Err(contended(&format!("the lease of {}", self.stream)))
    }
}

impl CheckpointStore for Lease {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        async { Ok(self.row.lock().await.checkpoint.clone()) }.boxed()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        self.write(position).boxed()
    }

    fn save_interval(&self) -> Duration {
        self.save_interval
    }

    fn poll_permit(&self, cx: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        self.gate.poll(cx.waker())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Fails if the worker has ended, which does not release anything any more.
        let _ = self.closed.send(self.row.get_mut().clone());
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("stream", &self.stream).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
