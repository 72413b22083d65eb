//! The load that a fleet puts on its table, counted in simulated time with real [`Member`]s and the real saver.
//!
//! The figures of `docs/fleet.md` come from here. `KVS_ROUNDS` runs it at the full size.
#![allow(clippy::print_stdout, reason = "its figures are to be seen")]

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};

use super::member::{Action, Answer, Event, Member, PATIENCE, Request, Rules};
use super::memory::MemoryLeases;
use super::store::{LeaseRow, LeaseStore, Swap, WorkerRow};
use crate::checkpoint::{CheckpointStore, pair};
use crate::error::Result;
use crate::fragment::Position;
use crate::service::stream_id::StreamId;

/// The time of a call to the table.
const LATENCY: Duration = Duration::from_millis(5);
/// The time that a consumer takes to close when its lease is given up.
const CLOSING: Duration = Duration::from_millis(50);
/// The partitions of the table that hold rows of streams, each of which a look at all leases reads.
const PARTITIONS: u64 = 16;
/// A checkpoint as the service's fragment numbers make it.
const POSITION: &str = "kvs1:91343852333181432392682062607743920146159169392:1511852109126:1511852109126:=";
const HOUR: Duration = Duration::from_secs(3600);

/// Dollars per million request units: on demand, us-east-1, since November 2024.
const WRITE_PRICE: f64 = 0.625;
const READ_PRICE: f64 = 0.125;
/// Seconds in a month of 730 hours.
const MONTH: f64 = 730.0 * 3600.0;

/// What the table was asked, and what DynamoDB bills for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Load {
    heartbeats: u64,
    looks_at_workers: u64,
    looks_at_leases: u64,
    /// Claims, releases and declarations of death, those that failed included.
    other_writes: u64,
    conflicts: u64,
    write_units: u64,
    /// In half units: an eventually consistent read of 4 KB is half a unit.
    half_read_units: u64,
}

impl Load {
    fn since(&self, start: &Self) -> Self {
        Self {
            heartbeats: self.heartbeats - start.heartbeats,
            looks_at_workers: self.looks_at_workers - start.looks_at_workers,
            looks_at_leases: self.looks_at_leases - start.looks_at_leases,
            other_writes: self.other_writes - start.other_writes,
            conflicts: self.conflicts - start.conflicts,
            write_units: self.write_units - start.write_units,
            half_read_units: self.half_read_units - start.half_read_units,
        }
    }

    fn read_units(&self) -> f64 {
        self.half_read_units as f64 / 2.0
    }
}

/// Bytes of an item, by DynamoDB's rule: names and values. Half a byte for each digit of a number, and one more.
fn item_bytes(attributes: &[(&str, usize)]) -> u64 {
    attributes.iter().map(|(name, value)| (name.len() + value) as u64).sum()
}

fn number_bytes(number: u64) -> usize {
    number.to_string().len().div_ceil(2) + 1
}

fn lease_bytes(row: &LeaseRow) -> u64 {
    // Its checkpoint is counted even where the simulation has not saved one.
    item_bytes(&[
        ("pk", "fleet#s00".len()),
        ("sk", row.stream.to_string().len()),
        ("owner", row.owner.as_ref().map_or(0, String::len)),
        ("epoch", number_bytes(row.epoch)),
        ("seq", number_bytes(10_000)),
        ("checkpoint", POSITION.len()),
        ("removed", 1),
    ])
}

fn worker_bytes(row: &WorkerRow) -> u64 {
    item_bytes(&[
        ("pk", "fleet#workers".len()),
        ("sk", row.id.len()),
        ("beat", number_bytes(row.beat)),
        ("lease_ms", number_bytes(10_000)),
        ("max_streams", number_bytes(row.max_streams)),
        ("dead", 1),
    ])
}

/// Something that is to happen to a worker.
#[derive(Debug)]
enum Due {
    Wake { generation: u64 },
    Event(Box<Event>),
}

/// Workers, their table, and the time.
struct Simulation {
    now: Duration,
    table: MemoryLeases,
    members: Vec<Option<Member>>,
    generations: Vec<u64>,
    due: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, (usize, Due)>,
    next: u64,
    load: Load,
    takeovers: u64,
    last_takeover: Duration,
}

impl Simulation {
    fn new(streams: usize) -> Self {
        let table = MemoryLeases::default();
        for n in 0..streams {
            let stream = StreamId::from(format!("site-{:03}-camera-{n:05}", n % 200));
            assert!(table.add(&stream).now_or_never().unwrap().unwrap());
        }
        Self {
            now: Duration::ZERO,
            table,
            members: Vec::new(),
            generations: Vec::new(),
            due: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            load: Load::default(),
            takeovers: 0,
            last_takeover: Duration::ZERO,
        }
    }

