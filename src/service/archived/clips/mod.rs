//! [`Clips`]: stored media as MP4 files that the service makes.

mod clip;
mod plan;

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::operation::get_clip::GetClipOutput;
use aws_sdk_kinesisvideoarchivedmedia::types::{ClipFragmentSelector, ClipFragmentSelectorType, ClipTimestampRange};
use futures::Stream;
use futures::stream::TryStreamExt;

use super::archived_stream::ArchivedStream;
use super::millis_range::{MillisRange, date, invalid};
use super::{Clock, FragmentInfo, FragmentList, Order};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::call::{Call, Origin, Rate, Reply, RetryConfig, overrides};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use clip::Clip;

use plan::{Part, Plan};

const OPERATION: &str = "GetClip";

/// The time to wait after the end of the range before listing it. New fragments cannot be listed at once.
const SETTLE: Duration = Duration::from_secs(2);

/// Builder of MP4 clips, from [`KinesisVideo::clips`](crate::KinesisVideo::clips).
///
/// A [range](Clips::range) is required.
///
/// [`clips`](Clips::clips) returns the clips as a stream. The service makes each with GetClip.
///
/// The service puts at most 200 fragments or 100 MB into a clip. It leaves out the rest without an error. So the
/// range, which may have any length, is first listed with ListFragments and then divided between fragments. A clip
/// has at most:
///
/// | limit | value |
/// |---|---|
/// | fragments | 200 |
/// | listed size | 95 MB |
/// | duration | 24 h |
///
/// A clip is requested when the stream is polled for it. No fragment is in two clips.
///
/// A fragment belongs to the range if it *starts* within it, both ends included. A fragment that starts before the
/// range is left out. The last fragment may continue after the end.
///
/// # Overlapping uploads
///
/// With [`Clock::Producer`] the service leaves out some fragments:
///
/// - Of several fragments with the same start the service uses only the newest, which has the largest number.
/// - The service uses only fragments that were *ingested* consecutively, starting with the one ingested first.
///
/// A producer that sends a few fragments again does not lose any: clips are divided there. But if the same time was
/// uploaded at very different times, only the first upload is in the clip. [`Clip::left_out`] lists the fragments
/// that a clip lacks by these rules, as far as the listing shows. To read those, use [`Clock::Server`] or read the
/// fragments with [`Archive`](crate::Archive).
///
/// # Errors
/// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for invalid options, before anything is sent.
/// - [`Unsupported`](crate::ErrorKind::Unsupported) for media that do not fit into an MP4. The service takes H.264 or
///   H.265 with AAC or without audio, and H.264 with G.711 A-law, with length prefixes instead of start codes. All
///   fragments of a clip must have the same tracks and codec private data. Clips are divided where those change.
///   It is also the error if fragments start 1 ms before, at and 1 ms after a time and must be divided there.
/// - [`Limit`](crate::ErrorKind::Limit) if more fragments start at the same time than fit into a clip. A single
///   fragment of more than 95 MB is requested.
/// - [`NotFound`](crate::ErrorKind::NotFound), [`AccessDenied`](crate::ErrorKind::AccessDenied) and
///   [`Retention`](crate::ErrorKind::Retention), as for [`FragmentList`](crate::FragmentList#errors).
/// - Throttling, broken connections and moved hosts, after all [attempts](Clips::retry). They are retried until the
///   response to a call begins.
/// - [`Service`](crate::ErrorKind::Service) for other errors of the service.
///
/// Errors of a clip have its range. Another stream of clips can continue after it. Fragments that have expired
/// since the listing are not in the clip. If none is left, the service's error is returned. A range without fragments
/// yields no clips.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping a clip closes its connection.
///
/// # Memory
/// The listing of the range: about 200 bytes per fragment. Of a clip, only what the HTTP client has read ahead.
///
/// Source: AWS API reference, GetClip and ListFragments.
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use kinesis_video::local::{Document, LocalEndpoint, Shape};
/// # let endpoint = LocalEndpoint::start().await?;
/// # let door = endpoint.create_stream("front-door");
/// # let avc = [1, 0x64, 0, 12, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 1, 0, 2, 0x68, 0xEE];
/// # let document = Document::new(Shape::Ffmpeg).codec_private(&avc).video_track(1);
/// # let pushed = door.push(&document.block(1, 0, true, &[0, 0, 0, 2, 0x65, 0x88]));
/// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
/// # let start = pushed.producer_time;
/// # let end = kinesis_video::Timestamp::from_millis(start.as_millis() + 1000);
/// # let dir = std::env::temp_dir().join(format!("kinesis-video-clips-{}", std::process::id()));
/// use futures::TryStreamExt;
/// use kinesis_video::Clock;
///
/// let mut clips = kvs.clips("front-door").range(start..=end).clock(Clock::Producer).clips();
/// while let Some(clip) = clips.try_next().await? {
///     println!("{} fragments, {} MB", clip.fragments().len(), clip.listed_bytes() / 1_000_000);
///     let name = format!("door-{}.mp4", clip.range().start().as_millis());
///     clip.write_to(dir.join(name)).await?;
/// }
/// # assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "nothing is requested before clips() is called and polled"]
pub struct Clips {
    client: Client,
    stream: StreamId,
    range: Option<RangeInclusive<Timestamp>>,
    clock: Clock,
    retry: RetryConfig,
    timeout: Duration,
    read_timeout: Duration,
}

