//! [`Driver`]: carries out what a [`Member`] decides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::clock;
use super::lease::{Gate, Lease, Validity};
use super::member::{Action, Answer, Event, Member, Request, Rules};
use super::status::{FleetStatus, record};
use super::store::{LeaseRow, LeaseStore};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::StreamEnd;
use crate::service::stream_id::StreamId;

/// What the consumer asks of the worker.
#[derive(Debug)]
pub(super) enum Command {
    /// A lease was taken from the stream of leases.
    Taken,
    /// All leases are to be given up.
    Leave,
}

/// The settings of a driver.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) rules: Rules,
    pub(super) save_interval: Duration,
    pub(super) name: String,
}

/// The task of one worker: its heartbeat, its view of the fleet, its claims.
pub(super) struct Driver {
    store: Arc<dyn LeaseStore>,
    settings: Settings,
    member: Member,
    validity: Arc<Validity>,
    gates: HashMap<StreamId, (u64, Arc<Gate>)>,
    calls: FuturesUnordered<BoxFuture<'static, (Request, Duration, Result<Answer>)>>,
    closed: (UnboundedSender<LeaseRow>, UnboundedReceiver<LeaseRow>),
    leases: Option<UnboundedSender<Result<Lease>>>,
    status: watch::Sender<FleetStatus>,
}

/// Whether the worker goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    End,
}

impl Driver {
    pub(super) fn new(
        store: Arc<dyn LeaseStore>,
        settings: Settings,
        leases: UnboundedSender<Result<Lease>>,
        status: watch::Sender<FleetStatus>,
    ) -> Self {
        let member = new_member(&settings);
        Self {
            store,
            settings,
            member,
            validity: Arc::default(),
            gates: HashMap::new(),
            calls: FuturesUnordered::new(),
            closed: unbounded_channel(),
            leases: Some(leases),
            status,
        }
    }

    /// Runs until the worker has left, or could not join.
    pub(super) async fn run(mut self, mut commands: UnboundedReceiver<Command>) {
        let mut has_consumer = true;
        let mut next = self.handle(Event::Tick);
        while next == Next::Continue {
            let now = clock::now();
            let pause = self.member.wake_at(now).saturating_sub(now);
            let event = tokio::select! {
                Some((request, sent, answer)) = self.calls.next() => match self.answered(request, sent, answer) {
                    Some(event) => event,
                    None => break,
                },
                Some(row) = self.closed.1.recv() => {
                    self.forget(&row);
                    Event::Closed { row }
                }
                command = commands.recv(), if has_consumer => match command {
                    Some(Command::Taken) => Event::Taken,
                    Some(Command::Leave) => Event::Leave,
                    None => {
                        has_consumer = false;
                        // Leases that nobody takes any more are released by being dropped.
                        self.leases = None;
                        Event::Retire
                    }
                },
                () = sleep(pause) => Event::Tick,
            };
            next = self.handle(event);
        }
        self.status.send_modify(|status| {
            status.held = 0;
            status.is_valid = false;
        });
    }

    /// Forgets the gate of a dropped lease, unless the stream has a newer lease.
    fn forget(&mut self, row: &LeaseRow) {
        if self.gates.get(&row.stream).is_some_and(|(epoch, _)| *epoch == row.epoch) {
            self.gates.remove(&row.stream);
        }
    }

    fn handle(&mut self, event: Event) -> Next {
        let mut next = Next::Continue;
        for action in self.member.handle(clock::now(), event) {
            if self.act(action) == Next::End {
                next = Next::End;
            }
        }
        next
    }

