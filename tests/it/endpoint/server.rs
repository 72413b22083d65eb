//! The real SDK over real HTTP against the local endpoint.

use std::time::Duration;

use aws_sdk_kinesisvideo::types::{ApiName, ComparisonOperator, StreamNameCondition};
use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::{LocalEndpoint, Quotas};
use kinesis_video::{ErrorKind, Fragment, FragmentEnd, KinesisVideo, Result, Start, Timestamp};

use crate::support::bodies::{
    CAMERA, CAPTURES, archive_body, capture, connect_document, fragments, live_body, producer_document, stamp,
};
use crate::support::ffmpeg::{ffprobe_packets, ffprobe_warnings, our_packets};

async fn endpoint() -> (LocalEndpoint, KinesisVideo) {
    let quotas = Quotas::default().calls_per_second(None);
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    (endpoint, kvs)
}

async fn read(kvs: &KinesisVideo, stream: &str, start: Start) -> Result<Vec<Fragment>> {
    kvs.live(stream).start(start).reconnect(false).fragments().try_collect().await
}

fn raws(fragments: &[Fragment]) -> Vec<&[u8]> {
    fragments.iter().map(|fragment| &fragment.raw()[..]).collect()
}

#[tokio::test]
async fn captures_are_served_unchanged() {
    let (endpoint, kvs) = endpoint().await;
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        endpoint.serve_payload(name, body.clone());
        let received = read(&kvs, name, Start::Earliest).await.unwrap();
        let expected = fragments(&body).await;
        assert_eq!(raws(&received).concat(), body);
        assert!(raws(&received) == raws(&expected), "{name}");
        assert!(received.iter().all(|fragment| fragment.arrival().is_some()));
    }
}

