//! The continuity of consecutive fragments.

use std::sync::Arc;
use std::time::Duration;

use super::{Discontinuity, FragmentHeader, Timestamp, Track};

/// Compares each fragment with the previous one.
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
    /// Zero if it is unknown.
    duration: Duration,
    /// The time from the start of the previous fragment to the start of this one. After a gap, it is kept from earlier
    /// fragments.
    step: Duration,
}

/// Returns the time between two instants: `Ok` forward, `Err` backward.
fn forward(from: i64, to: i64) -> Result<Duration, Duration> {
    let distance = Duration::from_nanos(to.abs_diff(from));
    if to >= from { Ok(distance) } else { Err(distance) }
}

impl Continuity {
    /// Reports a gap if there is more than `tolerance` between two fragments.
    pub(crate) fn new(tolerance: Duration) -> Self {
        Self { tolerance, before: None }
    }

    /// Notes how a fragment that begins differs from the end of the previous one.
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
                    // A fragment of one frame has no duration of its own.
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

    /// Sets the duration of the fragment that began last.
    ///
    /// The duration of a damaged fragment is ignored if it is longer than the step between earlier fragments.
    pub(crate) fn lasted(&mut self, duration: Duration, is_complete: bool) {
        if let Some(before) = &mut self.before {
            let is_implausible = !is_complete && !before.step.is_zero() && duration > before.step;
            before.duration = if is_implausible { before.step } else { duration };
        }
    }
}
