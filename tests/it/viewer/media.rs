//! The answers of the page: live and stored media, sound, pictures.

use std::collections::HashSet;
use std::io::Write as _;

use kinesis_video::local::{ConnectCall, Document, LocalEndpoint, Shape};
use serde_json::json;

use super::{answer, boxes, events, get, read_until, send, show};
use crate::kvs::{Lab, START};
use crate::support::bodies::CAMERA;
use crate::support::conversation::wav_channels;
use crate::support::endpoint::unlimited;
use crate::support::ffmpeg::ffmpeg;
use crate::support::footage::{self, judged_pictures};

fn count(bytes: &[u8], name: &str) -> usize {
    boxes(bytes).iter().filter(|(known, _)| known == name).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_needs_nothing_from_elsewhere() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let address = show(&endpoint);
    let page = get(address, "/").await;
    assert!(page.status == 200 && page.head.contains("content-type: text/html"), "{}", page.head);
    let text = page.text();
    for inline in ["<script>", "style=", "<style", "onclick", "onload", "javascript:", "http://", "https://"] {
        assert!(!text.contains(inline), "{inline}");
    }
    let mut wanted: Vec<String> = Vec::new();
    let quoted = |text: &str, before: &str| {
        text.split(before).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    wanted.extend(quoted(&text, "src=\"").into_iter().filter(|path| path.starts_with('/')));
    wanted.extend(quoted(&text, "href=\""));
    let mut seen = HashSet::new();
    while let Some(path) = wanted.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let file = get(address, &path).await;
        assert!(file.status == 200 && file.head.contains("x-content-type-options: nosniff"), "{path}: {}", file.head);
        wanted.extend(quoted(&file.text(), "from \"./").into_iter().map(|name| format!("/view/{name}")));
    }
    assert!(seen.len() == 8, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_picture_is_that_of_the_stream() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    endpoint.loop_media("door", CAMERA).unwrap();
    let address = show(&endpoint);
    let mut socket = send(address, "GET /view/live?stream=door", &format!("Host: {address}\r\n")).await;
    let live = read_until(&mut socket, |body| count(body, "mdat") >= 3).await;
    assert!(live.status == 200 && live.head.contains("content-type: video/mp4"), "{}", live.head);
    let told = events(&live.body);
    let fragments: Vec<_> = told.iter().filter(|event| event["fragment"].is_object()).collect();
    assert!(fragments.len() >= 3);
    assert_eq!(fragments[0]["type"], "video/mp4; codecs=\"avc1.64000c, mp4a.40.2\"");
    assert_eq!((&fragments[0]["at"], &fragments[0]["kind"]), (&json!(0.0), &json!("video")));
    assert_eq!(fragments[0]["fragment"]["tags"][0], json!(["LOCATION", "hall"]));
    assert_eq!(fragments[0]["fragment"]["tracks"][0]["width"], 320);
    let whole: Vec<u8> = boxes(&live.body)
        .into_iter()
        .flat_map(|(name, content)| [&(content.len() as u32 + 8).to_be_bytes()[..], name.as_bytes(), &content].concat())
        .collect();
    let (shown, sent) = (judged_pictures(&whole), judged_pictures(CAMERA));
    // FFmpeg reads the last moof that came with its mdat, and each group of pictures is decoded by itself.
    assert!(shown.len() >= 3 * 13, "{}", shown.len());
    assert!(shown.iter().all(|picture| sent.contains(picture)));
    assert!(!ffmpeg(&whole, "mp4", &["-map", "0:a", "-c", "copy", "-f", "framehash"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_viewer_sees_the_newest_fragment_at_once_over_the_same_connection() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let file = footage::fragment(&CAMERA.into()).await;
    let groups = footage::groups(&file);
    let address = show(&endpoint);
    let request = format!("Host: {address}\r\n");
    let first = door.push(&groups[0]);
    let mut one = send(address, "GET /view/live?stream=door", &request).await;
    let seen = read_until(&mut one, |body| count(body, "mdat") == 1).await;
    assert_eq!(events(&seen.body)[1]["fragment"]["number"], first.number.as_str());
    // Nothing is pushed any more, and still there is a picture.
    let mut two = send(address, "GET /view/live?stream=door", &request).await;
    let seen = read_until(&mut two, |body| count(body, "mdat") == 1).await;
    assert_eq!(events(&seen.body)[1]["fragment"]["number"], first.number.as_str());
    assert!(door.open_connections() <= 1);
    let second = door.push(&groups[1]);
    for mut viewer in [one, two] {
        let number = second.number.as_str().to_owned();
        let seen = {
            let mut bytes = Vec::new();
            let has = |bytes: &[u8]| bytes.windows(number.len()).any(|found| found == number.as_bytes());
            while !has(&bytes) {
                use tokio::io::AsyncReadExt as _;
                let read = tokio::time::timeout(super::PATIENCE, viewer.read_buf(&mut bytes)).await.unwrap().unwrap();
                assert!(read > 0, "the answer ended");
            }
            bytes
        };
        assert!(!seen.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_listed_with_its_gap_and_played() {
    let lab = Lab::new().await;
    let address = show(&lab.endpoint);
    // The producer's clock is half a second behind the fixtures'.
    let start = START - 500;
    let spans =
        get(address, &format!("/view/spans?stream=front-door&start={start}&end={}", start + 60_000)).await.json();
    let found: Vec<_> =
        spans["spans"].as_array().unwrap().iter().map(|span| (span[0].as_i64(), span[2].as_i64())).collect();
    assert_eq!(found, [(Some(start), Some(2)), (Some(start + 28_000), Some(2))]);
    assert_eq!(spans["fragments"].as_array().unwrap().len(), 4);
    let pictures = judged_pictures(CAMERA);
    for name in ["media", "file.mp4"] {
        let path = format!("/view/{name}?stream=front-door&start={start}&end={}", start + 60_000);
        let media = get(address, &path).await;
        assert_eq!(media.status, 200, "{}", media.text());
        assert_eq!(judged_pictures(&media.body), pictures, "{name}");
        assert_eq!(count(&media.body, "emsg"), if name == "media" { 4 } else { 0 });
        let is_named = media.head.contains("attachment; filename=\"front-door_2026-11-20t09-59-59.mp4\"");
        assert_eq!(is_named, name == "file.mp4", "{}", media.head);
    }
    // From the middle of a fragment, playing begins with its key frame.
    let path = format!("/view/media?stream=front-door&start={}&end={}", start + 500, start + 600);
    assert_eq!(judged_pictures(&get(address, &path).await.body), pictures[..15]);
    // Nothing is stored in the gap.
    let path = format!("/view/media?stream=front-door&start={}&end={}", start + 10_000, start + 20_000);
    assert_eq!(get(address, &path).await.status, 404);
    let number = spans["fragments"][2][0].as_str().unwrap();
    let one = get(address, &format!("/view/fragment?stream=front-door&number={number}")).await.json();
    assert_eq!((&one["kind"], &one["fragment"]["producer"]), (&json!("video"), &json!(start + 28_000)));
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_are_small_pictures() {
    let lab = Lab::new().await;
    let address = show(&lab.endpoint);
    let picture = get(address, &format!("/view/thumbnail?stream=front-door&at={}", START + 700)).await;
    assert!(picture.status == 200 && picture.head.contains("content-type: image/jpeg"), "{}", picture.text());
    assert_eq!(picture.body[..2], [0xFF, 0xD8]);
    // 25 s into the gap.
    let none = get(address, &format!("/view/thumbnail?stream=front-door&at={}", START + 25_000)).await;
    assert_eq!(none.status, 404, "{}", none.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_drawn_and_heard() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let voice = |party: usize, position: u64| match (party, position) {
        (0, 0..16_000) => 8_000,
        (1, 16_000..32_000) => -16_000,
        _ => 0,
    };
    let call = ConnectCall::new("a-contact").voice(voice).duration(std::time::Duration::from_secs(4));
    endpoint.serve_payload("call", call.to_payload(kinesis_video::Timestamp::from_millis(START)));
    let address = show(&endpoint);
    let range = format!("stream=call&start={START}&end={}", START + 5_000);
    let peaks = get(address, &format!("/view/peaks?{range}&points=5")).await.json();
    // 8000 of 32,767 is 24 %, and the fifth second has no sound.
    assert_eq!(peaks["customer"], json!([24, 24, 24, 24, 0, 0, 0, 0, null, null]));
    assert_eq!(peaks["agent"], json!([0, 0, 0, 0, -48, -48, -48, -48, null, null]));
    assert_eq!(peaks["contacts"], json!([{ "id": "a-contact", "start": START, "end": START + 4_000 }]));
    let wav = get(address, &format!("/view/file.wav?{range}")).await;
    assert_eq!(wav.body.len(), 44 + 5 * 8000 * 4, "{}", wav.head);
    assert!(wav.head.contains(&format!("content-length: {}", wav.body.len())));
    let mut file = tempfile::NamedTempFile::with_suffix(".wav").unwrap();
    file.write_all(&wav.body).unwrap();
    let channels = wav_channels(file.path());
    let expected = |party: usize| (0..40_000).map(|at| voice(party, at)).collect::<Vec<i16>>();
    assert!(channels == [expected(0), expected(1)]);
    // Asked for live, a call tells that it is one.
    let told = get(address, "/view/stream?stream=call").await.json();
    assert_eq!(told["kind"], "call");
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_that_is_not_a_call_is_told_apart() {
    let lab = Lab::new().await;
    let address = show(&lab.endpoint);
    let range = format!("stream=front-door&start={}&end={}", START - 500, START + 2_000);
    let wav = get(address, &format!("/view/file.wav?{range}")).await;
    assert!(wav.status >= 400 && wav.json()["error"]["message"].is_string(), "{}", wav.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_viewer_skips_and_holds_up_nobody() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let file = footage::fragment(&CAMERA.into()).await;
    let track = file.track(1).unwrap();
    // More than the sockets between the two hold, so that reading nothing is noticed.
    let large = |at: u64| {
        let document = Document::new(Shape::Ffmpeg).codec_private(track.codec_private().unwrap());
        let document = document.picture_track(1, track.codec_id(), 320, 240).cluster_time(at);
        document.block(1, 0, true, &vec![0xFF; 2 << 20])
    };
    let address = show(&endpoint);
    let request = format!("Host: {address}\r\n");
    let slow = send(address, "GET /view/live?stream=door", &request).await;
    let mut quick = send(address, "GET /view/live?stream=door", &request).await;
    let mut last = String::new();
    for at in 0..24 {
        last = door.push(&large(at * 1000)).number.as_str().to_owned();
        let mut seen = Vec::new();
        while !seen.windows(last.len()).any(|found| found == last.as_bytes()) {
            use tokio::io::AsyncReadExt as _;
            let read = tokio::time::timeout(super::PATIENCE, quick.read_buf(&mut seen)).await.unwrap().unwrap();
            assert!(read > 0, "the answer ended");
        }
    }
    // The slow one begins to read: it has missed fragments, is told so, and gets the newest one.
    let mut slow = slow;
    let seen =
        read_until(&mut slow, |body| events(body).iter().any(|event| event["fragment"]["number"] == last.as_str()));
    let told = events(&seen.await.body);
    let numbers: HashSet<_> = told.iter().filter_map(|event| event["fragment"]["number"].as_str()).collect();
    assert!(numbers.len() < 24, "{} fragments", numbers.len());
    let is_told =
        |event: &serde_json::Value| event["fragment"]["discontinuities"].to_string().contains("fragments skipped");
    assert!(told.iter().any(is_told), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_to_the_stream_is_passed_over() {
    use kinesis_video::local::{InjectedFault, Operation};

    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    endpoint.inject(Operation::GetMedia, Some("door"), InjectedFault::ResetAfter(30_000));
    endpoint.loop_media("door", CAMERA).unwrap();
    let address = show(&endpoint);
    let mut socket = send(address, "GET /view/live?stream=door", &format!("Host: {address}\r\n")).await;
    let live = read_until(&mut socket, |body| {
        events(body).iter().any(|event| event["fragment"]["discontinuities"].to_string().contains("reconnected"))
    });
    live.await;
    assert_eq!(endpoint.fault_counts().reset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_does_not_exist_is_an_error_of_the_page() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let address = show(&endpoint);
    let told = get(address, "/view/stream?stream=nobody").await;
    assert!(told.status == 404 && told.json()["error"]["message"].is_string(), "{}", told.text());
    let live = answer(send(address, "GET /view/live?stream=nobody", &format!("Host: {address}\r\n")).await).await;
    assert_eq!(events(&live.body).last().unwrap()["error"]["status"], 404);
}
