//! GetImages: which pictures are asked for, and their pages.

#[cfg(feature = "ffmpeg")]
mod pictures;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::fragment::Timestamp;
use crate::local::faults::injected_fault::Operation;
use crate::local::faults::quotas::Points;
use crate::local::operations::playback::{needs_retention, one_of, within};
use crate::local::operations::selection::Origin;
use crate::local::server::state::{Answer, Server};
use crate::local::server::wire::{self, Refusal, StreamRequest};
#[cfg(feature = "ffmpeg")]
use pictures::take;

/// How long the range may be.
const LONGEST_MILLIS: i64 = 300_000;

/// The interval of a request that names none. The service does not say which it takes; it was once the least
/// that one could ask for.
const INTERVAL_MILLIS: i64 = 3000;

/// A page has no more images than this, whatever was asked for.
const PAGE: u64 = 25;

/// How long an image may be in base64, and a page altogether.
const LONGEST_IMAGE: usize = 6_291_456;
const LONGEST_PAGE: usize = 100 << 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetImagesRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    image_selector_type: Option<String>,
    start_timestamp: Option<f64>,
    end_timestamp: Option<f64>,
    sampling_interval: Option<i64>,
    format: Option<String>,
    format_config: Option<BTreeMap<String, String>>,
    width_pixels: Option<i64>,
    height_pixels: Option<i64>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

/// What an image is to be encoded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Of this quality.
    Jpeg(u8),
    Png,
}

/// How large an image is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    OfSource,
    /// As wide as its proportions make it.
    High(u32),
    Stretched(u32, u32),
}

/// What became of an image.
#[derive(Debug)]
#[cfg_attr(not(feature = "ffmpeg"), allow(dead_code, reason = "only with a decoder are there images"))]
pub(crate) enum Image {
    Encoded(Bytes),
    /// There is no fragment at that time.
    NoMedia,
    /// There is one, of which no picture comes.
    MediaError,
}

/// What a request asks for.
#[derive(Debug)]
#[cfg_attr(not(feature = "ffmpeg"), allow(dead_code, reason = "only with a decoder are there images"))]
pub(crate) struct Asked {
    pub(crate) origin: Origin,
    pub(crate) format: Format,
    pub(crate) size: Size,
    start: i64,
    interval: i64,
    /// How many images there are altogether.
    count: u64,
    /// The first of this page.
    first: u64,
    most: u64,
}

impl Asked {
    /// The times of the images of the page.
    fn times(&self) -> Vec<Timestamp> {
        let last = self.count.min(self.first.saturating_add(self.most.min(PAGE)));
        let time = |index: u64| self.start.saturating_add(self.interval.saturating_mul(index as i64));
        (self.first..last).map(|index| Timestamp::from_millis(time(index))).collect()
    }

    /// A token for going on with this image. It says what of, so that it goes with no other request.
    fn token(&self, index: u64) -> String {
        STANDARD.encode(format!("{:?}/{}/{}/{}/{index}", self.origin, self.start, self.interval, self.count))
    }

    fn read_token(&self, token: &str) -> Option<u64> {
        let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        let index = text.rsplit('/').next()?.parse().ok()?;
        (self.token(index) == token).then_some(index)
    }
}

impl GetImagesRequest {
    fn check(&self) -> Result<Asked, Refusal> {
        let missing = |member: &str| Refusal::invalid_argument(format!("{member} is missing"));
        let origin = self.image_selector_type.as_deref().ok_or_else(|| missing("ImageSelectorType"))?;
        let origin = Origin::parse(origin, "ImageSelectorType")?;
        let time = |seconds: Option<f64>, member: &str| {
            seconds.map(|seconds| wire::from_seconds(seconds).as_millis()).ok_or_else(|| missing(member))
        };
        let start = time(self.start_timestamp, "StartTimestamp")?;
        let end = time(self.end_timestamp, "EndTimestamp")?;
        if end < start {
            return Err(Refusal::invalid_argument("EndTimestamp must not be earlier than StartTimestamp"));
        }
        let span = end.saturating_sub(start);
        if span > LONGEST_MILLIS {
            let message = "IllegalArgumentException: EndTimestamp must be within 300 seconds of StartTimestamp";
            return Err(Refusal::invalid_argument(message));
        }
        let interval = self.sampling_interval.unwrap_or(INTERVAL_MILLIS);
        within("SamplingInterval", interval, 200, i64::from(i32::MAX))?;
        let format = self.format.as_deref().ok_or_else(|| missing("Format"))?;
        one_of("Format", Some(format), &["JPEG", "PNG"])?;
        let quality = self.quality()?;
        let most = self.max_results.unwrap_or(25);
        within("MaxResults", most, 1, 100)?;
        let mut asked = Asked {
            origin,
            format: if format == "PNG" { Format::Png } else { Format::Jpeg(quality) },
            size: self.size()?,
            start,
            interval,
            count: span.checked_div(interval).unwrap_or(0).unsigned_abs() + 1,
            first: 0,
            most: most.unsigned_abs(),
        };
        if let Some(token) = &self.next_token {
            let unknown = || Refusal::invalid_argument("NextToken is not one of this request");
            asked.first = asked.read_token(token).ok_or_else(unknown)?;
        }
        Ok(asked)
    }

