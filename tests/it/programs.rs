//! The example programs, as a user runs them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use kinesis_video::local::{Document, LocalEndpoint, Shape, Stamp, fragment_number};

/// The command of an example. `cargo test` has built it beside this binary.
fn program(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    Command::new(path.join("examples").join(name))
}

/// Runs an example, which must end by itself, and returns what it printed.
fn output(name: &str, arguments: &[&Path]) -> String {
    let output = program(name).args(arguments).stdin(Stdio::null()).output().unwrap();
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

/// Saves a range of an archive as files, images and a list.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archive_window_shows_stored_fragments() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let door = endpoint.create_stream("door");
    let camera = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/camera.mkv")).unwrap();
    let fragments = crate::support::bodies::fragments(&camera.into()).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    // Fragments of a minute ago. The third arrived half a minute late.
    let times: Vec<i64> = [0, 4000, 34_000].iter().map(|millis| now - 60_000 + millis).collect();
    for (n, (fragment, millis)) in (1..).zip(fragments.iter().cycle().zip(&times)) {
        let time = kinesis_video::Timestamp::from_millis(*millis);
        let number = fragment_number(n, *millis as u64);
        let stamp = Stamp { number, server_time: time, producer_time: time };
        let track = fragment.tracks()[0].clone();
        let document = Document::new(Shape::Ffmpeg).codec_private(track.codec_private().unwrap());
        let begins = fragment.packets().next().unwrap().timecode_ns();
        let pictures = fragment.packets().filter(|packet| packet.track_number() == track.number());
        let document = pictures.fold(document.video_track(track.number()), |document, packet| {
            let millis = (packet.timecode_ns() - begins) / 1_000_000;
            document.block(track.number(), millis as i16, packet.is_key(), packet.payload())
        });
        door.push_stamped(&document, stamp);
    }
    let folder = tempfile::tempdir().unwrap();
    let window = async |arguments: &[&str]| {
        let mut window = program("archive_window");
        window.args(["--stream", "door"]).args(arguments).current_dir(folder.path());
        window.env("AWS_ENDPOINT_URL", endpoint.url()).env("AWS_REGION", "us-west-2").env("TZ", "UTC");
        window.env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
        let output = tokio::task::spawn_blocking(move || window.output().unwrap()).await.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let files = |dir: &str| std::fs::read_dir(folder.path().join(dir)).unwrap().count();

    let (is_well, out, told) = window(&["--start", "2 minutes ago", "--list"]).await;
    assert!(is_well && out.lines().count() == 3 && told.starts_with("3 fragments, "), "{out}{told}");
    let second = out.lines().nth(1).unwrap().split("  ").nth(1).unwrap().to_owned();
    // The range begins with the second, by its own time.
    let (_, out, _) = window(&["--start", &second, "--end", "now", "--by", "producer", "--list"]).await;
    assert_eq!(out.lines().count(), 2, "{out}");

    let (is_well, _, told) = window(&["--start", "5m ago", "--mkv", "files"]).await;
    assert!(is_well && files("files") == 3, "{told}");
    assert!(told.contains("3 of 3 fragments") && told.contains("1 gaps and other discontinuities"), "{told}");
    assert!(told.contains(": gap of 2"), "{told}");
    let (is_well, _, told) = window(&["--start", "5m ago", "--jpeg", "pictures", "--ratio", "10"]).await;
    assert!(is_well && files("pictures") >= 6, "{told}");
    assert!(told.contains("3 of 3 fragments"), "{told}");

    for arguments in
        [&["--start", "someday", "--list"][..], &["--start", "1m ago"], &["--start", "1m ago", "--list", "--hls"]]
    {
        let (is_well, _, told) = window(arguments).await;
        assert!(!is_well && told.contains("error: "), "{arguments:?}: {told}");
    }
}
