//! Cuts the body of PutMedia into fragments.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};

use super::error::{PutError, Refusal, invalid, unreadable};
use super::tags::TagsRead;
use crate::demux::timestamp_scale;
use crate::ebml::writer::Writer;
use crate::ebml::{Cursor, ElementId, Ending, Event, Header, Reader, id, uint, without_padding};
use crate::fragment::{BlockEntry, Extent, Track};
use crate::limits::Limits;

/// The largest fragment, in bytes.
const MAX_FRAGMENT_BYTES: u64 = 50_000_000;

/// The longest fragment, in nanoseconds.
const MAX_FRAGMENT_NANOS: i64 = 20_000_000_000;

/// The most tracks of a document.
const MAX_TRACKS: usize = 3;

/// The largest sum of the elements before the first Cluster, in bytes.
const MAX_HEADER_BYTES: u64 = 4 << 20;

/// The largest codec private data, in bytes.
const MAX_CODEC_PRIVATE: usize = 1 << 20;

/// The most bytes of the elements in a Cluster before its Timestamp.
const MAX_OPENING_BYTES: usize = 64 << 10;

/// The largest Tags element, in bytes.
const MAX_TAGS_BYTES: u64 = 64 << 10;

/// The most tags of a fragment.
const MAX_TAGS: usize = 10;

/// One step of a PutMedia session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The header of a Cluster has arrived.
    Opened,
    /// A fragment begins.
    Begun {
        /// The document up to the service's tags: EBML header, Segment, tags of this fragment, Info, Tracks.
        before: Vec<u8>,
        /// The Cluster's Timestamp in nanoseconds.
        timecode: i64,
    },
    /// The next bytes of the fragment. They are whole elements, or the header of its Cluster.
    Media(Vec<u8>),
    /// The fragment is complete.
    Complete {
        /// The duration of its media.
        duration: Duration,
    },
    /// The session ends, and the fragment that has begun is incomplete.
    Failed {
        /// The error of the acknowledgement.
        error: PutError,
        /// The cause, for people.
        reason: String,
    },
}

/// Cuts the body of PutMedia into fragments, one per Cluster.
///
/// It does no I/O and reads no clock. It holds at most one element of the body, which is at most as large as a
/// fragment may be. The division of the body into calls of [`push`](Self::push) changes nothing but the sizes of
/// [`Cut::Media`].
#[derive(Debug)]
pub struct FragmentCutter {
    reader: Reader,
    unread: BytesMut,
    /// The offset of `unread` in the body.
    offset: u64,
    state: State,
    has_ended: bool,
}

#[derive(Debug)]
struct State {
    /// The EBML header. Empty until it has come.
    ebml: Vec<u8>,
    has_segment: bool,
    /// The elements that every document repeats, such as Info and Tracks.
    headers: Vec<u8>,
    /// Tags of the next fragment alone.
    leading: Vec<u8>,
    leading_tags: usize,
    tracks: Option<Arc<[Track]>>,
    nanos_per_tick: u64,
    has_cluster: bool,
    /// The start of a Cluster, up to its Timestamp.
    opening: Option<Vec<u8>>,
    fragment: Option<Fragment>,
    /// The Timestamp of the last Cluster.
    previous: Option<u64>,
    /// Bytes of the fragment that are not yet in a cut.
    media: Vec<u8>,
}

/// A fragment that is not yet complete.
#[derive(Debug)]
struct Fragment {
    bytes: u64,
    tags: usize,
    ticks: i64,
    start: i64,
    /// For each track, in the order of Tracks: true if the fragment has a block of it.
    seen: [bool; MAX_TRACKS],
    extent: Extent,
    /// The times of the first and the last block, in nanoseconds.
    span: Option<(i64, i64)>,
}

impl Default for FragmentCutter {
    fn default() -> Self {
        Self::new()
    }
}

impl FragmentCutter {
    /// Creates a cutter at the start of a body.
    pub fn new() -> Self {
        Self {
            reader: Reader::new(Limits::default().depth, |id| matches!(id, id::SEGMENT | id::CLUSTER)),
            unread: BytesMut::new(),
            offset: 0,
            state: State {
                ebml: Vec::new(),
                has_segment: false,
                headers: Vec::new(),
                leading: Vec::new(),
                leading_tags: 0,
                tracks: None,
                nanos_per_tick: 1_000_000,
                has_cluster: false,
                opening: None,
                fragment: None,
                previous: None,
                media: Vec::new(),
            },
            has_ended: false,
        }
    }

