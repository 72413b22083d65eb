//! The headers of the current document.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::ebml::{Header, id};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{FragmentEnd, FragmentHeader, Mkv, ServiceTags, Tags, Track};

/// The default TimestampScale (RFC 9559 section 5.1.2.9): a tick is one millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Returns whether this crate reads documents of this DocType. The DocType has no padding.
pub(super) fn is_matroska(doc_type: &[u8]) -> bool {
    matches!(doc_type, b"matroska" | b"webm")
}

/// The headers of the current document.
///
/// A repeated header replaces the earlier one, so at most one of each is held.
#[derive(Debug)]
pub(super) struct Document {
    begun: bool,
    /// The last EBML header. `has_ebml` tells whether the current document has it; likewise below.
    ///
    /// Most documents repeat the headers of the last document byte for byte, and then need no parsing.
    ebml: Vec<u8>,
    has_ebml: bool,
    segment: Option<Header>,
    info: Vec<u8>,
    has_info: bool,
    has_tracks: bool,
    tracks_bytes: Vec<u8>,
    tracks: Arc<[Track]>,
    no_tracks: Arc<[Track]>,
    has_encodings: bool,
    /// The TimestampScale in `info`.
    info_scale: u64,
    /// The cached result of [`prefix`](Document::prefix).
    prefix: Option<Bytes>,
}

impl Document {
    pub(super) fn new() -> Self {
        Self {
            begun: false,
            ebml: Vec::new(),
            has_ebml: false,
            segment: None,
            info: Vec::new(),
            has_info: false,
            has_tracks: false,
            tracks_bytes: Vec::new(),
            tracks: Arc::default(),
            no_tracks: Arc::default(),
            has_encodings: false,
            info_scale: MILLISECOND,
            prefix: None,
        }
    }

    pub(super) fn begin(&mut self) {
        self.forget();
        self.begun = true;
    }

    /// Leaves the document. Its headers are kept for comparison.
    pub(super) fn forget(&mut self) {
        self.begun = false;
        self.has_ebml = false;
        self.segment = None;
        self.has_info = false;
        self.has_tracks = false;
        self.has_encodings = false;
        self.prefix = None;
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn has_segment(&self) -> bool {
        self.segment.is_some()
    }

    /// Returns whether this is the EBML header of the last document, which was valid.
    pub(super) fn knows_ebml(&self, element: &[u8]) -> bool {
        !element.is_empty() && self.ebml == element
    }

    pub(super) fn set_ebml(&mut self, element: &[u8]) {
        if self.ebml != element {
            replace(&mut self.ebml, element);
        }
        self.has_ebml = true;
        self.prefix = None;
    }

    pub(super) fn set_segment(&mut self, header: Header) {
        self.segment = Some(header);
    }

    /// Sets the Info element. `read` parses its TimestampScale, and is called only if the element has changed.
    pub(super) fn set_info(&mut self, element: &[u8], read: impl FnOnce() -> Result<Option<u64>>) -> Result<()> {
        if self.info != element {
            self.info.clear();
            self.info_scale = read()?.unwrap_or(MILLISECOND);
            replace(&mut self.info, element);
        }
        self.has_info = true;
        self.prefix = None;
        Ok(())
    }

    /// Returns the length of a tick in nanoseconds.
    fn timestamp_scale(&self) -> u64 {
        if self.has_info { self.info_scale } else { MILLISECOND }
    }

    /// Sets the Tracks element. `read` parses the tracks, and is called only if the element has changed.
    pub(super) fn set_tracks(&mut self, element: &[u8], read: impl FnOnce() -> Result<Arc<[Track]>>) -> Result<()> {
        if self.tracks_bytes != element {
            self.tracks_bytes.clear();
            self.tracks = read()?;
            replace(&mut self.tracks_bytes, element);
        }
        self.has_tracks = true;
        self.has_encodings = self.tracks.iter().any(Track::is_encoded);
        self.prefix = None;
        Ok(())
    }

    /// Returns whether a track declares an encoding of its frames, such as compression.
    pub(super) fn has_encodings(&self) -> bool {
        self.has_encodings
    }

    /// Returns an error if a track has an encoding that this crate cannot decode.
    pub(super) fn check_encoding(&self, track: u64) -> Result<()> {
        let track = self.tracks().iter().find(|known| known.number() == track);
        match track.and_then(Track::unsupported_encoding) {
            Some(encoding) => Err(Error::new(ErrorKind::Unsupported, format!("a track whose frames are {encoding}"))),
            None => Ok(()),
        }
    }

    /// Returns the declarations in force for media that begin now.
    pub(super) fn declared(&self) -> Declared {
        Declared { tracks: Arc::clone(self.tracks()), timestamp_scale: self.timestamp_scale() }
    }

    /// Returns the bytes that make a lone Cluster a file: EBML header, Segment of unknown size, Info, Tracks.
    pub(super) fn prefix(&mut self) -> Bytes {
        if let Some(prefix) = &self.prefix {
            return prefix.clone();
        }
        let mut out = BytesMut::new();
        if self.has_ebml {
            out.extend_from_slice(&self.ebml);
        }
        out.extend_from_slice(&id::SEGMENT.0.to_be_bytes());
        out.extend_from_slice(&[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
        if self.has_info {
            out.extend_from_slice(&self.info);
        }
        if self.has_tracks {
            out.extend_from_slice(&self.tracks_bytes);
        }
        let prefix = out.freeze();
        self.prefix = Some(prefix.clone());
        prefix
    }

    /// Returns how to make a file of the item from offset `start` to offset `stop`.
    pub(super) fn mkv(&self, prefix: Option<Bytes>, is_document: bool, start: u64, stop: u64, end: FragmentEnd) -> Mkv {
        if !is_document {
            return prefix.map_or(Mkv::Whole, Mkv::After);
        }
        match self.segment {
            // A cut fragment ends inside its Segment in any case.
            Some(segment) if end != FragmentEnd::Cut && segment.end().is_some_and(|end| end != stop) => {
                let id_width = segment.id.width();
                let at = (segment.offset.saturating_sub(start)) as u32 + u32::from(id_width);
                Mkv::Resized { at, width: segment.length - id_width }
            }
            _ => Mkv::Whole,
        }
    }

    fn tracks(&self) -> &Arc<[Track]> {
        if self.has_tracks { &self.tracks } else { &self.no_tracks }
    }
}

/// The declarations of a document before the media of a fragment. Later ones do not apply to the fragment.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    tracks: Arc<[Track]>,
    timestamp_scale: u64,
}

impl Declared {
    pub(super) fn header(self, service: &ServiceTags, tags: Tags, timecode: Option<i64>) -> FragmentHeader {
        FragmentHeader::new(service, self.tracks, tags, timecode.unwrap_or(0), self.timestamp_scale)
    }
}

fn replace(slot: &mut Vec<u8>, element: &[u8]) {
    slot.clear();
    slot.extend_from_slice(element);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebml::vint;

    #[test]
    fn the_prefix_ends_with_an_unknown_size_of_eight_octets() {
        let mut unknown = Vec::new();
        vint::write_unknown(&mut unknown, 8);
        assert!(Document::new().prefix().ends_with(&unknown));
    }
}
