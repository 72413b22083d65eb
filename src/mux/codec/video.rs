//! H.264 and H.265 in MP4 and Matroska (ISO/IEC 14496-15).

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{FragmentNumber, Track};
use crate::packet::{Packet, ParameterSets, is_byte_stream};

/// What a container says of a track of H.264 or H.265.
#[derive(Clone, Debug)]
pub(crate) struct VideoConfig {
    codec: VideoCodec,
    /// The avcC or hvcC record.
    record: Bytes,
    sets: ParameterSets,
    /// True if the packets carry parameter sets that the record does not have.
    has_own_sets: bool,
    /// True if the record's parameter sets are put before each key frame.
    repeats_sets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VideoCodec {
    H264,
    H265,
}

impl VideoCodec {
    /// Returns the codec of a track. `None` if it is neither.
    pub(crate) fn of_track(track: &Track) -> Option<Self> {
        match track.codec_id() {
            "V_MPEG4/ISO/AVC" => Some(Self::H264),
            "V_MPEGH/ISO/HEVC" => Some(Self::H265),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
        }
    }

    /// Returns true for an access unit delimiter.
    fn is_delimiter(self, unit: &[u8]) -> bool {
        let Some(&header) = unit.first() else { return false };
        match self {
            Self::H264 => header & 0x1F == 9,
            Self::H265 => header >> 1 & 0x3F == 35,
        }
    }

    /// Returns true for a parameter set that the decoder needs first: SPS, PPS and, for H.265, VPS.
    fn is_set(self, unit: &[u8]) -> bool {
        let Some(&header) = unit.first() else { return false };
        match self {
            Self::H264 => matches!(header & 0x1F, 7 | 8),
            Self::H265 => matches!(header >> 1 & 0x3F, 32..=34),
        }
    }
}

impl VideoConfig {
    /// Reads the codec private data of a track, or makes it from the parameter sets in the first packets.
    ///
    /// # Errors
    /// If there is neither.
    pub(crate) fn of_track<'a>(
        track: &Track,
        codec: VideoCodec,
        packets: impl Iterator<Item = &'a Packet>,
    ) -> Result<Self> {
        let missing = |why: &str| {
            let message = format!("the {} track {why}, and its first fragment has no parameter sets", codec.name());
            Error::new(ErrorKind::Unsupported, message).on_track(track.number())
        };
        let private = track.codec_private().filter(|private| !private.is_empty());
        let record = match (private, codec) {
            (Some(private), VideoCodec::H264) => ParameterSets::from_avcc(private).map(|sets| (private.clone(), sets)),
            (Some(private), VideoCodec::H265) => ParameterSets::from_hvcc(private).map(|sets| (private.clone(), sets)),
            (None, _) => Err(missing("has no codec private data")),
        };
        let in_band = own_sets(codec, record.as_ref().ok().map(|(_, sets)| sets), packets);
        match record {
            Ok((record, sets)) => {
                let has_own_sets = in_band.iter().any(|set| !sets.iter().any(|known| known == &set[..]));
                Ok(Self { codec, record, sets, has_own_sets, repeats_sets: false })
            }
            // A producer that sends a byte stream sends its parameter sets in it.
            Err(error) => {
                let record = avcc_of(&in_band).filter(|_| codec == VideoCodec::H264);
                let record = record.ok_or(error.on_track(track.number()))?;
                let sets = ParameterSets::from_avcc(&record)?;
                Ok(Self { codec, record, sets, has_own_sets: false, repeats_sets: false })
            }
        }
    }

