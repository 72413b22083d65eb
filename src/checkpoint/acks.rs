//! [`Acks`], what a consumer acknowledges with, and [`Ledger`], the other side of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::CheckpointStore;
use super::saver::Saver;
use super::window::Window;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Position;

/// What a consumer says by that it is done with a fragment. Clones speak for the same consumer.
///
/// Fragments may be done in any order. What is saved is the low-water mark: the position of the last
/// fragment before the first one that is not done. So `buffer_unordered` is safe, and a fragment
/// that is never done keeps the mark where it is.
///
/// Every fragment is given out *at least once*: after a crash everything behind the saved position
/// comes again. That is, fragments that were not done, fragments that were done while one before
/// them was not, and fragments that were done but whose mark had not yet been saved.
///
/// A task of the tokio runtime that polls the stream saves the mark whenever it has moved: one save
/// at a time, with the newest mark, never one behind what was saved before. A save that fails is
/// logged with `tracing` and tried again, after 100 ms, then after pauses that double up to 30 s. The
/// task ends, after a last save, when the stream and all `Acks` are gone.
///
/// # Memory
/// A fragment that is not done, and those behind it, take some 300 bytes each. If 65,536 wait, the
/// stream fails with [`ErrorKind::Limit`]: acknowledgements are missing.
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::{FileCheckpoint, FragmentStream, FragmentStreamExt};
/// # use kinesis_video::{Fragment, Result};
/// # async fn detect(_: &Fragment) -> Result<()> { Ok(()) }
///
/// # async fn f(body: &[u8]) -> Result<()> {
/// let (fragments, acks) = FragmentStream::new(body).acknowledged(FileCheckpoint::new("front-door.position"));
/// let detected = fragments.map_ok(|fragment| {
///     let acks = acks.clone();
///     async move {
///         detect(&fragment).await?;
///         acks.done(&fragment.position());
///         Ok(())
///     }
/// });
/// detected.try_buffer_unordered(8).try_collect::<()>().await?;
/// let saved = acks.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Acks {
    shared: Arc<Shared>,
}

/// Where a source enters what it gives out.
#[derive(Debug)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    window: Mutex<Window>,
    mark: watch::Sender<Option<Position>>,
    saver: Arc<Saver>,
    /// Whether a task saves the mark.
    saving: AtomicBool,
}

impl Acks {
    /// This fragment is done. In any order; one that was never given out, or is done already, is
    /// passed over.
    pub fn done(&self, position: &Position) {
        self.shared.change(|window| window.done(position));
    }

    /// This fragment is done, and every one that was given out before it. Passed over if it was never
    /// given out, or if the mark has come past it.
    pub fn done_through(&self, position: &Position) {
        self.shared.change(|window| window.done_through(position));
    }

    /// The low-water mark: the position of the last fragment before the first one that is not done.
    pub fn position(&self) -> Option<Position> {
        self.shared.window().mark().cloned()
    }

    /// What was saved last.
    pub fn saved(&self) -> Option<Position> {
        self.shared.saver.saved()
    }

    /// Waits until the low-water mark is saved, and tells what it is; `None` if nothing is done.
    ///
    /// Other `Acks` of the same consumer can go on.
    ///
    /// # Errors
    /// Those of the store. It is tried once and at once, not again and again.
    ///
    /// # Cancel safety
    /// If the future is dropped, the mark is saved all the same.
    pub async fn close(self) -> Result<Option<Position>> {
        let saver = Arc::clone(&self.shared.saver);
        match Handle::try_current() {
            // In a task of its own: a save that is broken off could still come behind the next one.
            Ok(executor) => executor.spawn(async move { saver.save().await }).await.map_err(|error| {
                Error::new(ErrorKind::Io, "saving the checkpoint was broken off").retryable(false).caused_by(error)
            })?,
            Err(_) => saver.save().await,
        }
    }
}

impl Ledger {
    /// Enters a fragment that is about to be given out.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if too many wait to be done.
    pub(crate) fn gave_out(&self, position: Position) -> Result<()> {
        self.shared.save_in_background();
        self.shared.window().gave_out(position)
    }
}

/// The two sides of one consumer's checkpoint.
pub(crate) fn pair(store: Arc<dyn CheckpointStore>) -> (Ledger, Acks) {
    let (mark, marks) = watch::channel(None);
    let shared = Arc::new(Shared {
        window: Mutex::default(),
        mark,
        saver: Arc::new(Saver::new(store, marks)),
        saving: AtomicBool::new(false),
    });
    (Ledger { shared: Arc::clone(&shared) }, Acks { shared })
}

impl Shared {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Window) -> bool) {
        let mut window = self.window();
        if change(&mut window) {
            // Under the lock, so that marks are announced in their order.
            self.mark.send_replace(window.mark().cloned());
        }
    }

    /// Not before the first fragment, since only then is there sure to be a runtime.
    fn save_in_background(&self) {
        if !self.saving.load(Ordering::Relaxed)
            && let Ok(executor) = Handle::try_current()
            && !self.saving.swap(true, Ordering::Relaxed)
        {
            executor.spawn(Arc::clone(&self.saver).run());
        }
    }
}

impl fmt::Debug for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acks").field("position", &self.position()).field("saved", &self.saved()).finish()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("window", &self.window).finish_non_exhaustive()
    }
}
