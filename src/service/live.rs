//! Reading a stream as it is produced.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideomedia::config::{Config, StalledStreamProtectionConfig, retry::RetryConfig};
use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::date_time::DateTime;
use futures::stream::{BoxStream, FusedStream, StreamExt};
use futures::{Stream, TryStreamExt};

use super::failure::from_sdk;
use super::{KinesisVideo, StreamId};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Fragment, FragmentNumber, FragmentStream, Timestamp};
use crate::limits::Limits;

/// Where to begin reading a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the newest fragment.
    #[default]
    Now,
    /// With the oldest that the service still has.
    Earliest,
    /// With the fragment behind this one. The fragment itself is not sent again: to begin with it,
    /// start at its time.
    AfterFragment(FragmentNumber),
    /// With the fragment that the service was receiving at this time.
    ServerTime(Timestamp),
    /// With the fragment that the producer was making at this time, on the producer's clock.
    ProducerTime(Timestamp),
    /// Where the fragment with this [`continuation_token`](Fragment::continuation_token) ended.
    Token(String),
}

impl From<FragmentNumber> for Start {
    fn from(number: FragmentNumber) -> Self {
        Self::AfterFragment(number)
    }
}

impl Start {
    fn to_selector(&self) -> Result<StartSelector> {
        let millis = |time: &Timestamp| DateTime::from_millis(time.as_millis());
        let selector = StartSelector::builder();
        let selector = match self {
            Self::Now => selector.start_selector_type(StartSelectorType::Now),
            Self::Earliest => selector.start_selector_type(StartSelectorType::Earliest),
            Self::AfterFragment(number) => {
                selector.start_selector_type(StartSelectorType::FragmentNumber).after_fragment_number(number.as_str())
            }
            Self::ServerTime(time) => {
                selector.start_selector_type(StartSelectorType::ServerTimestamp).start_timestamp(millis(time))
            }
            Self::ProducerTime(time) => {
                selector.start_selector_type(StartSelectorType::ProducerTimestamp).start_timestamp(millis(time))
            }
            Self::Token(token) => {
                if token.is_empty() {
                    return Err(Error::invalid_argument("an empty continuation token"));
                }
                selector.start_selector_type(StartSelectorType::ContinuationToken).continuation_token(token)
            }
        };
        selector.build().map_err(|error| Error::invalid_argument("the start selector is not complete").caused_by(error))
    }
}

/// How to read a stream live, from [`KinesisVideo::live`].
#[derive(Clone, Debug)]
#[must_use = "nothing is read before fragments() is called and polled"]
pub struct Live {
    kvs: KinesisVideo,
    stream: StreamId,
    start: Start,
    limits: Limits,
}

impl Live {
    pub(super) fn new(kvs: KinesisVideo, stream: StreamId) -> Self {
        Self { kvs, stream, start: Start::default(), limits: Limits::default() }
    }

    /// Where to begin: [`Start::Now`] unless set.
    pub fn start(mut self, start: impl Into<Start>) -> Self {
        self.start = start.into();
        self
    }

    /// Sets the limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The fragments, each as soon as its last byte has come.
    ///
    /// This makes one GetMedia call and ends when the service ends its body: after 3 seconds without
    /// media, and at about 45 minutes.
    ///
    /// # Errors
    /// When the call is refused, and as [`FragmentStream`] says. Errors name the stream, the
    /// endpoint and the request.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream closes the connection.
    ///
    /// # Memory
    /// That of [`FragmentStream`], plus what the HTTP client has read ahead.
    pub fn fragments(self) -> LiveFragments {
        let fragments = try_stream! {
            let Self { kvs, stream, start, limits } = self;
            let (endpoint, body, request_id) = open(&kvs, &stream, &start).await?;
            let mut fragments = FragmentStream::from_byte_stream(body).limits(limits).map_err(|error| {
                error.of_stream(stream.as_str()).at_endpoint(&endpoint).with_request_id(request_id.as_deref())
            });
            let mut any = false;
            loop {
                match fragments.try_next().await {
                    Ok(Some(fragment)) => {
                        any = true;
                        yield fragment;
                    }
                    Ok(None) => break,
                    // A host that does not know the operation answers with success and JSON.
                    Err(error) if !any && error.kind() == ErrorKind::Malformed && error.position().offset() == Some(0) => {
                        kvs.endpoints.forget(&stream, ApiName::GetMedia);
                        let wrong = Error::new(ErrorKind::WrongEndpoint, "GetMedia: the answer is not media");
                        Err(wrong.of_stream(stream.as_str()).at_endpoint(&endpoint).caused_by(error))?;
                    }
                    Err(error) => Err(error)?,
                }
            }
        };
        LiveFragments { fragments: fragments.boxed(), ended: false }
    }
}

/// Calls GetMedia, once more with a fresh endpoint if the one known turns out to be stale.
async fn open(
    kvs: &KinesisVideo,
    stream: &StreamId,
    start: &Start,
) -> Result<(std::sync::Arc<str>, ByteStream, Option<String>)> {
    let selector = start.to_selector().map_err(|error| error.of_stream(stream.as_str()))?;
    let mut renewed = false;
    loop {
        let endpoint = kvs.endpoints.get(kvs, stream, ApiName::GetMedia).await?;
        // A live body is silent between fragments, so the guard against stalled bodies would kill
        // it, and a call that is tried again behind our back is one that nobody counts.
        let overrides = Config::builder()
            .endpoint_url(&*endpoint)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled());
        let (name, arn) = stream.name_and_arn();
        let call = kvs.media.get_media().set_stream_name(name).set_stream_arn(arn).start_selector(selector.clone());
        match call.customize().config_override(overrides).send().await {
            Ok(output) => {
                use aws_sdk_kinesisvideomedia::operation::RequestId;
                let request_id = output.request_id().map(str::to_owned);
                tracing::debug!(%stream, %endpoint, request_id, "GetMedia");
                return Ok((endpoint, output.payload, request_id));
            }
            Err(error) => {
                let error = from_sdk(error, "GetMedia").of_stream(stream.as_str()).at_endpoint(&endpoint);
                if matches!(error.kind(), ErrorKind::WrongEndpoint | ErrorKind::Io) {
                    kvs.endpoints.forget(stream, ApiName::GetMedia);
                }
                if error.kind() != ErrorKind::WrongEndpoint || renewed {
                    return Err(error);
                }
                renewed = true;
            }
        }
    }
}

/// Stream of the fragments of a live stream, from [`Live::fragments`].
#[must_use = "streams do nothing unless polled"]
pub struct LiveFragments {
    fragments: BoxStream<'static, Result<Fragment>>,
    ended: bool,
}

impl Stream for LiveFragments {
    type Item = Result<Fragment>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = self.fragments.poll_next_unpin(cx);
        self.ended = matches!(item, Poll::Ready(None | Some(Err(_))));
        item
    }
}

impl FusedStream for LiveFragments {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl fmt::Debug for LiveFragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveFragments").field("ended", &self.ended).finish_non_exhaustive()
    }
}
