//! `kvs doctor`.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use futures::TryStreamExt;
use kinesis_video::local::{InjectedFault, LocalEndpoint, Operation, Quotas};
use kinesis_video::{KinesisVideo, Start};
use serde_json::Value;

use super::{Lab, assert_shown, output_of, signal};

/// Replaces what differs between builds, and from run to run.
fn mask(shown: &str) -> String {
    let mut text = String::new();
    for line in shown.lines() {
        let cut = |mark: &str, mask: &str| line.split_once(mark).map(|(before, _)| format!("{before}{mark}{mask}\n"));
        let version = line.split_once("  0.").filter(|_| line.starts_with("ok  version"));
        let version = version.map(|(before, _)| format!("{before}  [VERSION]\n"));
        let arn = cut(":stream/front-door/", "[CREATED]");
        text += &version
            .or(arn)
            .or_else(|| cut(", created ", "[TIME]"))
            .or_else(|| cut("cannot be resolved: ", "[WHY]"))
            .unwrap_or_else(|| format!("{line}\n"));
    }
    text
}

fn refuse(lab: &Lab, operation: Operation, name: &str) {
    lab.endpoint.inject(operation, None, InjectedFault::Refuse(name.into()));
}

/// The result and the text of each check.
fn findings(output: &Output) -> BTreeMap<String, (String, String)> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    let finding = |line: &str| {
        let object: Value = serde_json::from_str(line).unwrap();
        let member = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        (member("check"), (member("result"), format!("{}; {}", member("detail"), member("hint"))))
    };
    text.lines().map(finding).collect()
}

fn results<'a>(findings: &'a BTreeMap<String, (String, String)>, result: &str) -> Vec<&'a str> {
    findings.iter().filter(|(_, (found, _))| found == result).map(|(check, _)| &check[..]).collect()
}

