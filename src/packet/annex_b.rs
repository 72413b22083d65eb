//! Conversion of H.264 and H.265 to and from the Annex B byte stream.
//!
//! Matroska, and therefore Kinesis Video Streams, stores a length before each NAL unit. The parameter
//! sets are in the codec private data of the track (ISO/IEC 14496-15). Most decoders, files and RTP
//! use the byte stream of Annex B of ITU-T H.264 and H.265: a start code before each NAL unit, and the
//! parameter sets before each key frame.

use bytes::{Bytes, BytesMut};

use super::Packet;
use crate::error::{Error, Result};
use crate::fragment::Track;

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The most NAL units in a packet. No real picture has that many; it limits the memory of the index.
const MAX_UNITS: usize = 1 << 16;

/// The parameter sets and the length-field width of an H.264 or H.265 track.
///
/// The codec private data of the track contains both.
///
/// ```
/// use kinesis_video::packet::ParameterSets;
///
/// // An avcC record: high profile, lengths of four bytes, one SPS, one PPS.
/// let avcc = [1, 0x64, 0, 12, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 1, 0, 2, 0x68, 0xEE];
/// let sets = ParameterSets::from_avcc(&avcc)?;
/// assert_eq!(sets.iter().collect::<Vec<_>>(), [&[0x67, 0x64], &[0x68, 0xEE]]);
///
/// // A block with one NAL unit of three bytes becomes a byte stream.
/// assert_eq!(sets.to_annex_b(&[0, 0, 0, 3, 0x41, 7, 7])?[..], [0, 0, 0, 1, 0x41, 7, 7]);
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSets {
    sets: Vec<Bytes>,
    length_size: usize,
}

impl ParameterSets {
    /// Returns the parameter sets of a track.
    ///
    /// Returns `None` if the track is neither H.264 nor H.265, or has no codec private data.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) if the codec private data is not an avcC or hvcC record. Some
    /// producers store other data there.
    pub fn of_track(track: &Track) -> Result<Option<Self>> {
        match (track.codec_id(), track.codec_private()) {
            ("V_MPEG4/ISO/AVC", Some(private)) => Self::from_avcc(private).map(Some),
            ("V_MPEGH/ISO/HEVC", Some(private)) => Self::from_hvcc(private).map(Some),
            _ => Ok(None),
        }
    }

    /// Reads an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 5.3.3.1).
    ///
    /// The parameter sets are in this order: SPS, PPS.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) if the version of the record is not 1, or the record ends too
    /// early.
    pub fn from_avcc(record: &[u8]) -> Result<Self> {
        let mut input = Input { rest: record, name: "avcC" };
        let [version, _, _, _, lengths] = input.array()?;
        input.check_version(version)?;
        let mut sets = Vec::new();
        let [count] = input.array()?;
        for _ in 0..count & 0x1F {
            sets.push(input.set()?);
        }
        let [count] = input.array()?;
        for _ in 0..count {
            sets.push(input.set()?);
        }
        Ok(Self { sets, length_size: usize::from(lengths & 3) + 1 })
    }

    /// Reads an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 8.3.3.1).
    ///
    /// The parameter sets are in the order of the record, usually VPS, SPS, PPS.
    ///
    /// # Errors
    /// [`Malformed`](crate::ErrorKind::Malformed) if the version of the record is not 1, or the record ends too
    /// early.
    pub fn from_hvcc(record: &[u8]) -> Result<Self> {
        let mut input = Input { rest: record, name: "hvcC" };
        let fixed: [u8; 21] = input.array()?;
        let [lengths, arrays] = input.array()?;
        input.check_version(fixed[0])?;
        let mut sets = Vec::new();
        for _ in 0..arrays {
            let [_, high, low] = input.array()?;
            for _ in 0..u16::from_be_bytes([high, low]) {
                sets.push(input.set()?);
            }
        }
        Ok(Self { sets, length_size: usize::from(lengths & 3) + 1 })
    }

