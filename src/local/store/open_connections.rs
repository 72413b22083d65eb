//! The bodies of one operation that a stream has open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::local::server::body::later;

/// Counts them.
#[derive(Debug, Default)]
pub(crate) struct OpenBodies {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    open: u32,
    /// Until when those count that clients have closed.
    lingering: Vec<Instant>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenBody {
    bodies: Arc<OpenBodies>,
    linger: Duration,
}

impl OpenBodies {
    /// Opens one, unless so many are open, or count as if they were.
    pub(crate) fn open(self: &Arc<Self>, most: Option<u32>) -> Option<OpenBody> {
        let mut counts = self.lock();
        let now = Instant::now();
        counts.lingering.retain(|until| *until > now);
        let counting = u32::try_from(counts.lingering.len()).unwrap_or(u32::MAX).saturating_add(counts.open);
        if most.is_some_and(|most| counting >= most) {
            return None;
        }
        counts.open += 1;
        Some(OpenBody { bodies: Arc::clone(self), linger: Duration::ZERO })
    }

    /// How many are really open.
    pub(crate) fn count(&self) -> u32 {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenBody {
    /// How long it counts when it is dropped.
    pub(crate) fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        let mut counts = self.bodies.lock();
        counts.open -= 1;
        if !self.linger.is_zero() {
            counts.lingering.push(later(self.linger));
        }
    }
}
