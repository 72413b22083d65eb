//! What every [`LeaseStore`] must do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::iter;
use kinesis_video::fleet::{LeaseRow, LeaseStore, LeaseVersion, MemoryLeases, Swap, WorkerRow};
use kinesis_video::{Position, StreamId};

/// The calls that are made at once.
const AT_ONCE: usize = 100;

#[tokio::test]
async fn memory_leases_hold_the_contract() {
    holds(Arc::new(MemoryLeases::default())).await;
}

/// Panics unless an empty store does what it must.
pub async fn holds(store: Arc<dyn LeaseStore>) {
    assert_eq!(store.leases().await.unwrap(), []);
    assert_eq!(store.workers().await.unwrap(), []);
    leases_are_swapped(&*store).await;
    workers_are_swapped(&*store).await;
    streams_are_added_and_removed(&*store).await;
    any_name_is_kept(&*store).await;
    one_swap_wins_each_version(&store).await;
    no_update_is_lost(&store).await;
}

fn position(n: u64) -> Position {
    format!("kvs1:{n}:1511852109126:5000:=").parse().unwrap()
}

/// A row of which every field has a value.
fn full(stream: impl Into<StreamId>, epoch: u64, seq: u64) -> LeaseRow {
    let mut row = LeaseRow::new(stream);
    (row.owner, row.epoch, row.seq) = (Some("host-1-00ff".into()), epoch, seq);
    (row.checkpoint, row.removed) = (Some(position(epoch * 1000 + seq)), true);
    row
}

async fn leases_are_swapped(store: &dyn LeaseStore) {
    let stream = StreamId::from("swapped");
    let version = |epoch, seq| Some(LeaseVersion { epoch, seq });
    assert_eq!(store.lease(&stream).await.unwrap(), None);
    let first = LeaseRow::new(&stream);
    // There is nothing to replace.
    assert_eq!(store.swap_lease(&first, version(0, 0)).await.unwrap(), Swap::Conflict(None));
    assert_eq!(store.swap_lease(&first, None).await.unwrap(), Swap::Done);
    assert_eq!(store.swap_lease(&first, None).await.unwrap(), Swap::Conflict(Some(first.clone())));
    let second = full(&stream, 3, 5);
    // Neither part of the version alone is enough.
    for wrong in [None, version(0, 1), version(1, 0), version(3, 5)] {
        assert_eq!(store.swap_lease(&second, wrong).await.unwrap(), Swap::Conflict(Some(first.clone())));
    }
    assert_eq!(store.swap_lease(&second, version(0, 0)).await.unwrap(), Swap::Done);
    assert_eq!(store.lease(&stream).await.unwrap(), Some(second.clone()));
    for wrong in [None, version(0, 0), version(3, 0), version(0, 5), version(5, 3)] {
        assert_eq!(store.swap_lease(&first, wrong).await.unwrap(), Swap::Conflict(Some(second.clone())));
    }
    // What is absent in the new row is absent after it, and a position keeps its times.
    let mut third = LeaseRow::new(&stream);
    (third.epoch, third.seq) = (3, 6);
    assert_eq!(store.swap_lease(&third, version(3, 5)).await.unwrap(), Swap::Done);
    assert_eq!(store.leases().await.unwrap(), [third.clone()]);
    let fourth = full(&stream, 4, 0);
    assert_eq!(store.swap_lease(&fourth, version(3, 6)).await.unwrap(), Swap::Done);
    let read = store.lease(&stream).await.unwrap().unwrap();
    assert_eq!(read.checkpoint.unwrap().to_string(), fourth.checkpoint.unwrap().to_string());
}

async fn workers_are_swapped(store: &dyn LeaseStore) {
    let row = |beat, dead| WorkerRow {
        id: "host-1-00ff".into(),
        beat,
        lease_duration: Duration::from_millis(1500),
        max_streams: u64::MAX,
        dead,
    };
    assert_eq!(store.swap_worker(&row(1, false), Some(0)).await.unwrap(), Swap::Conflict(None));
    assert_eq!(store.swap_worker(&row(1, false), None).await.unwrap(), Swap::Done);
    assert_eq!(store.swap_worker(&row(1, false), None).await.unwrap(), Swap::Conflict(Some(row(1, false))));
    assert_eq!(store.swap_worker(&row(2, false), Some(1)).await.unwrap(), Swap::Done);
    assert_eq!(store.swap_worker(&row(2, true), Some(1)).await.unwrap(), Swap::Conflict(Some(row(2, false))));
    assert_eq!(store.swap_worker(&row(3, true), Some(2)).await.unwrap(), Swap::Done);
    assert_eq!(store.workers().await.unwrap(), [row(3, true)]);
    let other = WorkerRow { id: "host-2".into(), max_streams: 0, ..row(1, false) };
    assert_eq!(store.swap_worker(&other, None).await.unwrap(), Swap::Done);
    store.delete_worker("host-1-00ff").await.unwrap();
    store.delete_worker("host-1-00ff").await.unwrap();
    assert_eq!(store.workers().await.unwrap(), [other]);
    // After the row is gone, nobody's heartbeat brings it back.
    assert_eq!(store.swap_worker(&row(4, false), Some(3)).await.unwrap(), Swap::Conflict(None));
}

