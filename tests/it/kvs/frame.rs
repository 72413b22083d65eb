//! `kvs frame`.

use std::process::Stdio;

use kinesis_video::Fragment;
use kinesis_video::local::{Document, Operation};

use super::{Lab, START, assert_shown, fragments_of, output_of, words};
use crate::support::files::file_names;

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_of_a_time_is_saved_and_printed() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "frame door.mkv --at \"2026-11-20 10:00:00.600\" --clock producer -o still.jpg",
            "frame front-door --at \"2026-11-20 10:00:00.600\" --clock producer -o stills/stream.jpg",
            "frame front-door --at 2026-11-20T10:00:01.100Z --size 160 -o small.PNG --json",
            "frame door.mkv --at 1795168801.1 --size 160 -o small.png --json",
            "frame front-door --at \"2026-11-20 10:00:15\" -o old.jpeg --quality 30",
            "frame front-door --at \"2026-11-20 10:00:15\" -o old.jpeg -q",
        ])
        .await;
    assert_shown("frame", &shown);
    // The same picture comes from the file and the stream, and nothing else is left.
    let read = |name: &str| std::fs::read(lab.path(name)).unwrap();
    assert_eq!(read("still.jpg"), read("stills/stream.jpg"));
    assert_eq!(read("small.PNG"), read("small.png"));
    assert!(read("still.jpg").starts_with(b"\xFF\xD8") && read("small.png").starts_with(b"\x89PNG"));
    assert_eq!(image::open(lab.path("small.png")).unwrap().into_rgb8().dimensions(), (160, 120));
    let pictures = file_names(lab.dir()).into_iter().filter(|name| !name.ends_with(".mkv"));
    assert_eq!(pictures.collect::<Vec<_>>(), ["old.jpeg", "small.PNG", "small.png", "still.jpg", "stills"]);
    // Each run on the stream listed once and fetched one fragment.
    for operation in [Operation::ListFragments, Operation::GetMediaForFragmentList] {
        assert_eq!(lab.endpoint.calls(operation, "front-door").len(), 4);
    }
    assert!(lab.endpoint.calls(Operation::GetMedia, "front-door").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_picture_it_says_why() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "frame front-door --at \"2026-11-20 09:00\" -o still.jpg",
            "frame door.mkv --at \"2026-11-20 09:00\" -o still.jpg",
            "frame door.mkv --at \"2026-11-20 10:00:25\" -o still.jpg",
            "frame door.mkv --at \"2026-11-21 10:00\" -o still.jpg",
            "frame call.mkv --at \"2026-11-21 10:00\" -o still.jpg",
            "frame nothing.mkv --at \"2026-11-21 10:00\" -o still.jpg",
            "frame empty --at \"2026-11-21 10:00\" -o still.jpg",
            "frame plain.mkv --at \"2026-11-21 10:00\" -o still.jpg",
            "frame notes.mkv --at \"2026-11-21 10:00\" -o still.jpg",
            "frame nobody --at \"2026-11-21 10:00\" -o still.jpg",
        ])
        .await;
    assert_shown("frame_nothing", &shown);
    assert!(file_names(lab.dir()).iter().all(|name| name.ends_with(".mkv")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_option_is_told() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "frame door.mkv -o still.jpg",
            "frame door.mkv --at \"1m ago\"",
            "frame door.mkv --at noonish -o still.jpg",
            "frame door.mkv --at now -o still.gif",
            "frame door.mkv --at now -o still.png --quality 50",
            "frame door.mkv --at now -o still.jpg --size 0x5",
        ])
        .await;
    assert_shown("frame_wrong", &shown);
}

/// The payload of the first fragments of `front-door`, as documents.
fn documents(fragments: &[Fragment]) -> Vec<Document> {
    use crate::support::footage::{document, packets};
    fragments.iter().map(|fragment| document(fragment, &packets(fragment))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_retains_nothing_is_read_live() {
    let lab = Lab::new().await;
    let fragments = fragments_of(&lab.path("door.mkv")).await;
    let stream = lab.endpoint.create_stream("live-only");
    for (document, n) in documents(&fragments[..3]).iter().zip(1..) {
        stream.push_stamped(document, crate::support::bodies::stamp_at(n, START + i64::from(n) * 1000, START));
    }
    stream.set_retention(std::time::Duration::ZERO);
    // The third fragment shows that the picture is one of the second.
    let output = lab.run("frame live-only --at \"2026-11-20 10:00:02.500\" -o still.jpg --json").await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["picture_index"], 7, "{printed}");
    assert_eq!(lab.endpoint.calls(Operation::GetMedia, "live-only").len(), 1);
    // The default of the service: nothing was ever sent.
    let output = lab.run("frame forgetful --at \"2026-11-21 10:00\" -o none.jpg").await;
    assert_eq!(output.status.code(), Some(3));
    assert_shown("frame_forgetful", &lab.mask(&String::from_utf8(output.stderr).unwrap()));
    stream.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_read_up_to_the_picture() {
    let lab = Lab::new().await;
    let mut kvs = lab.kvs();
    kvs.args(words("frame - --at \"2026-11-20 10:00:00.600\" --clock producer -o still.jpg"));
    let output = output_of(kvs.stdin(Stdio::from(std::fs::File::open(lab.path("door.mkv")).unwrap()))).await;
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shown, "still.jpg  2026-11-20 10:00:00.567 UTC  320x240\n");
}
