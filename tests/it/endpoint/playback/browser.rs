//! Chromium plays sessions: natively, with hls.js and with dash.js, from a page of another site.
//!
//! `make judges` and `make proof` install Chromium and the players. Without `KVS_ROUNDS`, or `KVS_JUDGES` for stored media,
//! nothing is played.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kinesis_video::Clock;
use kinesis_video::service::playback::Discontinuities;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::players::{Footage, start};
use crate::support::endpoint::{now_millis, time};

/// Plays the session of the query, and reports at its end or after so many seconds of media.
const PAGE: &str = r#"<!doctype html><video id="v" muted width="160" height="120"></video>
<script src="/hls.js"></script><script src="/dash.js"></script><script>
const v = document.getElementById("v"), query = new URLSearchParams(location.search);
const url = query.get("url"), seconds = Number(query.get("seconds")), errors = [];
let reported = false;
const report = () => {
  if (reported) return;
  reported = true;
  const quality = v.getVideoPlaybackQuality();
  fetch("/report", { method: "POST", body: JSON.stringify({
    shown: quality.totalVideoFrames, corrupted: quality.corruptedVideoFrames, at: v.currentTime,
    audio: v.webkitAudioDecodedByteCount, width: v.videoWidth, errors }) });
};
v.onerror = () => { errors.push("video: " + v.error.message); report(); };
v.onended = report;
let first = null;
v.ontimeupdate = () => {
  if (first === null) first = v.currentTime;
  if (seconds && v.currentTime - first >= seconds) report();
};
setTimeout(report, (Number(query.get("patience"))) * 1000);
if (query.get("with") === "hls.js") {
  const hls = new Hls();
  hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) { errors.push(data.details); report(); } });
  hls.loadSource(url); hls.attachMedia(v); v.play();
} else if (query.get("with") === "dash.js") {
  const player = dashjs.MediaPlayer().create();
  player.on("error", (event) => { errors.push(JSON.stringify(event.error)); report(); });
  player.initialize(v, url, true);
} else {
  v.src = url;
  v.play().catch((error) => { errors.push(String(error)); report(); });
}
</script>"#;

/// The minified players, where npm has put them.
static SCRIPTS: LazyLock<Option<[Arc<[u8]>; 2]>> = LazyLock::new(|| {
    let folder = std::env::var_os("KVS_PLAYERS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/players/node_modules"), PathBuf::from);
    let read = |path: &str| std::fs::read(folder.join(path)).ok().map(Arc::from);
    Some([read("hls.js/dist/hls.min.js")?, read("dashjs/dist/modern/umd/dash.all.min.js")?])
});

/// Serves the page and the players, and passes on what the page reports.
struct Site {
    url: String,
    reports: UnboundedReceiver<Value>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (sender, reports) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, sender.clone()));
            }
        });
        Self { url, reports }
    }
}

