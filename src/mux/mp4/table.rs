//! The sample tables of a track (ISO/IEC 14496-12 section 8.6 and 8.7), which a finalised file ends with.

use super::boxes::Pieces;
use super::values::Values;

/// The tables of one track. They grow by 2 or 3 bytes a sample, and by 3 or 4 for each change of duration or offset.
#[derive(Debug, Default)]
pub(super) struct Tables {
    samples: u32,
    last_dts: Option<i64>,
    /// stts: count and duration.
    durations: Runs,
    /// ctts: count and offset.
    offsets: Runs,
    has_offsets: bool,
    has_negative_offsets: bool,
    /// stsz. Empty while all samples have the same size.
    sizes: Values,
    size: Option<u32>,
    /// stss. Empty while all samples are key frames.
    keys: Values,
    has_others: bool,
    /// stsc: the samples of the last chunk, after the entries that are written.
    chunks: u32,
    chunk_samples: Option<u32>,
    chunk_runs: Values,
    /// co64.
    chunk_offsets: Values,
}

/// Samples of one chunk that are alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) dts: i64,
    /// The time from decoding to presentation.
    pub(super) offset: i32,
    pub(super) duration: u32,
    /// The bytes of each sample.
    pub(super) size: u32,
    /// The number of samples. More than one only for audio without compression, whose samples last one tick.
    pub(super) count: u32,
    pub(super) is_key: bool,
}

impl Tables {
    /// Adds a chunk: samples that follow each other in the file.
    pub(super) fn add_chunk(&mut self, offset: u64, entries: &[Entry]) {
        let before = self.samples;
        entries.iter().for_each(|entry| self.add(entry));
        let samples = self.samples - before;
        self.chunks += 1;
        self.chunk_offsets.push(offset);
        if self.chunk_samples != Some(samples) {
            self.chunk_samples = Some(samples);
            for value in [self.chunks, samples, 1] {
                self.chunk_runs.push(value.into());
            }
        }
    }

    fn add(&mut self, entry: &Entry) {
        if let Some(last) = self.last_dts {
            self.durations.add(1, duration(last, entry.dts));
        }
        if entry.count > 1 {
            self.durations.add(entry.count - 1, 1);
        }
        self.last_dts = Some(entry.dts + i64::from(entry.count.saturating_sub(1)));
        self.has_offsets |= entry.offset != 0;
        self.has_negative_offsets |= entry.offset < 0;
        self.offsets.add(entry.count, entry.offset.cast_unsigned());
        self.add_size(entry);
        if !entry.is_key && !self.has_others {
            self.has_others = true;
            (1..=self.samples).for_each(|number| self.keys.push(number.into()));
        }
        self.samples = self.samples.saturating_add(entry.count);
        if entry.is_key && self.has_others {
            self.keys.push(self.samples.into());
        }
    }

    fn add_size(&mut self, entry: &Entry) {
        if self.sizes.is_empty() && self.size.is_none_or(|size| size == entry.size) {
            self.size = Some(entry.size);
            return;
        }
        if let (true, Some(size)) = (self.sizes.is_empty(), self.size) {
            (0..self.samples).for_each(|_| self.sizes.push(size.into()));
        }
        (0..entry.count).for_each(|_| self.sizes.push(entry.size.into()));
    }

    /// Appends the tables. `last` is the duration of the last sample.
    pub(super) fn write(mut self, last: u32, out: &mut Pieces) {
        if self.samples > 0 {
            self.durations.add(1, last);
        }
        table(b"stts", 0, self.durations.finish(), 2, 4, out);
        if self.has_offsets {
            // Version 1 has signed offsets.
            table(b"ctts", u8::from(self.has_negative_offsets), self.offsets.finish(), 2, 4, out);
        }
        // Without this table every sample is a key frame.
        if self.has_others {
            table(b"stss", 0, self.keys, 1, 4, out);
        }
        table(b"stsc", 0, self.chunk_runs, 3, 4, out);
        let size = if self.sizes.is_empty() { self.size.unwrap_or(0) } else { 0 };
        let mut sizes = Pieces::from([size.to_be_bytes(), self.samples.to_be_bytes()].concat());
        sizes.values(self.sizes, 4);
        out.full_box(b"stsz", sizes);
        table(b"co64", 0, self.chunk_offsets, 1, 8, out);
    }
}

