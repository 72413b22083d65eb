//! [`Program`]: a child process for each lease.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kinesis_video::fleet::Lease;
use kinesis_video::{CheckpointStore, ErrorKind, FileCheckpoint, Position, StreamEnd};
use tokio::process::{Child, Command};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::outcome::Outcome;
use super::settings::Settings;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::tethered::{self, Order};

/// The time that a program has to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_millis(1500);

/// The longest time between two looks at the position that a program has written.
const MAX_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The program to run for each lease, with its arguments.
pub(super) struct Program {
    words: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// The folder of the checkpoint files. Removed when the value is dropped.
    folder: PathBuf,
}

impl Program {
    pub(super) fn new(words: Vec<String>, cx: &Context) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("kvs-fleet-{:016x}", fastrand::u64(..)));
        let mut builder = std::fs::DirBuilder::new();
        // Other users must not be able to write a position.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder).map_err(|error| Failure::of_file("create the folder", &folder, &error))?;
        let environment = cx.aws.environment().map(|(name, value)| (name, value.to_owned())).collect();
        Ok(Self { words, environment, folder })
    }

    /// Runs the program until it ends or the lease does, and saves its position.
    pub(super) async fn run(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Outcome> {
        // Two streams in a table may have the same name, but different ARNs.
        let file = format!("{}-{}-{:08x}.position", lease.stream().name(), lease.epoch(), fastrand::u32(..));
        let checkpoint = FileCheckpoint::new(self.folder.join(file));
        let start = lease.load().await?;
        if let Some(position) = &start {
            checkpoint.save(position).await?;
        }
        let mut command = self.command(&lease, start.as_ref(), checkpoint.path());
        let child = command.spawn().map_err(|error| {
            Failure::other(format!("cannot run {}", self.name()))
                .why(error.to_string())
                .hint("check the command after --")
        })?;
        let id = child.id();
        let mut running = Running { child, id, lease: &lease, checkpoint, saved: start };
        let ended = running.watch(settings, cx).await;
        running.save(cx).await;
        // Not needed any more, whether or not this succeeds.
        let _ = std::fs::remove_file(running.checkpoint.path());
        match ended {
            Ended::Lease(reason) => Ok(Outcome { fragments: None, reason: Some(reason) }),
            Ended::Program(Ok(status)) if status.success() => {
                cx.screen.note(&format!("{}: {} has ended", lease.stream().name(), self.name()));
                Ok(Outcome { fragments: None, reason: Some(StreamEnd::EndOfMedia) })
            }
            Ended::Program(Ok(status)) => {
                Err(Failure::other(format!("{}: {} failed", lease.stream().name(), self.name()))
                    .why(status.to_string())
                    .hint("it is started again later, here or on another machine"))
            }
            Ended::Program(Err(error)) => {
                Err(Failure::other(format!("cannot wait for {}", self.name())).why(error.to_string()))
            }
        }
    }

    fn name(&self) -> &str {
        self.words.first().map(String::as_str).unwrap_or_default()
    }

    fn command(&self, lease: &Lease, start: Option<&Position>, checkpoint: &Path) -> Command {
        let (stream, epoch) = (lease.stream().to_string(), lease.epoch().to_string());
        let path = checkpoint.display().to_string();
        let replaced = |word: &String| {
            let word = word.replace("{stream}", &stream).replace("{}", &stream).replace("{epoch}", &epoch);
            word.replace("{checkpoint}", &path)
        };
        let mut words = self.words.iter().map(replaced);
        let mut command = tethered::command(words.next().unwrap_or_default().as_ref());
        command.args(words).stdin(Stdio::null()).kill_on_drop(true);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command.env("KVS_STREAM", &stream).env("KVS_EPOCH", &epoch).env("KVS_WORKER", lease.worker());
        command.env("KVS_CHECKPOINT", checkpoint).env("KVS_START", start.map(ToString::to_string).unwrap_or_default());
        command
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The first of two events: the end of the program, or of the lease.
enum Ended {
    Lease(StreamEnd),
    Program(std::io::Result<ExitStatus>),
}

/// A program at work on a lease.
struct Running<'a> {
    child: Child,
    id: Option<u32>,
    lease: &'a Lease,
    checkpoint: FileCheckpoint,
    saved: Option<Position>,
}

impl Running<'_> {
    /// Waits until the program or the lease ends. Then neither the program nor a process of its group is left.
    async fn watch(&mut self, settings: &Settings, cx: &Context) -> Ended {
        let mut look = interval(settings.save_interval.clamp(Duration::from_millis(100), MAX_LOOK_INTERVAL));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Others take over a quarter of the lease duration after it has expired here.
        let mut check = interval(settings.lease_duration / 20);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut next_save = tokio::time::Instant::now();
        let mut is_paused = false;
        let ended = loop {
            tokio::select! {
                status = self.child.wait() => break Ended::Program(status),
                reason = self.lease.ended() => break Ended::Lease(reason),
                _ = check.tick() => {
                    if self.lease.is_valid() == is_paused {
                        is_paused = !is_paused;
                        self.send(if is_paused { Order::Pause } else { Order::Continue });
                    }
                }
                now = look.tick() => if now >= next_save && self.save(cx).await {
                    next_save = now + settings.save_interval;
                },
            }
        };
        if let Ended::Lease(StreamEnd::LeaseReleased) = ended {
            self.send(Order::End);
            // One that is paused would not notice.
            self.send(Order::Continue);
            let _ = timeout(END_LIMIT, self.child.wait()).await;
        }
        // Another worker may read the stream already.
        self.send(Order::Kill);
        let _ = self.child.wait().await;
        ended
    }

    fn send(&mut self, order: Order) {
        if let Some(id) = self.id {
            tethered::send(id, order);
        }
        #[cfg(not(unix))]
        if matches!(order, Order::End | Order::Kill) {
            let _ = self.child.start_kill();
        }
    }

    /// Saves the position that the program has written, if it is new. Returns whether it was saved.
    async fn save(&mut self, cx: &Context) -> bool {
        let name = self.lease.stream().name();
        let position = match self.checkpoint.load().await {
            Ok(Some(position)) if self.saved.as_ref() != Some(&position) => position,
            Ok(_) => return false,
            Err(error) => {
                cx.screen.warn(&format!("{name}: {}", error.message()));
                return false;
            }
        };
        match self.lease.save(&position).await {
            Ok(()) => {
                self.saved = Some(position);
                true
            }
            // The end of the lease tells.
            Err(error) if error.kind() == ErrorKind::LeaseLost => false,
            Err(error) => {
                cx.screen.warn(&format!("{name}: the position could not be saved: {}", error.message()));
                false
            }
        }
    }
}
