//! The command `kvs`, as a user runs it.

mod clip;
mod completions;
mod doctor;
mod errors;
mod fleet;
mod frame;
mod frames;
mod images;
mod inspect;
mod list;
mod ls;
mod manners;
mod put;
mod record;
mod save;
mod serve;
mod shards;
mod tail;
mod url;
mod wav;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kinesis_video::local::{LocalEndpoint, LocalStream, Stamp, fragment_number};
use kinesis_video::{Fragment, Timestamp};

use crate::support::bodies::{CAMERA, bodies};
use crate::support::conversation::{audio_body, steady};
use crate::support::endpoint::unlimited;
use crate::support::footage;

/// When the fixtures begin: 2026-11-20 10:00:00 UTC.
pub const START: i64 = 1_795_168_800_000;

/// An endpoint with streams, and a folder with files. `kvs` runs in the folder and calls the endpoint.
///
/// | stream | has |
/// |---|---|
/// | `front-door` | four fragments of pictures, 320x240, of a second each; 26 s are missing before the third |
/// | `call` | a conversation of ten seconds, contact `a` |
/// | `empty` | nothing |
/// | `forgetful` | a retention of 0 hours |
///
/// | file | has |
/// |---|---|
/// | `door.mkv` | the payload of `front-door` |
/// | `call.mkv` | the payload of `call` |
/// | `plain.mkv` | pictures without any tag of the service, of several seconds in several Clusters |
/// | `damaged.mkv` | fragments; one of them is damaged |
/// | `notes.mkv` | no MKV, but text |
/// | `nothing.mkv` | no byte |
pub struct Lab {
    pub endpoint: LocalEndpoint,
    pub door: LocalStream,
    dir: tempfile::TempDir,
    /// Where DynamoDB is, if there is one.
    table_url: Option<String>,
}

