//! Several workers in one process, on any table.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kinesis_video::fleet::{FleetLeases, Lease, LeaseStore, MemoryLeases, Swap};
use kinesis_video::local::{Document, LocalEndpoint, LocalStream, Shape};
use kinesis_video::{CheckpointStore, ErrorKind, FragmentNumber, KinesisVideo, Start, StreamEnd};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::endpoint::unlimited;

/// A lease is given up or taken over within a few of these.
const LEASE: Duration = Duration::from_secs(1);

/// What was yielded: for each stream, the worker's name, the epoch and the fragment's number.
pub type Log = Arc<Mutex<BTreeMap<String, Vec<(&'static str, u64, FragmentNumber)>>>>;

pub fn push(stream: &LocalStream, n: u32) {
    stream.push(&Document::new(Shape::Producer).video_track(1).block(1, n as i16, true, b"coded"));
}

/// Reads a lease's stream to its end, and returns why it ended.
async fn read(kvs: KinesisVideo, lease: Lease, name: &'static str, log: Log) -> Option<StreamEnd> {
    let (stream, epoch) = (lease.stream().to_string(), lease.epoch());
    let (mut fragments, acks) = kvs.live(&stream).start(Start::Earliest).checkpointed(lease);
    while let Some(fragment) = fragments.try_next().await.unwrap() {
        let number = fragment.number().unwrap().clone();
        log.lock().unwrap().entry(stream.clone()).or_default().push((name, epoch, number));
        acks.done(&fragment.position());
    }
    let reason = fragments.end_reason();
    drop(fragments);
    let _ = acks.close().await;
    reason
}

/// A worker that reads all that it gets.
pub struct Worker {
    pub leases: tokio::sync::watch::Receiver<kinesis_video::fleet::FleetStatus>,
    leave: tokio::sync::oneshot::Sender<()>,
    task: JoinHandle<Vec<Option<StreamEnd>>>,
}

impl Worker {
    pub fn start(kvs: &KinesisVideo, table: &Arc<dyn LeaseStore>, name: &'static str, log: &Log) -> Self {
        let mut leases: FleetLeases = kvs.fleet(Arc::clone(table)).lease_duration(LEASE).name(name).leases();
        let (status, kvs, log) = (leases.status(), kvs.clone(), Arc::clone(log));
        let (leave, mut left) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let mut readers = Vec::new();
            loop {
                tokio::select! {
                    lease = leases.try_next() => {
                        let lease = lease.unwrap().unwrap();
                        readers.push(tokio::spawn(read(kvs.clone(), lease, name, Arc::clone(&log))));
                    }
                    _ = &mut left => break,
                }
            }
            leases.leave().await.unwrap();
            futures::future::join_all(readers).await.into_iter().map(Result::unwrap).collect()
        });
        Self { leases: status, leave, task }
    }

    pub async fn wait_for(&mut self, held: usize) {
        let held = timeout(Duration::from_secs(60), self.leases.wait_for(|status| status.held == held)).await;
        held.expect("the share is reached").unwrap();
    }

    pub async fn wait_for_at_least(&mut self, held: usize) {
        let held = timeout(Duration::from_secs(60), self.leases.wait_for(|status| status.held >= held)).await;
        held.expect("the leases are claimed").unwrap();
    }

    pub async fn leave(self) -> Vec<Option<StreamEnd>> {
        self.leave.send(()).unwrap();
        timeout(Duration::from_secs(60), self.task).await.expect("the worker leaves").unwrap()
    }
}

#[tokio::test]
async fn streams_move_between_workers_without_loss_or_repeat() {
    streams_move(Arc::new(MemoryLeases::default())).await;
}

