//! Chromium plays recordings natively: it shows as many pictures as were sent.
//!
//! `make proof` installs Chromium, and sets `KVS_ROUNDS`, without which nothing is played.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::Value;

use super::corpus::{self, Film};
use super::remux::{Form, record};

/// Plays the film to its end, then looks at three times in it, and reports. Sound is off, so that playing needs no click.
const PAGE: &str = r#"<!doctype html><video id="v" muted width="160" height="120"></video><script>
const v = document.getElementById("v");
const report = (more) => {
  const quality = v.getVideoPlaybackQuality();
  fetch("/report", { method: "POST", body: JSON.stringify({
    shown: quality.totalVideoFrames, corrupted: quality.corruptedVideoFrames, duration: v.duration,
    width: v.videoWidth, audio: v.webkitAudioDecodedByteCount, ...more }) });
};
v.onerror = () => report({ error: v.error.message || "code " + v.error.code });
let shown = [];
const next = (now, picture) => { shown.push(picture.mediaTime); v.requestVideoFrameCallback(next); };
v.requestVideoFrameCallback(next);
v.onended = async () => {
  const total = v.getVideoPlaybackQuality().totalVideoFrames;
  const last = Math.max(...shown);
  const sought = [];
  for (const at of [0.75, 0.25, 0.5]) {
    v.currentTime = v.duration * at;
    await new Promise((done) => v.onseeked = done);
    sought.push(Math.abs(v.currentTime - v.duration * at) < 0.1 && v.readyState >= 2);
  }
  report({ shown: total, last, sought });
};
v.src = "/film";
v.play().catch((error) => report({ error: String(error) }));
</script>"#;

/// Serves the page and a film, with ranges, and passes on what the page reports.
struct Server {
    url: String,
    reports: Receiver<Value>,
}

impl Server {
    fn start(film: PathBuf) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (sender, reports) = channel();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let (film, sender) = (film.clone(), sender.clone());
                std::thread::spawn(move || answer(socket, &film, &sender));
            }
        });
        Self { url, reports }
    }
}

/// Answers one request. A browser that hangs up is no failure.
fn answer(mut socket: TcpStream, film: &Path, reports: &Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(socket.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let (mut length, mut from) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if let Some(range) = line.strip_prefix("range: bytes=") {
            let (start, end) = range.split_once('-')?;
            from = Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()));
        }
    }
    let (status, kind, more, body) = match request.split(' ').nth(1)? {
        "/" => ("200 OK", "text/html", String::new(), PAGE.as_bytes().to_vec()),
        "/film" => {
            let bytes = std::fs::read(film).ok()?;
            let (start, end) = from.unwrap_or((0, None));
            let end = end.map_or(bytes.len(), |end| (end + 1).min(bytes.len()));
            let range = format!("Content-Range: bytes {start}-{}/{}\r\nAccept-Ranges: bytes\r\n", end - 1, bytes.len());
            let status = if from.is_some() { "206 Partial Content" } else { "200 OK" };
            (status, "video/mp4", range, bytes.get(start..end)?.to_vec())
        }
        "/report" => {
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            reports.send(serde_json::from_slice(&body).ok()?).ok()?;
            ("204 No Content", "text/plain", String::new(), Vec::new())
        }
        _ => ("404 Not Found", "text/plain", String::new(), Vec::new()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n{more}\r\n"
    );
    socket.write_all(head.as_bytes()).ok()?;
    socket.write_all(&body).ok()
}

/// What Chromium reports of a film.
fn played(film: &Path) -> Value {
    let server = Server::start(film.to_owned());
    let profile = tempfile::tempdir().unwrap();
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"]);
    chromium.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    chromium.args(["--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"]);
    // Without it, headless Chromium ends when the page is loaded.
    chromium.arg("--remote-debugging-port=0").arg(format!("--user-data-dir={}", profile.path().display()));
    let mut child = chromium.arg(&server.url).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let report = server.reports.recv_timeout(Duration::from_secs(90));
    child.kill().unwrap();
    child.wait().unwrap();
    report.unwrap_or_else(|_| panic!("Chromium reports nothing of {} for 90 s", film.display()))
}

async fn assert_plays(film: &Film) {
    for form in [Form::Mp4, Form::Fragmented] {
        let folder = tempfile::tempdir().unwrap();
        let path = record(&film.body, form, folder.path()).await.unwrap().1[0].path().to_owned();
        let report = tokio::task::spawn_blocking(move || played(&path)).await.unwrap();
        let name = format!("{}, {form:?}: {report}", film.name);
        assert!(report.get("error").is_none(), "{name}");
        assert_eq!(report["shown"], film.tracks[0].packets.len(), "{name}");
        assert!(report["corrupted"] == 0 && report["width"] == 160, "{name}");
        assert_eq!(report["audio"].as_u64().unwrap() > 0, film.tracks.len() > 1, "{name}");
        assert_eq!(report["sought"], serde_json::json!([true, true, true]), "{name}");
        // The whole of the film was played.
        let times = || film.tracks.iter().flat_map(|track| &track.packets).map(|packet| packet.millis);
        let wanted = (times().fold(0.0, f64::max) - times().fold(f64::INFINITY, f64::min)) / 1000.0;
        let (duration, last) = (report["duration"].as_f64().unwrap(), report["last"].as_f64().unwrap());
        assert!((duration - wanted).abs() < 0.2 && duration - last < 0.3, "{wanted} s, {name}");
    }
}

#[tokio::test]
async fn chromium_shows_every_picture() {
    let is_installed = Command::new("chromium").arg("--version").output().is_ok();
    if std::env::var_os("KVS_ROUNDS").is_none() || !is_installed {
        eprintln!("KVS_ROUNDS is not set, or chromium is not installed: nothing is played in a browser");
        return;
    }
    assert_plays(&corpus::without_b_frames().await).await;
    assert_plays(&corpus::with_three_b_frames().await).await;
    assert_plays(&corpus::at_varying_rates().await).await;
    // What it cannot play is reported: it has no decoder of H.265.
    let folder = tempfile::tempdir().unwrap();
    let path = record(&corpus::h265().await.body, Form::Mp4, folder.path()).await.unwrap().1[0].path().to_owned();
    let report = tokio::task::spawn_blocking(move || played(&path)).await.unwrap();
    assert!(report.get("error").is_some() || report["width"] == 0, "{report}");
}
