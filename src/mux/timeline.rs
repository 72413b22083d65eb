//! [`Timeline`]: places the packets of fragments on the time of one file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::codec::audio::AudioConfig;
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
    /// The time of the media or the producer's clock went back.
    Reset,
    /// The gap is longer than the tables of MP4 can hold.
    LongGap,
}

/// The longest time without media that is a gap and not a part of the rhythm of the fragments.
const TOLERANCE: i64 = 500_000_000;

/// The largest difference between the producer's clock and its timeline at which the timeline tells.
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

    /// Returns the time of the first packet on the timeline of the producer, in nanoseconds.
    #[cfg(feature = "local")]
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// Returns the producer's clock at the start of the media.
    fn clock(&self) -> Option<Timestamp> {
        let time = self.header.producer_time()?;
        Some(time.plus_nanos(self.start.saturating_sub(self.header.timecode_ns())))
    }
}

/// The time of one file.
#[derive(Debug)]
pub(crate) struct Timeline {
    gaps: Gaps,
    /// The time on the timeline of the producer that is 0 in the file. It moves where the clock tells or a gap is closed.
    origin: i64,
    lanes: BTreeMap<u64, Lane>,
    previous: Option<Previous>,
}

/// The fragment before the next one. Its times in the file are in nanoseconds.
#[derive(Debug)]
struct Previous {
    tracks: Arc<[Track]>,
    start: i64,
    last: i64,
    end: i64,
    /// The start on the timeline of the producer, and on the producer's clock.
    timecode: i64,
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
        let start = self.start_of(media);
        let clock_goes_back = previous.clock.zip(media.clock()).is_some_and(|(before, now)| now < before);
        let overlaps = start < previous.start || start < previous.last.saturating_sub(TOLERANCE);
        if media.start < previous.timecode || clock_goes_back || overlaps {
            return Some(Split::Reset);
        }
        (start.saturating_sub(previous.end) > LONGEST_GAP).then_some(Split::LongGap)
    }

    /// Returns the gap between the file so far and this media. `None` if there is none.
    pub(crate) fn gap_before(&self, media: &Media) -> Option<Duration> {
        let gap = self.start_of(media).saturating_sub(self.previous.as_ref()?.end);
        (gap > TOLERANCE).then(|| nanos(gap))
    }

    /// Returns the time in the file at which this media would begin.
    pub(crate) fn elapsed(&self, media: &Media) -> Duration {
        nanos(self.placed_start(media))
    }

    /// Returns the time in the file at which its media ends.
    pub(crate) fn duration(&self) -> Duration {
        nanos(self.previous.as_ref().map_or(0, |previous| previous.end))
    }

    /// Returns the time in the file at which media begins if gaps are kept.
    ///
    /// The timeline of the producer tells. If the producer's clock has moved differently, the clock tells.
    fn start_of(&self, media: &Media) -> i64 {
        let Some(previous) = &self.previous else { return 0 };
        let start = media.start.saturating_sub(self.origin);
        let Some((before, now)) = previous.clock.zip(media.clock()) else { return start };
        let by_clock = previous.start.saturating_add(now.as_nanos().saturating_sub(before.as_nanos()));
        if by_clock.saturating_sub(start).saturating_abs() > CLOCK_TOLERANCE { by_clock } else { start }
    }

    /// Returns the time in the file at which media is placed.
    fn placed_start(&self, media: &Media) -> i64 {
        let start = self.start_of(media);
        let Some(previous) = &self.previous else { return start };
        let after = start.saturating_sub(previous.end);
        let is_closed = self.gaps == Gaps::Close && after > TOLERANCE;
        // The clock can tell where media begins although the timeline has restarted.
        let is_lost = self.split_before(media).is_some() && !(0..=LONGEST_GAP).contains(&after);
        if is_closed || is_lost { previous.end } else { start }
    }

    /// Places the packets of a fragment.
    ///
    /// Media that cannot continue the file, but is placed in it, follows the media before it: by the producer's clock, or
    /// without a gap if the clock does not tell.
    pub(crate) fn place(&mut self, media: Media, fragment: &Fragment) -> Placed {
        let start = self.placed_start(&media);
        let clock = media.clock();
        self.origin = media.start.saturating_sub(start);
        let last = media.last.saturating_sub(self.origin);
        let mut samples: Vec<_> = media.packets.into_iter().map(|packet| self.sample(packet)).collect();
        let mut end = last;
        let mut numbers: Vec<u64> = samples.iter().map(|sample| sample.packet.track_number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let of_track: Vec<&mut Sample> =
                samples.iter_mut().filter(|sample| sample.packet.track_number() == number).collect();
            end = end.max(self.lanes.entry(number).or_default().order(of_track));
        }
        let tracks = Arc::clone(media.header.tracks());
        self.previous = Some(Previous { tracks, start, last, end, timecode: media.start, clock });
        Placed { header: media.header, tags: fragment.tags().clone(), samples }
    }

    fn sample(&self, packet: Packet) -> Sample {
        let pts = packet.timecode_ns().saturating_sub(self.origin).max(0);
        Sample { packet, pts, dts: pts, duration: 0 }
    }
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Returns the duration of an audio packet, if its length or its codec tells.
fn audio_duration(packet: &Packet) -> Option<i64> {
    let config = AudioConfig::of_track(packet.track()?, packet.fragment().tracks()).ok()?;
    let samples = config.samples_in(packet.payload()).filter(|samples| *samples > 0)?;
    Some(i64::from(samples) * 1_000_000_000 / i64::from(config.sample_rate()))
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
        let packet = last.as_ref().map(|sample| &sample.packet);
        let declared = packet.and_then(Packet::duration_ns).filter(|ns| *ns > 0);
        let coded = || packet.and_then(audio_duration);
        let duration = declared.or_else(coded).or(self.step).unwrap_or(FALLBACK_DURATION);
        if let Some(last) = last {
            last.duration = duration;
        }
        sorted.last().copied().unwrap_or(0).saturating_add(duration)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::demux::FragmentDecoder;
    use crate::ebml::id;
    use crate::ebml::writer::{Width, Writer};

    /// A document with one video track and these times of blocks, in milliseconds and in stored order.
    fn fragment(cluster: u64, blocks: &[i16]) -> Fragment {
        use tokio_util::codec::Decoder as _;

        let mut writer = Writer::new();
        writer.master(id::EBML, Width::Minimal, |header| header.text(id::DOC_TYPE, "matroska"));
        writer.unknown(id::SEGMENT, 8);
        writer.master(id::TRACKS, Width::Minimal, |tracks| {
            tracks.master(id::TRACK_ENTRY, Width::Minimal, |entry| {
                entry.uint(id::TRACK_NUMBER, 1);
                entry.uint(id::TRACK_TYPE, 1);
            });
        });
        writer.master(id::CLUSTER, Width::Minimal, |content| {
            content.uint(id::TIMESTAMP, cluster);
            for time in blocks {
                let [high, low] = time.to_be_bytes();
                content.binary(id::SIMPLE_BLOCK, &[0x81, high, low, 0x80, 1, 2, 3]);
            }
        });
        let mut bytes = bytes::BytesMut::from(writer.as_bytes());
        FragmentDecoder::new().decode_eof(&mut bytes).unwrap().unwrap()
    }

    fn place(timeline: &mut Timeline, fragment: &Fragment) -> Placed {
        timeline.place(Media::of(fragment).unwrap(), fragment)
    }

    fn millis(placed: &Placed, of: fn(&Sample) -> i64) -> Vec<i64> {
        placed.samples.iter().map(|sample| of(sample) / 1_000_000).collect()
    }

    #[test]
    fn reordered_pictures_are_decoded_before_they_are_shown() {
        let mut timeline = Timeline::new(Gaps::Keep);
        // I P B B, and the same again.
        let first = place(&mut timeline, &fragment(1000, &[0, 120, 40, 80]));
        assert_eq!(millis(&first, |sample| sample.pts), [0, 120, 40, 80]);
        assert_eq!(millis(&first, |sample| sample.dts), [-40, 0, 40, 80]);
        let second = place(&mut timeline, &fragment(1160, &[0, 120, 40, 80]));
        assert_eq!(millis(&second, |sample| sample.pts), [160, 280, 200, 240]);
        assert_eq!(millis(&second, |sample| sample.dts), [120, 160, 200, 240]);
        assert_eq!(timeline.duration(), Duration::from_millis(320));
    }

    #[test]
    fn gaps_are_kept_or_closed() {
        for (gaps, expected) in [(Gaps::Keep, [5000, 5040]), (Gaps::Close, [80, 120])] {
            let mut timeline = Timeline::new(gaps);
            place(&mut timeline, &fragment(0, &[0, 40]));
            let after = fragment(5000, &[0, 40]);
            let media = Media::of(&after).unwrap();
            assert_eq!(timeline.gap_before(&media), Some(Duration::from_millis(4920)));
            assert_eq!(timeline.split_before(&media), None);
            assert_eq!(millis(&place(&mut timeline, &after), |sample| sample.pts), expected);
            assert_eq!(timeline.gap_before(&Media::of(&fragment(5080, &[0])).unwrap()), None);
        }
    }

    #[test]
    fn a_timeline_that_goes_back_splits() {
        let mut timeline = Timeline::new(Gaps::Keep);
        place(&mut timeline, &fragment(10_000, &[0, 40]));
        assert_eq!(timeline.split_before(&Media::of(&fragment(0, &[0])).unwrap()), Some(Split::Reset));
        let days_later = Media::of(&fragment(10_000 + 13 * 3_600_000, &[0])).unwrap();
        assert_eq!(timeline.split_before(&days_later), Some(Split::LongGap));
        // Where it is not split, the media follows.
        assert_eq!(millis(&place(&mut timeline, &fragment(0, &[0, 40])), |sample| sample.pts), [80, 120]);
    }

    proptest! {
        #[test]
        fn decoding_times_rise_and_come_before_presentation(
            fragments in prop::collection::vec((prop::collection::btree_set(0i16..2000, 1..20), any::<u64>()), 1..6),
            gaps in prop_oneof![Just(Gaps::Keep), Just(Gaps::Close)],
        ) {
            let mut timeline = Timeline::new(gaps);
            let mut last = i64::MIN;
            for (index, (times, seed)) in fragments.iter().enumerate() {
                let mut times: Vec<i16> = times.iter().copied().collect();
                // Pictures of a group are reordered by a few places.
                let mut random = fastrand::Rng::with_seed(*seed);
                times.chunks_mut(4).for_each(|group| random.shuffle(group));
                let placed = place(&mut timeline, &fragment(index as u64 * 2000, &times));
                prop_assert_eq!(placed.samples.len(), times.len());
                for sample in &placed.samples {
                    prop_assert!(sample.dts > last, "{} after {}", sample.dts, last);
                    prop_assert!(sample.pts >= 0 && sample.duration > 0);
                    // Only where a fragment needs more delay than those before it, the rise comes first.
                    prop_assert!(sample.dts <= sample.pts || sample.dts < last + 20);
                    last = sample.dts;
                }
            }
        }
    }
}
