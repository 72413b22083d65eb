//! What all commands have in common.

use super::{Lab, assert_shown};

#[tokio::test(flavor = "multi_thread")]
async fn help_and_version_are_printed() {
    let lab = Lab::new().await;
    let output = lab.run("--version").await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(concat!("kvs ", env!("CARGO_PKG_VERSION"), "\nfeatures: cli")), "{text}");
    assert!(text.contains("libavcodec"), "{text}");
    let lines = ["nonsense", "tail", "tail front-door --start someday", "tail front-door --until 30"];
    assert_shown("usage", &lab.session(&lines).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_selects_the_same_of_a_stream_and_of_a_file() {
    let lab = Lab::new().await;
    let selections = ["--start earliest --until \"2 fragments\"", "--start 2026-11-20T10:00:01Z --end now"];
    for selection in selections {
        let of_stream = lab.run(&format!("tail front-door {selection}")).await.stdout;
        let selection = selection.replace("--start earliest", "");
        let of_file = lab.run(&format!("tail door.mkv {}", selection.trim())).await.stdout;
        assert!(!of_stream.is_empty());
        assert_eq!(String::from_utf8(of_stream), String::from_utf8(of_file), "{selection}");
    }
}
