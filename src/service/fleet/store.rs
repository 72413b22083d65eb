//! [`LeaseStore`]: the table that the workers of a fleet share.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Position;
use crate::service::stream_id::StreamId;

/// The number of conflicting writes after which [`LeaseStore::add`] and [`LeaseStore::remove`] give up.
const MAX_CONFLICTS: u32 = 16;

/// The row of a worker in a [`LeaseStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerRow {
    /// The worker's id, which no other process ever uses.
    pub id: String,
    /// The number of heartbeats. Each write of the row increases it.
    pub beat: u64,
    /// The duration of the worker's leases. Other workers wait longer than that before they declare it dead.
    pub lease_duration: Duration,
    /// The maximum number of streams that the worker reads.
    pub max_streams: u64,
    /// True once another worker has declared this one dead. The row is not written again.
    pub dead: bool,
}

/// The row of a stream in a [`LeaseStore`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// The stream, by name or ARN. The key of the row.
    pub stream: StreamId,
    /// The id of the worker that holds the lease, or `None` if the lease is free.
    pub owner: Option<String>,
    /// The number of times the lease was claimed. It never decreases, so it is a fencing token.
    pub epoch: u64,
    /// The number of writes since the claim. A claim sets it to 0.
    pub seq: u64,
    /// The position after which the stream is to be read, or `None` if nothing was saved yet.
    pub checkpoint: Option<Position>,
    /// True if the stream is no longer to be read. The row stays, so that the epoch never decreases.
    pub removed: bool,
}

impl LeaseRow {
    /// Creates the row of a stream that nobody has read.
    pub fn new(stream: impl Into<StreamId>) -> Self {
        Self { stream: stream.into(), owner: None, epoch: 0, seq: 0, checkpoint: None, removed: false }
    }

    /// Returns the version of the row, which each write increases.
    pub fn version(&self) -> LeaseVersion {
        LeaseVersion { epoch: self.epoch, seq: self.seq }
    }

    /// Returns the row after a change that is no claim.
    pub(super) fn changed(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut row = Self { seq: self.seq + 1, ..self.clone() };
        change(&mut row);
        row
    }

    pub(super) fn is_owned_by(&self, worker: &str) -> bool {
        self.owner.as_deref() == Some(worker)
    }
}

/// The version of a [`LeaseRow`]. Versions compare by epoch, then by sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseVersion {
    /// The row's epoch.
    pub epoch: u64,
    /// The row's sequence number.
    pub seq: u64,
}

/// The result of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swap<R> {
    /// The row was written.
    Done,
    /// The row has another version than expected, and was not written. Contains the current row, if there is one.
    Conflict(Option<R>),
}

/// A table that the workers of a [fleet](crate::KinesisVideo::fleet) share, with conditional writes.
///
/// It has a row for each worker and for each stream. `DynamoLeases` (feature `dynamodb`) keeps them in DynamoDB,
/// [`MemoryLeases`](super::MemoryLeases) in memory. Any database with an atomic compare-and-swap of one row can
/// implement it.
///
/// # Requirements
/// - A write is atomic, and durable once it returns `Done`.
/// - A write whose reply is lost may have happened, even long after its future was dropped. Callers expect that.
/// - [`workers`](Self::workers) returns what was written before the call. [`leases`](Self::leases) may return older rows.
///
/// # Errors
/// A call fails if it is not certain that it had its effect. Workers retry failed calls.
pub trait LeaseStore: Send + Sync + 'static {
    /// Reads the rows of all workers.
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>>>;

    /// Reads the rows of all streams.
    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseRow>>>;

    /// Reads the row of one stream, as it is at the call or later.
    fn lease<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<LeaseRow>>>;

    /// Writes the row of a worker if its current row has this `beat`, or if `replaces` is `None` and there is no row.
    fn swap_worker<'a>(&'a self, row: &'a WorkerRow, replaces: Option<u64>) -> BoxFuture<'a, Result<Swap<WorkerRow>>>;

    /// Writes the row of a stream if its current row has this version, or if `replaces` is `None` and there is no row.
    fn swap_lease<'a>(
        &'a self,
        row: &'a LeaseRow,
        replaces: Option<LeaseVersion>,
    ) -> BoxFuture<'a, Result<Swap<LeaseRow>>>;

    /// Deletes the row of a worker. Does nothing if there is none.
    fn delete_worker<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Adds a stream to read. A removed stream continues at its checkpoint.
    ///
    /// Returns false if the stream is there already. Workers claim a new stream within three lease durations.
    ///
    /// # Errors
    /// Errors of the table, and [`ErrorKind::Throttled`] if the row keeps changing.
    fn add<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        set_removed(self, stream, false).boxed()
    }

    /// Removes a stream. Its reader saves its checkpoint and ends within three lease durations.
    ///
    /// Returns false if the stream is not there. Its row stays, with its epoch and checkpoint.
    ///
    /// # Errors
    /// Errors of the table, and [`ErrorKind::Throttled`] if the row keeps changing.
    fn remove<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        set_removed(self, stream, true).boxed()
    }
}

/// Sets whether a stream is removed. Returns false if it is so already.
pub(super) async fn set_removed<S: LeaseStore + ?Sized>(store: &S, stream: &StreamId, removed: bool) -> Result<bool> {
    let mut current = store.lease(stream).await?;
    for _ in 0..MAX_CONFLICTS {
        let is_removed = current.as_ref().is_none_or(|row| row.removed);
        if is_removed == removed {
            return Ok(false);
        }
        let new =
            current.as_ref().map_or_else(|| LeaseRow::new(stream), |row| row.changed(|row| row.removed = removed));
        match store.swap_lease(&new, current.as_ref().map(LeaseRow::version)).await? {
            Swap::Done => return Ok(true),
            Swap::Conflict(row) => current = row,
        }
    }
    Err(contended(&format!("the lease of {stream}")))
}

/// The error of a write that met a conflict at each attempt.
pub(super) fn contended(row: &str) -> Error {
    Error::new(ErrorKind::Throttled, format!("{row} changes all the time")).with_hint("try again")
}

impl<S: LeaseStore + ?Sized> LeaseStore for Arc<S> {
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>>> {
        (**self).workers()
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseRow>>> {
        (**self).leases()
    }

    fn lease<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<LeaseRow>>> {
        (**self).lease(stream)
    }

    fn swap_worker<'a>(&'a self, row: &'a WorkerRow, replaces: Option<u64>) -> BoxFuture<'a, Result<Swap<WorkerRow>>> {
        (**self).swap_worker(row, replaces)
    }

    fn swap_lease<'a>(
        &'a self,
        row: &'a LeaseRow,
        replaces: Option<LeaseVersion>,
    ) -> BoxFuture<'a, Result<Swap<LeaseRow>>> {
        (**self).swap_lease(row, replaces)
    }

    fn delete_worker<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        (**self).delete_worker(id)
    }

    fn add<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        (**self).add(stream)
    }

    fn remove<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        (**self).remove(stream)
    }
}
