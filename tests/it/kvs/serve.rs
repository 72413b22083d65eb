//! `kvs serve`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;

use super::{Lab, assert_shown, output_of, signal};

/// A running `kvs serve`, and its URL.
struct Served {
    child: Child,
    stdout: BufReader<ChildStdout>,
    url: String,
}

impl Served {
    fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut kvs = lab.kvs();
        kvs.arg("serve").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = kvs.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.strip_suffix('\n').and_then(|line| line.strip_prefix("listening on ")).unwrap_or(&line).into();
        Self { child, stdout, url }
    }

    /// Sends a signal, and returns the exit code and what was printed after the first line.
    fn end(mut self, name: &str) -> (Option<i32>, String) {
        signal(&self.child, name);
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (self.child.wait().unwrap().code(), text)
    }
}

/// Runs a command line on the served streams, without credentials, and returns its lines of JSON.
async fn read(lab: &Lab, served: &Served, line: &str) -> Vec<Value> {
    let mut kvs = lab.kvs();
    kvs.args(super::words(line)).env_remove("AWS_ENDPOINT_URL").args(["--json", "--endpoint-url", &served.url]);
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        kvs.env_remove(name);
    }
    let output = output_of(&mut kvs).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_prints_its_url() {
    let lab = Lab::new().await;
    let camera = concat!("camera=", env!("CARGO_MANIFEST_DIR"), "/tests/data/camera.mkv");
    let mut served = Served::start(&lab, &["--stream", camera]);
    let port = served.url.strip_prefix("http://127.0.0.1:").map(str::parse::<u16>);
    assert!(matches!(port, Some(Ok(1..))), "{}", served.url);
    served.child.kill().unwrap();
    served.child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_loops_and_calls_are_served() {
    let lab = Lab::new().await;
    let served =
        Served::start(&lab, &["--stream", "door=door.mkv", "--loop", "camera=plain.mkv", "--call", "call", "--quotas"]);
    let door = read(&lab, &served, "inspect door --start earliest --until \"4 fragments\"").await;
    let file = read(&lab, &served, "inspect door.mkv").await;
    let numbers = |lines: &[Value]| lines.iter().map(|line| line["fragment_number"].clone()).collect::<Vec<_>>();
    assert_eq!(numbers(&door), numbers(&file));
    let camera = read(&lab, &served, "inspect camera --until \"1 fragment\"").await;
    assert_eq!((camera[0]["tracks"][0]["width"].as_u64(), camera.len()), (Some(320), 1));
    let call = read(&lab, &served, "inspect call --until \"1 fragment\"").await;
    assert_eq!(call[0]["tracks"][0]["name"], "AUDIO_FROM_CUSTOMER");
    let contact = serde_json::json!(["ContactId", "a-contact"]);
    assert!(call[0]["tags"].as_array().unwrap().contains(&contact), "{}", call[0]);
    let (code, told) = served.end("INT");
    let (told, url) = told.rsplit_once("to read from it: export AWS_ENDPOINT_URL=").unwrap();
    let expected =
        "serving door: door.mkv, as it is\nserving camera: plain.mkv, in a loop\nserving call: calls of ten seconds\n";
    assert!(code == Some(130) && told == expected && url.starts_with("http://127.0.0.1:"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_it() {
    let lab = Lab::new().await;
    let served = Served::start(&lab, &["--loop", "camera=plain.mkv"]);
    let (code, told) = served.end("TERM");
    assert!(code == Some(130) && told.starts_with("serving camera: plain.mkv, in a loop\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_told() {
    let lab = Lab::new().await;
    let lines = [
        "serve --stream door=missing.mkv",
        "serve --loop door=missing.mkv",
        "serve --loop door=notes.mkv",
        "serve --loop door=nothing.mkv",
        "serve --stream door",
    ];
    assert_shown("serve", &lab.session(&lines).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told() {
    let lab = Lab::new().await;
    let output = lab.run(&format!("serve --port {}", lab.endpoint.port())).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&lab.endpoint.port().to_string()) && told.contains("address already in use"), "{told}");
    assert!(told.lines().count() <= 3, "{told}");
}
