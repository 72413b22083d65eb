//! `kvs ls`.

use std::time::Duration;

use kinesis_video::local::{InjectedFault, Operation, Stamp, fragment_number};
use serde_json::Value;

use super::{Lab, assert_shown};
use crate::support::bodies::producer_document;
use crate::support::endpoint::{now_millis, time};

/// Masks ages, which change while the test runs.
fn without_ages(shown: &str) -> String {
    let mut text = String::new();
    for line in shown.lines() {
        let is_age = line.ends_with(" ago");
        let fields: Vec<_> = line.split("  ").collect();
        match fields.split_last() {
            Some((_, before)) if is_age => text += &format!("{}  [AGE] ago\n", before.join("  ")),
            _ => text += &format!("{line}\n"),
        }
    }
    text
}

fn objects(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_listed_with_their_state() {
    let lab = Lab::new().await;
    lab.endpoint.create_stream("a-stream-with-a-long-name").set_retention(Duration::from_secs(7 * 24 * 3600));
    let shown = lab.session(&["ls", "ls f", "ls nobody", "ls --help"]).await;
    assert_shown("ls", &without_ages(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_has_what_is_known_of_a_stream() {
    let lab = Lab::new().await;
    let camera = lab.endpoint.create_stream("camera");
    let now = now_millis();
    let stamp = Stamp { number: fragment_number(7, 0), server_time: time(now - 90_000), producer_time: time(now) };
    camera.push_stamped(&producer_document(1), stamp.clone());
    let output = lab.run("ls --json").await;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let objects = objects(&output.stdout);
    let names: Vec<_> = objects.iter().map(|object| object["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["call", "camera", "empty", "forgetful", "front-door"]);
    let found = &objects[1];
    assert_eq!(found["newest_fragment_number"], stamp.number.as_str());
    assert_eq!(found["newest_fragment_time"], stamp.server_time.to_string());
    assert!((90_000..150_000).contains(&found["newest_fragment_age_ms"].as_i64().unwrap()), "{found}");
    assert_eq!(found["arn"], camera.arn());
    assert_eq!((&found["status"], &found["retention_hours"]), (&"ACTIVE".into(), &24.into()));
    for empty in [&objects[2], &objects[3]] {
        assert_eq!((&empty["newest_fragment_time"], &empty["error"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(objects[3]["retention_hours"], 0);
    // What has no retention is not asked for fragments.
    assert!(lab.endpoint.calls(Operation::ListFragments, "forgetful").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_may_not_be_listed_does_not_end_the_others() {
    let lab = Lab::new().await;
    let refuse = || InjectedFault::Refuse("AccessDeniedException".into());
    lab.endpoint.inject(Operation::ListFragments, Some("call"), refuse());
    lab.endpoint.inject(Operation::ListFragments, Some("call"), refuse());
    let shown = lab.session(&["ls"]).await;
    let json = lab.run("ls c --json").await;
    assert!(objects(&json.stdout)[0]["error"].as_str().unwrap().contains("ListFragments"), "{json:?}");
    lab.endpoint.inject(Operation::ListStreams, None, refuse());
    let shown = shown + &lab.session(&["ls"]).await;
    // Nobody listens on this port.
    let shown = shown + &lab.session(&["ls -q --endpoint-url http://127.0.0.1:9"]).await;
    assert_shown("ls_errors", &without_ages(&shown));
}