    /// Returns the parameter sets in the order of the record, without start codes.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.sets.iter().map(|set| &set[..])
    }

    /// Returns the width of the length before each NAL unit, from 1 to 4 bytes.
    ///
    /// The standard allows 1, 2 and 4.
    pub fn length_size(&self) -> usize {
        self.length_size
    }

    /// Converts a packet to a byte stream.
    ///
    /// The parameter sets are added before a key frame, so that a decoder can start there. A packet that already
    /// is a byte stream keeps its bytes. The parameter sets are added before its key frames too.
    ///
    /// # Errors
    /// - [`Malformed`](crate::ErrorKind::Malformed) if the lengths of the NAL units do not match the length of the
    ///   packet, and the packet is not a byte stream.
    /// - [`Limit`](crate::ErrorKind::Limit) if the packet has more than 65,536 NAL units.
    pub fn packet_to_annex_b(&self, packet: &Packet) -> Result<Bytes> {
        let mut out = BytesMut::new();
        if packet.is_key() {
            self.iter().for_each(|set| append(&mut out, set));
        }
        self.append_units(&mut out, packet.payload())?;
        Ok(out.freeze())
    }

    /// Converts length-prefixed NAL units to a byte stream.
    ///
    /// Parameter sets are not added. Input that already is a byte stream is returned unchanged, unless its bytes
    /// are also valid length-prefixed units. Some producers send a byte stream although they declare
    /// length-prefixed units.
    ///
    /// # Errors
    /// - [`Malformed`](crate::ErrorKind::Malformed) if the lengths of the NAL units do not match the length of the
    ///   input, and the input is not a byte stream.
    /// - [`Limit`](crate::ErrorKind::Limit) if the input has more than 65,536 NAL units.
    pub fn to_annex_b(&self, units: &[u8]) -> Result<Bytes> {
        let mut out = BytesMut::new();
        self.append_units(&mut out, units)?;
        Ok(out.freeze())
    }

    /// Converts a byte stream to length-prefixed NAL units.
    ///
    /// Each unit gets a length of [`length_size`](ParameterSets::length_size) bytes. Empty input stays empty.
    ///
    /// # Errors
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the input does not start with a start code, or
    ///   a unit is too long for its length field.
    /// - [`Limit`](crate::ErrorKind::Limit) if the input has more than 65,536 NAL units.
    pub fn from_annex_b(&self, stream: &[u8]) -> Result<Bytes> {
        let mut out = BytesMut::with_capacity(stream.len());
        for unit in units_of(stream)? {
            let length = unit.len() as u64;
            if self.length_size < 8 && length >> (8 * self.length_size) != 0 {
                let message = format!(
                    "a NAL unit of {length} bytes is too long for a length field of {} bytes",
                    self.length_size
                );
                return Err(Error::invalid_argument(message));
            }
            out.extend_from_slice(length.to_be_bytes().get(8 - self.length_size..).unwrap_or_default());
            out.extend_from_slice(unit);
        }
        Ok(out.freeze())
    }

    fn append_units(&self, out: &mut BytesMut, packet: &[u8]) -> Result<()> {
        let units = self.units(packet)?;
        if units.are_byte_stream {
            out.extend_from_slice(packet);
        } else {
            out.reserve(packet.len() + 8);
            units.list.into_iter().for_each(|unit| append(out, unit));
        }
        Ok(())
    }

    /// Returns the NAL units of a packet, and their format.
    pub(crate) fn units<'a>(&self, packet: &'a [u8]) -> Result<Units<'a>> {
        match self.lengths(packet) {
            Ok(list) => Ok(Units { list, are_byte_stream: false }),
            Err(_) if is_byte_stream(packet) => Ok(Units { list: units_of(packet)?, are_byte_stream: true }),
            Err(error) => Err(error),
        }
    }

    /// Creates the value for a track without codec private data.
    ///
    /// Its parameter sets are in its packets, and lengths have four bytes.
    pub(crate) fn in_band() -> Self {
        Self { sets: Vec::new(), length_size: 4 }
    }

    fn lengths<'a>(&self, units: &'a [u8]) -> Result<Vec<&'a [u8]>> {
        let mut found = Vec::new();
        let mut rest = units;
        while !rest.is_empty() {
            let unit = rest.split_at_checked(self.length_size).and_then(|(length, after)| {
                let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                after.split_at_checked(length)
            });
            let Some((unit, after)) = unit else {
                let at = units.len() - rest.len();
                return Err(Error::malformed("a NAL unit ends after the end of the packet").at(at as u64));
            };
            if !unit.is_empty() {
                found.push(unit);
            }
            if found.len() > MAX_UNITS {
                return Err(Error::limit(format!("more than {MAX_UNITS} NAL units in one packet")));
            }
            rest = after;
        }
        Ok(found)
    }
}

/// The NAL units of a packet.
pub(crate) struct Units<'a> {
    /// The units, without start codes or lengths.
    pub(crate) list: Vec<&'a [u8]>,
    /// True if start codes separate the units. False if each has a length.
    pub(crate) are_byte_stream: bool,
}

pub(crate) fn is_byte_stream(bytes: &[u8]) -> bool {
    bytes.starts_with(&START_CODE) || bytes.starts_with(&START_CODE[1..])
}