    /// Takes the next bytes of the body, and returns what follows from them.
    ///
    /// After a failure it returns nothing.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Cut> {
        let mut cuts = Vec::new();
        if self.has_ended {
            return cuts;
        }
        self.unread.extend_from_slice(bytes);
        let result = self.advance(&mut cuts);
        self.state.flush(&mut cuts);
        self.settle(result, &mut cuts);
        cuts
    }

    /// Ends the body, and returns what follows: the last fragment is complete.
    pub fn finish(&mut self) -> Vec<Cut> {
        let mut cuts = Vec::new();
        if self.has_ended {
            return cuts;
        }
        let result = match self.reader.finish(&self.unread, self.offset) {
            Ending::Cut => Err(invalid("the body ends inside an element")),
            Ending::Clean if self.state.opening.is_some() => Err(invalid("the last Cluster has no Timestamp")),
            Ending::Clean => self.state.complete(&mut cuts),
        };
        self.settle(result, &mut cuts);
        self.has_ended = true;
        cuts
    }

    fn settle(&mut self, result: Result<(), Refusal>, cuts: &mut Vec<Cut>) {
        if let Err((error, reason)) = result {
            self.has_ended = true;
            self.unread = BytesMut::new();
            cuts.push(Cut::Failed { error, reason });
        }
    }

    fn advance(&mut self, cuts: &mut Vec<Cut>) -> Result<(), Refusal> {
        let Self { reader, unread, offset, state, .. } = self;
        while let Some(event) = reader.next(unread, *offset).map_err(unreadable)? {
            let bytes_of = |header: &Header, end: u64| {
                let (from, to) = (header.offset.saturating_sub(*offset), end.saturating_sub(*offset));
                unread.get(from as usize..to as usize).unwrap_or_default()
            };
            match event {
                Event::Start(header) => state.start(&header, bytes_of(&header, header.payload()), cuts)?,
                Event::Element(header) => {
                    state.check_size(&header)?;
                    let bytes = bytes_of(&header, header.end().unwrap_or(0));
                    state.element(reader.parent().map(|parent| parent.id), &header, bytes, cuts)?;
                }
                Event::End(header) => state.end(header.id, cuts)?,
            }
        }
        // A size that is too large is refused before its bytes have come.
        if let Some(header) = reader.awaited() {
            state.check_size(header)?;
        }
        let read = reader.needed_from().saturating_sub(*offset).min(unread.len() as u64);
        unread.advance(read as usize);
        *offset += read;
        Ok(())
    }
}

impl State {
    /// Refuses an element that is too large for its place.
    fn check_size(&self, header: &Header) -> Result<(), Refusal> {
        let length = u64::from(header.length).saturating_add(header.size.unwrap_or(0));
        if header.id == id::TAGS && self.has_cluster && length > MAX_TAGS_BYTES {
            return Err((PutError::FragmentMetadataLimitReached, format!("a Tags element has {length} bytes")));
        }
        if let Some(fragment) = &self.fragment {
            return check_fragment(fragment.bytes.saturating_add(length));
        }
        let held = match &self.opening {
            Some(opening) => opening.len(),
            None => self.ebml.len() + self.headers.len() + self.leading.len(),
        } as u64;
        let most = if self.opening.is_some() { MAX_FRAGMENT_BYTES } else { MAX_HEADER_BYTES };
        if held.saturating_add(length) > most {
            return Err(invalid(format!("{} of {length} bytes is too large for its place", header.id)));
        }
        Ok(())
    }

    fn start(&mut self, header: &Header, bytes: &[u8], cuts: &mut Vec<Cut>) -> Result<(), Refusal> {
        if header.id == id::SEGMENT {
            if self.ebml.is_empty() || self.has_segment {
                return Err(invalid("the body must be one EBML header and one Segment"));
            }
            self.has_segment = true;
            return Ok(());
        }
        self.complete(cuts)?;
        if self.tracks.is_none() {
            return Err(invalid("a Cluster comes before Tracks"));
        }
        check_fragment(header.size.unwrap_or(0))?;
        self.has_cluster = true;
        self.opening = Some(bytes.to_vec());
        cuts.push(Cut::Opened);
        Ok(())
    }

    fn end(&mut self, ended: ElementId, cuts: &mut Vec<Cut>) -> Result<(), Refusal> {
        if self.opening.is_some() {
            return Err(invalid("a Cluster has no Timestamp"));
        }
        // Tags of the fragment may follow its Cluster.
        if ended == id::SEGMENT { self.complete(cuts) } else { Ok(()) }
    }

