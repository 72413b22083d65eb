//! How far a consumer has come, so that the next one goes on there.
//!
//! A [`CheckpointStore`] keeps one [`Position`]. A consumer says by its [`Acks`] which fragments it
//! is done with; the position behind which none is missing is saved in the background. With
//! [`acknowledged`](crate::FragmentStreamExt::acknowledged) that works for every stream of fragments.
//!
//! # What may come again
//!
//! Every fragment is given out *at least once*. After a crash everything behind the saved position
//! comes again: fragments that were not done, fragments that were done while one before them was
//! not, and fragments that were done but whose mark had not yet been saved. None is left out,
//! whatever the order in which they were done. A consumer to which repeats matter knows them by
//! their number.

mod acks;
mod file;
mod memory;
mod saver;
mod stream;
mod window;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::error::Result;
use crate::fragment::Position;

pub use acks::Acks;
pub use file::FileCheckpoint;
pub use memory::MemoryCheckpoint;
pub use stream::Acknowledged;

pub(crate) use acks::{Ledger, pair};

/// Keeps the checkpoint of one consumer of one stream: in a file, in a database, wherever the next
/// process finds it.
///
/// While it is used by [`Acks`], `save` is never called again before it has returned, and with
/// positions that only go forward. What it fails with is reported and tried again, so it need not try
/// twice itself.
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
    /// What was saved last; `None` if nothing ever was.
    ///
    /// # Errors
    /// If that cannot be told. It is better not to start than to start in the wrong place.
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>>;

    /// Replaces what was saved before, as a whole: whatever interrupts it, the old position or the
    /// new one is there.
    ///
    /// # Errors
    /// If the position may not be there.
    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>>;
}

impl<S: CheckpointStore + ?Sized> CheckpointStore for Arc<S> {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        (**self).load()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        (**self).save(position)
    }
}
