//! Pictures that the service takes of what is stored.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::operation::get_images::GetImagesOutput;
use aws_sdk_kinesisvideoarchivedmedia::types::{Format, FormatConfigKey, Image, ImageError, ImageSelectorType};
use aws_smithy_types::base64;
use bytes::Bytes;
use futures::Stream;
use futures::stream::{FusedStream, StreamExt};

use super::archived::overrides;
use super::call::Call;
use super::lazy::Lazy;
use super::rates::Rate;
use super::span::{Span, date, refused, timestamp, whole_millis};
use super::{Clock, KinesisVideo, StreamId};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::image_format::ImageFormat;

const OPERATION: &str = "GetImages";

/// The longest range of one call.
const MOST_MILLIS: i64 = 300_000;

/// Why there is no picture of a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoImage {
    /// There are no media of that time. The service's `NO_MEDIA`.
    NoMedia,
    /// There are media, but no picture can be made of them: only sound, or damaged. The service's
    /// `MEDIA_ERROR`.
    MediaError,
    /// What the service said, which nobody has heard of; nothing if it said neither this nor a picture.
    Other(String),
}

impl fmt::Display for NoImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMedia => f.write_str("no media"),
            Self::MediaError => f.write_str("no picture in the media"),
            Self::Other(said) if said.is_empty() => f.write_str("no picture"),
            Self::Other(said) => f.write_str(said),
        }
    }
}

impl std::error::Error for NoImage {}

/// A picture of a time, or why there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct ArchivedImage {
    time: Timestamp,
    format: ImageFormat,
    content: Result<Bytes, NoImage>,
}

impl ArchivedImage {
    /// Of when, on the [clock](Images::by) that was chosen.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the file format of the picture.
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// The picture as a file, or why there is none.
    pub fn content(&self) -> Result<&Bytes, &NoImage> {
        self.content.as_ref()
    }

    /// The same, to keep.
    pub fn into_content(self) -> Result<Bytes, NoImage> {
        self.content
    }

    fn read(image: Image, format: ImageFormat) -> Result<Self> {
        let wrong = |message: String| Error::new(ErrorKind::Service, format!("{OPERATION}: {message}"));
        let Some(time) = image.time_stamp.as_ref().and_then(timestamp) else {
            return Err(wrong("a picture has no time".into()));
        };
        let content = match (image.error, image.image_content.filter(|content| !content.is_empty())) {
            (Some(ImageError::NoMedia), _) => Err(NoImage::NoMedia),
            (Some(ImageError::MediaError), _) => Err(NoImage::MediaError),
            (Some(other), _) => Err(NoImage::Other(other.as_str().to_owned())),
            (None, None) => Err(NoImage::Other(String::new())),
            (None, Some(content)) => {
                let decoded = base64::decode(content);
                Ok(decoded
                    .map_err(|error| wrong(format!("the picture of {time} is no base64")).caused_by(error))?
                    .into())
            }
        };
        Ok(Self { time, format, content })
    }
}

impl fmt::Debug for ArchivedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedImage")
            .field("time", &self.time)
            .field("format", &self.format)
            .field("content", &self.content.as_ref().map(|bytes| format_args!("{} bytes", bytes.len()).to_string()))
            .finish()
    }
}

