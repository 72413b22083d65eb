//! Where to cut.

use std::collections::VecDeque;

use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::archived::millis_range::{DAY, Span};
use crate::service::archived::{Clock, FragmentInfo};

/// As many fragments as the service puts into a clip.
const MOST_FRAGMENTS: usize = 200;

/// What is listed of as much as it puts into a clip, 100 MB, with room for what an MP4 has beside media.
const MOST_BYTES: u64 = 95_000_000;

/// What one clip is to have.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) span: Span,
    /// How far that could reach and have nothing else in it.
    pub(super) room: Span,
    pub(super) fragments: Vec<FragmentInfo>,
    pub(super) left_out: Vec<FragmentInfo>,
}

impl Part {
    /// All that is listed of it, in two halves, if it can be cut.
    pub(super) fn halves(&self, clock: Clock) -> Option<[(Vec<FragmentInfo>, Span); 2]> {
        let time = |info: &FragmentInfo| info.time(clock).map(Timestamp::as_millis);
        let mut infos: Vec<FragmentInfo> = self.fragments.iter().chain(&self.left_out).cloned().collect();
        crate::service::archived::Order::Time.sort(clock, &mut infos);
        let first = infos.first().and_then(time);
        let middle = infos.get(infos.len() / 2).and_then(time);
        // Where many begin at the time in the middle, what begins behind it.
        let cut = infos.iter().filter_map(time).find(|start| Some(*start) > first && Some(*start) >= middle)?;
        let second = infos.split_off(infos.partition_point(|info| time(info) < Some(cut)));
        let room = self.room;
        Some([(infos, Span { end: cut - 1, ..room }), (second, Span { start: cut, ..room })])
    }

    /// Names it in what went wrong with it.
    pub(super) fn name_in(&self, error: Error) -> Error {
        let (range, fragments) = (self.span.to_range(), self.fragments.len());
        let place = format!("the clip of {fragments} fragments from {} to {}", range.start(), range.end());
        let first = self.fragments.first().map(|info| info.number().as_str());
        error.in_path(place).in_fragment(first)
    }
}

/// The fragments that begin at the same time, between which nothing can be cut, by number.
#[derive(Debug)]
struct Group {
    start: i64,
    fragments: Vec<Ingested>,
    /// How many, and how much, of these go into a clip.
    count: usize,
    bytes: u64,
    /// Whether all that begin before were ingested before all that begin here and behind.
    is_clean: bool,
}

/// A fragment, and how many of those that are listed were ingested before it.
#[derive(Debug)]
struct Ingested {
    ordinal: usize,
    info: FragmentInfo,
}

/// The parts that the fragments of a range go into, each fragment into one. What cannot be a part is an error
/// in its place.
#[derive(Debug)]
pub(super) struct Plan {
    groups: VecDeque<Group>,
    clock: Clock,
    within: Span,
    /// Up to where fragments have been given out.
    behind: i64,
}

impl Plan {
    /// Of what is listed of the range `within`, in the [order of time](crate::Order::Time) on this clock.
    pub(super) fn new(infos: Vec<FragmentInfo>, clock: Clock, within: Span) -> Result<Self> {
        let mut by_number: Vec<usize> = (0..infos.len()).collect();
        by_number.sort_by_key(|&index| infos.get(index).map(FragmentInfo::number));
        let mut ordinals = vec![0; infos.len()];
        for (ordinal, index) in by_number.into_iter().enumerate() {
            if let Some(place) = ordinals.get_mut(index) {
                *place = ordinal;
            }
        }
        let mut groups: VecDeque<Group> = VecDeque::new();
        // Before a clean cut are as many as the largest ordinal says, no more and no less.
        let (mut before, mut last) = (0, None);
        for (info, ordinal) in infos.into_iter().zip(ordinals) {
            let Some(start) = info.time(clock).map(Timestamp::as_millis) else {
                let message = format!("ListFragments: fragment {} has no time", info.number());
                return Err(Error::new(ErrorKind::Service, message));
            };
            let bytes = info.bytes();
            let ingested = Ingested { ordinal, info };
            match groups.back_mut().filter(|group| group.start == start) {
                // Of these the newest alone goes into a clip.
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
        Ok(Self { groups, clock, within, behind: within.start - 1 })
    }

    /// How many groups the next part has.
    fn groups_in_part(&self) -> usize {
        let first = self.groups.front().map_or(0, |group| group.start);
        let (mut count, mut bytes) = (0, 0_u64);
        let fitting = self.groups.iter().take_while(|group| {
            count += group.count;
            bytes = bytes.saturating_add(group.bytes);
            count <= MOST_FRAGMENTS && bytes <= MOST_BYTES && group.start - first <= DAY
        });
        let most = fitting.count().max(1);
        if self.clock == Clock::Server || most >= self.groups.len() {
            return most;
        }
        // What was ingested between fragments of a clip, and is not in it, would be where the service ends it.
        let is_clean = |cut: &usize| self.groups.get(*cut).is_some_and(|group| group.is_clean);
        (1..=most).rev().find(is_clean).unwrap_or(most)
    }

    /// What the service is to be asked for, to have what begins from `first` to `last`. Its ranges have some
    /// length, and this one must not have what begins before or behind.
    fn span(&self, first: i64, last: i64, room: Span) -> Result<Span> {
        match first == last {
            false => Ok(Span { start: first, end: last }),
            true if last < room.end => Ok(Span { start: first, end: last + 1 }),
            true if first > room.start => Ok(Span { start: first - 1, end: last }),
            true => {
                let time = Timestamp::from_millis(first);
                let message =
                    format!("what begins at {time} cannot be cut from what begins a millisecond before and behind");
                Err(Error::new(ErrorKind::Unsupported, message))
            }
        }
    }

    /// The next part's fragments by whether the service puts them into a clip, as far as its rules tell.
    fn sort_out(&self, fragments: Vec<Ingested>) -> (Vec<FragmentInfo>, Vec<FragmentInfo>) {
        if self.clock == Clock::Server {
            return (fragments.into_iter().map(|ingested| ingested.info).collect(), Vec::new());
        }
        // What was ingested first, and right behind it.
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
            // The newest of those that begin at the same time comes last.
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
        let room = Span { start: self.behind + 1, end };
        let span = match first.count > MOST_FRAGMENTS || (first.count > 1 && first.bytes > MOST_BYTES) {
            true => {
                let time = Timestamp::from_millis(first.start);
                let (count, bytes) = (first.count, first.bytes);
                let message = format!("{count} fragments of {bytes} bytes begin at {time}, more than a clip takes");
                Err(Error::limit(message))
            }
            false => self.span(first.start, last.start, room),
        };
        self.behind = last.start;
        Some(span.map(|span| {
            let fragments = taken.into_iter().flat_map(|group| group.fragments).collect();
            let (fragments, left_out) = self.sort_out(fragments);
            Part { span, room, fragments, left_out }
        }))
    }
}