    /// Returns the name of the sample entry: `avc1`, `avc3`, `hvc1` or `hev1`.
    ///
    /// The `3` and the `hev1` say that packets carry parameter sets too.
    pub(crate) fn entry_name(&self) -> &'static [u8; 4] {
        match (self.codec, self.has_own_sets || self.repeats_sets) {
            (VideoCodec::H264, false) => b"avc1",
            (VideoCodec::H264, true) => b"avc3",
            (VideoCodec::H265, false) => b"hvc1",
            (VideoCodec::H265, true) => b"hev1",
        }
    }

    /// Returns the name of the box with the record.
    pub(crate) fn record_name(&self) -> &'static [u8; 4] {
        match self.codec {
            VideoCodec::H264 => b"avcC",
            VideoCodec::H265 => b"hvcC",
        }
    }

    /// Returns the avcC or hvcC record.
    pub(crate) fn record(&self) -> &Bytes {
        &self.record
    }

    /// Returns the payload of a packet with a length before each NAL unit.
    ///
    /// # Errors
    /// If its NAL units cannot be read.
    pub(crate) fn payload(&self, packet: &Packet) -> Result<Bytes> {
        let payload = packet.payload();
        // Four bytes 0, 0, 0, 1 are a start code, or the length of a NAL unit of one byte.
        if is_byte_stream(payload) && self.sets.units(payload).is_ok_and(|units| units.are_byte_stream) {
            let payload = self.sets.from_annex_b(payload).map_err(|error| located(error, packet))?;
            return self.with_sets(payload, packet);
        }
        self.with_sets(payload.clone(), packet)
    }

    /// Puts the parameter sets before a key frame, if they are to be repeated.
    fn with_sets(&self, payload: Bytes, packet: &Packet) -> Result<Bytes> {
        if !self.repeats_sets || !packet.is_key() {
            return Ok(payload);
        }
        let units = self.sets.units(&payload).map_err(|error| located(error, packet))?.list;
        let mut out = BytesMut::with_capacity(payload.len() + self.record.len());
        // An access unit delimiter remains the first unit.
        let delimiters = units.iter().take_while(|unit| self.codec.is_delimiter(unit)).count();
        let (first, rest) = units.split_at(delimiters);
        for unit in first.iter().copied().chain(self.sets.iter()).chain(rest.iter().copied()) {
            let length = (unit.len() as u64).to_be_bytes();
            out.put_slice(length.get(8 - self.sets.length_size()..).unwrap_or_default());
            out.put_slice(unit);
        }
        Ok(out.freeze())
    }

    /// Converts a payload of [`payload`](Self::payload) to Annex B, with an access unit delimiter before it.
    ///
    /// # Errors
    /// If the codec is not H.264, or the NAL units cannot be read.
    #[cfg(feature = "ts")]
    pub(crate) fn to_access_unit(&self, payload: &Bytes) -> Result<Bytes> {
        /// A delimiter of a picture of any type.
        const DELIMITER: &[u8] = &[9, 0xF0];
        if self.codec != VideoCodec::H264 {
            return Err(Error::new(ErrorKind::Unsupported, "MPEG-TS is written with H.264, and the video is H.265"));
        }
        let units = self.sets.units(payload)?.list;
        let has_delimiter = units.first().is_some_and(|unit| self.codec.is_delimiter(unit));
        let mut out = BytesMut::with_capacity(payload.len() + 16);
        for unit in (!has_delimiter).then_some(DELIMITER).into_iter().chain(units) {
            out.put_slice(&[0, 0, 0, 1]);
            out.put_slice(unit);
        }
        Ok(out.freeze())
    }

    /// Puts the parameter sets of the record before each key frame from now on.
    #[cfg(feature = "local")]
    pub(crate) fn repeat_sets(&mut self) {
        self.repeats_sets = true;
    }

    /// Returns the codec as web APIs and playlists name it (RFC 6381), such as `avc1.64001f`.
    #[cfg(feature = "local")]
    pub(crate) fn codec_string(&self) -> String {
        let name = String::from_utf8_lossy(self.entry_name()).into_owned();
        match (self.codec, self.record.get(1..4), self.record.get(1..13)) {
            (VideoCodec::H264, Some(profile), _) => {
                profile.iter().fold(name + ".", |text, byte| format!("{text}{byte:02x}"))
            }
            (VideoCodec::H265, _, Some(&[general, c0, c1, c2, c3, ref constraints @ .., level])) => {
                // ISO/IEC 14496-15 annex E.3. The compatibility flags are written in reverse.
                let space = ["", "A", "B", "C"].get(usize::from(general >> 6)).copied().unwrap_or_default();
                let flags = u32::from_be_bytes([c0, c1, c2, c3]).reverse_bits();
                let tier = if general & 0x20 == 0 { 'L' } else { 'H' };
                let text = format!("{name}.{space}{}.{flags:X}.{tier}{level}", general & 0x1F);
                let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                constraints.iter().take(used).fold(text, |text, byte| format!("{text}.{byte:X}"))
            }
            _ => name,
        }
    }
}

/// Adds the fragment and track of a packet to an error.
pub(crate) fn located(error: Error, packet: &Packet) -> Error {
    error.in_fragment(packet.fragment().number().map(FragmentNumber::as_str)).on_track(packet.track_number())
}

/// Returns the parameter sets in the first key frame. Packets whose units cannot be read have none.
fn own_sets<'a>(
    codec: VideoCodec,
    declared: Option<&ParameterSets>,
    mut packets: impl Iterator<Item = &'a Packet>,
) -> Vec<Bytes> {
    let in_band = ParameterSets::in_band();
    let sets = declared.unwrap_or(&in_band);
    let Some(first) = packets.find(|packet| packet.is_key()) else { return Vec::new() };
    let units = sets.units(first.payload()).map(|units| units.list).unwrap_or_default();
    units.into_iter().filter(|unit| codec.is_set(unit)).map(Bytes::copy_from_slice).collect()
}

/// Makes an AVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 5.3.3.1) with lengths of four bytes.
fn avcc_of(sets: &[Bytes]) -> Option<Bytes> {
    let of_kind = |kind: u8| sets.iter().filter(move |set| set.first().is_some_and(|first| first & 0x1F == kind));
    let &[_, profile, compatibility, level] = of_kind(7).next()?.first_chunk()?;
    let mut record = BytesMut::new();
    record.put_slice(&[1, profile, compatibility, level, 0xFF]);
    for (kind, reserved) in [(7, 0xE0), (8, 0)] {
        // The counts have 5 and 8 bits.
        let sets: Vec<_> = of_kind(kind).take(31).collect();
        record.put_u8(reserved | u8::try_from(sets.len()).ok()?);
        for set in sets {
            record.put_u16(u16::try_from(set.len()).ok()?);
            record.put_slice(set);
        }
    }
    Some(record.freeze())
}