/// Answers one request. A browser that hangs up is no failure.
async fn answer(socket: TcpStream, reports: UnboundedSender<Value>) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if socket.read_line(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let scripts = SCRIPTS.clone().expect("the players are installed");
    let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let (kind, body): (_, Arc<[u8]>) = match path {
        "/" => ("text/html", PAGE.as_bytes().into()),
        "/hls.js" => ("text/javascript", scripts[0].clone()),
        "/dash.js" => ("text/javascript", scripts[1].clone()),
        "/report" => {
            let lower = head.to_lowercase();
            let length =
                lower.split("content-length:").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            socket.read_exact(&mut body).await?;
            let _ = reports.send(serde_json::from_slice(&body).unwrap_or_default());
            ("text/plain", Arc::default())
        }
        _ => ("text/plain", Arc::default()),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    socket.write_all(&body).await
}

/// What Chromium reports of a session.
async fn played(with: &str, url: &str, seconds: u32) -> Value {
    let mut site = Site::start().await;
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = tokio::process::Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"]);
    // Without it, headless Chromium ends when the page is loaded.
    chromium.arg("--remote-debugging-port=0").arg(format!("--user-data-dir={}", profile.path().display()));
    let escaped = url.replace('&', "%26");
    let patience = 40 + seconds;
    chromium.arg(format!("{}?with={with}&seconds={seconds}&patience={patience}&url={escaped}", site.url));
    chromium.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = chromium.spawn().unwrap();
    let longest = Duration::from_secs(u64::from(patience) + 30);
    let report = tokio::time::timeout(longest, site.reports.recv()).await;
    child.kill().await.unwrap();
    report.ok().flatten().unwrap_or_else(|| panic!("Chromium reports nothing with {with}"))
}

/// True if a run in a browser is asked for and possible.
fn is_asked(variables: &[&str]) -> bool {
    let is_set = variables.iter().any(|variable| std::env::var_os(variable).is_some());
    let is_installed = Command::new("chromium").arg("--version").output().is_ok() && SCRIPTS.is_some();
    if !is_set || !is_installed {
        eprintln!("none of {variables:?} is set, or chromium or the players are not installed: nothing is played");
    }
    is_set && is_installed
}

#[tokio::test]
async fn chromium_plays_stored_media() {
    if !is_asked(&["KVS_JUDGES", "KVS_ROUNDS"]) {
        return;
    }
    let (endpoint, kvs) = start().await;
    let start = now_millis() - 60_000;
    let footage = Footage::with_audio().await;
    let door = endpoint.create_stream("door");
    let next = footage.store(&door, 1, start);
    footage.store(&door, next, start + 9_000);
    let range = || time(start - 1)..=time(start + 30_000);
    let marked = kvs.hls("door").on_demand(range()).discontinuities(Discontinuities::OnDiscontinuity);
    let hls = marked.url().await.unwrap();
    let dash = kvs.dash("door").on_demand(range()).url().await.unwrap();
    // Chromium's own player refuses FORCED on audio, which the service writes, so it plays a stream without audio.
    let pictures = Footage::pictures().await;
    pictures.store(&endpoint.create_stream("silent"), 1, start);
    let silent = kvs.hls("silent").on_demand(range()).url().await.unwrap();
    for (with, url, pictures) in [("hls.js", &hls, 120), ("dash.js", &dash, 120), ("native", &silent, 60)] {
        let report = played(with, url.as_str(), 0).await;
        let shown = report["shown"].as_u64().unwrap();
        // Where a player seeks, pictures are decoded twice.
        assert!(report["errors"] == serde_json::json!([]), "{with}: {report}");
        assert!((pictures..pictures + 15).contains(&shown), "{with}: {report}");
        let has_audio = report["audio"].as_u64().unwrap() > 0;
        assert!(has_audio != (with == "native") && report["corrupted"] == 0, "{with}: {report}");
    }
}

#[tokio::test]
async fn chromium_plays_live_and_replayed() {
    if !is_asked(&["KVS_ROUNDS"]) {
        return;
    }
    let (endpoint, kvs) = start().await;
    let footage = Footage::with_audio().await;
    endpoint.loop_media("door", footage.file.clone()).unwrap();
    endpoint.loop_media("silent", Footage::pictures().await.file).unwrap();
    let start = now_millis() - 60_000;
    footage.store(&endpoint.create_stream("past"), 1, start);
    let range = || time(start - 1)..=time(start + 30_000);
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (seconds, hour) = (120, Duration::from_secs(3600));
    let hls = kvs.hls("door").clock(Clock::Producer).expires(hour).url().await.unwrap();
    let dash = kvs.dash("door").clock(Clock::Producer).expires(hour).url().await.unwrap();
    let native = kvs.hls("silent").clock(Clock::Producer).expires(hour).url().await.unwrap();
    for (with, url) in [("hls.js", &hls), ("dash.js", &dash), ("native", &native)] {
        let report = played(with, url.as_str(), seconds).await;
        let shown = report["shown"].as_u64().unwrap();
        assert!(report["errors"] == serde_json::json!([]), "{with}: {report}");
        // Of 15 pictures a second, the machine may drop some.
        assert!(shown >= u64::from(seconds) * 14, "{with}: {report}");
    }
    let hls = kvs.hls("past").live_replay(range()).clock(Clock::Producer).expires(hour).url().await.unwrap();
    let dash = kvs.dash("past").live_replay(range()).url().await.unwrap();
    for (with, url) in [("hls.js", &hls), ("dash.js", &dash)] {
        let report = played(with, url.as_str(), 0).await;
        assert!(report["errors"] == serde_json::json!([]), "{with}: {report}");
        // dash.js begins near the end of what a manifest without an end lists.
        let least = if with == "dash.js" { 30 } else { 60 };
        assert!((least..75).contains(&report["shown"].as_u64().unwrap()), "{with}: {report}");
    }
}
