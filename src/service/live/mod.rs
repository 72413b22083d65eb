//! Live reading with GetMedia, over as many connections as it takes.

mod body;
mod call;
mod connection;
mod fragment_source;
mod metrics;
mod packet_source;
mod resume;
mod session;
mod start;
mod status;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{Acks, CheckpointStore};
use crate::fragment::{Bound, Position};
use crate::limits::Limits;
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use start::Start;
pub use status::LiveStatus;
pub use stream::{LiveFragments, LivePackets, LiveStream, StopHandle};

/// The action to take when the resume position is no longer retained.
///
/// This happens if a consumer was away for longer than the retention, or reads so slowly that its lag exceeds it. The
/// next fragment reports it as [`AgedOut`](crate::Discontinuity::AgedOut). With `reconnect(false)`, the stream always
/// fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnAgedOut {
    /// Ends the stream with the service's error.
    Fail,
    /// Continues with the oldest retained fragment. No retained fragment is lost.
    #[default]
    Earliest,
    /// Continues with the newest fragment. Older retained fragments are skipped.
    Now,
}

/// The action to take on a fragment that fails twice at the same byte.
///
/// A fragment fails if it does not parse or exceeds a [limit](Live::limits). A fragment that the connection cuts at the
/// same byte for 30 s also counts. With `reconnect(false)`, the stream fails at the first damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDamage {
    /// Ends the stream with the parser's error.
    Fail,
    /// Yields the intact part, flagged as [`Cut`](crate::FragmentEnd::Cut), and continues after the fragment.
    ///
    /// The loss is reported as [`SkippedFragment`](crate::Discontinuity::SkippedFragment), or as
    /// [`SkippedBytes`](crate::Discontinuity::SkippedBytes) if the fragment has no number.
    #[default]
    Skip,
}

/// A builder for reading a stream live with GetMedia, from [`KinesisVideo::live`](crate::KinesisVideo::live).
///
/// By default, the stream has no end.
///
/// ```no_run
/// use std::time::Duration;
/// use futures::TryStreamExt;
/// use kinesis_video::{Bound, KinesisVideo, OnAgedOut};
///
/// # async fn f(kvs: KinesisVideo, saved: kinesis_video::Position) -> kinesis_video::Result<()> {
/// let mut fragments = kvs
///     .live("front-door")
///     .start_after(saved)
///     .on_aged_out(OnAgedOut::Now)
///     .idle_timeout(Duration::from_secs(600))
///     .until(Bound::Count(1000))
///     .fragments();
/// while let Some(fragment) = fragments.try_next().await? {
///     println!("{:?}, {:?}", fragment.number(), fragment.discontinuities());
/// }
/// println!("{:?}", fragments.end_reason());
/// # Ok(())
/// # }
/// ```
///
/// # Settings
///
/// | setting | default |
/// |---|---|
/// | [`start`](Self::start) | [`Start::Now`] |
/// | [`until`](Self::until) | no end |
/// | [`reconnect`](Self::reconnect) | `true` |
/// | [`on_aged_out`](Self::on_aged_out) | [`OnAgedOut::Earliest`] |
/// | [`on_damage`](Self::on_damage) | [`OnDamage::Skip`] |
/// | [`idle_timeout`](Self::idle_timeout) | none |
/// | [`call_timeout`](Self::call_timeout) | 10 s |
/// | [`first_byte_timeout`](Self::first_byte_timeout) | 30 s |
/// | [`read_timeout`](Self::read_timeout) | 30 s |
/// | [`gap_tolerance`](Self::gap_tolerance) | 500 ms |
/// | [`limits`](Self::limits) | [`Limits::default`] |
///
/// # Reconnecting
///
/// The service ends a body after 3 s without media, and every body after about 45 minutes. Connections break,
/// calls are throttled, hosts change. None of these ends the stream. The next call starts after the last fragment that
/// was yielded.
///
/// - A fragment that arrives again is dropped. Fragments are compared by number.
/// - A fragment that was cut is yielded after it has arrived complete. If it does not arrive again, its intact part
///   is yielded. [`LiveFragments`] drops it if the stream ends by a stop or a deadline.
/// - Each event is reported on the [next fragment](crate::Fragment::discontinuities).
///
/// # End of the stream
///
/// [`LiveStream::end_reason`] returns why the stream ended. It ends
///
/// - at its [bound](Live::until),
/// - after the [idle timeout](Live::idle_timeout),
/// - when its [stop handle](LiveStream::stop_handle) is used,
/// - with an error that retrying does not help: an unknown stream, a missing permission, an invalid request, or
///   tracks whose encoding this crate cannot undo.
///
/// Unknown service errors are retried five times. So are expired or invalid credentials, once the stream has been
/// read.
///
/// # Calls
///
/// Clones of one [`KinesisVideo`](crate::KinesisVideo) together make at most 5 calls per second for each stream and
/// operation. Failed calls are retried after a random backoff with a growing bound:
///
/// | failure | last bound |
/// |---|---|
/// | most failures | 5 s |
/// | a body ends within 1 s without a complete fragment | 2 s |
/// | the service throttles the call | 10 s |
/// | too many connections to the stream | 15 s |
/// | access is denied and the call is retried | 60 s |
///
/// A data endpoint is requested again after 40 minutes.
///
/// # Metrics
///
/// [`LiveStream::status`] returns counters and the last error. With the feature `metrics`, these are also recorded
/// with the `metrics` facade. Each has the stream's name as the label `stream`:
///
/// | metric | type |
/// |---|---|
/// | `kinesis_video_live_fragments_total` | counter |
/// | `kinesis_video_live_bytes_total` | counter |
/// | `kinesis_video_live_reconnects_total` | counter |
/// | `kinesis_video_live_errors_total`, by `kind` | counter |
/// | `kinesis_video_live_behind_seconds` | gauge |
///
/// Events are logged with `tracing`, in a span `live` with the field `stream`.
///
/// # Many streams
///
/// Run one task for each stream, in a [`JoinSet`](tokio::task::JoinSet), over clones of one
/// [`KinesisVideo`](crate::KinesisVideo). The clones share connections and endpoints. In the example
/// `many_streams`, the failure of one stream does not end the others.
///
/// Several consumers of *one* stream use [`share`](crate::FragmentStreamExt::share), because the service allows
/// only three connections to a stream.
#[derive(Clone, Debug)]
#[must_use = "nothing is read before fragments() or packets() is called and polled"]
pub struct Live {
    client: Client,
    options: Options,
}

