//! [`FaultyLeases`]: a lease table whose calls fail as those of a database behind a network do.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kinesis_video::fleet::{LeaseRow, LeaseStore, LeaseVersion, Swap, WorkerRow};
use kinesis_video::{Error, ErrorKind, Result, StreamId};
use tokio::time::sleep;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is refused at once.
    Throttled,
    /// It is made after a pause, and answered.
    Delayed(Duration),
    /// It is not made, and fails after a pause.
    Cut(Duration),
    /// It is made, and fails.
    ReplyLost,
    /// It fails at once, and is made after a pause.
    Late(Duration),
}

type Plan = dyn Fn() -> Option<Fault> + Send + Sync;

/// A table in front of another, which decides for each call what happens to it.
#[derive(Clone)]
pub struct FaultyLeases {
    store: Arc<dyn LeaseStore>,
    plan: Arc<Plan>,
    counts: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl FaultyLeases {
    pub fn new(store: Arc<dyn LeaseStore>, plan: impl Fn() -> Option<Fault> + Send + Sync + 'static) -> Self {
        Self { store, plan: Arc::new(plan), counts: Arc::default() }
    }

    /// The number of calls that each kind of fault has met.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.counts.lock().unwrap().clone()
    }

    fn pass<T: Send + 'static>(
        &self,
        call: impl FnOnce(Arc<dyn LeaseStore>) -> BoxFuture<'static, Result<T>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let (store, fault) = (Arc::clone(&self.store), (self.plan)());
        if let Some(fault) = fault {
            let name = format!("{fault:?}").split('(').next().unwrap().to_owned();
            *self.counts.lock().unwrap().entry(name).or_default() += 1;
        }
        let failed = || Err(Error::new(ErrorKind::Io, "the connection broke"));
        async move {
            match fault {
                None => call(store).await,
                Some(Fault::Throttled) => Err(Error::new(ErrorKind::Throttled, "too many calls")),
                Some(Fault::Delayed(pause)) => {
                    sleep(pause).await;
                    call(store).await
                }
                Some(Fault::Cut(pause)) => {
                    sleep(pause).await;
                    failed()
                }
                Some(Fault::ReplyLost) => {
                    let _ = call(store).await;
                    failed()
                }
                Some(Fault::Late(pause)) => {
                    tokio::spawn(async move {
                        sleep(pause).await;
                        let _ = call(store).await;
                    });
                    failed()
                }
            }
        }
        .boxed()
    }
}

impl LeaseStore for FaultyLeases {
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>>> {
        self.pass(|store| async move { store.workers().await }.boxed())
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseRow>>> {
        self.pass(|store| async move { store.leases().await }.boxed())
    }

    fn lease<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<LeaseRow>>> {
        let stream = stream.clone();
        self.pass(|store| async move { store.lease(&stream).await }.boxed())
    }

    fn swap_worker<'a>(&'a self, row: &'a WorkerRow, replaces: Option<u64>) -> BoxFuture<'a, Result<Swap<WorkerRow>>> {
        let row = row.clone();
        self.pass(move |store| async move { store.swap_worker(&row, replaces).await }.boxed())
    }

    fn swap_lease<'a>(
        &'a self,
        row: &'a LeaseRow,
        replaces: Option<LeaseVersion>,
    ) -> BoxFuture<'a, Result<Swap<LeaseRow>>> {
        let row = row.clone();
        self.pass(move |store| async move { store.swap_lease(&row, replaces).await }.boxed())
    }

    fn delete_worker<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let id = id.to_owned();
        self.pass(|store| async move { store.delete_worker(&id).await }.boxed())
    }
}

impl fmt::Debug for FaultyLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyLeases").field("counts", &self.counts()).finish_non_exhaustive()
    }
}
