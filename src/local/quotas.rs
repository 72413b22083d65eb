//! How much the endpoint lets one do.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The limits that the endpoint enforces: those of the service, unless set otherwise.
///
/// ```
/// use std::time::Duration;
/// use kinesis_video::local::Quotas;
///
/// // A test that does not want to wait.
/// let quotas = Quotas::default().idle(Duration::from_millis(50)).calls_per_second(None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub(super) idle: Duration,
    pub(super) session: Duration,
    pub(super) connections: Option<u32>,
    pub(super) calls_per_second: Option<u32>,
    pub(super) clock_tolerance: Option<Duration>,
    pub(super) linger: Duration,
    pub(super) aged_out: Expired,
}

/// What GetMedia does when it is to go on behind a fragment that was dropped, and others behind that one
/// were dropped too. Which of them the service does is not documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expired {
    /// The body is nothing but the error 4000, `FRAGMENT_NOT_FOUND`, inside the media.
    Fault,
    /// It begins with the oldest fragment that is kept.
    #[default]
    Oldest,
}

impl Quotas {
    /// A body of GetMedia ends when so long nothing has come: 3 seconds.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// A body of GetMedia ends when it is so old: 45 minutes.
    #[must_use]
    pub fn session(mut self, session: Duration) -> Self {
        self.session = session;
        self
    }

    /// How many bodies of GetMedia a stream may have open: 3. The newest is refused.
    #[must_use]
    pub fn connections(mut self, connections: Option<u32>) -> Self {
        self.connections = connections;
        self
    }

    /// How long a connection of GetMedia goes on to count when the client has closed it: not at all. What
    /// the service does is not known.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// What becomes of those who want to go on behind a fragment that retention has dropped: they get the
    /// oldest that is kept.
    #[must_use]
    pub fn aged_out(mut self, aged_out: Expired) -> Self {
        self.aged_out = aged_out;
        self
    }

    /// How often a second each operation may be called for a stream: 5.
    #[must_use]
    pub fn calls_per_second(mut self, calls: Option<u32>) -> Self {
        self.calls_per_second = calls;
        self
    }

    /// How far from the endpoint's clock a request may have been signed: 15 minutes. Others are refused
    /// with `RequestExpired`.
    #[must_use]
    pub fn clock_tolerance(mut self, tolerance: Option<Duration>) -> Self {
        self.clock_tolerance = tolerance;
        self
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(3),
            session: Duration::from_secs(45 * 60),
            connections: Some(3),
            calls_per_second: Some(5),
            clock_tolerance: Some(Duration::from_secs(15 * 60)),
            linger: Duration::ZERO,
            aged_out: Expired::default(),
        }
    }
}

/// Counts calls: a bucket a stream and operation, full at first, that fills again with time.
#[derive(Debug, Default)]
pub(super) struct CallRates {
    buckets: Mutex<HashMap<(String, &'static str), Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    calls: f64,
    filled: Instant,
}

impl CallRates {
    /// Whether this call is one too many.
    pub(super) fn exceeded(&self, quotas: &Quotas, stream: &str, operation: &'static str) -> bool {
        let Some(rate) = quotas.calls_per_second.map(f64::from) else { return false };
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket { calls: rate, filled: now };
        let bucket = buckets.entry((stream.to_owned(), operation)).or_insert(full);
        bucket.calls = (bucket.calls + rate * now.duration_since(bucket.filled).as_secs_f64()).min(rate);
        bucket.filled = now;
        if bucket.calls < 1.0 {
            return true;
        }
        bucket.calls -= 1.0;
        false
    }
}
