//! [`Images`]: pictures that the service takes of stored media.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use async_stream::try_stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::operation::get_images::GetImagesOutput;
use aws_sdk_kinesisvideoarchivedmedia::types::{Format, FormatConfigKey, Image, ImageError, ImageSelectorType};
use aws_smithy_types::base64;
use bytes::Bytes;
use futures::Stream;

use super::Clock;
use super::archived_stream::ArchivedStream;
use super::millis_range::{MillisRange, date, invalid, whole_millis};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::image_format::ImageFormat;
use crate::service::call::{Call, Rate, RetryConfig, overrides, timestamp};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

const OPERATION: &str = "GetImages";

/// The longest range of one call.
const MAX_MILLIS: i64 = 300_000;

/// The number of consecutive pages without a picture after which a request fails.
const MAX_EMPTY_PAGES: u32 = 100;

/// The reason why there is no picture for a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NoImage {
    /// No media are stored for the requested time. The service's `NO_MEDIA`.
    NoMedia,
    /// The stored media have no picture: they are audio only, or damaged. The service's `MEDIA_ERROR`.
    MediaError,
    /// An error code of the service that this crate does not know.
    ///
    /// Empty if the service sent neither error nor picture.
    Other(String),
}

impl fmt::Display for NoImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMedia => f.write_str("no media"),
            Self::MediaError => f.write_str("no picture in the media"),
            Self::Other(error) if error.is_empty() => f.write_str("no picture"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for NoImage {}

/// A picture for a time, or the reason why there is none.
#[derive(Clone, PartialEq, Eq)]
pub struct ArchivedImage {
    time: Timestamp,
    format: ImageFormat,
    content: Result<Bytes, NoImage>,
}

impl ArchivedImage {
    /// Returns the time of the picture, on the [clock](Images::clock) of the request.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Returns the requested file format, even if there is no picture.
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// Returns the content of the picture file.
    ///
    /// # Errors
    /// The reason why there is no picture for this time.
    pub fn content(&self) -> Result<&Bytes, &NoImage> {
        self.content.as_ref()
    }

    /// Returns the content of the picture file without copying it.
    ///
    /// # Errors
    /// The reason why there is no picture for this time.
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
                    .map_err(|error| wrong(format!("the picture of {time} is not base64")).caused_by(error))?
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

/// Builder of a picture request, from [`KinesisVideo::images`](crate::KinesisVideo::images).
///
/// A [range](Images::range) is required.
///
/// [`images`](Images::images) returns the pictures as a stream. It calls GetImages for as many pages as needed.
///
/// The stream has one item for the start of the range and one for each [interval](Images::sample_every) after
/// it, in order. AWS does not document whether a picture at the exact end is included. The service takes ranges of at
/// most 5 minutes. A longer range is requested in pieces that continue the intervals without a break. A time without a
/// picture is an [`ArchivedImage`] with the reason, not an error.
///
/// The first track must be video, in H.264 or H.265. To decode on your own machine, use
/// [`frames`](crate::FragmentStreamExt).
///
/// # Errors
/// Invalid options fail with [`InvalidArgument`](ErrorKind::InvalidArgument) before anything is sent. If the stream does
/// not exist, the error is [`NotFound`](ErrorKind::NotFound). If it has no retention, it is
/// [`Retention`](ErrorKind::Retention).
/// Throttling, broken connections and moved hosts are [retried](Images::retry). Pictures that arrived before an
/// error are yielded before it.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing.
///
/// # Memory
/// One page: [25 pictures](Images::page_size) by default, 100 MB at most. The next page is requested once all its
/// pictures have been yielded.
///
/// Source: AWS API reference, GetImages.
///
/// ```
/// # #[cfg(all(feature = "local", feature = "ffmpeg"))]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use kinesis_video::local::{Document, LocalEndpoint, Shape};
/// # let endpoint = LocalEndpoint::start().await?;
/// # let door = endpoint.create_stream("front-door");
/// # let document = Document::new(Shape::Ffmpeg).audio_track(1, "sound", "A_AAC").block(1, 0, true, b"coded");
/// # let pushed = door.push(&document);
/// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
/// # let (start, end) = (pushed.producer_time, pushed.producer_time);
/// use std::time::Duration;
/// use futures::TryStreamExt;
/// use kinesis_video::Clock;
///
/// let images = kvs.images("front-door").range(start..=end).clock(Clock::Producer);
/// let mut images = images.sample_every(Duration::from_secs(10)).images();
/// while let Some(image) = images.try_next().await? {
///     match image.content() {
///         Ok(jpeg) => println!("{}: {} bytes", image.time(), jpeg.len()),
///         Err(reason) => println!("{}: {reason}", image.time()),
///     }
/// }
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "nothing is requested before images() is called and polled"]
pub struct Images {
    client: Client,
    stream: StreamId,
    range: Option<RangeInclusive<Timestamp>>,
    clock: Clock,
    interval: Duration,
    format: ImageFormat,
    quality: Option<u8>,
    size: Option<(u32, u32)>,
    page_size: u32,
    retry: RetryConfig,
    timeout: Duration,
}

impl Images {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        Self {
            client,
            stream,
            range: None,
            clock: Clock::default(),
            interval: Duration::from_secs(1),
            format: ImageFormat::default(),
            quality: None,
            size: None,
            page_size: 25,
            retry: RetryConfig::default(),
            timeout: Duration::from_secs(60),
        }
    }

    /// Sets the range of the pictures, which can have any length.
    ///
    /// The first picture is at the start. `time..=time` requests one picture. A start after the end is an
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) error, which the stream yields first.
    pub fn range(mut self, range: RangeInclusive<Timestamp>) -> Self {
        self.range = Some(range);
        self
    }

    /// Sets the clock of the range. Default: [`Clock::Server`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the interval between pictures. Default: 1 s.
    ///
    /// Less than 200 ms, or a part of a millisecond, is an [`InvalidArgument`](ErrorKind::InvalidArgument) error, which
    /// the stream yields first.
    pub fn sample_every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the file format. Default: [`ImageFormat::Jpeg`].
    pub fn format(mut self, format: ImageFormat) -> Self {
        self.format = format;
        self
    }

    /// Sets the JPEG quality, 1 to 100. Default: the service's default, 80.
    ///
    /// Other values, and any quality with [`ImageFormat::Png`], are an
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) error, which the stream yields first.
    pub fn quality(mut self, quality: u8) -> Self {
        self.quality = Some(quality);
        self
    }

    /// Sets the size of the pictures in pixels. Default: the size of the video.
    ///
    /// The width is 1 to 3840, the height 1 to 2160. Other values are an
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) error, which the stream yields first. Pictures are
    /// stretched to this size. The AWS documentation contradicts itself about a width or height alone, so both are
    /// required.
    pub fn size(mut self, width: u32, height: u32) -> Self {
        self.size = Some((width, height));
        self
    }

    /// Sets the maximum number of pictures per page, 1 to 100. Default: 25.
    ///
    /// Values outside 1 to 100 are an [`InvalidArgument`](ErrorKind::InvalidArgument) error, which the stream yields
    /// first. The service accepts up to 100 but returns at most 25, so a larger value only costs more points.
    ///
    /// A page of up to `n` pictures costs `n` media points and `400 + n` metadata points. A stream has 500 media points
    /// and 10,000 metadata points per second.
    pub fn page_size(mut self, images: u32) -> Self {
        self.page_size = images;
        self
    }

    /// Sets the retries of each page. Default: [`RetryConfig::default`].
    ///
    /// Only [retryable](crate::Error::is_retryable) errors are retried. 0 attempts count as 1.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the timeout of each attempt of a call. Default: 60 s.
    ///
    /// The service encodes a whole page before it responds.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the stream of pictures. Nothing is sent before it is polled.
    pub fn images(self) -> ImageStream {
        ImageStream::new(self.stream.clone(), self.read())
    }

    fn read(self) -> impl Stream<Item = Result<ArchivedImage>> + Send + 'static {
        try_stream! {
            let (range, interval) = self.check().map_err(|error| error.of_stream(self.stream.as_str()))?;
            let mut next = Some(range.start);
            while let Some(start) = next {
                let (piece, following) = piece(start, range.end, interval);
                next = following;
                let mut token = None;
                // The number of pictures that the piece can have, plus one for an end that may be included.
                let mut left = piece.millis() / interval + 2;
                let mut empty = 0;
                loop {
                    let (images, following_token) = self.page(piece, interval, token.as_deref()).await?;
                    left -= i64::try_from(images.len()).unwrap_or(i64::MAX);
                    empty = if images.is_empty() { empty + 1 } else { 0 };
                    if left < 0 || empty > MAX_EMPTY_PAGES {
                        let message = format!("{OPERATION}: there are more pages than the range can have");
                        Err(Error::new(ErrorKind::Service, message).retryable(false).of_stream(self.stream.as_str()))?;
                    }
                    for image in images {
                        yield ArchivedImage::read(image, self.format)
                            .map_err(|error| error.retryable(false).of_stream(self.stream.as_str()))?;
                    }
                    if following_token.is_none() {
                        break;
                    }
                    if following_token == token {
                        let message = format!("{OPERATION}: the token of a page leads to the same page");
                        Err(Error::new(ErrorKind::Service, message).of_stream(self.stream.as_str()))?;
                    }
                    token = following_token;
                }
            }
        }
    }

    /// Refuses invalid options before anything is sent. Returns the range and the interval in milliseconds.
    fn check(&self) -> Result<(MillisRange, i64)> {
        let invalid = |member, rule, value| Err(invalid(OPERATION, member, rule, value));
        let Some(range) = &self.range else {
            return invalid("the range", "given", "left out".into());
        };
        let millis = MillisRange::of(range);
        if millis.millis() < 0 {
            return invalid("EndTimestamp", "StartTimestamp or later", format!("{} to {}", range.start(), range.end()));
        }
        let interval = whole_millis(self.interval).filter(|millis| (200..=i64::from(i32::MAX)).contains(millis));
        let Some(interval) = interval else {
            return invalid("SamplingInterval", "200 whole milliseconds or more", format!("{:?}", self.interval));
        };
        if let Some((width, height)) = self.size {
            if !(1..=3840).contains(&width) {
                return invalid("WidthPixels", "1 to 3840", width.to_string());
            }
            if !(1..=2160).contains(&height) {
                return invalid("HeightPixels", "1 to 2160", height.to_string());
            }
        }
        match (self.format, self.quality) {
            (ImageFormat::Jpeg, Some(quality)) if !(1..=100).contains(&quality) => {
                invalid("JPEGQuality", "1 to 100", quality.to_string())
            }
            (ImageFormat::Png, Some(quality)) => {
                invalid("JPEGQuality", "left out where Format is PNG", quality.to_string())
            }
            _ if !(1..=100).contains(&self.page_size) => invalid("MaxResults", "1 to 100", self.page_size.to_string()),
            _ => Ok((millis, interval)),
        }
    }

    /// Requests one page. Returns its pictures and the token of the next page.
    async fn page(
        &self,
        piece: MillisRange,
        interval: i64,
        token: Option<&str>,
    ) -> Result<(VecDeque<Image>, Option<String>)> {
        let Self { client, stream, page_size, retry, timeout, .. } = self;
        let cost = [Rate::metadata(400 + page_size), Rate::media(*page_size, 500)];
        let call = Call { client, stream, api: ApiName::GetImages, operation: OPERATION, cost: &cost, limit: *timeout };
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
        let mut request = client
            .archived
            .get_images()
            .set_stream_name(name)
            .set_stream_arn(arn)
            .image_selector_type(selector)
            .start_timestamp(date(piece.start))
            .end_timestamp(date(piece.end))
            .sampling_interval(i32::try_from(interval).unwrap_or(i32::MAX))
            .format(format)
            .set_width_pixels(self.size.map(|(width, _)| pixels(width)))
            .set_height_pixels(self.size.map(|(_, height)| pixels(height)))
            .max_results(i64::from(*page_size))
            .set_next_token(token.map(Into::into));
        if let Some(quality) = self.quality {
            request = request.format_config(FormatConfigKey::JpegQuality, quality.to_string());
        }
        let is_answer = |output: &GetImagesOutput| output.images.is_some();
        let reply = call.with_retries(*retry, is_answer, |endpoint, probe| {
            request.clone().customize().config_override(overrides(endpoint)).interceptor(probe).send()
        });
        let output = reply.await?.output;
        let token = output.next_token.filter(|token| !token.is_empty());
        Ok((output.images.unwrap_or_default().into(), token))
    }
}

