//! Bounds on what viewers use at the same time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::{Answer, Failure};

/// The most live viewers at the same time.
const LIVE: usize = 16;

/// The most answers from the archive that are being made at the same time.
const STORED: usize = 4;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// The places for requests that take memory.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    live: Arc<Semaphore>,
    stored: Arc<Semaphore>,
}

/// A place. Dropping it frees it.
#[derive(Debug)]
pub(super) struct Seat(#[allow(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Seats {
    pub(super) fn new() -> Self {
        Self { live: Arc::new(Semaphore::new(LIVE)), stored: Arc::new(Semaphore::new(STORED)) }
    }

    /// Takes a place for a live viewer.
    pub(super) fn live(&self) -> Answer<Seat> {
        let taken = |_| {
            Failure::busy(format!("{LIVE} viewers are watching already, which is the limit")).hint("close another one")
        };
        Arc::clone(&self.live).try_acquire_owned().map(Seat).map_err(taken)
    }

    /// Takes a place for an answer from the archive, or waits for one.
    pub(super) async fn stored(&self) -> Answer<Seat> {
        match timeout(PATIENCE, Arc::clone(&self.stored).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Seat(permit)),
            _ => {
                let message = format!("{STORED} requests for stored media are being answered, which is the limit");
                Err(Failure::busy(message).hint("try again in a moment"))
            }
        }
    }
}
