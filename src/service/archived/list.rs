//! [`FragmentList`]: listing stored fragments.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::task::Poll;
use std::time::Duration;

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::types::{FragmentSelector, FragmentSelectorType, TimestampRange};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::TryStreamExt;

use super::archived_stream::ArchivedStream;
use super::millis_range::{MillisRange, date};
use super::{Clock, FragmentInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};
use crate::service::call::{Call, Rate, RetryConfig, on_its_own, overrides};
use crate::service::client::Client;
use crate::service::control::describe;
use crate::service::stream_id::StreamId;

/// The number of consecutive pages without a new entry after which a listing fails.
pub(super) const MAX_BARREN_PAGES: u32 = 1000;

/// The time limit of the DescribeStream call that explains an empty listing.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The order of listed fragments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// By fragment number, which is the order in which the service received them.
    #[default]
    Number,
    /// By start time on the [clock](Clock) of the range, then by number.
    ///
    /// A fragment that was uploaded late is sorted by its start, not by its arrival. The clock is set with
    /// [`FragmentList::clock`] or [`Archive::clock`](crate::Archive::clock).
    Time,
}

impl Order {
    pub(in crate::service) fn sort(self, clock: Clock, infos: &mut [FragmentInfo]) {
        match self {
            Self::Number => infos.sort_by(|a, b| a.number().cmp(b.number())),
            Self::Time => infos.sort_by(|a, b| (a.time(clock), a.number()).cmp(&(b.time(clock), b.number()))),
        }
    }

    /// Returns whether a position has the fields that this order compares.
    pub(super) fn can_compare(self, clock: Clock, position: &Position) -> bool {
        match self {
            Self::Number => position.number().is_some(),
            Self::Time => position.number().is_some() && clock.of(position).is_some(),
        }
    }

    /// Returns whether a fragment is after a position in this order.
    pub(super) fn is_after(self, clock: Clock, info: &FragmentInfo, position: &Position) -> bool {
        let by_number = Some(info.number()).cmp(&position.number());
        match self {
            Self::Number => by_number.is_gt(),
            Self::Time => info.time(clock).cmp(&clock.of(position)).then(by_number).is_gt(),
        }
    }
}

/// Builder of a listing of stored fragments, from
/// [`KinesisVideo::list_fragments`](crate::KinesisVideo::list_fragments).
///
/// [`entries`](FragmentList::entries) returns the entries as a stream. It calls ListFragments for as many
/// pages as needed, one page at a time. If nothing is listed, one call of DescribeStream checks the retention.
/// [`newest`](FragmentList::newest) finds the newest fragment without listing them all.
///
/// The service lists a fragment if its *start* is within the range, both ends included. A fragment that starts
/// before the range and continues into it is not listed. A fragment can be listed about 1 s after it was
/// stored. The service promises no order, neither within a page nor between pages: see
/// [`order`](FragmentList::order). Repeated entries are dropped.
///
/// # Errors
/// The stream yields an error as its last item. Entries that arrived before are yielded first. With an
/// [order](FragmentList::order), an error replaces all entries.
///
/// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument), before anything is sent, if the range starts after its
///   end, or the [page size](FragmentList::page_size) is not allowed.
/// - [`NotFound`](crate::ErrorKind::NotFound) or [`AccessDenied`](crate::ErrorKind::AccessDenied) for a stream that
///   does not exist or may not be listed.
/// - [`Retention`](crate::ErrorKind::Retention) if the service reports the range as too old, or nothing is listed and
///   the stream has a retention of 0 hours.
/// - Throttling, broken connections and moved hosts, after all [attempts](FragmentList::retry).
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing.
///
/// # Memory
/// The [prefetched](FragmentList::prefetch) pages, or all entries if an order is set: about 200 bytes per
/// fragment. In addition the numbers of all listed fragments, about 100 bytes each.
///
/// Source: AWS API reference, ListFragments.
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use futures::TryStreamExt;
/// use kinesis_video::local::{Document, LocalEndpoint, Shape};
/// use kinesis_video::{Clock, KinesisVideo, Order, Timestamp};
///
/// let endpoint = LocalEndpoint::start().await?;
/// let door = endpoint.create_stream("door");
/// let document = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame");
/// let (first, last) = (door.push(&document), door.push(&document));
///
/// let kvs = KinesisVideo::new(&endpoint.sdk_config());
/// let range = first.producer_time..=last.producer_time;
/// let list = kvs.list_fragments("door").range(range).clock(Clock::Producer).order(Order::Number);
/// let list: Vec<_> = list.entries().try_collect().await?;
/// assert_eq!(list.len(), 2);
/// assert_eq!(list[1].number(), &last.number);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "nothing is listed before entries() or newest() is called and polled"]
pub struct FragmentList {
    pub(super) listing: Listing,
    order: Option<Order>,
}

/// The options of a listing.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) client: Client,
    pub(super) stream: StreamId,
    pub(super) range: Option<RangeInclusive<Timestamp>>,
    pub(super) clock: Clock,
    pub(super) page_size: u32,
    pub(super) prefetch: usize,
    pub(super) retry: RetryConfig,
    pub(super) timeout: Duration,
    pub(super) settle: Duration,
}

