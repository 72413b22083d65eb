//! What all commands have in common.

use serde_json::Value;

use super::{Lab, assert_shown, output_of};

#[tokio::test(flavor = "multi_thread")]
async fn the_version_tells_features_and_mistakes_are_explained() {
    let lab = Lab::new().await;
    let output = lab.run("--version").await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(concat!("kvs ", env!("CARGO_PKG_VERSION"), "\nfeatures: cli")), "{text}");
    assert!(text.contains("libavcodec"), "{text}");
    let lines = [
        "nonsense",
        "tail",
        "tail front-door --start someday",
        "tail front-door --until 30",
        "tail front-door --start kvs1:what",
        "tail door.mkv --start now",
        "tail door.mkv --start now --end now --until 5s",
        "tail plain.mkv --start \"1h ago\"",
        "tail front-door --region us-west-2 --endpoint-url nowhere",
    ];
    assert_shown("usage", &lab.session(&lines).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_takes_the_same_of_a_stream_and_of_a_file() {
    let lab = Lab::new().await;
    let numbers = async |line: &str| -> Vec<String> {
        let output = lab.run(&format!("tail --json {line}")).await;
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects.map(|object| object["fragment_number"].as_str().unwrap().to_owned()).collect()
    };
    let all = numbers("door.mkv").await;
    assert_eq!(all.len(), 4);
    let second = &all[1];
    for (selection, expected) in [
        ("--start earliest --until \"2 fragments\"".to_owned(), 0..2),
        (format!("--start {second} --until \"1 fragment\""), 2..3),
        (format!("--start kvs1:{second}::: --until {}", all[3]), 2..4),
        // A stream that is followed begins with the fragment that contains the time.
        ("--start 2026-11-20T10:00:00.5Z --until 2026-11-20T10:00:20Z".to_owned(), 0..2),
        // A range has the fragments that begin in it.
        ("--start 2026-11-20T10:00:00.5Z --end 2026-11-20T10:00:28.5Z".to_owned(), 1..3),
        ("--start earliest --end 2026-11-20T10:00:01Z".to_owned(), 0..2),
        (format!("--start {second} --end now"), 2..4),
        ("--clock producer --start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:28Z".to_owned(), 1..3),
    ] {
        let expected = &all[expected];
        assert_eq!(numbers(&format!("front-door {selection}")).await, expected, "stream, {selection}");
        assert_eq!(numbers(&format!("door.mkv {selection}")).await, expected, "file, {selection}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_have_their_own_time_and_say_where_they_are_cut() {
    let lab = Lab::new().await;
    let whole = std::fs::read(lab.path("door.mkv")).unwrap();
    std::fs::write(lab.path("cut.mkv"), &whole[..whole.len() - 3000]).unwrap();
    let lines = [
        // The third fragment begins after 28 s.
        "tail door.mkv --until 2s",
        "tail door.mkv --until 1500ms",
        // It has only one fragment.
        "tail plain.mkv --until 2s",
        "tail cut.mkv",
    ];
    assert_shown("file_time", &lab.session(&lines).await);
    // A stream that was never reached is not an empty one.
    let mut kvs = lab.kvs();
    kvs.args(["tail", "door", "--until", "1s"]).env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let output = output_of(&mut kvs).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && told.contains("error: door: I/O failed: "), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_in_the_local_time_zone() {
    let lab = Lab::new().await;
    let mut kvs = lab.kvs();
    kvs.args(["tail", "door.mkv"]).env("TZ", "America/New_York");
    let output = output_of(&mut kvs).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("2026-11-20 04:59:59.500 EST  "), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_a_source_and_colours_are_for_terminals() {
    let lab = Lab::new().await;
    let mut kvs = lab.kvs();
    kvs.args(["tail", "-"]).stdin(std::fs::File::open(lab.path("door.mkv")).unwrap());
    let of_stdin = output_of(&mut kvs).await;
    let of_file = lab.run("tail door.mkv").await;
    assert_eq!(of_stdin.stdout, of_file.stdout);
    assert_eq!(String::from_utf8(of_stdin.stderr).unwrap(), "standard input: 4 fragments\n");
    assert!(!of_file.stdout.contains(&0x1B));
    assert!(lab.run("tail door.mkv --color always").await.stdout.contains(&0x1B));
}
