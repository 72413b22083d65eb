//! A model of a fleet: workers, their consumers, a table and a network that loses, delays and repeats, in simulated time.
//!
//! The workers are real [`Member`]s. The model checks the invariants of [`member`](super::member) at every write and
//! at every fragment that a consumer yields.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::time::Duration;

use super::member::{Action, Answer, Event, Member, PATIENCE, Request, Rules};
use super::store::{LeaseRow, LeaseVersion, Swap, WorkerRow};
use crate::fragment::{Position, StreamEnd};
use crate::service::stream_id::StreamId;

const LEASE: Duration = Duration::from_secs(10);
/// The time between two fragments of a consumer.
const FRAGMENT: Duration = Duration::from_millis(700);

fn position(n: u64) -> Position {
    format!("kvs1:{n}:::=").parse().unwrap()
}

fn number(position: Option<&Position>) -> u64 {
    position.and_then(Position::number).map_or(0, |number| number.as_str().parse().unwrap())
}

/// A mistake that is built in, to see that the model notices it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// The table writes whatever the version of the row is.
    BlindWrites,
    /// Others wait for less than a lease duration.
    Impatience,
    /// A claim takes a lease that is in use.
    Theft,
    /// A consumer saves the fragment that it has not yielded yet.
    EarlySave,
}

/// What the network does with a call. Times are from the sending, or from the write for the reply.
#[derive(Clone, Copy, Debug)]
struct Fate {
    arrives: Option<Duration>,
    repeated: Option<Duration>,
    reply: Option<Duration>,
}

impl Fate {
    const fn quick() -> Self {
        Self { arrives: Some(Duration::from_millis(5)), repeated: None, reply: Some(Duration::from_millis(5)) }
    }
}

/// What happens to a process.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Crash,
    Pause(Duration),
    Leave,
}

/// What fails, decided at random or listed.
enum Faults {
    Random {
        rng: fastrand::Rng,
        until: Duration,
    },
    /// The calls by their ordinal, and a blow to the first worker at a time.
    Listed {
        calls: HashMap<u64, Fate>,
        blow: Option<(Duration, Blow)>,
    },
}

