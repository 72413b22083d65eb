//! One track of an MP4 file: its times and its samples.

use bytes::Bytes;
use mp4_atom::{Tfdt, Tfhd, Traf, Trun, TrunEntry, TrunSamples};

use super::entry::SampleEntry;
use super::table::{Entry, Tables};
use super::{Brand, TIMESCALE};
use crate::error::Result;
use crate::fragment::Track;
use crate::mux::codec::audio::AudioConfig;
use crate::mux::{Placed, Sample};

/// A track of the file.
pub(super) struct Mp4Track {
    pub(super) id: u32,
    /// The number of the track in the source.
    pub(super) number: u64,
    pub(super) entry: SampleEntry,
    /// Ticks per second.
    pub(super) timescale: u32,
    /// How much later samples are presented than decoded at the start of the file, in ticks.
    pub(super) delay: i64,
    /// The decoding time of the first sample, in ticks.
    pub(super) start: Option<i64>,
    last: Option<Last>,
    /// The end of the sample that is presented last.
    end: i64,
    pub(super) tables: Tables,
}

/// The last sample of the fragments so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    pub(super) dts: i64,
    duration: u32,
}

impl Last {
    pub(super) fn of(entry: &Entry) -> Self {
        Self { dts: entry.dts + i64::from(entry.count) - 1, duration: entry.duration }
    }

    fn end(self) -> i64 {
        self.dts + i64::from(self.duration)
    }
}

/// The samples of one fragment.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) entries: Vec<Entry>,
    pub(super) payloads: Vec<Bytes>,
}

impl Run {
    pub(super) fn bytes(&self) -> u64 {
        self.payloads.iter().map(|payload| payload.len() as u64).sum()
    }
}

/// The largest difference between the time of an audio block and the end of the audio before it that counts as jitter.
const JITTER_MILLIS: i64 = 30;

/// Sample flags (ISO/IEC 14496-12 section 8.8.3.1): depends on no other sample.
const KEY: u32 = 0x0200_0000;

/// Sample flags: depends on others, and is no key frame.
const NOT_KEY: u32 = 0x0101_0000;

impl Mp4Track {
    pub(super) fn new(id: u32, track: &Track, brand: Brand, first: &Placed) -> Result<Self> {
        let number = track.number();
        let entry = SampleEntry::of_track(track, brand, first)?;
        let timescale = entry.audio().map_or(TIMESCALE, AudioConfig::sample_rate);
        let presented = first.of_track(number).map(|sample| sample.pts).min();
        let decoded = first.of_track(number).next().map(|sample| sample.dts);
        let delay = presented.zip(decoded).map_or(0, |(presented, decoded)| ticks(presented - decoded, timescale));
        Ok(Self { id, number, entry, timescale, delay, start: None, last: None, end: 0, tables: Tables::default() })
    }

    /// Converts the samples of a fragment. Changes nothing.
    ///
    /// # Errors
    /// If a packet cannot be read.
    pub(super) fn run(&self, placed: &Placed) -> Result<Run> {
        let mut run = Run::default();
        let mut last = self.last;
        for sample in placed.of_track(self.number) {
            let payload = self.entry.payload(&sample.packet)?;
            let entry = match self.entry.audio() {
                Some(config) => self.audio_entry(config, sample, &payload, last),
                None => self.video_entry(sample, &payload, last),
            };
            let Some(entry) = entry else { continue };
            // The duration that was estimated gives way to the time of the next sample.
            if let Some(before) = run.entries.last_mut() {
                before.duration = u32::try_from(entry.dts - Last::of(before).dts).unwrap_or(u32::MAX);
            }
            last = Some(Last::of(&entry));
            run.entries.push(entry);
            run.payloads.push(payload);
        }
        Ok(run)
    }

    fn video_entry(&self, sample: &Sample, payload: &Bytes, last: Option<Last>) -> Option<Entry> {
        let presented = ticks(sample.pts, self.timescale) + self.delay;
        let least = last.map_or(0, |last| last.dts + 1);
        let dts = (ticks(sample.dts, self.timescale) + self.delay).max(least);
        let offset = i32::try_from(presented - dts).unwrap_or(i32::MAX);
        Some(Entry { offset, ..self.entry_at(dts, ticks(sample.duration, self.timescale), sample, payload) })
    }

    /// Audio samples follow each other without a gap as long as the times of their blocks are only jitter away.
    fn audio_entry(&self, config: &AudioConfig, sample: &Sample, payload: &Bytes, last: Option<Last>) -> Option<Entry> {
        let presented = ticks(sample.pts, self.timescale);
        let jitter = JITTER_MILLIS * i64::from(self.timescale) / 1000;
        let dts = match last {
            Some(last) if config.samples_in(payload).is_some() && (presented - last.end()).abs() <= jitter => {
                last.end()
            }
            Some(last) => presented.max(last.dts + 1),
            None => presented,
        };
        let duration =
            config.samples_in(payload).map(i64::from).unwrap_or_else(|| ticks(sample.duration, self.timescale));
        let entry = self.entry_at(dts, duration, sample, payload);
        match config.bytes_per_frame() {
            None => Some(entry),
            // A sample of MP4 is one value of each channel.
            Some(size) => {
                let count = u32::try_from(payload.len()).unwrap_or(0) / size;
                (count > 0).then_some(Entry { size, count, duration: 1, ..entry })
            }
        }
    }

