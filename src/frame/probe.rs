//! Lets tests observe and block the decoding threads.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;

/// A probe belongs to one set of options, so tests do not affect each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe {
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) threads: HashSet<ThreadId>,
    /// The number of coded frames sent to decoders.
    pub(super) coded: usize,
    /// The number of threads that wait at the gate.
    pub(super) waiting: usize,
    /// The number of coded frames at which decoding blocks.
    pub(super) gate: Option<usize>,
    /// The number of live runs.
    pub(super) runs: usize,
    /// The number of threads that run a step.
    pub(super) steps: usize,
}

impl Probe {
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        let (seen, changed) = &*self.seen;
        let result = look(&mut seen.lock().unwrap());
        changed.notify_all();
        result
    }

    /// Counts a running step until the returned guard is dropped.
    pub(super) fn begin(&self) -> impl Drop + use<> {
        self.with(|seen| seen.steps += 1);
        AtWork(self.clone())
    }

    /// Counts a coded frame that is about to be decoded, and waits while the gate is closed.
    pub(super) fn visit(&self) {
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        seen.threads.insert(std::thread::current().id());
        seen.coded += 1;
        seen.waiting += 1;
        seen = changed.wait_while(seen, |seen| seen.gate.is_some_and(|gate| seen.coded >= gate)).unwrap();
        seen.waiting -= 1;
    }
}

struct AtWork(Probe);

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.with(|seen| seen.steps -= 1);
    }
}