    fn join(&mut self) {
        let rules = Rules { lease_duration: Duration::from_secs(10), max_streams: usize::MAX, patience: PATIENCE };
        let worker = self.members.len();
        let id = format!("ip-10-0-12-{worker}.ec2.internal-12345-{:016x}", worker * 7919);
        self.members.push(Some(Member::new(id, rules, self.now)));
        self.generations.push(0);
        self.schedule(self.now, worker, Due::Event(Box::new(Event::Tick)));
    }

    fn schedule(&mut self, at: Duration, worker: usize, due: Due) {
        self.due.push(Reverse((at, self.next)));
        self.events.insert(self.next, (worker, due));
        self.next += 1;
    }

    fn run_for(&mut self, time: Duration) -> Load {
        let (start, end) = (self.load, self.now + time);
        while let Some(Reverse((at, index))) = self.due.peek().copied() {
            if at > end {
                break;
            }
            self.due.pop();
            self.now = at;
            let (worker, due) = self.events.remove(&index).unwrap();
            match due {
                Due::Wake { generation } if self.generations[worker] != generation => {}
                Due::Wake { .. } => self.handle(worker, Event::Tick),
                Due::Event(event) => self.handle(worker, *event),
            }
        }
        self.now = end;
        self.load.since(&start)
    }

    fn handle(&mut self, worker: usize, event: Event) {
        let Some(member) = &mut self.members[worker] else { return };
        let actions = member.handle(self.now, event);
        let wake = member.wake_at(self.now).max(self.now);
        for action in actions {
            match action {
                Action::Send(request) => {
                    let answer = self.ask(worker, &request);
                    let event = Event::Answered { request, sent: self.now, answer };
                    self.schedule(self.now + LATENCY, worker, Due::Event(Box::new(event)));
                }
                Action::Grant { row, is_takeover } => {
                    if is_takeover {
                        self.takeovers += 1;
                        self.last_takeover = self.now;
                    }
                    self.schedule(self.now, worker, Due::Event(Box::new(Event::Taken)));
                    assert!(row.owner.is_some());
                }
                Action::Revoke { stream, .. } => {
                    let row = self.table.lease(&stream).now_or_never().unwrap().unwrap().unwrap();
                    self.schedule(self.now + CLOSING, worker, Due::Event(Box::new(Event::Closed { row })));
                }
                Action::Extend { .. } => {}
                Action::Died | Action::Left => panic!("nobody is suspended or leaves here"),
            }
        }
        self.generations[worker] += 1;
        if wake < Duration::from_secs(1 << 30) {
            let generation = self.generations[worker];
            self.schedule(wake, worker, Due::Wake { generation });
        }
    }

    fn ask(&mut self, worker: usize, request: &Request) -> Answer {
        let table = self.table.clone();
        let is_conflict =
            |answer: &Answer| matches!(answer, Answer::Worker(Swap::Conflict(_)) | Answer::Lease(Swap::Conflict(_)));
        let answer = match request {
            Request::ReadWorkers => {
                let rows = table.workers().now_or_never().unwrap().unwrap();
                self.load.looks_at_workers += 1;
                let bytes: u64 = rows.iter().map(worker_bytes).sum();
                self.load.half_read_units += 2 * bytes.div_ceil(4096).max(1);
                Answer::Workers(rows)
            }
            Request::ReadLeases => {
                let rows = table.leases().now_or_never().unwrap().unwrap();
                self.load.looks_at_leases += 1;
                // A query is billed by the sum of its rows.
                let bytes: u64 = rows.iter().map(lease_bytes).sum();
                self.load.half_read_units += PARTITIONS * (bytes / PARTITIONS).div_ceil(4096).max(1);
                Answer::Leases(rows)
            }
            Request::WriteWorker { row, replaces } => {
                let is_own = self.members[worker].as_ref().is_some_and(|member| member.id() == row.id);
                *(if is_own { &mut self.load.heartbeats } else { &mut self.load.other_writes }) += 1;
                self.load.write_units += worker_bytes(row).div_ceil(1024);
                Answer::Worker(table.swap_worker(row, *replaces).now_or_never().unwrap().unwrap())
            }
            Request::WriteLease { row, replaces } => {
                self.load.other_writes += 1;
                self.load.write_units += lease_bytes(row).div_ceil(1024);
                Answer::Lease(table.swap_lease(row, Some(*replaces)).now_or_never().unwrap().unwrap())
            }
            Request::DeleteWorker => panic!("nobody leaves here"),
        };
        self.load.conflicts += u64::from(is_conflict(&answer));
        answer
    }

