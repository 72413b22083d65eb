//! The example programs, as a user runs them.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use kinesis_video::local::{Document, LocalEndpoint, Shape, Stamp, fragment_number};
use serde_json::Value;

use crate::support::bodies::{CAPTURES, archive_body, bodies, capture, producer_document, stamp};

/// The command of an example. `cargo test` has built it beside this binary.
fn program(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    Command::new(path.join("examples").join(name))
}

fn inspect(body: &[u8], arguments: &[&str]) -> Output {
    let mut child = program("inspect")
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = body.to_vec();
    let writer = std::thread::spawn(move || {
        // The program may stop reading before the end.
        let _ = stdin.write_all(&body);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn json(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn inspect_prints_every_member() {
    let body = producer_document(1).to_bytes(&stamp(1), 5);
    let output = inspect(&body, &["--json", "--packets"]);
    assert!(output.status.success());
    let lines = json(&output);
    let expected = serde_json::json!({
        "index": 0, "offset": 0, "length": body.len(), "end": "trailer",
        "fragment_number": stamp(1).number.as_str(),
        "server_timestamp_ms": 1_511_852_110_126_u64, "producer_timestamp_ms": 1_511_852_109_513_u64,
        "millis_behind_now": 5, "continuation_token": stamp(1).number.as_str(),
        "tags": [["ordinal", "1"]],
        "tracks": [{
            "number": 1, "uid": 1, "type": "video", "name": "kinesis_video", "codec_id": "V_MPEG4/ISO/AVC",
            "codec_private_length": 40, "width": 640, "height": 480, "sampling_frequency": null, "channels": null,
            "default_duration_ns": null,
        }],
        "packets": { "total": 5, "keyframes": 1, "bytes": 500, "by_track": { "1": 5 } },
        "first_timecode_ns": 1_000_000_000, "last_timecode_ns": 1_800_000_000,
    });
    assert_eq!(lines[0], expected);
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[2]["timecode_ns"], 1_200_000_000);
    // The members have this order, for human readers.
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(r#"{"index":0,"offset":0,"length":"#), "{text}");
}

#[test]
fn inspect_prints_faults_skipped_bytes_and_errors() {
    let lines = json(&inspect(&archive_body(), &["--json"]));
    let fault = serde_json::json!({
        "index": 1, "fault": { "id": 4000, "message": "not there", "fragment_number": stamp(2).number.as_str() }
    });
    assert_eq!(lines[1], fault);
    let named = |name: &str| bodies().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let lines = json(&inspect(&named("behind the end"), &["--json"]));
    assert_eq!(lines[1]["skipped"]["length"], 4);
    let output = inspect(&named("damaged"), &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error = &json(&output).pop().unwrap()["error"];
    assert_eq!((&error["kind"], &error["offset"]), (&"Malformed".into(), &2712.into()));
    assert_eq!(error["path"], "Segment/0x6E6F");
}

#[test]
fn inspect_does_not_depend_on_the_chunk_size() {
    for (name, body) in bodies() {
        let whole = inspect(&body, &["--json", "--packets"]);
        for chunk in ["1", "13", "4096"] {
            let other = inspect(&body, &["--json", "--packets", "--chunk", chunk]);
            assert_eq!(other, whole, "{name}, {chunk}");
        }
    }
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        assert_eq!(inspect(&body, &["--json", "--chunk", "999"]), inspect(&body, &["--json"]), "{name}");
    }
}

#[test]
fn inspect_reads_files_and_refuses_missing_ones() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), producer_document(1).to_bytes(&stamp(1), 5)).unwrap();
    let output = program("inspect").arg("--tree").arg(file.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n  tag ordinal = \"1\"\n") && text.contains("\nSegment 0x18538067 @41"), "{text}");
    let missing = program("inspect").arg("no/such/file").output().unwrap();
    assert!(!missing.status.success() && !missing.stderr.is_empty());
}

