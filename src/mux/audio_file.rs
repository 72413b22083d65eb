//! [`AudioFile`]: a file with one audio track, as ADTS or WAV.

use super::adts::Adts;
use super::wav::Wav;
use super::{Fill, Finish, Muxer, Placed};
use crate::error::{Error, Result};

/// The options of an audio file.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AudioOptions {
    /// `None` if the name of the file does not tell.
    pub(crate) container: Option<AudioContainer>,
    /// The number of the track. Default: the first audio track.
    pub(crate) track: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AudioContainer {
    Adts,
    Wav,
}

/// Writes one audio file.
#[derive(Debug)]
pub(crate) enum AudioFile {
    Adts(Adts),
    Wav(Wav),
}

impl Muxer for AudioFile {
    type Options = AudioOptions;

    fn begin(options: &AudioOptions, first: &Placed, out: &mut Vec<u8>) -> Result<Self> {
        match options.container {
            Some(AudioContainer::Adts) => Ok(Self::Adts(Adts::begin(&options.track, first, out)?)),
            Some(AudioContainer::Wav) => Ok(Self::Wav(Wav::begin(&options.track, first, out)?)),
            None => {
                let message = "the name of an audio file ends in .wav for PCM and G.711, or in .aac for AAC";
                Err(Error::invalid_argument(message))
            }
        }
    }

    fn push(&mut self, placed: &Placed, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Adts(adts) => adts.push(placed, out),
            Self::Wav(wav) => wav.push(placed, out),
        }
    }

    fn finish(self) -> Finish {
        match self {
            Self::Adts(adts) => adts.finish(),
            Self::Wav(wav) => wav.finish(),
        }
    }

    fn fill_before(&self, time: i64) -> Fill {
        match self {
            Self::Adts(adts) => adts.fill_before(time),
            Self::Wav(wav) => wav.fill_before(time),
        }
    }

    fn max_bytes(&self) -> u64 {
        match self {
            Self::Adts(adts) => adts.max_bytes(),
            Self::Wav(wav) => wav.max_bytes(),
        }
    }
}
