//! What takes longer than a test may: a thousand live streams at once, and minutes of faults over many.
//! `make proof` runs it. The endpoint is a process of its own, so that what is measured is the library's.
//!
//! `KVS_SOAK_STREAMS` (1000), `KVS_SOAK_SECONDS` (60) and `KVS_SOAK_FAULT_SECONDS` (600) make it shorter.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it fails by panicking"
)]

mod other_process;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape};
use kinesis_video::{Fragment, FragmentEnd, KinesisVideo, Start, StopHandle};
use other_process::{OtherProcess, mib, resident, setting};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, sleep_until};

/// A fragment of a second at 1 Mbit/s.
const MEGABIT: usize = 125_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match arguments.iter().position(|argument| argument == "endpoint") {
        Some(at) => runtime.block_on(endpoint(&arguments[at + 1..])),
        None => {
            // First, while nothing else has been allocated.
            runtime.block_on(faults());
            runtime.block_on(load());
        }
    }
}

/// The other process: STREAMS BYTES MILLIS KEPT FAULTS. Streams are named by their number, and each gets a
/// fragment of so many bytes every so many milliseconds, in real time, until this process is killed.
async fn endpoint(arguments: &[String]) {
    let numbers: Vec<u64> = arguments.iter().map(|argument| argument.parse().unwrap()).collect();
    let [streams, bytes, millis, kept, faults] = numbers[..] else { panic!("{arguments:?}") };
    let endpoint =
        Arc::new(LocalEndpoint::start_with(0, Quotas::default().session(Duration::from_secs(40))).await.unwrap());
    for n in 0..streams {
        let stream = endpoint.create_stream(&n.to_string());
        let offset = Duration::from_micros(millis * 1000 * n / streams);
        tokio::spawn(produce(stream, bytes as usize, Duration::from_millis(millis), offset, kept as usize));
    }
    println!("{}", endpoint.url());
    if faults > 0 {
        let mut rng = fastrand::Rng::with_seed(1);
        loop {
            sleep(Duration::from_millis(faults)).await;
            let after = rng.u64(0..60_000);
            let fault = match rng.u32(0..9) {
                0 => InjectedFault::CutAfter(after),
                1 => InjectedFault::ResetAfter(after),
                2 => InjectedFault::BreakOff(after),
                3 => InjectedFault::EndAfter(rng.u64(0..5)),
                4 => InjectedFault::FaultAfter { fragments: rng.u64(0..5), id: 5000, message: "INTERNAL".into() },
                5 => InjectedFault::Refuse("ClientLimitExceededException".into()),
                6 => InjectedFault::Stall { after, pause: Duration::from_secs(rng.u64(1..40)) },
                7 => InjectedFault::StaleEndpoint,
                _ => InjectedFault::Repeat(rng.u64(1..5)),
            };
            let stream = rng.u64(0..streams).to_string();
            // They wait for the next call: the one that there is ends, so that there is one.
            endpoint.inject(Operation::GetMedia, Some(&stream), fault);
        }
    }
    std::future::pending::<()>().await;
}

async fn produce(stream: LocalStream, bytes: usize, every: Duration, offset: Duration, kept: usize) {
    let payload = vec![7; bytes / 25];
    let start = Instant::now() + offset;
    for n in 0_u32.. {
        sleep_until(start + every * n).await;
        let document =
            Document::new(Shape::Producer).video_track(1).cluster_time(u64::from(n)).tag("n", &n.to_string());
        let document = (0..25).fold(document, |document, i| document.block(1, i * 40, i == 0, &payload));
        stream.push(&document);
        if n as usize >= kept {
            stream.expire(1);
        }
    }
}

fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// The lag in ms of a reader that fell so far behind that the endpoint dropped fragments before they were sent.
const SKIPPED: u64 = u64::MAX / 2;

/// How late what was pushed has come, on the clock that both processes share.
fn lag(fragment: &Fragment) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let pushed = fragment.server_time().unwrap().as_millis();
    Duration::from_millis((now as u64).saturating_sub(pushed as u64))
}

fn ordinal(fragment: &Fragment) -> u64 {
    fragment.tags().get("n").unwrap().parse().unwrap()
}

/// What all streams of a run have come to.
#[derive(Debug, Default)]
struct Total {
    fragments: AtomicU64,
    bytes: AtomicU64,
    /// In milliseconds; first that of all, then of what came since somebody asked.
    worst: AtomicU64,
    lately: AtomicU64,
}

/// Reads streams until they are told to stop. Each fragment once, in order, whole, or it panics.
fn read(kvs: &KinesisVideo, streams: u64, total: &Arc<Total>, overloads: bool) -> (JoinSet<()>, Vec<StopHandle>) {
    let (mut tasks, mut stops) = (JoinSet::new(), Vec::new());
    for n in 0..streams {
        let live = kvs.live(n.to_string()).start(Start::Now).read_timeout(Duration::from_secs(10));
        let mut fragments = live.fragments();
        stops.push(fragments.stop_handle());
        let total = Arc::clone(total);
        tasks.spawn(async move {
            let mut last = None;
            while let Some(fragment) = fragments.try_next().await.unwrap() {
                assert_eq!(fragment.end_reason(), FragmentEnd::Trailer, "stream {n}");
                let ordinal = ordinal(&fragment);
                // A reader that has fallen behind by more than is kept is what load() looks for.
                let is_next = last.is_none_or(|last| ordinal == last + 1);
                assert!(is_next || overloads && last < Some(ordinal), "stream {n}: {ordinal} behind {last:?}");
                if !is_next {
                    total.lately.fetch_max(SKIPPED, Ordering::Relaxed);
                }
                // What was pushed before it was asked for is late by nature.
                if last.is_some() {
                    let lag = lag(&fragment).as_millis() as u64;
                    total.worst.fetch_max(lag, Ordering::Relaxed);
                    total.lately.fetch_max(lag, Ordering::Relaxed);
                }
                last = Some(ordinal);
                total.fragments.fetch_add(1, Ordering::Relaxed);
                total.bytes.fetch_add(fragment.raw().len() as u64, Ordering::Relaxed);
            }
        });
    }
    (tasks, stops)
}

