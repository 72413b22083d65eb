//! The rate limits that the service sets for each stream.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::service::stream_id::StreamId;

/// The window in which one second's worth of calls is made. It is longer than a second, because calls take different
/// times to reach the service.
const WINDOW: Duration = Duration::from_millis(1200);

/// The age at which a stream's calls are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// The cost of a call under one rate limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// The name of the limit. Costs with the same name add up.
    bucket: &'static str,
    weight: u32,
    most: u32,
}

impl Rate {
    /// A call of an operation that the service limits to 5 calls per second.
    pub(crate) const fn call(operation: &'static str) -> Self {
        Self { bucket: operation, weight: 1, most: 5 }
    }

    /// A new playback session. The service allows 25 per second.
    pub(crate) const fn session() -> Self {
        Self { bucket: "playback sessions", weight: 1, most: 25 }
    }

    /// Metadata points. Several operations share 10,000 per second.
    pub(crate) const fn metadata(points: u32) -> Self {
        Self { bucket: "metadata points", weight: points, most: 10_000 }
    }

    /// Media points. Several operations share `most` per second.
    pub(crate) const fn media(points: u32, most: u32) -> Self {
        Self { bucket: "media points", weight: points, most }
    }
}

/// Keeps the calls of a process within the service's limits for each stream.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    granted: Mutex<Granted>,
}

/// Times and weights of calls, the oldest first.
type Used = VecDeque<(Instant, u32)>;

#[derive(Debug, Default)]
struct Granted {
    /// The calls made and scheduled, by stream and limit.
    used: HashMap<(Box<str>, &'static str), Used>,
    swept: Option<Instant>,
}

impl Rates {
    /// Waits until the limit allows the cost.
    pub(crate) async fn admit(&self, stream: &StreamId, rate: Rate) {
        let at = self.grant(stream, rate, Instant::now());
        let mut slot = Slot { rates: self, stream, rate, at, is_taken: false };
        // Tokio's timer rounds up to a millisecond.
        if at > Instant::now() {
            sleep_until(at).await;
        }
        slot.is_taken = true;
    }

    fn grant(&self, stream: &StreamId, rate: Rate, now: Instant) -> Instant {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if granted.swept.is_none_or(|swept| now.duration_since(swept) > SWEEP) {
            granted.used.retain(|_, used| used.back().is_some_and(|&(last, _)| last + SWEEP > now));
            granted.swept = Some(now);
        }
        let used = granted.used.entry((stream.name().into(), rate.bucket)).or_default();
        while used.front().is_some_and(|&(oldest, _)| oldest + WINDOW < now) {
            used.pop_front();
        }
        // The newest call for which the window has no room beside this one. This call must be made a window after it.
        let mut room = rate.most.saturating_sub(rate.weight);
        let full = used.iter().rev().find(|(_, weight)| match room.checked_sub(*weight) {
            Some(left) => {
                room = left;
                false
            }
            None => true,
        });
        let last = used.back().map_or(now, |&(last, _)| last.max(now));
        let at = full.map_or(last, |&(at, _)| last.max(at + WINDOW));
        used.push_back((at, rate.weight));
        at
    }
}

/// A reserved slot. It is released if the caller gives up waiting.
struct Slot<'a> {
    rates: &'a Rates,
    stream: &'a StreamId,
    rate: Rate,
    at: Instant,
    is_taken: bool,
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let mut granted = self.rates.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = granted.used.get_mut(&(self.stream.name().into(), self.rate.bucket))
            && let Some(index) = used.iter().rposition(|used| *used == (self.at, self.rate.weight))
        {
            used.remove(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET_MEDIA: Rate = Rate::call("GetMedia");

    #[test]
    fn no_window_of_a_second_has_more_than_five() {
        let rates = Rates::default();
        let (door, arn) = (StreamId::from("door"), StreamId::from("arn:aws:kinesisvideo:eu-west-1:1:stream/door/1"));
        let start = Instant::now();
        let mut now = start;
        let mut times = Vec::new();
        for round in 0..200_u64 {
            // Callers that wait, callers at other times, and callers by name and by ARN.
            now += Duration::from_millis([0, 0, 130, 900, 10][(round % 5) as usize]);
            times.push(rates.grant(if round % 2 == 0 { &door } else { &arn }, GET_MEDIA, now));
        }
        assert!(times.windows(6).all(|six| six[5] - six[0] > Duration::from_secs(1)), "{times:?}");
        // Other streams and operations do not wait.
        assert_eq!(rates.grant(&"window".into(), GET_MEDIA, now), now);
        assert_eq!(rates.grant(&door, Rate::call("GetDataEndpoint"), now), now);
    }

    #[test]
    fn points_stay_within_the_limit_at_any_cost_of_a_call() {
        let (rates, door) = (Rates::default(), StreamId::from("door"));
        let mut random = fastrand::Rng::with_seed(7);
        let mut now = Instant::now();
        let used: Vec<(Instant, u32)> = (0..2000)
            .map(|_| {
                now += Duration::from_millis(random.u64(0..200));
                let points = random.u32(1..=500);
                (rates.grant(&door, Rate::media(points, 500), now), points)
            })
            .collect();
        assert!(used.is_sorted_by_key(|(at, _)| *at));
        for (index, (start, _)) in used.iter().enumerate() {
            let second = used[index..].iter().take_while(|(at, _)| *at - *start <= Duration::from_secs(1));
            assert!(second.map(|(_, points)| points).sum::<u32>() <= 500);
        }
        // The limit is used up: a small call does not leave a window half empty.
        let took = used[1999].0 - used[0].0;
        let points: u32 = used.iter().map(|(_, points)| points).sum();
        assert!(took < WINDOW * (points / 250), "{took:?} for {points}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_gives_up_frees_its_slot() {
        let (rates, door) = (Rates::default(), StreamId::from("door"));
        for _ in 0..5 {
            rates.admit(&door, GET_MEDIA).await;
        }
        for _ in 0..100 {
            let wait = tokio::time::timeout(Duration::from_millis(1), rates.admit(&door, GET_MEDIA));
            assert!(wait.await.is_err());
        }
        let before = Instant::now();
        rates.admit(&door, GET_MEDIA).await;
        assert!(before.elapsed() <= WINDOW);
    }

    #[test]
    fn unused_streams_are_forgotten() {
        let rates = Rates::default();
        let start = Instant::now();
        for n in 0..1000_u32 {
            rates.grant(&format!("call-{n}").into(), GET_MEDIA, start + Duration::from_secs(n.into()));
        }
        assert!(rates.granted.lock().unwrap().used.len() < 150);
    }
}
