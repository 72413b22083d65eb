//! Saves the low-water mark in the background.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::CheckpointStore;
use crate::error::{ErrorKind, Result};
use crate::fragment::Position;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Saves the newest mark to a store. Marks that arrive during a save replace each other.
pub(super) struct Saver {
    store: Arc<dyn CheckpointStore>,
    mark: watch::Receiver<Option<Position>>,
    /// Held during a save, so that at most one runs at a time.
    turn: tokio::sync::Mutex<()>,
    saved: Mutex<Option<Position>>,
}

impl Saver {
    pub(super) fn new(store: Arc<dyn CheckpointStore>, mark: watch::Receiver<Option<Position>>) -> Self {
        Self { store, mark, turn: tokio::sync::Mutex::default(), saved: Mutex::default() }
    }

    pub(super) fn saved(&self) -> Option<Position> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Saves the mark if it has moved, and returns it.
    pub(super) async fn save(&self) -> Result<Option<Position>> {
        let _turn = self.turn.lock().await;
        let mark = self.mark.borrow().clone();
        if let Some(mark) = &mark
            && self.saved().as_ref() != Some(mark)
        {
            self.store.save(mark).await?;
            *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = Some(mark.clone());
        }
        Ok(mark)
    }

    /// Saves marks until nobody is left who could move the mark, or until the store's lease is lost.
    ///
    /// A newer mark replaces one that is not saved yet. Two saves are at least the store's interval apart.
    pub(super) async fn run(self: Arc<Self>) {
        let interval = self.store.save_interval();
        let mut marks = self.mark.clone();
        let mut pause = FIRST_PAUSE;
        let mut earliest = Instant::now();
        let mut is_open = true;
        while is_open {
            is_open = marks.changed().await.is_ok();
            if is_open && !interval.is_zero() {
                is_open = timeout_at(earliest, all_dropped(&mut marks)).await.is_err();
            }
            while let Err(error) = self.save().await {
                if error.kind() == ErrorKind::LeaseLost {
                    tracing::warn!(%error, "no more checkpoints are saved");
                    return;
                }
                if !is_open {
                    tracing::warn!(%error, "could not save the last checkpoint");
                    break;
                }
                {
                    let cause = std::error::Error::source(&error).map(tracing::field::display);
                    tracing::warn!(%error, cause, "could not save a checkpoint, which is tried again");
                }
                is_open = timeout(pause, all_dropped(&mut marks)).await.is_err();
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            pause = FIRST_PAUSE;
            earliest = Instant::now() + interval;
        }
    }
}

async fn all_dropped(marks: &mut watch::Receiver<Option<Position>>) {
    while marks.changed().await.is_ok() {}
}
