//! `kvs images`.

use super::{Lab, assert_shown};

#[tokio::test(flavor = "multi_thread")]
async fn the_service_makes_pictures() {
    let lab = Lab::new().await;
    let range = "--start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:28Z";
    let shown = lab
        .session(&[
            &format!("images front-door {range} --every 14s --clock producer -o pictures"),
            &format!(
                "images front-door {range} --every 7s --json --png --size 64x48 -o small --name p{{index}}.{{ext}}"
            ),
            "images front-door --start 2026-11-20T11:00:00Z --end 2026-11-20T11:00:02Z -o none",
            "images call --start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:00Z -o none",
            "images nobody --start \"1h ago\" -o none",
            "images door.mkv --start \"1h ago\" -o none",
            "images front-door --start \"1h ago\" --every 0.1 -o none",
            "images front-door --start \"1h ago\" --size 640 -o none",
        ])
        .await;
    assert_shown("images", &shown);
    let files = |dir: &str| -> Vec<_> {
        std::fs::read_dir(lab.path(dir)).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
    };
    let pictures = files("pictures");
    assert!(!pictures.is_empty() && pictures.iter().all(|file| file.starts_with(&[0xFF, 0xD8])));
    let small = files("small");
    assert!(!small.is_empty());
    for file in small {
        let picture = image::load_from_memory(&file).unwrap();
        assert_eq!((picture.width(), picture.height()), (64, 48));
    }
    assert!(!lab.path("none").exists());
}
