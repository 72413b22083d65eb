//! Blocks, the units of media in a Cluster (RFC 9559 section 10).

use crate::ebml::vint::{self, Vint};
use crate::error::{Error, Result};

use super::Fragment;

/// One block of a fragment: one or more coded frames of one track.
///
/// A block with several frames is *laced*. [`Fragment::packets`] yields the single frames.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    pub(super) fragment: &'a Fragment,
    pub(super) entry: &'a BlockEntry,
}

impl<'a> Block<'a> {
    /// Returns the number of the block's track.
    pub fn track(&self) -> u64 {
        self.entry.track
    }

    /// Returns the time on the timeline of the producer session, in nanoseconds.
    ///
    /// This is the time of the Cluster plus the relative time of the block. Compare it only within one
    /// producer session.
    pub fn timecode_ns(&self) -> i64 {
        self.fragment.header().ticks_to_ns(self.entry.timecode)
    }

    /// Returns the duration that the block's BlockGroup declares, in nanoseconds.
    ///
    /// Returns `None` for a SimpleBlock, and for a group without a duration or with one of 2³²−1 ticks or more.
    pub fn duration_ns(&self) -> Option<i64> {
        self.entry.duration().map(|ticks| self.fragment.header().ticks_to_ns(ticks))
    }

    /// Returns true if the block is declared as decodable without other blocks.
    ///
    /// For a SimpleBlock, this is the key flag. A Block in a BlockGroup is a key block if the group has no
    /// references. Returns false if the group is incomplete.
    pub fn is_key(&self) -> bool {
        self.entry.is_key()
    }

    /// Returns true if the block is to be decoded but not shown.
    pub fn is_invisible(&self) -> bool {
        self.entry.flags & INVISIBLE != 0
    }

    /// Returns true if a player may skip the block.
    pub fn is_discardable(&self) -> bool {
        self.entry.flags & DISCARDABLE != 0
    }

    /// Returns the bytes after the block header.
    ///
    /// The bytes are one frame, or the lacing header and several frames. Header stripping is not undone:
    /// [`Fragment::packets`] undoes it.
    pub fn payload(&self) -> &'a [u8] {
        let (start, length) = (self.entry.start as usize, self.entry.length as usize);
        self.fragment.raw().get(start..start + length).unwrap_or_default()
    }
}

impl std::fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block")
            .field("track", &self.track())
            .field("timecode_ns", &self.timecode_ns())
            .field("is_key", &self.is_key())
            .field("bytes", &self.entry.length)
            .finish()
    }
}

const KEY: u8 = 0x80;
const INVISIBLE: u8 = 0x08;
const LACING: u8 = 0x06;
const DISCARDABLE: u8 = 0x01;

/// The index entry of a block. Its size is 32 bytes, independent of the block's size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockEntry {
    pub(crate) track: u64,
    /// The time in ticks of the document's TimestampScale. Includes the time of the Cluster.
    pub(crate) timecode: i64,
    /// The offset in the fragment of the bytes after the block header.
    pub(crate) start: u32,
    pub(crate) length: u32,
    duration: u32,
    flags: u8,
}

impl BlockEntry {
    /// Reads the header of a SimpleBlock or Block.
    ///
    /// `start` is the offset of its payload in the fragment. The caller adds the position to errors.
    #[inline]
    pub(crate) fn read(payload: &[u8], start: u32, cluster_timecode: i64) -> Result<Self> {
        let Vint::Read(track, width) = vint::read_number(payload) else {
            return Err(Error::malformed("the block has no valid track number"));
        };
        let width = usize::from(width);
        let Some(&[high, low, flags]) = payload.get(width..width + 3) else {
            return Err(Error::malformed("the block ends inside its header"));
        };
        let relative = i64::from(i16::from_be_bytes([high, low]));
        let header = width as u32 + 3;
        Ok(Self {
            track,
            timecode: cluster_timecode.saturating_add(relative),
            start: start + header,
            length: payload.len() as u32 - header,
            duration: u32::MAX,
            flags,
        })
    }

    pub(crate) fn is_key(&self) -> bool {
        self.flags & KEY != 0
    }

    /// Sets the key flag. A Block in a BlockGroup has none: it is a key frame if it has no references.
    pub(crate) fn with_key(mut self, key: bool) -> Self {
        self.flags = self.flags & !KEY | if key { KEY } else { 0 };
        self
    }

    pub(crate) fn with_duration(mut self, ticks: Option<u64>) -> Self {
        self.duration = ticks.and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(u32::MAX);
        self
    }

    pub(crate) fn duration(&self) -> Option<i64> {
        (self.duration != u32::MAX).then_some(i64::from(self.duration))
    }

    pub(crate) fn is_laced(&self) -> bool {
        self.flags & LACING != 0
    }

