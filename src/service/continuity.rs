//! Whether a fragment goes on where the one before it ended.

use std::sync::Arc;
use std::time::Duration;

use crate::fragment::{Discontinuity, FragmentHeader, Timestamp, Track};

/// Compares each fragment with the one before it.
#[derive(Debug)]
pub(crate) struct Continuity {
    tolerance: Duration,
    before: Option<Before>,
}

#[derive(Debug)]
struct Before {
    tracks: Arc<[Track]>,
    timecode_ns: i64,
    producer_time: Option<Timestamp>,
    /// Zero if that cannot be told.
    duration: Duration,
    /// From the start of the one before it to its own, or of others before, if there was a gap.
    step: Duration,
}

/// The time from one to the other, if it went forward.
fn forward(from: i64, to: i64) -> Result<Duration, Duration> {
    let distance = Duration::from_nanos(to.abs_diff(from));
    if to >= from { Ok(distance) } else { Err(distance) }
}

impl Continuity {
    /// Time between two fragments is a gap if it is more than this.
    pub(crate) fn new(tolerance: Duration) -> Self {
        Self { tolerance, before: None }
    }

    /// A fragment begins: notes in what it does not go on.
    pub(crate) fn begins(&mut self, header: &FragmentHeader, noted: &mut Vec<Discontinuity>) {
        let mut step = Duration::ZERO;
        if let Some(before) = self.before.take() {
            if !Arc::ptr_eq(&before.tracks, header.tracks()) && before.tracks != *header.tracks() {
                noted.push(Discontinuity::TracksChanged { before: Arc::clone(&before.tracks) });
            }
            let timeline = forward(before.timecode_ns, header.timecode_ns());
            let clock = before.producer_time.zip(header.producer_time());
            match clock.map(|(from, to)| forward(from.as_nanos(), to.as_nanos())) {
                Some(Err(by)) => noted.push(Discontinuity::TimelineReset { by }),
                Some(Ok(distance)) => {
                    if let Err(by) = timeline {
                        noted.push(Discontinuity::TimelineReset { by });
                    }
                    // One picture a fragment says nothing of how long it lasts: the one before does.
                    let expected = if before.duration.is_zero() { before.step } else { before.duration };
                    let gap = distance.saturating_sub(expected);
                    let is_gap = gap > self.tolerance && !expected.is_zero();
                    if is_gap {
                        noted.push(Discontinuity::Gap { duration: gap });
                    }
                    step = if is_gap { before.step } else { distance };
                }
                None => {
                    if let Err(by) = timeline {
                        noted.push(Discontinuity::TimelineReset { by });
                    }
                }
            }
        }
        self.before = Some(Before {
            tracks: Arc::clone(header.tracks()),
            timecode_ns: header.timecode_ns(),
            producer_time: header.producer_time(),
            duration: Duration::ZERO,
            step,
        });
    }

    /// How long the fragment that began last turned out to be. What one that is damaged says of that is
    /// not believed if it is longer than those before.
    pub(crate) fn lasted(&mut self, duration: Duration, is_whole: bool) {
        if let Some(before) = &mut self.before {
            let is_odd = !is_whole && !before.step.is_zero() && duration > before.step;
            before.duration = if is_odd { before.step } else { duration };
        }
    }
}
