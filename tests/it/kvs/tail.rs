//! `kvs tail`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use kinesis_video::local::{InjectedFault, Operation};
use serde_json::Value;

use super::{Lab, assert_shown, next_line, signal};
use crate::support::bodies::producer_document;

/// Longer than a fragment may take after a signal.
const STALL: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn each_fragment_is_a_line() {
    let lab = Lab::new().await;
    let lines = [
        "tail front-door --start earliest --until \"4 fragments\"",
        "tail front-door --start earliest --until \"1 fragment\" --json",
        "tail door.mkv",
        "tail plain.mkv --json -q",
        "tail front-door call --start earliest --until \"2 fragments\" -q --json",
    ];
    assert_shown("tail", &lab.session(&lines[..4]).await);
    // Several sources come in any order, each in its own.
    let output = lab.run(lines[4]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for name in ["front-door", "call"] {
        let numbers: Vec<_> =
            objects.iter().filter(|object| object["source"] == name).map(|object| &object["fragment_number"]).collect();
        assert!(numbers.len() == 2 && numbers[0].as_str() < numbers[1].as_str(), "{text}");
    }
    // Names are in front, in a column.
    let output = lab.run("tail door.mkv call.mkv -q").await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("door.mkv  2026-")).count(), 4, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("call.mkv  2017-")).count(), 10, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_and_failures_have_their_exit_codes() {
    let lab = Lab::new().await;
    let lines = ["tail empty --start earliest --idle 1s", "tail nothing.mkv", "tail nobody", "tail damaged.mkv"];
    assert_shown("tail_failures", &lab.session(&lines).await);
    // A source that fails does not end the others.
    let output = lab.run("tail nobody front-door --start earliest --until \"2 fragments\"").await;
    let (text, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(text.lines().filter(|line| line.starts_with("front-door  ")).count(), 2, "{text}");
    assert!(output.status.code() == Some(1) && told.contains("error: nobody: not found: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_signal_ends_it_in_order_and_a_closed_pipe_in_silence() {
    let lab = Lab::new().await;
    for name in ["INT", "TERM"] {
        let mut child = lab.start("tail front-door --start earliest --checkpoint door.checkpoint");
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let lines: Vec<_> = (0..5).map(|_| next_line(&mut out)).collect();
        assert!(lines[2].starts_with("-- gap of 26.0 s") && lines[4].starts_with("2026-"), "{lines:?}");
        signal(&child, name);
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{told}");
        assert!(told.contains("front-door: 4 fragments: stopped\nthe next run continues after fragment 9"), "{told}");
        std::fs::remove_file(lab.path("door.checkpoint")).unwrap();
    }
    // The second signal does not wait: here, for the fragment that is arriving, whose rest never comes.
    lab.endpoint.inject(Operation::GetMedia, Some("front-door"), InjectedFault::Stall { after: 3000, pause: STALL });
    let mut child = lab.start("tail front-door --start earliest");
    let mut told = BufReader::new(child.stderr.take().unwrap());
    tokio::time::sleep(Duration::from_millis(500)).await;
    signal(&child, "INT");
    tokio::time::sleep(Duration::from_millis(200)).await;
    signal(&child, "INT");
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!((status.code(), next_line(&mut told)), (Some(130), String::new()));

    let mut child = lab.start("tail door.mkv");
    drop(child.stdout.take());
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_warned_about() {
    let lab = Lab::new().await;
    for _ in 0..2 {
        lab.endpoint.inject(Operation::GetMedia, Some("front-door"), InjectedFault::Refuse("InternalFailure".into()));
    }
    let output = lab.run("tail front-door --start earliest --until \"1 fragment\"").await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let warnings: Vec<_> = told.lines().filter(|line| line.starts_with("warning: front-door: ")).collect();
    assert_eq!(warnings.len(), 2, "{told}");
    assert!(warnings[0].ends_with("(2nd try)") && warnings[1].ends_with("(3rd try)"), "{told}");
    let quiet = lab.run("tail front-door --start earliest --until \"1 fragment\" --quiet").await;
    assert!(quiet.stderr.is_empty());
}

/// The fragment numbers that `kvs tail` prints. It is killed after `kill_at` of them, and may print some more.
fn followed(mut child: Child, kill_at: usize) -> Vec<String> {
    let mut numbers = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        // The last line of a killed program may be cut.
        let Ok(object) = serde_json::from_str::<Value>(&line) else { break };
        numbers.push(object["fragment_number"].as_str().unwrap().to_owned());
        if numbers.len() == kill_at {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    numbers
}

/// Kills the program at fifty random points. Nothing is lost, and only unsaved fragments are repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_after_it_was_killed() {
    let lab = Lab::new().await;
    let stream = lab.endpoint.create_stream("killed");
    let checkpoint = lab.path("tail.checkpoint");
    let follow = |more: &[&str]| {
        let mut tail = lab.kvs();
        tail.args(["tail", "killed", "--start", "earliest", "--json", "--checkpoint"]).arg(&checkpoint).args(more);
        tail.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut rng = fastrand::Rng::with_seed(7);
    let mut pushed: Vec<String> = Vec::new();
    let mut push = |count: usize| {
        pushed.extend((0..count).map(|n| stream.push(&producer_document(n as u32 + 1)).number.to_string()));
    };
    let mut lines = Vec::<String>::new();
    for _ in 0..50 {
        push(40);
        let child = follow(&[]);
        let count = rng.usize(1..40);
        let got = tokio::task::spawn_blocking(move || followed(child, count)).await.unwrap();
        // The program may have been killed before the first save.
        let saved = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        let saved = saved.strip_prefix("kvs1:").and_then(|rest| rest.split(':').next()).unwrap_or_default().to_owned();
        lines.extend(got);
        // Every saved fragment was printed before.
        assert!(saved.is_empty() || lines.contains(&saved), "{saved} was saved but not printed");
    }
    let rest = follow(&["--idle", "4s"]);
    lines.extend(tokio::task::spawn_blocking(move || followed(rest, usize::MAX)).await.unwrap());
    assert_eq!(pushed.len(), 50 * 40);
    // The numbers increase, except at the 50 restarts. Each is printed at least once.
    let steps_back = lines.windows(2).filter(|two| two[0] >= two[1]).count();
    assert!(steps_back <= 50, "{steps_back}");
    let unique: std::collections::BTreeSet<_> = lines.iter().cloned().collect();
    assert!(unique.into_iter().eq(pushed.iter().cloned()), "lost something");
    eprintln!("{} lines for {} fragments", lines.len(), pushed.len());
    // Only the fragments since the last save are repeated, and saves follow one another.
    assert!(lines.len() < pushed.len() + 50 * 40, "{} lines", lines.len());
}
