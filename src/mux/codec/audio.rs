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
    /// Samples without compression, as integers. Those of 8 bits are unsigned, all others signed.
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
///
/// | codec | codec id | from |
/// |---|---|---|
/// | AAC | `A_AAC` | the AudioSpecificConfig in the codec private data |
/// | G.711, PCM | `A_MS/ACM` | the WAVEFORMATEX in the codec private data |
/// | Opus | `A_OPUS` | the OpusHead in the codec private data |
/// | PCM | `A_PCM/INT/LIT`, `A_PCM/INT/BIG` | the fields of the track |
/// | PCM of Amazon Connect | any | always mono, 8 kHz, 16 bits, little-endian |
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures::TryStreamExt;
/// use kinesis_video::FragmentStream;
/// use kinesis_video::local::{Document, Shape, Stamp};
/// use kinesis_video::mux::AudioConfig;
/// # use kinesis_video::{Timestamp, local::fragment_number};
///
/// # let stamp = Stamp {
/// #     number: fragment_number(1, 1_000),
/// #     server_time: Timestamp::from_millis(1_000),
/// #     producer_time: Timestamp::from_millis(1_000),
/// # };
/// let document = Document::new(Shape::Producer).codec_private(&[0x11, 0x90]).audio_track(2, "microphone", "A_AAC");
/// let body = document.block(2, 0, true, b"a coded frame").to_bytes(&stamp, 0);
///
/// let fragment = FragmentStream::new(&body[..]).try_next().await?.unwrap();
/// let config = AudioConfig::of_track(fragment.track(2).unwrap(), fragment.tracks())?;
/// assert_eq!((config.sample_rate(), config.channels()), (48_000, 2));
/// assert_eq!(config.codec_string(), "mp4a.40.2");
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    codec: AudioCodec,
    sample_rate: u32,
    channels: u16,
    aac: Option<AudioSpecificConfig>,
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
            return Ok(Self { codec, sample_rate: SAMPLE_RATE, channels: 1, aac: None, private: None });
        }
        let private = track.codec_private().filter(|private| !private.is_empty());
        match (track.kind(), track.codec_id()) {
            (TrackKind::Audio, "A_AAC") => Self::of_aac(private),
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

    pub(super) fn of_aac(private: Option<&Bytes>) -> Result<Self> {
        let private = private.ok_or_else(|| Error::malformed("the AAC track has no codec private data"))?;
        let config = AudioSpecificConfig::read(private)
            .ok_or_else(|| Error::malformed("the codec private data is not an AudioSpecificConfig of AAC"))?;
        let codec = AudioCodec::Aac { object_type: config.object_type };
        let (sample_rate, channels, aac) = (config.sample_rate(), config.channels, Some(config));
        Ok(Self { codec, sample_rate, channels, aac, private: Some(private.clone()) })
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
        Self { codec, sample_rate, channels, aac: None, private: None }.checked()
    }

    fn opus(track: &Track, private: Option<&Bytes>) -> Result<Self> {
        let channels = private.and_then(|head| head.strip_prefix(b"OpusHead")?.get(1).copied());
        let channels = channels.ok_or_else(|| Error::malformed("the codec private data is not an OpusHead"))?;
        // Opus always counts at 48 kHz, whatever rate its input had.
        let private = track.codec_private().cloned();
        Self { codec: AudioCodec::Opus, sample_rate: 48_000, channels: channels.into(), aac: None, private }.checked()
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
        Self { codec: AudioCodec::Pcm { bits, is_big_endian }, sample_rate, channels, aac: None, private: None }
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

    /// Returns the codec as web APIs and playlists name it (RFC 6381), such as `mp4a.40.2`.
    ///
    /// | codec | text |
    /// |---|---|
    /// | AAC | `mp4a.40.` and the object type: 2 is AAC-LC, 5 HE-AAC, 29 HE-AAC v2 |
    /// | Opus | `opus` |
    /// | G.711 | `alaw`, `ulaw` |
    /// | PCM | the name of the sample entry of QuickTime: `raw `, `sowt`, `twos`, `in24`, `in32` |
    pub fn codec_string(&self) -> String {
        match self.codec {
            AudioCodec::Aac { object_type } => {
                let extension = self.aac.and_then(|config| config.extension);
                return format!("mp4a.40.{}", extension.unwrap_or(object_type));
            }
            AudioCodec::Alaw => "alaw",
            AudioCodec::Mulaw => "ulaw",
            AudioCodec::Opus => "opus",
            AudioCodec::Pcm { bits, is_big_endian } => match (bits, is_big_endian) {
                (8, _) => "raw ",
                (24, _) => "in24",
                (32, _) => "in32",
                (_, false) => "sowt",
                (_, true) => "twos",
            },
        }
        .into()
    }

    /// Returns the name of the codec for messages, such as `AAC`.
    pub(crate) fn codec_name(&self) -> &'static str {
        match self.codec {
            AudioCodec::Aac { .. } => "AAC",
            AudioCodec::Alaw => "G.711 A-law",
            AudioCodec::Mulaw => "G.711 mu-law",
            AudioCodec::Opus => "Opus",
            AudioCodec::Pcm { .. } => "PCM",
        }
    }

    /// Returns the AudioSpecificConfig of AAC.
    pub(crate) fn aac(&self) -> Option<&AudioSpecificConfig> {
        self.aac.as_ref()
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
            None => self.aac.map(|config| config.frame_samples()),
        }
    }
}

