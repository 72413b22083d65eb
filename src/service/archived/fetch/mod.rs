//! [`Archive`]: reading stored fragments.

mod at;
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

use super::archived_stream::ArchivedStream;
use super::list::Listing;
use super::{Clock, FragmentInfo, Order};
use crate::error::{Error, Result};
use crate::fragment::{Discontinuity, Fragment, FragmentNumber, Position, Timestamp};
use crate::limits::Limits;
use crate::service::call::RetryConfig;
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use progress::ArchiveProgress;

use driver::Driver;
use scheduler::{Budget, FetchScheduler};

/// The handling of unavailable fragments.
///
/// A fragment is unavailable if all attempts to get it fail, if it arrives damaged twice, or if the service reports an
/// error that is not retryable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnavailable {
    /// Yield the readable part, flagged as [`Cut`](crate::FragmentEnd::Cut), then end with the error.
    #[default]
    Fail,
    /// Yield the readable part, flagged as [`Cut`](crate::FragmentEnd::Cut), then continue with the next fragment.
    ///
    /// The next fragment carries a [discontinuity](crate::Discontinuity::SkippedFragment). After the last fragment,
    /// [`ArchiveFragments::trailing`] has the discontinuity.
    Skip,
}

/// Builder of an archive read, from [`KinesisVideo::archive`](crate::KinesisVideo::archive).
///
/// [`fragments`](Archive::fragments) returns the stored fragments as a stream, in order, each once.
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
/// let mut fragments = kvs.archive("door").range(first.server_time..=last.server_time).fragments();
/// while let Some(fragment) = fragments.try_next().await? {
///     println!("{:?}: {} packets", fragment.number(), fragment.packets().count());
/// }
/// assert_eq!(fragments.progress().borrow().fragments, 2);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
///
/// Options are set before [`fragments`](Archive::fragments). The stream has no setters:
///
/// ```compile_fail,E0599
/// # fn f(kvs: kinesis_video::KinesisVideo) {
/// let _ = kvs.archive("door").fragments().batch(10);
/// # }
/// ```
///
/// # Fetching
///
/// A [range](Archive::range) is listed completely and sorted by the [order](Archive::order). The fragments are
/// then requested with GetMediaForFragmentList, in as few calls as the service's limits allow, several calls at
/// a time. Each fragment is yielded as soon as it and all earlier ones have arrived. The service does not
/// promise an order within a response, so fragments are matched by number.
///
/// | case | handling |
/// |---|---|
/// | a response is cut | only the missing fragments are requested again |
/// | a fragment is missing or not found, as fragments younger than about 1 s often are | requested again, alone if necessary, after a [backoff](Archive::retry) |
/// | a fragment arrives damaged | requested a second time |
/// | all attempts fail | the fragment is [unavailable](Archive::on_unavailable) |
///
/// A stored fragment has no closing tags that would prove it complete. It counts as whole in these cases:
///
/// - another document (one EBML header with its segment) follows it in the response,
/// - the response ends without an error, contains everything that was requested, and the fragment has at least
///   its listed size, if one is listed,
/// - a smaller fragment arrives a second time with the same bytes.
///
/// [Discontinuities](crate::Fragment::discontinuities) on a fragment report gaps, timelines that go back and
/// changed tracks before it.
///
/// # Errors
/// - Invalid options fail before anything is sent.
/// - An unavailable fragment, unless [skipped](OnUnavailable::Skip).
/// - A missing stream, a missing permission, a KMS key that cannot be used.
/// - Transient errors that use up all [attempts](Archive::retry) in a row.
/// - [`ErrorKind::Retention`](crate::ErrorKind::Retention) if the range ends before the oldest fragment that is
///   kept, or the stream keeps nothing.
///
/// All fragments before the failed one are yielded before the error. The readable part of the failed one follows
/// them, flagged as [`Cut`](crate::FragmentEnd::Cut). To continue with [`start_after`](Archive::start_after),
/// [`progress`](ArchiveFragments::progress) has the [`Position`] after the last whole fragment.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the stream closes its connections at once.
///
/// # Memory
///
/// | part | size |
/// |---|---|
/// | fragments that arrived before their turn | [64 MiB](Archive::buffer_bytes), or one fragment if it is larger |
/// | each connection | the fragment that is arriving; without listed sizes also the one before it |
/// | each fragment of the range | about 200 bytes |
///
/// Buffers grow by doubling, so they can be twice as large as their content. A slow reader slows down the
/// connections.
///
/// Sources: AWS API reference, ListFragments and GetMediaForFragmentList; AWS developer guide, quotas.
#[derive(Clone)]
#[must_use = "nothing is read before fragments() is called and polled"]
pub struct Archive {
    client: Client,
    stream: StreamId,
    selection: Selection,
    clock: Clock,
    order: Order,
    start_after: Option<Position>,
    settle: Duration,
    options: FetchOptions,
}

