//! Maps Matroska tracks to the decoders of libavcodec.

use bytes::Bytes;
use ffmpeg_next::codec::threading;
use ffmpeg_next::codec::{self, Compliance, Flags, Id};
use ffmpeg_next::decoder::{self, Check};

use super::raw::{Parameters, set_parameters};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Track;
use crate::packet::{NalCodec, ParameterSets, is_byte_stream};

/// The maximum number of NAL units of a coded frame. libavcodec allocates four kilobytes for each.
const MAX_UNITS: usize = 1024;

/// The codec of a track and the parameters of its decoder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Codec {
    id: Id,
    name: Box<str>,
    private: Option<Bytes>,
    fourcc: Option<[u8; 4]>,
    size: Option<(i32, i32)>,
    bits_per_pixel: u16,
    nal: Option<Nal>,
}

/// The framing of NAL units that the decoder expects.
#[derive(Clone, Debug, PartialEq)]
struct Nal {
    codec: NalCodec,
    sets: ParameterSets,
    as_byte_stream: bool,
}

impl Codec {
    /// Finds the codec of a track.
    ///
    /// # Errors
    /// If there is no decoder for it.
    pub(super) fn of_track(track: &Track) -> Result<Self> {
        let unknown = || {
            let mut name = format!("{:?}", track.codec_id());
            if let Some(fourcc) = bitmap_header(track).and_then(|header| header.get(16..20)) {
                name += &format!(" \"{}\"", fourcc.escape_ascii());
            }
            let message =
                format!("no decoder for the codec {name}: this crate or the installed libavcodec does not know it");
            Error::new(ErrorKind::Unsupported, message).on_track(track.number())
        };
        let size = track.width().zip(track.height());
        let mut codec = Self {
            id: Id::None,
            name: track.codec_id().into(),
            private: track.codec_private().cloned(),
            fourcc: None,
            size: size.and_then(|(width, height)| Some((width.try_into().ok()?, height.try_into().ok()?))),
            bits_per_pixel: 0,
            nal: None,
        };
        if let Some(header) = bitmap_header(track) {
            codec.read_bitmap_header(header).ok_or_else(unknown)?;
        } else {
            codec.id = id_of(track.codec_id()).ok_or_else(unknown)?;
        }
        let nal = match codec.id {
            Id::H264 => Some(NalCodec::H264),
            Id::HEVC => Some(NalCodec::H265),
            _ => None,
        };
        codec.nal = nal.map(|nal| codec.framing(nal));
        decoder::find(codec.id).map(|_| codec).ok_or_else(unknown)
    }

    /// Reads a BITMAPINFOHEADER. The codec's private data follows it.
    fn read_bitmap_header(&mut self, header: &[u8; 40]) -> Option<()> {
        let [_, _, _, _, w0, w1, w2, w3, h0, h1, h2, h3, _, _, b0, b1, rest @ ..] = header;
        let fourcc = *rest.first_chunk()?;
        self.id = id_of_fourcc(fourcc)?;
        self.fourcc = Some(fourcc);
        // A negative height means that the top row is first.
        let (width, height) = (i32::from_le_bytes([*w0, *w1, *w2, *w3]), i32::from_le_bytes([*h0, *h1, *h2, *h3]));
        self.size = Some((width, height.saturating_abs()));
        self.bits_per_pixel = u16::from_le_bytes([*b0, *b1]);
        self.private = self.private.as_ref().map(|private| private.slice(40..)).filter(|private| !private.is_empty());
        Some(())
    }

    /// Chooses the framing: the decoder derives it from the private data.
    fn framing(&mut self, codec: NalCodec) -> Nal {
        let sets = self.private.as_deref().map(|private| match codec {
            NalCodec::H264 => ParameterSets::from_avcc(private),
            NalCodec::H265 => ParameterSets::from_hvcc(private),
        });
        match sets {
            Some(Ok(sets)) => Nal { codec, sets, as_byte_stream: false },
            other => {
                // The private data is neither a configuration record nor a byte stream, so the parameter sets must be
                // in the packets.
                if other.is_some() && !self.private.as_deref().is_some_and(is_byte_stream) {
                    self.private = None;
                }
                Nal { codec, sets: ParameterSets::in_band(), as_byte_stream: true }
            }
        }
    }