    fn element(
        &mut self,
        parent: Option<ElementId>,
        header: &Header,
        bytes: &[u8],
        cuts: &mut Vec<Cut>,
    ) -> Result<(), Refusal> {
        let payload = bytes.get(usize::from(header.length)..).unwrap_or_default();
        match (parent, header.id) {
            (None, id::VOID | id::CRC_32) => Ok(()),
            (None, id::EBML) if self.ebml.is_empty() && !self.has_segment => {
                let mut children = Cursor::new(payload, header.payload());
                let mut is_matroska = false;
                while let Some(child) = children.next().map_err(unreadable)? {
                    is_matroska |=
                        child.id == id::DOC_TYPE && matches!(without_padding(child.payload), b"matroska" | b"webm");
                }
                if !is_matroska {
                    return Err(invalid("the DocType is not matroska"));
                }
                self.ebml = bytes.to_vec();
                Ok(())
            }
            (None, _) => Err(invalid("the body must be one EBML header and one Segment")),
            (Some(id::CLUSTER), _) => self.in_cluster(header, payload, bytes, cuts),
            _ => self.in_segment(header, payload, bytes, cuts),
        }
    }

    fn in_segment(
        &mut self,
        header: &Header,
        payload: &[u8],
        bytes: &[u8],
        cuts: &mut Vec<Cut>,
    ) -> Result<(), Refusal> {
        match header.id {
            id::TAGS => return self.tags(TagsRead::of(payload, header.payload())?, bytes, cuts),
            id::INFO | id::TRACKS if self.has_cluster => {
                return Err(invalid(format!("{} after the first Cluster", header.id)));
            }
            id::TRACKS if self.tracks.is_some() => return Err(invalid("a second Tracks element")),
            id::INFO => {
                self.nanos_per_tick =
                    timestamp_scale(payload, header.payload()).map_err(unreadable)?.unwrap_or(1_000_000);
                if !(100..=1_000_000_000).contains(&self.nanos_per_tick) {
                    return Err(invalid("TimestampScale must be 100 ns to 1 s"));
                }
            }
            id::TRACKS => self.tracks = Some(read_tracks(payload, header.payload())?),
            _ => {}
        }
        if self.has_cluster {
            self.append(bytes);
        } else {
            self.headers.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Appends whole elements to the fragment. One that was ended by its tag takes no more.
    fn append(&mut self, bytes: &[u8]) {
        if let Some(fragment) = &mut self.fragment {
            fragment.bytes += bytes.len() as u64;
            self.media.extend_from_slice(bytes);
        }
    }

    fn tags(&mut self, tags: TagsRead, bytes: &[u8], cuts: &mut Vec<Cut>) -> Result<(), Refusal> {
        let count = match &mut self.fragment {
            Some(fragment) => {
                fragment.tags += tags.count;
                let count = fragment.tags;
                if !tags.only_ends {
                    self.append(bytes);
                }
                count
            }
            None if self.tracks.is_some() && !self.has_cluster => {
                self.headers.extend_from_slice(bytes);
                return Ok(());
            }
            None => {
                self.leading_tags += tags.count;
                if !tags.only_ends {
                    self.leading.extend_from_slice(bytes);
                }
                self.leading_tags
            }
        };
        if count > MAX_TAGS {
            let reason = format!("a fragment has more than {MAX_TAGS} tags");
            return Err((PutError::FragmentMetadataLimitReached, reason));
        }
        if tags.ends_fragment { self.complete(cuts) } else { Ok(()) }
    }

    fn in_cluster(
        &mut self,
        header: &Header,
        payload: &[u8],
        bytes: &[u8],
        cuts: &mut Vec<Cut>,
    ) -> Result<(), Refusal> {
        if let Some(mut opening) = self.opening.take() {
            opening.extend_from_slice(bytes);
            return match header.id {
                id::TIMESTAMP => self.begin(payload, opening, cuts),
                id::SIMPLE_BLOCK | id::BLOCK_GROUP => Err(invalid("a block comes before the Timestamp of its Cluster")),
                _ if opening.len() > MAX_OPENING_BYTES => Err(invalid("a Cluster does not begin with its Timestamp")),
                _ => {
                    self.opening = Some(opening);
                    Ok(())
                }
            };
        }
        match header.id {
            id::TIMESTAMP => return Err(invalid("a Cluster has two Timestamps")),
            id::SIMPLE_BLOCK => self.block(payload)?,
            id::BLOCK_GROUP => {
                let mut children = Cursor::new(payload, header.payload());
                let mut has_block = false;
                while let Some(child) = children.next().map_err(unreadable)? {
                    if child.id == id::BLOCK {
                        has_block = true;
                        self.block(child.payload)?;
                    }
                }
                if !has_block {
                    return Err(invalid("a BlockGroup has no Block"));
                }
            }
            _ => {}
        }
        self.append(bytes);
        Ok(())
    }

    fn begin(&mut self, timestamp: &[u8], opening: Vec<u8>, cuts: &mut Vec<Cut>) -> Result<(), Refusal> {
        let ticks = uint(timestamp).ok_or_else(|| invalid("a Timestamp has more than 8 bytes"))?;
        if let Some(previous) = self.previous.filter(|previous| ticks <= *previous) {
            let reason = format!("a Cluster at {ticks} follows one at {previous}");
            return Err((PutError::FragmentTimecodeLesserThanPrevious, reason));
        }
        let nanos = i64::try_from(u128::from(ticks) * u128::from(self.nanos_per_tick)).ok();
        let (Some(start), Ok(signed)) = (nanos, i64::try_from(ticks)) else {
            return Err((PutError::InvalidProducerTimestamp, format!("a Cluster at {ticks} is beyond the year 2262")));
        };
        self.previous = Some(ticks);
        let mut before = Writer::new();
        before.raw(&self.ebml);
        before.unknown(id::SEGMENT, 8);
        before.raw(&std::mem::take(&mut self.leading));
        before.raw(&self.headers);
        let before = before.into_bytes();
        self.fragment = Some(Fragment {
            bytes: (before.len() + opening.len()) as u64,
            tags: std::mem::take(&mut self.leading_tags),
            ticks: signed,
            start,
            seen: [false; MAX_TRACKS],
            extent: Extent::default(),
            span: None,
        });
        cuts.push(Cut::Begun { before, timecode: start });
        self.media = opening;
        Ok(())
    }

    fn block(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let (Some(fragment), Some(tracks)) = (&mut self.fragment, &self.tracks) else { return Ok(()) };
        let block = BlockEntry::read(payload, 0, fragment.ticks).map_err(unreadable)?;
        let track = tracks.iter().position(|track| track.number() == block.track);
        let Some(seen) = track.and_then(|index| fragment.seen.get_mut(index)) else {
            return Err((
                PutError::TrackNumberMismatch,
                format!("a block is of track {}, which Tracks lacks", block.track),
            ));
        };
        *seen = true;
        let scale = i64::try_from(self.nanos_per_tick).unwrap_or(i64::MAX);
        let time = block.timecode.saturating_mul(scale);
        let (first, last) = fragment.span.map_or((time, time), |(first, last)| (first.min(time), last.max(time)));
        if last.saturating_sub(first) > MAX_FRAGMENT_NANOS {
            return Err((PutError::MaxFragmentDurationReached, "a fragment is longer than 20 s".into()));
        }
        fragment.span = Some((first, last));
        fragment.extent.add(block.track, time);
        Ok(())
    }

    /// Completes the fragment, if one has begun.
    fn complete(&mut self, cuts: &mut Vec<Cut>) -> Result<(), Refusal> {
        let Some(fragment) = self.fragment.take() else { return Ok(()) };
        let tracks = self.tracks.as_deref().unwrap_or_default();
        if let Some((track, _)) = tracks.iter().zip(fragment.seen).find(|(_, seen)| !seen) {
            let reason = format!("a fragment has no frame of track {}", track.number());
            self.flush(cuts);
            return Err((PutError::FramesMissingForTrack, reason));
        }
        let duration = fragment.extent.duration_in(tracks, fragment.start);
        self.flush(cuts);
        cuts.push(Cut::Complete { duration });
        Ok(())
    }

    fn flush(&mut self, cuts: &mut Vec<Cut>) {
        if !self.media.is_empty() {
            cuts.push(Cut::Media(std::mem::take(&mut self.media)));
        }
    }
}

fn check_fragment(bytes: u64) -> Result<(), Refusal> {
    if bytes > MAX_FRAGMENT_BYTES {
        return Err((PutError::MaxFragmentSizeReached, format!("a fragment has at least {bytes} bytes")));
    }
    Ok(())
}

fn read_tracks(payload: &[u8], offset: u64) -> Result<Arc<[Track]>, Refusal> {
    let tracks = Track::read_all(payload, offset, &Limits::default().tracks(u32::MAX)).map_err(unreadable)?;
    if tracks.len() > MAX_TRACKS {
        let reason = format!("there are {} tracks, and {MAX_TRACKS} are allowed", tracks.len());
        return Err((PutError::MoreThanAllowedTracksFound, reason));
    }
    if tracks.is_empty() {
        return Err(invalid("there is no track"));
    }
    let is_too_large = |track: &Track| track.codec_private().is_some_and(|data| data.len() > MAX_CODEC_PRIVATE);
    if tracks.iter().any(is_too_large) {
        return Err(invalid("codec private data is larger than 1 MiB"));
    }
    Ok(tracks)
}
