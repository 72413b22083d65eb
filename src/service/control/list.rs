//! [`StreamList`]: listing streams.

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::{ComparisonOperator, StreamNameCondition};
use futures::Stream;
use futures::stream::{BoxStream, FusedStream, StreamExt};

use super::StreamInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::service::call::{ControlCall, RetryConfig, on_its_own};
use crate::service::client::Client;

/// The number of consecutive pages without a new stream after which a listing fails.
const MAX_BARREN_PAGES: u32 = 1000;

/// Builder of a listing of streams, from [`KinesisVideo::list_streams`](crate::KinesisVideo::list_streams).
///
/// [`entries`](StreamList::entries) returns the streams of the account and region. It calls ListStreams for as many
/// pages as needed. The service promises no order. Repeated streams are dropped.
///
/// # Errors
/// The stream yields an error as its last item. Streams of earlier pages are yielded before.
///
/// - [`InvalidArgument`](ErrorKind::InvalidArgument), before anything is sent, if the
///   [page size](StreamList::page_size) is not allowed.
/// - [`AccessDenied`](ErrorKind::AccessDenied) without the permission for ListStreams.
/// - Throttling and broken connections, after all [attempts](StreamList::retry).
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing.
///
/// Source: AWS API reference, ListStreams.
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use futures::TryStreamExt;
/// use kinesis_video::KinesisVideo;
/// use kinesis_video::local::LocalEndpoint;
///
/// let endpoint = LocalEndpoint::start().await?;
/// for name in ["door-front", "door-back", "window"] {
///     endpoint.create_stream(name);
/// }
/// let kvs = KinesisVideo::new(&endpoint.sdk_config());
/// let doors: Vec<_> = kvs.list_streams().name_prefix("door-").entries().try_collect().await?;
/// assert_eq!(doors.len(), 2);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "nothing is listed before entries() is called and polled"]
pub struct StreamList {
    client: Client,
    name_prefix: String,
    page_size: u32,
    retry: RetryConfig,
    timeout: Duration,
}

impl StreamList {
    pub(in crate::service) fn new(client: Client) -> Self {
        let (retry, timeout) = (RetryConfig::default(), Duration::from_secs(30));
        Self { client, name_prefix: String::new(), page_size: 10_000, retry, timeout }
    }

    /// Sets the beginning of the names to list. Default: all names.
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = prefix.into();
        self
    }

    /// Sets the number of streams per page, 1 to 10,000. Default: 10,000.
    ///
    /// Other numbers are an [`InvalidArgument`](ErrorKind::InvalidArgument) error, which the stream yields first.
    pub fn page_size(mut self, streams: u32) -> Self {
        self.page_size = streams;
        self
    }

    /// Sets the retries of each page. Default: [`RetryConfig::default`].
    ///
    /// Only [retryable](Error::is_retryable) errors are retried. 0 attempts count as 1.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the timeout of each attempt of a call. Default: 30 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the streams, as a stream of their descriptions. Nothing is sent before it is polled.
    pub fn entries(self) -> StreamEntries {
        StreamEntries { entries: Some(self.list().boxed()) }
    }

    fn list(self) -> impl Stream<Item = Result<StreamInfo>> + Send + 'static {
        try_stream! {
            if !(1..=10_000).contains(&self.page_size) {
                let message = format!("a page has 1 to 10000 streams, not {}", self.page_size);
                Err(Error::invalid_argument(message))?;
            }
            let (mut seen, mut barren, mut token) = (HashSet::new(), 0, None);
            loop {
                let page = on_its_own(self.clone().page(token)).await?;
                barren += 1;
                for info in page.infos {
                    if seen.insert(info.arn().to_owned()) {
                        barren = 0;
                        yield info;
                    }
                }
                if page.token.is_none() {
                    break;
                }
                if barren >= MAX_BARREN_PAGES {
                    let message = format!("ListStreams: {MAX_BARREN_PAGES} consecutive pages had nothing new");
                    Err(Error::new(ErrorKind::Service, message).retryable(false))?;
                }
                token = page.token;
            }
        }
    }

    /// Fetches the first page, or the page of a token.
    async fn page(self, token: Option<String>) -> Result<Page> {
        let Self { client, name_prefix, page_size, retry, timeout } = &self;
        let condition = (!name_prefix.is_empty()).then(|| {
            let condition = StreamNameCondition::builder().comparison_operator(ComparisonOperator::BeginsWith);
            condition.comparison_value(name_prefix).build()
        });
        let call = ControlCall { rates: &client.rates, stream: None, operation: "ListStreams", limit: *timeout };
        let output = call.with_retries(*retry, |overrides| {
            let request = client.control.list_streams().set_stream_name_condition(condition.clone());
            let request = request.set_max_results(i32::try_from(*page_size).ok()).set_next_token(token.clone());
            request.customize().config_override(overrides).send()
        });
        let output = output.await?;
        // A host that does not know the operation reports success with another response.
        let Some(listed) = output.stream_info_list else {
            let message = "ListStreams: the answer has no list; is this the address of a data endpoint?";
            return Err(Error::new(ErrorKind::WrongEndpoint, message).retryable(false));
        };
        let infos: Result<_> = listed.into_iter().map(|listed| StreamInfo::read(listed, call.operation)).collect();
        Ok(Page { infos: infos?, token: output.next_token.filter(|token| !token.is_empty()) })
    }
}

impl fmt::Debug for StreamList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamList").field("name_prefix", &self.name_prefix).finish_non_exhaustive()
    }
}

struct Page {
    infos: Vec<StreamInfo>,
    token: Option<String>,
}

/// A stream of listed streams, from [`StreamList::entries`].
///
/// Nothing is sent before it is polled. It ends after its first error.
#[must_use = "streams do nothing unless polled"]
pub struct StreamEntries {
    /// `None` after the end.
    entries: Option<BoxStream<'static, Result<StreamInfo>>>,
}

impl Stream for StreamEntries {
    type Item = Result<StreamInfo>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(entries) = &mut self.entries else { return Poll::Ready(None) };
        let entry = entries.poll_next_unpin(cx);
        if matches!(entry, Poll::Ready(None | Some(Err(_)))) {
            self.entries = None;
        }
        entry
    }
}

impl FusedStream for StreamEntries {
    fn is_terminated(&self) -> bool {
        self.entries.is_none()
    }
}

impl fmt::Debug for StreamEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamEntries").finish_non_exhaustive()
    }
}
