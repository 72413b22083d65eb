//! The example programs, as a user runs them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The path of an example. `cargo test` has built it beside this binary.
pub fn program_path(name: &str) -> PathBuf {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join(name)
}

/// Runs an example, which must end by itself, and returns what it printed.
fn output(name: &str, arguments: &[&Path]) -> String {
    let output = Command::new(program_path(name)).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn quickstart_prints_three_fragments() {
    let text = output("quickstart", &[]);
    assert_eq!(text.matches(" packets, ").count(), 3, "{text}");
    assert_eq!(text.matches("\n  track 1: V_MPEG4/ISO/AVC\n  track 2: A_AAC\n").count(), 3, "{text}");
}

#[test]
fn resume_continues_after_the_first_run() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = dir.path().join("checkpoint");
    let text = output("resume", &[&checkpoint]);
    let times: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("run ")?.split_once(": ")).collect();
    assert_eq!(times.iter().map(|(run, _)| *run).collect::<Vec<_>>(), ["1", "1", "2", "2"], "{text}");
    // Each fragment comes once.
    assert!(times.windows(2).all(|two| two[0].1 < two[1].1), "{text}");
    assert!(std::fs::read_to_string(&checkpoint).unwrap().starts_with("kvs1:"));
}

#[test]
fn archive_reads_a_range_in_order() {
    let text = output("archive", &[Path::new("2")]);
    let mut lines: Vec<_> = text.lines().collect();
    let totals = lines.pop().unwrap();
    assert!(totals.starts_with(&format!("{} fragments, ", lines.len())) && lines.len() >= 2, "{text}");
    assert!(lines.is_sorted() && lines.iter().all(|line| line.ends_with(" packets")), "{text}");
}

#[test]
fn pictures_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/camera.mkv");
    let text = output("pictures", &[&camera, dir.path()]);
    assert!(text.starts_with("6 items, ") && text.contains(" 6 files, 0 gaps, in "), "{text}");
    for i in 0..6 {
        let picture = dir.path().join(format!("0-{i}.jpg"));
        let probe = ["-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0"];
        let found = Command::new("ffprobe").args(probe).arg(picture).output().unwrap();
        assert_eq!(String::from_utf8(found.stdout).unwrap().trim(), "mjpeg,160,120");
    }
}

#[test]
fn call_saves_both_parties() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("call.wav");
    let text = output("call", &[&file]);
    assert!(text.contains(" 1 files, 0 gaps, in "), "{text}");
    assert_eq!(crate::support::conversation::probe_wav(&file), [(2, 3 * 8000); 2]);
}

/// The second worker of the example continues what the first one has left.
#[test]
fn fleet_hands_streams_over() {
    let text = output("fleet", &[]);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let streams = |worker: &str, event: &str| {
        let found = lines.iter().filter(|words| words[1].starts_with(worker) && words[4] == event);
        found.map(|words| words[3]).collect::<BTreeSet<_>>()
    };
    let all = BTreeSet::from(["attic", "door", "hall", "yard"]);
    assert_eq!(streams("second", "fragment"), all, "{text}");
    assert!(!streams("first", "fragment").is_empty(), "{text}");
    assert_eq!(streams("first", "claimed"), streams("first", "ended"), "{text}");
    assert!(lines.iter().all(|words| words[4] != "unsaved"), "{text}");
}

#[test]
fn own_sink_writes_a_line_per_coded_frame() {
    let text = output("own_sink", &[]);
    assert_eq!(text.lines().count(), 124, "{text}");
    assert!(text.lines().all(|line| line.split(',').count() == 4), "{text}");
}

#[test]
fn many_streams_outlive_the_failure_of_one() {
    let text = output("many_streams", &[]);
    assert!(text.contains("attic: not found: GetDataEndpoint: "), "{text}");
    assert!(text.contains("door: 3 fragments\n") && text.contains("hall: 3 fragments\n"), "{text}");
}

#[test]
fn concurrency_finishes_every_fragment() {
    let text = output("concurrency", &[]);
    let done: Vec<_> = text.lines().filter(|line| line.ends_with(" is done")).collect();
    assert!(!done.is_sorted(), "{text}");
    let expected: BTreeSet<_> = (1..=8).map(|n| format!("fragment {n} is done")).collect();
    assert_eq!(done.iter().map(ToString::to_string).collect::<BTreeSet<_>>(), expected);
    assert!(done.len() == 8 && text.contains("the next process resumes after kvs1:"), "{text}");
}