impl FragmentList {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        Self { listing: Listing::new(client, stream), order: None }
    }

    /// Sets the range in which fragments start, both ends included.
    ///
    /// Default: no range is sent, and the service decides.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.listing.range = Some(range);
        self
    }

    /// Sets the clock of the range. Default: [`Clock::Server`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.listing.clock = clock;
        self
    }

    /// Sets the order of the entries. Default: the order of the service.
    ///
    /// A sorted listing yields nothing before the last page has arrived.
    pub fn order(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// Sets the number of fragments per page, 1 to 1000. Default: 1000.
    ///
    /// A page costs as many metadata points as this number. A stream has 10,000 points per second. Other numbers are an
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error, which the stream yields first.
    pub fn page_size(mut self, fragments: u32) -> Self {
        self.listing.page_size = fragments;
        self
    }

    /// Sets the number of pages to buffer before the next page is requested. Default: 1.
    ///
    /// With 0 the next page is requested once all entries of the current page have been yielded.
    pub fn prefetch(mut self, pages: usize) -> Self {
        self.listing.prefetch = pages;
        self
    }

    /// Sets the retries of each page. Default: [`RetryConfig::default`].
    ///
    /// Only [retryable](crate::Error::is_retryable) errors are retried. 0 attempts count as 1.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.listing.retry = retry;
        self
    }

    /// Sets the time between the end of the range and the first call. Default: 0 s.
    ///
    /// The service lists a new fragment about 1 s after it was stored. A range that ended longer ago is listed
    /// at once. If the range ends in the future, this time counts from the first poll. Without a range nothing waits.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.listing.settle = settle;
        self
    }

    /// Sets the timeout of each attempt of a call. Default: 30 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.listing.timeout = timeout;
        self
    }

    /// Returns the stream of entries. Nothing is sent before it is polled.
    pub fn entries(self) -> FragmentEntries {
        let stream = self.listing.stream.clone();
        let Some(order) = self.order else {
            return FragmentEntries::new(stream, self.listing.list());
        };
        let sorted = async move {
            let infos = self.listing.sorted(order).await?;
            Ok::<_, Error>(futures::stream::iter(infos.into_iter().map(Ok)))
        };
        FragmentEntries::new(stream, futures::stream::once(sorted).try_flatten())
    }
}

impl fmt::Debug for FragmentList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Listing { stream, range, clock, .. } = &self.listing;
        f.debug_struct("FragmentList")
            .field("stream", stream)
            .field("range", range)
            .field("clock", clock)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

/// A stream of listed fragments, from [`FragmentList::entries`].
pub type FragmentEntries = ArchivedStream<FragmentInfo>;

