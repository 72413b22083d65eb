//! Workers that are processes of their own, on one machine: killed, paused, replaced, and cut off from the table.
//!
//! A run is small, unless `KVS_ROUNDS` is set, as by `make proof`. Then it also writes `target/fleet/`.

mod judge;
pub mod store;
mod world;

use std::time::Duration;

use store::Store;
use world::{Size, World};

use crate::support::rounds::rounds;
use crate::support::store_proxy::StoreFault;

/// Three workers and twelve streams, or in the proof eight and two hundred.
fn size() -> Size {
    let (second, millis) = (Duration::from_secs(1), Duration::from_millis);
    if is_proof() {
        Size { workers: 8, streams: 200, lease: 2 * second, save: second, period: second }
    } else {
        Size { workers: 3, streams: 12, lease: second, save: millis(300), period: millis(200) }
    }
}

fn is_proof() -> bool {
    rounds(1) > 1
}

/// One worker becomes several; they are killed and paused; the table has faults; all are replaced; few are left.
async fn ordeal(store: Store, name: &str, strikes: usize) {
    let mut world = World::new(store, size()).await;
    let lease = world.size.lease;
    world.start(1);
    world.settle().await;
    world.start(world.size.workers - 1);
    world.settle().await;
    for strike in 0..strikes {
        // In the proof, a hundred are killed and fifty are paused.
        world.strike(if is_proof() { 2 } else { 1 }, 1).await;
        if strike % 10 == 0 {
            world.settle().await;
        }
    }
    world.settle().await;
    for fault in [
        StoreFault::Throttle(0.5),
        StoreFault::Delay(lease / 3),
        StoreFault::LoseReplies(0.3),
        // Longer than a lease, so that all workers pause.
        StoreFault::Partition,
    ] {
        world.disturb(fault, lease * 2).await;
    }
    world.restart_store(lease * 2).await;
    world.leave(world.workers.len(), true).await;
    world.leave(world.workers.len() - 2, false).await;
    let (tally, takeovers) = world.end().await;
    takeovers.report(name, &tally, is_proof());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_whatever_happens_to_workers_and_table() {
    ordeal(Store::dynoxide().await, "dynoxide", if is_proof() { 50 } else { 1 }).await;
}

/// Another implementation of DynamoDB, whose process is killed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_dynalite() {
    if !is_proof() {
        return;
    }
    let store = Store::dynalite().await.expect("make proof installs dynalite");
    ordeal(store, "dynalite", 10).await;
}

/// A wall clock that goes back and forth by an hour costs no lease.
#[tokio::test(flavor = "multi_thread")]
async fn the_wall_clock_does_not_matter() {
    let lease = Duration::from_secs(3);
    let size =
        Size { workers: 2, streams: 6, lease, save: Duration::from_millis(300), period: Duration::from_millis(200) };
    let mut world = World::new(Store::dynoxide().await, size).await;
    world.start(1);
    if !world.start_with_own_clock() {
        assert!(!is_proof(), "make proof installs faketime");
        eprintln!("faketime is not installed");
        return;
    }
    world.settle().await;
    let id = world.last_id().await;
    assert!(id.is_some());
    for (offset, seconds) in [("+1h", 3600), ("-1h", -3600), ("+0", 0)] {
        assert!((world.turn_clock(offset) - seconds).abs() < 60, "the clock is turned by {offset}");
        tokio::time::sleep(lease).await;
    }
    world.settle().await;
    assert_eq!(world.last_id().await, id, "nobody took it for dead");
    let (tally, _) = world.end().await;
    assert_eq!((tally.repeats, tally.late), (0, 0));
}
