//! Chromium shows the page: live, stored, a call, a download, with a quiet console and no violation of the policy.
//!
//! `make proof` and `make judges` install Chromium, and set `KVS_ROUNDS` or `KVS_JUDGES`, without which nothing is shown.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use kinesis_video::local::{ConnectCall, LocalEndpoint};
use serde_json::{Value, json};

use super::show;
use crate::support::bodies::CAMERA;
use crate::support::endpoint::unlimited;

/// The longest time that a test waits for the browser.
const PATIENCE: Duration = Duration::from_secs(60);

/// Chromium, driven over pipes by its own protocol.
struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    sent: u64,
    /// What the console, the network and the policy complain of.
    complaints: Vec<String>,
}

impl Browser {
    fn start(profile: &Path) -> Self {
        let mut shell = Command::new("sh");
        // The protocol uses the descriptors 3 and 4.
        shell.args(["-c", "exec chromium \"$@\" 3<&0 4>&1 1>&2", "sh", "--headless", "--no-sandbox", "--disable-gpu"]);
        shell.args(["--no-first-run", "--mute-audio", "--disable-background-networking", "--disable-component-update"]);
        shell.args(["--disable-sync", "--disable-dev-shm-usage", "--autoplay-policy=no-user-gesture-required"]);
        shell.arg("--remote-debugging-pipe").arg(format!("--user-data-dir={}", profile.display())).arg("about:blank");
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, messages) = channel();
        let mut replies = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            loop {
                let mut message = Vec::new();
                if !matches!(replies.read_until(0, &mut message), Ok(1..)) {
                    return;
                }
                message.pop();
                if sender.send(serde_json::from_slice(&message).unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        let commands = child.stdin.take().unwrap();
        let mut this = Self { child, commands, messages, session: None, sent: 0, complaints: Vec::new() };
        let targets = this.call("Target.getTargets", json!({}));
        let page = targets["targetInfos"].as_array().unwrap().iter().find(|target| target["type"] == "page").unwrap();
        let attached = this.call("Target.attachToTarget", json!({ "targetId": page["targetId"], "flatten": true }));
        this.session = attached["sessionId"].as_str().map(Into::into);
        for domain in ["Page", "Runtime", "Log"] {
            this.call(&format!("{domain}.enable"), json!({}));
        }
        this
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.sent += 1;
        let mut command = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        loop {
            let message = self.messages.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no answer to {method}"));
            if message["id"] == self.sent {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, message: &Value) {
        let is_bad = match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" | "Page.javascriptDialogOpening" => true,
            "Runtime.consoleAPICalled" => matches!(message["params"]["type"].as_str(), Some("error" | "warning")),
            "Log.entryAdded" => matches!(message["params"]["entry"]["level"].as_str(), Some("error" | "warning")),
            _ => false,
        };
        if is_bad {
            self.complaints.push(message.to_string());
        }
    }

    /// Returns the value of an expression in the page.
    fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        self.call("Runtime.evaluate", parameters)["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    fn wait(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.value(expression) != true {
            if begun.elapsed() > PATIENCE {
                let told = self.value("document.body.innerText");
                panic!("never true: {expression}\n{told}\n{:?}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn look(url: &str, folder: &Path) {
    let mut page = Browser::start(&folder.join("profile"));
    let saved = folder.join("saved");
    std::fs::create_dir(&saved).unwrap();
    let downloads = json!({ "behavior": "allow", "downloadPath": saved });
    page.call("Browser.setDownloadBehavior", downloads);
    page.call("Page.navigate", json!({ "url": format!("{url}/#camera") }));
    // Live: the picture moves, after at most two fragments.
    page.wait("!!window.kvs?.page.player?.isLive && video.getVideoPlaybackQuality().totalVideoFrames > 0");
    assert!(page.value("kvs.page.player.marks.length").as_u64().unwrap() <= 3);
    page.wait("video.getVideoPlaybackQuality().totalVideoFrames > 30 && video.videoWidth === 320");
    page.wait("lag.textContent.endsWith('s behind') && tags.innerText.includes('hall')");
    // Stored: from a chosen moment, on the producer's clock.
    page.wait("kvs.timeline.newest - kvs.timeline.spans[0][0] > 4000");
    page.value("window.wanted = kvs.timeline.spans[0][0] + 1500; kvs.seek(wanted)");
    page.wait("kvs.page.player.mode === 'stored' && video.readyState >= 2 && kvs.page.player.time >= wanted - 50");
    assert_eq!(page.value("kvs.page.player.time < wanted + 20000"), true);
    page.wait("kvs.page.player.time > wanted + 500");
    // Back to live.
    page.value("document.getElementById('live').click()");
    page.wait("kvs.page.player.isLive && video.readyState >= 3 && !video.paused");
    // A download of what the timeline shows.
    page.value("document.getElementById('download').click()");
    page.wait("save.open && !mp4.disabled");
    page.value("mp4.click()");
    page.wait("!save.open");
    let begun = Instant::now();
    let is_whole = |path: &Path| path.extension().is_some_and(|extension| extension == "mp4");
    let file = loop {
        let mut files = std::fs::read_dir(&saved).unwrap().map(|entry| entry.unwrap().path());
        if let Some(file) = files.find(|path| is_whole(path)) {
            break file;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing was saved");
        std::thread::sleep(Duration::from_millis(50));
    };
    let entries = ["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv"];
    let probed = Command::new("ffprobe").args(entries).arg(file).output().expect("ffprobe runs");
    assert_eq!(String::from_utf8(probed.stdout).unwrap(), "stream,h264\nstream,aac\n");
    // A call: its waveform, and sound that goes on.
    page.value("location.hash = 'call'");
    page.wait("!wave.hidden && kvs.page.player?.time > 0 && title.textContent === 'call'");
    page.wait("kvs.page.player.pieces?.length > 1 && fragment.innerText.includes('Number')");
    // A name with a script is text.
    page.value("location.hash = encodeURIComponent('<img src=x onerror=alert(1)>')");
    page.wait("title.textContent === '<img src=x onerror=alert(1)>'");
    page.wait("message.innerText.includes('Nothing has arrived')");
    assert_eq!(page.value("document.querySelectorAll('img[src=x]').length"), 0);
    assert_eq!(page.complaints, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_shows_the_page() {
    let is_asked = ["KVS_ROUNDS", "KVS_JUDGES"].iter().any(|name| std::env::var_os(name).is_some());
    if !is_asked || Command::new("chromium").arg("--version").output().is_err() {
        eprintln!("KVS_ROUNDS and KVS_JUDGES are not set, or chromium is not installed: the page is not shown");
        return;
    }
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    endpoint.loop_media("camera", CAMERA).unwrap();
    endpoint.loop_call("call", &ConnectCall::new("a-contact"));
    endpoint.create_stream("<img src=x onerror=alert(1)>");
    show(&endpoint);
    let (url, folder) = (endpoint.url().to_owned(), tempfile::tempdir().unwrap());
    tokio::task::spawn_blocking(move || look(&url, folder.path())).await.unwrap();
}
