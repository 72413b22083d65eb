//! What fragments need to know of the document that they are in.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::ebml::{Header, id};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{FragmentEnd, FragmentHeader, Mkv, ServiceTags, Tags, Track};

/// The default TimestampScale (RFC 9559 section 5.1.2.9): a tick is a millisecond.
const MILLISECOND: u64 = 1_000_000;

/// Whether documents of this DocType, without padding, are what this crate reads.
pub(super) fn is_matroska(doc_type: &[u8]) -> bool {
    matches!(doc_type, b"matroska" | b"webm")
}

/// The headers of the current document. Whatever is declared again replaces what was there, so that
/// this stays as small as the largest of each.
#[derive(Debug)]
pub(super) struct Document {
    begun: bool,
    /// The EBML header, and whether it is this document's; likewise below. What the last document had
    /// is kept, since most documents repeat it byte for byte and need not be read again then.
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
    /// What `info` says.
    info_scale: u64,
    /// EBML header, Segment of unknown size, Info, Tracks, if asked for since they last changed.
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

    /// As before the first document, but for what is kept to be compared.
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

    /// Whether this is the EBML header of the document before, which was good.
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

    /// Takes an Info element in; `read` is asked for its TimestampScale only if it is not the last one
    /// again.
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

    /// Nanoseconds a tick.
    fn timestamp_scale(&self) -> u64 {
        if self.has_info { self.info_scale } else { MILLISECOND }
    }

    /// Takes a Tracks element in; `read` is asked for the tracks only if it is not the last one again.
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

    /// Whether blocks may have to be undone before they are frames.
    pub(super) fn has_encodings(&self) -> bool {
        self.has_encodings
    }

    /// An error if the frames of a track cannot be had from its blocks.
    pub(super) fn check_encoding(&self, track: u64) -> Result<()> {
        let track = self.tracks().iter().find(|known| known.number() == track);
        match track.and_then(Track::unsupported_encoding) {
            Some(encoding) => Err(Error::new(ErrorKind::Unsupported, format!("a track whose frames are {encoding}"))),
            None => Ok(()),
        }
    }

    /// What holds for media that begin now.
    pub(super) fn declared(&self) -> Declared {
        Declared { tracks: Arc::clone(self.tracks()), timestamp_scale: self.timestamp_scale() }
    }

    /// What makes a lone Cluster a file.
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

    /// How the bytes of an item from `start` to `stop` become a file of their own.
    pub(super) fn mkv(&self, prefix: Option<Bytes>, is_document: bool, start: u64, stop: u64, end: FragmentEnd) -> Mkv {
        if !is_document {
            return prefix.map_or(Mkv::Whole, Mkv::After);
        }
        match self.segment {
            // A cut fragment ends inside its Segment anyway.
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

/// What a document has declared up to the media of a fragment. What comes behind them is not theirs.
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
    fn the_unknown_size_of_the_prefix_is_as_the_service_writes_it() {
        let mut unknown = Vec::new();
        vint::write_unknown(&mut unknown, 8);
        assert!(Document::new().prefix().ends_with(&unknown));
    }
}
