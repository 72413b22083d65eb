//! Counters of injected faults and quotas that took effect, and the times of calls.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::local::faults::operation::Operation;

/// Defines [`Event`] and [`FaultCounts`] from one list: variant, field, printed name.
macro_rules! counters {
    ($($(#[$doc:meta])* $event:ident $field:ident $name:literal,)*) => {
        /// An injected fault or a quota that takes effect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Event {
            $($event,)*
        }

        /// Counts of the injected faults and quotas that took effect.
        ///
        /// A fault counts when it happens, not when it is injected. A fault counts once, however
        /// long it lasts, except `StaleEndpoint`. A fault does not count if the body ends before it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct FaultCounts {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl FaultCounts {
            /// Returns the name and value of every counter, zeros included, in alphabetical order.
            ///
            /// Names are the fields' with spaces: `"break off"`.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$(($name, self.$field),)*].into_iter()
            }

            fn add(&mut self, event: Event) {
                let counter = match event {
                    $(Event::$event => &mut self.$field,)*
                };
                *counter += 1;
            }
        }
    };
}

counters! {
    /// Calls of GetMedia that resumed before fragments that had been dropped.
    AgedOut aged_out "aged out",
    /// [`InjectedFault::BreakOff`](crate::local::InjectedFault::BreakOff).
    BreakOff break_off "break off",
    /// Calls of GetMedia and GetMediaForFragmentList refused for too many open connections.
    ConnectionLimit connection_limit "connection limit",
    /// [`InjectedFault::CutAfter`](crate::local::InjectedFault::CutAfter).
    Cut cut "cut",
    /// [`InjectedFault::DamageAt`](crate::local::InjectedFault::DamageAt).
    Damage damage "damage",
    /// [`InjectedFault::EmptyPage`](crate::local::InjectedFault::EmptyPage).
    EmptyPage empty_page "empty page",
    /// [`InjectedFault::EndAfter`](crate::local::InjectedFault::EndAfter).
    End end "end",
    /// [`InjectedFault::EndBeforeTrailer`](crate::local::InjectedFault::EndBeforeTrailer).
    EndBeforeTrailer end_before_trailer "end before trailer",
    /// [`InjectedFault::FaultAfter`](crate::local::InjectedFault::FaultAfter).
    Fault fault "fault",
    /// [`InjectedFault::FaultAt`](crate::local::InjectedFault::FaultAt).
    FaultAt fault_at "fault at",
    /// Bodies of GetMedia that ended by the idle timeout.
    IdleEnd idle_end "idle end",
    /// [`InjectedFault::Omit`](crate::local::InjectedFault::Omit).
    Omit omit "omit",
    /// [`InjectedFault::Refuse`](crate::local::InjectedFault::Refuse).
    Refuse refuse "refuse",
    /// [`InjectedFault::Repeat`](crate::local::InjectedFault::Repeat).
    Repeat repeat "repeat",
    /// [`InjectedFault::RepeatPage`](crate::local::InjectedFault::RepeatPage).
    RepeatPage repeat_page "repeat page",
    /// Requests refused because their signature was too old or too new.
    RequestExpired request_expired "request expired",
    /// [`InjectedFault::ResetAfter`](crate::local::InjectedFault::ResetAfter).
    Reset reset "reset",
    /// Bodies of GetMedia that ended by the session limit.
    SessionEnd session_end "session end",
    /// [`InjectedFault::Shuffle`](crate::local::InjectedFault::Shuffle).
    Shuffle shuffle "shuffle",
    /// [`InjectedFault::StaleEndpoint`](crate::local::InjectedFault::StaleEndpoint): every refused call.
    StaleEndpoint stale_endpoint "stale endpoint",
    /// [`InjectedFault::Stall`](crate::local::InjectedFault::Stall).
    Stall stall "stall",
    /// Calls refused as throttled: too many calls, sessions or points per second.
    Throttled throttled "throttled",
    /// [`InjectedFault::Trickle`](crate::local::InjectedFault::Trickle).
    Trickle trickle "trickle",
    /// [`InjectedFault::UnknownOperation`](crate::local::InjectedFault::UnknownOperation).
    UnknownOperation unknown_operation "unknown operation",
}

impl fmt::Display for FaultCounts {
    /// Lists the counters above zero: `cut 2, refuse 1`; `none` without any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, count) in self.iter().filter(|(_, count)| *count > 0) {
            write!(f, "{separator}{name} {count}")?;
            separator = ", ";
        }
        if separator.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

/// The counters of one endpoint, and when its calls arrived.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: Mutex<FaultCounts>,
    calls: Mutex<HashMap<(Operation, String), VecDeque<Instant>>>,
}

/// The longest name of a stream, or ARN, whose calls are remembered, in bytes.
const LONGEST_NAME: usize = 1024;

/// The most pairs of operation and stream whose calls are remembered.
const MOST_NAMES: usize = 50_000;

/// The number of calls remembered per operation and stream.
const KEPT_CALLS: usize = 10_000;

impl Counters {
    pub(crate) fn count(&self, event: Event) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).add(event);
    }

    pub(crate) fn counts(&self) -> FaultCounts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call that arrives now.
    ///
    /// Calls for ever new streams are not recorded: clients choose the names.
    pub(crate) fn record_call(&self, operation: Operation, stream: String) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (operation, stream);
        if key.1.len() > LONGEST_NAME || calls.len() >= MOST_NAMES && !calls.contains_key(&key) {
            return;
        }
        let times = calls.entry(key).or_default();
        if times.len() == KEPT_CALLS {
            times.pop_front();
        }
        times.push_back(Instant::now());
    }

    /// Returns when the calls of an operation for a stream arrived.
    pub(crate) fn calls(&self, operation: Operation, stream: &str) -> Vec<std::time::Instant> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let times = calls.get(&(operation, stream.to_owned()));
        times.map(|times| times.iter().map(|time| time.into_std()).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_calls_are_kept() {
        let counters = Counters::default();
        (0..KEPT_CALLS + 5).for_each(|_| counters.record_call(Operation::GetMedia, "door".into()));
        assert_eq!(counters.calls(Operation::GetMedia, "door").len(), KEPT_CALLS);
        assert!(counters.calls(Operation::GetMedia, "window").is_empty());
    }

    #[test]
    fn calls_for_ever_new_names_are_not_kept() {
        let counters = Counters::default();
        counters.record_call(Operation::PutMedia, "n".repeat(LONGEST_NAME + 1));
        (0..MOST_NAMES + 5).for_each(|n| counters.record_call(Operation::PutMedia, n.to_string()));
        assert_eq!(counters.calls.lock().unwrap().len(), MOST_NAMES);
        counters.record_call(Operation::PutMedia, "7".into());
        assert_eq!(counters.calls(Operation::PutMedia, "7").len(), 2);
    }

    #[test]
    fn counts_print_what_is_above_zero() {
        let counters = Counters::default();
        assert_eq!(counters.counts().to_string(), "none");
        [Event::Refuse, Event::Cut, Event::Cut].into_iter().for_each(|event| counters.count(event));
        assert_eq!(counters.counts().to_string(), "cut 2, refuse 1");
        let names: Vec<_> = counters.counts().iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }
}
