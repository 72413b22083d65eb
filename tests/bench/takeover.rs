//! Draws `docs/fleet-takeover.svg`: three worker processes of a fleet, of which one is killed and one leaves.
//!
//! `cargo bench --all-features --bench takeover` runs for about 40 seconds, replaces the picture, and fails if a fragment
//! is lost, or if two workers yield one stream at the same time.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use futures::TryStreamExt;
use kinesis_video::fleet::{DynamoLeases, Lease, LeaseStore};
use kinesis_video::local::{Document, LocalEndpoint, LocalStream, Shape};
use kinesis_video::{KinesisVideo, Start};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

const LEASE: Duration = Duration::from_secs(3);
const STREAMS: usize = 24;
const WORKERS: usize = 3;
/// The workers that are killed and that leave.
const KILLED: usize = 1;
const LEAVING: usize = 2;
const FRAGMENT: Duration = Duration::from_millis(250);

/// A fragment that a worker has yielded.
#[derive(Clone, Copy, Debug)]
struct Yielded {
    /// Seconds on the machine's monotonic clock.
    at: f64,
    worker: usize,
    epoch: u64,
    stream: usize,
    number: u64,
}

type Log = Arc<Mutex<Vec<Yielded>>>;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().position(|argument| argument == "worker") {
        Some(at) => runtime.block_on(work(&arguments[at + 1], &arguments[at + 2])),
        None => runtime.block_on(run()),
    }
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn config(url: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys("local", "local", None)))
        .endpoint_url(url)
        .build()
}

/// A worker process: prints what it yields, until it is told to leave.
async fn work(endpoint: &str, dynamo: &str) {
    let mut terminated = signal(SignalKind::terminate()).unwrap();
    let kvs = KinesisVideo::new(&config(endpoint));
    let table = DynamoLeases::new(&config(dynamo), "kvs-leases");
    let mut leases = kvs.fleet(table).lease_duration(LEASE).save_interval(LEASE).leases();
    let mut readers = JoinSet::new();
    loop {
        tokio::select! {
            lease = leases.try_next() => readers.spawn(read(kvs.clone(), lease.unwrap().unwrap())),
            _ = terminated.recv() => break,
        };
    }
    leases.leave().await.unwrap();
    while let Some(read) = readers.join_next().await {
        read.unwrap();
    }
}

async fn read(kvs: KinesisVideo, lease: Lease) {
    let (stream, epoch) = (lease.stream().clone(), lease.epoch());
    let (mut fragments, acks) = kvs.live(&stream).start(Start::Earliest).checkpointed(lease);
    while let Some(fragment) = fragments.try_next().await.unwrap() {
        println!("{} {epoch} {stream} {}", now(), fragment.tags().get("n").unwrap());
        acks.done(&fragment.position());
    }
    drop(fragments);
    acks.close().await.unwrap();
}

struct Worker(Child);