/// Workers join and leave, streams are removed and added: each fragment is yielded once, by one worker at a time.
pub async fn streams_move(table: Arc<dyn LeaseStore>) {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let log = Log::default();
    let names: Vec<String> = (0..7).map(|n| format!("s{n}")).collect();
    let streams: Vec<LocalStream> = names.iter().map(|name| endpoint.create_stream(name)).collect();
    for name in &names {
        assert!(table.add(&name.into()).await.unwrap());
    }
    let pushed = Arc::new(Mutex::new(0_u32));
    let producer = tokio::spawn({
        let pushed = Arc::clone(&pushed);
        async move {
            for n in 0.. {
                streams.iter().for_each(|stream| push(stream, n));
                *pushed.lock().unwrap() = n + 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let mut first = Worker::start(&kvs, &table, "first", &log);
    first.wait_for(7).await;
    let mut second = Worker::start(&kvs, &table, "second", &log);
    second.wait_for(3).await;
    first.wait_for(4).await;
    let mut third = Worker::start(&kvs, &table, "third", &log);
    third.wait_for(2).await;
    assert!(first.leave().await.iter().all(|reason| *reason == Some(StreamEnd::LeaseReleased)));
    // Either may have the larger share.
    third.wait_for_at_least(3).await;
    second.wait_for_at_least(3).await;
    // A stream that is removed ends; one that is added again continues at its checkpoint.
    assert!(table.remove(&"s0".into()).await.unwrap());
    for worker in [&mut second, &mut third] {
        let seen = worker.leases.wait_for(|status| status.streams == 6);
        timeout(Duration::from_secs(60), seen).await.expect("the removal is seen").unwrap();
    }
    second.wait_for(3).await;
    third.wait_for(3).await;
    assert!(table.add(&"s0".into()).await.unwrap());
    let held = |worker: &Worker| worker.leases.borrow().held;
    timeout(Duration::from_secs(60), async {
        while held(&second) + held(&third) < 7 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    producer.abort();
    let _ = producer.await;
    let all = *pushed.lock().unwrap() as usize;
    let has_all = || log.lock().unwrap().values().filter(|fragments| fragments.len() >= all).count() == 7;
    timeout(Duration::from_secs(60), async {
        while !has_all() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("all fragments arrive");
    second.leave().await;
    third.leave().await;
    assert!(table.workers().await.unwrap().is_empty());
    assert!(table.leases().await.unwrap().iter().all(|row| row.owner.is_none()));
    for (stream, fragments) in log.lock().unwrap().iter() {
        let numbers: Vec<&FragmentNumber> = fragments.iter().map(|(_, _, number)| number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{stream}: {fragments:?}");
        assert!(fragments.is_sorted_by_key(|(_, epoch, _)| *epoch), "{stream}: {fragments:?}");
        assert_eq!(numbers.len(), all, "{stream}");
    }
}

#[tokio::test]
async fn a_zombie_saves_nothing() {
    zombie_saves_nothing(Arc::new(MemoryLeases::default())).await;
}

/// A worker whose lease was taken moves the checkpoint in no direction, however often it tries.
pub async fn zombie_saves_nothing(table: Arc<dyn LeaseStore>) {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let stream = "door".into();
    table.add(&stream).await.unwrap();
    let mut leases = kvs.fleet(Arc::clone(&table)).leases();
    let zombie = leases.try_next().await.unwrap().unwrap();
    let position = |n: u32| format!("kvs1:{n}:::=").parse().unwrap();
    zombie.save(&position(5)).await.unwrap();
    // Another worker claims the stream, as if this one had been declared dead.
    let row = table.lease(&stream).await.unwrap().unwrap();
    let mut taken = row.clone();
    (taken.owner, taken.epoch, taken.seq) = (Some("other".into()), row.epoch + 1, 0);
    assert_eq!(table.swap_lease(&taken, Some(row.version())).await.unwrap(), Swap::Done);
    for n in 0..1000 {
        let error = zombie.save(&position(n)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
        assert_eq!(error.to_string(), "lease lost: the lease of door belongs to the worker other now");
    }
    assert_eq!(table.lease(&stream).await.unwrap(), Some(taken));
    assert!(!zombie.is_valid());
    let (mut fragments, acks) = kvs.live("door").checkpointed(zombie);
    assert!(fragments.next().await.is_none());
    assert_eq!(fragments.end_reason(), Some(StreamEnd::LeaseLost));
    assert_eq!(acks.close().await.unwrap(), None);
}

#[tokio::test]
async fn a_fleet_that_cannot_work_says_why() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let mut leases = kvs.fleet(MemoryLeases::default()).lease_duration(Duration::ZERO).leases();
    let error = leases.next().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "invalid argument: the lease duration is not between 100 ms and 1 h");
    assert!(leases.next().await.is_none());
}

#[test]
fn metrics_are_recorded() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let numbers = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
            let kvs = KinesisVideo::new(&endpoint.sdk_config());
            let table = MemoryLeases::default();
            for name in ["a", "b", "c"] {
                table.add(&name.into()).await.unwrap();
            }
            let mut leases = kvs.fleet(table).lease_duration(LEASE).max_streams(2).leases();
            let mut status = leases.status();
            let held = [leases.try_next().await.unwrap(), leases.try_next().await.unwrap()];
            // The heartbeat after the claims records them.
            let seen = status.wait_for(|status| (status.held, status.free) == (2, 1));
            timeout(Duration::from_secs(60), seen).await.expect("the status is renewed").unwrap();
            drop(held);
        });
    });
    let values: BTreeMap<String, f64> = numbers
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, .., value)| match value {
            DebugValue::Gauge(value) => Some((key.key().name().to_owned(), value.into_inner())),
            _ => None,
        })
        .collect();
    let gauges = ["leases", "free", "valid"].map(|name| values.get(&format!("kinesis_video_fleet_{name}")).copied());
    assert_eq!(gauges, [Some(2.0), Some(1.0), Some(1.0)]);
}