/// Returns true if a track has audio, whatever it says of its kind.
pub(crate) fn is_audio(track: &Track, tracks: &[Track]) -> bool {
    track.kind() == TrackKind::Audio || is_connect(track, tracks)
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

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use proptest::prelude::*;

    use super::*;
    use crate::demux::FragmentStream;
    use crate::ebml::id;
    use crate::ebml::writer::{Width, Writer};

    /// The fields of an audio track that decide its configuration.
    #[derive(Clone, Debug, Default)]
    struct Declared {
        name: &'static str,
        codec_id: &'static str,
        private: Option<Vec<u8>>,
        rate: Option<f64>,
        channels: Option<u64>,
        bits: Option<u64>,
    }

    impl Declared {
        fn config(&self) -> Result<AudioConfig> {
            let tracks = self.tracks();
            AudioConfig::of_track(&tracks[0], &tracks)
        }

        fn tracks(&self) -> std::sync::Arc<[Track]> {
            let mut document = Writer::new();
            document.master(id::EBML, Width::Minimal, |header| header.text(id::DOC_TYPE, "matroska"));
            document.master(id::SEGMENT, Width::Minimal, |segment| {
                segment.master(id::TRACKS, Width::Minimal, |tracks| {
                    tracks.master(id::TRACK_ENTRY, Width::Minimal, |entry| {
                        entry.uint(id::TRACK_NUMBER, 7);
                        entry.uint(id::TRACK_TYPE, 2);
                        entry.text(id::NAME, self.name);
                        entry.text(id::CODEC_ID, self.codec_id);
                        if let Some(private) = &self.private {
                            entry.binary(id::CODEC_PRIVATE, private);
                        }
                        entry.master(id::AUDIO, Width::Minimal, |audio| {
                            let fields = [(id::CHANNELS, self.channels), (id::BIT_DEPTH, self.bits)];
                            for (id, value) in fields.into_iter().filter_map(|(id, value)| Some((id, value?))) {
                                audio.uint(id, value);
                            }
                            if let Some(rate) = self.rate {
                                audio.float(id::SAMPLING_FREQUENCY, rate);
                            }
                        });
                    });
                });
                segment.master(id::CLUSTER, Width::Minimal, |cluster| {
                    cluster.uint(id::TIMESTAMP, 0);
                    cluster.binary(id::SIMPLE_BLOCK, &[0x87, 0, 0, 0x80, 1]);
                });
            });
            let mut body = FragmentStream::new(document.as_bytes());
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let fragment = runtime.block_on(body.try_next()).unwrap().unwrap();
            std::sync::Arc::clone(fragment.tracks())
        }
    }

    fn wave_format(tag: u16, channels: u16, rate: u32, bits: u16, length: usize) -> Option<Vec<u8>> {
        let mut fields = Vec::new();
        for field in [tag, channels] {
            fields.extend_from_slice(&field.to_le_bytes());
        }
        fields.extend_from_slice(&rate.to_le_bytes());
        fields.extend_from_slice(&[0; 6]);
        fields.extend_from_slice(&bits.to_le_bytes());
        fields.extend_from_slice(&[0, 0]);
        fields.truncate(length);
        Some(fields)
    }

    #[test]
    fn every_codec_is_described() {
        let of = |codec_id, private| Declared { codec_id, name: "microphone", private, ..Declared::default() };
        let pcm = |codec_id, bits| Declared { rate: Some(44_100.0), channels: Some(2), bits, ..of(codec_id, None) };
        let opus = [&b"OpusHead"[..], &[1, 2, 0x38, 1, 0x80, 0x3E, 0, 0, 0, 0, 0]].concat();
        for (declared, expected) in [
            (of("A_AAC", Some(vec![0x11, 0x90])), ("mp4a.40.2", 48_000, 2, 16)),
            (of("A_AAC", Some(vec![0x2B, 0x11, 0x88, 0])), ("mp4a.40.5", 48_000, 2, 16)),
            (of("A_AAC", Some(vec![0xEB, 0x09, 0x88, 0])), ("mp4a.40.29", 48_000, 2, 16)),
            (of("A_AAC", Some(vec![0xF8, 0xE6, 0x20, 0])), ("mp4a.40.39", 48_000, 1, 16)),
            (of("A_MS/ACM", wave_format(6, 1, 8000, 8, 18)), ("alaw", 8000, 1, 16)),
            (of("A_MS/ACM", wave_format(7, 2, 16_000, 8, 16)), ("ulaw", 16_000, 2, 16)),
            (of("A_MS/ACM", wave_format(1, 1, 8000, 16, 16)), ("sowt", 8000, 1, 16)),
            (of("A_OPUS", Some(opus)), ("opus", 48_000, 2, 16)),
            (pcm("A_PCM/INT/LIT", Some(16)), ("sowt", 44_100, 2, 16)),
            (pcm("A_PCM/INT/LIT", None), ("sowt", 44_100, 2, 16)),
            (pcm("A_PCM/INT/BIG", Some(16)), ("twos", 44_100, 2, 16)),
            (pcm("A_PCM/INT/LIT", Some(24)), ("in24", 44_100, 2, 24)),
            (pcm("A_PCM/INT/LIT", Some(8)), ("raw ", 44_100, 2, 8)),
        ] {
            let config = declared.config().unwrap();
            let (text, rate, channels, bits) = expected;
            assert_eq!(config.codec_string(), text, "{declared:?}");
            assert_eq!((config.sample_rate(), config.channels(), config.bits_per_sample()), (rate, channels, bits));
        }
    }

    #[test]
    fn amazon_connect_is_pcm_whatever_it_declares() {
        let named = |name, codec_id, private| Declared { name, codec_id, private, ..Declared::default() };
        let connect = Some(vec![0x11, 0x90]);
        for declared in [
            named("AUDIO_FROM_CUSTOMER", "A_AAC", connect.clone()),
            named("AUDIO_TO_CUSTOMER", "", None),
            named("Track_audio/L16", "A_AAC", connect.clone()),
            named("", "A_AAC", connect),
        ] {
            let config = declared.config().unwrap();
            assert_eq!(config.codec(), AudioCodec::Pcm { bits: 16, is_big_endian: false }, "{declared:?}");
            assert_eq!((config.sample_rate(), config.channels()), (8000, 1));
        }
        let camera = Declared { rate: Some(8000.0), ..named("", "A_AAC", Some(vec![0x15, 0x88])) };
        assert_eq!(camera.config().unwrap().codec(), AudioCodec::Aac { object_type: 2 });
    }

    #[test]
    fn what_cannot_be_described_says_why() {
        let of = |codec_id, private| Declared { codec_id, name: "microphone", private, ..Declared::default() };
        let pcm = Declared { rate: Some(8000.0), ..of("A_PCM/INT/LIT", None) };
        for (declared, text) in [
            (of("A_VORBIS", None), "unsupported: the audio codec \"A_VORBIS\" is not known"),
            (of("A_MS/ACM", wave_format(85, 2, 44_100, 0, 18)), "unsupported: the audio format 85"),
            (of("A_MS/ACM", wave_format(6, 1, 8000, 8, 14)), "fewer than 16 bytes"),
            (of("A_MS/ACM", None), "fewer than 16 bytes"),
            (of("A_MS/ACM", wave_format(6, 0, 8000, 8, 18)), "0 channels at 8000 Hz"),
            (of("A_MS/ACM", wave_format(1, 1, 8000, 12, 18)), "PCM of 12 bits"),
            (of("A_AAC", None), "has no codec private data"),
            (of("A_AAC", Some(vec![0])), "not an AudioSpecificConfig"),
            (of("A_OPUS", Some(b"OpusHead".to_vec())), "not an OpusHead"),
            (of("A_PCM/INT/LIT", None), "does not declare its sampling frequency"),
            (Declared { bits: Some(20), ..pcm.clone() }, "samples of 20 bits"),
            (Declared { rate: Some(f64::NAN), ..pcm.clone() }, "at 0 Hz"),
            (Declared { channels: Some(1 << 20), ..pcm }, "0 channels"),
        ] {
            let error = declared.config().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("track 7"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_private_data_panics(
            codec_id in proptest::sample::select(vec!["A_AAC", "A_MS/ACM", "A_OPUS", "A_PCM/INT/LIT", "A_PCM/INT/BIG"]),
            start in proptest::sample::select(vec![&b""[..], b"OpusHead", &[6, 0, 1, 0], &[0x11, 0x90, 0x56, 0xE5]]),
            rest in proptest::collection::vec(any::<u8>(), 0..40),
            rate: f64,
            channels: u64,
            bits: u64,
        ) {
            let private = Some([start, &rest].concat());
            let declared = Declared { name: "", codec_id, private, rate: Some(rate), channels: Some(channels), bits: Some(bits) };
            if let Ok(config) = declared.config() {
                prop_assert!(config.sample_rate() > 0 && config.channels() > 0);
                prop_assert!(!config.codec_string().is_empty());
                let _ = (config.samples_in(&rest), config.bytes_per_frame());
                let _ = config.to_pcm16(&rest.clone().into());
                let _ = config.to_adts(&rest);
            }
        }
    }
}
