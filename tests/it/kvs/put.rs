//! `kvs put` and `kvs copy`.

use std::collections::BTreeMap;
use std::process::Stdio;

use kinesis_video::{Fragment, Packet};

use super::{Lab, assert_shown, fragments_of, output_of, signal};

/// The frames of each track.
fn frames(fragments: &[Fragment]) -> BTreeMap<u64, Vec<bytes::Bytes>> {
    let mut tracks = BTreeMap::<_, Vec<_>>::new();
    for packet in fragments.iter().flat_map(|fragment| fragment.packets().collect::<Vec<Packet>>()) {
        tracks.entry(packet.track_number()).or_default().push(packet.payload().clone());
    }
    tracks
}

/// The text without fragment numbers, which depend on the time of this run.
fn without_numbers(text: &str) -> String {
    let is_number = |word: &&str| word.len() > 40 && word.bytes().all(|byte| byte.is_ascii_digit());
    let words = text.split(|c: char| !c.is_ascii_digit()).filter(is_number);
    words.fold(text.to_owned(), |text, number| text.replace(number, "[NUMBER]"))
}

fn producer_times(fragments: &[Fragment]) -> Vec<i64> {
    fragments.iter().map(|fragment| fragment.producer_time().unwrap().as_millis()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_and_read_again() {
    let lab = Lab::new().await;
    let lines = [
        "put door.mkv nowhere",
        "put door.mkv new --create --retention 2",
        "put door.mkv new --create --start \"2026-11-20 11:00\" --json",
        "put plain.mkv plain --create --start \"2026-11-20 10:00\"",
        "put front-door new",
        "put - new --loop",
        "put none.mkv new",
        "put nothing.mkv new",
        "put notes.mkv new",
        "copy front-door front-door",
        "copy door.mkv new",
        "copy front-door copied --create --start earliest --until \"4 fragments\"",
        "copy call copied --start earliest --until \"2 fragments\" --json",
        "copy nowhere copied --start 2026-11-20 --end 2026-11-21",
    ];
    assert_shown("put", &without_numbers(&lab.session(&lines).await));
    let save = async |stream: &str, count: usize| {
        let name = format!("{stream}.mkv");
        let line = format!("save {stream} --start earliest --until \"{count} fragments\" -o {name}");
        let saved = lab.run(&line).await;
        assert!(saved.status.success(), "{saved:?}");
        fragments_of(&lab.path(&name)).await
    };
    let door = fragments_of(&lab.path("door.mkv")).await;
    let new = save("new", 8).await;
    assert_eq!(frames(&new[..4]), frames(&door));
    assert_eq!(frames(&new[4..]), frames(&door));
    assert_eq!(producer_times(&new[..4]), producer_times(&door));
    let moved: Vec<_> = producer_times(&door).iter().map(|time| time + 3_600_500).collect();
    assert_eq!(producer_times(&new[4..]), moved);
    let plain = fragments_of(&lab.path("plain.mkv")).await;
    let clusters = plain[0].elements().find("Segment/Cluster").count();
    assert_eq!(frames(&save("plain", clusters).await), frames(&plain));
    let copied = save("copied", 6).await;
    assert_eq!(frames(&copied[..4]), frames(&door));
    assert_eq!(producer_times(&copied[..4]), producer_times(&door));
    let call = fragments_of(&lab.path("call.mkv")).await;
    assert_eq!(frames(&copied[4..]), frames(&call[..2]));
    let tags = |fragment: &Fragment| format!("{:?}", fragment.tags());
    assert_eq!(copied[4..].iter().map(tags).collect::<Vec<_>>(), call[..2].iter().map(tags).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_put_as_it_comes() {
    use std::io::Write;
    let lab = Lab::new().await;
    let stream = lab.endpoint.create_stream("piped");
    let mut kvs = lab.kvs();
    kvs.args(["put", "-", "piped"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = kvs.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let plain = std::fs::read(lab.path("plain.mkv")).unwrap();
    let whole = fragments_of(&lab.path("plain.mkv")).await.remove(0);
    let second = whole.elements().find("Segment/Cluster").nth(1).unwrap();
    // Up to the beginning of the second Cluster, which ends the first.
    let (before, after) = plain.split_at(second.unwrap().offset() as usize + 12);
    input.write_all(before).unwrap();
    input.flush().unwrap();
    let kvs_of = kinesis_video::KinesisVideo::new(&lab.endpoint.sdk_config());
    let mut live = kvs_of.live("piped").start(kinesis_video::Start::Earliest).fragments();
    let next = futures::TryStreamExt::try_next(&mut live);
    let first = tokio::time::timeout(std::time::Duration::from_secs(60), next).await.expect("it arrives").unwrap();
    assert!(first.unwrap().producer_time().is_some());
    input.write_all(after).unwrap();
    drop(input);
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    drop(stream);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_loop_persists_what_was_sent() {
    use std::io::{BufRead, BufReader};
    let lab = Lab::new().await;
    drop(lab.endpoint.create_stream("looped"));
    let mut child = lab.start("put door.mkv looped --loop");
    let lines = BufReader::new(child.stdout.take().unwrap());
    let mut lines = tokio::task::spawn_blocking(move || {
        let mut lines = lines.lines();
        let first = lines.next().unwrap().unwrap();
        (first, lines)
    });
    let (first, rest) = (&mut lines).await.unwrap();
    assert!(first.contains("persisted"), "{first}");
    signal(&child, "INT");
    let count = tokio::task::spawn_blocking(move || rest.count()).await.unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    let told = String::from_utf8(output.stderr).unwrap();
    let expected = format!("{} to looped, {} persisted", counted(count + 1), count + 1);
    assert!(told.contains(&expected), "{told}, {count}");
}

#[cfg(unix)]
fn counted(count: usize) -> String {
    if count == 1 { "1 fragment".into() } else { format!("{count} fragments") }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_continues_after_its_checkpoint() {
    let lab = Lab::new().await;
    let line = "copy front-door twice --create --start earliest --checkpoint copy.checkpoint --until";
    for until in ["\"2 fragments\"", "\"2 fragments\""] {
        let output = lab.run(&format!("{line} {until}")).await;
        assert!(output.status.success(), "{output:?}");
    }
    let saved = lab.run("save twice --start earliest --until \"4 fragments\" -o twice.mkv").await;
    assert!(saved.status.success(), "{saved:?}");
    let door = fragments_of(&lab.path("door.mkv")).await;
    assert_eq!(frames(&fragments_of(&lab.path("twice.mkv")).await), frames(&door));
    assert!(lab.path("copy.checkpoint").exists());
    let mut elsewhere = lab.kvs();
    elsewhere.args(["copy", "front-door", "front-door", "--start", "earliest", "--until", "1 fragments"]);
    elsewhere.args(["--to-endpoint-url", "http://127.0.0.1:1"]);
    let output = output_of(&mut elsewhere).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
