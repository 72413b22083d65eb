//! Reading what is stored.

mod driver;
mod progress;
mod scheduler;

use std::collections::HashSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::try_stream;
use futures::Stream;
use futures::stream::{FusedStream, StreamExt};
use tokio::sync::watch;
use tracing::Span;

use super::lazy_stream::Lazy;
use super::list::Listing;
use super::{Clock, FragmentInfo, Order};
use crate::error::{Error, Result};
use crate::fragment::{Discontinuity, Fragment, FragmentNumber, Position, Timestamp};
use crate::limits::Limits;
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use progress::ArchiveProgress;

use driver::Fetch;
use scheduler::{Budget, Work};

/// What to do about a fragment that cannot be had, however often it is asked for: it is no longer kept, or
/// not there yet after all, or stored damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unavailable {
    /// Give out what is whole of it, flagged as [`Cut`](crate::FragmentEnd::Cut), if anything is, and end with the
    /// error.
    #[default]
    Fail,
    /// Give out what is whole of it, and go on behind it. The next fragment
    /// [says so](crate::Discontinuity::SkippedFragment), or, behind the last, [`Archive::trailing`].
    Skip,
}

/// Stream of stored fragments, from [`KinesisVideo::archive`], in order, each once. Its options are to be set
/// before it is polled.
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use futures::TryStreamExt;
/// use kinesis_video::local::{Document, LocalEndpoint, Shape};
/// use kinesis_video::{Clock, KinesisVideo, Timestamp};
///
/// let endpoint = LocalEndpoint::start().await?;
/// let door = endpoint.create_stream("door");
/// let document = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame");
/// let (first, last) = (door.push(&document), door.push(&document));
///
/// let kvs = KinesisVideo::new(&endpoint.sdk_config());
/// let mut fragments = kvs.archive("door").range(first.server_time..=last.server_time);
/// while let Some(fragment) = fragments.try_next().await? {
///     println!("{:?}: {} packets", fragment.number(), fragment.packets().count());
/// }
/// assert_eq!(fragments.progress().borrow().fragments, 2);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
///
/// # What it does by itself
///
/// A [range](Archive::range) is listed first, all of it, and put in [order](Archive::order); what is listed is
/// fetched with GetMediaForFragmentList in as few calls as fit into what the service allows a stream (all of it
/// can be [set](Archive::batch)), several at a time, and given out in order, each fragment as soon as it and
/// all before it are there. The service says nothing about the order of its answer: fragments are told by their
/// numbers.
///
/// Where an answer is cut, what is missing is asked for again, and nothing else. So is what the answer does
/// without or reports as not found (what is younger than a second or so); alone, if need be, with pauses that
/// grow up to five seconds, and [eight times](Archive::attempts) at most. What comes damaged is asked for twice.
/// Then it is [unavailable](Archive::when_unavailable). A fragment of the archive has no closing tags to prove
/// that it is whole: it is taken for whole if another document follows; or if the body ends in good order, all
/// that was asked for is there, and it is as large as listed, if it is. One that is smaller counts as whole when it comes a
/// second time with the same bytes.
///
/// What else went wrong or is odd before a fragment is [on the fragment](crate::Fragment::discontinuities):
/// gaps, a timeline that goes back, other tracks.
///
/// # Errors
/// Arguments that cannot be right, before anything is sent. A fragment that is unavailable, unless those are
/// to be skipped. No such stream, no permission, a KMS key that cannot be used; and whatever goes wrong eight
/// times in a row. [`ErrorKind::Retention`](crate::ErrorKind::Retention) if a range ends before what the stream still
/// keeps, or the stream keeps nothing. All fragments before the one that failed come before the error, so that
/// [`progress`](Archive::progress) has the [`Position`] to [go on](Archive::resume) from: behind the last that was
/// whole. What is whole of the one that failed comes too, as [`Cut`](crate::FragmentEnd::Cut).
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the stream closes its connections at once.
///
/// # Memory
/// Fragments that came before their turn: [64 MiB](Archive::buffer_bytes), or the one that everything waits for; for
/// each connection the fragment that is coming in and, where nothing says how large fragments are, the one before
/// it. What is held stands in buffers that may be twice as large. And some 200 bytes for each fragment of the range.
/// Whoever reads slowly slows down the connections.
///
/// Sources: AWS API reference, ListFragments and GetMediaForFragmentList; AWS developer guide, quotas.
#[must_use = "streams do nothing unless polled"]
pub struct Archive {
    reading: Reading,
    progress: watch::Sender<ArchiveProgress>,
    trailing: Arc<OnceLock<Vec<Discontinuity>>>,
    span: Span,
    fragments: Lazy<Fragment>,
}

