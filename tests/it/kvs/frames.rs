//! `kvs frames`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::{Lab, assert_shown, signal};

/// Returns the number of pictures in a folder.
fn count(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

/// Returns the objects that a command printed.
fn objects(stdout: &[u8]) -> Vec<serde_json::Value> {
    let lines = stdout.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_saved_and_printed() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "frames door.mkv --ratio 10 --size 160 -o pictures",
            "frames front-door --start earliest --until \"2 fragments\" --keyframes --json -o keys --png",
            "frames plain.mkv --ratio 25 --size 100 --concurrency 2 -o plain",
            "frames plain.mkv --every 2s -o plain --name p{index}.{ext} --quality 50",
            "frames call.mkv -o none",
            "frames nothing.mkv -o none",
            "frames empty --start \"1h ago\" --end now -o none",
            "frames notes.mkv -o none",
            "frames nobody --until 1s -o none",
        ])
        .await;
    assert_shown("frames", &shown);
    for path in ["pictures", "keys", "plain"] {
        let dir = std::fs::read_dir(lab.path(path)).unwrap();
        for file in dir.map(|entry| entry.unwrap().path()) {
            let begins: &[u8] = if path == "keys" { b"\x89PNG" } else { b"\xFF\xD8" };
            assert!(std::fs::read(&file).unwrap().starts_with(begins), "{}", file.display());
        }
    }
    assert!(!lab.path("none").exists());
    let frames = objects(&lab.run("frames door.mkv -o all --json").await.stdout);
    assert_eq!(frames.len(), count(&lab.path("all")));
    assert!(frames.iter().all(|frame| {
        let path = lab.path(frame["path"].as_str().unwrap());
        std::fs::metadata(path).unwrap().len() == frame["bytes"].as_u64().unwrap() && frame["width"] == 320
    }));
    // The pictures of a stream are those of the file of its payload.
    let of_stream =
        objects(&lab.run("frames front-door --start earliest --until \"4 fragments\" -o all --json").await.stdout);
    assert_eq!(of_stream, frames);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_option_is_told() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "frames door.mkv",
            "frames door.mkv -o out --ratio 2 --keyframes",
            "frames door.mkv -o out --ratio 0",
            "frames door.mkv -o out --size 0x4",
            "frames door.mkv -o out --quality 101",
            "frames door.mkv -o out --every 0s",
            "frames door.mkv -o out --name picture.{ext}",
            "frames door.mkv --sheet sheet.gif",
            "frames door.mkv --sheet sheet.png --checkpoint position",
        ])
        .await;
    assert_shown("frames_wrong", &shown);
    assert!(!lab.path("out").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_shows_the_source() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "frames door.mkv --sheet sheets/door.png",
            "frames front-door --start earliest --until \"1 fragment\" -o few --ratio 8 --sheet few.jpg",
            "frames plain.mkv --keyframes --sheet keys.jpeg --json",
            "frames call.mkv --sheet none.png",
        ])
        .await;
    assert_shown("frames_sheet", &shown);
    let sheet = image::open(lab.path("sheets/door.png")).unwrap().into_rgb8();
    // The test picture has bars of pure colours, the sheet none.
    let has = |colour: [u8; 3]| sheet.pixels().any(|pixel| pixel.0.iter().zip(colour).all(|(a, b)| a.abs_diff(b) < 24));
    assert!(has([255, 0, 0]) && has([0, 255, 255]));
    assert!(std::fs::read(lab.path("few.jpg")).unwrap().starts_with(&[0xFF, 0xD8]));
    let left: Vec<_> = std::fs::read_dir(lab.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name == "none.png" || name.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_pictures_are_counted_and_named() {
    let lab = Lab::new().await;
    // Changes the coded pictures of the second fragment, and leaves the elements of the file alone.
    let mut door = std::fs::read(lab.path("door.mkv")).unwrap();
    let fragments = super::fragments_of(&lab.path("door.mkv")).await;
    let damaged: Vec<_> = fragments[1].blocks().skip(5).take(2).map(|block| block.payload().to_vec()).collect();
    for payload in &damaged {
        let at = memchr::memmem::find(&door, payload).unwrap();
        door[at + 5..at + payload.len()].fill(0x55);
    }
    std::fs::write(lab.path("scratched.mkv"), door).unwrap();
    let output = lab.run("frames scratched.mkv -o pictures").await;
    assert!(output.status.success());
    let saved = count(&lab.path("pictures"));
    assert!(saved > 40 && saved < 60, "{saved}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert_shown("frames_undecodable", &lab.mask(&told));
    let number = fragments[1].number().unwrap().to_string();
    assert_eq!(told.matches(&number).count(), 1, "{told}");
}

/// Interrupted, it ends with whole files, and with the sheet of what it has.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_command_finishes_its_files() {
    let lab = Lab::new().await;
    let mut child = lab.start("frames front-door --start earliest -o pictures --sheet sheet.png");
    let (lines, output) = tokio::task::spawn_blocking(move || {
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = String::new();
        while lines.lines().count() < 60 {
            assert!(out.read_line(&mut lines).unwrap() > 0, "{lines}");
        }
        // It waits for the fifth fragment.
        signal(&child, "INT");
        out.read_to_string(&mut lines).unwrap();
        (lines, child.wait_with_output().unwrap())
    })
    .await
    .unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(lines.lines().last().unwrap().starts_with("sheet.png  60 pictures  "), "{lines}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("60 pictures to pictures: "), "{told}");
    assert_eq!(count(&lab.path("pictures")), 60);
    image::open(lab.path("sheet.png")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_continues_after_the_last_saved_fragment() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "frames door.mkv --until \"2 fragments\" --ratio 10 --checkpoint position -o pictures",
            "frames door.mkv --ratio 10 --checkpoint position -o pictures",
            "frames door.mkv --ratio 10 --checkpoint position -o pictures",
        ])
        .await;
    assert_shown("frames_checkpoint", &shown);
    let all = objects(&lab.run("frames door.mkv --ratio 10 -o all --json").await.stdout);
    assert_eq!(count(&lab.path("pictures")), all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_range_has_the_pictures_of_the_file() {
    let lab = Lab::new().await;
    let pictures = async |source: &str, dir: &str| {
        let output = lab.run(&format!("frames {source} --ratio 10 -o {dir}")).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let files = std::fs::read_dir(lab.path(dir)).unwrap().map(|file| file.unwrap().path());
        let named = files.map(|file| (file.file_name().unwrap().to_owned(), std::fs::read(file).unwrap()));
        named.collect::<std::collections::BTreeMap<_, _>>()
    };
    let range = pictures("front-door --start 2026-11-20 --end 2026-11-21", "range").await;
    assert_eq!(range.len(), 8);
    assert!(range == pictures("door.mkv", "file").await);
}
