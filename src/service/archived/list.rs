//! Listing what the archive has.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::types::{FragmentSelector, FragmentSelectorType, TimestampRange};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::{FusedStream, StreamExt, TryStreamExt};

use super::lazy_stream::Lazy;
use super::millis_range::{Span, date};
use super::{Clock, FragmentInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};
use crate::service::call::{Call, Rate, on_its_own, overrides};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

/// So many pages one behind the other that bring nothing new are not going to bring anything.
const BARREN: u32 = 1000;

/// How long it may take to find out why nothing is listed.
const DESCRIBED: Duration = Duration::from_secs(10);

/// The order of what is listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Order {
    /// By fragment number: as the service received them.
    #[default]
    Number,
    /// By when they began on the [clock](Clock) of the range; those that began at the same time by number.
    /// What a producer sends again, later, of an earlier time comes where it belongs.
    Time,
}

impl Order {
    pub(in crate::service) fn sort(self, clock: Clock, infos: &mut [FragmentInfo]) {
        match self {
            Self::Number => infos.sort_by(|a, b| a.number().cmp(b.number())),
            Self::Time => infos.sort_by(|a, b| (a.time(clock), a.number()).cmp(&(b.time(clock), b.number()))),
        }
    }

    /// Whether a position says where it is in this order.
    pub(super) fn can_resume(self, clock: Clock, position: &Position) -> bool {
        match self {
            Self::Number => position.number().is_some(),
            Self::Time => position.number().is_some() && clock.of(position).is_some(),
        }
    }

    /// Whether a fragment comes behind a position.
    pub(super) fn is_behind(self, clock: Clock, info: &FragmentInfo, position: &Position) -> bool {
        let by_number = Some(info.number()).cmp(&position.number());
        match self {
            Self::Number => by_number.is_gt(),
            Self::Time => info.time(clock).cmp(&clock.of(position)).then(by_number).is_gt(),
        }
    }
}

/// Stream of what a stream's archive has, from [`KinesisVideo::list_fragments`], over as many pages of
/// ListFragments as it takes. Its options are to be set before it is polled.
///
/// The service lists a fragment if its *start* is within the range, both ends included: one that began
/// before and goes on within it is not listed. A fragment can be listed about a second after it was stored.
/// The service promises no order, neither within a page nor from page to page: see
/// [`sorted`](FragmentList::sorted). What it lists twice comes once.
///
/// # Errors
/// A range whose start is behind its end, before anything is sent. A stream that is not there or may not be
/// listed. [`ErrorKind::Retention`](crate::ErrorKind::Retention) if the range ends before what is still kept.
/// Throttling, broken connections and hosts that have moved are tried again,
/// [eight times](FragmentList::attempts) each. What was listed before an error comes before it.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing.
///
/// # Memory
/// The pages that were [fetched ahead](FragmentList::prefetch), or all when sorted: some 200 bytes a
/// fragment. And the numbers of all that were listed, some 100 bytes each.
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
/// let list = kvs.list_fragments("door").range(range).by(Clock::Producer).sorted(Order::Number);
/// let list: Vec<_> = list.try_collect().await?;
/// assert_eq!(list.len(), 2);
/// assert_eq!(list[1].number(), &last.number);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct FragmentList {
    listing: Listing,
    order: Option<Order>,
    infos: Lazy<FragmentInfo>,
}

/// What is to be listed, and how.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    pub(super) client: Client,
    pub(super) stream: StreamId,
    pub(super) range: Option<RangeInclusive<Timestamp>>,
    pub(super) clock: Clock,
    pub(super) page_size: u32,
    pub(super) prefetch: usize,
    pub(super) attempts: u32,
    pub(super) timeout: Duration,
    pub(super) settle: Duration,
}

