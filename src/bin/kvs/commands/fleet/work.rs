//! [`run`]: one worker of a fleet, which works on each lease that it gets.

use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::fleet::{Fleet, Lease};

use super::frames::Frames;
use super::outcome::Outcome;
use super::program::Program;
use super::reading::{Record, Save, Tail};
use super::settings::Settings;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::words;

/// The time for leaving the fleet. If the table does not answer, the leases end by themselves.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// The action on each stream.
pub(super) enum Work {
    Frames(Frames),
    Program(Program),
    Record(Record),
    Save(Save),
    Tail(Tail),
}

impl Work {
    async fn work(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Outcome> {
        match self {
            Self::Program(program) => program.run(lease, settings, cx).await,
            Self::Frames(frames) => frames.read(lease, settings, cx).await,
            Self::Record(record) => record.read(lease, settings, cx).await,
            Self::Save(save) => save.read(lease, settings, cx).await,
            Self::Tail(tail) => tail.read(lease, settings, cx).await,
        }
    }

    /// Works on a lease to its end, and tells about it. Fails if nobody reads the output any more.
    async fn tell(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<()> {
        let (name, epoch) = (lease.stream().name().to_owned(), lease.epoch());
        cx.screen.note(&format!("{name}: claimed, epoch {epoch}"));
        match self.work(lease, settings, cx).await {
            Ok(Outcome { fragments, reason }) => {
                let count = fragments.map(|count| words::count(count, "fragment"));
                let reason = reason.map(|reason| reason.to_string());
                let parts: Vec<String> = [count, reason].into_iter().flatten().collect();
                cx.screen.note(&format!("{name}: {}", parts.join(": ")));
                Ok(())
            }
            Err(Failure::ClosedPipe) => Err(Failure::ClosedPipe),
            Err(failure) => {
                cx.screen.failure(&failure.about(&name));
                Ok(())
            }
        }
    }
}

/// Works until a signal arrives, and then leaves the fleet.
pub(super) async fn run(work: &Work, fleet: Fleet, settings: &Settings, cx: &Context) -> Result<()> {
    let mut leases = fleet.leases();
    // On this task, since programs must be started on the main thread.
    let mut running: FuturesUnordered<BoxFuture<'_, Result<()>>> = FuturesUnordered::new();
    let ended = loop {
        let interrupted = cx.signals.interrupted();
        tokio::select! {
            lease = leases.try_next() => match lease {
                Ok(Some(lease)) => running.push(work.tell(lease, settings, cx).boxed()),
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error)),
            },
            Some(told) = running.next() => if let Err(failure) = told {
                break Err(failure);
            },
            () = interrupted => break Ok(()),
        }
    };
    let finish = async { while running.next().await.is_some() {} };
    let leave = async { tokio::join!(leases.leave(), finish).0 };
    match tokio::time::timeout(LEAVE_LIMIT, leave).await {
        Ok(left) => left?,
        Err(_) => cx.screen.warn("the table does not answer; the leases of this worker end by themselves"),
    }
    ended
}