impl Faults {
    fn fate(&mut self, ordinal: u64, now: Duration) -> Fate {
        match self {
            Self::Listed { calls, .. } => calls.get(&ordinal).copied().unwrap_or(Fate::quick()),
            Self::Random { rng, until } => {
                let mut quick = || Some(Duration::from_millis(rng.u64(1..60)));
                let mut fate = Fate { arrives: quick(), repeated: None, reply: quick() };
                if now < *until {
                    let long = LEASE.mul_f64(rng.f64() * 2.0);
                    match rng.u32(0..100) {
                        0..4 => fate.arrives = None,
                        4..10 => fate.reply = None,
                        10..13 => fate.arrives = Some(long),
                        13..16 => fate.reply = Some(long),
                        16..18 => fate.repeated = Some(long),
                        _ => {}
                    }
                }
                fate
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Call {
    Member(Request),
    /// A save of the consumer of a lease.
    Save {
        row: LeaseRow,
        replaces: LeaseVersion,
    },
}

#[derive(Debug)]
enum Happening {
    Arrive { call: u64, node: usize, what: Call, replies: Option<Duration> },
    Reply { call: u64, node: usize, answer: Answer },
    Timeout { call: u64, node: usize },
    Tick { node: usize, generation: u64 },
    Consume { node: usize },
    Blow { node: usize, blow: Blow },
    Resume { node: usize },
    Restart,
}

/// The consumer of one lease.
#[derive(Debug)]
struct Consumer {
    row: LeaseRow,
    yielded: u64,
    end: Option<StreamEnd>,
    is_saving: bool,
}

struct Node {
    member: Member,
    name: usize,
    lives: u64,
    /// The clock's time at zero, and its speed.
    clock: (Duration, f64),
    valid_until: Duration,
    consumers: BTreeMap<StreamId, Vec<Consumer>>,
    calls: HashMap<u64, (Call, Duration)>,
    generation: u64,
    is_paused: bool,
    is_gone: bool,
    late: Vec<Happening>,
}

impl Node {
    fn now(&self, time: Duration) -> Duration {
        self.clock.0 + time.mul_f64(self.clock.1)
    }

    fn real(&self, local: Duration) -> Duration {
        local.saturating_sub(self.clock.0).div_f64(self.clock.1)
    }
}

/// The last fragment that a stream yielded.
#[derive(Clone, Copy, Debug, Default)]
struct Yielded {
    epoch: u64,
    highest: u64,
}

struct World {
    time: Duration,
    mistake: Mistake,
    faults: Faults,
    rules: Rules,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: HashMap<u64, Happening>,
    ordinal: u64,
    calls: u64,
    nodes: Vec<Node>,
    workers: BTreeMap<String, WorkerRow>,
    leases: BTreeMap<StreamId, LeaseRow>,
    yielded: BTreeMap<StreamId, Yielded>,
    repeats: u64,
    fragments: u64,
    violations: Vec<String>,
}

impl World {
    fn new(streams: usize, workers: usize, mistake: Mistake, faults: Faults) -> Self {
        let patience = if mistake == Mistake::Impatience { 0.4 } else { PATIENCE };
        let rules = Rules { lease_duration: LEASE, max_streams: usize::MAX, patience };
        let rows = (0..streams).map(|n| LeaseRow::new(format!("s{n}"))).map(|row| (row.stream.clone(), row));
        let mut world = Self {
            time: Duration::ZERO,
            mistake,
            faults,
            rules,
            queue: BinaryHeap::new(),
            happenings: HashMap::new(),
            ordinal: 0,
            calls: 0,
            nodes: Vec::new(),
            workers: BTreeMap::new(),
            leases: rows.collect(),
            yielded: BTreeMap::new(),
            repeats: 0,
            fragments: 0,
            violations: Vec::new(),
        };
        (0..workers).for_each(|_| world.start_worker());
        world
    }

    fn start_worker(&mut self) {
        let name = self.nodes.len();
        let clock = match &mut self.faults {
            Faults::Random { rng, .. } => (Duration::from_secs(rng.u64(0..1_000_000)), 0.93 + rng.f64() * 0.14),
            Faults::Listed { .. } => (Duration::from_secs(1000 * name as u64), 1.0),
        };
        let now = clock.0 + self.time.mul_f64(clock.1);
        let node = Node {
            member: Member::new(format!("w{name}-0"), self.rules, now),
            name,
            lives: 0,
            clock,
            valid_until: Duration::ZERO,
            consumers: BTreeMap::new(),
            calls: HashMap::new(),
            generation: 0,
            is_paused: false,
            is_gone: false,
            late: Vec::new(),
        };
        self.nodes.push(node);
        self.schedule(Duration::ZERO, Happening::Tick { node: name, generation: 0 });
        self.schedule(FRAGMENT, Happening::Consume { node: name });
    }

    fn schedule(&mut self, after: Duration, what: Happening) {
        self.ordinal += 1;
        self.queue.push(Reverse((self.time + after, self.ordinal)));
        self.happenings.insert(self.ordinal, what);
    }

    fn run(&mut self, until: Duration) {
        while let Some(Reverse((time, ordinal))) = self.queue.peek().copied() {
            if time > until || !self.violations.is_empty() {
                break;
            }
            self.queue.pop();
            self.time = time;
            let what = self.happenings.remove(&ordinal).unwrap();
            self.happen(what);
        }
        self.time = until;
    }

    fn happen(&mut self, what: Happening) {
        let node = match &what {
            Happening::Reply { node, .. }
            | Happening::Timeout { node, .. }
            | Happening::Tick { node, .. }
            | Happening::Consume { node } => Some(*node),
            _ => None,
        };
        if let Some(node) = node.map(|node| &mut self.nodes[node]) {
            if node.is_gone {
                return;
            }
            if node.is_paused {
                node.late.push(what);
                return;
            }
        }
        match what {
            Happening::Arrive { call, node, what, replies } => {
                let answer = self.write(node, &what);
                if let Some(after) = replies {
                    self.schedule(after, Happening::Reply { call, node, answer });
                }
            }
            Happening::Reply { call, node, answer } => self.answer(node, call, answer),
            Happening::Timeout { call, node } => self.answer(node, call, Answer::Failed),
            Happening::Tick { node, generation } if self.nodes[node].generation == generation => {
                self.event(node, Event::Tick);
            }
            Happening::Tick { .. } => {}
            Happening::Consume { node } => {
                self.consume(node);
                self.schedule(FRAGMENT, Happening::Consume { node });
            }
            Happening::Blow { node, blow } => self.blow(node, blow),
            Happening::Resume { node } => {
                self.nodes[node].is_paused = false;
                let late = std::mem::take(&mut self.nodes[node].late);
                late.into_iter().for_each(|what| self.happen(what));
            }
            Happening::Restart => self.start_worker(),
        }
    }

    fn blow(&mut self, node: usize, blow: Blow) {
        if self.nodes[node].is_gone || self.nodes[node].is_paused {
            return;
        }
        match blow {
            Blow::Crash => {
                self.nodes[node].is_gone = true;
                self.schedule(LEASE / 2, Happening::Restart);
            }
            Blow::Pause(length) => {
                self.nodes[node].is_paused = true;
                self.schedule(length, Happening::Resume { node });
            }
            Blow::Leave => {
                self.event(node, Event::Leave);
                self.schedule(LEASE / 2, Happening::Restart);
            }
        }
    }

    // The table.

    fn write(&mut self, node: usize, call: &Call) -> Answer {
        let is_blind = self.mistake == Mistake::BlindWrites;
        match call {
            Call::Member(Request::ReadWorkers) => Answer::Workers(self.workers.values().cloned().collect()),
            Call::Member(Request::ReadLeases) => Answer::Leases(self.leases.values().cloned().collect()),
            Call::Member(Request::DeleteWorker) => {
                let name = self.nodes[node].name;
                self.workers.retain(|id, _| !id.starts_with(&format!("w{name}-")));
                Answer::Deleted
            }
            Call::Member(Request::WriteWorker { row, replaces }) => {
                let current = self.workers.get(&row.id);
                if current.map(|row| row.beat) != *replaces {
                    return Answer::Worker(Swap::Conflict(current.cloned()));
                }
                self.workers.insert(row.id.clone(), row.clone());
                Answer::Worker(Swap::Done)
            }
            Call::Member(Request::WriteLease { row, replaces }) | Call::Save { row, replaces } => {
                let current = &self.leases[&row.stream];
                if current.version() != *replaces && !is_blind {
                    return Answer::Lease(Swap::Conflict(Some(current.clone())));
                }
                let current = current.clone();
                self.check_write(&current, row);
                self.leases.insert(row.stream.clone(), row.clone());
                Answer::Lease(Swap::Done)
            }
        }
    }

    fn check_write(&mut self, old: &LeaseRow, new: &LeaseRow) {
        if new.version() <= old.version() || number(new.checkpoint.as_ref()) < number(old.checkpoint.as_ref()) {
            self.violations.push(format!("1: {new:?} replaces {old:?}"));
        }
        let is_claim = new.epoch > old.epoch;
        let owner = old.owner.as_ref().filter(|owner| Some(*owner) != new.owner.as_ref());
        // The row of a worker that has left comes back if its first heartbeat arrives a second time, late.
        let is_running = |owner: &str| self.nodes.iter().any(|node| !node.is_gone && node.member.id() == owner);
        let is_alive = |owner: &String| is_running(owner) && self.workers.get(owner).is_some_and(|row| !row.dead);
        if is_claim && owner.is_some_and(is_alive) {
            self.violations.push(format!("3: {new:?} takes the lease of a live worker from {old:?}"));
        }
    }

    // The workers.

    fn send(&mut self, node: usize, what: Call) {
        self.calls += 1;
        let (call, fate) = (self.calls, self.faults.fate(self.calls, self.time));
        let local = self.nodes[node].now(self.time);
        self.nodes[node].calls.insert(call, (what.clone(), local));
        if let Some(after) = fate.arrives {
            let replies = fate.reply;
            self.schedule(after, Happening::Arrive { call, node, what: what.clone(), replies });
        }
        if let Some(after) = fate.repeated {
            self.schedule(after, Happening::Arrive { call, node, what, replies: None });
        }
        self.schedule(LEASE / 4, Happening::Timeout { call, node });
    }

    fn answer(&mut self, node: usize, call: u64, answer: Answer) {
        let Some((what, sent)) = self.nodes[node].calls.remove(&call) else { return };
        match what {
            Call::Member(request) => self.event(node, Event::Answered { request, sent, answer }),
            Call::Save { row, .. } => self.saved(node, row, answer),
        }
    }

    fn event(&mut self, node: usize, event: Event) {
        let now = self.nodes[node].now(self.time);
        let actions = self.nodes[node].member.handle(now, event);
        for action in actions {
            self.act(node, action);
        }
        let Node { member, generation, .. } = &mut self.nodes[node];
        *generation += 1;
        let (generation, at) = (*generation, member.wake_at(now));
        if at < Duration::MAX {
            let pause = self.nodes[node].real(at.max(now)).saturating_sub(self.time) + Duration::from_micros(1);
            self.schedule(pause, Happening::Tick { node, generation });
        }
    }

    fn act(&mut self, node: usize, action: Action) {
        match action {
            Action::Send(request) => self.send(node, Call::Member(request)),
            Action::Grant { row, .. } => {
                let from = number(row.checkpoint.as_ref());
                let highest = self.yielded.get(&row.stream).map_or(0, |yielded| yielded.highest);
                if from > highest {
                    self.violations.push(format!("4: {row:?} begins after {from}, but {highest} was yielded last"));
                }
                let consumer = Consumer { row: row.clone(), yielded: from, end: None, is_saving: false };
                self.nodes[node].consumers.entry(row.stream).or_default().push(consumer);
                self.event(node, Event::Taken);
            }
            Action::Revoke { stream, end } => {
                let consumers = self.nodes[node].consumers.get_mut(&stream).into_iter().flatten();
                consumers.for_each(|consumer| {
                    consumer.end.get_or_insert(end);
                });
            }
            Action::Extend { until } => self.nodes[node].valid_until = until,
            Action::Died => {
                let now = self.nodes[node].now(self.time);
                let rules = self.rules;
                let Node { member, name, lives, calls, valid_until, .. } = &mut self.nodes[node];
                *lives += 1;
                *member = Member::new(format!("w{name}-{lives}"), rules, now);
                *valid_until = Duration::ZERO;
                calls.retain(|_, (call, _)| matches!(call, Call::Save { .. }));
                self.event(node, Event::Tick);
            }
            Action::Left => self.nodes[node].is_gone = true,
        }
    }

    // The consumers.

    fn consume(&mut self, node: usize) {
        let streams: Vec<StreamId> = self.nodes[node].consumers.keys().cloned().collect();
        let is_valid = self.nodes[node].now(self.time) < self.nodes[node].valid_until;
        for stream in streams {
            let mut consumers = self.nodes[node].consumers.remove(&stream).unwrap();
            let mut closed = Vec::new();
            consumers.retain_mut(|consumer| {
                if consumer.is_saving {
                    return true;
                }
                if consumer.end.is_none() && is_valid {
                    self.fragment(&stream, consumer);
                }
                let has_more = number(consumer.row.checkpoint.as_ref()) < consumer.yielded;
                let saves = match consumer.end {
                    None => consumer.yielded % 5 == 0,
                    Some(end) => end == StreamEnd::LeaseReleased,
                };
                if saves && has_more {
                    let ahead = u64::from(self.mistake == Mistake::EarlySave);
                    let checkpoint = Some(position(consumer.yielded + ahead));
                    let row = consumer.row.changed(|row| row.checkpoint = checkpoint);
                    consumer.is_saving = true;
                    self.send(node, Call::Save { row, replaces: consumer.row.version() });
                } else if consumer.end.is_some() {
                    closed.push(consumer.row.clone());
                    return false;
                }
                true
            });
            if !consumers.is_empty() {
                self.nodes[node].consumers.entry(stream).or_default().append(&mut consumers);
            }
            for row in closed {
                self.event(node, Event::Closed { row });
            }
        }
    }

    fn fragment(&mut self, stream: &StreamId, consumer: &mut Consumer) {
        consumer.yielded += 1;
        self.fragments += 1;
        let last = self.yielded.entry(stream.clone()).or_default();
        if consumer.row.epoch < last.epoch {
            let epoch = last.epoch;
            self.violations.push(format!("2: {stream} is yielded in epoch {} after {epoch}", consumer.row.epoch));
        }
        if consumer.yielded > last.highest + 1 {
            self.violations.push(format!("4: {stream}: {} is yielded after {}", consumer.yielded, last.highest));
        }
        self.repeats += u64::from(consumer.yielded <= last.highest);
        *last = Yielded { epoch: consumer.row.epoch, highest: last.highest.max(consumer.yielded) };
    }

    fn saved(&mut self, node: usize, row: LeaseRow, answer: Answer) {
        let consumers = self.nodes[node].consumers.get_mut(&row.stream).into_iter().flatten();
        let Some(consumer) = consumers.into_iter().find(|consumer| consumer.row.epoch == row.epoch) else { return };
        consumer.is_saving = false;
        match answer {
            Answer::Lease(Swap::Done) => consumer.row = row,
            Answer::Lease(Swap::Conflict(Some(current)))
                if current.owner == row.owner && current.epoch == row.epoch =>
            {
                consumer.row = current;
            }
            Answer::Lease(Swap::Conflict(_)) => {
                // A released lease can be lost as well.
                consumer.end = Some(StreamEnd::LeaseLost);
            }
            _ => {}
        }
    }

    /// Takes a lease that is in use, as no worker does.
    fn steal(&mut self) {
        let Some(row) = self.leases.values().find(|row| row.owner.is_some()).cloned() else { return };
        let new = LeaseRow { owner: Some("thief".into()), epoch: row.epoch + 1, seq: 0, ..row.clone() };
        self.write(0, &Call::Save { row: new, replaces: row.version() });
    }

    /// Checks that every stream is read, and that the shares are even.
    fn check_settled(&mut self) {
        let held: Vec<usize> = self.nodes.iter().filter(|node| !node.is_gone).map(|node| node.member.held()).collect();
        let (least, most) = (held.iter().min().unwrap(), held.iter().max().unwrap());
        if held.iter().sum::<usize>() != self.leases.len() || most - least > 1 {
            self.violations.push(format!("the fleet does not settle: {held:?} of {} streams", self.leases.len()));
        }
        let owned = self.leases.values().filter(|row| row.owner.is_some()).count();
        if owned != self.leases.len() {
            self.violations.push(format!("{owned} of {} streams have an owner", self.leases.len()));
        }
    }
}

/// Runs a fleet with random faults for a while, and then without. Returns the violations and the world.
fn random(seed: u64, mistake: Mistake) -> World {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (streams, workers) = (rng.usize(1..12), rng.usize(1..5));
    let faulty = LEASE * 20;
    let mut blows = Vec::new();
    for _ in 0..rng.usize(0..12) {
        let blow = match rng.u32(0..4) {
            0 => Blow::Crash,
            1 => Blow::Leave,
            _ => Blow::Pause(LEASE.mul_f64(rng.f64() * 3.0)),
        };
        blows.push((faulty.mul_f64(rng.f64()), rng.usize(..), blow));
    }
    let thefts: Vec<Duration> = (0..3).map(|_| faulty.mul_f64(rng.f64())).collect();
    let mut world = World::new(streams, workers, mistake, Faults::Random { rng, until: faulty });
    blows.sort_by_key(|(at, ..)| *at);
    for (at, node, blow) in blows {
        world.run(at);
        let node = node % world.nodes.len();
        world.happen(Happening::Blow { node, blow });
    }
    if mistake == Mistake::Theft {
        for _ in thefts {
            world.steal();
        }
    }
    world.run(faulty);
    world.run(faulty + LEASE * 12);
    if world.violations.is_empty() {
        world.check_settled();
    }
    world
}

/// The number of random runs. More with `KVS_ROUNDS`.
fn rounds() -> u64 {
    let rounds: u64 = std::env::var("KVS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    rounds * 150
}

#[test]
fn random_faults_violate_no_invariant() {
    let (mut fragments, mut repeats) = (0, 0);
    for seed in 0..rounds() {
        let world = random(seed, Mistake::None);
        assert!(world.violations.is_empty(), "seed {seed}: {:?}", world.violations);
        fragments += world.fragments;
        repeats += world.repeats;
    }
    // The faults have their effect, and the fleet works nevertheless.
    assert!(repeats > 0 && fragments > 50 * repeats, "{repeats} of {fragments}");
}

#[test]
fn a_fleet_without_faults_repeats_nothing() {
    for workers in 1..6 {
        let faults = Faults::Listed { calls: HashMap::new(), blow: None };
        let mut world = World::new(13, workers, Mistake::None, faults);
        for step in 1..12 {
            world.run(LEASE * 8 * step);
            let node = world.nodes.iter().position(|node| !node.is_gone).unwrap();
            world.happen(Happening::Blow { node, blow: Blow::Leave });
        }
        world.run(LEASE * 110);
        world.check_settled();
        assert!(world.violations.is_empty(), "{:?}", world.violations);
        assert_eq!(world.repeats, 0);
    }
}

/// Each rule is needed: without it, the model finds a violation.
#[test]
fn every_invariant_can_be_violated() {
    for (mistake, invariant) in
        [(Mistake::BlindWrites, "1:"), (Mistake::Impatience, "2:"), (Mistake::Theft, "3:"), (Mistake::EarlySave, "4:")]
    {
        let found = (0..300).find(|seed| {
            let world = random(*seed, mistake);
            world.violations.iter().any(|violation| violation.starts_with(invariant))
        });
        assert!(found.is_some(), "{mistake:?} is not noticed");
    }
}

/// Faults of single calls, combined with every kind of blow, at every moment of a takeover.
///
/// With `KVS_ROUNDS`: the faults of every call, and lost replies to every pair of calls.
#[test]
fn every_fault_at_every_moment_is_survived() {
    let blows: Vec<Option<(Duration, Blow)>> = (4..7)
        .flat_map(|quarter| {
            let at = LEASE * quarter / 4;
            [1, 3, 5, 7].map(|length| Some((at, Blow::Pause(LEASE * length / 4))))
        })
        .chain([None, Some((LEASE, Blow::Crash)), Some((LEASE, Blow::Leave))])
        .collect();
    let fates = [
        Fate { arrives: None, ..Fate::quick() },
        Fate { reply: None, ..Fate::quick() },
        Fate { arrives: Some(LEASE * 3 / 2), ..Fate::quick() },
        Fate { repeated: Some(LEASE * 3 / 2), ..Fate::quick() },
    ];
    let run = |calls: HashMap<u64, Fate>, blow: Option<(Duration, Blow)>| {
        let listed = format!("{calls:?}, {blow:?}");
        let mut world = World::new(2, 2, Mistake::None, Faults::Listed { calls, blow });
        if let Faults::Listed { blow: Some((at, blow)), .. } = world.faults {
            world.schedule(at, Happening::Blow { node: 0, blow });
        }
        world.run(LEASE * 12);
        world.check_settled();
        assert!(world.violations.is_empty(), "{listed}: {:?}", world.violations);
    };
    let is_thorough = std::env::var_os("KVS_ROUNDS").is_some();
    let step = if is_thorough { 1 } else { 9 };
    for blow in &blows {
        run(HashMap::new(), *blow);
        for first in (1..70).step_by(step) {
            for fate in fates {
                run(HashMap::from([(first, fate)]), *blow);
            }
            for second in (first + 1..70).filter(|_| is_thorough) {
                run(HashMap::from([(first, fates[1]), (second, fates[1])]), *blow);
            }
        }
    }
}
