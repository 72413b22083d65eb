//! `kvs clip`.

use super::{Lab, START, assert_shown};

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
        assert!(std::fs::read(lab.path(path)).unwrap()[4..].starts_with(b"ftyp"), "{path}");
    }
    let is_left = |name: &str| lab.path(name).exists() || lab.path(&format!("{name}.part")).exists();
    assert!(!is_left("none.mp4") && !lab.path("clips/door.mp4.part").exists());
}

/// A range of more fragments than fit into one clip is saved as several files.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_range_is_several_clips() {
    let lab = Lab::new().await;
    let busy = lab.endpoint.create_stream("busy");
    let document = crate::support::footage::red_and_green().await;
    for n in 1..=201 {
        let time = kinesis_video::Timestamp::from_millis(START + i64::from(n) * 2000);
        let number = kinesis_video::local::fragment_number(n, time.as_millis() as u64);
        busy.push_stamped(&document, kinesis_video::local::Stamp { number, server_time: time, producer_time: time });
    }
    let output = lab.run("clip busy --start 2026-11-20 --end 2026-11-21 -o busy.mp4 --json").await;
    let lines = String::from_utf8(output.stdout).unwrap();
    let clips: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let members = |name: &str| clips.iter().map(|clip| clip[name].clone()).collect::<Vec<_>>();
    assert_eq!(members("path"), ["busy.mp4", "busy-2.mp4"], "{lines}");
    assert_eq!(members("fragments").iter().map(|count| count.as_u64().unwrap()).sum::<u64>(), 201);
    for clip in &clips {
        let bytes = std::fs::read(lab.path(clip["path"].as_str().unwrap())).unwrap();
        assert!(bytes[4..].starts_with(b"ftyp") && bytes.len() as u64 == clip["bytes"].as_u64().unwrap());
    }
}