/// Stream of pictures that the service takes of what is stored, from [`KinesisVideo::images`], over as many
/// calls and pages of GetImages as it takes. Its options are to be set before it is polled; a
/// [range](Images::range) has to be.
///
/// There is one for the start of the range and for each [interval](Images::every) behind it, up to the end,
/// in order. The service takes ranges of five minutes at most: a longer one is asked for piece by piece, and
/// the intervals go on from one to the next, so that it is as if it were one. A time of which there is no
/// picture is an [`ArchivedImage`] that says so, not an error.
///
/// The video has to be the first track, H.264 or H.265. Where one's own machine is to do the work,
/// [`frames`](crate::FragmentStreamExt) of fragments are what to use.
///
/// # Errors
/// [`InvalidArgument`](ErrorKind::InvalidArgument) for what cannot be, before anything is sent.
/// [`NotFound`](ErrorKind::NotFound) for a stream that is not there, [`Retention`](ErrorKind::Retention) for
/// one that keeps nothing. Throttling, broken connections and hosts that have moved are tried again,
/// [eight times](Images::attempts) each. Pictures that came before an error come before it.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing.
///
/// # Memory
/// One page, [25 pictures](Images::page_size) unless set, which the service keeps to 100 MB. The next is
/// asked for when it is used up.
///
/// Source: AWS API reference, GetImages.
///
/// ```
/// # #[cfg(all(feature = "local", feature = "ffmpeg"))]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use kinesis_video::local::{Document, LocalEndpoint, Shape};
/// # let endpoint = LocalEndpoint::start().await?;
/// # let door = endpoint.create_stream("front-door");
/// # let pushed = door.push(&Document::new(Shape::Ffmpeg).audio_track(1, "sound", "A_AAC").block(1, 0, true, b"coded"));
/// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
/// # let (start, end) = (pushed.producer_time, pushed.producer_time);
/// use std::time::Duration;
/// use futures::TryStreamExt;
/// use kinesis_video::Clock;
///
/// let mut images = kvs.images("front-door").range(start..=end).by(Clock::Producer).every(Duration::from_secs(10));
/// while let Some(image) = images.try_next().await? {
///     match image.content() {
///         Ok(jpeg) => println!("{}: {} bytes", image.time(), jpeg.len()),
///         Err(why) => println!("{}: {why}", image.time()),
///     }
/// }
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct Images {
    request: Request,
    images: Lazy<ArchivedImage>,
}

#[derive(Clone)]
struct Request {
    kvs: KinesisVideo,
    stream: StreamId,
    range: Option<RangeInclusive<Timestamp>>,
    clock: Clock,
    every: Duration,
    format: ImageFormat,
    quality: Option<u32>,
    size: Option<(u32, u32)>,
    page_size: u32,
    attempts: u32,
    timeout: Duration,
}

impl Images {
    pub(super) fn new(kvs: KinesisVideo, stream: StreamId) -> Self {
        let request = Request {
            kvs,
            stream,
            range: None,
            clock: Clock::default(),
            every: Duration::from_secs(1),
            format: ImageFormat::default(),
            quality: None,
            size: None,
            page_size: 25,
            attempts: 8,
            timeout: Duration::from_secs(60),
        };
        Self { request, images: Lazy::Before }
    }

    /// Pictures of this range, both ends included, however long it is. `time..=time` is one picture.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.request.range = Some(range);
        self
    }

    /// The clock by which the range is meant: [`Clock::Server`] unless set.
    pub fn by(mut self, clock: Clock) -> Self {
        self.request.clock = clock;
        self
    }

    /// How long it is from one picture to the next: a second unless set; whole milliseconds, 200 or more.
    pub fn every(mut self, interval: Duration) -> Self {
        self.request.every = interval;
        self
    }

    /// What pictures are encoded as: [`ImageFormat::Jpeg`] unless set.
    pub fn format(mut self, format: ImageFormat) -> Self {
        self.request.format = format;
        self
    }

    /// The quality of JPEG, from 1 to 100: 80 unless set.
    pub fn quality(mut self, quality: u32) -> Self {
        self.request.quality = Some(quality);
        self
    }

    /// How large pictures are, to 3840 by 2160: as the video is unless set. They are stretched to it. The
    /// service says two things of a width or a height alone, so it is both or neither.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.request.size = Some((width, height));
        self
    }

    /// How many pictures to ask for in a page, from 1 to 100: 25 unless set, and more than that the service
    /// does not give. A page costs a point for each of the 500 a second that a stream has for media, and 400
    /// more than that of the 10,000 for metadata.
    pub fn page_size(mut self, images: u32) -> Self {
        self.request.page_size = images;
        self
    }

    /// How often a page is asked for, if what goes wrong may go away by itself: eight times unless set.
    /// Pauses between grow, at random, to five seconds, to ten when throttled.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.request.attempts = attempts;
        self
    }

    /// How long an answer may take: a minute unless set, since the service decodes and encodes a page first.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = timeout;
        self
    }
}

