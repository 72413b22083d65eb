//! Reading a stream as it is produced, for ever.

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
use crate::fragment::Bound;
use crate::limits::Limits;
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use start::Start;
pub use status::LiveStatus;
pub use stream::{LiveFragments, LivePackets, LiveStream, StopHandle};

/// What to do when the place to go on is not kept any more: a consumer that was away for longer than
/// the stream's retention, or too slow for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgedOut {
    /// End with the error.
    Fail,
    /// Go on with the oldest that there is: no more is lost than is gone.
    #[default]
    Earliest,
    /// Go on with the newest.
    Now,
}

/// What to do about a fragment that cannot be read, twice at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damaged {
    /// End with the error.
    Fail,
    /// Give out what is whole of it, flagged as [`Cut`](crate::FragmentEnd::Cut), and go on behind it. What
    /// cannot be read is reported: [`SkippedFragment`](crate::Discontinuity::SkippedFragment), or
    /// [`Skipped`](crate::Discontinuity::SkippedBytes) if it has no number.
    #[default]
    PassOver,
}

/// How to read a stream live, from [`KinesisVideo::live`]. Unless told otherwise it is read for ever.
///
/// ```no_run
/// use std::time::Duration;
/// use futures::TryStreamExt;
/// use kinesis_video::{AgedOut, Bound, KinesisVideo, Start};
///
/// # async fn f(kvs: KinesisVideo, saved: kinesis_video::Position) -> kinesis_video::Result<()> {
/// let mut fragments = kvs
///     .live("front-door")
///     .start(saved)
///     .when_aged_out(AgedOut::Now)
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
/// # What it does by itself
///
/// The service ends bodies that had no media for 3 seconds, and all after about 45 minutes; connections
/// break, calls are throttled, hosts change. None of that ends the stream: the next call begins behind
/// the last fragment that came in whole. Fragments that come again are dropped, by number; a fragment
/// that was cut is given out once it has come in whole, or as far as it came if it cannot be had any
/// more. What happened before a fragment [is on the fragment](crate::Fragment::discontinuities).
///
/// # What ends it
///
/// What was [asked for](Live::until); [silence](Live::idle_timeout), if that was asked for; the
/// [stop handle](LiveStream::stop_handle); and an error that will not go away by itself: no such
/// stream, no permission, a request that makes no sense, tracks that are stored in a way that this
/// crate cannot undo. Five times more is tried what nobody has heard of, and, on a stream that has been
/// read, what has to do with credentials. Why it ended says [`LiveStream::end_reason`].
///
/// # Calls
///
/// At most 5 a second for a stream and operation, for all clones of a [`KinesisVideo`] together.
/// Pauses between failures grow, at random, to 5 seconds; to 10 when throttled, to 15 when there are
/// too many connections, and to 60 where permissions or keys are missing. A [data endpoint](super) is asked for again after 40 minutes.
///
/// # Numbers
///
/// [`LiveStream::status`] tells how a stream is doing. With the feature `metrics` the `metrics` facade
/// is told, too, each with the name of the stream as the label `stream`: the counters
/// `kinesis_video_live_fragments_total`, `kinesis_video_live_bytes_total`,
/// `kinesis_video_live_reconnects_total` and, by `kind`, `kinesis_video_live_errors_total`, and the
/// gauge `kinesis_video_live_behind_seconds`. What happens is logged with `tracing`, in a span `live`
/// with the field `stream`.
///
/// # Many streams
///
/// A task for each, in a [`JoinSet`](tokio::task::JoinSet), over clones of one [`KinesisVideo`]: that is
/// no thread, and they share connections and endpoints. The example `many_streams` adds and removes some
/// while it runs. What several consumers of *one* stream want is
/// [`share`](crate::FragmentStreamExt::share): the service allows only three connections.
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
    resume: bool,
    aged_out: AgedOut,
    damaged: Damaged,
    idle_timeout: Option<Duration>,
    connect_timeout: Duration,
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
            resume: true,
            aged_out: AgedOut::default(),
            damaged: Damaged::default(),
            idle_timeout: None,
            connect_timeout: Duration::from_secs(10),
            first_byte_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            gap_tolerance: Duration::from_millis(500),
            limits: Limits::default(),
        };
        Self { client, options }
    }

    /// Where to begin: [`Start::Now`] unless set. Takes a saved [`Position`](crate::Position), too.
    pub fn start(mut self, start: impl Into<Start>) -> Self {
        self.options.start = start.into();
        self
    }

    /// Where to end: nowhere unless set. As [`until`](crate::FragmentStreamExt::until), which comes
    /// behind; here a time on the server's clock also ends a stream in which nothing comes any more.
    pub fn until(mut self, bound: impl Into<Bound>) -> Self {
        self.options.until = Some(bound.into());
        self
    }

    /// Whether to go on behind the end of a body: true unless set. If not, one body is read, and its
    /// end is [`StreamEnd::EndOfMedia`](crate::StreamEnd::EndOfMedia) and its error the stream's.
    pub fn resume(mut self, resume: bool) -> Self {
        self.options.resume = resume;
        self
    }

    /// What to do when the place to go on is not kept any more: [`AgedOut::Earliest`] unless set.
    pub fn when_aged_out(mut self, what: AgedOut) -> Self {
        self.options.aged_out = what;
        self
    }

    /// What to do about fragments that cannot be read: [`Damaged::PassOver`] unless set.
    pub fn when_damaged(mut self, what: Damaged) -> Self {
        self.options.damaged = what;
        self
    }

    /// Ends the stream when whoever reads it has waited so long for a fragment, whatever the reason:
    /// never unless set. A fragment that was cut comes before the end, as far as it came; it is not counted
    /// as given out, since another time it may come in whole. The reason is [`StreamEnd::IdleTimeout`](crate::StreamEnd::IdleTimeout); if
    /// the service was never reached, the stream ends with what was wrong.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.options.idle_timeout = Some(timeout);
        self
    }

    /// How long the answer to a call may take: 10 seconds unless set. Then the call is made again.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.options.connect_timeout = timeout;
        self
    }

    /// How long the first byte of a body may take: 30 seconds unless set. The service itself ends a
    /// body without media after 3. Then the connection is made again.
    pub fn first_byte_timeout(mut self, timeout: Duration) -> Self {
        self.options.first_byte_timeout = timeout;
        self
    }

    /// How long nothing may come in the middle of a body: 30 seconds unless set. A fragment may last
    /// 20. Then the connection is taken for lost, and made again.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.options.read_timeout = timeout;
        self
    }

    /// How much time between two fragments is a [gap](crate::Discontinuity::Gap), on the producer's
    /// clock: more than half a second unless set.
    pub fn gap_tolerance(mut self, tolerance: Duration) -> Self {
        self.options.gap_tolerance = tolerance;
        self
    }

    /// Sets the limits. A fragment beyond them counts as damaged.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// The fragments, each once, each as soon as its last byte has come.
    pub fn fragments(self) -> LiveFragments {
        LiveFragments::fragments(self)
    }

    /// The fragments from the checkpoint on that this store has, or from the [start](Live::start) if it has
    /// none, and the handle by which whoever is done with one says so.
    ///
    /// What is saved is the position behind which nothing is missing, so that fragments may be worked on
    /// side by side and get done in any order. After a crash, each is given out *at least once*: again
    /// are those that were not done, those done while one before them was not, and those of which that
    /// had not been saved yet. Saving goes on in the background; [`Acks::close`] waits for it.
    ///
    /// A store that cannot be read is the first item, an error. So is, later, an
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) where 65,536 fragments wait for the first of them to
    /// be done.
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

    /// The packets, each once, each as soon as its last byte has come, between the start and the end of
    /// their fragments.
    pub fn packets(self) -> LivePackets {
        LivePackets::packets(self)
    }
}
