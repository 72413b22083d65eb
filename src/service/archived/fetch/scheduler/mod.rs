//! [`FetchScheduler`]: which fragments to request in which calls, and which have arrived.
//!
//! It does no I/O. The caller passes in the time and the random number generator.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::fragment::{Fault, Fragment, FragmentEnd, FragmentNumber, Skipped};
use crate::service::call::RetryConfig;

/// The number of damaged arrivals after which a fragment counts as stored damaged.
const MAX_DAMAGED: u32 = 2;

/// The assumed size of a fragment without a listed size, before any such fragment has arrived.
const UNKNOWN_BYTES: u64 = 1 << 20;

/// Pauses end at multiples of this, so that fragments due at about the same time share a call.
const SLICE: Duration = Duration::from_millis(250);

/// Limits on requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Fragments per call.
    pub(super) batch: usize,
    /// Calls at a time.
    pub(super) calls: usize,
    /// Bytes that are requested or have arrived and cannot be yielded yet.
    pub(super) bytes: u64,
    /// Attempts per fragment, and the backoff before a missing fragment is requested again.
    pub(super) retry: RetryConfig,
}

/// Identifies a call.
pub(super) type CallId = u32;

/// The state of all wanted fragments, in the order in which they are yielded.
#[derive(Debug)]
pub(super) struct FetchScheduler {
    budget: Budget,
    rng: Rng,
    entries: VecDeque<Entry>,
    /// The index of the first entry: the number of fragments popped so far.
    base: usize,
    /// No entry before this index is waiting.
    first_waiting: usize,
    /// The number of entries that wait for a time.
    paused: usize,
    /// The indexes of the requested fragments.
    requested: HashMap<FragmentNumber, usize>,
    calls: BTreeMap<CallId, Call>,
    /// The number of calls at a time that the service seems to accept.
    max_calls: usize,
    next_call: CallId,
    /// The expected size of the requested fragments.
    expected_bytes: u64,
    /// The size of arrived fragments that cannot be yielded yet, and of parts whose fragments are requested again.
    held_bytes: u64,
    /// Total size and number of the arrived fragments without a listed size.
    measured: (u64, u64),
    /// The largest observed difference between listed and received size of a whole fragment. The service counts
    /// some bytes that it does not send.
    slack: u64,
    /// Nothing is requested from this index on.
    end: usize,
    /// The time of the first pause. Slices are counted from it.
    slices_start: Option<Instant>,
}

/// A wanted fragment.
#[derive(Debug)]
struct Entry {
    number: FragmentNumber,
    /// As listed; 0 if unknown.
    listed_bytes: u64,
    /// Failed attempts that concern this fragment.
    attempts: u32,
    /// Damaged arrivals.
    damaged: u32,
    /// The maximum number of fragments in a call with this one.
    max_batch: usize,
    /// The largest part that has arrived.
    part: Option<Fragment>,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting {
        not_before: Option<Instant>,
    },
    Requested {
        call: CallId,
        expected: u64,
    },
    Arrived(Fragment),
    Unavailable(Error),
    /// The stream ends here with this error.
    Ended(Error),
}

/// A call that is being answered.
#[derive(Debug)]
struct Call {
    /// The indexes of the fragments that have not arrived.
    open: Vec<usize>,
    requested: usize,
    answered: usize,
    /// The fragment that arrived last, if it is whole unless the next item contradicts.
    last: Option<(usize, Fragment)>,
    /// The fragment that arrived last, if it is not whole.
    cut: Option<usize>,
    /// A fault that the service reported without a fragment number.
    fault: Option<Error>,
}

/// The next output of the stream.
#[derive(Debug)]
pub(super) enum Output {
    Fragment {
        fragment: Fragment,
        listed_bytes: u64,
    },
    Unavailable {
        number: FragmentNumber,
        error: Error,
        part: Option<Fragment>,
        listed_bytes: u64,
    },
    /// The stream ends with this error.
    End {
        error: Error,
        part: Option<Fragment>,
    },
}

