//! The open connections of one operation of a stream.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::local::clock::later;

/// Counts open connections.
#[derive(Debug, Default)]
pub(crate) struct OpenConnections {
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    open: u32,
    /// When each connection that the client closed stops counting.
    lingering: Vec<Instant>,
}

/// One open connection. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    connections: Arc<OpenConnections>,
    linger: Duration,
}

impl OpenConnections {
    /// Opens a connection, unless `most` are open or lingering.
    pub(crate) fn open(self: &Arc<Self>, most: Option<u32>) -> Option<OpenConnection> {
        let mut counts = self.lock();
        let now = Instant::now();
        counts.lingering.retain(|until| *until > now);
        let counting = u32::try_from(counts.lingering.len()).unwrap_or(u32::MAX).saturating_add(counts.open);
        if most.is_some_and(|most| counting >= most) {
            return None;
        }
        counts.open += 1;
        Some(OpenConnection { connections: Arc::clone(self), linger: Duration::ZERO })
    }

    /// Returns how many are open, without those that linger.
    pub(crate) fn count(&self) -> u32 {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnection {
    /// Sets how long the connection counts after it is dropped.
    pub(crate) fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let mut counts = self.connections.lock();
        counts.open -= 1;
        if !self.linger.is_zero() {
            counts.lingering.push(later(self.linger));
        }
    }
}
