//! What of a list of fragments is still to be fetched, in which calls, and what has come. Knows neither
//! network nor clock.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::fragment::{Fault, Fragment, FragmentEnd, FragmentNumber, Skipped};

/// How often a fragment may come damaged: the second time it is what is stored.
const DAMAGED: u32 = 2;

/// What a fragment is taken for of which nobody has said how large it is, before any has come.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// Pauses before a fragment is asked for again that was not there.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What is to be asked for again at about the same time is asked for together.
const SLICE: Duration = Duration::from_millis(250);

/// How much may be asked for at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Fragments in a call.
    pub(super) batch: usize,
    /// Calls at a time.
    pub(super) calls: usize,
    /// Bytes that were asked for or have come, and cannot be given out yet.
    pub(super) bytes: u64,
    /// How often a fragment is asked for that does not come.
    pub(super) attempts: u32,
}

/// Names a call.
pub(super) type CallId = u32;

/// Fragments in the order in which they are to be given out.
#[derive(Debug)]
pub(super) struct Work {
    budget: Budget,
    entries: VecDeque<Entry>,
    /// How many were given out: the place of the first entry.
    base: usize,
    /// No entry before this one waits.
    first_waiting: usize,
    /// How many wait for a time to come.
    paused: usize,
    /// Where those are that were asked for.
    asked: HashMap<FragmentNumber, usize>,
    calls: BTreeMap<CallId, Asked>,
    /// As many calls at a time as the service seems to let us have.
    most_calls: usize,
    next_call: CallId,
    /// What those that were asked for are taken for.
    expected_bytes: u64,
    /// What has come and cannot be given out, and what came of others that are asked for again.
    held_bytes: u64,
    /// Bytes and number of those that came of which nobody had said how large they are.
    measured: (u64, u64),
    /// By how much one that was whole was smaller than listed, at most: what the service counts differently.
    slack: u64,
    /// Nothing is asked for from here on: something went wrong that will not go away.
    end: usize,
    /// When it began: pauses end at whole slices of time since then.
    began: Option<Instant>,
}

/// A fragment that is wanted.
#[derive(Debug)]
struct Entry {
    number: FragmentNumber,
    /// As listed; 0 if unknown.
    bytes: u64,
    /// How often it was asked for and did not come, for reasons of its own.
    tries: u32,
    damaged: u32,
    /// How many may be asked for together with it.
    most: usize,
    /// As much as came of it.
    part: Option<Fragment>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting {
        not_before: Option<Instant>,
    },
    Asked {
        call: CallId,
        expected: u64,
    },
    Come(Fragment),
    /// It cannot be had.
    Failed(Error),
    /// Nothing more can be had, for this reason.
    Ended(Error),
}

/// A call that is being answered.
#[derive(Debug)]
struct Asked {
    /// Where those are that have not been answered.
    open: Vec<usize>,
    asked: usize,
    answered: usize,
    /// Came last, and is whole unless what comes next says otherwise.
    last: Option<(usize, Fragment)>,
    /// Came last, and is not whole.
    cut: Option<usize>,
    /// What the service reported about no fragment.
    fault: Option<Error>,
}

/// What is to be given out next.
#[derive(Debug)]
pub(super) enum Ready {
    /// With its size as listed.
    Fragment(Fragment, u64),
    /// It cannot be had, for this reason; only so much of it.
    Unavailable { number: FragmentNumber, error: Error, part: Option<Fragment>, bytes: u64 },
    /// Nor can anything behind it, for this reason.
    End { error: Error, part: Option<Fragment> },
}

/// When a fragment came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// When it was its turn, or read ahead.
    InOrder,
    /// Before another one that everything waits for, in the same answer.
    OutOfOrder,
    /// Nobody asked for it, or it came before.
    Unwanted,
}

/// How a body ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Whether something in it was new.
    pub(super) is_fruitful: bool,
    /// Whether to wait before the next call: nothing came, and no fragment waits for itself.
    pub(super) is_empty: bool,
    /// What was wrong with how it came, rather than with what.
    pub(super) trouble: Option<Error>,
    /// The place of the first that has not come.
    pub(super) first: Option<usize>,
}

