//! Images of GetImages: requests, the interval, pages, and missing images.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{Format, FormatConfigKey};
use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, Operation, Shape};
use kinesis_video::{ArchivedImage, Clock, ErrorKind, ImageFormat, Images, KinesisVideo, NoImage};
use serde_json::{Value, json};

use crate::support::bodies::{AVCC, FRAME, stamp_at};
use crate::support::endpoint::{attempts, now_millis, refusal, time, unlimited};
use crate::support::footage::red_and_green;
use crate::support::stand_in::{Answer, stand_in};

const T: i64 = 1_700_000_000_126;

fn millis(body: &Value, member: &str) -> i64 {
    (body[member].as_f64().unwrap() * 1000.0).round() as i64
}

/// Answers with an image for each interval of the request, `page` at a time. The content of an image is its time.
fn take(body: &Value, page: usize, is_end_included: bool) -> Answer {
    let (start, end) = (millis(body, "StartTimestamp"), millis(body, "EndTimestamp"));
    assert!((1..=300_000).contains(&(end - start)), "{body}");
    let every = body["SamplingInterval"].as_u64().unwrap() as usize;
    let times: Vec<i64> = (start..end + i64::from(is_end_included)).step_by(every).collect();
    let first: usize = body["NextToken"].as_str().map_or(0, |token| token.parse().unwrap());
    let images: Vec<Value> = times
        .iter()
        .skip(first)
        .take(page)
        .map(|time| {
            let content = aws_smithy_types::base64::encode(time.to_string());
            json!({ "TimeStamp": *time as f64 / 1000.0, "ImageContent": content })
        })
        .collect();
    let next = first + images.len();
    Answer::json(match next < times.len() {
        true => json!({ "Images": images, "NextToken": next.to_string() }),
        false => json!({ "Images": images }),
    })
}