impl Lab {
    pub async fn new() -> Self {
        let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
        let door = endpoint.create_stream("front-door");
        let file = footage::fragment(&CAMERA.into()).await;
        let mut payload = Vec::new();
        for (n, document) in (1..).zip(footage::groups(&file)) {
            let gap = if n > 2 { 26_000 } else { 0 };
            let server = START + i64::from(n - 1) * 1000 + gap;
            let number = fragment_number(n, server as u64);
            let time = Timestamp::from_millis;
            let stamp = Stamp { number, server_time: time(server), producer_time: time(server - 500) };
            payload.extend_from_slice(&document.to_bytes(&stamp, 0));
            door.push_stamped(&document, stamp);
        }
        let call = audio_body(&steady(Some("a"), 0, 10));
        endpoint.serve_payload("call", call.clone());
        drop(endpoint.create_stream("empty"));
        endpoint.create_stream("forgetful").set_retention(std::time::Duration::ZERO);
        let dir = tempfile::tempdir().unwrap();
        let damaged = bodies().into_iter().find(|(name, _)| *name == "damaged").unwrap().1;
        let files: [(&str, &[u8]); 6] = [
            ("door.mkv", &payload),
            ("call.mkv", &call),
            ("plain.mkv", CAMERA),
            ("damaged.mkv", &damaged),
            ("notes.mkv", b"Milk, bread, and a film for the camera.\n"),
            ("nothing.mkv", b""),
        ];
        for (name, bytes) in files {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        Self { endpoint, door, dir, table_url: None }
    }

    /// Has `kvs` use DynamoDB at a URL.
    pub fn set_table_url(&mut self, url: &str) {
        self.table_url = Some(url.into());
    }

    /// The folder in which `kvs` runs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The command with an environment that is the same on every machine.
    pub fn kvs(&self) -> Command {
        let mut kvs = Command::new(env!("CARGO_BIN_EXE_kvs"));
        kvs.current_dir(self.dir()).env_clear();
        // Coverage and sanitizers write where these say.
        kvs.envs(std::env::vars_os().filter(|(name, _)| ["PATH", "LD_LIBRARY_PATH"].iter().any(|kept| name == *kept)));
        kvs.env("AWS_ENDPOINT_URL", self.endpoint.url()).env("AWS_REGION", "us-west-2").env("TZ", "UTC");
        kvs.env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local").env("HOME", self.dir());
        kvs.env("AWS_EC2_METADATA_DISABLED", "true");
        kvs.envs(self.table_url.iter().map(|url| ("AWS_ENDPOINT_URL_DYNAMODB", url)));
        kvs
    }

    /// Runs one command line, such as `tail front-door --start earliest`.
    pub async fn run(&self, line: &str) -> Output {
        let mut kvs = self.kvs();
        kvs.args(words(line));
        output_of(kvs.stdin(Stdio::null())).await
    }

    /// Starts a command whose output is read while it runs.
    pub fn start(&self, line: &str) -> Child {
        let mut kvs = self.kvs();
        kvs.args(words(line)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs command lines one after the other, and returns what a terminal would show.
    ///
    /// Lines on standard error begin with `! `, and an exit code other than 0 follows as `? `.
    pub async fn session(&self, lines: &[&str]) -> String {
        let mut shown = String::new();
        for line in lines {
            let output = self.run(line).await;
            shown += &format!("$ kvs {line}\n");
            shown += &self.mask(&String::from_utf8(output.stdout).unwrap());
            for line in self.mask(&String::from_utf8(output.stderr).unwrap()).lines() {
                shown += &format!("! {line}\n");
            }
            if !output.status.success() {
                shown += &format!("? {}\n", output.status.code().unwrap());
            }
            shown += "\n";
        }
        shown
    }

    /// Replaces what differs from run to run.
    pub fn mask(&self, text: &str) -> String {
        let text = text.replace(self.endpoint.url(), "[URL]");
        let text = self.table_url.iter().fold(text, |text, url| text.replace(url, "[TABLE URL]"));
        text.replace(&self.dir().display().to_string(), "[DIR]")
    }
}

/// Runs a command to its end. One that does not end is killed, and fails the test.
pub async fn output_of(kvs: &mut Command) -> Output {
    let child = kvs.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let mut waiting = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    tokio::select! {
        output = &mut waiting => output.unwrap(),
        () = tokio::time::sleep(std::time::Duration::from_secs(120)) => {
            drop(Command::new("kill").arg("-9").arg(id.to_string()).status());
            panic!("{kvs:?} does not end: {:?}", waiting.await.unwrap());
        }
    }
}

/// Waits until a condition holds, at most for half a minute.
pub async fn until(condition: impl Fn() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the condition does not hold after half a minute");
}

/// Sends a signal, such as "INT", to a running command.
pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(status.unwrap().success());
}

/// Reads the next line that a running command prints.
pub fn next_line(output: &mut impl std::io::BufRead) -> String {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    line
}

/// Replaces request ids and times of this run.
fn mask_varying(text: &str) -> String {
    let mut words: Vec<String> = text.split(' ').map(ToOwned::to_owned).collect();
    for at in 1..words.len() {
        // A request id ends at the line, which is marked.
        let (id, rest) = words[at].split_at(words[at].len().min(36));
        if words[at - 1] == "request" && id.bytes().filter(|&byte| byte == b'-').count() == 4 {
            words[at] = format!("[ID]{rest}");
        }
    }
    words.join(" ")
}

/// Splits a command line at spaces that are not inside of double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Compares what is shown with the snapshot of this name. `INSTA_UPDATE=always` renews it.
///
/// Request ids and ages are masked.
pub fn assert_shown(name: &str, shown: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"request [0-9a-f-]{36}", "request [ID]");
    settings.add_filter(r"request [0-9A-F]{52}", "request [ID]");
    settings.add_filter(r"[\d.]+ (ms|s|min \d+ s|h \d+ min|d \d+ h) behind", "[AGE] behind");
    settings.add_filter(r#""behind_now_ms":\d+"#, r#""behind_now_ms":[AGE]"#);
    settings.add_filter(r"[\d.]+ [KMG]?i?B/s", "[RATE]");
    settings.bind(|| insta::assert_snapshot!(name, shown));
}

/// The fragments of a file.
pub async fn fragments_of(path: &Path) -> Vec<Fragment> {
    crate::support::bodies::fragments(&std::fs::read(path).unwrap().into()).await
}
