//! `kvs clip`.

use std::time::Duration;

use kinesis_video::Timestamp;
use kinesis_video::local::{InjectedFault, Operation, Stamp, fragment_number};

use super::{Lab, START, assert_shown, signal, until};
use crate::support::footage::{self, judged_pictures};

const RANGE: &str = "--start 2026-11-20T10:00:00Z --end 2026-11-20T10:01:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_saved_as_mp4() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            &format!("clip front-door {RANGE} -o clips/door.mp4"),
            &format!("clip front-door {RANGE} --clock producer -o door.mp4 --json"),
            "clip front-door --start 2026-11-20T11:00:00Z --end 2026-11-20T12:00:00Z -o none.mp4",
            "clip nobody --start \"1h ago\" -o none.mp4",
            "clip door.mkv --start \"1h ago\" -o none.mp4",
            "clip front-door --start 2026-11-20T11:00:00Z --end 2026-11-20T10:00:00Z -o none.mp4",
            "clip front-door -o none.mp4",
        ])
        .await;
    assert_shown("clip", &shown);
    for path in ["clips/door.mp4", "door.mp4"] {
        let pictures = judged_pictures(&std::fs::read(lab.path(path)).unwrap());
        assert!(pictures.len() > 40, "{path}: {}", pictures.len());
    }
    let is_left = |name: &str| lab.path(name).exists() || lab.path(&format!("{name}.part")).exists();
    assert!(!is_left("none.mp4") && !lab.path("clips/door.mp4.part").exists());
}

/// A lab whose stream `busy` has more fragments than fit into one clip.
async fn busy_lab() -> Lab {
    let lab = Lab::new().await;
    let busy = lab.endpoint.create_stream("busy");
    let document = footage::red_and_green().await;
    for n in 1..=201 {
        let time = Timestamp::from_millis(START + i64::from(n) * 2000);
        let number = fragment_number(n, time.as_millis() as u64);
        busy.push_stamped(&document, Stamp { number, server_time: time, producer_time: time });
    }
    lab
}

const BUSY: &str = "clip busy --start 2026-11-20 --end 2026-11-21 -o busy.mp4 --json";

/// Returns the clips that are printed, each of which is a whole file.
fn clips(lab: &Lab, stdout: &[u8]) -> Vec<serde_json::Value> {
    let lines = std::str::from_utf8(stdout).unwrap().lines();
    let clips: Vec<serde_json::Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    for clip in &clips {
        let bytes = std::fs::read(lab.path(clip["path"].as_str().unwrap())).unwrap();
        assert!(bytes[4..].starts_with(b"ftyp") && bytes.len() as u64 == clip["bytes"].as_u64().unwrap());
    }
    clips
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_range_is_several_clips() {
    let lab = busy_lab().await;
    let clips = clips(&lab, &lab.run(BUSY).await.stdout);
    let paths: Vec<_> = clips.iter().map(|clip| clip["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["busy.mp4", "busy-2.mp4"]);
    assert_eq!(clips.iter().map(|clip| clip["fragments"].as_u64().unwrap()).sum::<u64>(), 201);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_finishes_the_clip_at_hand() {
    let lab = busy_lab().await;
    let slow = InjectedFault::Trickle { bytes: 1000, pause: Duration::from_millis(100) };
    lab.endpoint.inject(Operation::GetClip, None, slow);
    let child = lab.start(BUSY);
    until(|| lab.path("busy.mp4.part").exists()).await;
    signal(&child, "INT");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(clips(&lab, &output.stdout).len(), 1);
    assert!(lab.path("busy.mp4").exists() && !lab.path("busy-2.mp4").exists());
    assert!(!lab.path("busy.mp4.part").exists() && !lab.path("busy-2.mp4.part").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_that_breaks_off_leaves_no_file() {
    let lab = Lab::new().await;
    lab.endpoint.inject(Operation::GetClip, None, InjectedFault::CutAfter(50));
    let output = lab.run(&format!("clip front-door {RANGE} -o cut.mp4")).await;
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("error: front-door: ") && told.lines().count() <= 3, "{told}");
    assert!(!lab.path("cut.mp4").exists() && !lab.path("cut.mp4.part").exists());
}
