//! [`Timeline`]: places the packets of fragments on the time of one file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Placed, Sample};
use crate::fragment::{Fragment, FragmentHeader, Timestamp, Track};
use crate::packet::Packet;

/// How a recording treats the time between fragments in which there is no media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gaps {
    /// Keeps real time: the last picture stays until the gap ends.
    #[default]
    Keep,
    /// Closes gaps: the media after a gap follows the media before it.
    Close,
}

/// The reason why a fragment cannot continue a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// The tracks differ, for example in their codec private data.
    Tracks,
    /// The time of the media went back, or moved differently from the producer's clock.
    Reset,
    /// The gap is longer than the tables of MP4 can hold.
    LongGap,
}

/// The longest time without media that is a gap and not a part of the rhythm of the fragments.
const TOLERANCE: i64 = 500_000_000;

/// The largest difference between the producer's clock and the timeline from one fragment to the next.
const CLOCK_TOLERANCE: i64 = 1_000_000_000;

/// The longest gap in a file: 12 hours. MP4 stores durations in 32 bits, at 90,000 a second.
const LONGEST_GAP: i64 = 12 * 3_600_000_000_000;

/// The duration of a sample if nothing says how long it lasts.
const FALLBACK_DURATION: i64 = 1_000_000_000 / 30;

/// The packets of a fragment, and the time that they cover on the timeline of the producer.
#[derive(Debug)]
pub(crate) struct Media {
    header: Arc<FragmentHeader>,
    packets: Vec<Packet>,
    start: i64,
    /// The time of the last packet.
    last: i64,
}

impl Media {
    /// Returns the media of a fragment. `None` if it has no packets.
    pub(crate) fn of(fragment: &Fragment) -> Option<Self> {
        let packets: Vec<_> = fragment.packets().collect();
        let times = || packets.iter().map(Packet::timecode_ns);
        let (start, last) = (times().min()?, times().max()?);
        Some(Self { header: Arc::clone(fragment.header()), packets, start, last })
    }

    pub(crate) fn header(&self) -> &FragmentHeader {
        &self.header
    }
}

/// The time of one file.
#[derive(Debug)]
pub(crate) struct Timeline {
    gaps: Gaps,
    /// The time of the producer that is 0 in the file, as gaps are closed.
    origin: i64,
    lanes: BTreeMap<u64, Lane>,
    previous: Option<Previous>,
}

/// The fragment before the next one.
#[derive(Debug)]
struct Previous {
    tracks: Arc<[Track]>,
    start: i64,
    last: i64,
    end: i64,
    /// The producer's clock at `start`.
    clock: Option<Timestamp>,
}

/// The time of one track.
#[derive(Debug, Default)]
struct Lane {
    /// How much earlier pictures are decoded than presented, in nanoseconds.
    delay: i64,
    last_dts: Option<i64>,
    /// The last known distance between two samples.
    step: Option<i64>,
}

impl Timeline {
    pub(crate) fn new(gaps: Gaps) -> Self {
        Self { gaps, origin: 0, lanes: BTreeMap::new(), previous: None }
    }

    /// Returns why this media cannot continue the file. `None` if it can.
    pub(crate) fn split_before(&self, media: &Media) -> Option<Split> {
        let previous = self.previous.as_ref()?;
        let tracks = media.header.tracks();
        if !Arc::ptr_eq(&previous.tracks, tracks) && previous.tracks != *tracks {
            return Some(Split::Tracks);
        }
        let clock = previous.clock.zip(clock_at(&media.header, media.start));
        let differs = clock.is_some_and(|(before, now)| {
            let moved = now.as_nanos().saturating_sub(before.as_nanos());
            moved.saturating_sub(media.start.saturating_sub(previous.start)).saturating_abs() > CLOCK_TOLERANCE
        });
        if media.start < previous.start || media.start < previous.last.saturating_sub(TOLERANCE) || differs {
            return Some(Split::Reset);
        }
        (media.start.saturating_sub(previous.end) > LONGEST_GAP).then_some(Split::LongGap)
    }

    /// Returns the gap between the file so far and this media. `None` if there is none.
    pub(crate) fn gap_before(&self, media: &Media) -> Option<Duration> {
        let gap = media.start.saturating_sub(self.previous.as_ref()?.end);
        (gap > TOLERANCE).then(|| Duration::from_nanos(gap.unsigned_abs()))
    }

    /// Returns the time in the file at which this media would begin.
    pub(crate) fn elapsed(&self, media: &Media) -> Duration {
        self.since_origin(media.start.saturating_sub(self.closed_before(media)))
    }