    fn quality(&self) -> Result<u8, Refusal> {
        let Some(config) = &self.format_config else { return Ok(80) };
        let mut entries = config.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return Err(Refusal::invalid_argument("FormatConfig must have one entry"));
        };
        if key != "JPEGQuality" {
            return Err(Refusal::invalid_argument("The key of FormatConfig must be JPEGQuality"));
        }
        let quality = value.parse().ok().filter(|quality| (1..=100).contains(quality));
        quality.ok_or_else(|| Refusal::invalid_argument("JPEGQuality must be 1 to 100"))
    }

    fn size(&self) -> Result<Size, Refusal> {
        let (width, height) = (self.width_pixels, self.height_pixels);
        within("WidthPixels", width.unwrap_or(1), 1, 3840)?;
        within("HeightPixels", height.unwrap_or(1), 1, 2160)?;
        let pixels = |length: i64| u32::try_from(length).unwrap_or(1);
        match (width.map(pixels), height.map(pixels)) {
            (None, None) => Ok(Size::OfSource),
            (None, Some(height)) => Ok(Size::High(height)),
            (Some(width), Some(height)) => Ok(Size::Stretched(width, height)),
            (Some(_), None) => {
                let message = "WidthPixels must not be given without HeightPixels";
                Err(Refusal::new("ValidationException", message))
            }
        }
    }
}

pub(crate) async fn get_images(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: GetImagesRequest = wire::parse(&body)?;
    let stream = server.archived(Operation::GetImages, &request.stream)?;
    let asked = request.check()?;
    needs_retention(&stream)?;
    server.spend(&stream, Points::Metadata, 400 + asked.most)?;
    server.spend(&stream, Points::Media, asked.most)?;
    server.mishap(Operation::GetImages, Some(&stream))?;
    let times = asked.times();
    let page = page(&times, take(&stream, &times, &asked).await?, LONGEST_PAGE);
    let next = asked.first + page.len() as u64;
    Ok(axum::Json(match next < asked.count {
        true => json!({ "Images": page, "NextToken": asked.token(next) }),
        false => json!({ "Images": page }),
    })
    .into_response())
}

/// What there is to say where nothing can be decoded.
#[cfg(not(feature = "ffmpeg"))]
async fn take(
    _: &Arc<crate::local::store::streams::Stream>,
    _: &[Timestamp],
    _: &Asked,
) -> Result<Vec<Image>, Refusal> {
    let message = "This local endpoint was built without the feature `ffmpeg`, and so has no images";
    Err(Refusal::new("NotImplementedException", message))
}

/// The images in JSON, as many as one answer may have.
fn page(times: &[Timestamp], images: Vec<Image>, longest: usize) -> Vec<Value> {
    let fits = |content: &String| content.len() <= LONGEST_IMAGE;
    let mut length = 0usize;
    let mut page = Vec::new();
    for (time, image) in times.iter().zip(images) {
        let seconds = wire::to_seconds(*time);
        let content = match image {
            Image::NoMedia => Err("NO_MEDIA"),
            Image::MediaError => Err("MEDIA_ERROR"),
            // One that is too long to be sent might as well not be there.
            Image::Encoded(bytes) => Some(STANDARD.encode(&bytes)).filter(fits).ok_or("MEDIA_ERROR"),
        };
        length = length.saturating_add(content.as_ref().map_or(0, String::len));
        if length > longest {
            break;
        }
        page.push(match content {
            Ok(content) => json!({ "TimeStamp": seconds, "ImageContent": content }),
            Err(error) => json!({ "TimeStamp": seconds, "Error": error }),
        });
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_bounded() {
        let times: Vec<_> = (0..4).map(Timestamp::from_millis).collect();
        let images = |length: usize| vec![length; 4].into_iter().map(|n| Image::Encoded(vec![0; n].into())).collect();
        // Three bytes are four characters.
        assert_eq!(page(&times, images(30), 160).len(), 4);
        assert_eq!(page(&times, images(30), 159).len(), 3);
        let long = page(&times, images(LONGEST_IMAGE / 4 * 3 + 1), usize::MAX);
        assert_eq!(long.len(), 4);
        assert_eq!(long.first().and_then(|image| image.get("Error")).and_then(Value::as_str), Some("MEDIA_ERROR"));
    }

    #[cfg(not(feature = "ffmpeg"))]
    #[tokio::test]
    async fn without_a_decoder_it_says_so() {
        use crate::local::clock::Clock;
        use crate::local::store::streams::Stream;

        let request = br#"{"StreamName":"door","ImageSelectorType":"SERVER_TIMESTAMP","StartTimestamp":1,"EndTimestamp":2,"Format":"PNG"}"#;
        let asked = wire::parse::<GetImagesRequest>(request).unwrap().check().unwrap();
        let stream = Arc::new(Stream::new("door", &Arc::new(Clock::new())));
        let refusal = take(&stream, &asked.times(), &asked).await.unwrap_err();
        assert!(format!("{refusal:?}").contains("without the feature `ffmpeg`"));
        assert_eq!(refusal.into_response().status(), 501);
    }
}
