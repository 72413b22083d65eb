//! Reads any number of streams at once. Streams are added and removed while it runs.
//!
//! ```text
//! many_streams [--start now|earliest] NAME...
//! ```
//!
//! | on standard input | effect |
//! |---|---|
//! | `+NAME` | adds a stream |
//! | `-NAME` | removes a stream |
//! | end of input | ends all streams |
//!
//! Every five seconds it prints the status of each stream. An error of one stream does not stop the others.
//!
//! Each stream is a task, not a thread. All tasks share one client, with its connections and endpoints. A semaphore limits
//! the number of fragments that are processed at once. A stream that waits for the semaphore delays only itself.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::TryStreamExt;
use kinesis_video::{Fragment, KinesisVideo, LiveFragments, LiveStatus, Result, Start, StopHandle, StreamEnd};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Semaphore, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{interval, sleep};

use shared::exit_code;

/// Reads many streams at once.
#[derive(Parser)]
struct Options {
    /// The names or ARNs of the first streams.
    names: Vec<String>,
    /// The place in each stream to start at.
    #[arg(long, value_enum, default_value_t = From::Now)]
    start: From,
    /// The number of fragments to process at once.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Earliest,
    Now,
}

/// The streams that are being read.
struct Set {
    kvs: KinesisVideo,
    start: Start,
    work: Arc<Semaphore>,
    tasks: JoinSet<Result<Option<StreamEnd>>>,
    names: HashMap<task::Id, String>,
    running: BTreeMap<String, (StopHandle, watch::Receiver<LiveStatus>)>,
}

impl Set {
    fn add(&mut self, name: &str) {
        if self.running.contains_key(name) {
            return eprintln!("{name}: already being read");
        }
        let fragments = self.kvs.live(name).start(self.start.clone()).fragments();
        self.running.insert(name.into(), (fragments.stop_handle(), fragments.status()));
        let (label, work) = (name.to_owned(), Arc::clone(&self.work));
        let task = self.tasks.spawn(async move { read(&label, fragments, &work).await });
        self.names.insert(task.id(), name.into());
    }

    /// Stops a stream. It ends after the fragment that is arriving.
    fn remove(&mut self, name: &str) {
        match self.running.get(name) {
            Some((stop, _)) => stop.stop(),
            None => eprintln!("{name}: not being read"),
        }
    }

    fn ended(&mut self, ended: std::result::Result<(task::Id, Result<Option<StreamEnd>>), JoinError>) {
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let name = self.names.remove(&id).unwrap_or_default();
        self.running.remove(&name);
        // The other streams continue. This one may be added again.
        match ended {
            Ok((_, Ok(reason))) => {
                eprintln!("{name}: {}", reason.map_or_else(String::new, |reason| reason.to_string()));
            }
            Ok((_, Err(error))) => eprintln!("{name}: {error}"),
            Err(panic) => eprintln!("{name}: {panic}"),
        }
    }

    fn print(&self) {
        for (name, (_, status)) in &self.running {
            let LiveStatus { fragments, bytes, behind_now, reconnects, error, .. } = status.borrow().clone();
            let behind = behind_now.unwrap_or_default().as_secs_f64();
            let error = error.map(|error| format!(", {error}")).unwrap_or_default();
            println!(
                "{name}: {fragments} fragments, {bytes} bytes, {behind:.1} s behind, {reconnects} reconnects{error}"
            );
        }
    }
}

async fn read(name: &str, mut fragments: LiveFragments, work: &Semaphore) -> Result<Option<StreamEnd>> {
    while let Some(fragment) = fragments.try_next().await? {
        // Acquiring fails only if the semaphore is closed, and it never is.
        let _permit = work.acquire().await;
        process(name, &fragment).await;
    }
    Ok(fragments.end_reason())
}

/// Stands for your own work, such as decoding a picture and analysing it.
async fn process(name: &str, fragment: &Fragment) {
    for discontinuity in fragment.discontinuities() {
        eprintln!("{name}: {discontinuity}");
    }
    sleep(Duration::from_millis(5)).await;
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let start = match options.start {
        From::Earliest => Start::Earliest,
        From::Now => Start::Now,
    };
    let (kvs, work) = (KinesisVideo::from_env().await, Arc::new(Semaphore::new(options.concurrency.into())));
    let mut set = Set { kvs, start, work, tasks: JoinSet::new(), names: HashMap::new(), running: BTreeMap::new() };
    options.names.iter().for_each(|name| set.add(name));
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    let (mut report, mut listening) = (interval(Duration::from_secs(5)), true);
    while listening || !set.tasks.is_empty() {
        tokio::select! {
            command = commands.next_line(), if listening => match command.unwrap_or_default().as_deref() {
                Some(command) => match (command.strip_prefix('+'), command.strip_prefix('-')) {
                    (Some(name), _) => set.add(name),
                    (_, Some(name)) => set.remove(name),
                    _ => eprintln!("unknown command {command:?}: expected +NAME or -NAME"),
                },
                None => {
                    listening = false;
                    set.running.values().for_each(|(stop, _)| stop.stop());
                }
            },
            Some(ended) = set.tasks.join_next_with_id() => set.ended(ended),
            _ = report.tick() => set.print(),
        }
    }
    Ok(())
}