/// So many pages one behind the other without a picture are not going to bring one.
const MOST_EMPTY: u32 = 100;

impl Request {
    fn images(self) -> impl Stream<Item = Result<ArchivedImage>> + Send + 'static {
        try_stream! {
            let (range, every) = self.check().map_err(|error| error.of_stream(self.stream.as_str()))?;
            let mut next = Some(range.start);
            while let Some(start) = next {
                let (span, then) = piece(start, range.end, every);
                next = then;
                let mut token = None;
                // One more than there is room for is one too many.
                let mut left = span.millis() / every + 2;
                let mut empty = 0;
                loop {
                    let (images, more) = self.page(span, every, token.as_deref()).await?;
                    left -= i64::try_from(images.len()).unwrap_or(i64::MAX);
                    empty = if images.is_empty() { empty + 1 } else { 0 };
                    if left < 0 || empty > MOST_EMPTY {
                        let message = format!("{OPERATION}: the pages do not come to an end");
                        Err(Error::new(ErrorKind::Service, message).retryable(false).of_stream(self.stream.as_str()))?;
                    }
                    for image in images {
                        yield ArchivedImage::read(image, self.format)
                            .map_err(|error| error.retryable(false).of_stream(self.stream.as_str()))?;
                    }
                    if more.is_none() {
                        break;
                    }
                    if more == token {
                        let message = format!("{OPERATION}: a page leads to itself");
                        Err(Error::new(ErrorKind::Service, message).of_stream(self.stream.as_str()))?;
                    }
                    token = more;
                }
            }
        }
    }

    /// What can be known to be wrong before anything is sent. The range and the interval in milliseconds.
    fn check(&self) -> Result<(Span, i64)> {
        let refused = |member, rule, was| Err(refused(OPERATION, member, rule, was));
        let Some(range) = &self.range else {
            return refused("the range", "given", "left out".into());
        };
        let span = Span::of(range);
        if span.millis() < 0 {
            return refused("EndTimestamp", "StartTimestamp or later", format!("{} to {}", range.start(), range.end()));
        }
        let every = whole_millis(self.every).filter(|every| (200..=i64::from(i32::MAX)).contains(every));
        let Some(every) = every else {
            return refused("SamplingInterval", "200 whole milliseconds or more", format!("{:?}", self.every));
        };
        if let Some((width, height)) = self.size {
            if !(1..=3840).contains(&width) {
                return refused("WidthPixels", "1 to 3840", width.to_string());
            }
            if !(1..=2160).contains(&height) {
                return refused("HeightPixels", "1 to 2160", height.to_string());
            }
        }
        match (self.format, self.quality) {
            (ImageFormat::Jpeg, Some(quality)) if !(1..=100).contains(&quality) => {
                refused("JPEGQuality", "1 to 100", quality.to_string())
            }
            (ImageFormat::Png, Some(quality)) => {
                refused("JPEGQuality", "left out where Format is PNG", quality.to_string())
            }
            _ if !(1..=100).contains(&self.page_size) => refused("MaxResults", "1 to 100", self.page_size.to_string()),
            _ => Ok((span, every)),
        }
    }

    /// A page of a piece, and what leads to the next.
    async fn page(&self, span: Span, every: i64, token: Option<&str>) -> Result<(VecDeque<Image>, Option<String>)> {
        let Self { kvs, stream, page_size, attempts, timeout, .. } = self;
        let cost = [Rate::metadata(400 + page_size), Rate::media(*page_size, 500)];
        let call = Call { kvs, stream, api: ApiName::GetImages, operation: OPERATION, cost: &cost, limit: *timeout };
        let (name, arn) = stream.name_and_arn();
        let selector = match self.clock {
            Clock::Producer => ImageSelectorType::ProducerTimestamp,
            Clock::Server => ImageSelectorType::ServerTimestamp,
        };
        let format = match self.format {
            ImageFormat::Jpeg => Format::Jpeg,
            ImageFormat::Png => Format::Png,
        };
        let pixels = |pixels: u32| i32::try_from(pixels).unwrap_or(i32::MAX);
        let mut request = kvs
            .archived
            .get_images()
            .set_stream_name(name)
            .set_stream_arn(arn)
            .image_selector_type(selector)
            .start_timestamp(date(span.start))
            .end_timestamp(date(span.end))
            .sampling_interval(i32::try_from(every).unwrap_or(i32::MAX))
            .format(format)
            .set_width_pixels(self.size.map(|(width, _)| pixels(width)))
            .set_height_pixels(self.size.map(|(_, height)| pixels(height)))
            .max_results(i64::from(*page_size))
            .set_next_token(token.map(Into::into));
        if let Some(quality) = self.quality {
            request = request.format_config(FormatConfigKey::JpegQuality, quality.to_string());
        }
        let is_answer = |output: &GetImagesOutput| output.images.is_some();
        let reply = call.patiently(*attempts, is_answer, |endpoint, probe| {
            request.clone().customize().config_override(overrides(endpoint)).interceptor(probe).send()
        });
        let output = reply.await?.output;
        let token = output.next_token.filter(|token| !token.is_empty());
        Ok((output.images.unwrap_or_default().into(), token))
    }
}