/// Returns the time between two samples, as far as 32 bits hold it.
fn duration(from: i64, to: i64) -> u32 {
    u32::try_from(to.saturating_sub(from).max(0)).unwrap_or(u32::MAX)
}

/// Appends a table with a count of its entries, which are this many values each.
fn table(kind: &[u8; 4], version: u8, values: Values, in_entry: u64, width: usize, out: &mut Pieces) {
    let count = u32::try_from(values.len() / in_entry).unwrap_or(u32::MAX);
    let mut content = Pieces::from(vec![version, 0, 0, 0]);
    content.push(count.to_be_bytes().to_vec());
    content.values(values, width);
    out.boxed(kind, content);
}

/// Pairs of a count and a value. Equal values that follow each other share a pair.
#[derive(Debug, Default)]
struct Runs {
    pairs: Values,
    last: Option<(u32, u32)>,
}

impl Runs {
    fn add(&mut self, count: u32, value: u32) {
        match &mut self.last {
            Some((total, same)) if *same == value => *total = total.saturating_add(count),
            _ => {
                self.flush();
                self.last = Some((count, value));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((count, value)) = self.last.take() {
            self.pairs.push(count.into());
            self.pairs.push(value.into());
        }
    }

    fn finish(mut self) -> Values {
        self.flush();
        self.pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(dts: i64, size: u32, is_key: bool) -> Entry {
        Entry { dts, offset: 0, duration: 10, size, count: 1, is_key }
    }

    /// The content of each table, without version and flags.
    fn tables(tables: Tables, last: u32) -> Vec<(String, Vec<u32>)> {
        let mut out = Pieces::new();
        tables.write(last, &mut out);
        let (bytes, mut found, mut at) = (out.concat(), Vec::new(), 0);
        while at < bytes.len() {
            let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
            let size = word(at) as usize;
            let kind = String::from_utf8(bytes[at + 4..at + 8].to_vec()).unwrap();
            found.push((kind, (at + 12..at + size).step_by(4).map(word).collect()));
            at += size;
        }
        found
    }

    fn of(kind: &str, found: &[(String, Vec<u32>)]) -> Option<Vec<u32>> {
        found.iter().find(|(name, _)| name == kind).map(|(_, values)| values.clone())
    }

    #[test]
    fn equal_samples_share_their_entries() {
        let mut all = Tables::default();
        all.add_chunk(100, &[entry(0, 7, true), entry(10, 7, true)]);
        all.add_chunk(200, &[entry(20, 7, true), entry(30, 7, true)]);
        let found = tables(all, 10);
        assert_eq!(of("stts", &found), Some(vec![1, 4, 10]));
        assert_eq!((of("ctts", &found), of("stss", &found)), (None, None));
        assert_eq!(of("stsz", &found), Some(vec![7, 4]));
        assert_eq!(of("stsc", &found), Some(vec![1, 1, 2, 1]));
        assert_eq!(of("co64", &found), Some(vec![2, 0, 100, 0, 200]));
    }

    #[test]
    fn the_time_to_the_next_sample_is_the_duration() {
        let mut all = Tables::default();
        let late = Entry { offset: -5, ..entry(100, 9, false) };
        all.add_chunk(1 << 32, &[entry(0, 7, true), late]);
        let found = tables(all, 3);
        assert_eq!(of("stts", &found), Some(vec![2, 1, 100, 1, 3]));
        assert_eq!(of("ctts", &found), Some(vec![2, 1, 0, 1, (-5i32).cast_unsigned()]));
        assert_eq!(of("stss", &found), Some(vec![1, 1]));
        assert_eq!(of("stsz", &found), Some(vec![0, 2, 7, 9]));
        assert_eq!(of("co64", &found), Some(vec![1, 1, 0]));
    }

    #[test]
    fn audio_without_compression_has_a_sample_a_tick() {
        let mut all = Tables::default();
        let block = |dts, count| Entry { dts, offset: 0, duration: 1, size: 2, count, is_key: true };
        all.add_chunk(0, &[block(0, 160), block(160, 160), block(1000, 80)]);
        let found = tables(all, 1);
        assert_eq!(of("stts", &found), Some(vec![3, 319, 1, 1, 681, 80, 1]));
        assert_eq!(of("stsz", &found), Some(vec![2, 400]));
        assert_eq!(of("stsc", &found), Some(vec![1, 1, 400, 1]));
    }
}