impl Work {
    pub(super) fn new(budget: Budget, wanted: impl IntoIterator<Item = (FragmentNumber, u64)>) -> Self {
        let waiting = |(number, bytes)| Entry {
            number,
            bytes,
            tries: 0,
            damaged: 0,
            most: usize::MAX,
            part: None,
            state: State::Waiting { not_before: None },
        };
        Self {
            budget,
            entries: wanted.into_iter().map(waiting).collect(),
            base: 0,
            first_waiting: 0,
            paused: 0,
            asked: HashMap::new(),
            calls: BTreeMap::new(),
            most_calls: budget.calls,
            next_call: 0,
            expected_bytes: 0,
            held_bytes: 0,
            measured: (0, 0),
            slack: 0,
            end: usize::MAX,
            began: None,
        }
    }

    /// What comes next, if it is there.
    pub(super) fn pop(&mut self) -> Option<Ready> {
        if matches!(self.entries.front()?.state, State::Waiting { .. } | State::Asked { .. }) {
            return None;
        }
        let Entry { number, bytes, part, state, .. } = self.entries.pop_front()?;
        self.base += 1;
        self.first_waiting = self.first_waiting.max(self.base);
        self.held_bytes -= size(part.as_ref());
        let part = part.map(Fragment::into_cut);
        Some(match state {
            State::Come(fragment) => {
                self.held_bytes -= fragment.raw().len() as u64;
                Ready::Fragment(fragment, bytes)
            }
            State::Failed(error) => Ready::Unavailable { number, error, part, bytes },
            State::Ended(error) => Ready::End { error, part },
            State::Waiting { .. } | State::Asked { .. } => return None,
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next call to make, and what to ask for in it.
    pub(super) fn next_call(&mut self, now: Instant) -> Option<(CallId, Vec<FragmentNumber>)> {
        if self.calls.len() >= self.most_calls {
            return None;
        }
        let is_due = |entry: &Entry| match entry.state {
            State::Waiting { not_before } => not_before.is_none_or(|at| at <= now),
            _ => false,
        };
        let is_waiting = |entry: &Entry| matches!(entry.state, State::Waiting { .. });
        let from = self.first_waiting - self.base;
        let first_waiting = self.entries.iter().skip(from).position(is_waiting)?;
        self.first_waiting += first_waiting;
        // Several calls are to fit into what there is room for.
        let most_bytes = (self.budget.bytes / self.budget.calls.max(1) as u64).max(1);
        let (mut room, mut most, mut bytes) = (self.room(), self.budget.batch, 0);
        let unknown = self.unknown_bytes();
        let mut open = Vec::new();
        let mut numbers = Vec::new();
        let call = self.next_call;
        let left = self.end.saturating_sub(self.base);
        for (index, entry) in self.entries.iter_mut().enumerate().take(left).skip(self.first_waiting - self.base) {
            if !is_due(entry) {
                continue;
            }
            let expected = if entry.bytes == 0 { unknown } else { entry.bytes };
            most = most.min(entry.most);
            // The one that everything waits for is asked for in any case.
            let is_needed = index == 0;
            let fits = open.len() < most && expected <= room && bytes + expected <= most_bytes;
            if !fits && !(open.is_empty() && (is_needed || expected <= room)) {
                break;
            }
            room = room.saturating_sub(expected);
            bytes += expected;
            self.paused -= usize::from(matches!(entry.state, State::Waiting { not_before: Some(_) }));
            entry.state = State::Asked { call, expected };
            self.asked.insert(entry.number.clone(), self.base + index);
            open.push(self.base + index);
            numbers.push(entry.number.clone());
        }
        if open.is_empty() {
            return None;
        }
        self.expected_bytes += bytes;
        self.next_call = self.next_call.wrapping_add(1);
        self.calls.insert(call, Asked { asked: open.len(), open, answered: 0, last: None, cut: None, fault: None });
        Some((call, numbers))
    }

    /// When something will be due that is not yet. What is due by now and was not asked for waits for room.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let pauses = self.entries.iter().filter_map(|entry| match entry.state {
            State::Waiting { not_before } => not_before,
            _ => None,
        });
        pauses.take(self.paused).filter(|at| *at > now).min()
    }

    /// The call that brings what is to be given out next.
    pub(super) fn needed_call(&self) -> Option<CallId> {
        match self.entries.front()?.state {
            State::Asked { call, .. } => Some(call),
            _ => None,
        }
    }