    /// Returns the kind of NAL units and their parameter sets, for a codec that has NAL units.
    pub(super) fn nal(&self) -> Option<(NalCodec, &ParameterSets)> {
        self.nal.as_ref().map(|nal| (nal.codec, &nal.sets))
    }

    /// Returns `true` if no picture refers to another.
    pub(super) fn is_intra_only(&self) -> bool {
        matches!(
            self.id,
            Id::MJPEG | Id::RAWVIDEO | Id::DVVIDEO | Id::HUFFYUV | Id::FFVHUFF | Id::PNG | Id::PRORES | Id::UTVIDEO
        )
    }

    /// Returns `true` if nothing after a key frame refers to anything before it, and the decoding order is the
    /// presentation order.
    pub(super) fn is_in_order(&self) -> bool {
        self.is_intra_only() || matches!(self.id, Id::VP8 | Id::VP9 | Id::AV1)
    }

    /// Returns `true` if a key frame of MPEG-1 or MPEG-2 starts a closed group: `closed_gop` of ISO/IEC 13818-2
    /// section 6.2.2.6.
    pub(super) fn is_closed_group(&self, packet: &[u8]) -> bool {
        const GROUP_START: [u8; 4] = [0, 0, 1, 0xB8];
        matches!(self.id, Id::MPEG1VIDEO | Id::MPEG2VIDEO)
            && memchr::memmem::find(packet, &GROUP_START)
                .and_then(|at| packet.get(at + GROUP_START.len() + 3))
                .is_some_and(|byte| byte & 0x40 != 0)
    }

    /// Returns the payload with the framing that the decoder expects. `None` if it has it already.
    ///
    /// # Errors
    /// If its NAL units cannot be parsed.
    pub(super) fn reframed(&self, packet: &[u8]) -> Result<Option<Bytes>> {
        const PRORES: &[u8] = b"icpf";
        if self.id == Id::PRORES && packet.get(4..8) != Some(PRORES) {
            // Matroska omits the header of 8 bytes at the start of each frame.
            let length = u32::try_from(packet.len() + 8).unwrap_or(u32::MAX);
            return Ok(Some([&length.to_be_bytes(), PRORES, packet].concat().into()));
        }
        let Some(Nal { sets, as_byte_stream, .. }) = &self.nal else { return Ok(None) };
        let units = sets.units(packet)?;
        if units.list.len() > MAX_UNITS {
            return Err(Error::malformed(format!("a coded frame of more than {MAX_UNITS} NAL units")));
        }
        match (units.are_byte_stream, *as_byte_stream) {
            (false, true) => sets.to_annex_b(packet).map(Some),
            (true, false) => sets.from_annex_b(packet).map(Some),
            (false, false) | (true, true) => Ok(None),
        }
    }

    /// Opens a new decoder.
    ///
    /// # Errors
    /// If libavcodec rejects the parameters.
    pub(super) fn open(&self, max_pixels: u64) -> Result<decoder::Video> {
        let failed = |error| {
            let message = format!("libavcodec cannot decode {:?} with these parameters", self.name);
            Error::new(ErrorKind::Unsupported, message).caused_by(error)
        };
        let codec = decoder::find(self.id).ok_or_else(|| failed(ffmpeg_next::Error::DecoderNotFound))?;
        let mut context = codec::Context::new_with_codec(codec);
        let parameters = Parameters {
            private: self.private.as_deref().unwrap_or_default(),
            fourcc: self.fourcc,
            bits_per_pixel: self.bits_per_pixel,
            size: self.size.filter(|size| is_allowed(*size, max_pixels)),
            max_pixels,
        };
        set_parameters(&mut context, &parameters).map_err(failed)?;
        context.set_threading(threading::Config::count(1));
        // The decoder then yields damaged pictures too, marked as such.
        context.set_flags(Flags::OUTPUT_CORRUPT);
        if self.id == Id::H264 {
            // If the parameter sets do not specify the reordering depth, the decoder then takes it from the level
            // (ITU-T H.264 section A.3.1). Otherwise it guesses, and may lose pictures.
            context.compliance(Compliance::Strict);
        }
        let mut decoder = context.decoder();
        if self.id == Id::MJPEG {
            // Otherwise the decoder fills the rest of a truncated picture with grey and reports no error.
            decoder.check(Check::EXPLODE);
        }
        decoder.open_as(codec).and_then(decoder::Opened::video).map_err(failed)
    }
}

