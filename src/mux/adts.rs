//! [`Adts`]: AAC as a stream of ADTS frames.

use super::audio_track::AudioTrack;
use super::codec::located;
use super::{Finish, Muxer, Placed};
use crate::error::Result;

/// Writes the AAC of one track, a header before each frame.
///
/// The format has no times. Gaps close, and frames that overlap follow each other.
#[derive(Debug)]
pub(crate) struct Adts {
    track: AudioTrack,
}

impl Muxer for Adts {
    /// The number of the track. Default: the first audio track.
    type Options = Option<u64>;

    fn begin(track: &Option<u64>, first: &Placed, _: &mut Vec<u8>) -> Result<Self> {
        let track = AudioTrack::of(first, *track)?;
        // A configuration without a place is an error before a file is made.
        track.config.adts_fields().map_err(|error| error.on_track(track.number))?;
        Ok(Self { track })
    }

    fn push(&mut self, placed: &Placed, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        for sample in placed.of_track(self.track.number) {
            let frame = sample.packet.payload();
            // A header without a frame is an error for decoders.
            if frame.is_empty() {
                continue;
            }
            match self.track.config.adts_header(frame) {
                Ok(header) => out.extend(header.iter().flatten()),
                Err(error) => {
                    out.truncate(start);
                    return Err(located(error, &sample.packet));
                }
            }
            out.extend_from_slice(frame);
        }
        Ok(())
    }

    fn finish(self) -> Finish {
        Finish::default()
    }
}
