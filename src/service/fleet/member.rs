//! [`Member`]: the decisions of one worker of a fleet, without I/O and without a clock.
//!
//! # Invariants
//! 1. The version of a stream's row only rises. Each write replaces exactly the version that it is based on, so a worker
//!    that has lost a lease moves its checkpoint in no direction.
//! 2. A worker yields nothing later than one lease duration after it *sent* its last successful heartbeat. Others declare
//!    it dead at the earliest 1.25 lease durations after they first *saw* that heartbeat. Clocks of two machines are
//!    never compared; they may run at speeds that differ by less than a fifth.
//! 3. A live worker's lease is never taken. A worker above its share gives leases up.
//! 4. A lease begins at the checkpoint in the row that the claim replaced.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::shares::{Load, shares};
use super::store::{LeaseRow, LeaseVersion, Swap, WorkerRow};
use crate::fragment::StreamEnd;
use crate::service::stream_id::StreamId;

/// The claims that are made at once, after a time without claims.
const CLAIM_BURST: u32 = 30;
/// The time between two claims after that: 30 a second. Each claim is followed by calls to open the stream.
const CLAIM_PAUSE: Duration = Duration::from_nanos(33_333_333);
/// The leases that wait for the consumer to take them.
const MAX_UNTAKEN: usize = 64;
/// The longest time for which a worker does not claim a stream whose consumer keeps ending by itself.
const MAX_COOLDOWN: Duration = Duration::from_secs(300);

/// The settings of a worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) lease_duration: Duration,
    pub(super) max_streams: usize,
    /// How many lease durations a heartbeat may last before its worker is declared dead.
    pub(super) patience: f64,
}

/// More than 1, so that a worker has stopped before others declare it dead.
pub(super) const PATIENCE: f64 = 1.25;

impl Rules {
    /// The time between two heartbeats, and between two looks at the other workers.
    pub(super) fn beat_interval(&self) -> Duration {
        self.lease_duration / 4
    }

    /// The time from first seeing a heartbeat to declaring its worker dead.
    fn patience(&self, theirs: Duration) -> Duration {
        self.lease_duration.max(theirs).mul_f64(self.patience)
    }

    /// The time between two looks at all leases while none should move.
    fn scan_interval(&self) -> Duration {
        self.lease_duration * 3
    }

    /// The time after which a failed request is made again: longer while calls keep failing, as on an overloaded table.
    fn retry_pause(&self, failures: u32) -> Duration {
        self.lease_duration / 16 * (1 << failures.min(2))
    }
}

/// A call to the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    ReadWorkers,
    ReadLeases,
    WriteWorker { row: WorkerRow, replaces: Option<u64> },
    WriteLease { row: LeaseRow, replaces: LeaseVersion },
    DeleteWorker,
}

/// The answer to a call.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Workers(Vec<WorkerRow>),
    Leases(Vec<LeaseRow>),
    Worker(Swap<WorkerRow>),
    Lease(Swap<LeaseRow>),
    Deleted,
    /// Nobody knows whether the call had its effect.
    Failed,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Time has passed.
    Tick,
    /// A call that was sent at a time was answered.
    Answered { request: Request, sent: Duration, answer: Answer },
    /// The consumer took a lease.
    Taken,
    /// The consumer dropped a lease. Contains the row as the consumer last wrote it.
    Closed { row: LeaseRow },
    /// All leases are to be given up.
    Leave,
    /// No new lease is to be claimed.
    Retire,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Send(Request),
    /// Hands a lease to the consumer.
    Grant {
        row: LeaseRow,
        is_takeover: bool,
    },
    /// Tells the consumer of a lease to end.
    Revoke {
        stream: StreamId,
        end: StreamEnd,
    },
    /// Leases are valid until then.
    Extend {
        until: Duration,
    },
    /// The worker was declared dead. Its leases are lost.
    Died,
    /// The worker has left the fleet.
    Left,
}

/// The state of a stream that this worker reads, or is about to.
#[derive(Clone, Debug)]
enum Hold {
    /// The claim is being written.
    Claiming { is_takeover: bool },
    /// The consumer has the lease since then. `order` counts the leases.
    Held { since: Duration, order: u64, is_revoked: bool },
    /// The release is being written, or waits for `at` to be written again.
    Releasing { row: LeaseRow, at: Option<Duration> },
}

