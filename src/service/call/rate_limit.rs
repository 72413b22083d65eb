//! How much the service may be asked for in a second.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::service::stream_id::StreamId;

/// What the service allows in a second is spread over a little longer, since calls do not all take the
/// same time to get there.
const WINDOW: Duration = Duration::from_millis(1200);

/// What is older than this is forgotten, now and then.
const SWEEP: Duration = Duration::from_secs(60);

/// How much of what the service allows a stream in a second is to be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// What is counted together.
    bucket: &'static str,
    weight: u32,
    most: u32,
}

impl Rate {
    /// A call of an operation of which the service allows 5 a second.
    pub(crate) const fn call(operation: &'static str) -> Self {
        Self { bucket: operation, weight: 1, most: 5 }
    }

    /// The beginning of playback, of which the service allows 25 a second.
    pub(crate) const fn session() -> Self {
        Self { bucket: "playback sessions", weight: 1, most: 25 }
    }

    /// So many points of which several operations together may use 10,000 a second.
    pub(crate) const fn metadata(points: u32) -> Self {
        Self { bucket: "metadata points", weight: points, most: 10_000 }
    }

    /// So many points of which several operations together may use `most` a second.
    pub(crate) const fn media(points: u32, most: u32) -> Self {
        Self { bucket: "media points", weight: points, most }
    }
}

/// Keeps what a process asks for within what the service allows each stream, however many tasks ask.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    granted: Mutex<Granted>,
}

/// When, and how much.
type Used = VecDeque<(Instant, u32)>;

#[derive(Debug, Default)]
struct Granted {
    /// When what weight was or is to be used, the oldest first.
    used: HashMap<(Box<str>, &'static str), Used>,
    swept: Option<Instant>,
}

impl Rates {
    /// Waits until so much may be used.
    pub(crate) async fn admit(&self, stream: &StreamId, rate: Rate) {
        let at = self.grant(stream, rate, Instant::now());
        let mut slot = Slot { rates: self, stream, rate, at, is_taken: false };
        // The clock of tokio knows nothing shorter than a millisecond.
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
        // Whatever there is no room for beside this must be so far in the past, what is yet to come included.
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

/// Something that is to be used: whoever gives up waiting leaves it to others.
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
            // Callers that wait, callers that come when they please, and callers of both names.
            now += Duration::from_millis([0, 0, 130, 900, 10][(round % 5) as usize]);
            times.push(rates.grant(if round % 2 == 0 { &door } else { &arn }, GET_MEDIA, now));
        }
        assert!(times.windows(6).all(|six| six[5] - six[0] > Duration::from_secs(1)), "{times:?}");
        // Others do not wait for them.
        assert_eq!(rates.grant(&"window".into(), GET_MEDIA, now), now);
        assert_eq!(rates.grant(&door, Rate::call("GetDataEndpoint"), now), now);
    }

    #[test]
    fn points_are_kept_to_whatever_a_call_costs() {
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
        // As much as there is: a window is not left half empty because a call before was small.
        let took = used[1999].0 - used[0].0;
        let points: u32 = used.iter().map(|(_, points)| points).sum();
        assert!(took < WINDOW * (points / 250), "{took:?} for {points}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_its_place_to_others() {
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
    fn streams_that_are_gone_are_forgotten() {
        let rates = Rates::default();
        let start = Instant::now();
        for n in 0..1000_u32 {
            rates.grant(&format!("call-{n}").into(), GET_MEDIA, start + Duration::from_secs(n.into()));
        }
        assert!(rates.granted.lock().unwrap().used.len() < 150);
    }
}