impl Clips {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        Self {
            client,
            stream,
            range: None,
            clock: Clock::default(),
            retry: RetryConfig::default(),
            timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(30),
        }
    }

    /// Sets the range in which fragments start, both ends included. It can have any length.
    ///
    /// The end must be at least 1 ms after the start, else the stream yields an
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error first. The range is listed 2 s after its end. If it
    /// ends in the future, the range is listed 2 s after the first poll.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.range = Some(range);
        self
    }

    /// Sets the clock of the range. Default: [`Clock::Server`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the retries of each clip and of each page of the listing. Default: [`RetryConfig::default`].
    ///
    /// Only [retryable](crate::Error::is_retryable) errors are retried. 0 attempts count as 1.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the timeout of each attempt of a call. Default: 60 s.
    ///
    /// The first byte of a clip has the same time again, after the response begins. The service makes the whole
    /// clip before it sends the first byte.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the maximum silence within a clip while it is read. Default: 30 s.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Returns the stream of clips. Nothing is sent before it is polled.
    pub fn clips(self) -> ClipStream {
        ClipStream::new(self.stream.clone(), self.read())
    }

    fn read(self) -> impl Stream<Item = Result<Clip>> + Send + 'static {
        try_stream! {
            let of_stream = |error: Error| error.of_stream(self.stream.as_str());
            let range = self.check().map_err(of_stream)?;
            let infos = self.list(range).await?;
            // A stack, so that the pieces of a part that is divided again precede the parts after it.
            let plan = Plan::new(infos, self.clock, range).map_err(of_stream)?;
            let mut plans = vec![plan];
            while let Some(plan) = plans.last_mut() {
                let Some(part) = plan.next() else {
                    plans.pop();
                    continue;
                };
                let part = part.map_err(of_stream)?;
                let error = match self.request_clip(&part).await {
                    Ok((output, origin)) => {
                        yield Clip::new(part, output, origin, self.timeout, self.read_timeout);
                        continue;
                    }
                    Err(error) => error,
                };
                match self.replan(&part, &error).await? {
                    Some(replacements) => {
                        tracing::debug!(%error, range = ?part.range, "dividing the clip again");
                        for (infos, range) in replacements.into_iter().rev() {
                            let plan = Plan::new(infos, self.clock, range).map_err(of_stream)?;
                            plans.push(plan);
                        }
                    }
                    None => Err(part.name_in(error))?,
                }
            }
        }
    }

    async fn list(&self, range: MillisRange) -> Result<Vec<FragmentInfo>> {
        let list = FragmentList::new(self.client.clone(), self.stream.clone())
            .range(range.to_range())
            .clock(self.clock)
            .settle(SETTLE);
        let list = list.retry(self.retry).call_timeout(self.timeout).order(Order::Time);
        list.entries().try_collect().await
    }

    /// Returns the fragments and ranges to request in place of a part that failed, if that may succeed.
    async fn replan(&self, part: &Part, error: &Error) -> Result<Option<Vec<(Vec<FragmentInfo>, MillisRange)>>> {
        match error.kind() {
            // The tracks or the codec private data may change within the part.
            ErrorKind::Unsupported => Ok(part.halves(self.clock).map(Vec::from)),
            // The first fragments may have expired.
            ErrorKind::InvalidArgument | ErrorKind::NotFound | ErrorKind::Retention => {
                let before = part.fragments.len() + part.left_out.len();
                let infos = self.list(part.range).await.unwrap_or_default();
                let is_less = !infos.is_empty() && infos.len() < before;
                Ok(is_less.then(|| {
                    tracing::warn!(range = ?part.range, expired = before - infos.len(), "fragments have expired");
                    let start = infos.first().and_then(|info| info.time(self.clock)).map(Timestamp::as_millis);
                    let range = MillisRange { start: start.unwrap_or(part.free_range.start), ..part.free_range };
                    vec![(infos, range)]
                }))
            }
            _ => Ok(None),
        }
    }

    /// Refuses invalid options before anything is sent.
    fn check(&self) -> Result<MillisRange> {
        let Some(range) = &self.range else {
            return Err(invalid(OPERATION, "the range", "given", "left out"));
        };
        let millis = MillisRange::of(range);
        if millis.millis() <= 0 {
            let rule = format!("later than StartTimestamp, {}", range.start());
            return Err(invalid(OPERATION, "EndTimestamp", &rule, range.end()));
        }
        Ok(millis)
    }

    async fn request_clip(&self, part: &Part) -> Result<(GetClipOutput, Origin)> {
        let Self { client, stream, retry, timeout, .. } = self;
        let fragments = u32::try_from(part.fragments.len()).unwrap_or(u32::MAX);
        let cost = [Rate::metadata(fragments), Rate::media(fragments, 500)];
        let call = Call { client, stream, api: ApiName::GetClip, operation: OPERATION, cost: &cost, limit: *timeout };
        let (name, arn) = stream.name_and_arn();
        let request = client.archived.get_clip().set_stream_name(name).set_stream_arn(arn);
        let request = request.clip_fragment_selector(selector(self.clock, part.range)?);
        let is_media = |output: &GetClipOutput| !output.content_type().is_some_and(|kind| kind.contains("json"));
        let reply = call.with_retries(*retry, is_media, |endpoint, probe| {
            request.clone().customize().config_override(overrides(endpoint)).interceptor(probe).send()
        });
        let Reply { output, origin, .. } = reply.await?;
        Ok((output, origin))
    }
}

fn selector(clock: Clock, range: MillisRange) -> Result<ClipFragmentSelector> {
    let incomplete = |error| Error::invalid_argument("GetClip: the fragment selector is incomplete").caused_by(error);
    let range = ClipTimestampRange::builder().start_timestamp(date(range.start)).end_timestamp(date(range.end));
    let kind = match clock {
        Clock::Producer => ClipFragmentSelectorType::ProducerTimestamp,
        Clock::Server => ClipFragmentSelectorType::ServerTimestamp,
    };
    let selector = ClipFragmentSelector::builder().fragment_selector_type(kind);
    selector.timestamp_range(range.build().map_err(incomplete)?).build().map_err(incomplete)
}

impl fmt::Debug for Clips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clips")
            .field("stream", &self.stream)
            .field("range", &self.range)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

/// A stream of clips, from [`Clips::clips`].
pub type ClipStream = ArchivedStream<Clip>;