/// Another worker, as seen from this one.
#[derive(Clone, Debug)]
struct Observation {
    row: WorkerRow,
    /// The time at which this heartbeat was first seen.
    since: Duration,
}

/// An owner of leases that has no row: it has left, or its row is not seen yet.
#[derive(Clone, Copy, Debug)]
struct Missing {
    since: Duration,
    /// Set once it has been missing for so long that it can never again use its leases.
    is_gone: bool,
}

/// A call that is made again and again: at most one is on its way.
#[derive(Clone, Copy, Debug)]
struct Periodic {
    at: Duration,
    in_flight: bool,
}

impl Periodic {
    fn is_due(&self, now: Duration) -> bool {
        !self.in_flight && now >= self.at
    }

    fn wake_at(&self) -> Duration {
        if self.in_flight { Duration::MAX } else { self.at }
    }

    fn answered(&mut self, next: Duration) {
        *self = Self { at: next, in_flight: false };
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Joining,
    Working,
    /// The worker leaves once the last lease is given up.
    Leaving,
    Gone,
}

/// A stream whose consumer ended by itself.
#[derive(Clone, Copy, Debug)]
struct Cooldown {
    until: Duration,
    length: Duration,
}

/// The state machine of one worker.
#[derive(Clone, Debug)]
pub(super) struct Member {
    rules: Rules,
    phase: Phase,
    row: WorkerRow,
    beat: Periodic,
    /// When the first attempt at the current heartbeat was sent.
    first_sent: Option<Duration>,
    valid_until: Duration,
    look: Periodic,
    last_look: Duration,
    scan: Periodic,
    /// Set once the leases were read after the last change.
    is_current: bool,
    /// The streams to claim, in their order, or `None` if it has to be computed.
    order: Option<Vec<StreamId>>,
    /// The time of the last change of the workers or of the leases to hold. Leases are looked at more often after it.
    changed: Duration,
    others: BTreeMap<String, Observation>,
    /// The owners of leases that have no row.
    missing: BTreeMap<String, Missing>,
    declaring_dead: BTreeSet<String>,
    leases: BTreeMap<StreamId, LeaseRow>,
    holds: BTreeMap<StreamId, Hold>,
    cooldowns: HashMap<StreamId, Cooldown>,
    untaken: usize,
    granted: u64,
    /// The number of calls that failed one after the other.
    failures: u32,
    /// When the worker's row is to be deleted, once the last lease is given up.
    leave_at: Duration,
    /// The time from which on claims are counted: at most [`CLAIM_BURST`] pauses in the past.
    claim_at: Duration,
}

impl Member {
    /// Creates a worker. No other process may ever have used the id.
    pub(super) fn new(id: String, rules: Rules, now: Duration) -> Self {
        let max_streams = rules.max_streams as u64;
        let row = WorkerRow { id, beat: 0, lease_duration: rules.lease_duration, max_streams, dead: false };
        let idle = Periodic { at: now, in_flight: false };
        Self {
            rules,
            phase: Phase::Joining,
            row,
            beat: idle,
            first_sent: None,
            valid_until: Duration::ZERO,
            look: idle,
            last_look: now,
            scan: idle,
            is_current: false,
            order: None,
            changed: now,
            others: BTreeMap::new(),
            missing: BTreeMap::new(),
            declaring_dead: BTreeSet::new(),
            leases: BTreeMap::new(),
            holds: BTreeMap::new(),
            cooldowns: HashMap::new(),
            untaken: 0,
            granted: 0,
            failures: 0,
            leave_at: now,
            claim_at: now,
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.row.id
    }

    pub(super) fn is_valid(&self, now: Duration) -> bool {
        now < self.valid_until
    }

    /// Returns whether the worker has joined the fleet.
    pub(super) fn has_joined(&self) -> bool {
        self.phase != Phase::Joining
    }

    /// Returns whether all that is left to do is to delete the worker's row.
    fn has_finished(&self) -> bool {
        self.phase == Phase::Leaving && self.holds.is_empty()
    }

    /// Returns the number of live workers, this one included.
    pub(super) fn workers(&self) -> usize {
        1 + self.live_others().count()
    }

    fn live_others(&self) -> impl Iterator<Item = &WorkerRow> {
        self.others.values().map(|seen| &seen.row).filter(|row| !row.dead)
    }

    /// Returns the number of streams to read, and the number of those that nobody reads.
    pub(super) fn streams(&self) -> (usize, usize) {
        let rows = || self.leases.values().filter(|row| !row.removed);
        let is_free = |row: &&LeaseRow| row.owner.is_none() && !self.holds.contains_key(&row.stream);
        (rows().count(), rows().filter(is_free).count())
    }

    /// Returns the number of leases that the consumer holds and may use.
    pub(super) fn held(&self) -> usize {
        self.holds.values().filter(|hold| matches!(hold, Hold::Held { is_revoked: false, .. })).count()
    }

    /// Returns the time of the next [`Event::Tick`].
    pub(super) fn wake_at(&self, now: Duration) -> Duration {
        if self.has_finished() {
            return if self.beat.in_flight { Duration::MAX } else { self.leave_at };
        }
        let mut at = self.beat.wake_at();
        if matches!(self.phase, Phase::Joining | Phase::Gone) {
            return at;
        }
        at = at.min(self.look.wake_at()).min(self.scan.wake_at());
        for hold in self.holds.values() {
            if let Hold::Releasing { at: Some(retry), .. } = hold {
                at = at.min(*retry);
            }
        }
        if self.next_claim(now) > now && self.wants_more(now) { at.min(self.next_claim(now)) } else { at }
    }

    /// Takes note of an event, and returns what to do.
    pub(super) fn handle(&mut self, now: Duration, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.phase == Phase::Gone {
            return actions;
        }
        match event {
            Event::Tick => {}
            Event::Answered { request, sent, answer } => self.answered(now, request, sent, answer, &mut actions),
            Event::Taken => self.untaken = self.untaken.saturating_sub(1),
            Event::Closed { row } => self.closed(now, row, &mut actions),
            Event::Leave => {
                self.phase = Phase::Leaving;
                self.revoke_all(StreamEnd::LeaseReleased, &mut actions);
            }
            Event::Retire => self.phase = Phase::Leaving,
        }
        self.act(now, &mut actions);
        actions
    }

    fn answered(&mut self, now: Duration, request: Request, sent: Duration, answer: Answer, actions: &mut Vec<Action>) {
        let has_failed = matches!(answer, Answer::Failed);
        self.failures = if has_failed { self.failures.saturating_add(1) } else { 0 };
        match (request, answer) {
            (Request::WriteWorker { row, .. }, answer) if row.id == self.row.id => {
                self.beat_answered(now, row, sent, answer, actions);
            }
            (Request::WriteWorker { row, .. }, answer) => self.death_answered(now, row, answer),
            (Request::ReadWorkers, Answer::Workers(rows)) => {
                self.look_answered(now, sent, rows, actions);
                self.look.answered(self.next_look(now));
            }
            (Request::ReadWorkers, _) => self.look.answered(now + self.rules.retry_pause(self.failures)),
            (Request::ReadLeases, Answer::Leases(rows)) => self.scan_answered(now, rows, actions),
            (Request::ReadLeases, _) => self.scan.answered(now + self.rules.retry_pause(self.failures)),
            (Request::WriteLease { row, .. }, answer) => self.lease_answered(now, row, answer, actions),
            (Request::DeleteWorker, Answer::Failed) => {
                self.beat.in_flight = false;
                self.leave_at = now + self.rules.retry_pause(self.failures);
            }
            (Request::DeleteWorker, _) => {
                self.phase = Phase::Gone;
                actions.push(Action::Left);
            }
        }
    }

    // Heartbeats.

    fn beat_answered(
        &mut self,
        now: Duration,
        row: WorkerRow,
        sent: Duration,
        answer: Answer,
        actions: &mut Vec<Action>,
    ) {
        let next = (sent + self.rules.beat_interval()).max(now);
        match answer {
            Answer::Worker(Swap::Done) => self.has_beaten(row, sent, next, actions),
            // An earlier attempt had its effect, and its reply was lost. Others have seen it after it was first sent.
            Answer::Worker(Swap::Conflict(Some(current))) if current == row => {
                let first = self.first_sent.unwrap_or(sent);
                self.has_beaten(row, first, now, actions);
            }
            Answer::Worker(Swap::Conflict(_)) => self.died(actions),
            _ => self.beat.answered(now + self.rules.retry_pause(self.failures)),
        }
    }

    fn has_beaten(&mut self, row: WorkerRow, sent: Duration, next: Duration, actions: &mut Vec<Action>) {
        self.row = row;
        self.first_sent = None;
        self.beat.answered(next);
        self.valid_until = sent + self.rules.lease_duration;
        actions.push(Action::Extend { until: self.valid_until });
        if self.phase == Phase::Joining {
            self.phase = Phase::Working;
        }
    }

    /// Ends, because others believe that this worker has died.
    fn died(&mut self, actions: &mut Vec<Action>) {
        self.revoke_all(StreamEnd::LeaseLost, actions);
        self.phase = Phase::Gone;
        actions.push(Action::Died);
    }

    fn revoke_all(&mut self, end: StreamEnd, actions: &mut Vec<Action>) {
        for (stream, hold) in &mut self.holds {
            revoke(stream, hold, end, actions);
        }
    }

    // The other workers.

    fn look_answered(&mut self, now: Duration, sent: Duration, rows: Vec<WorkerRow>, actions: &mut Vec<Action>) {
        // Nobody is blamed for a time in which this worker could not see.
        let could_not_see = now.saturating_sub(self.last_look) > self.rules.lease_duration / 2;
        self.last_look = now;
        let mut others = BTreeMap::new();
        let mut has_changed = false;
        for row in rows.into_iter().filter(|row| row.id != self.row.id) {
            let seen = match self.others.remove(&row.id) {
                Some(seen) if seen.row.beat == row.beat && !could_not_see => seen,
                old => {
                    has_changed |= old.is_none_or(|old| old.row.dead != row.dead);
                    Observation { row, since: now }
                }
            };
            let patience = self.rules.patience(seen.row.lease_duration);
            if !seen.row.dead && now >= seen.since + patience && self.declaring_dead.insert(seen.row.id.clone()) {
                let beat = seen.row.beat;
                let row = WorkerRow { beat: beat + 1, dead: true, ..seen.row.clone() };
                actions.push(Action::Send(Request::WriteWorker { row, replaces: Some(beat) }));
            }
            others.insert(seen.row.id.clone(), seen);
        }
        has_changed |= self.others.values().any(|gone| !gone.row.dead);
        self.others = others;
        self.missing.retain(|id, _| !self.others.contains_key(id));
        // Only a look shows that an owner is still missing: this worker may have been suspended since the last one.
        for missing in self.missing.values_mut() {
            if could_not_see {
                missing.since = now;
            }
            missing.is_gone |= sent >= missing.since + self.rules.patience(self.rules.lease_duration);
        }
        if has_changed {
            self.look_at_leases(now);
        }
    }

    /// Returns the time of the next look: earlier if a worker may be declared dead then.
    fn next_look(&self, now: Duration) -> Duration {
        let live = self.others.values().filter(|seen| !seen.row.dead && !self.declaring_dead.contains(&seen.row.id));
        let expiries = live.map(|seen| seen.since + self.rules.patience(seen.row.lease_duration));
        let regular = now + self.rules.beat_interval();
        expiries.filter(|at| *at > now).fold(regular, Duration::min)
    }

    fn death_answered(&mut self, now: Duration, row: WorkerRow, answer: Answer) {
        self.declaring_dead.remove(&row.id);
        let current = match answer {
            Answer::Worker(Swap::Done) => Some(row),
            Answer::Worker(Swap::Conflict(Some(current))) => Some(current),
            Answer::Worker(Swap::Conflict(None)) => {
                self.others.remove(&row.id);
                None
            }
            // The next look finds it unchanged.
            _ => return,
        };
        if let Some(row) = current {
            self.others.insert(row.id.clone(), Observation { row, since: now });
        }
        self.look_at_leases(now);
    }

    /// Returns whether an owner can never again use its leases.
    fn is_gone(&self, owner: &str) -> bool {
        match self.others.get(owner) {
            Some(seen) => seen.row.dead,
            None => self.missing.get(owner).is_some_and(|missing| missing.is_gone),
        }
    }

    // The leases.

    /// Looks at all leases at once, and more often for a while. Until then nothing is claimed, since the rows have changed.
    fn look_at_leases(&mut self, now: Duration) {
        self.changed = now;
        self.is_current = false;
        self.scan.at = self.scan.at.min(now);
    }

    fn scan_answered(&mut self, now: Duration, rows: Vec<LeaseRow>, actions: &mut Vec<Action>) {
        self.leases = rows.into_iter().map(|row| (row.stream.clone(), row)).collect();
        self.is_current = true;
        self.order = None;
        let removed =
            self.holds.iter_mut().filter(|(stream, _)| self.leases.get(stream).is_some_and(|row| row.removed));
        for (stream, hold) in removed {
            revoke(stream, hold, StreamEnd::LeaseReleased, actions);
        }
        let leases = &self.leases;
        self.cooldowns.retain(|stream, _| leases.contains_key(stream));
        let owners: BTreeSet<&String> = leases.values().filter_map(|row| row.owner.as_ref()).collect();
        self.missing.retain(|id, _| owners.contains(id));
        for owner in owners {
            if *owner != self.row.id && !self.others.contains_key(owner) {
                self.missing.entry(owner.clone()).or_insert(Missing { since: now, is_gone: false });
            }
        }
        let is_settling = now.saturating_sub(self.changed) < self.rules.scan_interval();
        let pause = if is_settling { self.rules.beat_interval() } else { self.rules.scan_interval() };
        self.scan.answered(now + pause);
    }

    /// Returns how many leases this worker should have.
    fn share(&self) -> usize {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for owner in self.leases.values().filter_map(|row| row.owner.as_deref()) {
            *counts.entry(owner).or_default() += 1;
        }
        let me = Load { id: &self.row.id, count: self.kept().count(), max: self.rules.max_streams };
        let others = self.live_others().map(|row| Load {
            id: &row.id,
            count: counts.get(row.id.as_str()).copied().unwrap_or(0),
            max: usize::try_from(row.max_streams).unwrap_or(usize::MAX),
        });
        let loads: Vec<Load<'_>> = std::iter::once(me).chain(others).collect();
        shares(self.streams().0, &loads).first().copied().unwrap_or(0)
    }

    /// The leases that this worker has and keeps.
    fn kept(&self) -> impl Iterator<Item = (&StreamId, &Hold)> {
        self.holds
            .iter()
            .filter(|(_, hold)| matches!(hold, Hold::Claiming { .. } | Hold::Held { is_revoked: false, .. }))
    }

    /// Gives up what is above the share, and claims what is missing.
    fn balance(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if !self.is_current || self.phase != Phase::Working {
            return;
        }
        let (share, kept) = (self.share(), self.kept().count());
        if kept > share {
            // The newest leases, whose streams have the least behind them.
            let mut held: Vec<(u64, StreamId)> = self
                .holds
                .iter()
                .filter_map(|(stream, hold)| match hold {
                    Hold::Held { order, is_revoked: false, .. } => Some((*order, stream.clone())),
                    _ => None,
                })
                .collect();
            held.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
            for (_, stream) in held.into_iter().take(kept - share) {
                if let Some(hold) = self.holds.get_mut(&stream) {
                    revoke(&stream, hold, StreamEnd::LeaseReleased, actions);
                }
            }
        } else if kept < share && self.is_valid(now) {
            self.claim(now, share - kept, actions);
        }
        if kept >= share {
            self.release_orphans(actions);
        }
    }

    /// Gives up leases that this worker does not know it has: the replies to their claims were lost.
    fn release_orphans(&mut self, actions: &mut Vec<Action>) {
        let rows = self.leases.values().filter(|row| row.is_owned_by(&self.row.id));
        let orphans: Vec<LeaseRow> = rows.filter(|row| !self.holds.contains_key(&row.stream)).cloned().collect();
        for row in orphans {
            self.release(row, actions);
        }
    }

    fn claim(&mut self, now: Duration, missing: usize, actions: &mut Vec<Action>) {
        let pending = self.holds.values().filter(|hold| matches!(hold, Hold::Claiming { .. })).count();
        let room = MAX_UNTAKEN.saturating_sub(self.untaken + pending).min(missing);
        if room == 0 || self.next_claim(now) > now {
            return;
        }
        let order = self.order.take().unwrap_or_else(|| self.claim_order());
        let mut claimed = 0;
        for stream in &order {
            if claimed == room || self.next_claim(now) > now {
                break;
            }
            let Some(row) = self.leases.get(stream).filter(|row| self.is_claimable(row, now)) else { continue };
            let is_takeover = row.owner.as_ref().is_some_and(|owner| *owner != self.row.id);
            let new = LeaseRow { owner: Some(self.row.id.clone()), epoch: row.epoch + 1, seq: 0, ..row.clone() };
            actions.push(Action::Send(Request::WriteLease { row: new, replaces: row.version() }));
            self.holds.insert(stream.clone(), Hold::Claiming { is_takeover });
            self.claim_at = self.next_claim(now) + CLAIM_PAUSE;
            claimed += 1;
        }
        self.order = Some(order);
    }

    /// Returns the time from which on the next claim may be made.
    fn next_claim(&self, now: Duration) -> Duration {
        self.claim_at.max(now.saturating_sub(CLAIM_PAUSE * CLAIM_BURST))
    }

    fn wants_more(&self, now: Duration) -> bool {
        self.is_current && self.phase == Phase::Working && self.is_valid(now) && self.kept().count() < self.share()
    }

    /// Returns whether a stream may be claimed.
    fn is_claimable(&self, row: &LeaseRow, now: Duration) -> bool {
        let is_free = match &row.owner {
            None => true,
            // A claim of this worker whose reply was lost.
            Some(owner) => *owner == self.row.id || self.is_gone(owner),
        };
        let is_cool = self.cooldowns.get(&row.stream).is_none_or(|cooldown| now >= cooldown.until);
        is_free && is_cool && !row.removed && !self.holds.contains_key(&row.stream)
    }

    /// Returns the streams that have no live reader, in an order of this worker's own.
    ///
    /// Each stream prefers the live workers in an order that all of them know, so that two rarely want the same.
    fn claim_order(&self) -> Vec<StreamId> {
        let hash = |worker: &str, stream: &StreamId| {
            let mut hasher = DefaultHasher::new();
            (worker, stream).hash(&mut hasher);
            hasher.finish()
        };
        let live: Vec<&str> = self.live_others().map(|row| row.id.as_str()).collect();
        let has_reader = |row: &LeaseRow| row.owner.as_deref().is_some_and(|owner| live.contains(&owner));
        let free = self.leases.values().filter(|row| !row.removed && !has_reader(row));
        let mut order: Vec<StreamId> = free.map(|row| row.stream.clone()).collect();
        order.sort_by_cached_key(|stream| {
            let mine = hash(&self.row.id, stream);
            let preferred = live.iter().filter(|worker| hash(worker, stream) > mine).count();
            (preferred, mine)
        });
        order
    }

    fn lease_answered(&mut self, now: Duration, row: LeaseRow, answer: Answer, actions: &mut Vec<Action>) {
        let stream = row.stream.clone();
        match self.holds.get(&stream) {
            Some(Hold::Claiming { is_takeover }) => {
                let is_takeover = *is_takeover;
                self.holds.remove(&stream);
                match answer {
                    Answer::Lease(Swap::Done) => self.granted(now, row, is_takeover, actions),
                    // An earlier attempt had its effect, and its reply was lost.
                    Answer::Lease(Swap::Conflict(Some(current)))
                        if current.is_owned_by(&self.row.id) && current.epoch == row.epoch =>
                    {
                        self.granted(now, current, is_takeover, actions);
                    }
                    Answer::Lease(Swap::Conflict(current)) => self.replace(&stream, current),
                    // Whether it had its effect shows at the next look. It cannot be released before: the claim of another
                    // worker has the same version.
                    _ => {
                        let until = now + self.rules.retry_pause(self.failures);
                        self.cooldowns.insert(stream, Cooldown { until, length: Duration::ZERO });
                        self.look_at_leases(now);
                    }
                }
            }
            Some(Hold::Releasing { .. }) => match answer {
                Answer::Lease(Swap::Done) => {
                    self.holds.remove(&stream);
                    self.replace(&stream, Some(row));
                }
                // The row was changed by another program, or an earlier attempt had its effect.
                Answer::Lease(Swap::Conflict(current)) => {
                    self.holds.remove(&stream);
                    match current {
                        Some(current) if current.is_owned_by(&self.row.id) && current.epoch == row.epoch => {
                            self.release(current, actions);
                        }
                        current => self.replace(&stream, current),
                    }
                }
                _ => {
                    let at = Some(now + self.rules.retry_pause(self.failures));
                    if let Some(Hold::Releasing { at: waiting, .. }) = self.holds.get_mut(&stream) {
                        *waiting = at;
                    }
                }
            },
            Some(Hold::Held { .. }) | None => {}
        }
    }

    fn replace(&mut self, stream: &StreamId, row: Option<LeaseRow>) {
        match row {
            Some(row) => self.leases.insert(stream.clone(), row),
            None => self.leases.remove(stream),
        };
    }

    fn granted(&mut self, now: Duration, row: LeaseRow, is_takeover: bool, actions: &mut Vec<Action>) {
        self.replace(&row.stream.clone(), Some(row.clone()));
        if self.phase != Phase::Working || row.removed {
            self.release(row, actions);
            return;
        }
        self.granted += 1;
        self.untaken += 1;
        let hold = Hold::Held { since: now, order: self.granted, is_revoked: false };
        self.holds.insert(row.stream.clone(), hold);
        actions.push(Action::Grant { row, is_takeover });
    }

    fn closed(&mut self, now: Duration, row: LeaseRow, actions: &mut Vec<Action>) {
        let Some(Hold::Held { since, is_revoked, .. }) = self.holds.get(&row.stream) else { return };
        if !row.is_owned_by(&self.row.id) {
            return;
        }
        if !is_revoked {
            // The consumer ended by itself: perhaps the stream does not exist, and the next consumer ends too.
            let first = self.rules.lease_duration;
            let held = now.saturating_sub(*since);
            let last = self.cooldowns.get(&row.stream).map(|cooldown| cooldown.length).unwrap_or_default();
            let length = if held > MAX_COOLDOWN { first } else { (last * 2).clamp(first, MAX_COOLDOWN.max(first)) };
            self.cooldowns.insert(row.stream.clone(), Cooldown { until: now + length, length });
        }
        self.release(row, actions);
    }

    fn release(&mut self, row: LeaseRow, actions: &mut Vec<Action>) {
        self.holds.insert(row.stream.clone(), Hold::Releasing { row: row.clone(), at: None });
        actions.push(Action::Send(release_of(&row)));
    }

    // What is due.

    fn act(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.phase == Phase::Gone {
            return;
        }
        if self.has_finished() {
            // A heartbeat that is on its way would write the row again.
            if !self.beat.in_flight && now >= self.leave_at {
                self.beat.in_flight = true;
                actions.push(Action::Send(Request::DeleteWorker));
            }
            return;
        }
        if self.beat.is_due(now) {
            self.beat.in_flight = true;
            self.first_sent.get_or_insert(now);
            let beat = self.row.beat;
            let row = WorkerRow { beat: beat + 1, ..self.row.clone() };
            let replaces = (beat > 0).then_some(beat);
            actions.push(Action::Send(Request::WriteWorker { row, replaces }));
        }
        if self.phase == Phase::Joining {
            return;
        }
        if self.look.is_due(now) {
            self.look.in_flight = true;
            actions.push(Action::Send(Request::ReadWorkers));
        }
        if self.scan.is_due(now) {
            self.scan.in_flight = true;
            actions.push(Action::Send(Request::ReadLeases));
        }
        for hold in self.holds.values_mut() {
            if let Hold::Releasing { row, at } = hold
                && at.is_some_and(|at| now >= at)
            {
                *at = None;
                actions.push(Action::Send(release_of(row)));
            }
        }
        self.balance(now, actions);
    }
}

/// The write that gives a lease up.
fn release_of(row: &LeaseRow) -> Request {
    Request::WriteLease { row: row.changed(|row| row.owner = None), replaces: row.version() }
}

fn revoke(stream: &StreamId, hold: &mut Hold, end: StreamEnd, actions: &mut Vec<Action>) {
    if let Hold::Held { is_revoked, .. } = hold
        && !std::mem::replace(is_revoked, true)
    {
        actions.push(Action::Revoke { stream: stream.clone(), end });
    }
}
