//! How the archive spells the names of its tags.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use crate::ebml::writer::Writer;
use crate::ebml::{Element, Elements, id};
use crate::fragment::FragmentNumber;
use crate::local::media::document::{Document, service_tags};

/// In which names GetMediaForFragmentList says what it says. The documentation has names of its own, which
/// nobody is known to have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagNames {
    /// `AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP`, `AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP`; errors are
    /// `AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE`, a number, and `AWS_KINESISVIDEO_EXCEPTION_MESSAGE`.
    Documented,
    /// The names of GetMedia.
    #[default]
    Seen,
}

/// Names of GetMedia, and what the documentation calls them.
const NAMES: [(&str, &str); 2] = [
    ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP"),
    ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP"),
];

/// What stands in the closing tags of GetMedia.
const CLOSING: [&str; 2] = ["AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "AWS_KINESISVIDEO_CONTINUATION_TOKEN"];

impl TagNames {
    /// A document that reports an error.
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

    /// A document as the archive sends it: without the closing tags of GetMedia, and in these names. All
    /// else stays as it is, and so does what cannot be read.
    pub(crate) fn apply(self, document: &Bytes) -> Bytes {
        let edits = self.edits(document);
        match &edits[..] {
            [] => document.clone(),
            // Most are only shortened: nothing is copied.
            [(range, tags)] if range.end == document.len() && tags.is_empty() => document.slice(..range.start),
            _ => {
                let mut spelled = Vec::with_capacity(document.len() + 64);
                let mut copied = 0;
                for (range, tags) in edits {
                    spelled.extend_from_slice(document.get(copied..range.start).unwrap_or_default());
                    spelled.extend_from_slice(&tags);
                    copied = range.end;
                }
                spelled.extend_from_slice(document.get(copied..).unwrap_or_default());
                spelled.into()
            }
        }
    }

    /// What is to stand in the place of which bytes, in their order.
    fn edits(self, document: &Bytes) -> Vec<(Range<usize>, Vec<u8>)> {
        let mut edits = Vec::new();
        for element in Elements::new(document).lenient().map_while(Result::ok) {
            match element.id() {
                // The service's are of unknown size. One that says its size would be wrong about it then.
                id::SEGMENT if element.header().size.is_none() => {
                    edits.extend(element.children().map_while(Result::ok).filter_map(|child| self.edit(&child)));
                }
                _ => edits.extend(self.edit(&element)),
            }
        }
        edits
    }

    /// The same for one element, if it is one of the service's and all there.
    fn edit(self, element: &Element<'_>) -> Option<(Range<usize>, Vec<u8>)> {
        let length = element.payload().len();
        if element.id() != id::TAGS || element.header().size != Some(length as u64) {
            return None;
        }
        let tags: Vec<_> =
            element.children().find("Tag/SimpleTag").map_while(Result::ok).map(|tag| named(&tag)).collect();
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

/// The name and the value of a tag.
fn named(tag: &Element<'_>) -> (String, String) {
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

    /// Its media, and a tag of the producer, hold what is in the service's tags.
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
    fn the_closing_tags_go_and_nothing_else() {
        for shape in [Shape::Ffmpeg, Shape::Producer] {
            let stored = document(shape).to_bytes(&stamp(), 7);
            let expected = document(shape).to_bytes_without_trailer(&stamp());
            assert_eq!(TagNames::Seen.apply(&stored), expected);
            // What has none stays, and is not copied.
            let spelled = TagNames::Seen.apply(&expected);
            assert_eq!((spelled.as_ptr(), spelled.len()), (expected.as_ptr(), expected.len()));
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
            // They stand before those in the media.
            let at = without.windows(seen.as_bytes().len()).position(|bytes| bytes == seen.as_bytes()).unwrap();
            let behind = &without[at + seen.as_bytes().len()..];
            let expected = [&without[..at], documented.as_bytes(), behind].concat();
            for stored in [&document(shape).to_bytes(&stamp(), 7), &without] {
                assert_eq!(TagNames::Documented.apply(stored), expected);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_stays() {
        let whole = document(Shape::Ffmpeg).to_bytes(&stamp(), 7);
        for stored in [whole.slice(..whole.len() - 3), Bytes::from_static(b"no media"), Bytes::new()] {
            assert_eq!(TagNames::Seen.apply(&stored), stored);
        }
        // One that was cut in its media is renamed as far as it goes.
        let cut = whole.slice(..whole.len() - 500);
        let spelled = TagNames::Documented.apply(&cut);
        assert_eq!(spelled.len(), cut.len() + "_SIDE".len() * 2);
        assert!(spelled.ends_with(&cut[cut.len() - 200..]));
    }
}