    fn act(&mut self, action: Action) -> Next {
        match action {
            Action::Send(request) => self.calls.push(self.call(request)),
            Action::Grant { row, is_takeover } => self.grant(row, is_takeover),
            Action::Revoke { stream, end } => {
                tracing::info!(%stream, reason = %end, "a lease ends");
                if end == StreamEnd::LeaseLost {
                    self.status.send_modify(|status| status.lost += 1);
                }
                if let Some((_, gate)) = self.gates.get(&stream) {
                    gate.revoke(end);
                }
            }
            Action::Extend { until } => {
                let was_valid = self.validity.is_valid();
                self.validity.extend(until);
                if !was_valid {
                    self.gates.values().for_each(|(_, gate)| gate.wake());
                }
                self.report(None);
            }
            Action::Died => {
                tracing::warn!(worker = self.member.id(), "other workers took this one for dead");
                if self.leases.is_none() {
                    return Next::End;
                }
                // Their answers would be about the old worker.
                self.calls.clear();
                self.validity = Arc::default();
                self.member = new_member(&self.settings);
                return self.handle(Event::Tick);
            }
            Action::Left => return Next::End,
        }
        Next::Continue
    }

    fn grant(&mut self, row: LeaseRow, is_takeover: bool) {
        tracing::info!(stream = %row.stream, epoch = row.epoch, is_takeover, "claimed a lease");
        if is_takeover {
            self.status.send_modify(|status| status.takeovers += 1);
        }
        let gate = Arc::new(Gate::new(Arc::clone(&self.validity)));
        self.gates.insert(row.stream.clone(), (row.epoch, Arc::clone(&gate)));
        let interval = self.settings.save_interval;
        let lease = Lease::new(Arc::clone(&self.store), row, interval, gate, self.closed.0.clone());
        // Without a consumer, the lease is dropped and so given up.
        if let Some(leases) = &self.leases {
            let _ = leases.send(Ok(lease));
        }
    }

    /// Returns the event of an answer, or `None` if the worker cannot join.
    fn answered(&mut self, request: Request, sent: Duration, answer: Result<Answer>) -> Option<Event> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if !self.member.has_joined() && !error.is_retryable() => {
                if let Some(leases) = &self.leases {
                    let _ = leases.send(Err(error));
                }
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, "a call to the lease table failed, and is made again");
                self.report(Some(error));
                Answer::Failed
            }
        };
        Some(Event::Answered { request, sent, answer })
    }

    fn report(&self, error: Option<Error>) {
        let (streams, free) = self.member.streams();
        self.status.send_modify(|status| {
            self.member.id().clone_into(&mut status.worker);
            status.workers = self.member.workers();
            (status.streams, status.free) = (streams, free);
            status.held = self.member.held();
            status.is_valid = self.validity.is_valid();
            status.oldest_save = self.gates.values().map(|(_, gate)| gate.unsaved_for()).max();
            status.error = error;
            record(status);
        });
    }

    /// Makes one call, bounded in time.
    fn call(&self, request: Request) -> BoxFuture<'static, (Request, Duration, Result<Answer>)> {
        let (store, sent) = (Arc::clone(&self.store), clock::now());
        let id = self.member.id().to_owned();
        let limit = match request {
            // It may have many pages.
            Request::ReadLeases => self.settings.rules.lease_duration,
            _ => self.settings.rules.beat_interval(),
        };
        async move {
            let answer = timeout(limit, ask(&*store, &request, &id)).await.unwrap_or_else(|_| {
                let message = format!("the lease table did not answer within {} ms", limit.as_millis());
                Err(Error::new(ErrorKind::Io, message))
            });
            (request, sent, answer)
        }
        .boxed()
    }
}

async fn ask(store: &dyn LeaseStore, request: &Request, id: &str) -> Result<Answer> {
    Ok(match request {
        Request::ReadWorkers => Answer::Workers(store.workers().await?),
        Request::ReadLeases => Answer::Leases(store.leases().await?),
        Request::WriteWorker { row, replaces } => Answer::Worker(store.swap_worker(row, *replaces).await?),
        Request::WriteLease { row, replaces } => Answer::Lease(store.swap_lease(row, Some(*replaces)).await?),
        Request::DeleteWorker => {
            store.delete_worker(id).await?;
            Answer::Deleted
        }
    })
}

/// Creates a worker with an id that no process has used.
fn new_member(settings: &Settings) -> Member {
    let id = format!("{}-{}-{:016x}", settings.name, std::process::id(), fastrand::u64(..));
    Member::new(id, settings.rules, clock::now())
}
