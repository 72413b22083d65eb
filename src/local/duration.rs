//! How long media lasts.

use std::time::Duration;

use crate::fragment::{Block, Fragment};

/// How long these blocks of a fragment last from `start` on, in nanoseconds of their timeline: up to
/// the last of each track, and then as long as a frame of it is declared to be, or as it took from
/// the one before.
pub(super) fn duration<'a>(fragment: &Fragment, blocks: impl Iterator<Item = Block<'a>>, start: i64) -> Duration {
    let mut tracks: Vec<(u64, i64, i64)> = Vec::new();
    for block in blocks {
        let time = block.timecode_ns();
        match tracks.iter_mut().find(|(track, ..)| *track == block.track()) {
            Some((_, last, step)) => (*last, *step) = (time.max(*last), time.saturating_sub(*last).saturating_abs()),
            None => tracks.push((block.track(), time, 0)),
        }
    }
    let ends = tracks.into_iter().map(|(track, last, step)| {
        let declared = fragment.track(track).and_then(|track| i64::try_from(track.default_duration_ns()?).ok());
        last.saturating_add(declared.unwrap_or(step)).saturating_sub(start)
    });
    Duration::from_nanos(u64::try_from(ends.max().unwrap_or(0)).unwrap_or(0))
}