/// Returns the range of one call that starts at `start`, and the start of the next call.
///
/// The documentation does not say whether the end of a range is included. So the end of a piece is never the time
/// of a picture, except at the end of the whole range.
fn piece(start: i64, end: i64, interval: i64) -> (MillisRange, Option<i64>) {
    let pictures = ((MAX_MILLIS + 1) / interval).max(1);
    let next = start.saturating_add(pictures.saturating_mul(interval));
    let last = (next - 1).min(start.saturating_add(MAX_MILLIS)).min(end);
    // The documentation does not say whether a range may be empty either. One more millisecond adds no picture.
    (MillisRange { start, end: last.max(start + 1) }, Some(next).filter(|next| *next <= end))
}

impl fmt::Debug for Images {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Images")
            .field("stream", &self.stream)
            .field("range", &self.range)
            .field("clock", &self.clock)
            .field("interval", &self.interval)
            .finish_non_exhaustive()
    }
}

/// A stream of pictures, from [`Images::images`].
pub type ImageStream = ArchivedStream<ArchivedImage>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_each_sampling_time_once() {
        let mut random = fastrand::Rng::with_seed(3);
        for round in 0..2000 {
            let interval = [200, 201, 1000, 7_777, 150_000, 150_001, 299_999, 300_000, 300_001, 300_002, 900_000];
            let interval = interval.get(round % 14).copied().unwrap_or_else(|| random.i64(200..400_000));
            let start = random.i64(-10_000..2_000_000_000_000);
            let end = match round % 3 {
                0 => start + random.i64(0..20) * interval,
                1 => start + random.i64(0..2_000_000),
                _ => start + 300_000 + random.i64(-2..3),
            };
            // The service may include or exclude the end of a range.
            for is_inclusive in [true, false] {
                let (mut times, mut next) = (Vec::new(), Some(start));
                while let Some(from) = next {
                    let (piece, following) = super::piece(from, end, interval);
                    assert!((1..=MAX_MILLIS).contains(&piece.millis()), "{piece:?}");
                    let stop = if is_inclusive { piece.end + 1 } else { piece.end };
                    times.extend((piece.start..stop).step_by(interval as usize));
                    next = following;
                }
                let mut expected: Vec<i64> = (start..=end).step_by(interval as usize).collect();
                // The caller's own end is the only one that may be missing.
                if !is_inclusive && times.len() < expected.len() {
                    assert_eq!(expected.pop(), Some(end));
                }
                assert_eq!(times, expected, "{start}..={end} interval {interval}");
            }
        }
    }
}