/// The place of an arrived fragment in the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// It is the next to yield, or was read ahead.
    InOrder,
    /// It arrived before the next fragment to yield, which is in the same response.
    OutOfOrder,
    /// It was not requested, or is a repeat.
    Unwanted,
}

/// The result of a body that ended.
#[derive(Debug)]
pub(super) struct BodyOutcome {
    /// True if a requested fragment arrived.
    pub(super) made_progress: bool,
    /// True if the next call must wait: nothing arrived, and no fragment has a pause of its own.
    pub(super) must_pause: bool,
    /// A failure of the connection or the service that concerns no single fragment.
    pub(super) failure: Option<Error>,
    /// The index of the first fragment that did not arrive.
    pub(super) first_missing: Option<usize>,
}

impl FetchScheduler {
    pub(super) fn new(budget: Budget, wanted: impl IntoIterator<Item = (FragmentNumber, u64)>, rng: Rng) -> Self {
        let waiting = |(number, listed_bytes)| Entry {
            number,
            listed_bytes,
            attempts: 0,
            damaged: 0,
            max_batch: usize::MAX,
            part: None,
            state: State::Waiting { not_before: None },
        };
        Self {
            budget,
            rng,
            entries: wanted.into_iter().map(waiting).collect(),
            base: 0,
            first_waiting: 0,
            paused: 0,
            requested: HashMap::new(),
            calls: BTreeMap::new(),
            max_calls: budget.calls,
            next_call: 0,
            expected_bytes: 0,
            held_bytes: 0,
            measured: (0, 0),
            slack: 0,
            end: usize::MAX,
            slices_start: None,
        }
    }

    /// Removes and returns the next output, if it is known.
    pub(super) fn pop(&mut self) -> Option<Output> {
        if matches!(self.entries.front()?.state, State::Waiting { .. } | State::Requested { .. }) {
            return None;
        }
        let Entry { number, listed_bytes, part, state, .. } = self.entries.pop_front()?;
        self.base += 1;
        self.first_waiting = self.first_waiting.max(self.base);
        self.held_bytes -= size(part.as_ref());
        let part = part.map(Fragment::into_cut);
        Some(match state {
            State::Arrived(fragment) => {
                self.held_bytes -= fragment.raw().len() as u64;
                Output::Fragment { fragment, listed_bytes }
            }
            State::Unavailable(error) => Output::Unavailable { number, error, part, listed_bytes },
            State::Ended(error) => Output::End { error, part },
            State::Waiting { .. } | State::Requested { .. } => return None,
        })
    }