    /// Returns the part of the gap before this media that is closed, in nanoseconds.
    fn closed_before(&self, media: &Media) -> i64 {
        let gap = self.gap_before(media).filter(|_| self.gaps == Gaps::Close);
        gap.map_or(0, |gap| i64::try_from(gap.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Returns the time in the file at which its media ends.
    pub(crate) fn duration(&self) -> Duration {
        self.previous.as_ref().map_or(Duration::ZERO, |previous| self.since_origin(previous.end))
    }

    fn since_origin(&self, time: i64) -> Duration {
        Duration::from_nanos(u64::try_from(time.saturating_sub(self.origin)).unwrap_or(0))
    }

    /// Makes media that [cannot continue](Timeline::split_before) the file follow the media before it, in a file that cannot
    /// be split.
    ///
    /// Without [`Gaps::Close`], the time between them is that of the producer's clock, if it is known and went forward.
    pub(crate) fn rejoin(&mut self, media: &Media) {
        let Some(previous) = &mut self.previous else { return };
        let clock = previous.clock.zip(clock_at(&media.header, media.start));
        let gap = clock.map_or(0, |(before, now)| {
            let moved = now.as_nanos().saturating_sub(before.as_nanos());
            moved.saturating_sub(previous.end.saturating_sub(previous.start))
        });
        let gap = if self.gaps == Gaps::Keep && (0..LONGEST_GAP).contains(&gap) { gap } else { 0 };
        let end = previous.end.saturating_sub(self.origin);
        self.origin = media.start.saturating_sub(end.saturating_add(gap));
        (previous.start, previous.last, previous.end) = (media.start, media.start, media.start);
        previous.clock = None;
    }

    /// Places the packets of a fragment.
    pub(crate) fn place(&mut self, media: Media, fragment: &Fragment) -> Placed {
        match &self.previous {
            None => self.origin = media.start,
            Some(_) => self.origin = self.origin.saturating_add(self.closed_before(&media)),
        }
        let mut samples: Vec<_> = media.packets.into_iter().map(|packet| self.sample(packet)).collect();
        let mut end = media.last;
        let mut numbers: Vec<u64> = samples.iter().map(|sample| sample.packet.track_number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let of_track: Vec<&mut Sample> =
                samples.iter_mut().filter(|sample| sample.packet.track_number() == number).collect();
            end = end.max(self.lanes.entry(number).or_default().order(of_track).saturating_add(self.origin));
        }
        self.previous = Some(Previous {
            tracks: Arc::clone(media.header.tracks()),
            start: media.start,
            last: media.last,
            end,
            clock: clock_at(&media.header, media.start),
        });
        Placed { header: media.header, tags: fragment.tags().clone(), samples }
    }

    fn sample(&self, packet: Packet) -> Sample {
        // A leading picture may start a little before the fragment whose gap was closed.
        let pts = packet.timecode_ns().saturating_sub(self.origin).max(0);
        Sample { packet, pts, dts: pts, duration: 0 }
    }
}

/// Returns the producer's clock at a time of its timeline.
fn clock_at(header: &FragmentHeader, time: i64) -> Option<Timestamp> {
    Some(header.producer_time()?.plus_nanos(time.saturating_sub(header.timecode_ns())))
}

impl Lane {
    /// Sets the decoding times and durations of a fragment's samples. Returns the end of the last one presented.
    ///
    /// Matroska stores presentation times only. Samples are stored in decoding order, so the decoding times are the
    /// sorted presentation times, moved earlier by the largest delay of reordering. The delay stays the same for the
    /// whole file; it grows only if a later fragment needs more.
    fn order(&mut self, mut samples: Vec<&mut Sample>) -> i64 {
        let mut sorted: Vec<i64> = samples.iter().map(|sample| sample.pts).collect();
        sorted.sort_unstable();
        let delays = sorted.iter().zip(&samples).map(|(dts, sample)| dts - sample.pts);
        self.delay = self.delay.max(delays.max().unwrap_or(0));
        for (sample, time) in samples.iter_mut().zip(&sorted) {
            let earliest = self.last_dts.map_or(i64::MIN, |last| last.saturating_add(1));
            sample.dts = (time - self.delay).max(earliest);
            self.last_dts = Some(sample.dts);
        }
        let starts: Vec<i64> = samples.iter().map(|sample| sample.dts).collect();
        for (sample, ends) in samples.iter_mut().zip(starts.iter().skip(1)) {
            sample.duration = ends - sample.dts;
            self.step = Some(sample.duration);
        }
        let last = samples.last_mut();
        let declared = last.as_ref().and_then(|sample| sample.packet.duration_ns()).filter(|ns| *ns > 0);
        let duration = declared.or(self.step).unwrap_or(FALLBACK_DURATION);
        if let Some(last) = last {
            last.duration = duration;
        }
        sorted.last().copied().unwrap_or(0).saturating_add(duration)
    }
}
