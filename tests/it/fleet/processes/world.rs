//! [`World`]: streams that grow, a table, and workers that are processes of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kinesis_video::fleet::{DynamoLeases, LeaseRow, LeaseStore};
use kinesis_video::local::{Document, LocalEndpoint, LocalStream, Shape};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use super::judge::{Event, Line, Pushed, Tally, judge};
use super::store::Store;
use crate::support::endpoint::unlimited;
use crate::support::store_proxy::{StoreFault, StoreProxy};

pub const TABLE: &str = "leases";

/// The longest time to wait for anything, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// How large a run is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub workers: usize,
    pub streams: usize,
    pub lease: Duration,
    pub save: Duration,
    /// The time between two fragments of a stream.
    pub period: Duration,
}

/// A worker: a process of the example `fleet`.
pub struct Worker {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Worker {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    /// Whether an id in the table is this process's.
    fn is(&self, id: &str) -> bool {
        id.starts_with(&format!("{}-{}-", self.name, self.child.id()))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream whose worker was killed or paused.
#[derive(Clone, Debug)]
struct Taken {
    how: &'static str,
    stream: String,
    epoch: u64,
    /// In nanoseconds since this machine was started.
    at: u64,
}

pub struct World {
    pub size: Size,
    pub store: Store,
    pub proxy: StoreProxy,
    pub table: DynamoLeases,
    pub workers: Vec<Worker>,
    /// Of workers that have ended.
    logs: Vec<PathBuf>,
    started: usize,
    pauses: usize,
    taken: Vec<Taken>,
    leaves: Vec<Duration>,
    /// Leases that workers which had left still owned.
    left_behind: usize,
    endpoint: LocalEndpoint,
    pushed: Arc<Mutex<Pushed>>,
    producer: JoinHandle<()>,
    dir: tempfile::TempDir,
    clock: Option<OwnClock>,
}

/// A wall clock that one worker has for itself, from libfaketime.
struct OwnClock {
    library: PathBuf,
    /// How far it is turned.
    file: PathBuf,
}

/// The time since this machine was started, as the workers print it.
fn now() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl World {
    pub async fn new(store: Store, size: Size) -> Self {
        let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
        let table = store.table();
        table.create_table().await.unwrap();
        let pushed: Arc<Mutex<Pushed>> = Arc::default();
        let mut streams = Vec::new();
        for n in 0..size.streams {
            let name = format!("camera-{n:03}");
            streams.push((name.clone(), endpoint.create_stream(&name)));
            pushed.lock().unwrap().insert(name.clone(), Vec::new());
            assert!(table.add(&name.into()).await.unwrap());
        }
        let producer = tokio::spawn(produce(streams, Arc::clone(&pushed), size.period));
        let proxy = StoreProxy::start(store.port()).await;
        let dir = tempfile::tempdir().unwrap();
        Self {
            size,
            store,
            proxy,
            table,
            workers: Vec::new(),
            logs: Vec::new(),
            started: 0,
            pauses: 0,
            taken: Vec::new(),
            leaves: Vec::new(),
            left_behind: 0,
            endpoint,
            pushed,
            producer,
            dir,
            clock: None,
        }
    }

    /// Starts workers.
    pub fn start(&mut self, count: usize) {
        (0..count).for_each(|_| self.start_with(|_| ()));
    }

    /// Starts a worker whose wall clock is what a file says. Returns false if that is not possible here.
    pub fn start_with_own_clock(&mut self) -> bool {
        let found = ["x86_64", "aarch64"]
            .map(|arch| PathBuf::from(format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketimeMT.so.1")));
        let Some(library) = found.into_iter().find(|path| path.exists()) else { return false };
        let file = self.dir.path().join("clock");
        self.clock = Some(OwnClock { library, file });
        self.turn_clock("+0");
        let environment = self.clock_environment();
        self.start_with(|command| {
            command.envs(environment);
        });
        true
    }

    fn clock_environment(&self) -> Vec<(&'static str, PathBuf)> {
        let OwnClock { library, file } = self.clock.as_ref().unwrap();
        let is_on = |name| (name, PathBuf::from("1"));
        vec![
            ("LD_PRELOAD", library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", file.clone()),
            is_on("FAKETIME_NO_CACHE"),
            is_on("FAKETIME_DONT_FAKE_MONOTONIC"),
        ]
    }

    /// Turns the wall clock of the worker that has its own, such as by "+1h", and returns by how many seconds another
    /// program sees it turned.
    pub fn turn_clock(&self, offset: &str) -> i64 {
        std::fs::write(&self.clock.as_ref().unwrap().file, offset).unwrap();
        let output = Command::new("date").arg("+%s").envs(self.clock_environment()).output().unwrap();
        let seen: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        seen - std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64
    }

    fn start_with(&mut self, more: impl FnOnce(&mut Command)) {
        let name = format!("w{}", self.started);
        self.started += 1;
        let log = self.dir.path().join(format!("{name}.log"));
        let mut program = std::env::current_exe().unwrap();
        program.pop();
        program.pop();
        let mut command = Command::new(program.join("examples/fleet"));
        let seconds = |duration: Duration| duration.as_secs_f64().to_string();
        command.args([TABLE, &seconds(self.size.lease), &seconds(self.size.save), &name]);
        command.env("AWS_ENDPOINT_URL", self.endpoint.url()).env("AWS_ENDPOINT_URL_DYNAMODB", &self.proxy.url);
        command.env("AWS_REGION", "us-west-2").env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", self.dir.path());
        let errors = std::fs::File::create(self.dir.path().join(format!("{name}.err"))).unwrap();
        command.stdin(Stdio::null()).stdout(std::fs::File::create(&log).unwrap()).stderr(errors);
        more(&mut command);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.workers.push(Worker { name, child, log });
    }

    async fn rows(&self) -> Vec<LeaseRow> {
        self.table.leases().await.unwrap()
    }

    /// Waits until the running workers hold all streams, in fair shares.
    pub async fn settle(&mut self) {
        self.wait("the shares are fair", |world, rows| {
            let mut counts = vec![0; world.workers.len()];
            for row in rows {
                let owner = row.owner.as_deref().unwrap_or_default();
                match world.workers.iter().position(|worker| worker.is(owner)) {
                    Some(at) => counts[at] += 1,
                    None => return false,
                }
            }
            counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1
        })
        .await;
    }

    async fn wait(&mut self, what: &str, is_so: impl Fn(&Self, &[LeaseRow]) -> bool) {
        let waited = timeout(PATIENCE, async {
            while !is_so(self, &self.rows().await) {
                sleep(Duration::from_millis(100)).await;
                self.check_workers();
            }
        });
        if waited.await.is_err() {
            let workers = self.table.workers().await.unwrap();
            panic!("{what}: not within {PATIENCE:?}; {:#?} {workers:#?}", self.rows().await);
        }
    }

    /// No worker ends by itself.
    fn check_workers(&mut self) {
        for worker in &mut self.workers {
            if let Some(status) = worker.child.try_wait().unwrap() {
                let errors = std::fs::read_to_string(worker.log.with_extension("err")).unwrap();
                panic!("{} ended with {status}: {errors}", worker.name);
            }
        }
    }

    /// Kills so many workers and pauses so many others, until others have all of their streams. Then the paused ones
    /// continue, and new workers replace the killed ones.
    pub async fn strike(&mut self, kills: usize, pauses: usize) {
        fastrand::shuffle(&mut self.workers);
        let rows = self.rows().await;
        let mut victims = Vec::new();
        for (at, worker) in self.workers.iter().enumerate().take(kills + pauses) {
            let (how, signal) = if at < kills { ("kill -9", Signal::KILL) } else { ("SIGSTOP", Signal::STOP) };
            worker.signal(signal);
            let at = now();
            let held = rows.iter().filter(|row| row.owner.as_deref().is_some_and(|owner| worker.is(owner)));
            victims.extend(held.map(|row| Taken { how, stream: row.stream.to_string(), epoch: row.epoch, at }));
        }
        self.pauses += pauses;
        for mut killed in self.workers.drain(..kills).collect::<Vec<_>>() {
            killed.child.wait().unwrap();
            self.logs.push(killed.log.clone());
        }
        self.start(kills);
        let epochs: BTreeMap<&str, u64> = victims.iter().map(|taken| (&taken.stream[..], taken.epoch)).collect();
        self.wait("others take over", |_, rows| {
            let is_taken = |row: &LeaseRow| epochs.get(row.stream.as_str()).is_none_or(|epoch| row.epoch > *epoch);
            rows.iter().all(is_taken)
        })
        .await;
        drop(epochs);
        self.taken.extend(victims);
        self.workers.iter().for_each(|worker| worker.signal(Signal::CONT));
    }

    /// Has a fault at the table for so long.
    pub async fn disturb(&mut self, fault: StoreFault, time: Duration) {
        self.proxy.set(fault);
        sleep(time).await;
        self.proxy.set(StoreFault::None);
        self.settle().await;
    }

    /// Kills the table's server, and starts it again with the same table after so long.
    pub async fn restart_store(&mut self, pause: Duration) {
        self.store.stop().await;
        sleep(pause).await;
        self.store.start_again().await;
        self.proxy.redirect(self.store.port());
        self.table = self.store.table();
        self.settle().await;
    }

    /// Has the first so many workers leave, one after the other. Each is replaced before it leaves, if `replaces`.
    pub async fn leave(&mut self, count: usize, replaces: bool) {
        for _ in 0..count {
            if replaces {
                self.start(1);
            }
            let mut worker = self.workers.remove(0);
            let began = std::time::Instant::now();
            worker.signal(Signal::TERM);
            let ended = timeout(PATIENCE, async {
                loop {
                    match worker.child.try_wait().unwrap() {
                        Some(status) => return status,
                        None => sleep(Duration::from_millis(10)).await,
                    }
                }
            });
            let status = ended.await.unwrap_or_else(|_| panic!("{} does not leave", worker.name));
            self.leaves.push(began.elapsed());
            assert!(status.success(), "{}: {status}", worker.name);
            // A claim whose reply was lost is not given up. Others wait for it as if the worker had died.
            let is_left = |row: &&LeaseRow| row.owner.as_deref().is_some_and(|owner| worker.is(owner));
            self.left_behind += self.rows().await.iter().filter(is_left).count();
            self.logs.push(worker.log.clone());
        }
        if !self.workers.is_empty() {
            self.settle().await;
        }
    }

    /// The id that the last started worker has in the table.
    pub async fn last_id(&self) -> Option<String> {
        let last = self.workers.iter().max_by_key(|worker| worker.name[1..].parse::<usize>().unwrap())?;
        self.table.workers().await.unwrap().into_iter().map(|row| row.id).find(|id| last.is(id))
    }

    fn lines(&self) -> Vec<Line> {
        let logs = self.logs.iter().chain(self.workers.iter().map(|worker| &worker.log));
        let mut lines = Vec::new();
        for log in logs {
            let text = std::fs::read(log).unwrap();
            lines.extend(String::from_utf8_lossy(&text).lines().filter_map(Line::parse));
        }
        lines
    }

    /// Ends the streams, waits until all was read, has all workers leave, and judges what they printed.
    pub async fn end(mut self) -> (Tally, Takeovers) {
        self.producer.abort();
        let all = {
            let pushed = self.pushed.lock().unwrap();
            pushed.values().map(Vec::len).sum::<usize>()
        };
        let waited = timeout(PATIENCE, async {
            loop {
                let lines = self.lines();
                let read = lines.iter().filter(|line| matches!(line.event, Event::Fragment(_)));
                let read: BTreeSet<_> = read
                    .map(|line| match &line.event {
                        Event::Fragment(number) => (&line.stream, number),
                        _ => unreachable!(),
                    })
                    .collect();
                if read.len() >= all {
                    break;
                }
                sleep(Duration::from_millis(200)).await;
            }
        });
        let is_complete = waited.await.is_ok();
        self.leave(self.workers.len(), false).await;
        let lines = self.lines();
        let pushed = self.pushed.lock().unwrap().clone();
        let tally = judge(&pushed, &lines, self.pauses).unwrap_or_else(|error| panic!("{error}"));
        assert!(is_complete, "not all fragments were read within {PATIENCE:?}");
        // All have left.
        assert!(self.table.workers().await.unwrap().iter().all(|row| row.dead));
        (tally, Takeovers::new(&self, lines))
    }
}

async fn produce(streams: Vec<(String, LocalStream)>, pushed: Arc<Mutex<Pushed>>, period: Duration) {
    let mut ticks = interval(period / streams.len() as u32);
    let mut document = Document::new(Shape::Producer).video_track(1);
    document = document.block(1, 0, true, &[7; 200]);
    for n in 0.. {
        ticks.tick().await;
        let (name, stream) = &streams[n % streams.len()];
        let mut pushed = pushed.lock().unwrap();
        let number = stream.push(&document).number.to_string();
        pushed.get_mut(name).unwrap().push(number);
    }
}

/// How long streams had no worker, and what was printed around the first kill.
pub struct Takeovers {
    lease: Duration,
    /// How the worker ended, and the time until another one had claimed the stream, in seconds.
    times: Vec<(&'static str, f64)>,
    leaves: Vec<Duration>,
    left_behind: usize,
    around: Vec<(f64, Line)>,
}

impl Takeovers {
    fn new(world: &World, mut lines: Vec<Line>) -> Self {
        lines.sort_by_key(|line| line.at);
        let seconds = |from: u64, to: u64| (to as f64 - from as f64) / 1e9;
        let mut times = Vec::new();
        for taken in &world.taken {
            let is_next = |line: &&Line| {
                line.stream == taken.stream && line.epoch > taken.epoch && matches!(line.event, Event::Claimed(_))
            };
            if let Some(line) = lines.iter().find(is_next) {
                times.push((taken.how, seconds(taken.at, line.at)));
            }
        }
        let first = world.taken.iter().map(|taken| taken.at).min().unwrap_or_default();
        let touched: BTreeSet<&str> = world
            .taken
            .iter()
            .filter(|taken| taken.at < first + 1_000_000_000)
            .map(|taken| &taken.stream[..])
            .collect();
        let around = lines.iter().filter(|line| touched.contains(&line.stream[..]));
        let around = around.map(|line| (seconds(first, line.at), line.clone()));
        let around = around.filter(|(at, _)| (-5.0..15.0).contains(at)).collect();
        Self { lease: world.size.lease, times, leaves: world.leaves.clone(), left_behind: world.left_behind, around }
    }

    /// Prints a table, and writes it with all times to `target/fleet/`, if `writes`.
    pub fn report(&self, store: &str, tally: &Tally, writes: bool) {
        let Tally { fragments, epochs, repeats, late } = tally;
        eprintln!("{store}: {fragments} fragments read in {epochs} leases, {repeats} of them again, {late} late");
        eprintln!("  {} workers have left, with {} leases not given up", self.leaves.len(), self.left_behind);
        let mut rows = Vec::new();
        let leaves = self.leaves.iter().map(|leave| ("SIGTERM, to exit", leave.as_secs_f64()));
        let all: Vec<(&str, f64)> = self.times.iter().copied().chain(leaves).collect();
        for how in ["kill -9", "SIGSTOP", "SIGTERM, to exit"] {
            let mut times: Vec<f64> = all.iter().filter(|(each, _)| *each == how).map(|(_, time)| *time).collect();
            times.sort_by(f64::total_cmp);
            let Some(max) = times.last() else { continue };
            let part = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
            let (p50, p99, n, lease) = (part(0.5), part(0.99), times.len(), self.lease.as_secs_f64());
            eprintln!("  {how:16}  lease {lease} s  n {n:5}  p50 {p50:.2} s  p99 {p99:.2} s  max {max:.2} s");
            rows.push(serde_json::json!({
                "store": store, "event": how, "lease_seconds": lease, "count": n, "p50_seconds": p50, "p99_seconds": p99,
                "max_seconds": max,
            }));
        }
        if !writes {
            return;
        }
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fleet");
        std::fs::create_dir_all(&dir).unwrap();
        let summary = serde_json::json!({
            "store": store, "fragments": fragments, "leases": epochs, "repeats": repeats, "late": late, "times": rows,
        });
        std::fs::write(dir.join(format!("{store}.json")), format!("{summary:#}\n")).unwrap();
        let lines = all.iter().map(|(how, time)| format!("{},{time:.4}\n", how.replace(',', "")));
        let times: String = std::iter::once("event,seconds\n".to_owned()).chain(lines).collect();
        std::fs::write(dir.join(format!("{store}-times.csv")), times).unwrap();
        let lines = self.around.iter().map(|(at, line)| {
            let event = match &line.event {
                Event::Claimed(_) => "claimed",
                Event::Fragment(_) => "fragment",
                Event::Ended(_) | Event::Unsaved => "ended",
            };
            format!("{at:.4},{},{},{},{event}\n", line.stream, line.worker, line.epoch)
        });
        let around: String = std::iter::once("seconds,stream,worker,epoch,event\n".to_owned()).chain(lines).collect();
        std::fs::write(dir.join(format!("{store}-first-strike.csv")), around).unwrap();
    }
}