    /// A call that takes the place of one that is needed more: where what is to be given out next waits, and
    /// as many calls are made as may be.
    pub(super) fn in_the_way(&self, now: Instant) -> Option<CallId> {
        let is_due = matches!(self.entries.front()?.state, State::Waiting { not_before } if not_before.is_none_or(|at| at <= now));
        let is_full = self.calls.len() >= self.most_calls;
        let last = self.calls.iter().max_by_key(|(_, call)| call.open.first());
        last.filter(|_| is_due && is_full).map(|(&id, _)| id)
    }

    /// The service has refused a call because there are too many: others have some of the connections.
    pub(super) fn refused(&mut self) {
        self.most_calls = self.calls.len().max(1);
    }

    /// Whether to read what is not needed yet.
    pub(super) fn may_read_ahead(&self) -> bool {
        self.held_bytes < self.budget.bytes
    }

    /// What has come and waits for something before it, or for more of it.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Whether so much has come out of order that it must not go on so.
    pub(super) fn overflows(&self) -> bool {
        self.held_bytes > self.budget.bytes
    }

    /// A fragment has come in a call.
    pub(super) fn came(&mut self, id: CallId, fragment: Fragment) -> Came {
        self.settle_last(id);
        let Some(index) = fragment.number().and_then(|number| self.open_index(id, number)) else {
            return Came::Unwanted;
        };
        let listed = self.entry(index).map_or(0, |entry| entry.bytes);
        let is_all = listed > 0 && fragment.raw().len() as u64 >= listed;
        match fragment.end_reason() {
            FragmentEnd::Cut => {
                self.keep_part(index, fragment);
                if let Some(call) = self.calls.get_mut(&id) {
                    call.cut = Some(index);
                }
            }
            FragmentEnd::Trailer => self.settle(id, index, State::Come(fragment)),
            _ if is_all => self.settle(id, index, State::Come(fragment)),
            // What follows may be the report of why there is no more of it.
            _ => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.last = Some((index, fragment));
                }
            }
        }
        if self.needed_call() == Some(id) && index != self.base { Came::OutOfOrder } else { Came::InOrder }
    }

    /// Bytes were skipped in a call.
    pub(super) fn skipped(&mut self, id: CallId, skipped: &Skipped) {
        let Some(index) = self.calls.get_mut(&id).and_then(|call| call.cut.take()) else {
            return self.settle_last(id);
        };
        let cause = skipped.cause().cloned().unwrap_or_else(|| Error::malformed("it could not be read"));
        self.damaged(id, index, cause);
    }

    /// What came of this one was damaged.
    fn damaged(&mut self, id: CallId, index: usize, cause: Error) {
        let most = DAMAGED.min(self.budget.attempts);
        let Some(entry) = self.entry_mut(index) else { return };
        entry.damaged += 1;
        let cause = cause.in_fragment(Some(entry.number.as_str()));
        let state = if entry.damaged >= most { State::Failed(cause) } else { State::Waiting { not_before: None } };
        self.settle(id, index, state);
    }

    /// The service reported an error in a call. Whether it ends all.
    pub(super) fn fault(&mut self, id: CallId, fault: &Fault, now: Instant) -> Option<Error> {
        let error = fault.to_error();
        // Which number "not found" has depends on whom one asks, and it may just not be there yet.
        let error = if error.kind() == ErrorKind::NotFound { error.retryable(fault.id() != Some(4507)) } else { error };
        let named = fault.fragment_number();
        let about = named.and_then(|number| self.open_index(id, number));
        let call = self.calls.get_mut(&id)?;
        call.cut = None;
        // It came before, and this may be why there is no more of it.
        if let Some((index, fragment)) = call.last.take() {
            if named.is_none() || about == Some(index) {
                self.keep_part(index, fragment);
            } else {
                self.settle(id, index, State::Come(fragment));
            }
        }
        if error.kind() == ErrorKind::AccessDenied && !error.is_retryable() {
            return Some(error);
        }
        match (about, named, self.calls.get_mut(&id)) {
            (Some(index), ..) => self.missed(id, index, error, now),
            // One that was not asked for, or has come.
            (None, Some(number), _) => tracing::debug!(%error, %number, "a fault that is of no consequence"),
            (None, None, Some(call)) => call.fault = Some(error),
            (None, None, None) => {}
        }
        None
    }

    /// The answer to a call is over. What has not come is asked for again.
    pub(super) fn over(&mut self, id: CallId, cause: Option<Error>, now: Instant) -> Ended {
        let none = Ended { is_fruitful: false, is_empty: false, trouble: None, first: None };
        let Some(call) = self.calls.get_mut(&id) else { return none };
        let fault = call.fault.take();
        let is_orderly = cause.is_none() && fault.is_none();
        if let Some((index, fragment)) = call.last.take() {
            let is_only = call.open.len() == 1;
            let is_proven = fragment.end_reason() != FragmentEnd::EndOfBody
                || (is_orderly && is_only && self.is_enough(index, &fragment));
            if is_proven || self.came_so_before(index, &fragment) {
                self.settle(id, index, State::Come(fragment));
            } else {
                self.keep_part(index, fragment);
            }
        }
        let Some(Asked { open, asked, answered, cut, .. }) = self.calls.get(&id) else { return none };
        let (open, asked, answered, cut) = (open.clone(), *asked, *answered, *cut);
        // What is wrong with the bytes comes again with them; how they came is another matter.
        let is_transport = cause.as_ref().is_some_and(Error::is_retryable);
        let is_damage = cause.is_some() && !is_transport;
        // What goes wrong where one fragment alone was asked for has to do with that one, unless it is how it came.
        let is_about_one = asked == 1 && !is_transport;
        for &index in &open {
            match cause.as_ref().or(fault.as_ref()).cloned() {
                Some(cause) if is_damage && (cut == Some(index) || is_about_one) => self.damaged(id, index, cause),
                Some(cause) if is_about_one => self.missed(id, index, cause.retryable(true), now),
                None if is_about_one => {
                    let message = if cut == Some(index) {
                        "GetMediaForFragmentList: the body ends, again and again, in the fragment"
                    } else {
                        "GetMediaForFragmentList: the body ends, again and again, without the fragment"
                    };
                    self.missed(id, index, Error::new(ErrorKind::NotFound, message).retryable(true), now);
                }
                // Whatever is in the way of others is found before long.
                _ if !is_transport => self.leave(index, (asked / if answered == 0 { 8 } else { 2 }).max(1)),
                _ => self.leave(index, usize::MAX),
            }
        }
        self.calls.remove(&id);
        if answered > 0 {
            self.most_calls = self.budget.calls.min(self.most_calls + 1);
        }
        let trouble = cause.or(fault).filter(|_| !is_damage && !is_about_one);
        let is_empty = answered == 0 && !open.is_empty() && !is_about_one;
        Ended { is_fruitful: answered > 0, is_empty, trouble, first: open.into_iter().min() }
    }

    /// A call is given up. What has not come is asked for again, at most so many together. The place of the first
    /// of that.
    pub(super) fn abandon(&mut self, id: CallId, most: impl FnOnce(usize) -> usize) -> Option<usize> {
        let call = self.calls.get_mut(&id)?;
        // Another document had begun behind this one.
        if let Some((index, fragment)) =
            call.last.take_if(|(_, fragment)| fragment.end_reason() == FragmentEnd::NextDocument)
        {
            self.settle(id, index, State::Come(fragment));
        }
        let call = self.calls.remove(&id)?;
        let most = most(call.asked).max(1);
        call.open.iter().for_each(|index| self.leave(*index, most));
        call.open.into_iter().min()
    }

    /// The service does not take what a call asks for. It may be one of its fragments: then all that is wrong is
    /// that one, which is found by asking for fewer.
    pub(super) fn not_understood(&mut self, id: CallId, error: &Error, now: Instant) {
        match self.calls.get(&id).map(|call| (call.asked, call.open.first().copied())) {
            Some((1, Some(index))) => {
                self.missed(id, index, error.clone().retryable(false), now);
                self.calls.remove(&id);
            }
            _ => drop(self.abandon(id, |asked| asked / 8)),
        }
    }

    /// Nothing more is to be had from this place on, for this reason. What comes before that comes.
    pub(super) fn end_at(&mut self, index: usize, error: Error) {
        if index >= self.end {
            return;
        }
        self.end = index;
        // A call that has only what is behind is of no use any more.
        let is_useless = |call: &Asked| call.open.iter().all(|open| *open >= index);
        let useless: Vec<_> = self.calls.iter().filter(|(_, call)| is_useless(call)).map(|(id, _)| *id).collect();
        for id in useless {
            self.abandon(id, |_| usize::MAX);
        }
        if let Some(entry) = self.entry(index) {
            let error = error.in_fragment(Some(entry.number.as_str()));
            self.put(index, State::Ended(error));
        }
    }

    /// Whether a call is still made.
    pub(super) fn has(&self, id: CallId) -> bool {
        self.calls.contains_key(&id)
    }

    fn room(&self) -> u64 {
        self.budget.bytes.saturating_sub(self.expected_bytes + self.held_bytes)
    }

    fn unknown_bytes(&self) -> u64 {
        match self.measured {
            (_, 0) => UNKNOWN_BYTES,
            (bytes, fragments) => (bytes / fragments).max(1),
        }
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index.checked_sub(self.base)?)
    }

    fn entry_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index.checked_sub(self.base)?)
    }

    /// Where a fragment is that this call has been asked for and has not answered.
    fn open_index(&self, id: CallId, number: &FragmentNumber) -> Option<usize> {
        let index = *self.asked.get(number)?;
        matches!(self.entry(index)?.state, State::Asked { call, .. } if call == id).then_some(index)
    }

    /// Another document has begun behind the one that came last: that is whole.
    fn settle_last(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cut = None;
        if let Some((index, fragment)) = call.last.take() {
            self.settle(id, index, State::Come(fragment));
        }
    }

    /// Whether a fragment that ended with the body is as large as it should be.
    fn is_enough(&self, index: usize, fragment: &Fragment) -> bool {
        let listed = self.entry(index).map_or(0, |entry| entry.bytes);
        fragment.raw().len() as u64 + self.slack >= listed
    }

    /// Whether it has come with just these bytes: then there are no more.
    fn came_so_before(&self, index: usize, fragment: &Fragment) -> bool {
        let part = self.entry(index).and_then(|entry| entry.part.as_ref());
        part.is_some_and(|part| part.end_reason() == FragmentEnd::EndOfBody && part.raw() == fragment.raw())
    }

    fn keep_part(&mut self, index: usize, fragment: Fragment) {
        let Some(entry) = self.entry_mut(index) else { return };
        let (before, bytes) = (size(entry.part.as_ref()), size(Some(&fragment)));
        if before <= bytes {
            entry.part = Some(fragment);
            self.held_bytes += bytes - before;
        }
    }

    /// It was not there, for a reason of its own.
    fn missed(&mut self, id: CallId, index: usize, error: Error, now: Instant) {
        let attempts = self.budget.attempts;
        let Some(entry) = self.entry_mut(index) else { return };
        entry.tries += 1;
        let number = entry.number.clone();
        let state = if entry.tries >= attempts || !error.is_retryable() {
            State::Failed(error.in_fragment(Some(number.as_str())))
        } else {
            let range = FIRST_PAUSE.saturating_mul(1 << (entry.tries - 1).min(10)).min(LONGEST_PAUSE);
            // Half of it for sure: what it waits for takes its time.
            let pause = range.mul_f64(0.5 + fastrand::f64() / 2.0);
            State::Waiting { not_before: Some(self.slice(now + pause)) }
        };
        self.settle(id, index, state);
    }

    /// The end of the slice of time in which this is.
    fn slice(&mut self, at: Instant) -> Instant {
        let began = *self.began.get_or_insert(at);
        let slices = at.duration_since(began).as_nanos() / SLICE.as_nanos() + 1;
        began + SLICE.saturating_mul(u32::try_from(slices).unwrap_or(u32::MAX))
    }

    /// It was asked for, and is to be asked for again.
    fn leave(&mut self, index: usize, most: usize) {
        let Some(entry) = self.entry_mut(index) else { return };
        entry.most = entry.most.min(most);
        if matches!(entry.state, State::Asked { .. }) {
            self.put(index, State::Waiting { not_before: None });
        }
    }

    /// What has become of one that was asked for in this call.
    fn settle(&mut self, id: CallId, index: usize, state: State) {
        let is_asked = |entry: &Entry| matches!(entry.state, State::Asked { call, .. } if call == id);
        if !self.entry(index).is_some_and(is_asked) {
            return;
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.open.retain(|open| *open != index);
            call.answered += 1;
        }
        if let State::Come(fragment) = &state
            && let Some(entry) = self.entry_mut(index)
        {
            let (listed, bytes) = (entry.bytes, fragment.raw().len() as u64);
            let part = entry.part.take();
            self.held_bytes = self.held_bytes + bytes - size(part.as_ref());
            if listed == 0 {
                self.measured = (self.measured.0 + bytes, self.measured.1 + 1);
            }
            self.slack = self.slack.max(listed.saturating_sub(bytes));
        }
        self.put(index, state);
    }

    /// The one place where a state that was there before changes.
    fn put(&mut self, index: usize, state: State) {
        let is_paused = |state: &State| usize::from(matches!(state, State::Waiting { not_before: Some(_) }));
        let (is_waiting, pauses) = (matches!(state, State::Waiting { .. }), is_paused(&state));
        let Some(entry) = self.entry_mut(index) else { return };
        let before = std::mem::replace(&mut entry.state, state);
        let number = entry.number.clone();
        if is_waiting {
            self.first_waiting = self.first_waiting.min(index);
        }
        self.paused += pauses;
        if let State::Asked { expected, .. } = before {
            self.asked.remove(&number);
            self.expected_bytes -= expected;
        }
        self.paused -= is_paused(&before);
    }
}

