//! `kvs record`.

use std::time::Duration;

use kinesis_video::local::{InjectedFault, Operation};

use super::{Lab, assert_shown, output_of, signal, until};
use crate::support::files::file_names;
use crate::support::footage::judged_pictures;

/// Longer than a fragment may take after a signal.
const STALL: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn live_a_range_and_a_file_give_the_same_pictures() {
    let lab = Lab::new().await;
    let lines = [
        "record front-door --start earliest --until \"4 fragments\" -o live.mp4",
        "record front-door --start 2026-11-20 --end \"2026-11-20 12:00\" -o range/door.mov",
        "record door.mkv -o door.mkv",
        "record door.mkv -o file.mkv --tags --gaps close --json",
        "record door.mkv -o hours.mp4 --every 15s --aligned --name \"door-{time}.mp4\" --fragmented",
        "record front-door --start 2026-11-19 --end \"2026-11-19 12:00\" -o none.mp4",
        "record door.mkv -o door.avi",
        "record door.mkv -o door.mp4 --tags",
        "record door.mkv -o door.mp4 --name same.mp4",
        "record call.mkv -o call.mp4",
        "record call.mkv -o call.mov",
        "record call.mkv -o call.wav",
        "record call.mkv -o call.aac",
        "record door.mkv --pipe \"cat > piped.mkv\"",
        "record door.mkv --pipe cat -o door.mp4",
    ];
    assert_shown("record", &lab.session(&lines).await);
    let pictures = |name: &str| judged_pictures(&std::fs::read(lab.path(name)).unwrap());
    let expected = pictures("live.mp4");
    assert_eq!(expected.len(), 60);
    for name in ["range/door.mov", "door-2.mkv", "file.mkv", "piped.mkv"] {
        assert_eq!(pictures(name), expected, "{name}");
    }
    let mut hours: Vec<_> = file_names(lab.dir()).into_iter().filter(|name| name.starts_with("door-20")).collect();
    hours.sort();
    assert_eq!(hours.iter().flat_map(|name| pictures(name)).collect::<Vec<_>>(), expected, "{hours:?}");
    assert!(!lab.path("none.mp4").exists() && !lab.path("none.mp4.part").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_end_before_the_media() {
    let lab = Lab::new().await;
    let told = lab.run("record door.mkv --pipe \"echo no space >&2; exit 3\"").await;
    let error = String::from_utf8(told.stderr).unwrap();
    assert!(told.status.code() == Some(1) && error.contains("(exit status: 3): no space"), "{error}");
    assert!(lab.run("record door.mkv --pipe \"head -c 100 > head.mkv\"").await.status.success());
    assert_eq!(std::fs::metadata(lab.path("head.mkv")).unwrap().len(), 100);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_recording_to_a_program_is_complete() {
    let lab = Lab::new().await;
    lab.endpoint.inject(Operation::GetMedia, None, InjectedFault::Stall { after: 20_000, pause: STALL });
    let mut kvs = lab.kvs();
    kvs.args(["record", "front-door", "--start", "earliest", "--pipe", "cat > piped.mkv && mv piped.mkv done.mkv"]);
    let child = kvs.spawn().unwrap();
    until(|| std::fs::metadata(lab.path("piped.mkv")).is_ok_and(|part| part.len() > 1000)).await;
    signal(&child, "INT");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(!judged_pictures(&std::fs::read(lab.path("done.mkv")).unwrap()).is_empty());
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_recording_is_complete() {
    let lab = Lab::new().await;
    lab.endpoint.inject(Operation::GetMedia, None, InjectedFault::Stall { after: 20_000, pause: STALL });
    let child = lab.start("record front-door --start earliest -o door.mp4");
    until(|| std::fs::metadata(lab.path("door.mp4.part")).is_ok_and(|part| part.len() > 1000)).await;
    signal(&child, "INT");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(!judged_pictures(&std::fs::read(lab.path("door.mp4")).unwrap()).is_empty());
    assert!(!lab.path("door.mp4.part").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_an_unfinished_file() {
    let lab = Lab::new().await;
    std::os::unix::fs::symlink("/dev/full", lab.path("full.mp4.part")).unwrap();
    // A file of another run is not touched: the name is taken.
    let output = output_of(lab.kvs().args(["record", "door.mkv", "-o", "full.mp4"])).await;
    assert!(output.status.success());
    assert!(lab.path("full-2.mp4").exists() && !lab.path("full.mp4").exists());
}
