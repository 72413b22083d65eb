//! Segments of HLS and DASH: MP4 of one track of one fragment.
//!
//! ```text
//! init    ftyp moov         once for each configuration of a codec
//! media   moof mdat         the samples of a fragment, at any place on a player's timeline
//! ```

use mp4_atom::{FourCC, Ftyp, Mfhd, Moof};

use super::boxes::{encode, header};
use super::track::{Last, Mp4Track, Run};
use super::{Brand, movie};
use crate::error::{Error, Result};
use crate::mux::Placed;

/// The samples of one track of one fragment.
pub(crate) struct Segment {
    track: Mp4Track,
    run: Run,
}

/// The times of a segment, in ticks from the start of the fragment's media.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Ticks per second.
    pub(crate) timescale: u32,
    pub(crate) start: i64,
    /// When the last sample is presented.
    pub(crate) last: i64,
    /// When the last sample ends.
    pub(crate) end: i64,
    /// The delay from decoding to presentation, which reordered pictures need.
    pub(crate) delay: i64,
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    /// True if samples last as long as their codec says, whatever the times of their blocks.
    pub(crate) has_own_pace: bool,
}

#[cfg(feature = "ts")]
/// A sample, with times at 90,000 a second.
pub(crate) struct TsSample {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) is_key: bool,
    /// Annex B or ADTS.
    pub(crate) bytes: bytes::Bytes,
}

impl Segment {
    /// Reads a track of a fragment that was placed alone.
    ///
    /// With `repeats_sets`, parameter sets are put before each key frame. Players that ignore a second `moov` need it after
    /// a change of the codec private data.
    ///
    /// # Errors
    /// If the track is not declared, has no place in MP4, or has a packet that cannot be read.
    pub(crate) fn of(placed: &Placed, number: u64, repeats_sets: bool) -> Result<Self> {
        let declared = placed.header.track(number);
        let declared = declared.ok_or_else(|| Error::malformed("the fragment does not declare the track"))?;
        let mut track = Mp4Track::new(1, declared, Brand::Mp4, placed)?;
        if repeats_sets {
            track.entry.repeat_sets();
        }
        let run = track.run(placed)?;
        Ok(Self { track, run })
    }

    /// Returns the times and the size. `None` if the track has no samples.
    pub(crate) fn extent(&self) -> Option<Extent> {
        let audio = self.track.entry.audio();
        // Samples of the run are presented later by the delay.
        let presented = |dts: i64, offset: i32| dts + i64::from(offset) - self.track.delay;
        let start = self.run.entries.iter().map(|entry| presented(entry.dts, entry.offset)).min()?;
        let last = self.run.entries.iter().map(|entry| presented(Last::of(entry).dts, entry.offset)).max()?;
        let duration = self.run.entries.last().map_or(0, |entry| entry.duration);
        Some(Extent {
            timescale: self.track.timescale,
            start,
            last,
            end: last + i64::from(duration),
            delay: self.track.delay,
            samples: self.run.entries.iter().map(|entry| u64::from(entry.count)).sum(),
            bytes: self.run.bytes(),
            has_own_pace: audio.is_some_and(|config| config.aac().is_some() || config.bytes_per_frame().is_some()),
        })
    }

    /// Returns the codec as playlists name it (RFC 6381).
    pub(crate) fn codec_string(&self) -> String {
        self.track.entry.codec_string()
    }

    /// Returns true for audio.
    #[cfg(feature = "ts")]
    pub(crate) fn is_audio(&self) -> bool {
        self.track.entry.audio().is_some()
    }

    /// Returns the samples as MPEG-TS has them. `start` and `delay` are those of [`media`](Segment::media).
    ///
    /// # Errors
    /// If the track is neither H.264 nor AAC, or a packet cannot be read.
    #[cfg(feature = "ts")]
    pub(crate) fn into_ts(mut self, start: i64, delay: i64) -> Result<Vec<TsSample>> {
        self.shift(start, delay);
        let scale = |ticks: i64| {
            let scaled = i128::from(ticks) * 90_000 / i128::from(self.track.timescale.max(1));
            i64::try_from(scaled).unwrap_or(i64::MAX)
        };
        let samples = self.run.entries.iter().zip(&self.run.payloads).map(|(entry, payload)| {
            let (dts, pts) = (scale(entry.dts), scale(entry.dts.saturating_add(i64::from(entry.offset))));
            Ok(TsSample { pts, dts, is_key: entry.is_key, bytes: self.track.entry.to_ts(payload)? })
        });
        samples.collect()
    }

    /// Returns `ftyp` and `moov`.
    ///
    /// # Errors
    /// If a box cannot be written.
    pub(crate) fn init(mut self) -> Result<Vec<u8>> {
        // Decoding times begin well above zero, so that no edit list has to move them.
        self.track.delay = 0;
        let compatible_brands = [b"isom", b"iso6", b"mp41", b"dash"].map(FourCC::new).to_vec();
        let mut out = Vec::new();
        encode(&Ftyp { major_brand: FourCC::new(b"iso6"), minor_version: 0, compatible_brands }, &mut out)?;
        out.extend(movie::fragmented(&[self.track], 0)?.concat());
        Ok(out)
    }

    /// Returns `moof` and `mdat`.
    ///
    /// `start` is the time in ticks at which the media of the fragment begins for the player. `delay` is how much earlier
    /// samples are decoded than presented; all segments of a session have the same.
    ///
    /// # Errors
    /// If there is more media than a `moof` can describe.
    pub(crate) fn media(mut self, sequence_number: u32, start: i64, delay: i64) -> Result<Vec<u8>> {
        self.shift(start, delay);
        let mdat = header(b"mdat", self.run.bytes());
        let mut out = Vec::new();
        let mut size = 0;
        // The offset in a `moof` counts from its start, and does not change its size.
        for _ in 0..2 {
            out.clear();
            let too_large = |_| Error::limit("a fragment has more media than an MP4 fragment can hold: 2 GiB");
            let offset = i32::try_from(size + mdat.len()).map_err(too_large)?;
            let traf = vec![self.track.fragment(&self.run, offset)];
            encode(&Moof { mfhd: Mfhd { sequence_number }, traf }, &mut out)?;
            size = out.len();
        }
        out.extend_from_slice(&mdat);
        self.run.payloads.iter().for_each(|payload| out.extend_from_slice(payload));
        Ok(out)
    }

    /// Moves the samples to their place on the player's timeline.
    fn shift(&mut self, start: i64, delay: i64) {
        let later = delay.saturating_sub(self.track.delay).max(0);
        for entry in &mut self.run.entries {
            entry.dts = entry.dts.saturating_add(start.saturating_sub(self.track.delay).saturating_sub(later));
            // Audio is decoded as it is presented.
            if self.track.entry.audio().is_none() {
                entry.offset = entry.offset.saturating_add(i32::try_from(later).unwrap_or(i32::MAX));
            }
        }
    }
}
