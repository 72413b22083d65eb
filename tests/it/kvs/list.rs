//! `kvs list`.

use kinesis_video::Timestamp;
use kinesis_video::local::{Document, Shape, Stamp, fragment_number};
use serde_json::Value;

use super::{Lab, START, assert_shown};

const RANGE: &str = "--start 2026-11-20T09:59:50Z --end 2026-11-20T10:01:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_listed_with_its_gaps() {
    let lab = Lab::new().await;
    let of_stream = format!("list front-door {RANGE}");
    let json = format!("{of_stream} --json --quiet");
    let lines =
        [of_stream.as_str(), &json, "list door.mkv", "list plain.mkv", "list door.mkv --end 2026-11-20T10:00:00Z"];
    assert_shown("list", &lab.session(&lines).await);
    // A file has the same fragments, but for their sizes: those of a listing include the service's tags.
    let only_numbers = |output: &[u8]| -> Vec<String> {
        let text = String::from_utf8(output.to_vec()).unwrap();
        text.lines().map(|line| line.split_whitespace().last().unwrap().to_owned()).collect()
    };
    let (stream, file) = (lab.run(&of_stream).await, lab.run("list door.mkv").await);
    assert_eq!(only_numbers(&stream.stdout), only_numbers(&file.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stored_is_told_with_its_own_code() {
    let lab = Lab::new().await;
    let lines = [
        "list empty --start earliest --end 2026-11-20T10:00:00Z",
        "list front-door --start 2026-11-20T08:00:00Z --end 2026-11-20T09:00:00Z",
        "list forgetful --start 2026-11-20T08:00:00Z --end 2026-11-20T09:00:00Z",
        "list nobody --start 2026-11-20T08:00:00Z --end 2026-11-20T09:00:00Z",
        "list nothing.mkv",
        "list notes.mkv",
        "list damaged.mkv",
        "list door.mkv --start 2026-11-20T11:00:00Z",
        "list front-door --start now --end \"1h ago\" --quiet",
        "list front-door --plot door.jpg",
        "list front-door --until 10s",
    ];
    let shown = lab.session(&lines).await;
    let at = shown.find("--start is after --end: ").unwrap();
    let rest = &shown[at..];
    let times = rest[..rest.find('\n').unwrap()].to_owned();
    assert_shown("list_errors", &shown.replace(&times, "--start is after --end: [NOW] and [AN HOUR AGO]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_hour_is_the_default() {
    let lab = Lab::new().await;
    let output = lab.run("list front-door").await;
    let told = String::from_utf8(output.stderr).unwrap();
    // The stream has nothing of the hour in which the test runs.
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.starts_with("front-door: the last hour so far; --start chooses another time\n"), "{told}");
    assert!(told.contains("nothing is stored of front-door from ") && told.contains("--start earliest"), "{told}");
    let output = lab.run("list front-door --end 2026-11-20T10:30:00Z").await;
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 5);
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("front-door: the last hour before --end; "));
    let output = lab.run("list front-door --start earliest --json").await;
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 5);
}

/// The service sometimes lists no duration. Then the distance of earlier fragments tells what a gap is.
#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_those_of_the_producers_clock() {
    let lab = Lab::new().await;
    let stream = lab.endpoint.create_stream("jitter");
    let document = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame");
    // Each second a fragment of a single frame. They arrive late and together; the fourth begins 5 s after the third.
    for (n, (producer, server)) in (1..).zip([(0, 900), (1000, 2900), (2000, 2950), (7000, 7100), (8000, 8900)]) {
        let time = |millis: i64| Timestamp::from_millis(START + millis);
        let number = fragment_number(n, time(server).as_millis() as u64);
        stream.push_stamped(&document, Stamp { number, server_time: time(server), producer_time: time(producer) });
    }
    for clock in ["server", "producer"] {
        let output = lab.run(&format!("list jitter {RANGE} --clock {clock} --json")).await;
        let objects: Vec<Value> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), 6, "{objects:?}");
        assert_eq!(objects[3]["gap_ms"], 4000);
        assert_eq!(objects[3]["start_time"], "2026-11-20T10:00:03.000Z");
        assert_eq!(objects[3]["end_time"], "2026-11-20T10:00:07.000Z");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("5.0 s of 1 min 10 s covered (7.1 %), 1 gap of 4.0 s"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plots_are_drawn_of_streams_and_files() {
    let lab = Lab::new().await;
    for (source, name) in [(format!("front-door {RANGE}"), "door.svg"), ("plain.mkv".into(), "new/plain.png")] {
        let output = lab.run(&format!("list {source} --plot {name}")).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.ends_with(&format!("drawn in {name}\n")), "{told}");
    }
    let svg = std::fs::read_to_string(lab.path("door.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"), "{svg}");
    for text in
        ["front-door", "26.0 s", "4 fragments", "covered, 1 gap", "10:00:10", "2026-11-20", "UTC", "stored", "gap"]
    {
        assert!(svg.contains(text), "{text} is not in {svg}");
    }
    let png = image::open(lab.path("new/plain.png")).unwrap();
    assert_eq!((png.width(), png.height()), (1200, 620));
    // Nothing found draws nothing, and a folder that cannot be is an error.
    let output = lab.run("list nothing.mkv --plot nothing.svg").await;
    assert!(output.status.code() == Some(3) && !lab.path("nothing.svg").exists());
    let output = lab.run("list door.mkv --plot notes.mkv/door.svg").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("error: cannot create the folder notes.mkv"));
}
