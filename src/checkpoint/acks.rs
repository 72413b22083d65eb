//! [`Acks`], with which a consumer acknowledges fragments, and [`Ledger`], which records the fragments to acknowledge.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::CheckpointStore;
use super::saver::Saver;
use super::window::Window;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "aws")]
use crate::fragment::FragmentHeader;
use crate::fragment::Position;

/// A handle with which a consumer acknowledges fragments. Clones acknowledge for the same consumer.
///
/// Fragments may be acknowledged in any order, so `buffer_unordered` is safe. The low-water mark is saved: the position
/// of the last fragment before the first one that is not acknowledged. A fragment that is never acknowledged keeps the
/// mark where it is.
///
/// Every fragment is yielded *at least once*. After a crash, everything after the saved position is
/// [yielded again](crate::checkpoint#repeats).
///
/// # Saving
/// A background task saves the mark when the mark has moved, at most once in the store's
/// [interval](CheckpointStore::save_interval). The task runs on the tokio runtime that polls the
/// stream. Outside a tokio runtime, only [`close`](Acks::close) saves.
///
/// - One save runs at a time, always with the newest mark. The mark never moves back.
/// - A failed save is logged with `tracing` and retried after 100 ms. The pause doubles up to 30 s.
/// - The task ends after a last save, when the stream and all `Acks` have been dropped. A failure of the last save is
///   logged and not retried.
/// - The task ends if a save fails with [`ErrorKind::LeaseLost`].
///
/// # Memory
/// About 300 bytes for the first fragment that is not acknowledged, and for each fragment after it, acknowledged or
/// not. After 65,536 such fragments the next item of the stream is an error with [`ErrorKind::Limit`].
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

/// The record of the fragments that a stream yields.
#[derive(Debug)]
pub(crate) struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    window: Mutex<Window>,
    mark: watch::Sender<Option<Position>>,
    saver: Arc<Saver>,
    /// Set once the background task has been spawned.
    saving: AtomicBool,
}

impl Acks {
    /// Acknowledges the fragment at a position.
    ///
    /// Does nothing if that fragment was never yielded or is already acknowledged. A fragment that is yielded again has
    /// to be acknowledged again.
    pub fn done(&self, position: &Position) {
        self.shared.change(|window| window.done(position));
    }

    /// Acknowledges the fragment at a position and every fragment yielded before it.
    ///
    /// Does nothing if that fragment was never yielded, or if the mark has passed it.
    pub fn done_through(&self, position: &Position) {
        self.shared.change(|window| window.done_through(position));
    }

    /// Returns the low-water mark: the position of the last fragment before the first unacknowledged one.
    ///
    /// `None` until the fragment that was yielded first is acknowledged. A live stream without a saved position begins with
    /// the time just before its first fragment.
    pub fn position(&self) -> Option<Position> {
        self.shared.window().mark().cloned()
    }

    /// Returns the position that was saved last.
    ///
    /// `None` if nothing was saved since the stream was created, even if the store held a position before.
    pub fn saved(&self) -> Option<Position> {
        self.shared.saver.saved()
    }

    /// Saves the low-water mark and returns the mark.
    ///
    /// Returns `None` and saves nothing if there is no mark yet. A mark that is saved already is not saved again.
    /// Clones of this `Acks` stay usable.
    ///
    /// # Errors
    /// - Errors of the store. The save is attempted once, after any save that is running, and not retried.
    /// - [`ErrorKind::Io`] if the task that saves panicked or the runtime shut down.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, the mark is still saved. This needs a tokio runtime.
    pub async fn close(self) -> Result<Option<Position>> {
        let saver = Arc::clone(&self.shared.saver);
        match Handle::try_current() {
            // In its own task, because an interrupted save could still complete after the next one.
            Ok(runtime) => runtime.spawn(async move { saver.save().await }).await.map_err(|error| {
                Error::new(ErrorKind::Io, "the task that saves the checkpoint did not finish")
                    .retryable(false)
                    .caused_by(error)
            })?,
            Err(_) => saver.save().await,
        }
    }
}

impl Ledger {
    /// Has the mark begin just before the first fragment, so that a crash before it is acknowledged loses nothing.
    #[cfg(feature = "aws")]
    pub(crate) fn starts_with(&self, header: &FragmentHeader) {
        if let Some(position) = Position::before(header) {
            self.shared.change(|window| window.starts_after(position));
        }
    }

    /// Records a fragment that is about to be yielded.
    ///
    /// # Errors
    /// [`ErrorKind::Limit`] if too many fragments are unacknowledged.
    pub(crate) fn record(&self, position: Position) -> Result<()> {
        self.shared.save_in_background();
        self.shared.window().record(position)
    }
}

/// Returns the two sides of one consumer's checkpoint.
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
            // Under the lock, so that marks are sent in their order.
            self.mark.send_replace(window.mark().cloned());
        }
    }

    /// Spawns the background task, at the first fragment. Before it there may be no runtime.
    fn save_in_background(&self) {
        if !self.saving.load(Ordering::Relaxed)
            && let Ok(runtime) = Handle::try_current()
            && !self.saving.swap(true, Ordering::Relaxed)
        {
            runtime.spawn(Arc::clone(&self.saver).run());
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
