//! What tests can see of the decoding threads, and hold up.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::ThreadId;

/// One for each set of options, so that tests do not see each other's.
#[derive(Clone, Debug, Default)]
pub(super) struct Probe {
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) threads: HashSet<ThreadId>,
    /// How many coded frames the decoders have had.
    pub(super) coded: usize,
    /// How many threads wait at the gate.
    pub(super) waiting: usize,
    /// The coded frame at which decoding is held up.
    pub(super) gate: Option<usize>,
    /// How many runs are alive.
    pub(super) runs: usize,
    /// How many threads are at work.
    pub(super) steps: usize,
}

impl Probe {
    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        let (seen, changed) = &*self.seen;
        let result = look(&mut seen.lock().unwrap());
        changed.notify_all();
        result
    }

    /// A thread is at work as long as this lives.
    pub(super) fn begin(&self) -> impl Drop + use<> {
        self.with(|seen| seen.steps += 1);
        AtWork(self.clone())
    }

    /// A coded frame is about to be decoded.
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
