//! Programs in Python that we did not write the insides of: boto3 and ebmlite.
//!
//! `make judges` installs them and sets `KVS_JUDGES` to their interpreter.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::TryStreamExt;
use kinesis_video::local::{Document, LocalEndpoint, Mishap, Operation, Quotas, Shape};
use kinesis_video::{Fragment, FragmentStream, FragmentStreamExt, KinesisVideo, RecordExt, Start, WavSink};
use serde_json::{Value, json};

use crate::endpoint_images::red_and_green;
use crate::endpoint_playback::{AVCC, FRAME, now, stamp_at};
use crate::media::{CAMERA, fragments, live_body, producer_document, stamp};

/// Runs a judge, or says that it is not there.
fn judge(script: &str, arguments: &[&str], input: &str) -> Option<String> {
    let Some(python) = std::env::var_os("KVS_JUDGES") else {
        eprintln!("KVS_JUDGES is not set: {script} is not asked");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges").join(script);
    let mut child = Command::new(python)
        .arg(&script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn boto3_takes_the_endpoint_for_the_service() {
    let quotas = Quotas::default().calls_per_second(None).idle(Duration::from_millis(100));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let ten = endpoint.create_stream("ten");
    endpoint.create_stream("faulty");
    let mut listed = Vec::new();
    for ordinal in 1..=10 {
        let stamp = stamp(ordinal);
        ten.push_stamped(&producer_document(ordinal), stamp.clone());
        listed.push(json!({
            "number": stamp.number.as_str(),
            "server": stamp.server_time.as_millis(),
            "producer": stamp.producer_time.as_millis(),
            "millis": 1000,
        }));
    }
    let errors = [
        "AccessDeniedException",
        "ClientLimitExceededException",
        "ConnectionLimitExceededException",
        "ExpiredTokenException",
        "InternalFailure",
        "InvalidArgumentException",
        "InvalidEndpointException",
        "NotAuthorizedException",
        "ResourceNotFoundException",
        "ServiceUnavailable",
        "ThrottlingException",
    ];
    let input = json!({ "url": endpoint.url(), "arn": ten.arn(), "fragments": listed, "errors": errors });
    for name in errors {
        endpoint.script(Operation::GetMedia, Some("faulty"), Mishap::Refuse(name.into()));
    }
    let said = tokio::task::spawn_blocking(move || judge("boto3_client.py", &[], &input.to_string())).await.unwrap();
    if let Some(said) = said {
        eprintln!("{said}");
        assert_eq!(endpoint.scripted(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn boto3_takes_the_archive_for_the_service() {
    const H264: &str = "V_MPEG4/ISO/AVC";
    let quotas = Quotas::default().calls_per_second(None).metadata_points(None).media_points(None);
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    // Whole seconds, since that is all that some releases of boto3 send.
    let start = now() / 1000 - 600;
    let stamp = |index: u32| {
        let millis = (start + i64::from(index) * 2) * 1000;
        stamp_at(index + 1, millis, millis)
    };
    let door = endpoint.create_stream("door");
    let pictures = red_and_green().await;
    (0..5).for_each(|index| door.push_stamped(&pictures, stamp(index)));
    let numbers: Vec<_> = (0..5).map(|index| stamp(index).number.to_string()).collect();
    let provoked = [
        ("empty", "ResourceNotFoundException", None),
        ("kept-for-no-time", "NoDataRetentionException", Some((H264, AVCC, FRAME))),
        ("of-no-codec", "UnsupportedStreamMediaTypeException", Some(("V_MJPEG", AVCC, FRAME))),
        ("without-private-data", "MissingCodecPrivateDataException", Some((H264, &[][..], FRAME))),
        ("with-private-data-of-its-own", "InvalidCodecPrivateDataException", Some((H264, &[7; 30][..], FRAME))),
        ("of-broken-frames", "InvalidMediaFrameException", Some((H264, AVCC, &b"broken"[..]))),
    ];
    for (name, exception, track) in provoked {
        let stream = endpoint.create_stream(name);
        if let Some((codec, private, frame)) = track {
            let document = Document::new(Shape::Producer).codec_private(private).picture_track(1, codec, 64, 48);
            stream.push_stamped(&document.block(1, 0, true, frame), stamp(0));
        }
        if exception == "NoDataRetentionException" {
            stream.set_retention(Duration::ZERO);
        }
    }
    let every = ["ClientLimitExceeded", "InvalidArgument", "NotAuthorized", "ResourceNotFound"];
    let playing = [&every[..], &["InvalidCodecPrivateData", "MissingCodecPrivateData"]].concat();
    let playing = [&playing[..], &["NoDataRetention", "UnsupportedStreamMediaType"]].concat();
    let operations = [
        (Operation::ListFragments, "ListFragments", every.to_vec()),
        (Operation::GetMediaForFragmentList, "GetMediaForFragmentList", every.to_vec()),
        (Operation::GetHlsStreamingSessionUrl, "GetHLSStreamingSessionURL", playing.clone()),
        (Operation::GetDashStreamingSessionUrl, "GetDASHStreamingSessionURL", playing.clone()),
        (Operation::GetClip, "GetClip", [&playing[..], &["InvalidMediaFrame"]].concat()),
        (Operation::GetImages, "GetImages", [&every[..], &["NoDataRetention"]].concat()),
    ];
    let mut scripted = json!({});
    for (operation, name, exceptions) in operations {
        let exceptions: Vec<_> = exceptions.iter().map(|exception| format!("{exception}Exception")).collect();
        scripted[name] = json!(exceptions);
        for exception in exceptions {
            // It happens to the first call that nothing else is wrong with: those come behind the others.
            endpoint.script(operation, Some("refused"), Mishap::Refuse(exception));
        }
    }
    (0..5).for_each(|index| endpoint.create_stream("refused").push_stamped(&pictures, stamp(index)));
    let provoked: Value = provoked.iter().map(|(name, exception, _)| json!([name, exception])).collect();
    let input = json!({
        "url": endpoint.url(),
        "start": start,
        "numbers": numbers,
        "provoked": provoked,
        "scripted": scripted,
    });
    let said = tokio::task::spawn_blocking(move || judge("boto3_archive.py", &[], &input.to_string())).await.unwrap();
    if let Some(said) = said {
        eprintln!("{said}");
        assert_eq!(endpoint.scripted(), 0);
    }
}

fn read_by_us(fragments: &[Fragment]) -> Value {
    fragments
        .iter()
        .map(|fragment| {
            let simple_tags = fragment.elements().find("Segment/Tags/Tag/SimpleTag").map(Result::unwrap);
            let text = |tag: &kinesis_video::ebml::Element<'_>, name: &str| {
                tag.children().find(name).next().unwrap().unwrap().value().to_string().trim_matches('"').to_owned()
            };
            let tags: Vec<_> = simple_tags.map(|tag| json!([text(&tag, "TagName"), text(&tag, "TagString")])).collect();
            let frames: Vec<_> = crate::judge::our_packets(fragment).into_iter().map(|(.., hash)| hash).collect();
            json!({ "tags": tags, "frames": frames })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ebmlite_reads_what_we_write() {
    // Frames of ours without what looks like an EBML header, since that way of reading is fooled by it.
    let plain = |n: u32| {
        let document = kinesis_video::local::Document::new(kinesis_video::local::Shape::Producer).video_track(1);
        (0..5).fold(document.tag("ordinal", &n.to_string()), |d, i| {
            d.block(1, i * 40, i == 0, &vec![n as u8; 100 + n as usize])
        })
    };
    let generated = live_body((1..=5).map(plain));
    let endpoint = LocalEndpoint::start().await.unwrap();
    endpoint.loop_media("camera", CAMERA).unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let looped = kvs.live("camera").start(Start::Earliest).resume(false).fragments();
    let looped: Vec<Fragment> = futures::StreamExt::take(looped, 2).try_collect().await.unwrap();
    let looped: Vec<u8> = looped.iter().flat_map(|fragment| fragment.raw().to_vec()).collect();
    for payload in [generated, looped.into()] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &payload).unwrap();
        let Some(said) = judge("ebmlite_reader.py", &[file.path().to_str().unwrap()], "") else { return };
        let theirs: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(theirs, read_by_us(&fragments(&payload).await));
    }
}

#[tokio::test]
async fn the_seeds_way_of_reading_a_call_gives_the_same_files() {
    let call = kinesis_video::local::ConnectCall::new("a contact").duration(std::time::Duration::from_millis(3_500));
    // A counter, in which nothing looks like an EBML header.
    let call = call.voice(|party, position| (position % 9_973) as i16 * 2 + party as i16);
    let payload = call.to_payload(kinesis_video::Timestamp::from_millis(1_700_000_000_000));
    let dir = tempfile::tempdir().unwrap();
    let (file, theirs, ours) = (dir.path().join("call"), dir.path().join("theirs"), dir.path().join("ours"));
    std::fs::write(&file, &payload).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    let arguments = [file.to_str().unwrap(), theirs.join("call").to_str().unwrap()].map(ToOwned::to_owned);
    let Some(_) = judge("connect_wav.py", &arguments.each_ref().map(|argument| &argument[..]), "") else { return };
    let audio = FragmentStream::new(&payload[..]).connect_audio();
    let summary = audio.record(WavSink::per_fragment(ours.join("call"))).await.unwrap();
    assert_eq!(summary.files(), 8);
    let mut compared = 0;
    for entry in std::fs::read_dir(&theirs).unwrap() {
        let entry = entry.unwrap();
        let ours = std::fs::read(ours.join(entry.file_name())).unwrap();
        assert!(ours == std::fs::read(entry.path()).unwrap(), "{:?}", entry.file_name());
        compared += 1;
    }
    assert_eq!(compared, 8);
}
