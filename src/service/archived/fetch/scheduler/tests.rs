//! The scheduler under random events.

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

/// Decodes a body.
fn items(body: &[u8]) -> Vec<BodyItem> {
    let items = BodyStream::new(body).resync(true).filter_map(async |item| item.ok()).collect::<Vec<_>>();
    items.now_or_never().unwrap()
}

impl FetchScheduler {
    /// Asserts the invariants between entries, calls and counters.
    fn assert_invariants(&self) {
        let mut requested = BTreeSet::new();
        for (id, call) in &self.calls {
            assert!(!call.open.is_empty() || call.answered == call.requested, "call {id} is useless: {call:?}");
            for index in &call.open {
                assert!(requested.insert(*index), "{index} is requested twice");
                let entry = self.entry(*index).unwrap();
                assert!(matches!(entry.state, State::Requested { call, .. } if call == *id), "{entry:?} in {id}");
            }
        }
        let entries = || (self.base..).zip(&self.entries);
        let count = |is: fn(&State) -> bool| entries().filter(|(_, entry)| is(&entry.state)).count();
        assert_eq!(count(|state| matches!(state, State::Requested { .. })), requested.len());
        assert_eq!(self.requested.len(), requested.len());
        assert_eq!(count(|state| matches!(state, State::Waiting { not_before: Some(_) })), self.paused);
        let mut waiting = entries().filter(|(_, entry)| matches!(entry.state, State::Waiting { .. }));
        assert!(waiting.next().is_none_or(|(index, _)| index >= self.first_waiting), "a waiting entry is forgotten");
        let (mut expected, mut held) = (0, 0);
        for (_, entry) in entries() {
            held += size(entry.part.as_ref());
            match &entry.state {
                State::Requested { expected: bytes, .. } => expected += bytes,
                State::Arrived(fragment) => held += size(Some(fragment)),
                _ => {}
            }
        }
        assert_eq!((self.expected_bytes, self.held_bytes), (expected, held));
    }
}

/// Runs random responses against the scheduler. Every fragment arrives or becomes unavailable, the output is in
/// order, and the invariants hold after each event.
#[test]
fn invariants_hold_under_random_events() {
    for seed in 0..400 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (total, calls) = (rng.usize(1..40), rng.usize(1..5));
        let stored: Vec<Vec<u8>> = (0..total).map(|n| bytes(n, rng.usize(1..3000))).collect();
        let retry = RetryConfig::default().max_attempts(rng.u32(1..5));
        let budget = Budget { batch: rng.usize(1..20), calls, bytes: rng.u64(1..20_000), retry };
        let wanted = stored
            .iter()
            .enumerate()
            .map(|(n, bytes)| (number(n), [0, bytes.len() as u64, bytes.len() as u64 / 2][rng.usize(0..3)]));
        let wanted = wanted.collect::<Vec<_>>();
        let mut scheduler = FetchScheduler::new(budget, wanted, rng.fork());
        let mut open: Vec<(CallId, Vec<usize>)> = Vec::new();
        let (mut now, mut popped, mut rounds) = (Instant::now(), 0, 0);
        while !scheduler.is_done() {
            rounds += 1;
            assert!(rounds < 50_000, "run {seed} does not end: {scheduler:?}");
            while let Some(ready) = scheduler.pop() {
                match ready {
                    Output::Fragment { fragment, .. } => {
                        assert_eq!(fragment.number(), Some(&number(popped)), "run {seed}");
                        assert!(fragment.end_reason() != FragmentEnd::Cut);
                    }
                    Output::Unavailable { number: gone, part, .. } => {
                        assert_eq!(gone, number(popped), "run {seed}");
                        assert!(part.is_none_or(|part| part.end_reason() == FragmentEnd::Cut));
                    }
                    Output::End { .. } => unreachable!("nothing ends it"),
                }
                popped += 1;
                scheduler.assert_invariants();
            }
            if let Some(id) = scheduler.call_to_preempt(now) {
                scheduler.abandon(id, |_| usize::MAX);
                open.retain(|(other, _)| *other != id);
            }
            while let Some((id, numbers)) = scheduler.next_call(now) {
                let index = |number: &FragmentNumber| number.as_str().parse::<usize>().unwrap() - 100;
                open.push((id, numbers.iter().map(index).collect()));
                scheduler.assert_invariants();
            }
            now += Duration::from_millis(rng.u64(0..400));
            if open.is_empty() {
                continue;
            }
            let (id, mut requested) = open.swap_remove(rng.usize(0..open.len()));
            if rng.u32(0..8) == 0 {
                scheduler.abandon(id, |requested| requested / 2);
                scheduler.assert_invariants();
                continue;
            }
            if rng.bool() {
                rng.shuffle(&mut requested);
            }
            let mut body = Vec::new();
            for n in requested {
                let fault_id = *rng.choice(&[3000, 4000, 5000, 77]).unwrap();
                let fault = |subject: Option<usize>| Document::fault(fault_id, "E", subject.map(number).as_ref());
                match rng.u32(0..14) {
                    0 => {}
                    1 => body.extend(fault(Some(n))),
                    2 => body.extend(fault(None)),
                    3 => body.extend(fault(Some(rng.usize(0..total)))),
                    // A damaged fragment with another after it.
                    4 => {
                        let mut damaged = stored[n].clone();
                        let at = damaged.len() - rng.usize(20..60).min(damaged.len() / 2);
                        damaged[at..at + 12].fill(0);
                        body.extend(damaged);
                    }
                    // A fault within the document that it is about.
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
                    BodyItem::Fragment(fragment) => drop(scheduler.on_fragment(id, fragment)),
                    BodyItem::Fault(fault) => assert!(scheduler.on_fault(id, &fault, now).is_none()),
                    BodyItem::Skipped(skipped) => scheduler.on_skipped(id, &skipped),
                }
                scheduler.assert_invariants();
            }
            let cause = match rng.u32(0..5) {
                0 => Some(Error::new(ErrorKind::Io, "reset")),
                1 => Some(Error::limit("too much")),
                _ => None,
            };
            scheduler.on_body_end(id, cause, now);
            scheduler.assert_invariants();
        }
        assert_eq!(popped, total, "run {seed}");
    }
}