impl FragmentList {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        Self { listing: Listing::new(client, stream), order: None, infos: Lazy::Before }
    }

    /// The fragments that begin within this range, both ends included. Without a range, whatever the service
    /// lists if it is not told one.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.listing.range = Some(range);
        self
    }

    /// The clock by which the range is meant: [`Clock::Server`] unless set.
    pub fn by(mut self, clock: Clock) -> Self {
        self.listing.clock = clock;
        self
    }

    /// In this order. Nothing comes before all pages have.
    pub fn sorted(mut self, order: Order) -> Self {
        self.order = Some(order);
        self
    }

    /// How many fragments to ask for in a page: 1000 unless set, which is as many as the service gives. Each
    /// costs a point of the 10,000 a second that a stream has for metadata.
    pub fn page_size(mut self, fragments: u32) -> Self {
        self.listing.page_size = fragments;
        self
    }

    /// How many pages to fetch ahead of what is taken: one unless set. 0 asks for the next page when the one
    /// before is used up.
    pub fn prefetch(mut self, pages: usize) -> Self {
        self.listing.prefetch = pages;
        self
    }

    /// How often a page is asked for, if what goes wrong may go away by itself: eight times unless set. Pauses
    /// between them grow, at random, to five seconds, to ten when throttled.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.listing.attempts = attempts;
        self
    }

    /// How long after the end of the range to list it: at once unless set. What has just been stored can be
    /// listed about a second later. Nothing is waited for if the range ended before that, and no longer if it
    /// ends in the future.
    pub fn settle(mut self, settle: Duration) -> Self {
        self.listing.settle = settle;
        self
    }

    /// How long an answer may take: 30 seconds unless set.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.listing.timeout = timeout;
        self
    }
}

impl Listing {
    pub(super) fn new(client: Client, stream: StreamId) -> Self {
        Self {
            client,
            stream,
            range: None,
            clock: Clock::default(),
            page_size: 1000,
            prefetch: 1,
            attempts: 8,
            timeout: Duration::from_secs(30),
            settle: Duration::ZERO,
        }
    }

