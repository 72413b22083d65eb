//! Tracks and their settings (RFC 9559 section 5.1.4).

use std::sync::Arc;

use bytes::Bytes;

use crate::ebml::{Element, Elements, id};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// The type of media in a track (RFC 9559 section 5.1.4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
    /// Another type, by its number in the RFC.
    Other(u64),
}

impl TrackKind {
    /// Returns the number from the RFC.
    pub(crate) fn number(self) -> u64 {
        match self {
            Self::Video => 1,
            Self::Audio => 2,
            Self::Other(number) => number,
        }
    }

    /// Returns the name from the RFC, such as `audio`, `video` or `subtitle`.
    ///
    /// Returns `unknown` for a number that the RFC does not define.
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Other(3) => "complex",
            Self::Other(16) => "logo",
            Self::Other(17) => "subtitle",
            Self::Other(18) => "buttons",
            Self::Other(32) => "control",
            Self::Other(33) => "metadata",
            Self::Other(_) => "unknown",
        }
    }
}

/// A track, as the MKV document of a fragment declares it.
///
/// Producers choose which fields to set, and some set wrong values. For example, Amazon Connect
/// declares its raw PCM as `A_AAC` and sets no sampling frequency.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    number: u64,
    uid: Option<u64>,
    kind: TrackKind,
    name: Option<Box<str>>,
    codec_id: Box<str>,
    codec_private: Option<Bytes>,
    default_duration: Option<u64>,
    width: Option<u64>,
    height: Option<u64>,
    display: Display,
    sampling_frequency: Option<f64>,
    channels: Option<u64>,
    bit_depth: Option<u64>,
    encoding: Option<Encoding>,
}

/// The display settings of a video track (RFC 9559 section 5.1.4.1.28).
#[derive(Clone, Debug, Default, PartialEq)]
struct Display {
    width: Option<u64>,
    height: Option<u64>,
    unit: u64,
    roll: Option<f64>,
}

/// The content encoding of a track (RFC 9559 section 5.1.4.1.31).
///
/// It is undone when packets are read.
#[derive(Clone, Debug, PartialEq)]
enum Encoding {
    /// These bytes were removed from the start of every frame.
    Stripped(Bytes),
    /// An encoding that this crate does not undo.
    Unsupported(&'static str),
}

impl Track {
    /// Returns the track number, which blocks refer to.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the unique id of the track, or `None` if it is not declared.
    pub fn uid(&self) -> Option<u64> {
        self.uid
    }

    /// Returns the type of media in the track.
    pub fn kind(&self) -> TrackKind {
        self.kind
    }

    /// Returns the name without trailing NULs, for example `AUDIO_FROM_CUSTOMER`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the Matroska codec id without trailing NULs, for example `V_MPEG4/ISO/AVC`.
    ///
    /// The text is empty if the track declares no codec.
    pub fn codec_id(&self) -> &str {
        &self.codec_id
    }

    /// Returns the data that initializes the decoder.
    ///
    /// This is the avcC record for H.264, the hvcC record for H.265, and the AudioSpecificConfig for AAC.
    pub fn codec_private(&self) -> Option<&Bytes> {
        self.codec_private.as_ref()
    }

    /// Returns the default duration of a frame, in nanoseconds.
    pub fn default_duration_ns(&self) -> Option<u64> {
        self.default_duration
    }

    /// Returns the width of the coded pictures, in pixels.
    pub fn width(&self) -> Option<u64> {
        self.width
    }

    /// Returns the height of the coded pictures, in pixels.
    pub fn height(&self) -> Option<u64> {
        self.height
    }

    /// Returns the ratio of a pixel's width to its height, as a reduced fraction.
    ///
    /// Returns `None` if the track does not declare PixelWidth, PixelHeight, DisplayWidth and DisplayHeight, or
    /// if the unit of the display size is unknown.
    pub fn sample_aspect_ratio(&self) -> Option<(u32, u32)> {
        let Display { width: Some(display_width), height: Some(display_height), unit, .. } = self.display else {
            return None;
        };
        // Units 0 to 3 are the same for width and height, so they cancel. Unit 4 is "unknown".
        let (width, height) = (self.width.filter(|_| unit <= 3)?, self.height?);
        let wide = u128::from(display_width) * u128::from(height);
        let high = u128::from(display_height) * u128::from(width);
        let common = greatest_common_divisor(wide, high);
        let reduced = |number: u128| u32::try_from(number.checked_div(common)?).ok().filter(|&number| number > 0);
        Some((reduced(wide)?, reduced(high)?))
    }

    /// Returns the rotation to apply before display, in degrees counter-clockwise.
    pub fn rotation(&self) -> Option<f64> {
        self.display.roll
    }

    /// Returns the sampling frequency of audio, in hertz.
    pub fn sampling_frequency(&self) -> Option<f64> {
        self.sampling_frequency
    }

    /// Returns the number of audio channels.
    pub fn channels(&self) -> Option<u64> {
        self.channels
    }

    /// Returns the number of bits per audio sample.
    pub fn bit_depth(&self) -> Option<u64> {
        self.bit_depth
    }

    pub(crate) fn is_encoded(&self) -> bool {
        self.encoding.is_some()
    }

    /// Returns the bytes that header stripping removed from the start of every frame.
    pub(crate) fn stripped(&self) -> Option<&Bytes> {
        match &self.encoding {
            Some(Encoding::Stripped(bytes)) => Some(bytes),
            _ => None,
        }
    }

    pub(crate) fn unsupported_encoding(&self) -> Option<&'static str> {
        match self.encoding {
            Some(Encoding::Unsupported(what)) => Some(what),
            _ => None,
        }
    }

