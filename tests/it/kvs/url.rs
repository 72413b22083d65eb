//! `kvs url`.

use super::{Lab, assert_shown};

#[tokio::test(flavor = "multi_thread")]
async fn only_the_url_is_on_standard_output() {
    let lab = Lab::new().await;
    let range = "--start 2026-11-20T10:00:00Z --end 2026-11-20T10:01:00Z";
    for line in [
        format!("url hls front-door {range}"),
        format!("url dash front-door {range} --clock producer --numbers --timestamps --max-fragments 10"),
        format!("url hls front-door {range} --container ts --discontinuities gaps --expires 2h"),
        "url hls front-door --start 2026-11-20T10:00:00Z".into(),
    ] {
        let output = lab.run(&line).await;
        let (out, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let playlist = if line.contains("dash") { ".mpd?" } else { ".m3u8?" };
        assert!(out.starts_with(lab.endpoint.url()) && out.contains(playlist), "{line}: {out}{told}");
        assert_eq!((out.lines().count(), out.contains(' ')), (1, false), "{out}");
        assert!(told.starts_with("valid until 20") && told.ends_with(" UTC\n") && !told.contains("http"), "{told}");
    }
    let output = lab.run(&format!("url hls front-door {range} --expires 1h --json")).await;
    let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(object["url"].as_str().unwrap().starts_with(lab.endpoint.url()));
    let expires: jiff::Timestamp = object["expires_time"].as_str().unwrap().parse().unwrap();
    let of_stderr = String::from_utf8(output.stderr).unwrap();
    let valid = expires.as_second() - jiff::Timestamp::now().as_second();
    assert!((3000..=3600).contains(&valid) && of_stderr.is_empty(), "{valid} s, {of_stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_option_is_told() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "url hls nobody",
            "url hls front-door",
            "url hls forgetful",
            "url hls front-door --start 2026-11-20T11:00:00Z --end 2026-11-20T12:00:00Z",
            "url hls door.mkv",
            "url hls front-door --numbers",
            "url dash front-door --container ts",
            "url hls front-door --end now",
            "url hls front-door --expires 1m",
            "url hls front-door --start 2026-11-20T11:00:00Z --end 2026-11-20T10:00:00Z",
        ])
        .await;
    assert_shown("url", &shown);
}