/// Returns `true` if the size may be declared to the decoder. The size in the pictures has precedence anyway.
fn is_allowed((width, height): (i32, i32), max_pixels: u64) -> bool {
    width > 0 && height > 0 && u64::from(width.unsigned_abs()) * u64::from(height.unsigned_abs()) <= max_pixels
}

/// Returns the BITMAPINFOHEADER of a Video for Windows track.
fn bitmap_header(track: &Track) -> Option<&[u8; 40]> {
    track.codec_private().filter(|_| track.codec_id() == "V_MS/VFW/FOURCC")?.first_chunk()
}

/// Returns the decoder for a codec id of Matroska's codec mappings.
fn id_of(codec_id: &str) -> Option<Id> {
    Some(match codec_id {
        "V_AV1" => Id::AV1,
        "V_DIRAC" => Id::DIRAC,
        "V_FFV1" => Id::FFV1,
        "V_MJPEG" => Id::MJPEG,
        "V_MPEG1" => Id::MPEG1VIDEO,
        "V_MPEG2" => Id::MPEG2VIDEO,
        "V_MPEG4/ISO/AP" | "V_MPEG4/ISO/ASP" | "V_MPEG4/ISO/SP" => Id::MPEG4,
        "V_MPEG4/ISO/AVC" => Id::H264,
        "V_MPEG4/MS/V3" => Id::MSMPEG4V3,
        "V_MPEGH/ISO/HEVC" => Id::HEVC,
        "V_PRORES" => Id::PRORES,
        "V_SNOW" => Id::SNOW,
        "V_THEORA" => Id::THEORA,
        "V_VP8" => Id::VP8,
        "V_VP9" => Id::VP9,
        _ => return None,
    })
}

fn id_of_fourcc(fourcc: [u8; 4]) -> Option<Id> {
    Some(match &fourcc.map(|byte| byte.to_ascii_uppercase()) {
        b"AV01" => Id::AV1,
        b"AVC1" | b"DAVC" | b"H264" | b"X264" => Id::H264,
        b"HEV1" | b"HEVC" | b"HVC1" | b"H265" | b"X265" => Id::HEVC,
        b"3IV2" | b"DIVX" | b"DX50" | b"FMP4" | b"MP4V" | b"XVID" => Id::MPEG4,
        b"DIV3" | b"MP43" => Id::MSMPEG4V3,
        b"DIV2" | b"MP42" => Id::MSMPEG4V2,
        b"DVSD" => Id::DVVIDEO,
        b"FFV1" => Id::FFV1,
        b"FFVH" => Id::FFVHUFF,
        b"H263" | b"U263" => Id::H263,
        b"HFYU" => Id::HUFFYUV,
        b"AVRN" | b"DMB1" | b"JPEG" | b"MJPG" => Id::MJPEG,
        b"MPG1" => Id::MPEG1VIDEO,
        b"MPG2" => Id::MPEG2VIDEO,
        b"MPNG" | b"PNG1" => Id::PNG,
        b"THEO" => Id::THEORA,
        b"ULRA" | b"ULRG" | b"ULY0" | b"ULY2" => Id::UTVIDEO,
        b"VC-1" | b"WVC1" => Id::VC1,
        b"VP80" => Id::VP8,
        b"VP90" => Id::VP9,
        b"WMV1" => Id::WMV1,
        b"WMV2" => Id::WMV2,
        b"WMV3" => Id::WMV3,
        b"I420" | b"IYUV" | b"NV12" | b"UYVY" | b"YUY2" | b"YV12" | [0, 0, 0, 0] => Id::RAWVIDEO,
        _ => return None,
    })
}