async fn times(images: Images) -> Vec<i64> {
    let time = |image: ArchivedImage| {
        let time = image.time().as_millis();
        assert_eq!(image.content().unwrap(), time.to_string().as_bytes());
        time
    };
    images.images().map_ok(time).try_collect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn images_keep_their_interval_across_calls_and_pages() {
    for (length, every, page, is_end_included) in [
        (0, 1000, 25, true),
        (10_000, 3000, 2, true),
        (300_000, 1000, 25, true),
        (900_000, 1000, 25, true),
        (900_000, 7777, 10, false),
        (1_000_000, 299_999, 25, true),
        (1_000_000, 400_000, 25, false),
    ] {
        let (kvs, asked) = stand_in(move |_, body| take(body, page, is_end_included)).await;
        let images = kvs.images("door").range(time(T)..=time(T + length)).sample_every(Duration::from_millis(every));
        let expected: Vec<i64> = (T..=T + length).step_by(every as usize).collect();
        assert_eq!(times(images).await, expected, "{length} every {every}");
        // There is one call per page.
        assert!(asked.take().len() <= expected.len() / page + length as usize / 300_000 + 2);
    }
}

#[tokio::test]
async fn requests_carry_the_chosen_options() {
    let (kvs, asked) = stand_in(|_, body| take(body, 1, true)).await;
    assert_eq!(times(kvs.images("door").range(time(T)..=time(T + 1500))).await.len(), 2);
    let mut expected = json!({
        "StreamName": "door", "ImageSelectorType": "SERVER_TIMESTAMP",
        "StartTimestamp": 1_700_000_000.126, "EndTimestamp": 1_700_000_001.626,
        "SamplingInterval": 1000, "Format": "JPEG", "MaxResults": 25,
    });
    let mut next = expected.clone();
    next["NextToken"] = "1".into();
    assert_eq!(asked.bodies(), [expected.take(), next]);

    let arn = "arn:aws:kinesisvideo:eu-west-1:1:stream/door/2";
    let images =
        kvs.images(arn).range(time(T)..=time(T)).clock(Clock::Producer).sample_every(Duration::from_millis(200));
    let images = images.quality(100).size(3840, 2160).page_size(100);
    assert_eq!(times(images).await, [T]);
    assert_eq!(
        asked.bodies(),
        [json!({
            "StreamARN": arn, "ImageSelectorType": "PRODUCER_TIMESTAMP",
            "StartTimestamp": 1_700_000_000.126, "EndTimestamp": 1_700_000_000.127,
            "SamplingInterval": 200, "Format": "JPEG", "FormatConfig": { "JPEGQuality": "100" },
            "WidthPixels": 3840, "HeightPixels": 2160, "MaxResults": 100,
        })]
    );
    let images = kvs.images("door").range(time(T)..=time(T)).format(ImageFormat::Png);
    times(images).await;
    assert_eq!(asked.bodies()[0]["Format"], "PNG");
}

#[tokio::test]
async fn missing_images_are_items_not_errors() {
    let (kvs, _) = stand_in(|_, _| {
        Answer::json(json!({ "Images": [
            { "TimeStamp": 1.5, "Error": "NO_MEDIA" },
            { "TimeStamp": 2, "Error": "MEDIA_ERROR" },
            { "TimeStamp": 1.700000000126E9, "ImageContent": "AAEC" },
            { "TimeStamp": 4, "Error": "MOON" },
            { "TimeStamp": 5 },
        ] }))
    })
    .await;
    let images = kvs.images("door").range(time(0)..=time(5000)).format(ImageFormat::Png).images();
    let images: Vec<ArchivedImage> = images.try_collect().await.unwrap();
    let contents: Vec<_> = images.iter().map(|image| image.clone().into_content()).collect();
    let (moon, nothing) = (NoImage::Other("MOON".into()), NoImage::Other(String::new()));
    let picture = bytes::Bytes::from_static(&[0, 1, 2]);
    assert_eq!(contents, [Err(NoImage::NoMedia), Err(NoImage::MediaError), Ok(picture), Err(moon), Err(nothing)]);
    let times: Vec<_> = images.iter().map(|image| image.time().as_millis()).collect();
    assert_eq!(times, [1500, 2000, T, 4000, 5000]);
    assert!(images.iter().all(|image| image.format() == ImageFormat::Png));
    assert!(!format!("{images:?}").contains("[0, 1, 2]"));
}

#[tokio::test(start_paused = true)]
async fn malformed_answers_are_errors() {
    for (answer, kind) in [
        (json!({}), ErrorKind::WrongEndpoint),
        (json!({ "Images": [{ "Error": "NO_MEDIA" }] }), ErrorKind::Service),
        (json!({ "Images": [{ "TimeStamp": 1, "ImageContent": "no base64!" }] }), ErrorKind::Service),
        (json!({ "Images": [], "NextToken": "again" }), ErrorKind::Service),
    ] {
        let (kvs, _) = stand_in(move |_, _| Answer::json(answer.clone())).await;
        let mut images = kvs.images("door").range(time(0)..=time(5000)).images();
        let error = images.try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.context().stream()), (kind, Some("door")), "{error}");
        assert!(images.next().await.is_none());
    }
    let (kvs, asked) = stand_in(|_, _| Answer::unknown_operation()).await;
    let error =
        kvs.images("door").retry(attempts(3)).range(time(0)..=time(5000)).images().try_next().await.unwrap_err();
    assert_eq!((error.kind(), asked.take().len()), (ErrorKind::WrongEndpoint, 3));
}

/// Images before an error are yielded first, and transient errors are retried.
#[tokio::test(start_paused = true)]
async fn throttled_pages_are_retried() {
    let throttled = Mutex::new(HashMap::new());
    let (kvs, asked) = stand_in(move |_, body| {
        let mut throttled = throttled.lock().unwrap();
        let times = throttled.entry(body.to_string()).or_insert(0);
        *times += 1;
        if *times % 3 == 0 {
            take(body, 5, true)
        } else {
            Answer::refusal(400, "ClientLimitExceededException", "slowly")
        }
    })
    .await;
    let range = time(T)..=time(T + 19_000);
    assert_eq!(times(kvs.images("door").range(range.clone())).await.len(), 20);
    assert_eq!(asked.take().len(), 12);
    let mut images = kvs.images("door").range(range).retry(attempts(1)).images();
    let error = images.try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Throttled, true));
}