    /// The fragments in the order in which the service lists them, each once.
    pub(super) fn list(self) -> impl Stream<Item = Result<FragmentInfo>> + Send + 'static {
        try_stream! {
            self.check()?;
            let span = self.range.as_ref().map(Span::of);
            // Nothing begins between two milliseconds.
            if span.is_some_and(|span| span.millis() < 0) {
                return;
            }
            self.settle().await;
            let most_ahead = self.prefetch.saturating_mul(self.page_size as usize);
            let mut found = Found::default();
            let mut ahead = Some(self.page(None));
            let mut failed = None;
            loop {
                // The next page comes while this one is used up.
                if ahead.is_none() && found.ready.len() <= most_ahead {
                    ahead = found.token.take().map(|token| self.page(Some(token)));
                }
                let page = match (&mut ahead, found.ready.is_empty()) {
                    (Some(page), true) => Some(page.await),
                    (Some(page), false) => poll_fn(|cx| Poll::Ready(ready(page.as_mut().poll(cx)))).await,
                    (None, _) => None,
                };
                if let Some(page) = page {
                    ahead = None;
                    failed = page.and_then(|page| found.take_in(page)).err();
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

    /// All of them, in order.
    pub(super) async fn sorted(self, order: Order) -> Result<Vec<FragmentInfo>> {
        let clock = self.clock;
        let mut infos: Vec<FragmentInfo> = std::pin::pin!(self.list()).try_collect().await?;
        order.sort(clock, &mut infos);
        Ok(infos)
    }

    /// What can be known to be wrong before anything is sent.
    fn check(&self) -> Result<()> {
        let refused = |message: String| Err(Error::invalid_argument(message).of_stream(self.stream.as_str()));
        if !(1..=1000).contains(&self.page_size) {
            return refused(format!("a page has 1 to 1000 fragments, not {}", self.page_size));
        }
        match &self.range {
            Some(range) if range.start() > range.end() => {
                refused(format!("the range begins, {}, behind its end, {}", range.start(), range.end()))
            }
            _ => Ok(()),
        }
    }

    /// Waits until what there is of the range can be listed.
    async fn settle(&self) {
        let Some(range) = &self.range else { return };
        let clock = self.client.archived.config().time_source().unwrap_or_default();
        let since_end = Timestamp::from(clock.now()).as_millis().saturating_sub(range.end().as_millis());
        // Whatever lies in the future is not waited for any longer.
        let elapsed = Duration::from_millis(u64::try_from(since_end).unwrap_or(0));
        if let Some(left) = self.settle.checked_sub(elapsed).filter(|left| !left.is_zero()) {
            tracing::debug!(?left, "until all of the range can be listed");
            tokio::time::sleep(left).await;
        }
    }

    /// Nothing is listed. That may be because the stream keeps nothing.
    async fn check_retention(&self) -> Result<()> {
        let Self { client, stream, timeout, .. } = self;
        let (name, arn) = stream.name_and_arn();
        client.rates.admit(stream, Rate::call("DescribeStream")).await;
        let timeout = (*timeout).min(DESCRIBED);
        let call = client.control.describe_stream().set_stream_name(name).set_stream_arn(arn).send();
        // Whoever may not know is none the wiser.
        let Ok(Ok(output)) = tokio::time::timeout(timeout, call).await else { return Ok(()) };
        match output.stream_info.and_then(|info| info.data_retention_in_hours) {
            Some(0) => {
                let message = "nothing is listed: the stream has a retention of 0 hours, and can only be read live";
                Err(Error::new(ErrorKind::Retention, message).of_stream(stream.as_str()))
            }
            _ => Ok(()),
        }
    }

    /// Fetches a page: the first, or the one that a token leads to.
    fn page(&self, token: Option<String>) -> BoxFuture<'static, Result<Page>> {
        let listing = self.clone();
        let page = async move {
            let Self { client, stream, page_size, attempts, timeout, .. } = &listing;
            let selector = listing.range.as_ref().filter(|_| token.is_none()).map(|range| listing.selector(range));
            let selector = selector.transpose()?;
            let cost = [Rate::metadata(*page_size)];
            let api = ApiName::ListFragments;
            let call = Call { client, stream, api, operation: "ListFragments", cost: &cost, limit: *timeout };
            let reply = call.patiently(
                *attempts,
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
        let incomplete = |error| Error::invalid_argument("the fragment selector is not complete").caused_by(error);
        let span = Span::of(range);
        let range = TimestampRange::builder().start_timestamp(date(span.start)).end_timestamp(date(span.end));
        let range = range.build().map_err(incomplete)?;
        let kind = match self.clock {
            Clock::Producer => FragmentSelectorType::ProducerTimestamp,
            Clock::Server => FragmentSelectorType::ServerTimestamp,
        };
        FragmentSelector::builder().fragment_selector_type(kind).timestamp_range(range).build().map_err(incomplete)
    }
}

/// What was asked for, if it is there.
fn ready<T>(polled: Poll<T>) -> Option<T> {
    match polled {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

struct Page {
    infos: Vec<FragmentInfo>,
    token: Option<String>,
}

/// What the pages had up to now.
#[derive(Default)]
struct Found {
    ready: VecDeque<FragmentInfo>,
    seen: HashSet<FragmentNumber>,
    token: Option<String>,
    barren: u32,
}

impl Found {
    fn take_in(&mut self, page: Page) -> Result<()> {
        let before = self.seen.len();
        let (ready, seen) = (&mut self.ready, &mut self.seen);
        ready.extend(page.infos.into_iter().filter(|info| seen.insert(info.number().clone())));
        self.token = page.token;
        self.barren = if seen.len() > before { 0 } else { self.barren + 1 };
        if self.barren >= BARREN {
            self.token = None;
            let message = format!("ListFragments: {BARREN} pages one behind the other had nothing new");
            return Err(Error::new(ErrorKind::Service, message).retryable(false));
        }
        Ok(())
    }
}

impl Stream for FragmentList {
    type Item = Result<FragmentInfo>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { listing, order, infos } = &mut *self;
        infos.poll_next(cx, || {
            let listing = listing.clone();
            let Some(order) = *order else { return listing.list().boxed() };
            let sorted = async move {
                let infos = listing.sorted(order).await?;
                Ok::<_, Error>(futures::stream::iter(infos.into_iter().map(Ok)))
            };
            futures::stream::once(sorted).try_flatten().boxed()
        })
    }
}

impl FusedStream for FragmentList {
    fn is_terminated(&self) -> bool {
        self.infos.has_ended()
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
