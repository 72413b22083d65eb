//! `kvs inspect`.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::Value;

use super::{Lab, assert_shown};
use crate::support::bodies::{CAPTURES, archive_body, bodies, capture, live_body, producer_document, stamp};

/// Inspects standard input.
fn inspect(lab: &Lab, body: &[u8], arguments: &[&str]) -> Output {
    let mut kvs = lab.kvs();
    kvs.arg("inspect").args(arguments).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kvs.spawn().unwrap();
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

#[tokio::test(flavor = "multi_thread")]
async fn every_member_is_printed() {
    let lab = Lab::new().await;
    let body = producer_document(1).to_bytes(&stamp(1), 5);
    let output = inspect(&lab, &body, &["--json", "--packets"]);
    assert!(output.status.success() && output.stderr.is_empty());
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

#[tokio::test(flavor = "multi_thread")]
async fn faults_skipped_bytes_and_errors_are_printed() {
    let lab = Lab::new().await;
    let lines = json(&inspect(&lab, &archive_body(), &["--json"]));
    let fault = serde_json::json!({
        "index": 1, "fault": { "id": 4000, "message": "not there", "fragment_number": stamp(2).number.as_str() }
    });
    assert_eq!(lines[1], fault);
    let named = |name: &str| bodies().into_iter().find(|(known, _)| *known == name).unwrap().1;
    let lines = json(&inspect(&lab, &named("behind the end"), &["--json"]));
    assert_eq!(lines[1]["skipped"]["length"], 4);
    let output = inspect(&lab, &named("damaged"), &["--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error = &json(&output).pop().unwrap()["error"];
    assert_eq!((&error["kind"], &error["offset"]), (&"Malformed".into(), &2712.into()));
    assert_eq!(error["path"], "Segment/0x6E6F");
    // It is told to people as well.
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("error: standard input: malformed media: ") && told.lines().count() <= 3, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_does_not_depend_on_the_chunk_size() {
    let lab = Lab::new().await;
    for (name, body) in bodies() {
        let whole = inspect(&lab, &body, &["--json", "--packets"]);
        for chunk in ["1", "13", "4096"] {
            let other = inspect(&lab, &body, &["--json", "--packets", "--chunk", chunk]);
            assert_eq!(other, whole, "{name}, {chunk}");
        }
    }
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        assert_eq!(inspect(&lab, &body, &["--json", "--chunk", "999"]), inspect(&lab, &body, &["--json"]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_for_people() {
    let lab = Lab::new().await;
    std::fs::write(lab.path("archive.mkv"), archive_body()).unwrap();
    let (_, broken) = bodies().into_iter().find(|(name, _)| *name == "damaged").unwrap();
    std::fs::write(lab.path("broken.mkv"), broken).unwrap();
    let lines = [
        "inspect door.mkv --until \"1 fragment\"",
        "inspect front-door --start earliest --until \"2 fragments\"",
        "inspect archive.mkv --packets",
        "inspect archive.mkv --json",
        "inspect broken.mkv",
        "inspect broken.mkv --resync",
        "inspect call.mkv --until \"1 fragment\"",
        "inspect notes.mkv --json",
        "inspect nothing.mkv",
        "inspect missing.mkv",
        "inspect no-such-stream",
        "inspect front-door --resync",
        "inspect door.mkv --checkpoint here --chunk 5",
        "inspect door.mkv --json --tree",
    ];
    assert_shown("inspect", &lab.session(&lines).await);

    let text = String::from_utf8(lab.run("inspect --tree archive.mkv").await.stdout).unwrap();
    assert!(text.contains("\n  tag ordinal = \"1\"\n") && text.contains("\nSegment 0x18538067 @41"), "{text}");
}

/// Text from the media cannot command the terminal, and DEL is not lost in JSON.
#[tokio::test(flavor = "multi_thread")]
async fn control_characters_are_escaped() {
    let lab = Lab::new().await;
    let document = producer_document(1).tag("door\u{1b}[31m", "bell\u{7} \u{7f} \u{9b}31m é");
    std::fs::write(lab.path("odd.mkv"), document.to_bytes(&stamp(1), 0)).unwrap();
    let text = String::from_utf8(lab.run("inspect odd.mkv").await.stdout).unwrap();
    assert!(text.contains("\n  tag door\\u{1b}[31m = \"bell\\u{7} \\u{7f} \\u{9b}31m é\"\n"), "{text}");
    let lines = json(&lab.run("inspect odd.mkv --json").await);
    let tag = serde_json::json!(["door\u{1b}[31m", "bell\u{7} \u{7f} \u{9b}31m é"]);
    assert_eq!(lines[0]["tags"].as_array().unwrap().last(), Some(&tag));
}

/// What is known is printed while the rest of the body is awaited.
#[tokio::test(flavor = "multi_thread")]
async fn lines_are_not_held_back() {
    use std::io::{BufRead, BufReader};

    let lab = Lab::new().await;
    let mut kvs = lab.kvs();
    kvs.args(["inspect", "-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = kvs.spawn().unwrap();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for ordinal in 1..=3 {
        stdin.write_all(&live_body([producer_document(ordinal)])).unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"index\":{}", ordinal - 1)), "{line}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_it_silently() {
    use std::io::{BufRead, BufReader};

    let lab = Lab::new().await;
    // More than a pipe holds.
    let body: Vec<u8> = (0..400).flat_map(|_| live_body((1..=3).map(producer_document))).collect();
    std::fs::write(lab.path("long.mkv"), body).unwrap();
    let mut kvs = lab.kvs();
    kvs.args(["inspect", "long.mkv", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kvs.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(line.starts_with("{\"index\":0"), "{line}");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A fragment is acknowledged when it is printed, and the next run continues after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_is_kept() {
    let lab = Lab::new().await;
    let first = "inspect front-door --start earliest --until \"1 fragment\" --checkpoint here --json";
    let numbers =
        |output: &Output| -> Vec<_> { json(output).iter().map(|line| line["fragment_number"].clone()).collect() };
    let mut seen = numbers(&lab.run(first).await);
    assert_eq!(seen.len(), 1);
    seen.extend(numbers(&lab.run(&first.replace("1 fragment", "3 fragments")).await));
    assert_eq!(seen, numbers(&lab.run("inspect door.mkv --json").await));
}
