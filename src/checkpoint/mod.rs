//! Checkpoints: a consumer's position, saved so that the next process resumes there.
//!
//! A [`CheckpointStore`] keeps one [`Position`]. A consumer acknowledges fragments with [`Acks`]. The low-water mark is
//! saved in the background: the position of the last fragment before the first one that is not acknowledged.
//!
//! | method | saves | loads the saved position and resumes there |
//! |---|---|---|
//! | `Live::checkpointed` | yes | yes |
//! | [`acknowledged`](crate::FragmentStreamExt::acknowledged), of any stream of fragments | yes | no |
//!
//! # Repeats
//!
//! Every fragment is yielded *at least once*. After a crash, everything after the saved position is yielded again:
//!
//! - fragments that were not acknowledged,
//! - fragments that were acknowledged while one before them was not,
//! - fragments that were acknowledged but whose mark was not saved yet.
//!
//! A live stream that finds no saved position saves the time just before its first fragment, when it yields that. So
//! no fragment is left out, in whatever order fragments were acknowledged. A consumer can recognise repeats by their
//! fragment number.

mod acks;
mod file;
mod memory;
mod saver;
mod stream;
mod window;

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::Result;
use crate::fragment::{Position, StreamEnd};

pub use acks::Acks;
pub use file::FileCheckpoint;
pub use memory::MemoryCheckpoint;
pub use stream::Acknowledged;

pub(crate) use acks::{Ledger, pair};

/// A place to keep the checkpoint of one consumer of one stream.
///
/// Examples are a file and a database row.
///
/// [`Acks`] runs one `save` at a time, with positions that only move forward. A background task logs and retries a
/// failed `save`, so an implementation need not retry.
///
/// ```
/// use futures::FutureExt;
/// use futures::future::BoxFuture;
/// use kinesis_video::{CheckpointStore, Position, Result};
///
/// # #[derive(Clone)]
/// # struct Database;
/// # impl Database {
/// #     async fn read(&self, _: &str) -> Result<Option<String>> { Ok(None) }
/// #     async fn write(&self, _: &str, _: String) -> Result<()> { Ok(()) }
/// # }
/// struct Row {
///     database: Database,
///     key: String,
/// }
///
/// impl CheckpointStore for Row {
///     fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
///         async { self.database.read(&self.key).await?.map(|text| text.parse()).transpose() }.boxed()
///     }
///
///     fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
///         async { self.database.write(&self.key, position.to_string()).await }.boxed()
///     }
/// }
/// ```
pub trait CheckpointStore: Send + Sync + 'static {
    /// Loads the last saved position, or `None` if none was ever saved.
    ///
    /// # Errors
    /// If the position cannot be read. `Live::checkpointed` then yields the error instead of reading from elsewhere.
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>>;

    /// Replaces the saved position atomically: after an interruption, either the old or the new position is there.
    ///
    /// # Errors
    /// If it is not certain that the position was saved. After [`ErrorKind::LeaseLost`](crate::ErrorKind::LeaseLost)
    /// nothing more is saved.
    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>>;

    /// Returns the minimum time between two saves. Default: zero.
    ///
    /// [`Acks::close`] saves at once. So does the background task when the stream and all [`Acks`] have been dropped.
    fn save_interval(&self) -> Duration {
        Duration::ZERO
    }

    /// Polls for the permission to yield the next fragment. Default: always permitted.
    ///
    /// A live stream polls it whenever the stream itself is polled:
    ///
    /// | answer | the stream |
    /// |---|---|
    /// | `Ready(Ok(()))` | goes on |
    /// | `Pending` | yields nothing |
    /// | `Ready(Err(reason))` | ends for that reason, and drops what it has not yielded |
    ///
    /// Whatever the answer is, `cx` is to be woken when it changes.
    fn poll_permit(&self, cx: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }
}

impl<S: CheckpointStore + ?Sized> CheckpointStore for Arc<S> {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        (**self).load()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        (**self).save(position)
    }

    fn save_interval(&self) -> Duration {
        (**self).save_interval()
    }

    fn poll_permit(&self, cx: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        (**self).poll_permit(cx)
    }
}
