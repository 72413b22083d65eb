//! Fifty cameras that are put, read live and watched at once. `make proof` runs it.
//!
//! The endpoint, with its page, is a process of its own, so that its memory can be told apart. This process is the
//! cameras, the readers and the players. `KVS_WATCHED_CAMERAS` (50), `KVS_WATCHED_PLAYERS` (5) and
//! `KVS_WATCHED_SECONDS` (60) make it shorter.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it fails by panicking"
)]

mod other_process;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{SinkExt, TryStreamExt};
use kinesis_video::local::{LocalEndpoint, Quotas};
use kinesis_video::viewer::Viewer;
use kinesis_video::{Fragment, FragmentStream, KinesisVideo, Start, Timestamp};
use other_process::{OtherProcess, mib, resident, setting};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match std::env::args().any(|argument| argument == "endpoint") {
        true => runtime.block_on(endpoint()),
        false => runtime.block_on(watch()),
    }
}

/// The other process. It prints its URL.
async fn endpoint() {
    let quotas = Quotas::default().calls_per_second(None);
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    Viewer::new(KinesisVideo::new(&endpoint.sdk_config())).attach(&endpoint);
    for n in 0..setting("KVS_WATCHED_CAMERAS", 50) {
        endpoint.create_stream(&n.to_string());
    }
    println!("{}", endpoint.url());
    std::future::pending::<()>().await;
}

fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Makes eight seconds of a camera of 1 Mbit/s, one fragment a second.
async fn film() -> Arc<[Fragment]> {
    let source = "testsrc2=size=640x360:rate=25:duration=8";
    let made = Command::new("ffmpeg")
        .args([
            "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "25", "-bf",
            "0",
        ])
        .args(["-x264-params", "nal-hrd=cbr", "-b:v", "1M", "-minrate", "1M", "-maxrate", "1M", "-bufsize", "1M"])
        .args(["-cluster_time_limit", "900", "-f", "matroska", "-"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let film: Vec<Fragment> = FragmentStream::new(&made.stdout[..]).per_cluster(true).try_collect().await.unwrap();
    film.into()
}

#[derive(Default)]
struct Total {
    put: AtomicU64,
    read: AtomicU64,
    read_bytes: AtomicU64,
    /// The greatest time from the end of a fragment at the camera to its end at the reader, in milliseconds.
    worst_lag: AtomicU64,
    watched_bytes: AtomicU64,
}

/// Sends the film over and over, each fragment when its last picture would be taken.
async fn camera(kvs: KinesisVideo, stream: String, film: Arc<[Fragment]>, total: Arc<Total>, until: Instant) {
    let mut sink = kvs.put_media(stream).sink();
    let (start, began) = (Instant::now(), now_millis());
    let mut elapsed = Duration::ZERO;
    for fragment in film.iter().cycle() {
        let time = Timestamp::from_millis(began + elapsed.as_millis() as i64);
        elapsed += fragment.duration();
        if start + elapsed > until {
            break;
        }
        sleep_until(start + elapsed).await;
        sink.send(fragment.clone().with_producer_time(time)).await.unwrap();
        total.put.fetch_add(1, Ordering::Relaxed);
    }
    sink.close().await.unwrap();
    assert_eq!(sink.status().repeated, 0, "a connection broke");
}

async fn reader(kvs: KinesisVideo, stream: String, total: Arc<Total>) {
    let mut fragments = kvs.live(stream).start(Start::Earliest).fragments();
    while let Some(fragment) = fragments.try_next().await.unwrap() {
        let end = fragment.producer_time().unwrap().as_millis() + fragment.duration().as_millis() as i64;
        let lag = u64::try_from(now_millis() - end).unwrap_or(0);
        total.worst_lag.fetch_max(lag, Ordering::Relaxed);
        total.read.fetch_add(1, Ordering::Relaxed);
        total.read_bytes.fetch_add(fragment.raw().len() as u64, Ordering::Relaxed);
    }
}

/// Takes the live picture of a stream, as the page does.
async fn player(address: String, stream: String, total: Arc<Total>) {
    let mut socket = TcpStream::connect(&address).await.unwrap();
    let request = format!("GET /view/live?stream={stream} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 64 << 10];
    let length = socket.read(&mut buffer).await.unwrap();
    assert!(buffer[..length].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..length]));
    loop {
        let length = socket.read(&mut buffer).await.unwrap();
        assert!(length > 0, "the live picture of stream {stream} ended");
        total.watched_bytes.fetch_add(length as u64, Ordering::Relaxed);
    }
}

async fn watch() {
    let (cameras, players) = (setting("KVS_WATCHED_CAMERAS", 50), setting("KVS_WATCHED_PLAYERS", 5));
    let seconds = setting("KVS_WATCHED_SECONDS", 60);
    let film = film().await;
    let endpoint = OtherProcess::start(&[]);
    let (kvs, total) = (endpoint.kvs(), Arc::new(Total::default()));
    let (empty, own) = (endpoint.resident(), resident());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut putting = Vec::new();
    let mut reading = Vec::new();
    for n in 0..cameras {
        let stream = n.to_string();
        putting.push(tokio::spawn(camera(kvs.clone(), stream.clone(), Arc::clone(&film), Arc::clone(&total), until)));
        reading.push(tokio::spawn(reader(kvs.clone(), stream, Arc::clone(&total))));
        sleep(Duration::from_millis(20)).await;
    }
    sleep(Duration::from_secs(seconds / 2)).await;
    // What is stored grows with time, so viewers are told apart by what two moments add.
    let (before, stored) = (endpoint.resident(), total.read_bytes.load(Ordering::Relaxed));
    let address = endpoint.url.trim_start_matches("http://").to_owned();
    let watching: Vec<_> = (0..players)
        .map(|n| tokio::spawn(player(address.clone(), (n % cameras).to_string(), Arc::clone(&total))))
        .collect();
    sleep(Duration::from_secs(seconds / 4)).await;
    let (after, later) = (endpoint.resident(), total.read_bytes.load(Ordering::Relaxed));
    for camera in putting {
        camera.await.unwrap();
    }
    sleep(Duration::from_secs(3)).await;
    for task in watching.iter().chain(&reading) {
        assert!(!task.is_finished(), "a reader or a player ended");
        task.abort();
    }
    let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let grown = mib(later - stored);
    println!(
        "{cameras} cameras, {players} players, {seconds} s: {} fragments put, {} read, {:.1} MB/s, at worst {} ms late",
        of(&total.put),
        of(&total.read),
        of(&total.read_bytes) as f64 / 1e6 / seconds as f64,
        of(&total.worst_lag),
    );
    println!(
        "endpoint: {:.2} MiB per stream beyond what is stored, {:.2} MiB per player; this process: {:.2} MiB per camera \
         and its reader",
        (mib(before) - mib(empty) - mib(stored)).max(0.0) / cameras as f64,
        (mib(after) - mib(before) - grown).max(0.0) / players as f64,
        mib(resident().saturating_sub(own)) / cameras as f64,
    );
    assert_eq!(of(&total.put), of(&total.read), "each fragment comes out once");
    assert!(of(&total.watched_bytes) > 0, "the players saw nothing");
}
