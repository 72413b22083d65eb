//! [`MemoryLeases`]: a lease table in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use super::store::{LeaseRow, LeaseStore, LeaseVersion, Swap, WorkerRow};
use crate::error::Result;
use crate::service::stream_id::StreamId;

/// A lease table in memory, for one process and for tests. Clones share one table.
///
/// ```
/// use kinesis_video::fleet::{LeaseStore, MemoryLeases};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let leases = MemoryLeases::default();
/// assert!(leases.add(&"front-door".into()).await?);
/// assert!(!leases.add(&"front-door".into()).await?);
/// assert_eq!(leases.leases().await?.len(), 1);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryLeases {
    rows: Arc<Mutex<Rows>>,
}

#[derive(Debug, Default)]
struct Rows {
    workers: BTreeMap<String, WorkerRow>,
    leases: BTreeMap<StreamId, LeaseRow>,
}

impl MemoryLeases {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replaces a row if it has the expected version.
fn swap<K: Ord, R: Clone, V: PartialEq>(
    rows: &mut BTreeMap<K, R>,
    key: K,
    new: &R,
    replaces: Option<V>,
    version: impl Fn(&R) -> V,
) -> Swap<R> {
    let current = rows.get(&key);
    if current.map(version) != replaces {
        return Swap::Conflict(current.cloned());
    }
    rows.insert(key, new.clone());
    Swap::Done
}

impl LeaseStore for MemoryLeases {
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>>> {
        ready(Ok(self.rows().workers.values().cloned().collect())).boxed()
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseRow>>> {
        ready(Ok(self.rows().leases.values().cloned().collect())).boxed()
    }

    fn lease<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<LeaseRow>>> {
        ready(Ok(self.rows().leases.get(stream).cloned())).boxed()
    }

    fn swap_worker<'a>(&'a self, row: &'a WorkerRow, replaces: Option<u64>) -> BoxFuture<'a, Result<Swap<WorkerRow>>> {
        let swapped = swap(&mut self.rows().workers, row.id.clone(), row, replaces, |row| row.beat);
        ready(Ok(swapped)).boxed()
    }

    fn swap_lease<'a>(
        &'a self,
        row: &'a LeaseRow,
        replaces: Option<LeaseVersion>,
    ) -> BoxFuture<'a, Result<Swap<LeaseRow>>> {
        let swapped = swap(&mut self.rows().leases, row.stream.clone(), row, replaces, LeaseRow::version);
        ready(Ok(swapped)).boxed()
    }

    fn delete_worker<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.rows().workers.remove(id);
        ready(Ok(())).boxed()
    }
}