#[test]
fn local_endpoint_prints_its_url() {
    let mut child = program("local_endpoint")
        .args(["--stream", concat!("camera=", env!("CARGO_MANIFEST_DIR"), "/tests/data/camera.mkv")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let port = line.trim_end().strip_prefix("listening on http://127.0.0.1:").map(str::parse::<u16>);
    assert!(matches!(port, Some(Ok(1..))), "{line}");
}

#[test]
fn quickstart_serves_and_saves_a_file() {
    let (dir, file) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let body = crate::support::bodies::live_body((1..=3).map(producer_document));
    std::fs::write(file.path(), &body).unwrap();
    let output = program("quickstart").arg("--file").arg(file.path()).arg("--out").arg(dir.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(
        text.lines().last().unwrap().starts_with(&format!("3 items, {} bytes, 3 files, 0 gaps", body.len())),
        "{text}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_to_wav_saves_conversations() {
    let dir = tempfile::tempdir().unwrap();
    let call = |name: &str| {
        let call = crate::support::conversation::scenarios().into_iter().find(|(found, _)| *found == name).unwrap().1;
        let path = dir.path().join(name);
        std::fs::write(&path, crate::support::conversation::audio_body(&call)).unwrap();
        path
    };
    let run = |name: &str, arguments: &[&str], folder: &str| -> (Vec<String>, String) {
        let out = dir.path().join(folder);
        let run =
            program("connect_to_wav").arg(call(name)).args(arguments).arg("--out").arg(out.join("c")).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let mut names: Vec<_> =
            std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        (names, String::from_utf8(run.stdout).unwrap())
    };
    let parties = |middle: &str| ["FROM", "TO"].map(|party| format!("c{middle}-AUDIO_{party}_CUSTOMER.wav")).to_vec();
    let (names, told) = run("the agent comes late", &[], "stereo");
    assert_eq!(names, ["c.wav"]);
    assert!(
        told.contains("contact a: from customer 5.120 s (0.000 s of silence filled), to customer 5.120 s (2.048 s)"),
        "{told}"
    );
    assert!(told.contains("1 contacts, 5 fragments; "), "{told}");
    assert_eq!(run("steady", &["--per-party"], "parties").0, parties(""));
    assert_eq!(run("steady", &["--per-fragment"], "fragments").0.len(), 10);
    let several = run("contacts", &["--stereo"], "several").0;
    assert_eq!(several, ["c-a-2.wav", "c-a.wav", "c-b.wav"]);
    assert_eq!(run("contacts", &["--per-party", "--contact", "b"], "b").0, parties(""));
    let output = program("connect_to_wav")
        .arg(call("steady"))
        .args(["--contact", "z", "--out"])
        .arg(dir.path().join("z"))
        .output();
    let output = output.unwrap();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("never appeared"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_killed_recorder_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = kinesis_video::local::LocalEndpoint::start().await.unwrap();
    let stream = endpoint.create_stream("call");
    let call = crate::support::conversation::steady(Some("a"), 0, 6);
    let mut run = program("connect_to_wav");
    run.args(["--stream", "call", "--out"]).arg(dir.path().join("call")).stdout(Stdio::null());
    run.env("AWS_ENDPOINT_URL", endpoint.url()).env("AWS_REGION", "us-west-2");
    run.env("AWS_ACCESS_KEY_ID", "local").env("AWS_SECRET_ACCESS_KEY", "local");
    let mut recorder = run.spawn().unwrap();
    let part = dir.path().join("call-a.wav.part");
    for (at, described) in (1..).zip(&call) {
        stream.push(&crate::support::conversation::audio_document(described));
        let there = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |there| there.len());
        for _ in 0..3000 {
            if there(&part) >= at * 8192 / 800 * 800 * 4 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    // The header may be written a moment after the samples.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    recorder.kill().unwrap(); // SIGKILL
    recorder.wait().unwrap();
    let frames = 6 * 8192 / 800 * 800;
    assert_eq!(crate::support::conversation::probe_wav(&part), [(2, frames); 2]);
    let heard = crate::support::conversation::read_audio(
        &crate::support::conversation::audio_body(&call),
        crate::support::bodies::Chunking::Whole,
    )
    .await;
    let said = crate::support::conversation::party_samples(&heard, Some("a"));
    let read = crate::support::conversation::wav_channels(&part);
    assert_eq!(read.len(), 2);
    for (read, said) in read.iter().zip(&said) {
        assert!(read[..] == said[..frames as usize]);
    }
}

/// Streams that start, end and fail do not affect each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_are_independent() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    for name in ["a", "b", "c"] {
        let stream = endpoint.create_stream(name);
        (1..=3).for_each(|ordinal| drop(stream.push(&producer_document(ordinal))));
    }
    let mut child = program("many_streams")
        .args(["--start", "earliest", "a", "nobody"])
        .env("AWS_ENDPOINT_URL", endpoint.url())
        .envs([("AWS_REGION", "us-west-2"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = tokio::task::spawn_blocking(move || {
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"+b\n+c\n-b\n").unwrap();
        // Reads until the report is printed.
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut report = String::new();
        while !report.contains("\nc: 3") && !report.starts_with("c: 3") {
            assert!(out.read_line(&mut report).unwrap() > 0, "{report}");
        }
        drop(stdin);
        (report, child.wait_with_output().unwrap())
    });
    let (report, output) = output.await.unwrap();
    assert!(output.status.success());
    assert!(report.contains("a: 3 fragments"), "{report}");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("nobody: not found: GetDataEndpoint: "), "{errors}");
    for name in ["a", "b", "c"] {
        assert!(errors.contains(&format!("{name}: stopped")), "{errors}");
    }
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