impl Listing {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        Self {
            client,
            stream,
            range: None,
            clock: Clock::default(),
            page_size: 1000,
            prefetch: 1,
            retry: RetryConfig::default(),
            timeout: Duration::from_secs(30),
            settle: Duration::ZERO,
        }
    }

    /// Lists the fragments in the order of the service, each once.
    pub(super) fn list(self) -> impl Stream<Item = Result<FragmentInfo>> + Send + 'static {
        try_stream! {
            self.check()?;
            let range = self.range.as_ref().map(MillisRange::of);
            // No fragment starts between two milliseconds.
            if range.is_some_and(|range| range.millis() < 0) {
                return;
            }
            self.settle().await;
            let max_ahead = self.prefetch.saturating_mul(self.page_size as usize);
            let mut found = Found::default();
            let mut ahead = Some(self.page(None));
            let mut failed = None;
            loop {
                // The next page is requested while this one is yielded.
                if ahead.is_none() && found.ready.len() <= max_ahead {
                    ahead = found.token.take().map(|token| self.page(Some(token)));
                }
                let page = match (&mut ahead, found.ready.is_empty()) {
                    (Some(page), true) => Some(page.await),
                    (Some(page), false) => poll_fn(|cx| Poll::Ready(ready(page.as_mut().poll(cx)))).await,
                    (None, _) => None,
                };
                if let Some(page) = page {
                    ahead = None;
                    failed = page.and_then(|page| found.add(page)).err();
                }
                match found.ready.pop_front() {
                    Some(info) => yield info,
                    None => match failed.take() {
                        Some(error) => Err(error.of_stream(self.stream.as_str()))?,
                        None if ahead.is_none() && found.token.is_none() => {
                            if found.seen.is_empty() {
                                self.check_retention().await?;
                            }
                            break;
                        }
                        None => {}
                    },
                }
            }
        }
    }

    /// Lists all fragments and sorts them.
    pub(super) async fn sorted(self, order: Order) -> Result<Vec<FragmentInfo>> {
        let clock = self.clock;
        let mut infos: Vec<FragmentInfo> = std::pin::pin!(self.list()).try_collect().await?;
        order.sort(clock, &mut infos);
        Ok(infos)
    }

    /// Refuses invalid options before anything is sent.
    pub(super) fn check(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::invalid_argument(message).of_stream(self.stream.as_str()));
        if !(1..=1000).contains(&self.page_size) {
            return invalid(format!("a page has 1 to 1000 fragments, not {}", self.page_size));
        }
        match &self.range {
            Some(range) if range.start() > range.end() => {
                invalid(format!("the range starts at {}, after its end at {}", range.start(), range.end()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until the end of the range can be listed.
    pub(super) async fn settle(&self) {
        let Some(range) = &self.range else { return };
        let clock = self.client.archived.config().time_source().unwrap_or_default();
        let since_end = Timestamp::from(clock.now()).as_millis().saturating_sub(range.end().as_millis());
        // A range that ends in the future counts as one that ends now.
        let elapsed = Duration::from_millis(u64::try_from(since_end).unwrap_or(0));
        if let Some(left) = self.settle.checked_sub(elapsed).filter(|left| !left.is_zero()) {
            tracing::debug!(?left, "waiting until all of the range can be listed");
            tokio::time::sleep(left).await;
        }
    }

    /// Fails if the listing is empty because the stream keeps nothing.
    pub(super) async fn check_retention(&self) -> Result<()> {
        let Self { client, stream, timeout, .. } = self;
        let once = RetryConfig::default().max_attempts(1);
        match describe(client, stream, once, (*timeout).min(DESCRIBE_TIMEOUT)).await {
            Ok(info) if info.retention() == Some(Duration::ZERO) => {
                let message = "nothing is listed: the stream has a retention of 0 hours, and can only be read live";
                Err(Error::new(ErrorKind::Retention, message).of_stream(stream.as_str()))
            }
            // Without the permission to describe the stream, an empty listing stays unexplained.
            _ => Ok(()),
        }
    }

    /// Fetches the first page, or the page of a token.
    pub(super) fn page(&self, token: Option<String>) -> BoxFuture<'static, Result<Page>> {
        let listing = self.clone();
        let page = async move {
            let Self { client, stream, page_size, retry, timeout, .. } = &listing;
            let selector = listing.range.as_ref().filter(|_| token.is_none()).map(|range| listing.selector(range));
            let selector = selector.transpose()?;
            let cost = [Rate::metadata(*page_size)];
            let api = ApiName::ListFragments;
            let call = Call { client, stream, api, operation: "ListFragments", cost: &cost, limit: *timeout };
            let reply = call.with_retries(
                *retry,
                |_| true,
                |endpoint, probe| {
                    let (name, arn) = stream.name_and_arn();
                    let call = client.archived.list_fragments().set_stream_name(name).set_stream_arn(arn);
                    let call = call.max_results(i64::from(*page_size)).set_next_token(token.clone());
                    let call = call.set_fragment_selector(selector.clone()).customize();
                    call.config_override(overrides(endpoint)).interceptor(probe).send()
                },
            );
            let output = reply.await?.output;
            let infos: Result<Vec<_>> =
                output.fragments.unwrap_or_default().into_iter().map(FragmentInfo::read).collect();
            Ok(Page { infos: infos?, token: output.next_token.filter(|token| !token.is_empty()) })
        };
        Box::pin(on_its_own(page))
    }

    fn selector(&self, range: &RangeInclusive<Timestamp>) -> Result<FragmentSelector> {
        let incomplete =
            |error| Error::invalid_argument("ListFragments: the fragment selector is incomplete").caused_by(error);
        let range = MillisRange::of(range);
        let range = TimestampRange::builder().start_timestamp(date(range.start)).end_timestamp(date(range.end));
        let range = range.build().map_err(incomplete)?;
        let kind = match self.clock {
            Clock::Producer => FragmentSelectorType::ProducerTimestamp,
            Clock::Server => FragmentSelectorType::ServerTimestamp,
        };
        FragmentSelector::builder().fragment_selector_type(kind).timestamp_range(range).build().map_err(incomplete)
    }
}

/// Returns the error after too many consecutive pages without a new entry.
pub(super) fn barren() -> Error {
    let message = format!("ListFragments: {MAX_BARREN_PAGES} consecutive pages had nothing new");
    Error::new(ErrorKind::Service, message).retryable(false)
}

/// Returns the value if it is ready.
fn ready<T>(polled: Poll<T>) -> Option<T> {
    match polled {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

pub(super) struct Page {
    pub(super) infos: Vec<FragmentInfo>,
    pub(super) token: Option<String>,
}

/// The entries of the pages so far.
#[derive(Default)]
struct Found {
    ready: VecDeque<FragmentInfo>,
    seen: HashSet<FragmentNumber>,
    token: Option<String>,
    /// Number of consecutive pages without a new entry.
    barren: u32,
}

impl Found {
    fn add(&mut self, page: Page) -> Result<()> {
        let before = self.seen.len();
        let (ready, seen) = (&mut self.ready, &mut self.seen);
        ready.extend(page.infos.into_iter().filter(|info| seen.insert(info.number().clone())));
        self.token = page.token;
        self.barren = if seen.len() > before { 0 } else { self.barren + 1 };
        if self.barren >= MAX_BARREN_PAGES {
            self.token = None;
            return Err(barren());
        }
        Ok(())
    }
}
