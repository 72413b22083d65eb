//! The names of the tags that the archive sends.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::ebml::writer::Writer;
use crate::ebml::{Element, Elements, id};
use crate::fragment::FragmentNumber;
use crate::local::media::document::{Document, service_tags};

/// The names of the tags that GetMediaForFragmentList sends.
///
/// The documentation's names differ from those seen in practice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagNames {
    /// The names in the API reference.
    ///
    /// Times are `AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP` and `AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP`.
    /// Errors are `AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE`, a number, and
    /// `AWS_KINESISVIDEO_EXCEPTION_MESSAGE`.
    Documented,
    /// The names of GetMedia.
    #[default]
    Seen,
}

/// Names of GetMedia, each with the documented name of the archive.
const NAMES: [(&str, &str); 2] = [
    ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP"),
    ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP"),
];

/// The names in the closing tags of GetMedia.
const CLOSING: [&str; 2] = ["AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "AWS_KINESISVIDEO_CONTINUATION_TOKEN"];

impl TagNames {
    /// Encodes a document that reports an error.
    pub(crate) fn fault(self, id: u32, message: &str, number: Option<&FragmentNumber>) -> Bytes {
        if self == Self::Seen {
            return Document::fault(id, message, number);
        }
        let error_id = id.to_string();
        let mut tags = vec![
            ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", error_id.as_str()),
            ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", message),
        ];
        tags.extend(number.map(|number| ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number.as_str())));
        Document::of_tags(&tags)
    }

    /// Converts a stored document to the one that the archive sends.
    ///
    /// It removes the closing tags of GetMedia and renames the service's tags. Everything else stays the
    /// same, unreadable bytes included.
    pub(crate) fn apply(self, document: &Bytes) -> Bytes {
        let edits = self.edits(document);
        match &edits[..] {
            [] => document.clone(),
            // The common case removes the end only, which needs no copy.
            [(range, tags)] if range.end == document.len() && tags.is_empty() => document.slice(..range.start),
            _ => {
                let mut converted = Vec::with_capacity(document.len() + 64);
                let mut copied = 0;
                for (range, tags) in edits {
                    converted.extend_from_slice(document.get(copied..range.start).unwrap_or_default());
                    converted.extend_from_slice(&tags);
                    copied = range.end;
                }
                converted.extend_from_slice(document.get(copied..).unwrap_or_default());
                converted.into()
            }
        }
    }

    /// Returns the ranges to replace, in order, with their replacements.
    fn edits(self, document: &Bytes) -> Vec<(Range<usize>, Vec<u8>)> {
        let mut edits = Vec::new();
        for element in Elements::new(document).lenient().map_while(Result::ok) {
            match element.id() {
                // Only Segments of unknown size are edited: a known size would become wrong.
                id::SEGMENT if element.header().size.is_none() => {
                    edits.extend(element.children().map_while(Result::ok).filter_map(|child| self.edit(&child)));
                }
                _ => edits.extend(self.edit(&element)),
            }
        }
        edits
    }

    /// Returns the edit of one element, if it is a complete Tags element of the service.
    fn edit(self, element: &Element<'_>) -> Option<(Range<usize>, Vec<u8>)> {
        let length = element.payload().len();
        if element.id() != id::TAGS || element.header().size != Some(length as u64) {
            return None;
        }
        let tags: Vec<_> =
            element.children().find("Tag/SimpleTag").map_while(Result::ok).map(|tag| name_and_value(&tag)).collect();
        let range = element.offset() as usize..element.header().payload() as usize + length;
        if !tags.is_empty() && tags.iter().all(|(name, _)| CLOSING.contains(&name.as_str())) {
            return Some((range, Vec::new()));
        }
        let documented = |name: &str| NAMES.iter().find(|(seen, _)| *seen == name).map(|(_, documented)| *documented);
        if self == Self::Seen || !tags.iter().any(|(name, _)| documented(name).is_some()) {
            return None;
        }
        let tags: Vec<_> =
            tags.iter().map(|(name, value)| (documented(name).unwrap_or(name), value.as_str())).collect();
        let mut out = Writer::new();
        service_tags(&mut out, &tags);
        Some((range, out.into_bytes()))
    }
}