/// As much of a range as one call takes, from the time of a picture on, and the time of the first picture behind
/// it. Its end is no picture's time unless the range ends with one: whether the service means ends to be
/// included is not known.
fn piece(start: i64, end: i64, every: i64) -> (Span, Option<i64>) {
    let pictures = ((MOST_MILLIS + 1) / every).max(1);
    let next = start.saturating_add(pictures.saturating_mul(every));
    let last = (next - 1).min(start.saturating_add(MOST_MILLIS)).min(end);
    // Nor is it known whether a range may be of no length; behind its start, by less than an interval, there
    // is no other picture.
    (Span { start, end: last.max(start + 1) }, Some(next).filter(|next| *next <= end))
}

impl Stream for Images {
    type Item = Result<ArchivedImage>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { request, images } = &mut *self;
        images.poll_next(cx, || request.clone().images().boxed())
    }
}

impl FusedStream for Images {
    fn is_terminated(&self) -> bool {
        self.images.has_ended()
    }
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { stream, range, clock, every, .. } = &self.request;
        f.debug_struct("Images")
            .field("stream", stream)
            .field("range", range)
            .field("clock", clock)
            .field("every", every)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_each_time_of_the_grid_once() {
        let mut random = fastrand::Rng::with_seed(3);
        for round in 0..2000 {
            let every = [200, 201, 1000, 7_777, 150_000, 150_001, 299_999, 300_000, 300_001, 300_002, 900_000];
            let every = every.get(round % 14).copied().unwrap_or_else(|| random.i64(200..400_000));
            let start = random.i64(-10_000..2_000_000_000_000);
            let end = match round % 3 {
                0 => start + random.i64(0..20) * every,
                1 => start + random.i64(0..2_000_000),
                _ => start + 300_000 + random.i64(-2..3),
            };
            // Both ways in which the end may be meant.
            for is_inclusive in [true, false] {
                let (mut times, mut next) = (Vec::new(), Some(start));
                while let Some(from) = next {
                    let (span, then) = piece(from, end, every);
                    assert!((1..=MOST_MILLIS).contains(&span.millis()), "{span:?}");
                    let stop = if is_inclusive { span.end + 1 } else { span.end };
                    times.extend((span.start..stop).step_by(every as usize));
                    next = then;
                }
                let mut expected: Vec<i64> = (start..=end).step_by(every as usize).collect();
                // Only the end that the caller gave is as the service means it.
                if !is_inclusive && times.len() < expected.len() {
                    assert_eq!(expected.pop(), Some(end));
                }
                assert_eq!(times, expected, "{start}..={end} every {every}");
            }
        }
    }
}
