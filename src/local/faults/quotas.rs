//! The limits that the endpoint enforces.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The limits that the endpoint enforces.
///
/// The defaults of the limits in this table are the service's. `None` turns a limit off. `Some(0)` refuses
/// every call that the limit covers. Durations pass on tokio's clock.
///
/// | Limit | Default | Beyond it |
/// |---|---|---|
/// | [`calls_per_second`](Self::calls_per_second), per stream and operation | 5 | `ClientLimitExceededException` |
/// | [`connections`](Self::connections) of GetMedia, per stream | 3 | `ConnectionLimitExceededException` |
/// | [`list_connections`](Self::list_connections) of GetMediaForFragmentList, per stream | 5 | `ClientLimitExceededException` |
/// | [`metadata_points`](Self::metadata_points) of the archive, per stream and second | 10,000 | `ClientLimitExceededException` |
/// | [`media_points`](Self::media_points) of the archive, per stream and second | 500 | `ClientLimitExceededException` |
/// | [`sessions_per_second`](Self::sessions_per_second) of HLS and of DASH, per stream | 25 | `ClientLimitExceededException` |
/// | [`playlists_per_second`](Self::playlists_per_second), per session and kind | 5 | `ClientLimitExceededException` |
/// | [`segments_per_second`](Self::segments_per_second), per session | 20 | `ClientLimitExceededException` |
/// | [`clock_tolerance`](Self::clock_tolerance) of signatures | 15 min | `RequestExpired` |
/// | [`idle`](Self::idle) timeout of GetMedia | 3 s | the body ends |
/// | [`session`](Self::session) length of GetMedia | 45 min | the body ends |
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
    pub(crate) playlists_per_second: Option<u32>,
    pub(crate) segments_per_second: Option<u32>,
    pub(crate) put_idle: Duration,
    pub(crate) put_session: Duration,
    pub(crate) put_connections: Option<u32>,
    pub(crate) clock_tolerance: Option<Duration>,
    pub(crate) linger: Duration,
    pub(crate) listed_after: Duration,
    pub(crate) archived_after: Duration,
    pub(crate) aged_out: Expired,
}

/// The answer of GetMedia to a reader that resumes before dropped fragments.
///
/// The reader asks for the fragments after a number. The oldest of those fragments were dropped. The
/// service's answer is not documented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expired {
    /// A body with nothing but the error 4000, `FRAGMENT_NOT_FOUND`, inside the media.
    Fault,
    /// A body that starts with the oldest fragment kept.
    #[default]
    Oldest,
}

impl Quotas {
    /// Sets the GetMedia idle timeout. Default: 3 s.
    ///
    /// A body ends after waiting this long for the next fragment.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Sets the longest duration of a GetMedia body. Default: 45 min.
    ///
    /// The body ends after a whole fragment.
    #[must_use]
    pub fn session(mut self, session: Duration) -> Self {
        self.session = session;
        self
    }

    /// Sets the most open connections of GetMedia per stream. Default: 3.
    ///
    /// Further calls are refused with `ConnectionLimitExceededException`.
    #[must_use]
    pub fn connections(mut self, connections: Option<u32>) -> Self {
        self.connections = connections;
        self
    }

    /// Sets the most open connections of GetMediaForFragmentList per stream. Default: 5.
    ///
    /// Further calls are refused with `ClientLimitExceededException`.
    #[must_use]
    pub fn list_connections(mut self, connections: Option<u32>) -> Self {
        self.list_connections = connections;
        self
    }

    /// Sets how long a connection still counts after the client closes it. Default: zero.
    ///
    /// It applies to GetMedia and GetMediaForFragmentList. A connection whose body has ended never lingers.
    /// The service's time is not known.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Sets the age at which ListFragments first lists a fragment. Default: zero.
    ///
    /// The age is by the fragment's server time and the endpoint's clock.
    #[must_use]
    pub fn listed_after(mut self, age: Duration) -> Self {
        self.listed_after = age;
        self
    }

    /// Sets the age at which GetMediaForFragmentList first finds a fragment. Default: zero.
    ///
    /// The age is by the fragment's server time and the endpoint's clock. A younger fragment is replaced by
    /// the error 3000, `FRAGMENT_NOT_FOUND`.
    #[must_use]
    pub fn archived_after(mut self, age: Duration) -> Self {
        self.archived_after = age;
        self
    }

    /// Sets the answer to readers that resume before dropped fragments.
    ///
    /// Default: [`Expired::Oldest`].
    #[must_use]
    pub fn aged_out(mut self, aged_out: Expired) -> Self {
        self.aged_out = aged_out;
        self
    }

    /// Sets the most calls per second for each stream and operation. Default: 5.
    ///
    /// It applies to DescribeStream, GetDataEndpoint, GetMedia, PutMedia, and the operations that change a stream or
    /// its tags. Further calls are refused as throttled.
    /// ListStreams has no limit. The archive's operations have points, or sessions per second, instead.
    #[must_use]
    pub fn calls_per_second(mut self, calls: Option<u32>) -> Self {
        self.calls_per_second = calls;
        self
    }

