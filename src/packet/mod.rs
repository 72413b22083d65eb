//! Packets: the coded frames in fragments.

mod annex_b;
mod keyframes;
#[cfg(feature = "ffmpeg")]
mod nal;
mod packets;
mod trim;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::fragment::{BlockEntry, Fragment, FragmentHeader, Timestamp, Track, TrackKind};

pub use annex_b::ParameterSets;
pub use keyframes::Keyframes;
pub use packets::Packets;
pub use trim::Trim;

pub(crate) use annex_b::is_byte_stream;
#[cfg(feature = "ffmpeg")]
pub(crate) use nal::{NalCodec, PictureUnits};

/// One coded frame of one track, as the producer sent it.
///
/// H.264 and H.265 frames contain length-prefixed NAL units, or a byte stream from some producers. Frames
/// from Amazon Connect are raw PCM. Lacing and header stripping are undone.
///
/// The payload is a slice of the receive buffer, and keeps the whole buffer alive. If header stripping was
/// undone, the payload is a copy.
/// [`detach`](Packet::detach) returns a packet with its own buffer.
#[derive(Clone)]
pub struct Packet {
    header: Arc<FragmentHeader>,
    payload: Bytes,
    track: u64,
    timecode: i64,
    /// The time after `timecode`. Not zero only after the first frame of a laced block.
    lace_ns: i64,
    duration: Option<i64>,
    ordinal: u32,
    key: bool,
}