    /// Returns the start and length of each frame of a laced block within `payload`.
    ///
    /// `payload` is the bytes after the block header.
    pub(crate) fn frames(&self, payload: &[u8]) -> Result<Vec<(u32, u32)>> {
        let broken = || Error::malformed("the frame sizes of a laced block do not match its length");
        let Some((&count, rest)) = payload.split_first() else { return Err(broken()) };
        let count = usize::from(count) + 1;
        let (sizes, used) = match self.flags & LACING {
            0x02 => xiph_sizes(rest, count).ok_or_else(broken)?,
            0x06 => ebml_sizes(rest, count).ok_or_else(broken)?,
            _ => (vec![rest.len() / count; count - 1], 0),
        };
        let data = rest.len() - used;
        let before_last: usize = sizes.iter().sum();
        let last = data.checked_sub(before_last).ok_or_else(broken)?;
        if self.flags & LACING == 0x04 && rest.len() % count != 0 {
            return Err(broken());
        }
        let mut start = (1 + used) as u32;
        let place = |size: usize| {
            let frame = (start, size as u32);
            start += size as u32;
            frame
        };
        Ok(sizes.into_iter().chain([last]).map(place).collect())
    }
}

/// Reads Xiph lacing (RFC 9559 section 10.3.2): the sizes of all frames except the last.
///
/// Each size is a sum of octets that ends with an octet below 255.
fn xiph_sizes(data: &[u8], count: usize) -> Option<(Vec<usize>, usize)> {
    let (mut sizes, mut used) = (Vec::with_capacity(count - 1), 0);
    for _ in 1..count {
        let mut size = 0;
        loop {
            let octet = *data.get(used)?;
            used += 1;
            size += usize::from(octet);
            if octet != 255 {
                break;
            }
        }
        sizes.push(size);
    }
    Some((sizes, used))
}

/// Reads EBML lacing (RFC 9559 section 10.3.3): the sizes of all frames except the last.
///
/// The first size is absolute. The others are differences to the previous size.
fn ebml_sizes(data: &[u8], count: usize) -> Option<(Vec<usize>, usize)> {
    let (mut sizes, mut used) = (Vec::with_capacity(count - 1), 0);
    let mut size = 0i64;
    for index in 1..count {
        let rest = data.get(used..)?;
        let width = if index == 1 {
            let Vint::Read(first, width) = vint::read_number(rest) else { return None };
            size = i64::try_from(first).ok()?;
            width
        } else {
            let Vint::Read(difference, width) = vint::read_signed(rest) else { return None };
            size = size.checked_add(difference)?;
            width
        };
        used += usize::from(width);
        // Rejecting frames larger than the block keeps the sum of the sizes from overflowing.
        let frame = usize::try_from(size).ok().filter(|&size| size <= data.len())?;
        sizes.push(frame);
    }
    Some((sizes, used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(flags: u8, lacing: &[u8], data: &[u8]) -> Result<Vec<(u32, u32)>> {
        let payload = [&[0x81, 0, 0, flags], lacing, data].concat();
        BlockEntry::read(&payload, 0, 0)?.frames(&payload[4..])
    }

    #[test]
    fn headers_of_every_width_and_sign() {
        let block = BlockEntry::read(&[0x81, 0xFF, 0xFE, 0x80, 9, 9], 100, 10).unwrap();
        assert_eq!((block.track, block.timecode, block.start, block.length), (1, 8, 104, 2));
        assert!(block.is_key());
        let wide = BlockEntry::read(&[0x01, 0, 0, 0, 0, 0, 0, 200, 0, 5, 0x00], 0, 0).unwrap();
        assert_eq!((wide.track, wide.timecode, wide.start, wide.length), (200, 5, 11, 0));
        assert!(!wide.is_key());
        for short in [&[][..], &[0x81], &[0x81, 0, 0], &[0x40, 1, 0, 0], &[0, 1, 2, 3]] {
            assert!(BlockEntry::read(short, 0, 0).is_err(), "{short:?}");
        }
    }

    #[test]
    fn laced_frames_are_separated() {
        // The examples in RFC 9559 section 10.3 have frames of 800, 500 and 1000 octets.
        let data = [7; 2300];
        let expected = |start: u32| vec![(start, 800), (start + 800, 500), (start + 1300, 1000)];
        assert_eq!(frames(0x02, &[2, 255, 255, 255, 35, 255, 245], &data).unwrap(), expected(7));
        assert_eq!(frames(0x06, &[2, 0x43, 0x20, 0x5E, 0xD3], &data).unwrap(), expected(5));
        assert_eq!(frames(0x04, &[2], &[7; 2400]).unwrap(), [(1, 800), (801, 800), (1601, 800)]);
        assert_eq!(frames(0x02, &[0], &[7; 5]).unwrap(), [(1, 5)]);
    }

    #[test]
    fn inconsistent_lacing_is_an_error() {
        let cases: [(u8, &[u8], &[u8]); 7] = [
            (0x02, &[], &[]),
            (0x02, &[1, 255], &[]),
            (0x02, &[1, 9], &[0; 8]),
            (0x04, &[1], &[0; 3]),
            (0x06, &[1], &[]),
            (0x06, &[2, 0x81, 0x80], &[0; 8]),
            (0x06, &[1, 0x89], &[0; 8]),
        ];
        for (flags, lacing, data) in cases {
            assert!(frames(flags, lacing, data).is_err(), "{flags} {lacing:?}");
        }
    }
}