#[derive(Clone, Debug)]
struct Options {
    stream: StreamId,
    start: Start,
    until: Option<Bound>,
    reconnect: bool,
    on_aged_out: OnAgedOut,
    on_damage: OnDamage,
    idle_timeout: Option<Duration>,
    call_timeout: Duration,
    first_byte_timeout: Duration,
    read_timeout: Duration,
    gap_tolerance: Duration,
    limits: Limits,
}

impl Live {
    pub(super) fn new(client: Client, stream: StreamId) -> Self {
        let options = Options {
            stream,
            start: Start::default(),
            until: None,
            reconnect: true,
            on_aged_out: OnAgedOut::default(),
            on_damage: OnDamage::default(),
            idle_timeout: None,
            call_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            gap_tolerance: Duration::from_millis(500),
            limits: Limits::default(),
        };
        Self { client, options }
    }

    /// Sets the place at which to start reading. Default: [`Start::Now`].
    ///
    /// An empty token or an invalid start fails at the first poll. Replaces an earlier `start` or `start_after`.
    pub fn start(mut self, start: Start) -> Self {
        self.options.start = start;
        self
    }

    /// Starts reading after a saved [`Position`], as [`Start::AfterPosition`] does.
    ///
    /// An empty position counts as no longer retained: see [`on_aged_out`](Self::on_aged_out).
    pub fn start_after(self, position: Position) -> Self {
        self.start(Start::AfterPosition(position))
    }

    /// Sets the bound at which to stop reading. Default: no bound.
    ///
    /// The bound works as in [`FragmentStreamExt::until`](crate::FragmentStreamExt::until). In addition, a bound on the
    /// server's clock ends a stream that receives no more media. This happens 30 s or more after the bound.
    /// `Bound::Count(0)` ends the stream without a call.
    pub fn until(mut self, bound: impl Into<Bound>) -> Self {
        self.options.until = Some(bound.into());
        self
    }

