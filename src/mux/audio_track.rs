//! [`AudioTrack`]: the one track of an audio file.

use super::Placed;
use super::codec::audio::{AudioConfig, is_audio};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::FragmentNumber;

/// The track that an audio file has.
#[derive(Debug)]
pub(super) struct AudioTrack {
    pub(super) number: u64,
    pub(super) config: AudioConfig,
}

impl AudioTrack {
    /// Returns the track with this number, or else the first audio track.
    ///
    /// # Errors
    /// If there is no such track, or its codec is not known.
    pub(super) fn of(first: &Placed, number: Option<u64>) -> Result<Self> {
        let tracks = first.header.tracks();
        let is_wanted = |wanted: u64| number.is_none_or(|number| number == wanted);
        let track = tracks.iter().find(|track| is_wanted(track.number()) && is_audio(track, tracks));
        let located = |error: Error| error.in_fragment(first.header.number().map(FragmentNumber::as_str));
        let track = track.ok_or_else(|| {
            let found = tracks.iter().map(|track| format!("{} ({})", track.number(), track.codec_id()));
            let found = found.collect::<Vec<_>>().join(", ");
            let what = number.map_or_else(|| "no audio track".into(), |number| format!("no audio track {number}"));
            located(Error::new(ErrorKind::Unsupported, format!("the fragment has {what}; its tracks: {found}")))
        })?;
        let config = AudioConfig::of_track(track, tracks).map_err(located)?;
        Ok(Self { number: track.number(), config })
    }
}