#[tokio::test]
async fn any_bytes_are_served_unchanged() {
    let (endpoint, kvs) = endpoint().await;
    let body = [&live_body([connect_document(1)])[..], b"not media at all"].concat();
    endpoint.serve_payload("broken", body);
    let mut received = kvs.live("broken").start(Start::Earliest).reconnect(false).fragments();
    assert_eq!(received.try_next().await.unwrap().unwrap().end_reason(), FragmentEnd::Trailer);
    let error = received.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    let context = error.context();
    assert_eq!((context.stream(), context.endpoint()), (Some("broken"), Some(endpoint.url())));
    assert!(context.request_id().is_some());
    assert!(received.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn every_start_works_by_name_and_arn() {
    let (endpoint, kvs) = endpoint().await;
    let door = endpoint.create_stream("door");
    for ordinal in 1..=5 {
        door.push_stamped(&producer_document(ordinal), stamp(ordinal));
    }
    door.finish();
    let third = stamp(3);
    let middle = |time: Timestamp| Timestamp::from_millis(time.as_millis() + 400);
    for (start, expected) in [
        (Start::Earliest, 1..=5),
        (Start::Now, 5..=5),
        (Start::AfterFragment(third.number.clone()), 4..=5),
        (Start::Token(third.number.to_string()), 4..=5),
        (Start::ServerTime(third.server_time), 3..=5),
        (Start::ServerTime(middle(third.server_time)), 3..=5),
        (Start::ProducerTime(third.producer_time), 3..=5),
        (Start::ProducerTime(middle(third.producer_time)), 3..=5),
    ] {
        let numbers: Vec<_> = expected.map(|ordinal| Some(stamp(ordinal).number)).collect();
        for stream in ["door", door.arn()] {
            let received = read(&kvs, stream, start.clone()).await.unwrap();
            let received: Vec<_> = received.iter().map(|fragment| fragment.number().cloned()).collect();
            assert_eq!(received, numbers, "{start:?}");
        }
    }
    let behind: Vec<_> = read(&kvs, "door", Start::Earliest)
        .await
        .unwrap()
        .iter()
        .map(|fragment| fragment.behind_now().unwrap().as_secs())
        .collect();
    assert_eq!(behind, [4, 3, 2, 1, 0]);
}

#[tokio::test]
async fn a_pushed_fragment_arrives_before_the_next_is_pushed() {
    let (endpoint, kvs) = endpoint().await;
    let door = endpoint.create_stream("door");
    let mut received = kvs.live("door").start(Start::Earliest).reconnect(false).fragments();
    for ordinal in 1..=3 {
        let pushed = door.push(&producer_document(ordinal));
        let fragment = received.try_next().await.unwrap().unwrap();
        assert_eq!(fragment.number(), Some(&pushed.number));
        assert_eq!(fragment.end_reason(), FragmentEnd::Trailer);
    }
    // Three seconds without media end the body, cleanly.
    let before = tokio::time::Instant::now();
    assert!(received.try_next().await.unwrap().is_none());
    assert!(before.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_looped_file_is_whole_and_has_new_stamps_every_time() {
    let (endpoint, kvs) = endpoint().await;
    endpoint.loop_media("camera", CAMERA).unwrap();
    // More fragments than the file has, so that it is looped.
    let received: Vec<_> =
        kvs.live("camera").start(Start::Earliest).reconnect(false).fragments().take(6).try_collect().await.unwrap();
    assert!(received.windows(2).all(|two| two[0].number() < two[1].number()));
    let original = our_packets(&fragments(&CAMERA.into()).await[0]);
    let mut played = Vec::new();
    for fragment in &received {
        assert_eq!(fragment.end_reason(), FragmentEnd::Trailer);
        assert_eq!(fragment.producer_time().unwrap().as_millis(), fragment.header().timecode_ns() / 1_000_000);
        assert_eq!(fragment.tags().get("LOCATION").as_deref(), Some("hall"));
        assert!(fragment.packets().next().unwrap().is_key());
        let mkv = fragment.to_mkv();
        assert_eq!(ffprobe_warnings(&mkv), "");
        assert_eq!(ffprobe_packets(&mkv), our_packets(fragment));
        played.extend(our_packets(fragment).into_iter().map(|(track, _, length, hash)| (track, length, hash)));
    }
    let expected = original.into_iter().map(|(track, _, length, hash)| (track, length, hash)).collect::<Vec<_>>();
    let expected: Vec<_> = expected.iter().cycle().take(played.len()).cloned().collect();
    assert_eq!(played, expected);
    let times: Vec<_> = received.iter().map(|fragment| fragment.producer_time().unwrap().as_millis()).collect();
    // A loop is as long as the file. Its Clusters are about 1 s each.
    assert!(times.windows(2).all(|two| (700..1300).contains(&(two[1] - two[0]))), "{times:?}");
    assert!((4000..4100).contains(&(times[4] - times[0])), "{times:?}");
}

#[tokio::test]
async fn a_body_of_a_raw_sdk_call_is_read() {
    let (endpoint, _) = endpoint().await;
    endpoint.serve_payload("archive", archive_body());
    let media = aws_sdk_kinesisvideomedia::Client::new(&endpoint.sdk_config());
    let selector = aws_sdk_kinesisvideomedia::types::StartSelector::builder()
        .start_selector_type(aws_sdk_kinesisvideomedia::types::StartSelectorType::Earliest)
        .build()
        .unwrap();
    let output = media.get_media().stream_name("archive").start_selector(selector).send().await.unwrap();
    assert_eq!(output.content_type(), Some("video/webm"));
    let items: Vec<_> = kinesis_video::BodyStream::from_byte_stream(output.payload).try_collect().await.unwrap();
    assert_eq!(items.len(), 3);
}

#[tokio::test]
async fn refusals_have_a_kind_and_say_which_stream() {
    let (endpoint, kvs) = endpoint().await;
    let error = read(&kvs, "nobody", Start::Now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.code(), Some("ResourceNotFoundException"));
    assert_eq!(error.context().stream(), Some("nobody"));
    assert!(!error.is_retryable());
    assert!(error.context().request_id().is_some());

    endpoint.create_stream("door").finish();
    let error = read(&kvs, "door", Start::Token("not a token of ours".into())).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidArgument, Some("InvalidArgumentException")));
    let error = read(&kvs, "door", Start::Token(String::new())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);

    let config = endpoint.sdk_config();
    drop(endpoint);
    let error = read(&KinesisVideo::new(&config), "door", Start::Now).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.is_retryable());
}

#[tokio::test]
async fn stopping_the_endpoint_cuts_its_bodies() {
    let (endpoint, kvs) = endpoint().await;
    let door = endpoint.create_stream("door");
    door.push(&producer_document(1));
    let mut received = kvs.live("door").start(Start::Earliest).reconnect(false).fragments();
    assert!(received.try_next().await.unwrap().is_some());
    drop(endpoint);
    assert_eq!(received.try_next().await.unwrap_err().kind(), ErrorKind::Io);
}

#[tokio::test]
async fn control_operations_answer_like_the_service() {
    let (endpoint, kvs) = endpoint().await;
    let control = kvs.control();
    let door = endpoint.create_stream("door");
    endpoint.create_stream("door-2");
    endpoint.create_stream("window");

    for call in [control.describe_stream().stream_name("door"), control.describe_stream().stream_arn(door.arn())] {
        let info = call.send().await.unwrap().stream_info.unwrap();
        assert_eq!((info.stream_name(), info.stream_arn()), (Some("door"), Some(door.arn())));
        assert_eq!(info.status(), Some(&aws_sdk_kinesisvideo::types::Status::Active));
        let age = std::time::SystemTime::now().duration_since((*info.creation_time().unwrap()).try_into().unwrap());
        assert!(age.unwrap() < Duration::from_secs(600));
    }
    for call in [control.describe_stream(), control.describe_stream().stream_name("door").stream_arn(door.arn())] {
        assert!(call.send().await.unwrap_err().into_service_error().is_invalid_argument_exception());
    }
    let missing = control.describe_stream().stream_name("nobody").send().await;
    assert!(missing.unwrap_err().into_service_error().is_resource_not_found_exception());

    let endpoint_of = control.get_data_endpoint().stream_name("door").api_name(ApiName::GetMedia).send().await;
    assert_eq!(endpoint_of.unwrap().data_endpoint(), Some(endpoint.url()));
    let unknown = control.get_data_endpoint().stream_name("door").api_name(ApiName::from("WHAT")).send().await;
    assert!(unknown.unwrap_err().into_service_error().is_invalid_argument_exception());

    let pages: Vec<_> = control.list_streams().max_results(2).into_paginator().send().try_collect().await.unwrap();
    let names: Vec<Vec<_>> = pages
        .iter()
        .map(|page| page.stream_info_list().iter().map(|info| info.stream_name().unwrap()).collect())
        .collect();
    assert_eq!(names, [vec!["door", "door-2"], vec!["window"]]);
    let condition = StreamNameCondition::builder()
        .comparison_operator(ComparisonOperator::BeginsWith)
        .comparison_value("door")
        .build();
    let listed = control.list_streams().stream_name_condition(condition).send().await.unwrap();
    assert_eq!(listed.stream_info_list().len(), 2);

    // An operation that the endpoint does not serve answers 200 without content.
    let described = control.describe_signaling_channel().channel_name("new").send().await.unwrap();
    assert!(described.channel_info().is_none());
}
