//! Saves the mark while the consumer goes on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::CheckpointStore;
use crate::error::Result;
use crate::fragment::Position;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is to be saved, and where to. While one save runs, newer marks replace each other.
pub(super) struct Saver {
    store: Arc<dyn CheckpointStore>,
    mark: watch::Receiver<Option<Position>>,
    /// At most one save at a time.
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

    /// Saves the mark, if it has moved, and tells what is saved now.
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

    /// Saves every mark that nothing newer overtakes, until nobody is left who could move it.
    pub(super) async fn run(self: Arc<Self>) {
        let mut marks = self.mark.clone();
        let mut pause = FIRST_PAUSE;
        let mut live = true;
        while live {
            live = marks.changed().await.is_ok();
            while let Err(error) = self.save().await {
                if !live {
                    tracing::warn!(%error, "the last checkpoint is not saved");
                    break;
                }
                tracing::warn!(%error, ?pause, "a checkpoint is not saved, and will be tried again");
                live = timeout(pause, all_gone(&mut marks)).await.is_err();
                pause = LONGEST_PAUSE.min(pause * 2);
            }
            pause = FIRST_PAUSE;
        }
    }
}

async fn all_gone(marks: &mut watch::Receiver<Option<Position>>) {
    while marks.changed().await.is_ok() {}
}