impl Worker {
    fn start(worker: usize, urls: [&str; 2], log: &Log) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("worker")
            .args(urls)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = Arc::clone(log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let parts: Vec<&str> = line.split(' ').collect();
                let yielded = Yielded {
                    at: parts[0].parse().unwrap(),
                    worker,
                    epoch: parts[1].parse().unwrap(),
                    stream: parts[2].parse().unwrap(),
                    number: parts[3].parse().unwrap(),
                };
                log.lock().unwrap().push(yielded);
            }
        });
        Self(child)
    }

    /// Sends a signal, and returns when that was.
    fn signal(&self, signal: Signal) -> f64 {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
        now()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn produce(stream: LocalStream, offset: Duration) {
    let start = Instant::now() + offset;
    for n in 0_u32.. {
        sleep_until(start + FRAGMENT * n).await;
        let document = Document::new(Shape::Producer).video_track(1).cluster_time(u64::from(n) * 250);
        stream.push(&document.tag("n", &n.to_string()).block(1, 0, true, b"coded"));
    }
}

/// Waits until the workers that are left yield a stream each of their shares, in the last second.
async fn wait_for_shares(log: &Log, workers: &[usize]) {
    let is_fair = || {
        let since = now() - 1.0;
        let mut streams: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for yielded in log.lock().unwrap().iter().filter(|yielded| yielded.at > since) {
            streams.entry(yielded.worker).or_default().insert(yielded.stream);
        }
        workers.iter().all(|worker| streams.get(worker).is_some_and(|own| own.len() == STREAMS / workers.len()))
    };
    for _ in 0..600 {
        if is_fair() {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("the workers {workers:?} do not share the streams");
}

async fn run() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let mut producers = JoinSet::new();
    for n in 0..STREAMS {
        let stream = endpoint.create_stream(&n.to_string());
        producers.spawn(produce(stream, FRAGMENT * n as u32 / STREAMS as u32));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dynamo = format!("http://{}", listener.local_addr().unwrap());
    let database = dynoxide::Database::memory().unwrap();
    tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));
    let table = DynamoLeases::new(&config(&dynamo), "kvs-leases");
    table.create_table().await.unwrap();
    for n in 0..STREAMS {
        table.add(&n.to_string().into()).await.unwrap();
    }

    let log = Log::default();
    let urls = [endpoint.url(), &dynamo];
    let workers: Vec<Worker> = (0..WORKERS).map(|worker| Worker::start(worker, urls, &log)).collect();
    wait_for_shares(&log, &[0, KILLED, LEAVING]).await;
    // Of the last moves, nothing is to be seen.
    sleep(Duration::from_secs(7)).await;
    let killed = workers[KILLED].signal(Signal::KILL);
    wait_for_shares(&log, &[0, LEAVING]).await;
    sleep(Duration::from_secs(4)).await;
    let left = workers[LEAVING].signal(Signal::TERM);
    wait_for_shares(&log, &[0]).await;
    sleep(Duration::from_secs(2)).await;
    producers.shutdown().await;
    sleep(Duration::from_secs(1)).await;
    drop(workers);
    let run = Run { log: log.lock().unwrap().clone(), start: killed - 5.0, killed, left };
    run.check();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fleet-takeover.svg");
    std::fs::write(file, run.draw()).unwrap();
    println!("drawn in docs/fleet-takeover.svg");
}

struct Run {
    log: Vec<Yielded>,
    start: f64,
    killed: f64,
    left: f64,
}

/// Fragments that one worker has yielded of one stream, one soon after the other.
struct Bar {
    worker: usize,
    first: f64,
    last: f64,
    /// The time from which on the fragments were yielded again by the next worker.
    repeated: Option<f64>,
}

impl Run {
    fn of_stream(&self, stream: usize) -> Vec<Yielded> {
        let mut own: Vec<Yielded> = self.log.iter().filter(|yielded| yielded.stream == stream).copied().collect();
        own.sort_by(|a, b| a.at.total_cmp(&b.at));
        own
    }

    /// Fails if a fragment was lost or came from an earlier epoch after a later one. Prints the times.
    fn check(&self) {
        let mut gaps: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut repeats: BTreeMap<&str, usize> = BTreeMap::new();
        for stream in 0..STREAMS {
            let own = self.of_stream(stream);
            assert!(own.is_sorted_by_key(|yielded| yielded.epoch), "stream {stream}: {own:?}");
            let numbers: BTreeSet<u64> = own.iter().map(|yielded| yielded.number).collect();
            assert_eq!(numbers.last().map(|last| last + 1), Some(numbers.len() as u64), "stream {stream}: {numbers:?}");
            for pair in own.windows(2).filter(|pair| pair[0].epoch != pair[1].epoch && pair[0].at >= self.start) {
                let name = if pair[0].worker == KILLED { "killed" } else { "left" };
                gaps.entry(name).or_default().push(pair[1].at - pair[0].at);
                *repeats.entry(name).or_default() += (pair[0].number + 1).saturating_sub(pair[1].number) as usize;
            }
        }
        for (name, mut gaps) in gaps {
            gaps.sort_by(f64::total_cmp);
            let (least, middle, most) = (gaps[0], gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
            println!(
                "{name}: {} streams, without fragments for {least:.2} to {most:.2} s, median {middle:.2} s; {} repeats",
                gaps.len(),
                repeats[name]
            );
        }
    }

    fn bars(&self, stream: usize) -> Vec<Bar> {
        let own = self.of_stream(stream);
        let mut bars: Vec<Bar> = Vec::new();
        for (index, yielded) in own.iter().enumerate().filter(|(_, yielded)| yielded.at >= self.start) {
            let is_repeated = own[index + 1..].iter().any(|later| later.number == yielded.number);
            match bars.last_mut() {
                Some(bar) if bar.worker == yielded.worker && yielded.at - bar.last < 1.0 => bar.last = yielded.at,
                _ => {
                    let (first, last) = (yielded.at, yielded.at);
                    bars.push(Bar { worker: yielded.worker, first, last, repeated: None });
                }
            }
            if let Some(bar) = bars.last_mut()
                && is_repeated
            {
                bar.repeated.get_or_insert(yielded.at);
            }
        }
        bars
    }

    fn draw(&self) -> String {
        const LEFT: f64 = 96.0;
        const TOP: f64 = 84.0;
        const ROW: f64 = 12.0;
        const WIDTH: f64 = 900.0;
        let end = self.log.iter().map(|yielded| yielded.at).fold(self.left, f64::max).min(self.left + 5.0);
        let scale = (WIDTH - LEFT - 24.0) / (end - self.start);
        let x = |time: f64| LEFT + (time - self.start) * scale;
        let bottom = TOP + STREAMS as f64 * ROW;
        let height = bottom + 62.0;
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">
<style>
.page {{ fill: #ffffff }} text {{ fill: #222222 }} .grey {{ fill: #666666 }} .grid {{ stroke: #dddddd }}
.mark {{ stroke: #c0152f; stroke-width: 1.5 }} .name {{ fill: #c0152f }}
.w0 {{ fill: #0072b2 }} .w1 {{ fill: #e69f00 }} .w2 {{ fill: #009e73 }} .again {{ fill: url(#stripes) }}
.stripe {{ stroke: #ffffff }} .late {{ stroke: #222222; stroke-width: 2 }}
@media (prefers-color-scheme: dark) {{
.page {{ fill: #161b22 }} text {{ fill: #e6edf3 }} .grey {{ fill: #9aa4af }} .grid {{ stroke: #30363d }}
.mark {{ stroke: #ff7b86 }} .name {{ fill: #ff7b86 }}
.w0 {{ fill: #56a8e0 }} .w1 {{ fill: #e6a532 }} .w2 {{ fill: #2bb58a }} .stripe {{ stroke: #161b22 }} .late {{ stroke: #ffffff }}
}}
</style>
<defs><pattern id="stripes" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="stripe" d="M0 0V5" stroke-width="4"/></pattern></defs>
<rect class="page" width="{WIDTH}" height="{height}"/>
<text x="16" y="24" font-size="15">{STREAMS} streams, {WORKERS} workers: one is killed, another leaves</text>
<text class="grey" x="16" y="43">A bar is a stream that a worker reads. Lease duration {} s, a position saved every {} s. From a real run.</text>
"#,
            LEASE.as_secs(),
            LEASE.as_secs()
        );
        for second in 0..=(end - self.start) as u32 {
            let at = x(self.start + f64::from(second));
            writeln!(svg, r#"<path class="grid" d="M{at:.1} {TOP}V{bottom}"/>"#).unwrap();
            if second % 5 == 0 {
                let label = bottom + 16.0;
                writeln!(svg, r#"<text class="grey" x="{at:.1}" y="{label}" text-anchor="middle">{second} s</text>"#)
                    .unwrap();
            }
        }
        // By first worker, and then by the ones after it.
        let mut streams: Vec<(Vec<usize>, Vec<Bar>)> = (0..STREAMS)
            .map(|stream| self.bars(stream))
            .map(|bars| (bars.iter().map(|bar| bar.worker).collect(), bars))
            .collect();
        streams.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (row, (_, bars)) in streams.iter().enumerate() {
            let top = TOP + row as f64 * ROW + 2.0;
            for bar in bars {
                let (worker, thick) = (bar.worker, ROW - 4.0);
                // Bars that go on at the edges reach them.
                let is_cut = |gap: f64| gap < 3.0 * FRAGMENT.as_secs_f64();
                let left = x(if is_cut(bar.first - self.start) { self.start } else { bar.first });
                let right = x(if is_cut(end - bar.last) { end } else { bar.last });
                let mut rect = |class: &str, left: f64, right: f64| {
                    let wide = right - left;
                    writeln!(
                        svg,
                        r#"<rect class="{class}" x="{left:.1}" y="{top}" width="{wide:.1}" height="{thick}"/>"#
                    )
                    .unwrap();
                };
                rect(&format!("w{worker}"), left, right);
                if let Some(repeated) = bar.repeated {
                    rect("again", x(repeated), right);
                }
                if bar.first > self.start + 1.0 {
                    let (at, bottom) = (left + 1.0, top + thick);
                    writeln!(svg, r#"<path class="late" d="M{at:.1} {top}V{bottom}"/>"#).unwrap();
                }
            }
        }
        for worker in 0..WORKERS {
            let rows = streams.iter().enumerate().filter(|(_, (workers, _))| workers.first() == Some(&worker));
            let rows: Vec<usize> = rows.map(|(row, _)| row).collect();
            let middle = TOP + (rows[0] + rows[rows.len() - 1] + 1) as f64 / 2.0 * ROW + 4.0;
            let (text, at) = (worker + 1, LEFT - 10.0);
            writeln!(svg, r#"<text x="{at}" y="{middle}" text-anchor="end">worker {text}</text>"#).unwrap();
        }
        for (time, text) in [
            (self.killed, format!("worker {} is killed (SIGKILL)", KILLED + 1)),
            (self.left, format!("worker {} leaves (SIGTERM)", LEAVING + 1)),
        ] {
            let (at, top, above) = (x(time), TOP - 8.0, TOP - 13.0);
            writeln!(svg, r#"<path class="mark" d="M{at:.1} {top}V{bottom}"/>"#).unwrap();
            writeln!(svg, r#"<text class="name" x="{at:.1}" y="{above}" text-anchor="middle">{text}</text>"#).unwrap();
        }
        let (top, base) = (bottom + 30.0, bottom + 40.0);
        let mut left = LEFT;
        for worker in 0..WORKERS {
            let text = left + 22.0;
            writeln!(svg, r#"<rect class="w{worker}" x="{left}" y="{top}" width="16" height="11"/>"#).unwrap();
            writeln!(svg, r#"<text x="{text}" y="{base}">worker {}</text>"#, worker + 1).unwrap();
            left += 84.0;
        }
        writeln!(svg, r#"<rect class="w{KILLED}" x="{left}" y="{top}" width="16" height="11"/>"#).unwrap();
        writeln!(svg, r#"<rect class="again" x="{left}" y="{top}" width="16" height="11"/>"#).unwrap();
        let text = left + 22.0;
        writeln!(svg, r#"<text x="{text}" y="{base}">not saved, repeated by the next worker</text>"#).unwrap();
        left += 272.0;
        let text = left + 14.0;
        writeln!(svg, r#"<path class="late" d="M{left} {top}v11"/>"#).unwrap();
        writeln!(svg, r#"<text x="{text}" y="{base}">the fragments of the gap, at once</text>"#).unwrap();
        svg += "</svg>\n";
        svg
    }
}
