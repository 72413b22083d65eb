//! The images of a page, and their JSON.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::fragment::Timestamp;
use crate::local::server::wire;

/// The longest image in base64, in bytes.
const MAX_IMAGE_BYTES: usize = 6_291_456;

/// The most base64 of all images in a page, in bytes.
pub(super) const MAX_PAGE_BYTES: usize = 100 << 20;

/// The outcome at one time.
#[derive(Debug)]
#[cfg_attr(not(feature = "ffmpeg"), allow(dead_code, reason = "only with a decoder are there images"))]
pub(super) enum Image {
    Encoded(Bytes),
    /// No fragment covers the time.
    NoMedia,
    /// The fragment at the time could not be decoded.
    MediaError,
}

/// Makes the JSON of the first images, as many as fit into `max_bytes`.
pub(super) fn page(times: &[Timestamp], images: Vec<Image>, max_bytes: usize) -> Vec<Value> {
    let fits = |content: &String| content.len() <= MAX_IMAGE_BYTES;
    let mut length = 0usize;
    let mut page = Vec::new();
    for (time, image) in times.iter().zip(images) {
        let seconds = wire::to_seconds(*time);
        let content = match image {
            Image::NoMedia => Err("NO_MEDIA"),
            Image::MediaError => Err("MEDIA_ERROR"),
            // An image that is too long to send is reported as a failed one.
            Image::Encoded(bytes) => Some(STANDARD.encode(&bytes)).filter(fits).ok_or("MEDIA_ERROR"),
        };
        length = length.saturating_add(content.as_ref().map_or(0, String::len));
        if length > max_bytes {
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
        let long = page(&times, images(MAX_IMAGE_BYTES / 4 * 3 + 1), usize::MAX);
        assert_eq!(long.len(), 4);
        assert_eq!(long.first().and_then(|image| image.get("Error")).and_then(Value::as_str), Some("MEDIA_ERROR"));
    }
}
