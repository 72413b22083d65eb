//! `kvs fleet`.

mod frames;
mod outcome;
mod program;
mod reading;
mod settings;
mod status;
mod streams;
mod work;

use std::time::Duration;

use clap::{Args, Subcommand};
use kinesis_video::ErrorKind;
use kinesis_video::fleet::{DynamoLeases, LeaseStore};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::time;
use program::Program;
use settings::Settings;
use work::Work;

/// Read streams with several machines, so that each stream is read once, by one of them, always.
///
/// Run the same command on each machine. They share the streams of a table in DynamoDB. When one ends or dies, the others
/// continue its streams where it stopped. After `--` comes a program, which is started for each stream; or an ACTION of kvs
/// reads all streams in one process.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = false,
    subcommand_value_name = "ACTION",
    after_long_help = "\
The program has {stream}, {checkpoint} and {epoch} in its arguments replaced, and these variables:
  KVS_STREAM      the stream to read
  KVS_CHECKPOINT  a file with the position to continue at, or no file for a new stream. The program writes its position
                  there, as --checkpoint of other commands does: a line \"kvs1:FRAGMENT_NUMBER:::\" in a file that replaces
                  the old one. kvs saves it in the table.
  KVS_START       the position at the start, or empty
  KVS_EPOCH       a number that is larger for each later reader of the stream
  KVS_WORKER      the id of this worker

Examples:
  kvs fleet --create-table --add front-door,yard          make the table, and add two streams
  kvs fleet save -o recordings                            on each machine: read a share of the streams
  kvs fleet -- kvs record {stream} --checkpoint {checkpoint} --every 1h -o {stream}.mp4
  kvs fleet --prefix cam- --max-streams 500 tail --json   all streams of the account that begin with cam-
  kvs fleet status                                        who reads what
  kvs fleet --remove yard"
)]
pub(crate) struct Fleet {
    #[command(flatten)]
    table: Table,
    /// Create the table first, unless it exists.
    #[arg(long)]
    create_table: bool,
    /// Add streams to the table, by name or ARN.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    add: Vec<String>,
    /// Remove streams from the table. Their positions stay there.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    remove: Vec<String>,
    /// Add all streams of the account whose names begin with this, again every minute.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Read at most so many streams on this machine.
    #[arg(long, value_name = "N")]
    max_streams: Option<usize>,
    /// The time after which others take over the streams of a silent worker.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, default_value = "10s")]
    lease: Duration,
    /// The time between two saves of a stream's position. A takeover repeats at most what came in between.
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, default_value = "10s")]
    save_interval: Duration,
    /// The name with which the id of this worker begins. Default: the host's name.
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    #[command(subcommand)]
    action: Option<Action>,
    /// The program to run for each stream, after `--`.
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// The options that name the table.
#[derive(Args)]
struct Table {
    /// The table in DynamoDB.
    #[arg(long, global = true, value_name = "NAME", default_value = "kvs-fleet")]
    table: String,
    /// The fleet. A table has room for several.
    #[arg(long, global = true, value_name = "NAME", default_value = "fleet")]
    fleet: String,
}

impl Table {
    async fn open(&self, cx: &Context) -> Result<DynamoLeases> {
        let config = cx.aws.table_config().await?;
        Ok(DynamoLeases::new(&config, &self.table).fleet(&self.fleet))
    }
}

#[derive(Subcommand)]
enum Action {
    Tail(reading::Tail),
    Record(reading::Record),
    Save(reading::Save),
    Frames(frames::Frames),
    Status(status::Status),
}

impl Fleet {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let table = self.table.table.clone();
        self.work(cx).await.map_err(|failure| match &failure {
            // It is about no stream, so it is about the table.
            Failure::Error { subject: None, error }
                if error.kind() == ErrorKind::NotFound && error.context().stream().is_none() =>
            {
                let hint = format!("kvs fleet --create-table --table {table}, or check the name and the region");
                Failure::nothing(format!("there is no table {table} in DynamoDB")).hint(hint)
            }
            _ => failure,
        })
    }

    async fn work(self, cx: &Context) -> Result<()> {
        if self.action.is_some() && !self.command.is_empty() {
            return Err(Failure::usage("an action and a program are given").hint("kvs fleet --help"));
        }
        let table = self.table.open(cx).await?;
        if let Some(Action::Status(status)) = self.action {
            return status.run(&table, cx).await;
        }
        let is_change = self.create_table || !self.add.is_empty() || !self.remove.is_empty();
        let work = match self.action {
            Some(Action::Tail(tail)) => Some(Work::Tail(tail)),
            Some(Action::Frames(frames)) => {
                frames.check()?;
                Some(Work::Frames(frames))
            }
            Some(Action::Record(record)) => {
                record.check()?;
                Some(Work::Record(record))
            }
            Some(Action::Save(save)) => Some(Work::Save(save)),
            Some(Action::Status(_)) | None if self.command.is_empty() => None,
            Some(Action::Status(_)) | None => Some(Work::Program(Program::new(self.command, cx)?)),
        };
        if work.is_none() && !is_change && self.prefix.is_none() {
            let what = "there is nothing to do: no action, no program and no change of the table";
            return Err(Failure::usage(what).hint("kvs fleet tail, or kvs fleet -- COMMAND"));
        }
        if self.create_table {
            table.create_table().await?;
        }
        for name in &self.add {
            let is_new = table.add(&name.into()).await?;
            cx.screen.note(&format!("{name}: {}", if is_new { "added" } else { "was there already" }));
        }
        for name in &self.remove {
            let was_there = table.remove(&name.into()).await?;
            cx.screen.note(&format!("{name}: {}", if was_there { "removed" } else { "was not there" }));
        }
        let kvs = cx.aws.kvs().await?;
        if let Some(prefix) = &self.prefix {
            streams::add_all(&kvs, &table, prefix, cx).await?;
        }
        let Some(work) = work else { return Ok(()) };
        let mut fleet = kvs.fleet(table.clone()).lease_duration(self.lease).save_interval(self.save_interval);
        if let Some(max) = self.max_streams {
            fleet = fleet.max_streams(max);
        }
        if let Some(name) = self.worker {
            fleet = fleet.name(name);
        }
        let settings = Settings { kvs: kvs.clone(), lease_duration: self.lease, save_interval: self.save_interval };
        let working = work::run(&work, fleet, &settings, cx);
        match &self.prefix {
            Some(prefix) => tokio::select! {
                worked = working => worked,
                failure = streams::keep_adding(&kvs, &table, prefix, cx) => Err(failure),
            },
            None => working.await,
        }
    }
}