#[derive(Clone, Debug)]
enum Wanted {
    Nothing,
    Range(RangeInclusive<Timestamp>),
    /// With their sizes as listed; 0 if unknown.
    These(Vec<(FragmentNumber, u64)>),
}

fn sized(info: FragmentInfo) -> (FragmentNumber, u64) {
    (info.number().clone(), info.bytes())
}

/// How fragments are fetched.
#[derive(Clone, Copy, Debug)]
struct Fetching {
    budget: Budget,
    points_per_second: u32,
    unavailable: Unavailable,
    call_timeout: Duration,
    read_timeout: Duration,
    gap_tolerance: Duration,
    limits: Limits,
}

impl Archive {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        let how = Fetching {
            budget: Budget { batch: 500, calls: 5, bytes: 64 << 20, attempts: 8 },
            points_per_second: 500,
            unavailable: Unavailable::default(),
            call_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            gap_tolerance: Duration::from_millis(500),
            limits: Limits::default(),
        };
        let span = tracing::info_span!("archive", %stream);
        let reading = Reading {
            client,
            stream,
            wanted: Wanted::Nothing,
            clock: Clock::default(),
            order: Order::default(),
            resume: None,
            settle: Duration::from_secs(2),
            how,
        };
        let (progress, trailing) = (watch::Sender::default(), Arc::default());
        Self { reading, progress, trailing, span, fragments: Lazy::Before }
    }

    /// The fragments that begin within this range, both ends included. One that began before and goes on
    /// within it is not among them.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.reading.wanted = Wanted::Range(range);
        self
    }

    /// The clock by which the range is meant: [`Clock::Server`] unless set.
    pub fn by(mut self, clock: Clock) -> Self {
        self.reading.clock = clock;
        self
    }

    /// The order in which the fragments of a range come: [`Order::Number`] unless set.
    pub fn order(mut self, order: Order) -> Self {
        self.reading.order = order;
        self
    }

    /// These fragments, in this order, instead of a range; one that is named twice comes once. Since nothing
    /// says how large they are, not so many are asked for at a time: [`listed`](Archive::listed) is better
    /// where there is a list.
    pub fn numbers(mut self, numbers: impl IntoIterator<Item = FragmentNumber>) -> Self {
        self.reading.wanted = Wanted::These(numbers.into_iter().map(|number| (number, 0)).collect());
        self
    }

    /// These fragments, in this order, instead of a range; one that is named twice comes once.
    ///
    /// ```no_run
    /// # async fn f(kvs: kinesis_video::KinesisVideo, range: std::ops::RangeInclusive<kinesis_video::Timestamp>) -> kinesis_video::Result<()> {
    /// use futures::TryStreamExt;
    /// use kinesis_video::Order;
    ///
    /// // One fragment in sixty.
    /// let list = kvs.list_fragments("front-door").range(range).sorted(Order::Number);
    /// let list: Vec<_> = list.try_collect().await?;
    /// let fragments = kvs.archive("front-door").listed(list.into_iter().step_by(60));
    /// # Ok(())
    /// # }
    /// ```
    pub fn listed(mut self, infos: impl IntoIterator<Item = FragmentInfo>) -> Self {
        self.reading.wanted = Wanted::These(infos.into_iter().map(sized).collect());
        self
    }

    /// Leaves out what comes before this position in the [order](Archive::order), and the fragment that it is
    /// of: another process gave those out. Among [`numbers`](Archive::numbers) its number must be one.
    pub fn resume(mut self, behind: Position) -> Self {
        self.reading.resume = Some(behind);
        self
    }

    /// What to do about fragments that cannot be had: [`Unavailable::Fail`] unless set.
    pub fn when_unavailable(mut self, what: Unavailable) -> Self {
        self.reading.how.unavailable = what;
        self
    }

    /// How many fragments to ask for in a call, at most: 500 unless set. The service takes 1000, but that many
    /// cost more than it allows in a second.
    pub fn batch(mut self, fragments: usize) -> Self {
        self.reading.how.budget.batch = fragments;
        self
    }

    /// How many calls to have open at a time, at most: 5 unless set, which is as many as the service allows
    /// a stream, for all who read it.
    pub fn connections(mut self, connections: usize) -> Self {
        self.reading.how.budget.calls = connections;
        self
    }

    /// How many bytes may be asked for before their turn, and wait for it: 64 MiB unless set. A call asks for
    /// a part of that.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.reading.how.budget.bytes = bytes;
        self
    }

    /// How many points of media a second to use: 500 unless set, which is what the service allows a stream, for
    /// all who read it. A fragment costs one. All clones of a [`KinesisVideo`] keep to it together.
    pub fn points_per_second(mut self, points: u32) -> Self {
        self.reading.how.points_per_second = points;
        self
    }

    /// How often to ask for a fragment that does not come, and how often a call may fail in a row: eight times
    /// unless set.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.reading.how.budget.attempts = attempts;
        self
    }

    /// How long after the end of a range to list it: 2 seconds unless set, since what has just been stored
    /// cannot be listed at once. Nothing is waited for if the range ended before that, and no longer if it ends
    /// in the future.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.reading.settle = settle;
        self
    }

    /// How long the answer to a call may take: 30 seconds unless set. Then the call is made again.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.reading.how.call_timeout = timeout;
        self
    }

    /// How long nothing may come of a body: 30 seconds unless set. Then what is missing is asked for again.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.reading.how.read_timeout = timeout;
        self
    }

    /// How much time between two fragments is a [gap](crate::Discontinuity::Gap), on the producer's
    /// clock: more than half a second unless set.
    pub fn gap_tolerance(mut self, tolerance: Duration) -> Self {
        self.reading.how.gap_tolerance = tolerance;
        self
    }

    /// Sets the limits. A fragment beyond them counts as damaged.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.reading.how.limits = limits;
        self
    }

    /// How far it has come, to look at or to wait for changes of.
    pub fn progress(&self) -> watch::Receiver<ArchiveProgress> {
        self.progress.subscribe()
    }

    /// Fragments that were skipped behind the last that came; empty before the end.
    pub fn trailing(&self) -> &[Discontinuity] {
        self.trailing.get().map_or(&[], Vec::as_slice)
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Reading {
    client: Client,
    stream: StreamId,
    wanted: Wanted,
    clock: Clock,
    order: Order,
    resume: Option<Position>,
    settle: Duration,
    how: Fetching,
}

impl Reading {
    fn fragments(
        self,
        progress: watch::Sender<ArchiveProgress>,
        trailing: Arc<OnceLock<Vec<Discontinuity>>>,
    ) -> impl Stream<Item = Result<Fragment>> + Send + 'static {
        try_stream! {
            let failed = progress.clone();
            let begun = self.begin(progress).await;
            let mut fetch = begun.inspect_err(|error| failed.send_modify(|failed| failed.error = Some(error.clone())))?;
            while let Some(fragment) = fetch.next().await? {
                yield fragment;
            }
            let _ = trailing.set(fetch.into_trailing());
        }
    }

    /// Finds out what there is to fetch.
    async fn begin(self, progress: watch::Sender<ArchiveProgress>) -> Result<Fetch> {
        let named = |error: Error| error.of_stream(self.stream.as_str());
        self.check().map_err(named)?;
        let resume = self.resume.as_ref();
        let wanted = match self.wanted {
            Wanted::Nothing => {
                return Err(named(Error::invalid_argument("neither a range nor fragment numbers are given")));
            }
            Wanted::These(ref these) => {
                let mut seen = HashSet::with_capacity(these.len());
                let these = these.iter().filter(|(number, _)| seen.insert(number)).cloned().collect();
                behind(these, resume).map_err(named)?
            }
            Wanted::Range(ref range) => {
                let mut listing = Listing::new(self.client.clone(), self.stream.clone());
                listing.range = Some(range.clone());
                listing.clock = self.clock;
                listing.settle = self.settle;
                listing.attempts = self.how.budget.attempts;
                listing.timeout = self.how.call_timeout;
                let infos = listing.sorted(self.order).await?;
                let (order, clock) = (self.order, self.clock);
                let is_wanted = |info: &FragmentInfo| resume.is_none_or(|resume| order.is_behind(clock, info, resume));
                infos.into_iter().filter(is_wanted).map(sized).collect()
            }
        };
        tracing::debug!(fragments = wanted.len(), "to fetch");
        progress.send_modify(|progress| {
            progress.total_fragments = Some(wanted.len() as u64);
            let bytes = wanted.iter().map(|(_, bytes)| bytes).sum();
            progress.total_bytes = Some(bytes).filter(|bytes| *bytes > 0 || wanted.is_empty());
        });
        // A call must not cost more than a second has.
        let points = usize::try_from(self.how.points_per_second).unwrap_or(usize::MAX);
        let budget = Budget { batch: self.how.budget.batch.min(points), ..self.how.budget };
        let work = Work::new(budget, wanted);
        Ok(Fetch::new(self.client, self.stream, self.how, work, progress))
    }

    /// What can be known to be wrong before anything is sent; the range itself is the listing's business.
    fn check(&self) -> Result<()> {
        let Fetching { budget, points_per_second, .. } = &self.how;
        let refused = |message: String| Err(Error::invalid_argument(message));
        if !(1..=1000).contains(&budget.batch) {
            return refused(format!("a call asks for 1 to 1000 fragments, not {}", budget.batch));
        }
        if budget.calls == 0 || *points_per_second == 0 || budget.attempts == 0 {
            return refused("connections, points and attempts must be more than 0".into());
        }
        match &self.wanted {
            Wanted::Range(_)
                if self.resume.as_ref().is_some_and(|resume| !self.order.can_resume(self.clock, resume)) =>
            {
                refused("the position to go on from does not say where it is in this order".into())
            }
            _ => Ok(()),
        }
    }
}

/// What stands behind a position in a list.
fn behind<T>(mut list: Vec<(FragmentNumber, T)>, resume: Option<&Position>) -> Result<Vec<(FragmentNumber, T)>> {
    let Some(resume) = resume else { return Ok(list) };
    match list.iter().position(|(number, _)| Some(number) == resume.number()) {
        Some(index) => Ok(list.split_off(index + 1)),
        None => Err(Error::invalid_argument(format!("the position to go on from, {resume}, is not in the list"))),
    }
}

impl Stream for Archive {
    type Item = Result<Fragment>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { reading, progress, trailing, span, fragments } = &mut *self;
        let begin = || {
            // The list of what is wanted may be long.
            let wanted = std::mem::replace(&mut reading.wanted, Wanted::Nothing);
            let reading = Reading { wanted, ..reading.clone() };
            reading.fragments(progress.clone(), Arc::clone(trailing)).boxed()
        };
        span.in_scope(|| fragments.poll_next(cx, begin))
    }
}

impl FusedStream for Archive {
    fn is_terminated(&self) -> bool {
        self.fragments.has_ended()
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("stream", &self.reading.stream)
            .field("how", &self.reading.how)
            .finish_non_exhaustive()
    }
}
