//! What has happened at the endpoint, counted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::local::faults::injected_fault::Operation;

/// Something that takes effect: a mishap, or a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    AgedOut,
    BreakOff,
    ConnectionLimit,
    Cut,
    Damage,
    EmptyPage,
    End,
    EndBeforeTrailer,
    Fault,
    FaultAt,
    IdleEnd,
    Omit,
    Refuse,
    Repeat,
    RepeatPage,
    RequestExpired,
    Reset,
    SessionEnd,
    Shuffle,
    Stall,
    StaleEndpoint,
    Throttled,
    Trickle,
    UnknownOperation,
}

impl Event {
    const ALL: [Self; 24] = [
        Self::AgedOut,
        Self::BreakOff,
        Self::ConnectionLimit,
        Self::Cut,
        Self::Damage,
        Self::EmptyPage,
        Self::End,
        Self::EndBeforeTrailer,
        Self::Fault,
        Self::FaultAt,
        Self::IdleEnd,
        Self::Omit,
        Self::Refuse,
        Self::Repeat,
        Self::RepeatPage,
        Self::RequestExpired,
        Self::Reset,
        Self::SessionEnd,
        Self::Shuffle,
        Self::Stall,
        Self::StaleEndpoint,
        Self::Throttled,
        Self::Trickle,
        Self::UnknownOperation,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::AgedOut => "aged out",
            Self::BreakOff => "break off",
            Self::ConnectionLimit => "connection limit",
            Self::Cut => "cut",
            Self::Damage => "damage",
            Self::EmptyPage => "empty page",
            Self::End => "end",
            Self::EndBeforeTrailer => "end before trailer",
            Self::Fault => "fault",
            Self::FaultAt => "fault at",
            Self::IdleEnd => "idle end",
            Self::Omit => "omit",
            Self::Refuse => "refuse",
            Self::Repeat => "repeat",
            Self::RepeatPage => "repeat page",
            Self::RequestExpired => "request expired",
            Self::Reset => "reset",
            Self::SessionEnd => "session end",
            Self::Shuffle => "shuffle",
            Self::Stall => "stall",
            Self::StaleEndpoint => "stale endpoint",
            Self::Throttled => "throttled",
            Self::Trickle => "trickle",
            Self::UnknownOperation => "unknown operation",
        }
    }
}

/// How often each thing has happened, and when calls came.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    counts: Mutex<BTreeMap<Event, u64>>,
    calls: Mutex<HashMap<(Operation, String), VecDeque<Instant>>>,
}

/// How many calls of one operation for one stream are remembered.
const KEPT_CALLS: usize = 10_000;

impl Happened {
    pub(crate) fn count(&self, event: Event) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(event).or_default() += 1;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Event::ALL.iter().map(|event| (event.name(), counts.get(event).copied().unwrap_or(0))).collect()
    }

    /// Remembers a call that comes now.
    pub(crate) fn call(&self, operation: Operation, stream: String) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let times = calls.entry((operation, stream)).or_default();
        if times.len() == KEPT_CALLS {
            times.pop_front();
        }
        times.push_back(Instant::now());
    }

    pub(crate) fn calls(&self, operation: Operation, stream: &str) -> Vec<Instant> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&(operation, stream.to_owned())).map(|times| times.iter().copied().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_forgotten_in_the_end() {
        let happened = Happened::default();
        (0..KEPT_CALLS + 5).for_each(|_| happened.call(Operation::GetMedia, "door".into()));
        assert_eq!(happened.calls(Operation::GetMedia, "door").len(), KEPT_CALLS);
        assert_eq!(happened.calls(Operation::GetMedia, "window"), []);
    }
}
