//! [`Plan`]: divides listed fragments into clips.

use std::collections::VecDeque;

use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::archived::millis_range::{DAY, MillisRange};
use crate::service::archived::{Clock, FragmentInfo, Order};

/// The maximum number of fragments per clip.
const MAX_FRAGMENTS: usize = 200;

/// The maximum listed size per clip. The service allows 100 MB; the rest is for the boxes of the MP4.
const MAX_BYTES: u64 = 95_000_000;

/// The content of one clip.
#[derive(Debug)]
pub(super) struct Part {
    /// The range to request.
    pub(super) range: MillisRange,
    /// The largest range that has no other fragment.
    pub(super) free_range: MillisRange,
    pub(super) fragments: Vec<FragmentInfo>,
    pub(super) left_out: Vec<FragmentInfo>,
}

impl Part {
    /// Divides the fragments into two halves with their free ranges, if they do not all start at once.
    pub(super) fn halves(&self, clock: Clock) -> Option<[(Vec<FragmentInfo>, MillisRange); 2]> {
        let time = |info: &FragmentInfo| info.time(clock).map(Timestamp::as_millis);
        let mut infos: Vec<FragmentInfo> = self.fragments.iter().chain(&self.left_out).cloned().collect();
        Order::Time.sort(clock, &mut infos);
        let first = infos.first().and_then(time);
        let middle = infos.get(infos.len() / 2).and_then(time);
        // The first start from the middle on that is after the first fragment's start.
        let cut = infos.iter().filter_map(time).find(|start| Some(*start) > first && Some(*start) >= middle)?;
        let second = infos.split_off(infos.partition_point(|info| time(info) < Some(cut)));
        let free = self.free_range;
        Some([(infos, MillisRange { end: cut - 1, ..free }), (second, MillisRange { start: cut, ..free })])
    }

    /// Adds the range and the first fragment to an error.
    pub(super) fn name_in(&self, error: Error) -> Error {
        let (range, fragments) = (self.range.to_range(), self.fragments.len());
        let place = format!("the clip of {fragments} fragments from {} to {}", range.start(), range.end());
        let first = self.fragments.first().map(|info| info.number().as_str());
        error.in_path(place).in_fragment(first)
    }
}

/// Fragments that start at the same time and so cannot be divided, ordered by number.
#[derive(Debug)]
struct Group {
    start: i64,
    fragments: Vec<Ingested>,
    /// Number and size of the fragments that the service puts into a clip.
    count: usize,
    bytes: u64,
    /// True if all earlier fragments were ingested before this group and all later ones.
    is_clean: bool,
}

/// A fragment with its place in the order of ingestion.
#[derive(Debug)]
struct Ingested {
    ordinal: usize,
    info: FragmentInfo,
}

/// Iterator over the clips of a range. Each fragment is in one of them.
///
/// Fragments that do not fit into a clip are an error in their place.
#[derive(Debug)]
pub(super) struct Plan {
    groups: VecDeque<Group>,
    clock: Clock,
    within: MillisRange,
    /// The start of the last fragment that was yielded.
    last_start: i64,
}

impl Plan {
    /// Plans the clips of the range `within`, whose fragments are in [`Order::Time`](crate::Order::Time).
    pub(super) fn new(infos: Vec<FragmentInfo>, clock: Clock, within: MillisRange) -> Result<Self> {
        let mut by_number: Vec<usize> = (0..infos.len()).collect();
        by_number.sort_by_key(|&index| infos.get(index).map(FragmentInfo::number));
        let mut ordinals = vec![0; infos.len()];
        for (ordinal, index) in by_number.into_iter().enumerate() {
            if let Some(place) = ordinals.get_mut(index) {
                *place = ordinal;
            }
        }
        let mut groups: VecDeque<Group> = VecDeque::new();
        // A cut is clean if the largest ordinal before it equals the number of fragments before it.
        let (mut before, mut last) = (0, None);
        for (info, ordinal) in infos.into_iter().zip(ordinals) {
            let Some(start) = info.time(clock).map(Timestamp::as_millis) else {
                let message = format!("ListFragments: fragment {} has no time on the chosen clock", info.number());
                return Err(Error::new(ErrorKind::Service, message));
            };
            let bytes = info.bytes();
            let ingested = Ingested { ordinal, info };
            match groups.back_mut().filter(|group| group.start == start) {
                // The service puts only the newest of them into a clip.
                Some(group) if clock == Clock::Producer => {
                    group.bytes = group.bytes.max(bytes);
                    group.fragments.push(ingested);
                }
                Some(group) => {
                    group.count += 1;
                    group.bytes = group.bytes.saturating_add(bytes);
                    group.fragments.push(ingested);
                }
                None => {
                    let is_clean = last.is_none_or(|last| last + 1 == before);
                    groups.push_back(Group { start, fragments: vec![ingested], count: 1, bytes, is_clean });
                }
            }
            before += 1;
            last = last.max(Some(ordinal));
        }
        Ok(Self { groups, clock, within, last_start: within.start - 1 })
    }

