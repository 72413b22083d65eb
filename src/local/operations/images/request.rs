//! The request of GetImages, and its validation.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::fragment::Timestamp;
use crate::local::operations::check::{one_of, within};
use crate::local::operations::selection::Origin;
use crate::local::server::wire::{self, ErrorResponse, StreamRequest};

/// The longest range, in milliseconds.
const MAX_RANGE_MILLIS: i64 = 300_000;

/// The default interval. The service's is not documented; 3 s was once the least it allowed.
const DEFAULT_INTERVAL_MILLIS: i64 = 3000;

/// The most images in a page, whatever MaxResults says.
const MAX_PAGE: u64 = 25;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetImagesRequest {
    #[serde(flatten)]
    pub(super) stream: StreamRequest,
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

/// The encoding of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// With this quality, 1 to 100.
    Jpeg(u8),
    Png,
}

/// The size of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// The source's.
    OfSource,
    /// This height, with the source's proportions.
    High(u32),
    /// This width and height, whatever the source's proportions.
    Stretched(u32, u32),
}

/// A valid request.
#[derive(Debug)]
#[cfg_attr(not(feature = "ffmpeg"), allow(dead_code, reason = "only a decoder reads all of it"))]
pub(super) struct Asked {
    pub(super) origin: Origin,
    pub(super) format: Format,
    pub(super) size: Size,
    start: i64,
    interval: i64,
    /// The number of images on all pages.
    pub(super) count: u64,
    /// The index of this page's first image.
    pub(super) first: u64,
    pub(super) max_results: u64,
}

impl Asked {
    /// Returns the times of the page's images.
    pub(super) fn times(&self) -> Vec<Timestamp> {
        let last = self.count.min(self.first.saturating_add(self.max_results.min(MAX_PAGE)));
        let time = |index: u64| self.start.saturating_add(self.interval.saturating_mul(index as i64));
        (self.first..last).map(|index| Timestamp::from_millis(time(index))).collect()
    }

    /// Makes the token of a page that starts with this image. It is valid for the same request only.
    pub(super) fn token(&self, index: u64) -> String {
        STANDARD.encode(format!("{:?}/{}/{}/{}/{index}", self.origin, self.start, self.interval, self.count))
    }

    fn read_token(&self, token: &str) -> Option<u64> {
        let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        let index = text.rsplit('/').next()?.parse().ok()?;
        (self.token(index) == token).then_some(index)
    }
}

impl GetImagesRequest {
    /// Validates the request.
    pub(super) fn check(&self) -> Result<Asked, ErrorResponse> {
        let missing = |member: &str| ErrorResponse::invalid_argument(format!("{member} is missing"));
        let origin = self.image_selector_type.as_deref().ok_or_else(|| missing("ImageSelectorType"))?;
        let origin = Origin::parse(origin, "ImageSelectorType")?;
        let time = |seconds: Option<f64>, member: &str| {
            seconds.map(|seconds| wire::from_seconds(seconds).as_millis()).ok_or_else(|| missing(member))
        };
        let start = time(self.start_timestamp, "StartTimestamp")?;
        let end = time(self.end_timestamp, "EndTimestamp")?;
        if end < start {
            return Err(ErrorResponse::invalid_argument("EndTimestamp must not be earlier than StartTimestamp"));
        }
        let range = end.saturating_sub(start);
        if range > MAX_RANGE_MILLIS {
            let message = "IllegalArgumentException: EndTimestamp must be within 300 seconds of StartTimestamp";
            return Err(ErrorResponse::invalid_argument(message));
        }
        let interval = self.sampling_interval.unwrap_or(DEFAULT_INTERVAL_MILLIS);
        within("SamplingInterval", interval, 200, i64::from(i32::MAX))?;
        let format = self.format.as_deref().ok_or_else(|| missing("Format"))?;
        one_of("Format", Some(format), &["JPEG", "PNG"])?;
        let quality = self.quality()?;
        let max_results = self.max_results.unwrap_or(25);
        within("MaxResults", max_results, 1, 100)?;
        let mut asked = Asked {
            origin,
            format: if format == "PNG" { Format::Png } else { Format::Jpeg(quality) },
            size: self.size()?,
            start,
            interval,
            count: range.checked_div(interval).unwrap_or(0).unsigned_abs() + 1,
            first: 0,
            max_results: max_results.unsigned_abs(),
        };
        if let Some(token) = &self.next_token {
            let unknown = || ErrorResponse::invalid_argument("NextToken was not issued for this request");
            asked.first = asked.read_token(token).ok_or_else(unknown)?;
        }
        Ok(asked)
    }

    fn quality(&self) -> Result<u8, ErrorResponse> {
        let Some(config) = &self.format_config else { return Ok(80) };
        let mut entries = config.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return Err(ErrorResponse::invalid_argument("FormatConfig must have one entry"));
        };
        if key != "JPEGQuality" {
            return Err(ErrorResponse::invalid_argument("The key of FormatConfig must be JPEGQuality"));
        }
        let quality = value.parse().ok().filter(|quality| (1..=100).contains(quality));
        quality.ok_or_else(|| ErrorResponse::invalid_argument("JPEGQuality must be 1 to 100"))
    }

    fn size(&self) -> Result<Size, ErrorResponse> {
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
                Err(ErrorResponse::new("ValidationException", message))
            }
        }
    }
}