    fn held(&self) -> Vec<usize> {
        self.members.iter().flatten().map(Member::held).collect()
    }
}

/// Three phases of a fleet, as the table sees them.
struct Counted {
    start: Load,
    start_time: Duration,
    settled: Load,
    death: Load,
    takeover_time: Duration,
}

/// Starts workers one second apart, lets them settle, counts for `length`, and kills one.
fn count(streams: usize, workers: usize, length: Duration) -> Counted {
    let mut fleet = Simulation::new(streams);
    for _ in 0..workers {
        fleet.join();
        fleet.run_for(Duration::from_secs(1));
    }
    let is_fair = |held: &[usize]| {
        let least = held.iter().min().copied().unwrap_or(0);
        held.iter().sum::<usize>() == streams && held.iter().all(|held| held - least <= 1)
    };
    while !is_fair(&fleet.held()) {
        assert!(fleet.now < HOUR, "{:?}", fleet.held());
        fleet.run_for(Duration::from_millis(100));
    }
    let (start, start_time) = (fleet.load, fleet.now);
    // All look more often for a while.
    fleet.run_for(Duration::from_secs(120));
    let settled = fleet.run_for(length);
    let before = fleet.load;
    let (killed_at, victim) = (fleet.now, workers / 2);
    let lost = fleet.held()[victim] as u64;
    fleet.members[victim] = None;
    while fleet.takeovers < lost {
        assert!(fleet.now < killed_at + HOUR, "{:?}", fleet.held());
        fleet.run_for(Duration::from_millis(100));
    }
    let takeover_time = fleet.last_takeover - killed_at;
    fleet.run_for(Duration::from_secs(300));
    assert!(is_fair(&fleet.held()), "{:?}", fleet.held());
    // Without what the others do at any time.
    let others = (workers - 1) as u64;
    let seconds = (fleet.now - killed_at).as_secs();
    let usual = |count: u64| count * seconds * others / workers as u64 / length.as_secs();
    let all = fleet.load.since(&before);
    let death = Load {
        heartbeats: 0,
        looks_at_workers: all.looks_at_workers.saturating_sub(usual(settled.looks_at_workers)),
        looks_at_leases: all.looks_at_leases.saturating_sub(usual(settled.looks_at_leases)),
        other_writes: all.other_writes,
        conflicts: all.conflicts,
        write_units: all.write_units.saturating_sub(usual(settled.write_units)),
        half_read_units: all.half_read_units.saturating_sub(usual(settled.half_read_units)),
    };
    Counted { start, start_time, settled, death, takeover_time }
}

/// Counts the saves of one stream in an hour with the real saver, on tokio's paused clock.
async fn saves_in_an_hour(interval: Duration, fragment: Duration) -> u64 {
    struct Counting {
        saves: AtomicU64,
        interval: Duration,
    }

    impl CheckpointStore for Counting {
        fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
            ready(Ok(None)).boxed()
        }

        fn save<'a>(&'a self, _: &'a Position) -> BoxFuture<'a, Result<()>> {
            self.saves.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(LATENCY).map(Ok).boxed()
        }

        fn save_interval(&self) -> Duration {
            self.interval
        }
    }

    let store = Arc::new(Counting { saves: AtomicU64::new(0), interval });
    let (ledger, acks) = pair(Arc::clone(&store) as Arc<dyn CheckpointStore>);
    for n in 0..HOUR.as_secs() / fragment.as_secs() {
        let position = Position::after(n.to_string().parse().unwrap());
        ledger.record(position.clone()).unwrap();
        tokio::time::sleep(fragment).await;
        acks.done(&position);
    }
    store.saves.load(Ordering::Relaxed)
}

/// Returns the load of a settled fleet in request units per second, from the rows' sizes: writes without saves, reads.
fn settled_units(streams: usize, workers: usize) -> (f64, f64) {
    let fleet = Simulation::new(streams);
    let rows = fleet.table.leases().now_or_never().unwrap().unwrap();
    let owner = Some("ip-10-0-12-3.ec2.internal-12345-0123456789abcdef".to_owned());
    let bytes: u64 = rows.iter().map(|row| lease_bytes(&LeaseRow { owner: owner.clone(), ..row.clone() })).sum();
    let look_at_leases = (PARTITIONS * (bytes / PARTITIONS).div_ceil(4096).max(1)) as f64 / 2.0;
    let workers = workers as f64;
    // Four heartbeats and four looks at the workers in a lease duration of 10 s, one look at the leases in three.
    (workers * 0.4, workers * (0.4 + look_at_leases / 30.0))
}

