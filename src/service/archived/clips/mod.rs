//! What is stored, as MP4 files that the service makes.

mod clip;
mod plan;

use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::operation::get_clip::GetClipOutput;
use aws_sdk_kinesisvideoarchivedmedia::types::{ClipFragmentSelector, ClipFragmentSelectorType, ClipTimestampRange};
use futures::Stream;
use futures::stream::{FusedStream, StreamExt, TryStreamExt};

use super::lazy_stream::Lazy;
use super::millis_range::{Span, date, refused};
use super::{Clock, FragmentInfo, FragmentList, Order};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::call::{Call, Origin, Rate, Reply, overrides};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use clip::Clip;

use plan::{Part, Plan};

const OPERATION: &str = "GetClip";

/// How long after the end of the range it is listed: what has just been stored cannot be listed at once.
const SETTLE: Duration = Duration::from_secs(2);

/// Stream of clips, from [`KinesisVideo::clips`]: what is stored of a range, however long, as MP4 files that
/// the service makes with GetClip, one behind the other. Its options are to be set before it is polled; a
/// [range](Clips::range) has to be.
///
/// The service puts no more than 200 fragments or 100 MB into a clip, leaves out the rest and does not say
/// so. So the range is listed first, with ListFragments, and cut between fragments before there are so many:
/// at 200 of them, at 95 MB of what is listed, and at 24 hours. A clip is asked for when it is taken; no
/// fragment is in two.
///
/// A fragment belongs to the range if it *begins* within it, both ends included: one that began before is
/// left out, and the last may go on behind the end.
///
/// # Times that come twice
///
/// By [`Clock::Producer`], of fragments that begin at the same time the service puts only the one with the
/// largest number, the newest, into a clip; and only those that were *ingested* one behind the other, from
/// the one that was ingested first on. A producer that sends a few fragments again is no trouble: clips are
/// cut elsewhere. But where the same time was uploaded at very different times, only what was uploaded first
/// is in the clip. [`Clip::left_out`] says which fragments of its range a clip does not have by these rules,
/// as far as the listing tells; to have them, use another clock or read the fragments themselves.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for what cannot be, before anything is sent.
/// [`Unsupported`](crate::ErrorKind::Unsupported) for media that do not go into an MP4: it takes H.264 or H.265, with
/// AAC or without sound, H.264 with G.711 A-law, with a length in front of frames, and the same tracks and codec
/// private data throughout the clip; where those change in the middle, clips are cut there. What is no longer kept
/// by the time its clip is asked for is not in it; if nothing is left, that is the error. Errors of a clip say which
/// range it is of, behind which another stream of clips can go on. [`Limit`](crate::ErrorKind::Limit) if more fragments begin at the same
/// time than a clip takes. Throttling, broken connections and hosts that have moved are tried again,
/// [eight times](Clips::attempts) each, until a clip begins. Where there is nothing in the range, the
/// stream has nothing.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. A clip that is dropped, read or not, closes its connection.
///
/// # Memory
/// What is listed of the range: some 200 bytes for each fragment. Nothing of a clip but what was read ahead.
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
/// let mut clips = kvs.clips("front-door").range(start..=end).by(Clock::Producer);
/// while let Some(clip) = clips.try_next().await? {
///     println!("{} fragments, {} MB", clip.fragments().len(), clip.listed_bytes() / 1_000_000);
///     let name = format!("door-{}.mp4", clip.range().start().as_millis());
///     clip.write_to(dir.join(name)).await?;
/// }
/// # assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct Clips {
    request: Request,
    clips: Lazy<Clip>,
}

#[derive(Clone)]
struct Request {
    client: Client,
    stream: StreamId,
    range: Option<RangeInclusive<Timestamp>>,
    clock: Clock,
    attempts: u32,
    timeout: Duration,
    read_timeout: Duration,
}

impl Clips {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        let request = Request {
            client,
            stream,
            range: None,
            clock: Clock::default(),
            attempts: 8,
            timeout: Duration::from_secs(60),
            read_timeout: Duration::from_secs(30),
        };
        Self { request, clips: Lazy::Before }
    }

    /// Clips of the fragments that begin within this range, both ends included, however long it is. The end
    /// has to be behind the start.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.request.range = Some(range);
        self
    }

    /// The clock by which the range is meant: [`Clock::Server`] unless set.
    pub fn by(mut self, clock: Clock) -> Self {
        self.request.clock = clock;
        self
    }

    /// How often a clip, or a page of the listing, is asked for, if what goes wrong may go away by itself:
    /// eight times unless set. Pauses between grow, at random, to five seconds, to ten when throttled.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.request.attempts = attempts;
        self
    }

    /// How long an answer, and the first byte of a clip, may take: a minute unless set, since the service
    /// makes the clip first.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = timeout;
        self
    }

    /// How long nothing may come in the middle of a clip that is read: 30 seconds unless set.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.request.read_timeout = timeout;
        self
    }
}

