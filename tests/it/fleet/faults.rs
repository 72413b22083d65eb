//! Workers whose table fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kinesis_video::KinesisVideo;
use kinesis_video::fleet::{LeaseStore, MemoryLeases};
use kinesis_video::local::{LocalEndpoint, LocalStream};
use tokio::time::{sleep, timeout};

use super::one_process::{Log, Worker, push};
use crate::support::endpoint::unlimited;
use crate::support::faulty_leases::{Fault, FaultyLeases};

const STREAMS: usize = 5;

#[tokio::test]
async fn no_fragment_is_lost_while_the_table_fails() {
    no_fragment_is_lost(Arc::new(MemoryLeases::default())).await;
}

/// One call in four fails, in each way in turn.
fn random(seed: u64) -> impl Fn() -> Option<Fault> + Send + Sync {
    let state = Mutex::new((fastrand::Rng::with_seed(seed), 0));
    move || {
        let (random, faults) = &mut *state.lock().unwrap();
        if random.u8(0..4) > 0 {
            return None;
        }
        *faults += 1;
        let pause = Duration::from_millis(random.u64(1..80));
        Some(match *faults % 5 {
            0 => Fault::Throttled,
            1 => Fault::Delayed(pause),
            2 => Fault::Cut(pause),
            3 => Fault::ReplyLost,
            _ => Fault::Late(pause),
        })
    }
}

/// Two workers read streams while their calls fail at random. Then one is cut off from the table for as long as it takes
/// the other to have all streams, and comes back.
pub async fn no_fragment_is_lost(table: Arc<dyn LeaseStore>) {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let names: Vec<String> = (0..STREAMS).map(|n| format!("s{n}")).collect();
    let streams: Vec<LocalStream> = names.iter().map(|name| endpoint.create_stream(name)).collect();
    for name in &names {
        table.add(&name.into()).await.unwrap();
    }
    let pushed = Arc::new(Mutex::new(0));
    let producer = tokio::spawn({
        let pushed = Arc::clone(&pushed);
        async move {
            for n in 0.. {
                streams.iter().for_each(|stream| push(stream, n));
                *pushed.lock().unwrap() = n as usize + 1;
                sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let is_cut = Arc::new(AtomicBool::new(false));
    let plan = {
        let (is_cut, random) = (Arc::clone(&is_cut), random(1));
        move || if is_cut.load(Ordering::Relaxed) { Some(Fault::Cut(Duration::from_millis(20))) } else { random() }
    };
    let faulty = [FaultyLeases::new(Arc::clone(&table), plan), FaultyLeases::new(Arc::clone(&table), random(2))];
    let log = Log::default();
    let start = |index: usize, name| {
        let table: Arc<dyn LeaseStore> = Arc::new(faulty[index].clone());
        Worker::start(&kvs, &table, name, &log)
    };
    let (mut first, mut second) = (start(0, "first"), start(1, "second"));
    first.wait_for_at_least(2).await;
    second.wait_for_at_least(2).await;
    is_cut.store(true, Ordering::Relaxed);
    second.wait_for_at_least(STREAMS).await;
    is_cut.store(false, Ordering::Relaxed);
    first.wait_for_at_least(2).await;
    producer.abort();
    let _ = producer.await;
    let all = *pushed.lock().unwrap();
    let distinct = |log: &Log| {
        let log = log.lock().unwrap();
        let count = |fragments: &Vec<(&str, u64, _)>| {
            let mut numbers: Vec<_> = fragments.iter().map(|(_, _, number)| number).collect();
            numbers.sort();
            numbers.dedup();
            numbers.len()
        };
        log.iter().map(|(stream, fragments)| (stream.clone(), count(fragments))).collect::<BTreeMap<_, _>>()
    };
    timeout(Duration::from_secs(60), async {
        while distinct(&log) != names.iter().map(|name| (name.clone(), all)).collect() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("each fragment of each stream arrives");
    first.leave().await;
    second.leave().await;
    let kinds: BTreeSet<String> = faulty.iter().flat_map(|table| table.counts().into_keys()).collect();
    assert_eq!(kinds.iter().collect::<Vec<_>>(), ["Cut", "Delayed", "Late", "ReplyLost", "Throttled"]);
    for (stream, fragments) in log.lock().unwrap().iter() {
        // Nobody yields anything after the next one has begun, and repeats are only at a new one's beginning.
        assert!(fragments.is_sorted_by_key(|(_, epoch, _)| *epoch), "{stream}: {fragments:?}");
        let of_one = |pair: &[(&str, u64, _)]| pair[0].1 == pair[1].1;
        let rises = |pair: &[(_, _, _)]| pair[0].2 < pair[1].2;
        assert!(fragments.windows(2).all(|pair| !of_one(pair) || rises(pair)), "{stream}: {fragments:?}");
    }
}