    /// Reads the payload of the Tracks element at `offset` in the body.
    pub(crate) fn read_all(payload: &[u8], offset: u64, limits: &Limits) -> Result<Arc<[Self]>> {
        let mut tracks = Vec::new();
        for entry in Elements::at(payload, offset) {
            let entry = entry?;
            if entry.id() != id::TRACK_ENTRY {
                continue;
            }
            if tracks.len() >= limits.tracks as usize {
                return Err(Error::limit(format!(
                    "more than the {} tracks of Limits::tracks in one document",
                    limits.tracks
                ))
                .at(entry.offset()));
            }
            tracks.push(Self::read(&entry)?);
        }
        Ok(tracks.into())
    }

    fn read(entry: &Element<'_>) -> Result<Self> {
        let mut track = Self {
            number: 0,
            uid: None,
            kind: TrackKind::Other(0),
            name: None,
            codec_id: Box::default(),
            codec_private: None,
            default_duration: None,
            width: None,
            height: None,
            display: Display::default(),
            sampling_frequency: None,
            channels: None,
            bit_depth: None,
            encoding: None,
        };
        for element in entry.children() {
            let element = element?;
            let value = element.value();
            match element.id() {
                id::TRACK_NUMBER => track.number = value.as_uint().unwrap_or(0),
                id::TRACK_UID => track.uid = value.as_uint(),
                id::TRACK_TYPE => {
                    track.kind = match value.as_uint().unwrap_or(0) {
                        1 => TrackKind::Video,
                        2 => TrackKind::Audio,
                        other => TrackKind::Other(other),
                    }
                }
                id::NAME => track.name = value.as_text().map(std::convert::Into::into),
                id::CODEC_ID => track.codec_id = value.as_text().unwrap_or_default().into(),
                // Copied, because later fragments share the tracks and must not keep this buffer alive.
                id::CODEC_PRIVATE => track.codec_private = Some(Bytes::copy_from_slice(element.payload())),
                id::DEFAULT_DURATION => track.default_duration = value.as_uint(),
                id::VIDEO | id::AUDIO => track.read_settings(&element)?,
                id::CONTENT_ENCODINGS => track.encoding = Encoding::read(&element)?,
                _ => {}
            }
        }
        Ok(track)
    }

    fn read_settings(&mut self, settings: &Element<'_>) -> Result<()> {
        for element in settings.children() {
            let element = element?;
            let value = element.value();
            match element.id() {
                id::PIXEL_WIDTH => self.width = value.as_uint(),
                id::PIXEL_HEIGHT => self.height = value.as_uint(),
                id::DISPLAY_WIDTH => self.display.width = value.as_uint(),
                id::DISPLAY_HEIGHT => self.display.height = value.as_uint(),
                id::DISPLAY_UNIT => self.display.unit = value.as_uint().unwrap_or(0),
                id::PROJECTION => {
                    let roll = element.children().find("ProjectionPoseRoll").next().transpose()?;
                    self.display.roll = roll.and_then(|roll| roll.value().as_float());
                }
                id::SAMPLING_FREQUENCY => self.sampling_frequency = value.as_float(),
                id::CHANNELS => self.channels = value.as_uint(),
                id::BIT_DEPTH => self.bit_depth = value.as_uint(),
                _ => {}
            }
        }
        Ok(())
    }
}

fn greatest_common_divisor(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The most bytes that header stripping may add to a frame. It is meant for a few bytes.
const MAX_STRIPPED_BYTES: usize = 4 << 10;

impl Encoding {
    fn read(encodings: &Element<'_>) -> Result<Option<Self>> {
        let mut steps = Vec::new();
        for encoding in encodings.children() {
            let encoding = encoding?;
            if encoding.id() != id::CONTENT_ENCODING {
                continue;
            }
            let uint = |path: &str, default: u64| -> Result<u64> {
                let found = encoding.children().find(path).next().transpose()?;
                Ok(found.and_then(|element| element.value().as_uint()).unwrap_or(default))
            };
            let scope = uint("ContentEncodingScope", 1)?;
            let step = match (uint("ContentEncodingType", 0)?, uint("ContentCompression/ContentCompAlgo", 0)?) {
                _ if scope != 1 => Self::Unsupported("encoded with a scope other than their blocks"),
                (0, 0) => Self::Unsupported("compressed with zlib"),
                (0, 1) => Self::Unsupported("compressed with bzip2"),
                (0, 2) => Self::Unsupported("compressed with LZO"),
                (0, 3) => {
                    let settings =
                        encoding.children().find("ContentCompression/ContentCompSettings").next().transpose()?;
                    let bytes = settings.map_or(&[][..], |settings| settings.payload());
                    // These bytes precede every frame, so a large value would amplify a small input.
                    match bytes.len() {
                        0..=MAX_STRIPPED_BYTES => Self::Stripped(Bytes::copy_from_slice(bytes)),
                        _ => Self::Unsupported("stripped of headers longer than 4 KiB"),
                    }
                }
                (1, _) => Self::Unsupported("encrypted"),
                _ => Self::Unsupported("encoded with an unknown algorithm"),
            };
            steps.push((uint("ContentEncodingOrder", 0)?, step));
        }
        steps.sort_by_key(|(order, _)| *order);
        let mut stripped = Vec::new();
        for (_, step) in &steps {
            match step {
                // The bytes that were removed first come first in the frame.
                Self::Stripped(bytes) => stripped.extend_from_slice(bytes),
                Self::Unsupported(what) => return Ok(Some(Self::Unsupported(what))),
            }
        }
        Ok((!stripped.is_empty()).then(|| Self::Stripped(stripped.into())))
    }
}
