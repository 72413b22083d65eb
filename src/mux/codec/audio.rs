//! [`AudioConfig`]: what a container says of an audio track.

use bytes::{Buf, Bytes};

use super::asc::AudioSpecificConfig;
use crate::audio::{Party, SAMPLE_RATE};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Track, TrackKind};

/// The codec of an audio track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AudioCodec {
    /// AAC.
    #[non_exhaustive]
    Aac {
        /// The audio object type of ISO/IEC 14496-3: 2 for AAC-LC.
        object_type: u8,
    },
    /// G.711 A-law.
    Alaw,
    /// G.711 mu-law.
    Mulaw,
    /// Opus.
    Opus,
    /// Samples without compression, as signed integers.
    #[non_exhaustive]
    Pcm {
        /// The bits of a sample.
        bits: u16,
        /// True if the most significant byte of a sample comes first.
        is_big_endian: bool,
    },
}

/// The codec, sample rate and channels of an audio track.
///
/// Tracks of Amazon Connect declare AAC, but carry PCM. They are recognised, and described as PCM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    codec: AudioCodec,
    sample_rate: u32,
    channels: u16,
    /// Samples of each channel in a coded frame, at `sample_rate`.
    frame: Option<u32>,
    private: Option<Bytes>,
}

impl AudioConfig {
    /// Reads the configuration of a track. `tracks` are all tracks of its fragment.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if the track is not audio, or the codec is none of [`AudioCodec`].
    /// - [`Malformed`](ErrorKind::Malformed) if its codec private data cannot be read.
    pub fn of_track(track: &Track, tracks: &[Track]) -> Result<Self> {
        if is_connect(track, tracks) {
            let codec = AudioCodec::Pcm { bits: 16, is_big_endian: false };
            return Ok(Self { codec, sample_rate: SAMPLE_RATE, channels: 1, frame: None, private: None });
        }
        let private = track.codec_private().filter(|private| !private.is_empty());
        match (track.kind(), track.codec_id()) {
            (TrackKind::Audio, "A_AAC") => Self::aac(private),
            (TrackKind::Audio, "A_MS/ACM") => Self::wave_format(private),
            (TrackKind::Audio, "A_OPUS") => Self::opus(track, private),
            (TrackKind::Audio, "A_PCM/INT/LIT") => Self::pcm(track, false),
            (TrackKind::Audio, "A_PCM/INT/BIG") => Self::pcm(track, true),
            (TrackKind::Audio, other) => {
                let message = format!("the audio codec {other:?} is not known: known are AAC, G.711, Opus and PCM");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
            (_, other) => {
                Err(Error::new(ErrorKind::Unsupported, format!("the track is not audio: its codec is {other:?}")))
            }
        }
        .map_err(|error| error.on_track(track.number()))
    }

    fn aac(private: Option<&Bytes>) -> Result<Self> {
        let private = private.ok_or_else(|| Error::malformed("the AAC track has no codec private data"))?;
        let config = AudioSpecificConfig::read(private)
            .ok_or_else(|| Error::malformed("the codec private data is not an AudioSpecificConfig of AAC"))?;
        let codec = AudioCodec::Aac { object_type: config.object_type };
        let (sample_rate, channels, frame) = (config.sample_rate(), config.channels, Some(config.frame_samples()));
        Ok(Self { codec, sample_rate, channels, frame, private: Some(private.clone()) })
    }

    /// Reads WAVEFORMATEX. Some producers omit its last member, the size of extra data.
    fn wave_format(private: Option<&Bytes>) -> Result<Self> {
        let short = || Error::malformed("the codec private data is not a WAVEFORMATEX: it has fewer than 16 bytes");
        let mut fields = private.filter(|private| private.len() >= 16).ok_or_else(short)?.clone();
        let (tag, channels, sample_rate) = (fields.get_u16_le(), fields.get_u16_le(), fields.get_u32_le());
        fields.advance(6);
        let bits = fields.get_u16_le();
        let codec = match (tag, bits) {
            (1, 8 | 16 | 24 | 32) => AudioCodec::Pcm { bits, is_big_endian: false },
            (6, _) => AudioCodec::Alaw,
            (7, _) => AudioCodec::Mulaw,
            (1, _) => return Err(Error::malformed(format!("the WAVEFORMATEX declares PCM of {bits} bits"))),
            _ => {
                let message =
                    format!("the audio format {tag} of the WAVEFORMATEX is not known: known are PCM and G.711");
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        };
        Self { codec, sample_rate, channels, frame: None, private: None }.checked()
    }

    fn opus(track: &Track, private: Option<&Bytes>) -> Result<Self> {
        let channels = private.and_then(|head| head.strip_prefix(b"OpusHead")?.get(1).copied());
        let channels = channels.ok_or_else(|| Error::malformed("the codec private data is not an OpusHead"))?;
        // Opus always counts at 48 kHz, whatever rate its input had.
        let private = track.codec_private().cloned();
        Self { codec: AudioCodec::Opus, sample_rate: 48_000, channels: channels.into(), frame: None, private }.checked()
    }

    fn pcm(track: &Track, is_big_endian: bool) -> Result<Self> {
        let missing = |what: &str| Error::malformed(format!("the PCM track does not declare its {what}"));
        let rate = track.sampling_frequency().ok_or_else(|| missing("sampling frequency"))?;
        let bits = track.bit_depth().and_then(|bits| u16::try_from(bits).ok()).unwrap_or(16);
        if !matches!(bits, 8 | 16 | 24 | 32) {
            return Err(Error::malformed(format!("the PCM track declares samples of {bits} bits")));
        }
        let sample_rate = if rate >= 1.0 && rate <= f64::from(u32::MAX) { rate.round() as u32 } else { 0 };
        let channels = u16::try_from(track.channels().unwrap_or(1)).unwrap_or(0);
        Self { codec: AudioCodec::Pcm { bits, is_big_endian }, sample_rate, channels, frame: None, private: None }
            .checked()
    }

    fn checked(self) -> Result<Self> {
        if self.sample_rate == 0 || self.channels == 0 {
            let message = format!("the track declares {} channels at {} Hz", self.channels, self.sample_rate);
            return Err(Error::malformed(message));
        }
        Ok(self)
    }

    /// Returns the codec.
    pub fn codec(&self) -> AudioCodec {
        self.codec
    }

    /// Returns the number of samples of each channel per second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Returns the number of channels.
    pub fn channels(&self) -> u16 {
        self.channels
    }

    /// Returns the data that initializes the decoder: the AudioSpecificConfig of AAC, or the OpusHead of Opus.
    pub fn private(&self) -> Option<&Bytes> {
        self.private.as_ref()
    }

    /// Returns the number of bits of a sample: 16 for coded audio, after decoding.
    pub fn bits_per_sample(&self) -> u16 {
        match self.codec {
            AudioCodec::Pcm { bits, .. } => bits,
            _ => 16,
        }
    }

    /// Returns the bytes of one sample of each channel. `None` for codecs that code many samples together.
    pub(crate) fn bytes_per_frame(&self) -> Option<u32> {
        match self.codec {
            AudioCodec::Pcm { bits, .. } => Some(u32::from(bits / 8) * u32::from(self.channels)),
            AudioCodec::Alaw | AudioCodec::Mulaw => Some(self.channels.into()),
            AudioCodec::Aac { .. } | AudioCodec::Opus => None,
        }
    }

    /// Returns the number of samples of each channel in a packet. `None` if only decoding tells.
    pub(crate) fn samples_in(&self, payload: &[u8]) -> Option<u32> {
        match self.bytes_per_frame() {
            Some(bytes) => u32::try_from(payload.len()).ok()?.checked_div(bytes),
            None => self.frame,
        }
    }
}

/// Returns true for a track of Amazon Connect. Its name tells; without a name, what its declaration lacks.
fn is_connect(track: &Track, tracks: &[Track]) -> bool {
    const CONNECT_PRIVATE: &[u8] = &[0x11, 0x90];
    let is_only = tracks.len() == 1;
    let is_named = track.name().is_some_and(|name| !name.is_empty());
    // An unnamed track of a camera declares its sampling frequency.
    let lacks_rate = track.sampling_frequency().is_none();
    let has_its_private = track.codec_private().is_none_or(|private| &private[..] == CONNECT_PRIVATE);
    Party::of_track(track, is_only).is_some() && (is_named || lacks_rate && has_its_private)
}