/// Runs the command with changed variables. `None` removes one.
async fn run(mut kvs: Command, variables: &[(&str, Option<&str>)], arguments: &[&str]) -> Output {
    for (name, value) in variables {
        match value {
            Some(value) => kvs.env(name, value),
            None => kvs.env_remove(name),
        };
    }
    kvs.args(arguments);
    output_of(&mut kvs).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_stream_is_all_ok() {
    let lab = Lab::new().await;
    let shown = lab.session(&["doctor", "doctor front-door", "doctor call"]).await;
    assert_shown("doctor", &mask(&shown));
    // Each operation was really called.
    for operation in [
        Operation::DescribeStream,
        Operation::GetDataEndpoint,
        Operation::GetMedia,
        Operation::ListFragments,
        Operation::GetMediaForFragmentList,
        Operation::GetClip,
        Operation::GetImages,
        Operation::GetHlsStreamingSessionUrl,
        Operation::GetDashStreamingSessionUrl,
    ] {
        assert!(!lab.endpoint.calls(operation, "front-door").is_empty(), "{operation:?}");
    }
    let arn = lab.run(&format!("doctor {} --json", lab.door.arn())).await;
    assert!(arn.status.success(), "{arn:?}");
    assert_eq!(results(&findings(&arn), "ok").len(), 18);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_without_media_are_told_from_missing_permissions() {
    let lab = Lab::new().await;
    let shown = lab.session(&["doctor empty", "doctor forgetful", "doctor nobody"]).await;
    assert_shown("doctor_no_media", &mask(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_permission_is_named() {
    let lab = Lab::new().await;
    let operations = [
        (Operation::ListStreams, "ListStreams"),
        (Operation::DescribeStream, "DescribeStream"),
        (Operation::GetMedia, "GetMedia"),
        (Operation::ListFragments, "ListFragments"),
        (Operation::GetMediaForFragmentList, "GetMediaForFragmentList"),
        (Operation::GetClip, "GetClip"),
        (Operation::GetImages, "GetImages"),
        (Operation::GetHlsStreamingSessionUrl, "GetHLSStreamingSessionURL"),
        (Operation::GetDashStreamingSessionUrl, "GetDASHStreamingSessionURL"),
    ];
    for (operation, name) in operations {
        refuse(
            &lab,
            operation,
            if name.starts_with("Get") { "NotAuthorizedException" } else { "AccessDeniedException" },
        );
        let output = lab.run("doctor front-door --json").await;
        assert_eq!(output.status.code(), Some(1));
        let findings = findings(&output);
        assert_eq!(results(&findings, "problem"), [name]);
        let resource = match operation {
            Operation::ListStreams => "*",
            // Its ARN is not known without DescribeStream.
            Operation::DescribeStream => "stream front-door",
            _ => lab.door.arn(),
        };
        let text = &findings[name].1;
        assert!(text.ends_with(&format!("; allow kinesisvideo:{name} on {resource}")), "{text}");
    }
    // All at once, as a person sees it. Without ListFragments there is no fragment to try the others on.
    for (operation, _) in operations.iter().filter(|(operation, _)| *operation != Operation::ListFragments) {
        refuse(&lab, *operation, "NotAuthorizedException");
    }
    let mut all = lab.session(&["doctor front-door"]).await;
    assert_eq!(lab.endpoint.pending_faults(), 0);
    refuse(&lab, Operation::ListFragments, "NotAuthorizedException");
    all += &lab.session(&["doctor front-door"]).await;
    refuse(&lab, Operation::GetDataEndpoint, "AccessDeniedException");
    let endpoint = lab.session(&["doctor front-door"]).await;
    assert_shown("doctor_denied", &mask(&(all + &endpoint)));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_failures_are_not_taken_for_a_missing_permission() {
    let lab = Lab::new().await;
    refuse(&lab, Operation::GetMedia, "ConnectionLimitExceededException");
    refuse(&lab, Operation::GetMediaForFragmentList, "ClientLimitExceededException");
    refuse(&lab, Operation::GetClip, "UnsupportedStreamMediaTypeException");
    refuse(&lab, Operation::GetImages, "NotImplementedException");
    refuse(&lab, Operation::GetHlsStreamingSessionUrl, "InternalFailure");
    refuse(&lab, Operation::GetDashStreamingSessionUrl, "MissingCodecPrivateDataException");
    assert_shown("doctor_failures", &mask(&lab.session(&["doctor front-door"]).await));
    assert_eq!(lab.endpoint.pending_faults(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_refused_end_the_examination() {
    let lab = Lab::new().await;
    for code in ["UnrecognizedClientException", "ExpiredTokenException", "SignatureDoesNotMatch"] {
        refuse(&lab, Operation::ListStreams, code);
        let output = lab.run("doctor front-door --json").await;
        let findings = findings(&output);
        assert_eq!(results(&findings, "problem"), ["ListStreams"], "{code}");
        assert_eq!(results(&findings, "skipped").len(), 11, "{code}");
        assert!(!findings["ListStreams"].1.contains("kinesisvideo:"), "{code}: {}", findings["ListStreams"].1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clock_is_compared_with_the_services() {
    let lab = Lab::new().await;
    let clock = async |millis: i64| {
        lab.endpoint.set_clock_offset(millis);
        let output = lab.run("doctor --json").await;
        let (result, text) = findings(&output)["clock"].clone();
        (result, text, output.status.code())
    };
    for (millis, expected, words, code) in [
        (0, "ok", "agrees with the service's", 0),
        (-10_000, "ok", "ahead of the service's", 0),
        (60_000, "warning", "behind the service's", 0),
        (-60_000, "warning", "ahead of the service's", 0),
        (600_000, "problem", "behind the service's", 1),
        // The endpoint refuses the first signature, as AWS does.
        (3_600_000, "problem", "behind the service's", 1),
    ] {
        let (result, text, exit) = clock(millis).await;
        assert_eq!((&result[..], exit), (expected, Some(code)), "{millis}: {text}");
        assert!(text.contains(words) && (expected == "ok" || text.contains("NTP")), "{millis}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_service_is_checked_first() {
    let lab = Lab::new().await;
    let doctor = async |variables: &[(&str, Option<&str>)], arguments: &[&str]| {
        let output = run(lab.kvs(), variables, &[&["doctor"], arguments].concat()).await;
        let text = |bytes: Vec<u8>| lab.mask(&String::from_utf8(bytes).unwrap());
        assert_eq!(output.status.code(), Some(1));
        format!("$ kvs doctor {}\n{}{}\n", arguments.join(" "), text(output.stdout), text(output.stderr))
    };
    let no_keys = [("AWS_ACCESS_KEY_ID", None), ("AWS_SECRET_ACCESS_KEY", None)];
    let mut shown = doctor(&[("AWS_REGION", None)], &["front-door"]).await;
    shown += &doctor(&no_keys, &["--profile", "nobody"]).await;
    shown += &doctor(&[no_keys, [("AWS_PROFILE", Some("nobody")), ("AWS_REGION", Some(""))]].concat(), &[]).await;
    shown += &doctor(&[], &["--endpoint-url", "http://kvs.invalid"]).await;
    shown += &doctor(&[], &["--endpoint-url", "nonsense url"]).await;
    // Nobody listens on this port.
    shown += &doctor(&[], &["--endpoint-url", "http://127.0.0.1:9"]).await;
    let tls = lab.endpoint.url().replace("http:", "https:");
    shown += &doctor(&[], &["--endpoint-url", &tls]).await.replace(&tls, "[HTTPS URL]");
    assert_shown("doctor_before", &mask(&shown));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_printed() {
    let lab = Lab::new().await;
    let secrets = [
        ("AWS_ACCESS_KEY_ID", Some("AKIAIOSFODNN7EXAMPLE")),
        ("AWS_SECRET_ACCESS_KEY", Some("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")),
        ("AWS_SESSION_TOKEN", Some("IQoJb3JpZ2luX2VjEXAMPLETOKEN")),
    ];
    for arguments in [&["doctor", "front-door"][..], &["doctor", "front-door", "-v", "--json"]] {
        let output = run(lab.kvs(), &secrets, arguments).await;
        let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
        assert!(text.contains("from the environment, access key …MPLE, temporary"), "{text}");
        for (_, secret) in secrets {
            assert!(!text.contains(secret.unwrap()), "{text}");
        }
        assert!(!text.contains("SessionToken") && !text.contains("/hls/v1"), "{text}");
    }
    // Of a short key, not even the end.
    let output = run(lab.kvs(), &[("AWS_ACCESS_KEY_ID", Some("abcdef"))], &["doctor"]).await;
    assert!(!String::from_utf8(output.stdout).unwrap().contains("cdef"));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_ends_it_at_once() {
    let lab = Lab::new().await;
    // Accepts connections, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let child = lab.start(&format!("doctor --endpoint-url {url}"));
    let connection = silent.accept().await.unwrap();
    signal(&child, "INT");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    drop(connection);
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("DNS") && !text.contains("connection"), "{text}");
}

/// The endpoint's default quotas are those of AWS.
#[tokio::test(flavor = "multi_thread")]
async fn an_examination_stays_within_the_quotas() {
    let endpoint = LocalEndpoint::start_with(0, Quotas::default()).await.unwrap();
    endpoint.loop_file("camera", "tests/data/camera.mkv").await.unwrap();
    let mut live = KinesisVideo::new(&endpoint.sdk_config()).live("camera").start(Start::Earliest).fragments();
    assert!(live.try_next().await.unwrap().is_some());
    drop(live);
    let lab = Lab::new().await;
    let output = run(lab.kvs(), &[], &["doctor", "camera", "--json", "--endpoint-url", endpoint.url()]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(endpoint.fault_counts().throttled, 0);
}
