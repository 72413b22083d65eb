//! `kvs save`.

use std::io::BufReader;
use std::time::Duration;

use kinesis_video::local::{InjectedFault, Operation};

use super::{Lab, assert_shown, fragments_of, next_line, signal, until};
use crate::support::files::file_names;

/// Longer than a fragment may take after a signal.
const STALL: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn live_a_range_and_a_file_give_the_same_files() {
    let lab = Lab::new().await;
    let lines = [
        "save front-door --start earliest --until \"4 fragments\" -o live",
        "save front-door --start 2026-11-20 --end \"2026-11-20 12:00\" -o range",
        "save door.mkv -o file",
        "save door.mkv -o again.mkv",
        "save again.mkv --start 2026-11-20T10:00:20Z --name \"door-{server_ms}.mkv\" -o late --json",
    ];
    assert_shown("save", &lab.session(&lines).await);
    let names = |dir: &str| file_names(&lab.path(dir));
    assert_eq!(names("live").len(), 4);
    assert!(names("range") == names("live") && names("file") == names("live"));
    // The lag that the service reports differs; the media do not.
    for name in names("live") {
        let mut payloads = Vec::new();
        for dir in ["live", "range", "file"] {
            let fragments = fragments_of(&lab.path(dir).join(&name)).await;
            let packets = fragments[0].packets().map(|packet| packet.payload().clone());
            payloads.push(packets.collect::<Vec<_>>());
        }
        assert!(payloads[0].len() == 15 && payloads[0] == payloads[1] && payloads[0] == payloads[2]);
    }
    assert_eq!(std::fs::read(lab.path("again.mkv")).unwrap(), std::fs::read(lab.path("door.mkv")).unwrap());
    // The files of a folder are the one file again.
    let of_folder = lab.run("save file/ -o -").await;
    assert!(of_folder.status.success() && of_folder.stdout == std::fs::read(lab.path("door.mkv")).unwrap());
    assert_eq!(names("late"), ["door-1795168828000.mkv", "door-1795168829000.mkv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_output_gets_the_payload_and_other_formats_are_refused() {
    let lab = Lab::new().await;
    let output = lab.run("save door.mkv -o -").await;
    assert!(output.status.success() && output.stdout == std::fs::read(lab.path("door.mkv")).unwrap());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "4 fragments, 59.83 KiB\n");
    let lines = ["save door.mkv -o door.mp4", "save door.mkv -o - --json", "save door.mkv -o out --name {index}"];
    assert_shown("save_formats", &lab.session(&lines).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_and_failures_leave_no_file_under_its_final_name() {
    let lab = Lab::new().await;
    let lines = [
        "save empty --start earliest --idle 1s -o out",
        "save front-door --start \"5m ago\" --end now -o out",
        "save front-door --end now -o out",
        "save front-door --start now --end now -o out",
        "save forgetful --start \"5m ago\" --end now -o out",
        "save nobody --start \"5m ago\" --end now -o out.mkv",
        "save notes.mkv -o out.mkv",
        "save missing.mkv -o out",
        "save door.mkv -o notes.mkv/below",
        "save door.mkv --checkpoint c -o out.mkv",
        "save door.mkv --name {what} -o out",
    ];
    assert_shown("save_failures", &lab.session(&lines).await);
    assert!(!lab.path("out").exists() && !lab.path("out.mkv").exists());
    // What came before the damage is kept.
    let output = lab.run("save damaged.mkv -o kept.mkv").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(!fragments_of(&lab.path("kept.mkv")).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_finishes_the_file_at_hand() {
    let lab = Lab::new().await;
    // The second fragment arrives slowly.
    lab.endpoint.inject(Operation::GetMedia, Some("front-door"), InjectedFault::Stall { after: 20_000, pause: STALL });
    let mut child = lab.start("save front-door --start earliest -o live --json");
    let mut out = BufReader::new(child.stdout.take().unwrap());
    assert!(next_line(&mut out).starts_with("{\"path\":\"live/91343"));
    signal(&child, "INT");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(next_line(&mut out).starts_with("{\"output\":\"live\",\"fragments\":"));
    let names = file_names(&lab.path("live"));
    assert!(!names.is_empty() && names.iter().all(|name| name.ends_with(".mkv")), "{names:?}");

    // One file is complete after the signal, too.
    let child = lab.start("save front-door --start earliest -o one.mkv");
    let part = lab.path("one.mkv.part");
    until(|| std::fs::metadata(&part).is_ok_and(|part| part.len() > 0)).await;
    signal(&child, "TERM");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!part.exists() && !fragments_of(&lab.path("one.mkv")).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_continues_where_the_last_run_ended() {
    let lab = Lab::new().await;
    let run = async |line: &str| {
        let output = lab.run(line).await;
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    for source in ["front-door --start earliest", "door.mkv"] {
        run(&format!("save {source} --until \"3 fragments\" --checkpoint c -o first")).await;
        run(&format!("save {source} --until \"1 fragment\" --checkpoint c -o rest")).await;
        assert_eq!((file_names(&lab.path("first")).len(), file_names(&lab.path("rest")).len()), (3, 1));
        for gone in ["first", "rest"] {
            std::fs::remove_dir_all(lab.path(gone)).unwrap();
        }
        std::fs::remove_file(lab.path("c")).unwrap();
    }
    // A range continues, too.
    run("save front-door --start 2026-11-20 --end 2026-11-20T10:00:01Z --checkpoint c -o first").await;
    run("save front-door --start 2026-11-20 --end 2026-11-21 --checkpoint c -o rest").await;
    assert_eq!((file_names(&lab.path("first")).len(), file_names(&lab.path("rest")).len()), (2, 2));
}
