//! How long media lasts.

use std::time::Duration;

use super::{Block, Fragment, FragmentHeader, Track};

/// How far the media of each track reaches, block by block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// Number, time of the last block, distance to the one before it.
    tracks: Vec<(u64, i64, i64)>,
}

impl Extent {
    /// Takes in a block or packet of a track at a time in nanoseconds on the timeline.
    pub(crate) fn add(&mut self, track: u64, time: i64) {
        match self.tracks.iter_mut().find(|(number, ..)| *number == track) {
            Some((_, last, step)) => (*last, *step) = (time.max(*last), time.saturating_sub(*last).saturating_abs()),
            None => self.tracks.push((track, time, 0)),
        }
    }

    /// From `start` up to the last of each track, and then as long as a frame of it is declared to
    /// be, or as it took from the one before.
    pub(crate) fn duration(&self, header: &FragmentHeader, start: i64) -> Duration {
        let ends = self.tracks.iter().map(|(number, last, step)| {
            let declared = header.track(*number).and_then(Track::default_duration_ns);
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
    /// How long its media lasts: up to the last block of each track, and then as long as a frame of
    /// the track is declared to be, or as it took from the one before. Nothing states it; zero for a
    /// single block of a track that declares nothing.
    pub fn duration(&self) -> Duration {
        Extent::of(self.blocks()).duration(self.header(), self.header().timecode_ns())
    }
}