fn append(out: &mut BytesMut, unit: &[u8]) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(unit);
}

/// Returns the NAL units of a byte stream, without start codes and the zeros between them.
fn units_of(stream: &[u8]) -> Result<Vec<&[u8]>> {
    let marker = &START_CODE[1..];
    let starts: Vec<usize> = memchr::memmem::find_iter(stream, marker).take(MAX_UNITS + 1).collect();
    if starts.len() > MAX_UNITS {
        return Err(Error::limit(format!("more than {MAX_UNITS} NAL units in one packet")));
    }
    let first = starts.first().copied().unwrap_or(stream.len());
    if !stream.is_empty() && (starts.is_empty() || stream.iter().take(first).any(|&byte| byte != 0)) {
        return Err(Error::invalid_argument("the byte stream does not start with a start code"));
    }
    let ends = starts.iter().copied().skip(1).chain([stream.len()]);
    let units = starts.iter().zip(ends).map(|(start, end)| {
        let mut unit = stream.get(start + marker.len()..end).unwrap_or_default();
        // The last bit of a NAL unit is 1, so zero bytes after it belong to the stream.
        while let [inside @ .., 0] = unit {
            unit = inside;
        }
        unit
    });
    Ok(units.filter(|unit| !unit.is_empty()).collect())
}

struct Input<'a> {
    rest: &'a [u8],
    name: &'static str,
}

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(*array)
    }

    fn set(&mut self) -> Result<Bytes> {
        let length = u16::from_be_bytes(self.array()?);
        let (set, rest) = self.rest.split_at_checked(usize::from(length)).ok_or_else(|| self.short())?;
        self.rest = rest;
        Ok(Bytes::copy_from_slice(set))
    }

    fn check_version(&self, version: u8) -> Result<()> {
        if version == 1 {
            return Ok(());
        }
        let message = format!("the codec private data is not an {} record: its version is {version}, not 1", self.name);
        Err(Error::malformed(message))
    }

    fn short(&self) -> Error {
        Error::malformed(format!("the codec private data ends inside its {} record", self.name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sets(length_size: usize) -> ParameterSets {
        ParameterSets { sets: Vec::new(), length_size }
    }

    proptest! {
        #[test]
        fn conversion_round_trips(
            units in proptest::collection::vec(proptest::collection::vec(2u8.., 1..200), 1..6),
            length_size in prop_oneof![Just(1usize), Just(2), Just(4)],
        ) {
            // Units have no zeros, so that they contain no start code. Neither do units of real streams.
            let sets = sets(length_size);
            let mut prefixed = Vec::new();
            for unit in &units {
                prefixed.extend_from_slice(&(unit.len() as u64).to_be_bytes()[8 - length_size..]);
                prefixed.extend_from_slice(unit);
            }
            let stream = sets.to_annex_b(&prefixed).unwrap();
            prop_assert_eq!(stream.len(), units.iter().map(|unit| unit.len() + 4).sum::<usize>());
            prop_assert_eq!(&sets.from_annex_b(&stream).unwrap()[..], &prefixed[..]);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = ParameterSets::from_avcc(&bytes);
            let _ = ParameterSets::from_hvcc(&bytes);
            for length_size in 1..=4 {
                let _ = sets(length_size).to_annex_b(&bytes);
                let _ = sets(length_size).from_annex_b(&bytes);
            }
        }
    }

    #[test]
    fn a_byte_stream_is_unchanged() {
        let stream = [0, 0, 0, 1, 0x65, 1, 2, 0, 0, 1, 0x41, 3];
        assert_eq!(&sets(4).to_annex_b(&stream).unwrap()[..], stream);
        assert_eq!(&sets(4).from_annex_b(&stream).unwrap()[..], [0, 0, 0, 3, 0x65, 1, 2, 0, 0, 0, 2, 0x41, 3]);
    }

    #[test]
    fn inconsistent_lengths_are_errors() {
        assert!(sets(4).to_annex_b(&[0, 0, 0, 9, 1]).is_err());
        assert!(sets(4).from_annex_b(&[7, 0, 0, 1, 2]).is_err());
        assert!(sets(1).from_annex_b(&[&[0, 0, 1][..], &[1; 300]].concat()).is_err());
        assert!(ParameterSets::from_avcc(&[2, 0, 0, 0, 0xFF, 0xE0, 0]).is_err());
        assert!(ParameterSets::from_avcc(&[1, 0, 0, 0, 0xFF, 0xE1, 0, 9]).is_err());
    }
}