async fn end(mut tasks: JoinSet<()>, stops: Vec<StopHandle>) {
    stops.iter().for_each(StopHandle::stop);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Streams of 1 Mbit/s for so long: how late a fragment was at worst, behind a beginning in which all
/// connect at once, and what a stream took of memory.
async fn run(streams: u64, seconds: u64) -> (Duration, f64) {
    let other = OtherProcess::start(&[streams, MEGABIT as u64, 1000, 5, 0]);
    let before = resident();
    let total = Arc::new(Total::default());
    let (tasks, stops) = read(&other.kvs(), streams, &total, true);
    sleep(Duration::from_secs(5)).await;
    total.lately.store(0, Ordering::Relaxed);
    sleep(Duration::from_secs(seconds)).await;
    let memory = mib(resident().saturating_sub(before)) / streams as f64;
    let lately = total.lately.load(Ordering::Relaxed);
    let lag = Duration::from_millis(lately);
    let worst = if lately == SKIPPED { "so late that fragments were skipped".into() } else { format!("{lag:?} late") };
    let fragments = total.fragments.load(Ordering::Relaxed);
    println!(
        "{streams} streams, {seconds} s: {fragments} fragments, {:.0} MB/s, at worst {worst}, {memory:.3} MiB each",
        total.bytes.load(Ordering::Relaxed) as f64 / 1e6 / (seconds + 5) as f64,
    );
    end(tasks, stops).await;
    (lag, memory)
}

/// A thousand for a minute; then more and more, until one falls behind.
async fn load() {
    let (streams, seconds) = (setting("KVS_SOAK_STREAMS", 1000), setting("KVS_SOAK_SECONDS", 60));
    let (lag, memory) = run(streams, seconds).await;
    // Each fragment in order, whole and once: else it has panicked by now.
    assert!(lag < Duration::from_secs(1), "a fragment was {lag:?} late: it has fallen behind");
    let aim = 0.5 + 2.0 * mib(MEGABIT as u64);
    assert!(memory <= aim, "{memory:.3} MiB each; the aim is {aim:.3}");
    println!("the aim of at most {aim:.3} MiB each is kept");
    let mut holds = streams;
    loop {
        let more = holds + streams / 4;
        if run(more, seconds / 6 + 5).await.0 >= Duration::from_secs(1) {
            break;
        }
        holds = more;
    }
    println!("this machine holds {holds} streams of 1 Mbit/s, their endpoint included, before one falls behind");
}

/// Faults of all sorts over a hundred streams: nothing lost, nothing twice, flat memory, nothing left.
async fn faults() {
    let seconds = setting("KVS_SOAK_FAULT_SECONDS", 600);
    let other = OtherProcess::start(&[100, 10_000, 500, 400, 100]);
    let metrics = Handle::current().metrics();
    let (tasks_before, files_before) = (metrics.num_alive_tasks(), files());
    let kvs = other.kvs();
    let total = Arc::new(Total::default());
    let (tasks, stops) = read(&kvs, 100, &total, false);
    // All that grows only once has grown by then.
    sleep(Duration::from_secs(seconds / 10)).await;
    let (mut samples, mut ticks) = (Vec::new(), interval(Duration::from_millis(250)));
    let end_at = Instant::now() + Duration::from_secs(seconds - seconds / 10);
    while Instant::now() < end_at {
        ticks.tick().await;
        samples.push(resident());
    }
    let mean = |samples: &[u64]| samples.iter().sum::<u64>() as f64 / samples.len() as f64;
    let (first, last) = samples.split_at(samples.len() / 2);
    let growth = mean(last) / mean(first);
    end(tasks, stops).await;
    drop(kvs);
    let fragments = total.fragments.load(Ordering::Relaxed);
    println!(
        "100 streams with faults, {seconds} s: {fragments} fragments, {:.1} MiB resident, the last half {:+.1} % of the first",
        mean(&samples) / f64::from(1 << 20),
        (growth - 1.0) * 100.0,
    );
    assert!(growth <= 1.05, "memory has grown");
    // All have come to the end of what there was, but for what the last fault held up.
    assert!(fragments >= 100 * (seconds * 2).saturating_sub(120), "{fragments} fragments are too few");
    // What hyper has still to close.
    for _ in 0..100 {
        if metrics.num_alive_tasks() <= tasks_before && files() <= files_before {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let (tasks, files) = (metrics.num_alive_tasks(), files());
    println!("left: {} tasks, {} files", tasks.saturating_sub(tasks_before), files.saturating_sub(files_before));
    assert!(tasks <= tasks_before && files <= files_before, "not all is gone");
}