/// Returns the table of the monthly costs in `docs/fleet.md`.
fn cost_table(saves_per_hour: [(u64, u64); 3]) -> String {
    let mut text = String::from("| streams | workers | reads | heartbeats |");
    for (interval, _) in saves_per_hour {
        write!(text, " saves every {interval} s |").unwrap();
    }
    text += "\n|---|---|---|---|---|---|---|\n";
    for (name, streams, workers) in [("100", 100, 2), ("1,000", 1_000, 3), ("5,000", 5_000, 10)] {
        let (writes, reads) = settled_units(streams, workers);
        let dollars = |units: f64, price: f64| units * MONTH / 1e6 * price;
        let (reads, writes) = (dollars(reads, READ_PRICE), dollars(writes, WRITE_PRICE));
        write!(text, "| {name} | {workers} | ${reads:.2} | ${writes:.2} |").unwrap();
        for (_, saves) in saves_per_hour {
            let saves = dollars(streams as f64 * saves as f64 / 3600.0, WRITE_PRICE);
            write!(text, " ${saves:.0} |").unwrap();
        }
        text += "\n";
    }
    text
}

#[tokio::test(start_paused = true)]
async fn a_stream_saves_once_in_each_interval() {
    for fragment in [1, 2] {
        let fragment = Duration::from_secs(fragment);
        for (interval, expected) in [(10, 358..=361), (30, 119..=121), (60, 59..=61)] {
            let saves = saves_in_an_hour(Duration::from_secs(interval), fragment).await;
            assert!(expected.contains(&saves), "{saves} saves at {interval} s");
        }
    }
}

/// The guide has the table that these prices and counts make.
#[test]
fn the_guide_has_these_costs() {
    let table = cost_table([(10, 360), (30, 120), (60, 60)]);
    println!("{table}");
    assert!(include_str!("../../../docs/fleet.md").contains(&table), "docs/fleet.md needs this table:\n{table}");
}

/// The calls of a settled fleet depend on the number of workers, not of streams, but for the size of what is read.
#[test]
fn a_settled_fleet_asks_no_more_than_it_says() {
    let full = std::env::var_os("KVS_ROUNDS").is_some();
    let (streams, workers, length) = if full { (5_000, 10, HOUR) } else { (40, 4, HOUR / 6) };
    let Counted { start, start_time, settled, death, takeover_time } = count(streams, workers, length);
    println!("{streams} streams, {workers} workers, lease duration 10 s, save interval aside");
    println!("start, in {:.1} s: {start:?}", start_time.as_secs_f64());
    println!("{length:?} of peace: {settled:?}");
    println!("a worker's death, {:.1} s: {death:?}", takeover_time.as_secs_f64());
    let seconds = length.as_secs();
    let all = |per_worker: u64| workers as u64 * per_worker;
    let is_about = |count: u64, expected: u64| count <= expected + 1 && count + expected / 50 >= expected;
    // Not quite as many as without the latency of each call.
    assert!(is_about(settled.heartbeats, all(seconds * 4 / 10)), "{settled:?}");
    assert!(is_about(settled.looks_at_workers, all(seconds * 4 / 10)), "{settled:?}");
    assert!(is_about(settled.looks_at_leases, all(seconds / 30)), "{settled:?}");
    assert_eq!((settled.other_writes, settled.conflicts), (0, 0), "no lease moves without need");
    let (writes, reads) = settled_units(streams, workers);
    assert!(is_about(settled.write_units, (writes * seconds as f64) as u64), "{settled:?}");
    assert!((settled.read_units() / (reads * seconds as f64) - 1.0).abs() < 0.02, "{settled:?}, {reads}");
    // Each stream is claimed once, give or take what two workers want at once or the late ones get.
    assert!(start.other_writes < 4 * streams as u64, "{start:?}");
    assert!(death.other_writes < 2 * (streams as u64).div_ceil(workers as u64) + 10, "{death:?}");
    // Until the death is known, and then 30 claims a second, of which some are in vain.
    let claims = Duration::from_millis(50) * 2 * (streams / workers / (workers - 1)) as u32;
    assert!(takeover_time < Duration::from_secs(15) + claims, "{takeover_time:?}");
}