    /// Sets the points per second for reading the archive's metadata. Default: 10,000.
    ///
    /// The points are per stream, and shared by all operations in this table:
    ///
    /// | Operation | Points of a call |
    /// |---|---|
    /// | ListFragments | MaxResults, 100 by default |
    /// | GetClip | one per fragment |
    /// | GetImages | 400 plus MaxResults, 25 by default |
    ///
    /// At most one second's points accumulate. A call that costs more needs a full balance, and takes the
    /// balance below zero. While the balance is too low, further calls are refused as throttled; nothing
    /// waits.
    #[must_use]
    pub fn metadata_points(mut self, points: Option<u32>) -> Self {
        self.metadata_points = points;
        self
    }

    /// Sets the points per second for reading the archive's media. Default: 500.
    ///
    /// GetMediaForFragmentList and GetClip cost one point per fragment. GetImages costs MaxResults points. Points
    /// accumulate and run out as [`metadata_points`](Self::metadata_points) do.
    #[must_use]
    pub fn media_points(mut self, points: Option<u32>) -> Self {
        self.media_points = points;
        self
    }

    /// Sets the most new sessions per second of each protocol and stream. Default: 25.
    ///
    /// The protocols are HLS and DASH. Further calls are refused as throttled.
    #[must_use]
    pub fn sessions_per_second(mut self, sessions: Option<u32>) -> Self {
        self.sessions_per_second = sessions;
        self
    }

    /// Sets the most playlists per second of each session. Default: 5.
    ///
    /// The limit is for each of these: master playlists, media playlists, manifests, and init segments. Further calls are
    /// refused as throttled.
    #[must_use]
    pub fn playlists_per_second(mut self, playlists: Option<u32>) -> Self {
        self.playlists_per_second = playlists;
        self
    }

    /// Sets the most media segments per second of each session. Default: 20.
    ///
    /// Further calls are refused as throttled.
    #[must_use]
    pub fn segments_per_second(mut self, segments: Option<u32>) -> Self {
        self.segments_per_second = segments;
        self
    }

    /// Sets the PutMedia idle timeout. Default: 30 s.
    ///
    /// A session ends with the acknowledgement `IDLE` after waiting this long for the next bytes.
    #[must_use]
    pub fn put_idle(mut self, idle: Duration) -> Self {
        self.put_idle = idle;
        self
    }

    /// Sets the longest duration of a PutMedia session. Default: 45 min.
    ///
    /// The session ends with the error 4003, and the fragment that has begun is discarded.
    #[must_use]
    pub fn put_session(mut self, session: Duration) -> Self {
        self.put_session = session;
        self
    }

    /// Sets the most open connections of PutMedia per stream. Default: 1.
    ///
    /// Further calls are refused with `ConnectionLimitExceededException`.
    #[must_use]
    pub fn put_connections(mut self, connections: Option<u32>) -> Self {
        self.put_connections = connections;
        self
    }

    /// Sets how far a signature's time may be from the endpoint's clock. Default: 15 min.
    ///
    /// Requests further away are refused with `RequestExpired`. Requests without a date are accepted.
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
            playlists_per_second: Some(5),
            segments_per_second: Some(20),
            put_idle: Duration::from_secs(30),
            put_session: Duration::from_secs(45 * 60),
            put_connections: Some(1),
            clock_tolerance: Some(Duration::from_secs(15 * 60)),
            linger: Duration::ZERO,
            listed_after: Duration::ZERO,
            archived_after: Duration::ZERO,
            aged_out: Expired::default(),
        }
    }
}

/// The budget that a call to the archive spends from.
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

    /// Returns the points per second.
    pub(crate) fn budget(self, quotas: &Quotas) -> Option<u32> {
        match self {
            Self::Metadata => quotas.metadata_points,
            Self::Media => quotas.media_points,
        }
    }
}

/// Token buckets, one per stream and kind. They start full.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    buckets: Mutex<HashMap<(String, &'static str), Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    /// Negative after a call that cost more than a full bucket.
    left: f64,
    filled: Instant,
}

impl Buckets {
    /// Removes the buckets of a stream that was deleted.
    pub(crate) fn forget(&self, stream: &str) {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _), _| name != stream);
    }

    /// Takes `cost` from a bucket that refills at `rate` per second and holds one second's worth.
    ///
    /// Returns false if it holds too little. A cost above `rate` needs a full bucket, and leaves it
    /// negative.
    pub(crate) fn take(&self, stream: &str, kind: &'static str, rate: u32, cost: u64) -> bool {
        let (rate, cost) = (f64::from(rate), cost as f64);
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full = Bucket { left: rate, filled: now };
        let bucket = buckets.entry((stream.to_owned(), kind)).or_insert(full);
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
        // Streams and kinds have separate buckets.
        assert!(buckets.take("window", "media", 500, 500));
        assert!(buckets.take("door", "metadata", 500, 500));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(!take(51));
        assert!(take(50));
        // It holds at most one second's worth.
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(take(500));
        assert!(!take(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cost_above_the_rate_needs_a_full_bucket_and_leaves_debt() {
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