    /// Returns the number of groups in the next part.
    fn groups_in_part(&self) -> usize {
        let first = self.groups.front().map_or(0, |group| group.start);
        let (mut count, mut bytes) = (0, 0_u64);
        let fitting = self.groups.iter().take_while(|group| {
            count += group.count;
            bytes = bytes.saturating_add(group.bytes);
            count <= MAX_FRAGMENTS && bytes <= MAX_BYTES && group.start - first <= DAY
        });
        let max = fitting.count().max(1);
        if self.clock == Clock::Server || max >= self.groups.len() {
            return max;
        }
        // The service ends a clip at a fragment that was ingested in between but starts elsewhere.
        let is_clean = |cut: &usize| self.groups.get(*cut).is_some_and(|group| group.is_clean);
        (1..=max).rev().find(is_clean).unwrap_or(max)
    }

    /// Returns the range to request for the fragments that start from `first` to `last`, and no others.
    ///
    /// The service requires ranges of at least 1 ms.
    fn range(&self, first: i64, last: i64, free: MillisRange) -> Result<MillisRange> {
        match first == last {
            false => Ok(MillisRange { start: first, end: last }),
            true if last < free.end => Ok(MillisRange { start: first, end: last + 1 }),
            true if first > free.start => Ok(MillisRange { start: first - 1, end: last }),
            true => {
                let time = Timestamp::from_millis(first);
                let message = format!(
                    "the fragments at {time} cannot have a clip of their own: others start 1 ms before and 1 ms after"
                );
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    /// Separates the fragments that the service puts into a clip from those that it leaves out.
    fn separate(&self, fragments: Vec<Ingested>) -> (Vec<FragmentInfo>, Vec<FragmentInfo>) {
        if self.clock == Clock::Server {
            return (fragments.into_iter().map(|ingested| ingested.info).collect(), Vec::new());
        }
        // The fragments that were ingested consecutively, from the first on.
        let mut ordinals: Vec<usize> = fragments.iter().map(|ingested| ingested.ordinal).collect();
        ordinals.sort_unstable();
        let run = ordinals.iter().zip(ordinals.first().copied().unwrap_or_default()..);
        let end = run.take_while(|(ordinal, expected)| *ordinal == expected).count() + ordinals.first().unwrap_or(&0);
        let (mut kept, mut left_out): (Vec<FragmentInfo>, Vec<FragmentInfo>) = Default::default();
        for Ingested { ordinal, info } in fragments {
            if ordinal >= end {
                left_out.push(info);
                continue;
            }
            // The newest of several fragments with the same start is last.
            if let Some(older) = kept.pop_if(|older| older.time(self.clock) == info.time(self.clock)) {
                left_out.push(older);
            }
            kept.push(info);
        }
        (kept, left_out)
    }
}

impl Iterator for Plan {
    type Item = Result<Part>;

    fn next(&mut self) -> Option<Result<Part>> {
        let taken: Vec<Group> = self.groups.drain(..self.groups_in_part().min(self.groups.len())).collect();
        let (first, last) = (taken.first()?, taken.last()?);
        let end = self.groups.front().map_or(self.within.end, |next| next.start - 1);
        let free_range = MillisRange { start: self.last_start + 1, end };
        let range = match first.count > MAX_FRAGMENTS || (first.count > 1 && first.bytes > MAX_BYTES) {
            true => {
                let time = Timestamp::from_millis(first.start);
                let (count, bytes) = (first.count, first.bytes);
                let message = format!("{count} fragments of {bytes} bytes start at {time}, more than fit into a clip");
                Err(Error::limit(message))
            }
            false => self.range(first.start, last.start, free_range),
        };
        self.last_start = last.start;
        Some(range.map(|range| {
            let fragments = taken.into_iter().flat_map(|group| group.fragments).collect();
            let (fragments, left_out) = self.separate(fragments);
            Part { range, free_range, fragments, left_out }
        }))
    }
}