    /// Sets whether to reconnect after the end of a body. Default: true.
    ///
    /// With `false`, the stream reads one body, and ends with
    /// [`StreamEnd::EndOfMedia`](crate::StreamEnd::EndOfMedia) after it. The first error ends the stream. Only a call
    /// to a wrong endpoint is retried once.
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.options.reconnect = reconnect;
        self
    }

    /// Sets the action to take when the resume position is no longer retained. Default: [`OnAgedOut::Earliest`].
    ///
    /// No effect with `reconnect(false)`.
    pub fn on_aged_out(mut self, action: OnAgedOut) -> Self {
        self.options.on_aged_out = action;
        self
    }

    /// Sets the action to take on a fragment that fails twice at the same byte. Default: [`OnDamage::Skip`].
    ///
    /// `Skip` yields the intact part. With `reconnect(false)` the stream fails at the first damage instead.
    pub fn on_damage(mut self, action: OnDamage) -> Self {
        self.options.on_damage = action;
        self
    }

    /// Sets how long a reader waits for an item before the stream ends. Default: no limit.
    ///
    /// The time starts at the first poll for an item, and does not run between an item and the next poll. If a body is
    /// open and bytes have arrived when the time is over, the time starts again. The end reason is
    /// [`StreamEnd::IdleTimeout`](crate::StreamEnd::IdleTimeout). If all calls so far have failed, the stream ends with
    /// the error of the first call instead.
    ///
    /// The intact part of a cut fragment is yielded before the end. It is not saved as a checkpoint, because the
    /// fragment may be complete at the next attempt.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.idle_timeout = Some(timeout);
        self
    }

    /// Sets the timeout of the response to an API call. Default: 10 s.
    ///
    /// The timeout applies to GetDataEndpoint and to GetMedia, each on its own. Waiting for the rate limit does not
    /// count. The call is then retried; with `reconnect(false)` the stream fails instead.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = timeout;
        self
    }

    /// Sets how long the first byte of a body may take before reconnecting. Default: 30 s.
    ///
    /// The time starts when the body is first read and has no data. The service itself ends a body after 3 s without
    /// media. With `reconnect(false)` the stream fails instead.
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.options.first_byte_timeout = timeout;
        self
    }

    /// Sets how long a body may be silent before reconnecting. Default: 30 s.
    ///
    /// The time starts again with each byte. It applies after the first byte. One fragment may take up to 20 s. With
    /// `reconnect(false)` the stream fails instead.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.options.read_timeout = timeout;
        self
    }

    /// Sets the longest time between two fragments that is not a gap. Default: 500 ms.
    ///
    /// The time runs from the end of one fragment to the start of the next, on the producer's clock. A longer time is
    /// reported as [`Gap`](crate::Discontinuity::Gap). Fragments without a producer time report no gap.
    pub fn gap_tolerance(mut self, tolerance: Duration) -> Self {
        self.options.gap_tolerance = tolerance;
        self
    }

    /// Sets the parser's limits. Default: [`Limits::default`].
    ///
    /// A fragment that exceeds a limit counts as damaged, and is handled by [`on_damage`](Live::on_damage). With
    /// `reconnect(false)`, the stream fails with [`ErrorKind::Limit`](crate::ErrorKind::Limit).
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Returns a stream of fragments. Each is yielded once, as soon as its last byte has arrived.
    pub fn fragments(self) -> LiveFragments {
        LiveFragments::fragments(self)
    }

    /// Returns a stream of fragments that starts after a stored checkpoint, and an acknowledgement handle.
    ///
    /// Without a checkpoint in the store, the stream begins at the [start](Live::start).
    ///
    /// The saved position is the last one before which every fragment is acknowledged. Fragments may therefore be
    /// processed concurrently and finish in any order. After a crash, each fragment is delivered *at least once*.
    /// These are delivered again:
    ///
    /// - fragments that were not acknowledged,
    /// - acknowledged fragments that follow an unacknowledged one,
    /// - acknowledged fragments whose checkpoint was not yet saved.
    ///
    /// Positions are saved in the background. [`Acks::close`] waits until the last one is saved.
    ///
    /// # Errors
    /// The stream ends with an error if the store cannot be read. It ends with
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) if 65,536 fragments wait for the first of them to be
    /// acknowledged.
    ///
    /// ```
    /// # #[cfg(feature = "local")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # use kinesis_video::local::{Document, LocalEndpoint, Shape};
    /// # let endpoint = LocalEndpoint::start().await?;
    /// # let door = endpoint.create_stream("front-door");
    /// # for n in 0..3 { door.push(&Document::new(Shape::Producer).video_track(1).block(1, n, true, b"coded")); }
    /// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
    /// use futures::{StreamExt, TryStreamExt};
    /// use kinesis_video::{Bound, Fragment, MemoryCheckpoint, Start};
    ///
    /// async fn detect(fragment: &Fragment) { /* ... */ }
    ///
    /// let store = MemoryCheckpoint::default(); // or FileCheckpoint::new("front-door.checkpoint")
    /// let live = kvs.live("front-door").start(Start::Earliest).until(Bound::Count(3));
    /// let (fragments, acks) = live.checkpointed(store.clone());
    /// fragments
    ///     .try_for_each_concurrent(8, |fragment| {
    ///         let acks = &acks;
    ///         async move {
    ///             detect(&fragment).await;
    ///             acks.done(&fragment.position());
    ///             Ok(())
    ///         }
    ///     })
    ///     .await?;
    /// let saved = acks.close().await?;
    /// assert!(saved.is_some() && saved == store.get());
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn checkpointed(self, store: impl CheckpointStore) -> (LiveFragments, Acks) {
        LiveFragments::checkpointed(self, Arc::new(store))
    }

    /// Returns a stream of packets. Each is yielded once, when its last byte has arrived.
    ///
    /// The stream also yields the start and the end of each fragment, and discontinuities. See
    /// [`PacketItem`](crate::demux::PacketItem).
    pub fn packets(self) -> LivePackets {
        LivePackets::packets(self)
    }
}
