//! A worker of a fleet: `fleet TABLE [LEASE_SECONDS [SAVE_SECONDS [NAME]]]`, as often as you like, on any machine.
//! It reads its share of the table's streams until Ctrl-C or SIGTERM, and prints what happens, with the time since this
//! machine was started. Without arguments, two workers in this process share four streams, and one leaves.
#![allow(clippy::print_stdout, reason = "a program")]

use std::fmt::Display;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kinesis_video::fleet::{DynamoLeases, FleetLeases, Lease, LeaseStore, MemoryLeases};
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{CheckpointStore, KinesisVideo, Result, Start};
use tokio::task::JoinSet;
use tokio::time::sleep;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(table) = arguments.first() else { return demo().await };
    let seconds = |at: usize| {
        let seconds = arguments.get(at).and_then(|text| text.parse().ok());
        Duration::from_secs_f64(seconds.unwrap_or(10.0))
    };
    // Region, credentials and endpoints are those of the environment.
    let config = aws_config::load_defaults(aws_config::BehaviorVersion::latest()).await;
    let kvs = KinesisVideo::new(&config);
    let mut fleet = kvs.fleet(DynamoLeases::new(&config, table)).lease_duration(seconds(1)).save_interval(seconds(2));
    if let Some(name) = arguments.get(3) {
        fleet = fleet.name(name);
    }
    work(&kvs, fleet.leases(), interrupted()).await
}

/// Works on all leases that this worker gets, until it is to end. Then leaves the fleet, so that nothing is repeated.
async fn work(kvs: &KinesisVideo, mut leases: FleetLeases, end: impl Future<Output = ()>) -> Result<()> {
    let mut tasks = JoinSet::new();
    let mut end = std::pin::pin!(end);
    loop {
        tokio::select! {
            lease = leases.try_next() => match lease? {
                Some(lease) => drop(tasks.spawn(read(kvs.clone(), lease))),
                None => break,
            },
            Some(_) = tasks.join_next() => {}
            () = &mut end => break,
        }
    }
    leases.leave().await?;
    tasks.join_all().await;
    Ok(())
}

/// Reads a stream for as long as this worker has its lease.
async fn read(kvs: KinesisVideo, lease: Lease) {
    let line = Line { worker: lease.worker().to_owned(), epoch: lease.epoch(), stream: lease.stream().to_string() };
    let position = lease.load().await.ok().flatten();
    line.print(
        "claimed",
        position.as_ref().and_then(|position| position.number()).map_or("-", |number| number.as_str()),
    );
    let (mut fragments, acks) = kvs.live(lease.stream()).start(Start::Earliest).checkpointed(lease);
    let ended = loop {
        match fragments.next().await {
            Some(Ok(fragment)) => {
                // Your own work. A sink that refuses a smaller epoch is safe from workers that wake up too late.
                line.print("fragment", fragment.number().map_or("-", |number| number.as_str()));
                acks.done(&fragment.position());
            }
            Some(Err(error)) => break error.to_string(),
            None => break fragments.end_reason().map(|reason| reason.to_string()).unwrap_or_default(),
        }
    };
    drop(fragments);
    match acks.close().await {
        Ok(_) => line.print("ended", ended),
        Err(error) => line.print("unsaved", error),
    }
}

/// The members with which each line begins.
struct Line {
    worker: String,
    epoch: u64,
    stream: String,
}

impl Line {
    fn print(&self, event: &str, value: impl Display) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let Self { worker, epoch, stream } = self;
        println!("{}{:09} {worker} {epoch} {stream} {event} {value}", now.tv_sec, now.tv_nsec);
    }
}

/// Two workers on this machine. The streams of the first go to the second when it leaves.
async fn demo() -> Result<()> {
    let endpoint = LocalEndpoint::start().await?;
    let table = MemoryLeases::default();
    for name in ["attic", "door", "hall", "yard"] {
        endpoint.loop_media(name, &include_bytes!("../tests/data/camera.mkv")[..])?;
        table.add(&name.into()).await?;
    }
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let worker = async |name: &str, seconds: u64| {
        let fleet = kvs.fleet(table.clone()).lease_duration(Duration::from_secs(1)).name(name);
        work(&kvs, fleet.leases(), sleep(Duration::from_secs(seconds))).await
    };
    let (first, second) = tokio::join!(worker("first", 4), worker("second", 8));
    first.and(second)
}

async fn interrupted() {
    #[cfg(unix)]
    if let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = term.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}
