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
    pub(crate) idle: Duration,
    pub(crate) session: Duration,
    pub(crate) connections: Option<u32>,
    pub(crate) list_connections: Option<u32>,
    pub(crate) calls_per_second: Option<u32>,
    pub(crate) metadata_points: Option<u32>,
    pub(crate) media_points: Option<u32>,
    pub(crate) sessions_per_second: Option<u32>,
    pub(crate) clock_tolerance: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) listed_after: Duration,
    pub(crate) archived_after: Duration,
    pub(crate) aged_out: Expired,
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

    /// How many bodies of GetMediaForFragmentList a stream may have open: 5. The newest is refused.
    #[must_use]
    pub fn list_connections(mut self, connections: Option<u32>) -> Self {
        self.list_connections = connections;
        self
    }

    /// How long a connection of GetMedia or GetMediaForFragmentList goes on to count when the client has
    /// closed it: not at all. What the service does is not known.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// How old a fragment is when ListFragments begins to list it, by its server time and the endpoint's
    /// clock: any age.
    #[must_use]
    pub fn listed_after(mut self, age: Duration) -> Self {
        self.listed_after = age;
        self
    }

    /// How old a fragment is when GetMediaForFragmentList begins to find it, by its server time and the
    /// endpoint's clock: any age. In the place of a younger one stands the error 3000, `FRAGMENT_NOT_FOUND`.
    #[must_use]
    pub fn archived_after(mut self, age: Duration) -> Self {
        self.archived_after = age;
        self
    }

    /// What becomes of those who want to go on behind a fragment that retention has dropped: they get the
    /// oldest that is kept.
    #[must_use]
    pub fn aged_out(mut self, aged_out: Expired) -> Self {
        self.aged_out = aged_out;
        self
    }

    /// How often a second DescribeStream, GetDataEndpoint and GetMedia may each be called for a stream: 5.
    /// The operations of the archive have points instead.
    #[must_use]
    pub fn calls_per_second(mut self, calls: Option<u32>) -> Self {
        self.calls_per_second = calls;
        self
    }

    /// How many points a second the operations that read metadata of the archive may cost together, for a
    /// stream: 10,000. A call that costs more than that is let through when nothing has been spent lately,
    /// and others wait until it is paid off.
    #[must_use]
    pub fn metadata_points(mut self, points: Option<u32>) -> Self {
        self.metadata_points = points;
        self
    }

    /// The same for the operations that read media of the archive: 500.
    #[must_use]
    pub fn media_points(mut self, points: Option<u32>) -> Self {
        self.media_points = points;
        self
    }

    /// How many sessions of HLS, and of DASH, may be begun a second for a stream: 25.
    #[must_use]
    pub fn sessions_per_second(mut self, sessions: Option<u32>) -> Self {
        self.sessions_per_second = sessions;
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
            list_connections: Some(5),
            calls_per_second: Some(5),
            metadata_points: Some(10_000),
            media_points: Some(500),
            sessions_per_second: Some(25),
            clock_tolerance: Some(Duration::from_secs(15 * 60)),
            linger: Duration::ZERO,
            listed_after: Duration::ZERO,
            archived_after: Duration::ZERO,
            aged_out: Expired::default(),
        }
    }
}

/// Which budget of a stream an operation of the archive spends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Points {
    Metadata,
    Media,
}

impl Points {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Media => "media",
        }
    }

    /// How many there are a second.
    pub(crate) fn budget(self, quotas: &Quotas) -> Option<u32> {
        match self {
            Self::Metadata => quotas.metadata_points,
            Self::Media => quotas.media_points,
        }
    }
}

/// What was spent lately: a bucket for each stream and thing that there is only so much of a second, full
/// at first.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    buckets: Mutex<HashMap<(String, &'static str), Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// Less than nothing after a call that cost more than all of it.
    left: f64,
    filled: Instant,
}

impl Buckets {
    /// Takes so much out of a bucket that fills at this rate a second and holds no more than that; false if
    /// there is not enough in it. What costs more than a full one holds takes it into debt.
    pub(crate) fn take(&self, stream: &str, what: &'static str, rate: u32, cost: u64) -> bool {
        let (rate, cost) = (f64::from(rate), cost as f64);
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket { left: rate, filled: now };
        let bucket = buckets.entry((stream.to_owned(), what)).or_insert(full);
        bucket.left = (bucket.left + rate * now.duration_since(bucket.filled).as_secs_f64()).min(rate);
        bucket.filled = now;
        let is_enough = bucket.left >= cost.min(rate.max(1.0));
        if is_enough {
            bucket.left -= cost;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn buckets_fill_with_time() {
        let buckets = Buckets::default();
        let take = |cost| buckets.take("door", "media", 500, cost);
        assert!(take(499) && take(1) && take(0));
        assert!(!take(1));
        // Another's is its own.
        assert!(buckets.take("window", "media", 500, 500));
        assert!(buckets.take("door", "metadata", 500, 500));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(!take(51));
        assert!(take(50));
        // It holds no more than a second's worth.
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(take(500));
        assert!(!take(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_more_than_all_needs_a_full_one_and_is_paid_off() {
        let buckets = Buckets::default();
        let take = |cost| buckets.take("door", "media", 500, cost);
        assert!(take(1));
        assert!(!take(1000));
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(take(1000));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!take(1));
        tokio::time::advance(Duration::from_millis(2)).await;
        assert!(take(1));
        assert!(!buckets.take("door", "nothing", 0, 1));
    }
}
