//! [`MemoryCheckpoint`]: a checkpoint that lives as long as the process.

use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use super::CheckpointStore;
use crate::error::Result;
use crate::fragment::Position;

/// A checkpoint kept in memory, for tests and for resuming within one process.
///
/// Clones share the position. `MemoryCheckpoint::default()` holds no position.
///
/// ```
/// use kinesis_video::{CheckpointStore, MemoryCheckpoint, Position};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let checkpoint = MemoryCheckpoint::default();
/// assert_eq!(checkpoint.load().await?, None);
/// let position: Position = "kvs1:91343852333181432392682062607743920146:1511852109126:5000:=".parse()?;
/// checkpoint.save(&position).await?;
/// assert_eq!(checkpoint.get(), Some(position));
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryCheckpoint {
    position: Arc<Mutex<Option<Position>>>,
}

impl MemoryCheckpoint {
    /// Creates a checkpoint that holds a position.
    pub fn at(position: Position) -> Self {
        Self { position: Arc::new(Mutex::new(Some(position))) }
    }

    /// Returns the last saved position, or the position of [`at`](MemoryCheckpoint::at). `None` if there is neither.
    pub fn get(&self) -> Option<Position> {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CheckpointStore for MemoryCheckpoint {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        ready(Ok(self.get())).boxed()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position.clone());
        ready(Ok(())).boxed()
    }
}