/// Returns the name and value of a tag.
fn name_and_value(tag: &Element<'_>) -> (String, String) {
    let (mut name, mut value) = (String::new(), String::new());
    for leaf in tag.children().map_while(Result::ok) {
        let text = || leaf.value().as_text().map(Cow::into_owned).unwrap_or_default();
        match leaf.id() {
            id::TAG_NAME => name = text(),
            id::TAG_STRING => value = text(),
            _ => {}
        }
    }
    (name, value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fragment::Timestamp;
    use crate::local::{Shape, Stamp, fragment_number};

    fn stamp() -> Stamp {
        let time = Timestamp::from_millis(1_511_852_109_070);
        Stamp { number: fragment_number(1, 1_511_852_109_070), server_time: time, producer_time: time }
    }

    /// A document whose media and producer's tags contain the service's tags as decoys.
    fn document(shape: Shape) -> Document {
        let mut decoy = Writer::new();
        crate::local::media::document::leading_tags(&mut decoy, &stamp());
        crate::local::media::document::trailer(&mut decoy, 7, "8");
        Document::new(shape)
            .video_track(1)
            .block(1, 0, true, decoy.as_bytes())
            .block(1, 40, false, decoy.as_bytes())
            .leading_tag("AWS_KINESISVIDEO_END_OF_FRAGMENT", "AWS_KINESISVIDEO_SERVER_TIMESTAMP")
            .tag("place", "AWS_KINESISVIDEO_CONTINUATION_TOKEN")
    }

    #[test]
    fn only_the_closing_tags_are_removed() {
        for shape in [Shape::Ffmpeg, Shape::Producer] {
            let stored = document(shape).to_bytes(&stamp(), 7);
            let expected = document(shape).to_bytes_without_trailer(&stamp());
            assert_eq!(TagNames::Seen.apply(&stored), expected);
            // A document without closing tags is not copied.
            let converted = TagNames::Seen.apply(&expected);
            assert_eq!((converted.as_ptr(), converted.len()), (expected.as_ptr(), expected.len()));
        }
    }

    #[test]
    fn only_the_names_of_the_times_change() {
        for shape in [Shape::Ffmpeg, Shape::Producer] {
            let without = document(shape).to_bytes_without_trailer(&stamp());
            let (mut seen, mut documented) = (Writer::new(), Writer::new());
            crate::local::media::document::leading_tags(&mut seen, &stamp());
            let number = stamp().number.to_string();
            service_tags(
                &mut documented,
                &[
                    ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number.as_str()),
                    ("AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", "1511852109.070"),
                    ("AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP", "1511852109.070"),
                ],
            );
            // The service's tags precede the decoys in the media.
            let at = without.windows(seen.as_bytes().len()).position(|bytes| bytes == seen.as_bytes()).unwrap();
            let rest = &without[at + seen.as_bytes().len()..];
            let expected = [&without[..at], documented.as_bytes(), rest].concat();
            for stored in [&document(shape).to_bytes(&stamp(), 7), &without] {
                assert_eq!(TagNames::Documented.apply(stored), expected);
            }
        }
    }

    #[test]
    fn unreadable_bytes_stay() {
        let whole = document(Shape::Ffmpeg).to_bytes(&stamp(), 7);
        for stored in [whole.slice(..whole.len() - 3), Bytes::from_static(b"no media"), Bytes::new()] {
            assert_eq!(TagNames::Seen.apply(&stored), stored);
        }
        // A document that was cut in its media is renamed up to the cut.
        let cut = whole.slice(..whole.len() - 500);
        let converted = TagNames::Documented.apply(&cut);
        assert_eq!(converted.len(), cut.len() + "_SIDE".len() * 2);
        assert!(converted.ends_with(&cut[cut.len() - 200..]));
    }
}