    pub(super) fn is_done(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the next call to make and its fragment numbers.
    pub(super) fn next_call(&mut self, now: Instant) -> Option<(CallId, Vec<FragmentNumber>)> {
        if self.calls.len() >= self.max_calls {
            return None;
        }
        let is_waiting = |entry: &Entry| matches!(entry.state, State::Waiting { .. });
        let from = self.first_waiting - self.base;
        self.first_waiting += self.entries.iter().skip(from).position(is_waiting)?;
        // Each call gets its share of the bytes, so that all calls fit.
        let max_bytes = (self.budget.bytes / self.budget.calls.max(1) as u64).max(1);
        let (mut room, mut max_batch, mut bytes) = (self.room(), self.budget.batch, 0);
        let unknown_bytes = self.unknown_bytes();
        let mut batch = Vec::new();
        let left = self.end.saturating_sub(self.base);
        for (offset, entry) in self.entries.iter().enumerate().take(left).skip(self.first_waiting - self.base) {
            if !entry.is_due(now) {
                continue;
            }
            let expected = if entry.listed_bytes == 0 { unknown_bytes } else { entry.listed_bytes };
            max_batch = max_batch.min(entry.max_batch);
            // The next fragment to yield is requested even if it does not fit.
            let is_needed = offset == 0;
            let fits = batch.len() < max_batch && expected <= room && bytes + expected <= max_bytes;
            if !fits && !(batch.is_empty() && (is_needed || expected <= room)) {
                break;
            }
            room = room.saturating_sub(expected);
            bytes += expected;
            batch.push((self.base + offset, expected, entry.number.clone()));
        }
        if batch.is_empty() {
            return None;
        }
        let call = self.next_call;
        self.next_call = self.next_call.wrapping_add(1);
        let (mut open, mut numbers) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        for (index, expected, number) in batch {
            self.set_state(index, State::Requested { call, expected });
            open.push(index);
            numbers.push(number);
        }
        self.calls.insert(call, Call { requested: open.len(), open, answered: 0, last: None, cut: None, fault: None });
        Some((call, numbers))
    }

    /// Returns the end of the first pause that has not ended yet.
    ///
    /// Fragments whose pause has ended and that were not requested wait for room, not for a time.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let pauses = self.entries.iter().filter_map(|entry| match entry.state {
            State::Waiting { not_before } => not_before,
            _ => None,
        });
        pauses.take(self.paused).filter(|at| *at > now).min()
    }

    /// Returns the call that has requested the next fragment to yield.
    pub(super) fn needed_call(&self) -> Option<CallId> {
        match self.entries.front()?.state {
            State::Requested { call, .. } => Some(call),
            _ => None,
        }
    }

    /// Returns a call to drop in favor of the next fragment to yield.
    ///
    /// Returns `None` unless that fragment is due and the maximum number of calls is reached.
    pub(super) fn call_to_preempt(&self, now: Instant) -> Option<CallId> {
        let is_due = self.entries.front()?.is_due(now);
        let is_full = self.calls.len() >= self.max_calls;
        let last = self.calls.iter().max_by_key(|(_, call)| call.open.first());
        last.filter(|_| is_due && is_full).map(|(&id, _)| id)
    }

    /// Lowers the number of calls at a time to the current one, after the service refused a call.
    pub(super) fn limit_calls(&mut self) {
        self.max_calls = self.calls.len().max(1);
    }

    /// Returns whether there is room for fragments that cannot be yielded yet.
    pub(super) fn may_read_ahead(&self) -> bool {
        self.held_bytes < self.budget.bytes
    }

    /// Returns the size of the fragments and parts that have arrived and cannot be yielded yet.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Returns whether more is held than the budget allows.
    pub(super) fn overflows(&self) -> bool {
        self.held_bytes > self.budget.bytes
    }

    /// Accepts a fragment of a call.
    pub(super) fn on_fragment(&mut self, id: CallId, fragment: Fragment) -> Placement {
        self.resolve_last(id);
        let Some(index) = fragment.number().and_then(|number| self.open_index(id, number)) else {
            return Placement::Unwanted;
        };
        let listed = self.entry(index).map_or(0, |entry| entry.listed_bytes);
        let has_listed_size = listed > 0 && fragment.raw().len() as u64 >= listed;
        match fragment.end_reason() {
            FragmentEnd::Cut => {
                self.keep_part(index, fragment);
                if let Some(call) = self.calls.get_mut(&id) {
                    call.cut = Some(index);
                }
            }
            FragmentEnd::Trailer => self.resolve(id, index, State::Arrived(fragment)),
            _ if has_listed_size => self.resolve(id, index, State::Arrived(fragment)),
            // The next item may be a fault that explains why the rest is missing.
            _ => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.last = Some((index, fragment));
                }
            }
        }
        if self.needed_call() == Some(id) && index != self.base { Placement::OutOfOrder } else { Placement::InOrder }
    }

    /// Accepts a report of skipped bytes in a call.
    pub(super) fn on_skipped(&mut self, id: CallId, skipped: &Skipped) {
        let Some(index) = self.calls.get_mut(&id).and_then(|call| call.cut.take()) else {
            return self.resolve_last(id);
        };
        let cause = skipped.cause().cloned().unwrap_or_else(|| Error::malformed("the fragment cannot be read"));
        self.count_damage(id, index, cause);
    }

    /// Accepts a fault that the service reported in a call. Returns an error that ends the stream.
    pub(super) fn on_fault(&mut self, id: CallId, fault: &Fault, now: Instant) -> Option<Error> {
        let error = fault.to_error();
        // Sources disagree about the id of "not found", and a new fragment may be found later.
        let error = if error.kind() == ErrorKind::NotFound { error.retryable(fault.id() != Some(4507)) } else { error };
        let named = fault.fragment_number();
        let subject = named.and_then(|number| self.open_index(id, number));
        let call = self.calls.get_mut(&id)?;
        call.cut = None;
        // The fault may explain why the last fragment is not whole.
        if let Some((index, fragment)) = call.last.take() {
            if named.is_none() || subject == Some(index) {
                self.keep_part(index, fragment);
            } else {
                self.resolve(id, index, State::Arrived(fragment));
            }
        }
        if error.kind() == ErrorKind::AccessDenied && !error.is_retryable() {
            return Some(error);
        }
        match (subject, named, self.calls.get_mut(&id)) {
            (Some(index), ..) => self.count_miss(id, index, error, now),
            (None, Some(number), _) => {
                tracing::debug!(%error, %number, "ignored a fault of a fragment that is not open")
            }
            (None, None, Some(call)) => call.fault = Some(error),
            (None, None, None) => {}
        }
        None
    }

    /// Accepts the end of a body. Fragments that have not arrived are requested again.
    pub(super) fn on_body_end(&mut self, id: CallId, cause: Option<Error>, now: Instant) -> BodyOutcome {
        let nothing = BodyOutcome { made_progress: false, must_pause: false, failure: None, first_missing: None };
        let Some(call) = self.calls.get_mut(&id) else { return nothing };
        let fault = call.fault.take();
        let is_orderly = cause.is_none() && fault.is_none();
        if let Some((index, fragment)) = call.last.take() {
            let is_only = call.open.len() == 1;
            let is_proven = fragment.end_reason() != FragmentEnd::EndOfBody
                || (is_orderly && is_only && self.has_listed_size(index, &fragment));
            if is_proven || self.is_same_as_part(index, &fragment) {
                self.resolve(id, index, State::Arrived(fragment));
            } else {
                self.keep_part(index, fragment);
            }
        }
        let Some(Call { open, requested, answered, cut, .. }) = self.calls.get(&id) else { return nothing };
        let (open, requested, answered, cut) = (open.clone(), *requested, *answered, *cut);
        // Retryable errors come from the connection. All others come from the bytes and will repeat.
        let is_transport = cause.as_ref().is_some_and(Error::is_retryable);
        let is_damage = cause.is_some() && !is_transport;
        // A failure other than the connection's concerns the fragment if it was requested alone.
        let is_about_one = requested == 1 && !is_transport;
        for &index in &open {
            match cause.as_ref().or(fault.as_ref()).cloned() {
                Some(cause) if is_damage && (cut == Some(index) || is_about_one) => self.count_damage(id, index, cause),
                Some(cause) if is_about_one => self.count_miss(id, index, cause.retryable(true), now),
                None if is_about_one => {
                    let message = if cut == Some(index) {
                        "GetMediaForFragmentList: every response ended within the fragment"
                    } else {
                        "GetMediaForFragmentList: every response ended without the fragment"
                    };
                    self.count_miss(id, index, Error::new(ErrorKind::NotFound, message).retryable(true), now);
                }
                // Smaller and smaller calls isolate a fragment that blocks the others.
                _ if !is_transport => self.requeue(index, (requested / if answered == 0 { 8 } else { 2 }).max(1)),
                _ => self.requeue(index, usize::MAX),
            }
        }
        self.calls.remove(&id);
        if answered > 0 {
            self.max_calls = self.budget.calls.min(self.max_calls + 1);
        }
        let failure = cause.or(fault).filter(|_| !is_damage && !is_about_one);
        let must_pause = answered == 0 && !open.is_empty() && !is_about_one;
        BodyOutcome { made_progress: answered > 0, must_pause, failure, first_missing: open.into_iter().min() }
    }

    /// Gives up a call. Returns the index of the first fragment that has not arrived.
    ///
    /// Those fragments are requested again. `max_batch` maps the size of this call to the maximum size of the
    /// next calls with one of them.
    pub(super) fn abandon(&mut self, id: CallId, max_batch: impl FnOnce(usize) -> usize) -> Option<usize> {
        let call = self.calls.get_mut(&id)?;
        // A fragment that another document follows is whole.
        if let Some((index, fragment)) =
            call.last.take_if(|(_, fragment)| fragment.end_reason() == FragmentEnd::NextDocument)
        {
            self.resolve(id, index, State::Arrived(fragment));
        }
        let call = self.calls.remove(&id)?;
        let max_batch = max_batch(call.requested).max(1);
        call.open.iter().for_each(|index| self.requeue(*index, max_batch));
        call.open.into_iter().min()
    }

    /// Accepts that the service rejected a call as invalid.
    ///
    /// One of its fragment numbers may be the reason. Smaller calls isolate it.
    pub(super) fn on_rejected(&mut self, id: CallId, error: &Error, now: Instant) {
        match self.calls.get(&id).map(|call| (call.requested, call.open.first().copied())) {
            Some((1, Some(index))) => {
                self.count_miss(id, index, error.clone().retryable(false), now);
                self.calls.remove(&id);
            }
            _ => drop(self.abandon(id, |requested| requested / 8)),
        }
    }

    /// Ends the stream with an error at this index. Fragments before it are still fetched.
    pub(super) fn end_at(&mut self, index: usize, error: Error) {
        if index >= self.end {
            return;
        }
        self.end = index;
        // Calls that have only fragments from this index on are useless now.
        let is_useless = |call: &Call| call.open.iter().all(|open| *open >= index);
        let useless: Vec<_> = self.calls.iter().filter(|(_, call)| is_useless(call)).map(|(id, _)| *id).collect();
        for id in useless {
            self.abandon(id, |_| usize::MAX);
        }
        if let Some(entry) = self.entry(index) {
            let error = error.in_fragment(Some(entry.number.as_str()));
            self.set_state(index, State::Ended(error));
        }
    }

    /// Returns whether a call has neither ended nor been given up.
    pub(super) fn has_call(&self, id: CallId) -> bool {
        self.calls.contains_key(&id)
    }

    fn room(&self) -> u64 {
        self.budget.bytes.saturating_sub(self.expected_bytes + self.held_bytes)
    }

    /// Returns the expected size of a fragment without a listed size.
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

    /// Returns the index of a fragment that this call has requested and not received.
    fn open_index(&self, id: CallId, number: &FragmentNumber) -> Option<usize> {
        let index = *self.requested.get(number)?;
        matches!(self.entry(index)?.state, State::Requested { call, .. } if call == id).then_some(index)
    }

    /// Accepts the last fragment as whole, because another document follows it.
    fn resolve_last(&mut self, id: CallId) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        call.cut = None;
        if let Some((index, fragment)) = call.last.take() {
            self.resolve(id, index, State::Arrived(fragment));
        }
    }

    /// Returns whether a fragment that ended with the body has about its listed size.
    fn has_listed_size(&self, index: usize, fragment: &Fragment) -> bool {
        let listed = self.entry(index).map_or(0, |entry| entry.listed_bytes);
        fragment.raw().len() as u64 + self.slack >= listed
    }

    /// Returns whether the fragment arrived before with the same bytes, so that more will not arrive.
    fn is_same_as_part(&self, index: usize, fragment: &Fragment) -> bool {
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

    /// Counts a damaged arrival. The fragment is requested again or unavailable.
    fn count_damage(&mut self, id: CallId, index: usize, cause: Error) {
        let max = MAX_DAMAGED.min(self.budget.retry.attempts());
        let Some(entry) = self.entry_mut(index) else { return };
        entry.damaged += 1;
        let cause = cause.in_fragment(Some(entry.number.as_str()));
        let state = if entry.damaged >= max { State::Unavailable(cause) } else { State::Waiting { not_before: None } };
        self.resolve(id, index, state);
    }

    /// Counts a failed attempt. The fragment is requested again after a pause, or unavailable.
    fn count_miss(&mut self, id: CallId, index: usize, error: Error, now: Instant) {
        let retry = self.budget.retry;
        let Some(entry) = self.entry_mut(index) else { return };
        entry.attempts += 1;
        let state = if entry.attempts >= retry.attempts() || !error.is_retryable() {
            State::Unavailable(error.in_fragment(Some(entry.number.as_str())))
        } else {
            // At least half of the bound: a fragment that was just stored takes its time to appear.
            let pause = retry.long_backoff(entry.attempts, &mut self.rng);
            State::Waiting { not_before: Some(self.slice_end(now + pause)) }
        };
        self.resolve(id, index, state);
    }

    /// Returns the end of the slice that contains this time.
    fn slice_end(&mut self, at: Instant) -> Instant {
        let start = *self.slices_start.get_or_insert(at);
        let slices = at.duration_since(start).as_nanos() / SLICE.as_nanos() + 1;
        start + SLICE.saturating_mul(u32::try_from(slices).unwrap_or(u32::MAX))
    }

    /// Requests a fragment again, with at most `max_batch` fragments in the call.
    fn requeue(&mut self, index: usize, max_batch: usize) {
        let Some(entry) = self.entry_mut(index) else { return };
        entry.max_batch = entry.max_batch.min(max_batch);
        if matches!(entry.state, State::Requested { .. }) {
            self.set_state(index, State::Waiting { not_before: None });
        }
    }

    /// Ends the request of a fragment in a call.
    fn resolve(&mut self, id: CallId, index: usize, state: State) {
        let is_requested = |entry: &Entry| matches!(entry.state, State::Requested { call, .. } if call == id);
        if !self.entry(index).is_some_and(is_requested) {
            return;
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.open.retain(|open| *open != index);
            call.answered += 1;
        }
        if let State::Arrived(fragment) = &state
            && let Some(entry) = self.entry_mut(index)
        {
            let (listed, bytes) = (entry.listed_bytes, fragment.raw().len() as u64);
            let part = entry.part.take();
            self.held_bytes = self.held_bytes + bytes - size(part.as_ref());
            if listed == 0 {
                self.measured = (self.measured.0 + bytes, self.measured.1 + 1);
            }
            self.slack = self.slack.max(listed.saturating_sub(bytes));
        }
        self.set_state(index, state);
    }

    /// Changes the state of an entry and the counters that depend on it. All changes go through here.
    fn set_state(&mut self, index: usize, state: State) {
        let is_paused = |state: &State| usize::from(matches!(state, State::Waiting { not_before: Some(_) }));
        let paused = is_paused(&state);
        let is_waiting = matches!(state, State::Waiting { .. });
        let expected = if let State::Requested { expected, .. } = state { Some(expected) } else { None };
        let Some(entry) = self.entry_mut(index) else { return };
        let before = std::mem::replace(&mut entry.state, state);
        let number = entry.number.clone();
        self.paused = self.paused + paused - is_paused(&before);
        if is_waiting {
            self.first_waiting = self.first_waiting.min(index);
        }
        if let State::Requested { expected, .. } = before {
            self.requested.remove(&number);
            self.expected_bytes -= expected;
        }
        if let Some(expected) = expected {
            self.requested.insert(number, index);
            self.expected_bytes += expected;
        }
    }
}

impl Entry {
    fn is_due(&self, now: Instant) -> bool {
        matches!(self.state, State::Waiting { not_before } if not_before.is_none_or(|at| at <= now))
    }
}

fn size(part: Option<&Fragment>) -> u64 {
    part.map_or(0, |part| part.raw().len() as u64)
}

#[cfg(feature = "local")]
#[cfg(test)]
mod tests;