impl Packet {
    /// Returns the header of the packet's fragment, which has the number, times and tracks.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.header
    }

    /// Returns the number of the packet's track.
    pub fn track_number(&self) -> u64 {
        self.track
    }

    /// Returns the packet's track, or `None` if the document does not declare it.
    pub fn track(&self) -> Option<&Track> {
        self.header.track(self.track)
    }

    /// Returns the time on the timeline of the producer session, in nanoseconds.
    ///
    /// Every session has its own timeline. To compare packets of different fragments, use
    /// [`producer_time`](Packet::producer_time).
    pub fn timecode_ns(&self) -> i64 {
        self.header.ticks_to_ns(self.timecode).saturating_add(self.lace_ns)
    }

    /// Returns the time on the producer's clock.
    ///
    /// This is the producer time of the fragment, plus the time from the fragment's start to the packet.
    /// Returns `None` if the fragment has no producer time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        let time = self.header.producer_time_at(self.timecode)?;
        Some(time.plus_nanos(self.lace_ns))
    }

    /// Returns the duration in nanoseconds.
    ///
    /// This is the duration of the packet's block, or else the default duration of the track. A packet of a laced
    /// block has the default duration. Returns `None` if neither is declared.
    pub fn duration_ns(&self) -> Option<i64> {
        let ticks = self.duration.map(|ticks| self.header.ticks_to_ns(ticks));
        ticks.or_else(|| self.track()?.default_duration_ns()?.try_into().ok())
    }

    /// Returns true if the packet's block is declared as decodable without other blocks.
    ///
    /// Audio packets usually are.
    pub fn is_key(&self) -> bool {
        self.key
    }

    /// Returns the index of the packet among all packets of its fragment, from 0.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Returns the coded bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns a copy whose payload has its own buffer.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { payload: Bytes::copy_from_slice(&self.payload), ..self.clone() }
    }

    pub(crate) fn is_video_key(&self) -> bool {
        self.key && self.track().is_some_and(|track| track.kind() == TrackKind::Video)
    }

    /// Returns the next packet of a block, and true if it is the last one.
    fn next_of(
        header: &Arc<FragmentHeader>,
        raw: &Bytes,
        entry: &BlockEntry,
        laces: &mut Laces,
        ordinal: u32,
    ) -> (Self, bool) {
        let (mut start, mut length, mut lace_ns) = (entry.start as usize, entry.length as usize, 0);
        let mut is_last = true;
        if entry.is_laced() {
            let payload = raw.get(start..start + length).unwrap_or_default();
            let (lace, at, size);
            (lace, at, size, is_last) = laces.next(entry, payload);
            let track = header.track(entry.track);
            let step = track.and_then(Track::default_duration_ns).and_then(|ns| i64::try_from(ns).ok()).unwrap_or(0);
            lace_ns = step.saturating_mul(lace);
            (start, length) = (start + at, size);
        }
        // Blocks were checked against the buffer when they were read. `min` only rules out a panic.
        let end = (start + length).min(raw.len());
        let mut payload = raw.slice(start.min(end)..end);
        if let Some(stripped) = header.track(entry.track).and_then(Track::stripped) {
            let mut whole = BytesMut::with_capacity(stripped.len() + payload.len());
            whole.extend_from_slice(stripped);
            whole.extend_from_slice(&payload);
            payload = whole.freeze();
        }
        let packet = Self {
            header: Arc::clone(header),
            payload,
            track: entry.track,
            timecode: entry.timecode,
            lace_ns,
            duration: entry.duration().filter(|_| !entry.is_laced()),
            ordinal,
            key: entry.is_key(),
        };
        (packet, is_last)
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("fragment", &self.header.number())
            .field("track", &self.track)
            .field("timecode_ns", &self.timecode_ns())
            .field("key", &self.key)
            .field("bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// The frames of the current block if it is laced, and the index of the next one.
#[derive(Debug, Default)]
struct Laces {
    frames: Vec<(u32, u32)>,
    next: usize,
}

impl Laces {
    /// Returns the next frame: index, start in `payload`, length, and true if it is the last.
    fn next(&mut self, entry: &BlockEntry, payload: &[u8]) -> (i64, usize, usize, bool) {
        if self.next == 0 {
            // Invalid lacing was reported when the block was read.
            self.frames = entry.frames(payload).unwrap_or_default();
        }
        let lace = self.next;
        let (at, size) = self.frames.get(lace).copied().unwrap_or((0, entry.length));
        let is_last = lace + 1 >= self.frames.len();
        self.next = if is_last { 0 } else { lace + 1 };
        (lace as i64, at as usize, size as usize, is_last)
    }
}

/// The packets of a single block, without its fragment.
#[derive(Debug)]
pub(crate) struct BlockPackets {
    header: Arc<FragmentHeader>,
    entry: BlockEntry,
    raw: Bytes,
    laces: Laces,
}

impl BlockPackets {
    /// Creates the packets of a block. `entry` refers to `raw`.
    pub(crate) fn new(header: Arc<FragmentHeader>, entry: BlockEntry, raw: Bytes) -> Self {
        Self { header, entry, raw, laces: Laces::default() }
    }

    /// Returns the next packet, and true if it is the last of the block. `ordinal` is its index in the fragment.
    pub(crate) fn next(&mut self, ordinal: u32) -> (Packet, bool) {
        Packet::next_of(&self.header, &self.raw, &self.entry, &mut self.laces, ordinal)
    }
}

/// An iterator over the packets of one fragment.
#[derive(Debug)]
pub(crate) struct PacketIter {
    fragment: Fragment,
    block: usize,
    laces: Laces,
    ordinal: u32,
}

impl PacketIter {
    pub(crate) fn new(fragment: Fragment) -> Self {
        Self { fragment, block: 0, laces: Laces::default(), ordinal: 0 }
    }
}

impl Fragment {
    /// Returns the packets of the fragment in the order of its blocks.
    ///
    /// Each packet is one coded frame. The packets of all tracks are interleaved. A payload is a slice of the
    /// fragment's buffer and keeps the buffer alive.
    pub fn packets(&self) -> impl Iterator<Item = Packet> + use<> {
        PacketIter::new(self.clone())
    }
}

impl Iterator for PacketIter {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        let entry = *self.fragment.entries().get(self.block)?;
        let (header, raw) = (self.fragment.header(), self.fragment.raw());
        let (packet, is_last) = Packet::next_of(header, raw, &entry, &mut self.laces, self.ordinal);
        self.ordinal += 1;
        self.block += usize::from(is_last);
        Some(packet)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.fragment.entries().len() - self.block, None)
    }
}
