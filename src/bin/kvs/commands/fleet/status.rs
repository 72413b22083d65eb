//! `kvs fleet status`.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use clap::Args;
use kinesis_video::fleet::{LeaseRow, LeaseStore, WorkerRow};
use kinesis_video::{Position, Timestamp};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::screen::{BOLD, DIM, WARNING};
use crate::{time, words};

/// The longest time to watch the heartbeats for.
const MAX_WATCH: Duration = Duration::from_secs(20);

/// Show which worker reads which stream, how far it is, and which workers are alive.
///
/// A worker is alive if its heartbeat is seen to change. This takes up to half a lease duration. The lag is the time since
/// the service received the last fragment whose position was saved.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per stream:
  stream, worker (or null), epoch, checkpoint (or null), checkpoint_time, lag_ms, removed
and one per worker:
  worker, state (alive, silent or dead), streams, max_streams (or null), lease_ms, beat")]
pub(super) struct Status {}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Alive,
    /// No heartbeat came while it was watched.
    Silent,
    Dead,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Silent => "silent",
            Self::Dead => "dead",
        }
    }
}

impl Status {
    pub(super) async fn run(&self, table: &impl LeaseStore, cx: &Context) -> Result<()> {
        let (workers, mut leases) = tokio::select! {
            watched = watch(table) => watched?,
            () = cx.signals.interrupted() => return Ok(()),
        };
        if leases.is_empty() && workers.is_empty() {
            return Err(Failure::nothing("the fleet has no streams and no workers").hint("kvs fleet --add STREAM"));
        }
        leases.sort_by(|a, b| a.stream.cmp(&b.stream));
        let now = Timestamp::from(SystemTime::now());
        let mut counts: HashMap<&str, u64> = HashMap::new();
        for owner in leases.iter().filter_map(|row| row.owner.as_deref()) {
            *counts.entry(owner).or_default() += 1;
        }
        if cx.screen.is_json() {
            for row in &leases {
                cx.screen.object(&lease_object(row, now))?;
            }
            for (row, state) in workers.values() {
                let streams = counts.get(row.id.as_str()).copied().unwrap_or_default();
                cx.screen.object(&worker_object(row, *state, streams))?;
            }
            return Ok(());
        }
        let state_of = |owner: &str| workers.get(owner).map(|(_, state)| *state);
        let mut lines = vec![(BOLD, ["STREAM", "WORKER", "EPOCH", "LAG"].map(ToOwned::to_owned))];
        lines.extend(leases.iter().map(|row| {
            let lag = lag(row, now).map_or_else(|| "-".into(), time::duration);
            let (owner, style) = match row.owner.as_deref() {
                _ if row.removed => ("(removed)".into(), DIM),
                None => ("-".into(), WARNING),
                Some(owner) if state_of(owner) == Some(State::Alive) => (owner.to_owned(), anstyle::Style::new()),
                Some(owner) => (owner.to_owned(), WARNING),
            };
            (style, [row.stream.to_string(), owner, row.epoch.to_string(), lag])
        }));
        print(&lines, cx)?;
        if !workers.is_empty() {
            cx.screen.line("")?;
            let mut lines = vec![(BOLD, ["WORKER", "STATE", "STREAMS", "LEASE"].map(ToOwned::to_owned))];
            lines.extend(workers.values().map(|(row, state)| {
                let style = if *state == State::Alive { anstyle::Style::new() } else { WARNING };
                let streams = counts.get(row.id.as_str()).copied().unwrap_or_default().to_string();
                (style, [row.id.clone(), state.name().into(), streams, time::duration(row.lease_duration)])
            }));
            print(&lines, cx)?;
        }
        let streams = leases.iter().filter(|row| !row.removed).count() as u64;
        let is_read = |row: &&LeaseRow| row.owner.as_deref().and_then(state_of) == Some(State::Alive) && !row.removed;
        let (read, alive) = (
            leases.iter().filter(is_read).count(),
            workers.values().filter(|(_, state)| *state == State::Alive).count(),
        );
        let (streams, workers) = (words::count(streams, "stream"), words::count(alive as u64, "live worker"));
        cx.screen.note(&format!("{streams}, {read} of them read by {workers}"));
        Ok(())
    }
}

/// Reads the table until each worker's heartbeat has changed, at most for half of the longest lease duration.
async fn watch(table: &impl LeaseStore) -> Result<(BTreeMap<String, (WorkerRow, State)>, Vec<LeaseRow>)> {
    let before: HashMap<String, u64> = table.workers().await?.into_iter().map(|row| (row.id, row.beat)).collect();
    let began = tokio::time::Instant::now();
    loop {
        let rows = table.workers().await?;
        let longest = rows.iter().filter(|row| !row.dead).map(|row| row.lease_duration).max().unwrap_or_default();
        let state = |row: &WorkerRow| match before.get(&row.id) {
            _ if row.dead => State::Dead,
            Some(beat) if *beat == row.beat => State::Silent,
            // One that has joined meanwhile is alive, too.
            _ => State::Alive,
        };
        let workers: BTreeMap<_, _> =
            rows.into_iter().map(|row| (row.id.clone(), (row.clone(), state(&row)))).collect();
        let is_sure = workers.values().all(|(_, state)| *state != State::Silent);
        if is_sure || began.elapsed() > (longest / 2).min(MAX_WATCH) {
            return Ok((workers, table.leases().await?));
        }
        tokio::time::sleep((longest / 10).clamp(Duration::from_millis(20), Duration::from_secs(1))).await;
    }
}

/// Returns the time since the service received what was last saved.
fn lag(row: &LeaseRow, now: Timestamp) -> Option<Duration> {
    let time = row.checkpoint.as_ref()?.server_time()?;
    // Clocks differ by a little.
    Some(Duration::from_millis(now.as_millis().saturating_sub(time.as_millis()).try_into().unwrap_or(0)))
}

fn lease_object(row: &LeaseRow, now: Timestamp) -> serde_json::Value {
    json!({
        "stream": row.stream.as_str(),
        "worker": row.owner,
        "epoch": row.epoch,
        "checkpoint": row.checkpoint.as_ref().map(ToString::to_string),
        "checkpoint_time": row.checkpoint.as_ref().and_then(Position::server_time).map(|time| time.to_string()),
        "lag_ms": lag(row, now).map(|lag| lag.as_millis() as u64),
        "removed": row.removed,
    })
}

fn worker_object(row: &WorkerRow, state: State, streams: u64) -> serde_json::Value {
    // The largest number stands for no limit.
    let max = (row.max_streams < u32::MAX.into()).then_some(row.max_streams);
    json!({
        "worker": row.id,
        "state": state.name(),
        "streams": streams,
        "max_streams": max,
        "lease_ms": row.lease_duration.as_millis() as u64,
        "beat": row.beat,
    })
}

/// Prints rows in columns.
fn print<const N: usize>(lines: &[(anstyle::Style, [String; N])], cx: &Context) -> Result<()> {
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|(_, cells)| cells.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    for (style, cells) in lines {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        cx.screen.line(&format!("{style}{}{style:#}", line.trim_end()))?;
    }
    Ok(())
}