    fn entry_at(&self, dts: i64, duration: i64, sample: &Sample, payload: &Bytes) -> Entry {
        Entry {
            dts,
            offset: 0,
            duration: u32::try_from(duration.max(1)).unwrap_or(u32::MAX),
            size: u32::try_from(payload.len()).unwrap_or(u32::MAX),
            count: 1,
            is_key: self.entry.audio().is_some() || sample.packet.is_key(),
        }
    }

    /// Notes the samples of a fragment that was written at an offset of the file.
    pub(super) fn advance(&mut self, run: &Run, offset: u64, keeps_tables: bool) {
        let (Some(first), Some(last)) = (run.entries.first(), run.entries.last()) else { return };
        self.start = self.start.or(Some(first.dts));
        self.last = Some(Last::of(last));
        let ends = run.entries.iter().map(|entry| Last::of(entry).end() + i64::from(entry.offset));
        self.end = self.end.max(ends.max().unwrap_or(0));
        if keeps_tables {
            self.tables.add_chunk(offset, &run.entries);
        }
    }

    /// Returns the box for the samples of a fragment, whose media begins `offset` bytes after the start of the `moof`.
    pub(super) fn fragment(&self, run: &Run, offset: i32) -> Traf {
        let size = self.entry.audio().and_then(AudioConfig::bytes_per_frame);
        let tfhd = Tfhd {
            track_id: self.id,
            default_base_is_moof: true,
            default_sample_flags: self.entry.audio().map(|_| KEY),
            default_sample_duration: size.map(|_| 1),
            default_sample_size: size,
            ..Tfhd::default()
        };
        let start = run.entries.first().map_or(0, |entry| entry.dts);
        let tfdt = Tfdt { base_media_decode_time: u64::try_from(start).unwrap_or(0) };
        let mut trun = if size.is_some() { equal_samples(&run.entries) } else { vec![self.samples(&run.entries)] };
        if let Some(first) = trun.first_mut() {
            first.data_offset = Some(offset);
        }
        Traf { tfhd, tfdt: Some(tfdt), trun, ..Traf::default() }
    }

    fn samples(&self, entries: &[Entry]) -> Trun {
        let is_video = self.entry.audio().is_none();
        let sample = |entry: &Entry| TrunEntry {
            duration: Some(entry.duration),
            size: Some(entry.size),
            flags: is_video.then_some(if entry.is_key { KEY } else { NOT_KEY }),
            cts: is_video.then_some(entry.offset.into()),
        };
        Trun { data_offset: None, samples: TrunSamples::Explicit(entries.iter().map(sample).collect()) }
    }

    /// Returns the time from the first decoding to the end of the last, in ticks.
    pub(super) fn duration(&self) -> i64 {
        self.last.zip(self.start).map_or(0, |(last, start)| last.end() - start)
    }

    /// Returns the time from the first presentation to the end of the last, in ticks.
    pub(super) fn presented(&self) -> i64 {
        self.start.map_or(0, |start| self.end - start - self.delay)
    }

    /// Returns the duration of the last sample, in ticks.
    pub(super) fn last_duration(&self) -> u32 {
        self.last.map_or(0, |last| last.duration)
    }
}

/// Returns runs of samples that last one tick each, but for the last one before a gap.
fn equal_samples(entries: &[Entry]) -> Vec<Trun> {
    let inherited = |count| Trun { data_offset: None, samples: TrunSamples::Inherited { count, first_flags: None } };
    let mut runs = Vec::new();
    let mut count = 0;
    for entry in entries {
        count += entry.count;
        if entry.duration != 1 {
            runs.extend((count > 1).then(|| inherited(count - 1)));
            let last = TrunEntry { duration: Some(entry.duration), ..TrunEntry::default() };
            runs.push(Trun { data_offset: None, samples: TrunSamples::Explicit(vec![last]) });
            count = 0;
        }
    }
    runs.extend((count > 0).then(|| inherited(count)));
    runs
}

/// Converts nanoseconds to ticks, rounded to the nearest.
pub(crate) fn ticks(nanos: i64, timescale: u32) -> i64 {
    let ticks = (i128::from(nanos) * i128::from(timescale) * 2 + 1_000_000_000).div_euclid(2_000_000_000);
    i64::try_from(ticks).unwrap_or(i64::MAX)
}
