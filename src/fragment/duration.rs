//! The duration of media.

use std::time::Duration;

use super::{Block, Fragment, FragmentHeader, Track};

/// The end of the media of each track, updated block by block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// Per track: number, time of the last block, distance to the previous block.
    tracks: Vec<(u64, i64, i64)>,
}

impl Extent {
    /// Adds a block or packet of a track. `time` is in nanoseconds on the timeline.
    pub(crate) fn add(&mut self, track: u64, time: i64) {
        match self.tracks.iter_mut().find(|(number, ..)| *number == track) {
            Some((_, last, step)) => (*last, *step) = (time.max(*last), time.saturating_sub(*last).saturating_abs()),
            None => self.tracks.push((track, time, 0)),
        }
    }

    /// Returns the time from `start` to the end of the last block of any track.
    ///
    /// A block lasts as long as the track's default duration, or else as the distance to the previous block.
    pub(crate) fn duration(&self, header: &FragmentHeader, start: i64) -> Duration {
        self.duration_in(header.tracks(), start)
    }

    /// Returns the same for media of these tracks.
    pub(crate) fn duration_in(&self, tracks: &[Track], start: i64) -> Duration {
        let ends = self.tracks.iter().map(|(number, last, step)| {
            let track = tracks.iter().find(|track| track.number() == *number);
            let declared = track.and_then(Track::default_duration_ns);
            let declared = declared.and_then(|duration| i64::try_from(duration).ok());
            last.saturating_add(declared.unwrap_or(*step)).saturating_sub(start)
        });
        Duration::from_nanos(u64::try_from(ends.max().unwrap_or(0)).unwrap_or(0))
    }

    pub(crate) fn of<'a>(blocks: impl Iterator<Item = Block<'a>>) -> Self {
        let mut extent = Self::default();
        blocks.for_each(|block| extent.add(block.track(), block.timecode_ns()));
        extent
    }
}

impl Fragment {
    /// Returns the duration of the media.
    ///
    /// No field states it, so it is calculated: from the start of the fragment to the last block of
    /// any track, plus the duration of that block. A block lasts as long as the default duration of
    /// its track, or else as the distance to the previous block. The duration is zero for a single
    /// block of a track without a default duration.
    pub fn duration(&self) -> Duration {
        Extent::of(self.blocks()).duration(self.header(), self.header().timecode_ns())
    }
}
