//! Sample entries: what `stsd` says of a track's codec.

use std::sync::Arc;

use bytes::Bytes;
use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{Audio, Compressor, Esds, Matrix, Pasp, Visual};

use super::boxes::{Pieces, encode, header};
use super::{Brand, has_no_place};
use crate::error::{Error, Result};
use crate::fragment::{Track, TrackKind};
use crate::mux::Placed;
use crate::mux::codec::audio::{AudioCodec, AudioConfig};
use crate::mux::codec::video::{VideoCodec, VideoConfig};
use crate::packet::Packet;

/// The codec of a track, and what its pictures look like.
pub(super) enum SampleEntry {
    Video(Box<Video>),
    Audio(Arc<AudioConfig>),
}

pub(super) struct Video {
    config: VideoConfig,
    width: u16,
    height: u16,
    aspect: Option<(u32, u32)>,
    rotation: f64,
}

impl SampleEntry {
    /// Returns the entry of a track.
    ///
    /// # Errors
    /// If the track has no place in this kind of file, or its codec private data cannot be read.
    pub(super) fn of_track(track: &Track, brand: Brand, first: &Placed) -> Result<Self> {
        let codec = || format!("the codec {:?}", track.codec_id());
        match track.kind() {
            TrackKind::Video => {
                let Some(codec) = VideoCodec::of_track(track) else {
                    return Err(has_no_place(track, brand, &codec(), "MKV"));
                };
                let packets = first.of_track(track.number()).map(|sample| &sample.packet);
                let config = VideoConfig::of_track(track, codec, packets)?;
                let pixels = |size: Option<u64>| u16::try_from(size.unwrap_or(0)).unwrap_or(u16::MAX);
                let (width, height) = (pixels(track.width()), pixels(track.height()));
                let aspect = track.sample_aspect_ratio().filter(|(wide, high)| wide != high);
                let rotation = track.rotation().unwrap_or(0.0);
                Ok(Self::Video(Box::new(Video { config, width, height, aspect, rotation })))
            }
            TrackKind::Audio => {
                let config = AudioConfig::of_track(track, first.header.tracks())?;
                match config.codec() {
                    AudioCodec::Pcm { .. } if brand == Brand::Mp4 => {
                        Err(has_no_place(track, brand, "PCM", "MOV, MKV or WAV"))
                    }
                    AudioCodec::Pcm { bits, .. } if !matches!(bits, 8 | 16) => {
                        Err(has_no_place(track, brand, &format!("PCM of {bits} bits"), "MKV or WAV"))
                    }
                    _ => Ok(Self::Audio(Arc::new(config))),
                }
            }
            TrackKind::Other(_) => Err(has_no_place(track, brand, &codec(), "MKV")),
        }
    }

    /// Returns the configuration of an audio track.
    pub(super) fn audio(&self) -> Option<&AudioConfig> {
        match self {
            Self::Video(_) => None,
            Self::Audio(config) => Some(config),
        }
    }

    /// Returns the bytes of a sample.
    ///
    /// # Errors
    /// If the NAL units of a picture cannot be read.
    pub(super) fn payload(&self, packet: &Packet) -> Result<Bytes> {
        match self {
            Self::Video(video) => video.config.payload(packet),
            Self::Audio(config) => {
                let payload = packet.payload();
                // An incomplete value at the end of PCM would shift all after it.
                let frame = config.bytes_per_frame().map_or(1, |bytes| bytes.max(1) as usize);
                Ok(payload.slice(..payload.len() - payload.len() % frame))
            }
        }
    }

    /// Puts parameter sets before each key frame from now on.
    #[cfg(feature = "local")]
    pub(super) fn repeat_sets(&mut self) {
        if let Self::Video(video) = self {
            video.config.repeat_sets();
        }
    }

    /// Returns a payload as MPEG-TS has it: Annex B or ADTS.
    ///
    /// # Errors
    /// If it is neither H.264 nor AAC, or cannot be read.
    #[cfg(feature = "ts")]
    pub(super) fn to_ts(&self, payload: &Bytes) -> Result<Bytes> {
        match self {
            Self::Video(video) => video.config.to_access_unit(payload),
            Self::Audio(config) => config.to_adts(payload),
        }
    }

    /// Returns the codec as playlists name it (RFC 6381).
    #[cfg(feature = "local")]
    pub(super) fn codec_string(&self) -> String {
        match self {
            Self::Video(video) => video.config.codec_string(),
            Self::Audio(config) => config.codec_string(),
        }
    }

    /// Returns the size at which pictures are shown, before they are turned.
    pub(super) fn displayed(&self) -> (u16, u16) {
        let Self::Video(video) = self else { return (0, 0) };
        let (wide, high) = video.aspect.unwrap_or((1, 1));
        let width = u64::from(video.width) * u64::from(wide) / u64::from(high);
        (u16::try_from(width).unwrap_or(u16::MAX), video.height)
    }