fn size(part: Option<&Fragment>) -> u64 {
    part.map_or(0, |part| part.raw().len() as u64)
}

#[cfg(feature = "local")]
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use futures::{FutureExt, StreamExt};

    use super::*;
    use crate::demux::{BodyItem, BodyStream};
    use crate::fragment::Timestamp;
    use crate::local::{Document, Shape, Stamp};

    fn number(n: usize) -> FragmentNumber {
        (n + 100).to_string().parse().unwrap()
    }

    fn bytes(n: usize, size: usize) -> Vec<u8> {
        let time = Timestamp::from_millis(1000);
        let stamp = Stamp { number: number(n), server_time: time, producer_time: time };
        let document = Document::new(Shape::Producer).video_track(1).block(1, 0, true, &vec![7; size]);
        document.block(1, 500, false, &[8; 20]).to_bytes_without_trailer(&stamp).to_vec()
    }

    /// What a body of these bytes brings.
    fn items(body: &[u8]) -> Vec<BodyItem> {
        let items = BodyStream::new(body).resync(true).filter_map(async |item| item.ok()).collect::<Vec<_>>();
        items.now_or_never().unwrap()
    }

    impl Work {
        /// What is true whatever has happened.
        fn is_sound(&self) {
            let mut asked = BTreeSet::new();
            for (id, call) in &self.calls {
                assert!(!call.open.is_empty() || call.answered == call.asked, "call {id} is of no use: {call:?}");
                for index in &call.open {
                    assert!(asked.insert(*index), "{index} is asked for twice");
                    let entry = self.entry(*index).unwrap();
                    assert!(matches!(entry.state, State::Asked { call, .. } if call == *id), "{entry:?} in {id}");
                }
            }
            let entries = || (self.base..).zip(&self.entries);
            let count = |is: fn(&State) -> bool| entries().filter(|(_, entry)| is(&entry.state)).count();
            assert_eq!(count(|state| matches!(state, State::Asked { .. })), asked.len());
            assert_eq!(self.asked.len(), asked.len());
            assert_eq!(count(|state| matches!(state, State::Waiting { not_before: Some(_) })), self.paused);
            let mut waiting = entries().filter(|(_, entry)| matches!(entry.state, State::Waiting { .. }));
            assert!(waiting.next().is_none_or(|(index, _)| index >= self.first_waiting), "one is forgotten");
            let (mut expected, mut held) = (0, 0);
            for (_, entry) in entries() {
                held += size(entry.part.as_ref());
                match &entry.state {
                    State::Asked { expected: bytes, .. } => expected += bytes,
                    State::Come(fragment) => held += size(Some(fragment)),
                    _ => {}
                }
            }
            assert_eq!((self.expected_bytes, self.held_bytes), (expected, held));
        }
    }

    /// Whatever calls bring, in whatever order, and however they end: all is asked for until it has come or cannot be
    /// had, what is given out is in order, and the books are straight.
    #[test]
    fn whatever_happens() {
        for seed in 0..400 {
            let mut rng = fastrand::Rng::with_seed(seed);
            fastrand::seed(seed);
            let (total, calls) = (rng.usize(1..40), rng.usize(1..5));
            let stored: Vec<Vec<u8>> = (0..total).map(|n| bytes(n, rng.usize(1..3000))).collect();
            let budget = Budget { batch: rng.usize(1..20), calls, bytes: rng.u64(1..20_000), attempts: rng.u32(1..5) };
            let wanted = stored
                .iter()
                .enumerate()
                .map(|(n, bytes)| (number(n), [0, bytes.len() as u64, bytes.len() as u64 / 2][rng.usize(0..3)]));
            let mut work = Work::new(budget, wanted.collect::<Vec<_>>());
            let mut open: Vec<(CallId, Vec<usize>)> = Vec::new();
            let (mut now, mut given, mut rounds) = (Instant::now(), 0, 0);
            while !work.is_done() {
                rounds += 1;
                assert!(rounds < 50_000, "run {seed}: it does not end: {work:?}");
                while let Some(ready) = work.pop() {
                    match ready {
                        Ready::Fragment(fragment, _) => {
                            assert_eq!(fragment.number(), Some(&number(given)), "run {seed}");
                            assert!(fragment.end_reason() != FragmentEnd::Cut);
                        }
                        Ready::Unavailable { number: gone, part, .. } => {
                            assert_eq!(gone, number(given), "run {seed}");
                            assert!(part.is_none_or(|part| part.end_reason() == FragmentEnd::Cut));
                        }
                        Ready::End { .. } => unreachable!("nothing ends it"),
                    }
                    given += 1;
                    work.is_sound();
                }
                if let Some(id) = work.in_the_way(now) {
                    work.abandon(id, |_| usize::MAX);
                    open.retain(|(other, _)| *other != id);
                }
                while let Some((id, numbers)) = work.next_call(now) {
                    let index = |number: &FragmentNumber| number.as_str().parse::<usize>().unwrap() - 100;
                    open.push((id, numbers.iter().map(index).collect()));
                    work.is_sound();
                }
                now += Duration::from_millis(rng.u64(0..400));
                if open.is_empty() {
                    continue;
                }
                let (id, mut asked) = open.swap_remove(rng.usize(0..open.len()));
                if rng.u32(0..8) == 0 {
                    work.abandon(id, |asked| asked / 2);
                    work.is_sound();
                    continue;
                }
                if rng.bool() {
                    rng.shuffle(&mut asked);
                }
                let mut body = Vec::new();
                for n in asked {
                    let fault = |about: Option<usize>| {
                        Document::fault(
                            *fastrand::choice(&[3000, 4000, 5000, 77]).unwrap(),
                            "E",
                            about.map(number).as_ref(),
                        )
                    };
                    match rng.u32(0..14) {
                        0 => {}
                        1 => body.extend(fault(Some(n))),
                        2 => body.extend(fault(None)),
                        3 => body.extend(fault(Some(rng.usize(0..total)))),
                        // Damaged, and something behind it.
                        4 => {
                            let mut damaged = stored[n].clone();
                            let at = damaged.len() - rng.usize(20..60).min(damaged.len() / 2);
                            damaged[at..at + 12].fill(0);
                            body.extend(damaged);
                        }
                        // The report of an error inside its own document.
                        5 => {
                            body.extend(&stored[n][..stored[n].len() - rng.usize(0..30)]);
                            body.extend(fault(Some(n)));
                        }
                        6 => {
                            body.extend(&stored[n]);
                            body.extend(&stored[rng.usize(0..total)]);
                        }
                        _ => body.extend(&stored[n]),
                    }
                }
                if rng.u32(0..4) == 0 {
                    body.truncate(rng.usize(0..=body.len()));
                }
                for item in items(&body) {
                    match item {
                        BodyItem::Fragment(fragment) => drop(work.came(id, fragment)),
                        BodyItem::Fault(fault) => assert!(work.fault(id, &fault, now).is_none()),
                        BodyItem::Skipped(skipped) => work.skipped(id, &skipped),
                    }
                    work.is_sound();
                }
                let cause = match rng.u32(0..5) {
                    0 => Some(Error::new(ErrorKind::Io, "reset")),
                    1 => Some(Error::limit("too much")),
                    _ => None,
                };
                work.over(id, cause, now);
                work.is_sound();
            }
            assert_eq!(given, total, "run {seed}");
        }
    }
}