/// Each rule that needs no clock. The client refuses it before any call, and so does the endpoint where the SDK can
/// send it.
#[tokio::test]
async fn client_and_endpoint_refuse_the_same_arguments() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let base = now_millis() - 60_000;
    let document = Document::new(Shape::Ffmpeg).codec_private(AVCC).video_track(1).block(1, 0, true, FRAME);
    endpoint.create_stream("door").push_stamped(&document, stamp_at(1, base, base));
    let (kvs, raw) = (KinesisVideo::new(&endpoint.sdk_config()), Client::new(&endpoint.sdk_config()));
    let ask = || kvs.images("door").range(time(base)..=time(base + 1000));
    let before = endpoint.requests();
    for (images, rule) in [
        (kvs.images("door"), "the range must be given"),
        (ask().range(time(base)..=time(base - 1)), "EndTimestamp must be StartTimestamp or later"),
        (ask().sample_every(Duration::from_millis(199)), "SamplingInterval must be 200 whole milliseconds or more"),
        (ask().sample_every(Duration::from_micros(200_500)), "SamplingInterval must be"),
        (ask().sample_every(Duration::MAX), "SamplingInterval must be"),
        (ask().size(0, 1), "WidthPixels must be 1 to 3840, not 0"),
        (ask().size(3841, 1), "WidthPixels must be 1 to 3840, not 3841"),
        (ask().size(1, 0), "HeightPixels must be 1 to 2160, not 0"),
        (ask().size(1, 2161), "HeightPixels must be 1 to 2160, not 2161"),
        (ask().quality(0), "JPEGQuality must be 1 to 100, not 0"),
        (ask().quality(101), "JPEGQuality must be 1 to 100, not 101"),
        (ask().quality(80).format(ImageFormat::Png), "JPEGQuality must be left out where Format is PNG"),
        (ask().page_size(0), "MaxResults must be 1 to 100, not 0"),
        (ask().page_size(101), "MaxResults must be 1 to 100, not 101"),
    ] {
        let mut images = images.images();
        let error = images.try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.context().stream()), (ErrorKind::InvalidArgument, Some("door")));
        assert!(error.to_string().contains(rule), "{error} does not say {rule}");
        assert!(images.next().await.is_none());
    }
    assert_eq!(endpoint.requests(), before, "nothing was sent");

    let time = DateTime::from_millis;
    let call = || {
        let call = raw.get_images().stream_name("door").image_selector_type("SERVER_TIMESTAMP".into());
        call.start_timestamp(time(base)).end_timestamp(time(base + 1000)).format(Format::Jpeg)
    };
    for (call, member) in [
        (call().end_timestamp(time(base - 1)), "EndTimestamp"),
        // The client splits longer ranges, so only the endpoint refuses them.
        (call().end_timestamp(time(base + 300_001)), "EndTimestamp"),
        (call().sampling_interval(199), "SamplingInterval"),
        (call().width_pixels(0).height_pixels(1), "WidthPixels"),
        (call().width_pixels(3841).height_pixels(1), "WidthPixels"),
        (call().width_pixels(1).height_pixels(0), "HeightPixels"),
        (call().width_pixels(1).height_pixels(2161), "HeightPixels"),
        // The client's types cannot express these.
        (call().width_pixels(1), "WidthPixels"),
        (call().format_config(FormatConfigKey::JpegQuality, "0"), "JPEGQuality"),
        (call().format_config(FormatConfigKey::JpegQuality, "101"), "JPEGQuality"),
        (call().max_results(0), "MaxResults"),
        (call().max_results(101), "MaxResults"),
    ] {
        let (_, status, said) = refusal(call.send().await);
        assert!(status == 400 && said.contains(member), "{said}");
    }
}

#[tokio::test]
async fn images_of_the_local_endpoint_show_the_right_picture() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let base = now_millis() - 700_000;
    let door = endpoint.create_stream("door");
    let picture = red_and_green().await;
    for (ordinal, millis) in [(1, 0), (2, 310_000)] {
        door.push_stamped(&picture, stamp_at(ordinal, base + millis, base + millis));
    }
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    endpoint.inject(Operation::GetImages, None, InjectedFault::UnknownOperation);
    let images = kvs
        .images("door")
        .range(time(base)..=time(base + 620_000))
        .sample_every(Duration::from_secs(10))
        .size(64, 48)
        .images();
    let images: Vec<ArchivedImage> = images.try_collect().await.unwrap();
    let times: Vec<i64> = images.iter().map(|image| image.time().as_millis() - base).collect();
    assert_eq!(times, (0..=620_000).step_by(10_000).collect::<Vec<i64>>());
    let with_media: Vec<i64> = images
        .iter()
        .filter(|image| image.content().is_ok_and(|bytes| bytes.starts_with(&[0xFF, 0xD8])))
        .map(|image| image.time().as_millis() - base)
        .collect();
    assert_eq!(with_media, [0, 310_000]);
    let error = kvs.images("window").range(time(0)..=time(1)).images().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    door.set_retention(Duration::ZERO);
    let error = kvs.images("door").range(time(base)..=time(base)).images().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retention);
}