async fn streams_are_added_and_removed(store: &dyn LeaseStore) {
    let stream = StreamId::from("added");
    assert!(!store.remove(&stream).await.unwrap());
    assert!(store.add(&stream).await.unwrap());
    assert!(!store.add(&stream).await.unwrap());
    let mut row = store.lease(&stream).await.unwrap().unwrap();
    assert_eq!(row, LeaseRow::new(&stream));
    let version = row.version();
    (row.owner, row.epoch, row.checkpoint) = (Some("me".into()), 7, Some(position(7)));
    assert_eq!(store.swap_lease(&row, Some(version)).await.unwrap(), Swap::Done);
    for (removed, seq) in [(true, 1), (false, 2)] {
        let change = || if removed { store.remove(&stream) } else { store.add(&stream) };
        assert!(change().await.unwrap());
        assert!(!change().await.unwrap());
        let expected = LeaseRow { removed, seq, ..row.clone() };
        assert_eq!(store.lease(&stream).await.unwrap(), Some(expected));
    }
}

async fn any_name_is_kept(store: &dyn LeaseStore) {
    let arn = "arn:aws-cn:kinesisvideo:cn-north-1:111122223333:stream/front-door/1522222222222";
    let long = "x".repeat(1000);
    let names = ["#", "a#s00", "a/b c", "'; DROP TABLE leases; --", "Ünï-cødé-門", "%", "_", "A", "a", arn, &long];
    for name in names {
        let row = full(name, 1, 1);
        assert_eq!(store.swap_lease(&row, None).await.unwrap(), Swap::Done, "{name}");
        assert_eq!(store.lease(&name.into()).await.unwrap(), Some(row), "{name}");
    }
    let rows = store.leases().await.unwrap();
    for name in names {
        assert_eq!(rows.iter().filter(|row| row.stream.as_str() == name).count(), 1, "{name}");
    }
}

/// 1,000 writes, of which each 100 at once replace the same version.
async fn one_swap_wins_each_version(store: &Arc<dyn LeaseStore>) {
    let stream = StreamId::from("contended");
    store.add(&stream).await.unwrap();
    for round in 0..10 {
        let swaps = (0..AT_ONCE).map(|n| {
            let (store, mut row) = (Arc::clone(store), LeaseRow::new(&stream));
            (row.owner, row.epoch) = (Some(format!("w{n}")), round + 1);
            tokio::spawn(async move {
                let swap = store.swap_lease(&row, Some(LeaseVersion { epoch: round, seq: 0 })).await.unwrap();
                (row, swap)
            })
        });
        // All are spawned before the first is awaited.
        let swaps: Vec<_> = swaps.collect();
        let mut winners = Vec::new();
        let mut losers = Vec::new();
        for swap in swaps {
            match swap.await.unwrap() {
                (row, Swap::Done) => winners.push(row),
                (_, Swap::Conflict(current)) => losers.push(current.unwrap()),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert!(losers.iter().all(|row| *row == winners[0]), "round {round}");
        assert_eq!(store.lease(&stream).await.unwrap(), Some(winners.remove(0)));
    }
}

/// Writers that each try until they have won add up.
async fn no_update_is_lost(store: &Arc<dyn LeaseStore>) {
    let stream = StreamId::from("counted");
    store.add(&stream).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (store, stream) = (Arc::clone(store), stream.clone());
            tokio::spawn(async move {
                let mut current = store.lease(&stream).await.unwrap().unwrap();
                let mut wins = 0;
                while wins < 20 {
                    let row = LeaseRow { seq: current.seq + 1, ..current.clone() };
                    current = match store.swap_lease(&row, Some(current.version())).await.unwrap() {
                        Swap::Done => {
                            wins += 1;
                            row
                        }
                        Swap::Conflict(row) => row.unwrap(),
                    };
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.lease(&stream).await.unwrap().unwrap().seq, 160);
}

/// Writes rows of streams, many at once, and panics unless all are read again.
pub async fn many_rows_are_read(store: &dyn LeaseStore, rows: Vec<LeaseRow>) {
    let all: BTreeMap<StreamId, LeaseRow> = rows.iter().map(|row| (row.stream.clone(), row.clone())).collect();
    let writes = iter(rows).map(|row| async move { store.swap_lease(&row, None).await.unwrap() });
    let done = writes.buffer_unordered(AT_ONCE).filter(|swap| std::future::ready(*swap == Swap::Done)).count().await;
    assert_eq!(done, all.len());
    let read = store.leases().await.unwrap();
    assert_eq!(read.len(), all.len());
    let read: BTreeMap<StreamId, LeaseRow> = read.into_iter().map(|row| (row.stream.clone(), row)).collect();
    assert!(read == all);
}