impl Request {
    fn clips(self) -> impl Stream<Item = Result<Clip>> + Send + 'static {
        try_stream! {
            let of_stream = |error: Error| error.of_stream(self.stream.as_str());
            let span = self.check().map_err(of_stream)?;
            let infos = self.list(span).await?;
            // Parts that are cut again come before those behind them.
            let plan = Plan::new(infos, self.clock, span).map_err(of_stream)?;
            let mut plans = vec![plan];
            while let Some(plan) = plans.last_mut() {
                let Some(part) = plan.next() else {
                    plans.pop();
                    continue;
                };
                let part = part.map_err(of_stream)?;
                let error = match self.clip(&part).await {
                    Ok((output, origin)) => {
                        yield Clip::new(part, output, origin, self.timeout, self.read_timeout);
                        continue;
                    }
                    Err(error) => error,
                };
                match self.again(&part, &error).await? {
                    Some(again) => {
                        tracing::debug!(%error, span = ?part.span, "cut again");
                        for (infos, span) in again.into_iter().rev() {
                            let plan = Plan::new(infos, self.clock, span).map_err(of_stream)?;
                            plans.push(plan);
                        }
                    }
                    None => Err(part.name_in(error))?,
                }
            }
        }
    }

    async fn list(&self, span: Span) -> Result<Vec<FragmentInfo>> {
        let list = FragmentList::new(self.client.clone(), self.stream.clone())
            .range(span.to_range())
            .by(self.clock)
            .settle(SETTLE);
        list.attempts(self.attempts).call_timeout(self.timeout).sorted(Order::Time).try_collect().await
    }

    /// What to ask for instead of a part that the service refused, if that may do better.
    async fn again(&self, part: &Part, error: &Error) -> Result<Option<Vec<(Vec<FragmentInfo>, Span)>>> {
        match error.kind() {
            // Tracks or codec private data may change within it.
            ErrorKind::Unsupported => Ok(part.halves(self.clock).map(Vec::from)),
            // What it begins with may no longer be kept.
            ErrorKind::InvalidArgument | ErrorKind::NotFound | ErrorKind::Retention => {
                let before = part.fragments.len() + part.left_out.len();
                let infos = self.list(part.span).await.unwrap_or_default();
                let is_less = !infos.is_empty() && infos.len() < before;
                Ok(is_less.then(|| {
                    tracing::warn!(span = ?part.span, gone = before - infos.len(), "no longer kept");
                    let start = infos.first().and_then(|info| info.time(self.clock)).map(Timestamp::as_millis);
                    let span = Span { start: start.unwrap_or(part.room.start), ..part.room };
                    vec![(infos, span)]
                }))
            }
            _ => Ok(None),
        }
    }

    /// What can be known to be wrong before anything is sent.
    fn check(&self) -> Result<Span> {
        let Some(range) = &self.range else {
            return Err(refused(OPERATION, "the range", "given", "left out"));
        };
        let span = Span::of(range);
        if span.millis() <= 0 {
            let rule = format!("later than StartTimestamp, {}", range.start());
            return Err(refused(OPERATION, "EndTimestamp", &rule, range.end()));
        }
        Ok(span)
    }

    async fn clip(&self, part: &Part) -> Result<(GetClipOutput, Origin)> {
        let Self { client, stream, attempts, timeout, .. } = self;
        let fragments = u32::try_from(part.fragments.len()).unwrap_or(u32::MAX);
        let cost = [Rate::metadata(fragments), Rate::media(fragments, 500)];
        let call = Call { client, stream, api: ApiName::GetClip, operation: OPERATION, cost: &cost, limit: *timeout };
        let (name, arn) = stream.name_and_arn();
        let request = client.archived.get_clip().set_stream_name(name).set_stream_arn(arn);
        let request = request.clip_fragment_selector(selector(self.clock, part.span)?);
        let is_media = |output: &GetClipOutput| !output.content_type().is_some_and(|kind| kind.contains("json"));
        let reply = call.patiently(*attempts, is_media, |endpoint, probe| {
            request.clone().customize().config_override(overrides(endpoint)).interceptor(probe).send()
        });
        let Reply { output, origin, .. } = reply.await?;
        Ok((output, origin))
    }
}

fn selector(clock: Clock, span: Span) -> Result<ClipFragmentSelector> {
    let incomplete = |error| Error::invalid_argument("the clip's selector is not complete").caused_by(error);
    let range = ClipTimestampRange::builder().start_timestamp(date(span.start)).end_timestamp(date(span.end));
    let kind = match clock {
        Clock::Producer => ClipFragmentSelectorType::ProducerTimestamp,
        Clock::Server => ClipFragmentSelectorType::ServerTimestamp,
    };
    let selector = ClipFragmentSelector::builder().fragment_selector_type(kind);
    selector.timestamp_range(range.build().map_err(incomplete)?).build().map_err(incomplete)
}

impl Stream for Clips {
    type Item = Result<Clip>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { request, clips } = &mut *self;
        clips.poll_next(cx, || request.clone().clips().boxed())
    }
}

impl FusedStream for Clips {
    fn is_terminated(&self) -> bool {
        self.clips.has_ended()
    }
}

impl fmt::Debug for Clips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { stream, range, clock, .. } = &self.request;
        f.debug_struct("Clips")
            .field("stream", stream)
            .field("range", range)
            .field("clock", clock)
            .finish_non_exhaustive()
    }
}