/// The fragments to read.
#[derive(Clone, Debug)]
enum Selection {
    Unset,
    Range(RangeInclusive<Timestamp>),
    /// Numbers with their listed sizes; 0 if unknown.
    Numbers(Vec<(FragmentNumber, u64)>),
}

fn number_and_size(info: FragmentInfo) -> (FragmentNumber, u64) {
    (info.number().clone(), info.bytes())
}

/// The options of fetching fragments.
#[derive(Clone, Copy, Debug)]
struct FetchOptions {
    budget: Budget,
    points_per_second: u32,
    on_unavailable: OnUnavailable,
    call_timeout: Duration,
    read_timeout: Duration,
    gap_tolerance: Duration,
    limits: Limits,
}

impl Archive {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        let options = FetchOptions {
            budget: Budget { batch: 500, calls: 5, bytes: 64 << 20, retry: RetryConfig::default() },
            points_per_second: 500,
            on_unavailable: OnUnavailable::default(),
            call_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(30),
            gap_tolerance: Duration::from_millis(500),
            limits: Limits::default(),
        };
        Self {
            client,
            stream,
            selection: Selection::Unset,
            clock: Clock::default(),
            order: Order::default(),
            start_after: None,
            settle: Duration::from_secs(2),
            options,
        }
    }

    /// Selects the fragments that start within a range, both ends included.
    ///
    /// A fragment that starts before the range and continues into it is not selected. Of `range`,
    /// [`numbers`](Archive::numbers) and [`listed`](Archive::listed), the last call counts. Without any of them the
    /// stream yields an [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error first.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.selection = Selection::Range(range);
        self
    }

    /// Sets the clock of the range. Default: [`Clock::Server`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the order of the fragments of a range. Default: [`Order::Number`].
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Selects fragments by number, in the given order, instead of a range.
    ///
    /// Repeated numbers are dropped. [`clock`](Archive::clock), [`order`](Archive::order) and
    /// [`settle`](Archive::settle) have no effect.
    ///
    /// The sizes of these fragments are unknown, so fewer are requested at a time. Prefer
    /// [`listed`](Archive::listed) if a listing is at hand.
    pub fn numbers(mut self, numbers: impl IntoIterator<Item = FragmentNumber>) -> Self {
        self.selection = Selection::Numbers(numbers.into_iter().map(|number| (number, 0)).collect());
        self
    }

    /// Selects listed fragments, in the given order, instead of a range.
    ///
    /// Repeated numbers are dropped. [`clock`](Archive::clock), [`order`](Archive::order) and
    /// [`settle`](Archive::settle) have no effect.
    ///
    /// ```no_run
    /// # use kinesis_video::{KinesisVideo, Result, Timestamp};
    /// # async fn f(kvs: KinesisVideo, range: std::ops::RangeInclusive<Timestamp>) -> Result<()> {
    /// use futures::TryStreamExt;
    /// use kinesis_video::Order;
    ///
    /// // One fragment in sixty.
    /// let list = kvs.list_fragments("front-door").range(range).order(Order::Number);
    /// let list: Vec<_> = list.entries().try_collect().await?;
    /// let fragments = kvs.archive("front-door").listed(list.into_iter().step_by(60)).fragments();
    /// # Ok(())
    /// # }
    /// ```
    pub fn listed(mut self, infos: impl IntoIterator<Item = FragmentInfo>) -> Self {
        self.selection = Selection::Numbers(infos.into_iter().map(number_and_size).collect());
        self
    }

    /// Continues after a position, for example one that another process has saved.
    ///
    /// Skips the fragment of the position and all before it in the [order](Archive::order). With
    /// [`numbers`](Archive::numbers) or [`listed`](Archive::listed), their sequence counts.
    ///
    /// The stream yields an [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error first in two cases. With a
    /// range: the position lacks the number, or the time that [`Order::Time`] compares. Otherwise: its number is not
    /// one of those selected.
    pub fn start_after(mut self, position: Position) -> Self {
        self.start_after = Some(position);
        self
    }

    /// Sets the handling of unavailable fragments. Default: [`OnUnavailable::Fail`].
    pub fn on_unavailable(mut self, on_unavailable: OnUnavailable) -> Self {
        self.options.on_unavailable = on_unavailable;
        self
    }

    /// Sets the maximum number of fragments per call, 1 to 1000. Default: 500.
    ///
    /// The service allows 1000, but 1000 fragments cost more points than a stream has per second. So
    /// [`points_per_second`](Archive::points_per_second) is an upper bound too. Values out of range are an
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error, which the stream yields first.
    pub fn batch(mut self, fragments: usize) -> Self {
        self.options.budget.batch = fragments;
        self
    }

    /// Sets the maximum number of GetMediaForFragmentList calls at a time. Default: 5.
    ///
    /// Fewer are made while the service refuses more.
    ///
    /// The service allows 5 per stream, shared by all readers of the stream. 0 is an
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error, which the stream yields first.
    pub fn connections(mut self, connections: usize) -> Self {
        self.options.budget.calls = connections;
        self
    }

    /// Sets the maximum number of bytes that are requested or buffered ahead of their turn. Default: 64 MiB.
    ///
    /// Each call gets an equal share. The next fragment to yield is requested even if it is larger. So 0 requests one
    /// fragment at a time.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.options.budget.bytes = bytes;
        self
    }

    /// Sets the maximum number of media points per second. Default: 500.
    ///
    /// Each fragment costs one point. The service allows 500 per second and stream, for all its readers together.
    /// Clones of one [`KinesisVideo`](crate::KinesisVideo) share the count of used points. Each reader compares that
    /// count with its own maximum. The value also bounds the fragments per call. 0 is an
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error, which the stream yields first.
    pub fn points_per_second(mut self, points: u32) -> Self {
        self.options.points_per_second = points;
        self
    }

    /// Sets the retries of each fragment, and of calls that fail in a row. Default: [`RetryConfig::default`].
    ///
    /// Only [retryable](crate::Error::is_retryable) errors are retried. The pages of the listing are retried in the
    /// same way. 0 attempts are an [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error, which the stream
    /// yields first.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.options.budget.retry = retry;
        self
    }

    /// Sets the time between the end of a range and its listing. Default: 2 s.
    ///
    /// The service lists a new fragment about 1 s after it was stored. A range that ended longer ago is listed
    /// at once. If the range ends in the future, this time counts from the first poll.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }

    /// Sets the timeout of each attempt of a call. Default: 30 s.
    ///
    /// A call that timed out is [retried](Archive::retry).
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = timeout;
        self
    }

    /// Sets the maximum silence before and within a body. Default: 30 s.
    ///
    /// After a longer silence, the missing fragments are requested again.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.options.read_timeout = timeout;
        self
    }

    /// Sets the largest time between two fragments that is not a gap. Default: 500 ms.
    ///
    /// The time goes from the end of one fragment to the start of the next, on the producer's clock. A longer time is
    /// reported as a [gap](crate::Discontinuity::Gap).
    pub fn gap_tolerance(mut self, tolerance: Duration) -> Self {
        self.options.gap_tolerance = tolerance;
        self
    }

    /// Sets the parser's limits. Default: [`Limits::default`].
    ///
    /// A fragment that exceeds the limits counts as damaged. It is requested once more if the attempts allow. Then
    /// [`on_unavailable`](Archive::on_unavailable) applies.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Returns the stream of fragments. Nothing is sent before it is polled.
    pub fn fragments(self) -> ArchiveFragments {
        let span = tracing::info_span!("archive", stream = %self.stream);
        let (progress, trailing) = (watch::Sender::default(), Arc::default());
        let stream = self.stream.clone();
        let fragments = ArchivedStream::new(stream, self.read(progress.clone(), Arc::clone(&trailing)));
        ArchiveFragments { progress, trailing, span, fragments }
    }

    fn read(
        self,
        progress: watch::Sender<ArchiveProgress>,
        trailing: Arc<OnceLock<Vec<Discontinuity>>>,
    ) -> impl Stream<Item = Result<Fragment>> + Send + 'static {
        try_stream! {
            let failed = progress.clone();
            let driver = self.prepare(progress).await;
            let mut driver =
                driver.inspect_err(|error| failed.send_modify(|failed| failed.error = Some(error.clone())))?;
            while let Some(fragment) = driver.next().await? {
                yield fragment;
            }
            let _ = trailing.set(driver.into_trailing());
        }
    }

    /// Checks the options and lists the fragments to fetch.
    async fn prepare(self, progress: watch::Sender<ArchiveProgress>) -> Result<Driver> {
        let named = |error: Error| error.of_stream(self.stream.as_str());
        self.check().map_err(named)?;
        let start_after = self.start_after.as_ref();
        let wanted = match self.selection {
            Selection::Unset => {
                let message = "neither a range nor fragment numbers are given: set range(), numbers() or listed()";
                return Err(named(Error::invalid_argument(message)));
            }
            Selection::Numbers(numbers) => {
                let mut seen = HashSet::with_capacity(numbers.len());
                let numbers = numbers.into_iter().filter(|(number, _)| seen.insert(number.clone())).collect();
                after(numbers, start_after).map_err(named)?
            }
            Selection::Range(range) => {
                let mut listing = Listing::new(self.client.clone(), self.stream.clone());
                listing.range = Some(range);
                listing.clock = self.clock;
                listing.settle = self.settle;
                listing.retry = self.options.budget.retry;
                listing.timeout = self.options.call_timeout;
                let infos = listing.sorted(self.order).await?;
                let (order, clock) = (self.order, self.clock);
                let is_wanted =
                    |info: &FragmentInfo| start_after.is_none_or(|start| order.is_after(clock, info, start));
                infos.into_iter().filter(is_wanted).map(number_and_size).collect()
            }
        };
        tracing::debug!(fragments = wanted.len(), "fetching");
        progress.send_modify(|progress| {
            progress.total_fragments = Some(wanted.len() as u64);
            let bytes = wanted.iter().map(|(_, bytes)| bytes).sum();
            progress.total_bytes = Some(bytes).filter(|bytes| *bytes > 0 || wanted.is_empty());
        });
        // A call must not cost more points than one second provides.
        let points = usize::try_from(self.options.points_per_second).unwrap_or(usize::MAX);
        let budget = Budget { batch: self.options.budget.batch.min(points), ..self.options.budget };
        let scheduler = FetchScheduler::new(budget, wanted, fastrand::Rng::new());
        Ok(Driver::new(self.client, self.stream, self.options, scheduler, progress))
    }

    /// Refuses invalid options before anything is sent. The listing checks the range itself.
    fn check(&self) -> Result<()> {
        let FetchOptions { budget, points_per_second, .. } = &self.options;
        let invalid = |message: String| Err(Error::invalid_argument(message));
        if !(1..=1000).contains(&budget.batch) {
            return invalid(format!("a call asks for 1 to 1000 fragments, not {}", budget.batch));
        }
        if budget.calls == 0 || *points_per_second == 0 || budget.retry.attempts() == 0 {
            return invalid("connections, points_per_second and the attempts of retry must be more than 0".into());
        }
        match (&self.selection, &self.start_after) {
            (Selection::Range(_), Some(start)) if !self.order.can_compare(self.clock, start) => invalid(format!(
                "the position to start after, {start}, lacks the number or time that the order {:?} compares",
                self.order
            )),
            _ => Ok(()),
        }
    }
}