    /// Returns the matrix that turns pictures.
    pub(super) fn matrix(&self) -> Matrix {
        const ONE: i32 = 1 << 16;
        let (width, height) = self.displayed();
        let (width, height) = (i32::from(width) << 16, i32::from(height) << 16);
        let Self::Video(video) = self else { return Matrix::default() };
        // Matroska turns pictures counter-clockwise, and MP4 clockwise. The last pair moves the picture into view.
        let (a, b, c, d, x, y) = match video.rotation.rem_euclid(360.0).round() {
            90.0 => (0, -ONE, ONE, 0, 0, width),
            180.0 => (-ONE, 0, 0, -ONE, width, height),
            270.0 => (0, ONE, -ONE, 0, height, 0),
            _ => return Matrix::default(),
        };
        Matrix { a, b, c, d, x, y, ..Matrix::default() }
    }

    /// Returns the sample entry as a box.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let name = match self {
            Self::Video(video) => {
                let visual = Visual {
                    data_reference_index: 1,
                    width: video.width,
                    height: video.height,
                    compressor: Compressor::default(),
                    ..Visual::default()
                };
                encode(&visual, &mut content)?;
                let record = video.config.record();
                content.extend_from_slice(&header(video.config.record_name(), record.len() as u64));
                content.extend_from_slice(record);
                if let Some((h_spacing, v_spacing)) = video.aspect {
                    encode(&Pasp { h_spacing, v_spacing }, &mut content)?;
                }
                video.config.entry_name()
            }
            Self::Audio(config) => {
                let audio = Audio {
                    data_reference_index: 1,
                    channel_count: config.channels(),
                    sample_size: config.bits_per_sample(),
                    // The field has 16 bits. Higher rates are in the codec's own data, and in the time scale.
                    sample_rate: u16::try_from(config.sample_rate()).unwrap_or(0).into(),
                };
                encode(&audio, &mut content)?;
                describe(config, &mut content)?
            }
        };
        let mut entry = Pieces::new();
        entry.boxed(name, Pieces::from(content));
        Ok(entry.concat())
    }
}

/// Appends the boxes of an audio codec to its sample entry. Returns the name of the entry.
fn describe(config: &AudioConfig, content: &mut Vec<u8>) -> Result<&'static [u8; 4]> {
    let private = config.private().cloned().unwrap_or_default();
    Ok(match config.codec() {
        AudioCodec::Aac { .. } => {
            let dec_specific = DecoderSpecific { profile: 0, freq_index: 0, chan_conf: 0, raw: private.to_vec() };
            let dec_config = DecoderConfig {
                object_type_indication: MPEG4_AUDIO,
                stream_type: AUDIO_STREAM,
                up_stream: 0,
                buffer_size_db: [0; 3].into(),
                max_bitrate: 0,
                avg_bitrate: 0,
                dec_specific: Some(dec_specific),
            };
            let es_desc = EsDescriptor {
                es_id: 0,
                depends_on_es_id: None,
                url: None,
                ocr_es_id: None,
                stream_priority: 0,
                dec_config,
                sl_config: SLConfig::default(),
            };
            encode(&Esds { es_desc }, content)?;
            b"mp4a"
        }
        AudioCodec::Opus => {
            let mut dops = Vec::new();
            opus_box(&private, &mut dops).ok_or_else(|| Error::malformed("the OpusHead ends inside its header"))?;
            content.extend_from_slice(&header(b"dOps", dops.len() as u64));
            content.append(&mut dops);
            b"Opus"
        }
        AudioCodec::Alaw => b"alaw",
        AudioCodec::Mulaw => b"ulaw",
        AudioCodec::Pcm { is_big_endian, bits } => match (bits, is_big_endian) {
            (8, _) => b"raw ",
            (_, false) => b"sowt",
            (_, true) => b"twos",
        },
    })
}

/// The object type of MPEG-4 audio, and the stream type of audio (ISO/IEC 14496-1 section 7.2.6.6).
const MPEG4_AUDIO: u8 = 0x40;
const AUDIO_STREAM: u8 = 5;

/// Converts an OpusHead (RFC 7845 section 5.1), which is little-endian, to the content of `dOps`, which is not.
fn opus_box(head: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let [_, channels, skip @ ..] = head.strip_prefix(b"OpusHead")?.first_chunk::<11>()?;
    let [s0, s1, r0, r1, r2, r3, g0, g1, family] = *skip;
    out.extend_from_slice(&[0, *channels, s1, s0, r3, r2, r1, r0, g1, g0, family]);
    if family != 0 {
        out.extend_from_slice(head.get(19..21 + usize::from(*channels))?);
    }
    Some(())
}
