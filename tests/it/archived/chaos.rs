//! Under injected faults, every fragment of a range is yielded once and in order.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;
use futures::TryStreamExt;
use kinesis_video::local::{InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas};
use kinesis_video::{Archive, Discontinuity, Fragment, KinesisVideo, Timestamp};
use tokio::time::{Instant, sleep};

use crate::support::endpoint::attempts;
use crate::support::random_media::{Pushed, push, random_document};
use crate::support::rounds::rounds;

/// The number of runs, each of one range.
const RUNS: u64 = 120;

/// The number of fragments of a run.
const FRAGMENTS: usize = 150;

fn refuse(rng: &mut Rng) -> InjectedFault {
    let names = ["ClientLimitExceededException", "ThrottlingException", "InternalFailure", "ServiceUnavailable"];
    InjectedFault::Refuse((*rng.choice(&names).unwrap()).into())
}

/// A random fault of the service or the network that loses no media. A body that ends between two blocks looks whole
/// unless the fragments' sizes are known, so only `sized` readers get that fault.
fn random_fault(rng: &mut Rng, sized: bool) -> (Operation, InjectedFault) {
    if rng.u32(0..5) == 0 {
        let fault = match rng.u32(0..6) {
            0 | 1 => InjectedFault::RepeatPage,
            2 => InjectedFault::EmptyPage,
            3 => InjectedFault::UnknownOperation,
            4 => InjectedFault::StaleEndpoint,
            _ => refuse(rng),
        };
        return (Operation::ListFragments, fault);
    }
    let after = rng.u64(0..40_000);
    let fault = match rng.u32(0..15) {
        0 => InjectedFault::CutAfter(after),
        1 => InjectedFault::ResetAfter(after),
        2 | 3 if sized => InjectedFault::BreakOff(after),
        2..=4 => InjectedFault::EndAfter(rng.u64(0..30)),
        5 => {
            let id = *rng.choice(&[3002, 5000]).unwrap();
            InjectedFault::FaultAfter { fragments: rng.u64(0..20), id, message: "E".into() }
        }
        6 | 7 => {
            let id = *rng.choice(&[3000, 4000, 5000]).unwrap();
            InjectedFault::FaultAt { fragment: rng.u64(0..20), id, message: "FRAGMENT_NOT_FOUND".into() }
        }
        8 => InjectedFault::Omit(rng.u64(0..20)),
        9 | 10 => InjectedFault::Shuffle(rng.u64(..)),
        11 => InjectedFault::Stall { after, pause: Duration::from_secs(rng.u64(1..60)) },
        12 => InjectedFault::StaleEndpoint,
        13 => InjectedFault::Trickle { bytes: rng.usize(100..3000), pause: Duration::from_millis(rng.u64(1..20)) },
        _ if rng.bool() => InjectedFault::UnknownOperation,
        _ => refuse(rng),
    };
    (Operation::GetMediaForFragmentList, fault)
}

async fn fill(stream: &LocalStream, rng: &mut Rng, fragments: usize) -> Vec<Pushed> {
    let mut all = Vec::new();
    for n in 0..fragments {
        all.push(push(stream, &random_document(rng, n)));
        sleep(Duration::from_millis(rng.u64(0..1500))).await;
    }
    all
}

/// The range of all pushed fragments.
fn ever() -> RangeInclusive<Timestamp> {
    Timestamp::from_millis(0)..=Timestamp::from_millis(4_000_000_000_000)
}

fn options(archive: Archive, rng: &mut Rng) -> Archive {
    archive
        .batch(rng.usize(1..200))
        .connections(rng.usize(1..=5))
        .buffer_bytes(1 << rng.u32(8..22))
        .points_per_second(500)
        .retry(attempts(60))
}

fn same(fragments: &[Fragment], all: &[Pushed], context: &str) {
    let numbers: Vec<_> = fragments.iter().map(|fragment| fragment.number().unwrap()).collect();
    let expected: Vec<_> = all.iter().map(|(number, _)| number).collect();
    assert!(numbers == expected, "{context}: not the same fragments in the same order\n{numbers:?}\n{expected:?}");
    for (fragment, (number, bytes)) in fragments.iter().zip(all) {
        assert!(fragment.raw() == bytes, "{context}: fragment {number} {:?}", fragment.end_reason());
        let lost = fragment.discontinuities().iter().find(|d| matches!(d, Discontinuity::SkippedFragment { .. }));
        assert!(lost.is_none(), "{context}: {lost:?}");
    }
}

async fn run(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut rng = Rng::with_seed(seed);
    // The library draws from the global generator, so that is seeded too.
    fastrand::seed(seed);
    let quotas = Quotas::default()
        .archived_after(Duration::from_millis(rng.u64(0..3000)))
        .list_connections(Some(rng.u32(1..=5)));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let stream = endpoint.create_stream("chaos");
    let all = fill(&stream, &mut rng, FRAGMENTS).await;
    let sized = rng.u32(0..4) > 0;
    for _ in 0..rng.usize(5..40) {
        let (operation, fault) = random_fault(&mut rng, sized);
        endpoint.inject(operation, None, fault);
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let archive = options(kvs.archive("chaos"), &mut rng);
    let archive = match sized {
        true => archive.range(ever()),
        false => archive.numbers(all.iter().map(|(number, _)| number.clone())),
    };
    let archive = archive.fragments();
    let progress = archive.progress();
    let start = Instant::now();
    let read = tokio::time::timeout(Duration::from_secs(3 * 3600), archive.try_collect::<Vec<_>>());
    let fragments = read.await.unwrap_or_else(|_| panic!("run {seed}: it does not end: {:?}", progress.borrow()));
    let fragments = fragments.unwrap_or_else(|error| panic!("run {seed}, {:?}: {error}", start.elapsed()));
    same(&fragments, &all, &format!("run {seed}"));
    let progress = progress.borrow();
    assert_eq!((progress.fragments, progress.total_fragments), (all.len() as u64, Some(all.len() as u64)));
    assert_eq!(progress.unavailable, 0);
    if sized {
        assert_eq!(Some(progress.bytes), progress.total_bytes, "run {seed}");
    }
    endpoint.fault_counts().iter().collect()
}

fn add(total: &mut BTreeMap<&'static str, u64>, happened: BTreeMap<&'static str, u64>) {
    happened.into_iter().for_each(|(what, count)| *total.entry(what).or_default() += count);
}

async fn runs(seeds: impl Iterator<Item = u64>) {
    let mut total = BTreeMap::new();
    for seed in seeds {
        add(&mut total, run(seed).await);
    }
    eprintln!("{total:?}");
    let expected = [
        "break off",
        "connection limit",
        "cut",
        "empty page",
        "end",
        "fault",
        "fault at",
        "omit",
        "refuse",
        "repeat page",
        "shuffle",
        "stale endpoint",
        "stall",
        "trickle",
        "unknown operation",
    ];
    for what in expected {
        assert!(total.get(what).copied().unwrap_or(0) > 0, "{what} never happened: {total:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_lose_and_repeat_no_fragment_1() {
    runs(0..rounds(RUNS) / 2).await;
}

#[tokio::test(start_paused = true)]
async fn faults_lose_and_repeat_no_fragment_2() {
    runs(rounds(RUNS) / 2..rounds(RUNS)).await;
}
