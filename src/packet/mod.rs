//! Packets: coded frames.

mod keyframes;
mod packets;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::fragment::{Fragment, FragmentHeader, Timestamp, Track, TrackKind};

pub use keyframes::Keyframes;
pub use packets::Packets;

/// One coded frame of one track, as the producer sent it: length-prefixed for H.264 and H.265, raw
/// PCM from Amazon Connect.
///
/// Its payload is a slice of the fragment's buffer and keeps all of it alive;
/// [`detach`](Packet::detach) gives one that does not.
#[derive(Clone)]
pub struct Packet {
    header: Arc<FragmentHeader>,
    payload: Bytes,
    track: u64,
    timecode: i64,
    /// Behind `timecode`, for all but the first frame of a laced block.
    lace_ns: i64,
    duration: Option<i64>,
    ordinal: u32,
    key: bool,
}

impl Packet {
    /// What its fragment says of itself: number, times, tracks.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.header
    }

    /// The number of its track.
    pub fn track_number(&self) -> u64 {
        self.track
    }

    /// Its track, if the document declares it.
    pub fn track(&self) -> Option<&Track> {
        self.header.track(self.track)
    }

    /// Its time in nanoseconds on the timeline of the producer session. Starts anew with each
    /// session, so compare [`producer_time`](Packet::producer_time) across fragments.
    pub fn timecode_ns(&self) -> i64 {
        self.header.ticks_to_ns(self.timecode).saturating_add(self.lace_ns)
    }

    /// Its time on the producer's clock: the fragment's producer time plus how far the packet is
    /// into the fragment. `None` if the fragment has no producer time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        let time = self.header.producer_time_at(self.timecode)?;
        Some(time.plus_nanos(self.lace_ns))
    }

    /// How long it lasts, in nanoseconds: what its block says, else the default of its track.
    pub fn duration_ns(&self) -> Option<i64> {
        let ticks = self.duration.map(|ticks| self.header.ticks_to_ns(ticks));
        ticks.or_else(|| self.track()?.default_duration_ns()?.try_into().ok())
    }

    /// Whether it is flagged as decodable without others. Audio packets usually are.
    pub fn is_key(&self) -> bool {
        self.key
    }

    /// Its place among the packets of its fragment, from 0.
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// The coded bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The same packet with its payload in a buffer of its own.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { payload: Bytes::copy_from_slice(&self.payload), ..self.clone() }
    }

    pub(crate) fn is_video_key(&self) -> bool {
        self.key && self.track().is_some_and(|track| track.kind() == TrackKind::Video)
    }

    pub(crate) fn all_of(fragment: Fragment) -> PacketIter {
        PacketIter { fragment, block: 0, laces: Vec::new(), lace: 0, ordinal: 0 }
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

/// The packets of one fragment.
#[derive(Debug)]
pub(crate) struct PacketIter {
    fragment: Fragment,
    block: usize,
    /// Frames of the current block if it is laced, and which is next.
    laces: Vec<(u32, u32)>,
    lace: usize,
    ordinal: u32,
}

impl Iterator for PacketIter {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        let entry = *self.fragment.entries().get(self.block)?;
        let (mut start, mut length, mut lace_ns) = (entry.start as usize, entry.length as usize, 0);
        if entry.is_laced() {
            if self.lace == 0 {
                let payload = self.fragment.raw().get(start..start + length).unwrap_or_default();
                // Lacing that does not add up was an error when the block was read.
                self.laces = entry.frames(payload).unwrap_or_default();
            }
            let track = self.fragment.track(entry.track);
            let step = track.and_then(Track::default_duration_ns).and_then(|ns| i64::try_from(ns).ok()).unwrap_or(0);
            lace_ns = step.saturating_mul(self.lace as i64);
            let (at, size) = self.laces.get(self.lace).copied().unwrap_or((0, entry.length));
            (start, length) = (start + at as usize, size as usize);
            self.lace += 1;
        }
        if self.lace >= self.laces.len() {
            self.block += 1;
            self.lace = 0;
            self.laces.clear();
        }
        let packet = Packet {
            header: Arc::clone(self.fragment.header()),
            payload: self.fragment.raw().slice(start..start + length),
            track: entry.track,
            timecode: entry.timecode,
            lace_ns,
            duration: entry.duration().filter(|_| !entry.is_laced()),
            ordinal: self.ordinal,
            key: entry.is_key(),
        };
        self.ordinal += 1;
        Some(packet)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.fragment.entries().len() - self.block, None)
    }
}
