//! How often the service may be called.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::StreamId;

/// How many calls of an operation the service allows a stream...
const CALLS: usize = 5;

/// ... in a second; a little longer, since calls do not all take the same time to get there.
const WINDOW: Duration = Duration::from_millis(1200);

/// What is older than this is forgotten, now and then.
const SWEEP: Duration = Duration::from_secs(60);

/// Keeps the calls of a process for each stream and operation within what the service allows, however
/// many tasks make them.
#[derive(Debug)]
pub(super) struct CallRates {
    granted: Mutex<Granted>,
}

#[derive(Debug)]
struct Granted {
    /// When the last calls are or were made, the oldest first.
    calls: HashMap<(Box<str>, &'static str), VecDeque<Instant>>,
    swept: Option<Instant>,
}

impl Default for CallRates {
    fn default() -> Self {
        Self { granted: Mutex::new(Granted { calls: HashMap::new(), swept: None }) }
    }
}

impl CallRates {
    /// Waits until the operation may be called.
    pub(super) async fn admit(&self, stream: &StreamId, operation: &'static str) {
        let at = self.grant(stream, operation, Instant::now());
        let mut slot = Slot { rates: self, stream, operation, at, is_taken: false };
        sleep_until(at).await;
        slot.is_taken = true;
    }

    fn grant(&self, stream: &StreamId, operation: &'static str, now: Instant) -> Instant {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if granted.swept.is_none_or(|swept| now.duration_since(swept) > SWEEP) {
            granted.calls.retain(|_, calls| calls.back().is_some_and(|&last| last + SWEEP > now));
            granted.swept = Some(now);
        }
        let calls = granted.calls.entry((stream.name().into(), operation)).or_default();
        while calls.len() > CALLS && calls.front().is_some_and(|&oldest| oldest + WINDOW < now) {
            calls.pop_front();
        }
        // Each is so far behind the fifth before it, those to come included.
        let fifth = calls.len().checked_sub(CALLS).and_then(|index| calls.get(index));
        let at = fifth.map_or(now, |&fifth| now.max(fifth + WINDOW));
        calls.push_back(at);
        at
    }
}

/// A call that is to be made: whoever gives up waiting leaves its time to others.
struct Slot<'a> {
    rates: &'a CallRates,
    stream: &'a StreamId,
    operation: &'static str,
    at: Instant,
    is_taken: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let mut granted = self.rates.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = granted.calls.get_mut(&(self.stream.name().into(), self.operation))
            && let Some(index) = calls.iter().rposition(|at| *at == self.at)
        {
            calls.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_window_of_a_second_has_more_than_five() {
        let rates = CallRates::default();
        let (door, arn) = (StreamId::from("door"), StreamId::from("arn:aws:kinesisvideo:eu-west-1:1:stream/door/1"));
        let start = Instant::now();
        let mut now = start;
        let mut times = Vec::new();
        for round in 0..200_u64 {
            // Callers that wait, callers that come when they please, and callers of both names.
            now += Duration::from_millis([0, 0, 130, 900, 10][(round % 5) as usize]);
            times.push(rates.grant(if round % 2 == 0 { &door } else { &arn }, "GetMedia", now));
        }
        assert!(times.windows(6).all(|six| six[5] - six[0] > Duration::from_secs(1)), "{times:?}");
        // Others do not wait for them.
        assert_eq!(rates.grant(&"window".into(), "GetMedia", now), now);
        assert_eq!(rates.grant(&door, "GetDataEndpoint", now), now);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_its_place_to_others() {
        let (rates, door) = (CallRates::default(), StreamId::from("door"));
        for _ in 0..CALLS {
            rates.admit(&door, "GetMedia").await;
        }
        for _ in 0..100 {
            let wait = tokio::time::timeout(Duration::from_millis(1), rates.admit(&door, "GetMedia"));
            assert!(wait.await.is_err());
        }
        let before = Instant::now();
        rates.admit(&door, "GetMedia").await;
        assert!(before.elapsed() <= WINDOW);
    }

    #[test]
    fn streams_that_are_gone_are_forgotten() {
        let rates = CallRates::default();
        let start = Instant::now();
        for n in 0..1000_u32 {
            rates.grant(&format!("call-{n}").into(), "GetMedia", start + Duration::from_secs(n.into()));
        }
        assert!(rates.granted.lock().unwrap().calls.len() < 150);
    }
}
