//! Tracks.

use std::sync::Arc;

use bytes::Bytes;

use crate::ebml::{Element, Elements, id};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// What a track carries (RFC 9559 section 5.1.4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TrackKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Something else, by its number in the RFC.
    Other(u64),
}

impl TrackKind {
    /// `audio`, `video`, or what the RFC calls it.
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

/// A track, as the document of a fragment declares it.
///
/// Producers are free in what they fill in, and wrong now and then: Amazon Connect calls its raw
/// PCM `A_AAC` and declares no sampling frequency.
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
    sampling_frequency: Option<f64>,
    channels: Option<u64>,
    bit_depth: Option<u64>,
}

impl Track {
    /// The number by which blocks refer to it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its unique id.
    pub fn uid(&self) -> Option<u64> {
        self.uid
    }

    /// What it carries.
    pub fn kind(&self) -> TrackKind {
        self.kind
    }

    /// Its name, without padding: `AUDIO_FROM_CUSTOMER` for example.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The Matroska codec id, such as `V_MPEG4/ISO/AVC`, without padding; empty if none was given.
    pub fn codec_id(&self) -> &str {
        &self.codec_id
    }

    /// What the decoder needs to know beforehand: the avcC record for H.264, the
    /// AudioSpecificConfig for AAC.
    pub fn codec_private(&self) -> Option<&Bytes> {
        self.codec_private.as_ref()
    }

    /// Nanoseconds a frame.
    pub fn default_duration_ns(&self) -> Option<u64> {
        self.default_duration
    }

    /// Pixels a line.
    pub fn width(&self) -> Option<u64> {
        self.width
    }

    /// Lines.
    pub fn height(&self) -> Option<u64> {
        self.height
    }

    /// Hertz.
    pub fn sampling_frequency(&self) -> Option<f64> {
        self.sampling_frequency
    }

    /// Audio channels.
    pub fn channels(&self) -> Option<u64> {
        self.channels
    }

    /// Bits a sample.
    pub fn bit_depth(&self) -> Option<u64> {
        self.bit_depth
    }

    /// Reads the payload of a Tracks element that stands at `offset`.
    pub(crate) fn read_all(payload: &[u8], offset: u64, limits: &Limits) -> Result<Arc<[Self]>> {
        let mut tracks = Vec::new();
        for entry in Elements::at(payload, offset) {
            let entry = entry?;
            if entry.id() != id::TRACK_ENTRY {
                continue;
            }
            if tracks.len() >= limits.tracks as usize {
                return Err(Error::limit(format!("more than {} tracks", limits.tracks)).at(entry.offset()));
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
            sampling_frequency: None,
            channels: None,
            bit_depth: None,
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
                // Copied: tracks outlive the fragment that they came with.
                id::CODEC_PRIVATE => track.codec_private = Some(Bytes::copy_from_slice(element.payload())),
                id::DEFAULT_DURATION => track.default_duration = value.as_uint(),
                id::VIDEO | id::AUDIO => track.read_settings(&element)?,
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
                id::SAMPLING_FREQUENCY => self.sampling_frequency = value.as_float(),
                id::CHANNELS => self.channels = value.as_uint(),
                id::BIT_DEPTH => self.bit_depth = value.as_uint(),
                _ => {}
            }
        }
        Ok(())
    }
}