/// Returns the entries after the one that has the position's number.
fn after<T>(mut list: Vec<(FragmentNumber, T)>, start: Option<&Position>) -> Result<Vec<(FragmentNumber, T)>> {
    let Some(start) = start else { return Ok(list) };
    match list.iter().position(|(number, _)| Some(number) == start.number()) {
        Some(index) => Ok(list.split_off(index + 1)),
        None => Err(Error::invalid_argument(format!("the position to start after, {start}, is not in the list"))),
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("stream", &self.stream).field("options", &self.options).finish_non_exhaustive()
    }
}

/// A stream of stored fragments, from [`Archive::fragments`].
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct ArchiveFragments {
    progress: watch::Sender<ArchiveProgress>,
    trailing: Arc<OnceLock<Vec<Discontinuity>>>,
    span: Span,
    fragments: ArchivedStream<Fragment>,
}

impl ArchiveFragments {
    /// Returns a watch receiver of the progress.
    pub fn progress(&self) -> watch::Receiver<ArchiveProgress> {
        self.progress.subscribe()
    }

    /// Returns the discontinuities after the last fragment.
    ///
    /// Empty before the end of the stream, and if the stream ended with an error.
    pub fn trailing(&self) -> &[Discontinuity] {
        self.trailing.get().map_or(&[], Vec::as_slice)
    }
}

impl Stream for ArchiveFragments {
    type Item = Result<Fragment>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { span, fragments, .. } = &mut *self;
        span.in_scope(|| fragments.poll_next_unpin(cx))
    }
}

impl FusedStream for ArchiveFragments {
    fn is_terminated(&self) -> bool {
        self.fragments.is_terminated()
    }
}
