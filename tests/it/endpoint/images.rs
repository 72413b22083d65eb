//! GetImages of the local endpoint: argument rules, selected pictures and pages.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::operation::get_images::builders::GetImagesFluentBuilder;
use aws_sdk_kinesisvideoarchivedmedia::types::{Format, FormatConfigKey, Image, ImageError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape};

use crate::endpoint::playback::start;
use crate::support::bodies::{AVCC, FRAME, stamp_at};
use crate::support::endpoint::{http, now_millis, refusal, sdk_time, unlimited};
use crate::support::footage::red_and_green;

/// The producer's clock is this many milliseconds ahead.
const AHEAD: i64 = 3_600_000;

/// Creates a stream of four fragments, received from `base`: pictures at 0 s and 2 s for 2 s each, sound at 5 s and
/// damage at 6 s for 1 s each.
async fn door(endpoint: &LocalEndpoint, base: i64) -> LocalStream {
    let door = endpoint.create_stream("door");
    let pictures = red_and_green().await;
    let short = |document: Document| document.block(1, 0, true, b"nothing").block(1, 500, true, b"nothing");
    let sound = short(Document::new(Shape::Ffmpeg).codec_private(&[0x11, 0x90]).audio_track(1, "sound", "A_AAC"));
    let damage = short(Document::new(Shape::Ffmpeg).codec_private(AVCC).video_track(1));
    for (ordinal, (document, millis)) in (1..).zip([(&pictures, 0), (&pictures, 2000), (&sound, 5000), (&damage, 6000)])
    {
        door.push_stamped(document, stamp_at(ordinal, base + millis, base + millis + AHEAD));
    }
    door
}

fn images(client: &Client, start: i64, end: i64) -> GetImagesFluentBuilder {
    let call = client.get_images().stream_name("door").image_selector_type("SERVER_TIMESTAMP".into());
    call.start_timestamp(sdk_time(start)).end_timestamp(sdk_time(end)).format(Format::Png)
}

/// The time of an image. The SDK reads seconds as a float, so the milliseconds are rounded.
fn millis(image: &Image) -> i64 {
    (image.time_stamp().unwrap().as_secs_f64() * 1000.0).round() as i64
}

fn decoded(image: &Image) -> image::RgbImage {
    let bytes = STANDARD.decode(image.image_content().expect("an image")).unwrap();
    image::load_from_memory_with_format(&bytes, image::ImageFormat::Png).unwrap().to_rgb8()
}

/// The colour of an image, or the reason why there is none.
fn seen(image: &Image) -> &'static str {
    if let Some(error) = image.error() {
        assert_eq!(image.image_content(), None);
        return match error {
            ImageError::NoMedia => "NO_MEDIA",
            ImageError::MediaError => "MEDIA_ERROR",
            other => panic!("{other:?}"),
        };
    }
    let picture = decoded(image);
    let [red, green, blue] = picture.get_pixel(picture.width() / 2, picture.height() / 2).0;
    match (red > 200, green > 200, blue < 60) {
        (true, false, true) => "red",
        (false, true, true) => "green",
        _ => panic!("{red} {green} {blue}"),
    }
}

#[tokio::test]
async fn every_argument_rule_is_enforced() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 60_000;
    endpoint.create_stream("door").push_stamped(
        &Document::new(Shape::Ffmpeg).codec_private(AVCC).video_track(1).block(1, 0, true, FRAME),
        stamp_at(1, base, base),
    );
    let ask = || images(&client, base, base + 1000);
    let quality = |value: &str| ask().format_config(FormatConfigKey::JpegQuality, value);
    for (call, name, expected) in [
        (ask().image_selector_type("MOON".into()), "InvalidArgumentException", "ImageSelectorType must be"),
        (ask().format("GIF".into()), "InvalidArgumentException", "Format must be one of JPEG, PNG"),
        (ask().end_timestamp(sdk_time(base - 1)), "InvalidArgumentException", "must not be earlier"),
        (ask().end_timestamp(sdk_time(base + 300_001)), "InvalidArgumentException", "IllegalArgumentException"),
        (ask().sampling_interval(199), "InvalidArgumentException", "SamplingInterval must be 200"),
        (ask().sampling_interval(-1), "InvalidArgumentException", "SamplingInterval must be 200"),
        (quality("0"), "InvalidArgumentException", "JPEGQuality must be 1 to 100"),
        (quality("101"), "InvalidArgumentException", "JPEGQuality must be 1 to 100"),
        (quality("good"), "InvalidArgumentException", "JPEGQuality must be 1 to 100"),
        (ask().format_config("PNGQuality".into(), "1"), "InvalidArgumentException", "must be JPEGQuality"),
        (
            quality("1").format_config("PNGQuality".into(), "1"),
            "InvalidArgumentException",
            "FormatConfig must have one entry",
        ),
        (ask().width_pixels(0).height_pixels(1), "InvalidArgumentException", "WidthPixels must be 1 to 3840"),
        (ask().width_pixels(3841).height_pixels(1), "InvalidArgumentException", "WidthPixels must be 1 to 3840"),
        (ask().width_pixels(1).height_pixels(0), "InvalidArgumentException", "HeightPixels must be 1 to 2160"),
        (ask().height_pixels(2161), "InvalidArgumentException", "HeightPixels must be 1 to 2160"),
        (ask().width_pixels(640), "ValidationException", "WidthPixels must not be given without HeightPixels"),
        (ask().max_results(0), "InvalidArgumentException", "MaxResults must be 1 to 100"),
        (ask().max_results(101), "InvalidArgumentException", "MaxResults must be 1 to 100"),
        (ask().next_token("?"), "InvalidArgumentException", "NextToken was not issued for this request"),
        (ask().next_token("aGVsbG8="), "InvalidArgumentException", "NextToken was not issued for this request"),
    ] {
        let (code, status, message) = refusal(call.send().await);
        assert_eq!((&code[..], status), (name, 400), "{message}");
        assert!(message.contains(expected), "{expected}: {message}");
    }
    for call in [
        ask().end_timestamp(sdk_time(base)),
        ask().end_timestamp(sdk_time(base + 300_000)),
        ask().sampling_interval(200),
        quality("1"),
        quality("100"),
        ask().width_pixels(3840).height_pixels(2160),
        ask().max_results(1),
        ask().max_results(100),
    ] {
        let answer = call.send().await.unwrap();
        assert!(!answer.images().is_empty());
    }
    // Requests that the SDK cannot send.
    let all = r#""StreamName":"door","ImageSelectorType":"SERVER_TIMESTAMP","StartTimestamp":1,"EndTimestamp":2,"Format":"PNG""#;
    for member in ["ImageSelectorType", "StartTimestamp", "EndTimestamp", "Format"] {
        let body = format!("{{{}}}", all.replace(member, "Other"));
        let (status, answer) = http(&endpoint, "POST", "/getImages", &body).await;
        assert!(status == 400 && answer.contains(&format!("{member} is missing")), "{answer}");
    }
    let (status, answer) = http(&endpoint, "POST", "/getImages", &format!("{{{all},\"FormatConfig\":{{}}}}")).await;
    assert!(status == 400 && answer.contains("FormatConfig must have one entry"), "{answer}");
    let (status, answer) = http(&endpoint, "POST", "/getImages", &format!("{{{all}}}")).await;
    assert!(status == 200 && answer.contains(r#""TimeStamp":1.0"#) && answer.contains("NO_MEDIA"), "{answer}");

    let (name, status, _) = refusal(ask().stream_name("nobody").send().await);
    assert_eq!((&name[..], status), ("ResourceNotFoundException", 404));
    let door = endpoint.create_stream("door");
    door.set_retention(Duration::ZERO);
    let (name, status, _) = refusal(ask().send().await);
    assert_eq!((&name[..], status), ("NoDataRetentionException", 400));
    for (name, status) in [("NotAuthorizedException", 401), ("ClientLimitExceededException", 400)] {
        door.set_retention(Duration::from_secs(3600));
        endpoint.inject(Operation::GetImages, None, InjectedFault::Refuse(name.into()));
        let refused = refusal(ask().send().await);
        assert_eq!((&refused.0[..], refused.1), (name, status));
    }
}

#[tokio::test]
async fn an_image_shows_the_picture_of_its_time() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 60_000;
    door(&endpoint, base).await;
    for (start, end, interval, expected) in [
        // Images are at Start, Start + interval and so on, End included.
        (0, 1900, 500, &["red", "red", "green", "green"][..]),
        (0, 2000, 500, &["red", "red", "green", "green", "red"]),
        // A picture is shown until the next one, for 100 ms.
        (950, 1150, 200, &["red", "green"]),
        (999, 999, 200, &["red"]),
        (1000, 1000, 200, &["green"]),
        (3999, 3999, 200, &["green"]),
        // The next fragment is red again. A gap, sound alone and undecodable blocks follow.
        (1500, 7500, 1000, &["green", "red", "green", "NO_MEDIA", "MEDIA_ERROR", "MEDIA_ERROR", "NO_MEDIA"]),
        (-500, 500, 500, &["NO_MEDIA", "red", "red"]),
        // An interval longer than the range yields the image at Start.
        (1200, 1300, 5000, &["green"]),
    ] {
        let call = images(&client, base + start, base + end).sampling_interval(interval);
        let answer = call.clone().send().await.unwrap();
        assert_eq!(answer.images().iter().map(seen).collect::<Vec<_>>(), expected, "{start}..={end} by {interval}");
        assert_eq!(answer.next_token(), None);
        let times: Vec<_> = answer.images().iter().map(millis).collect();
        let due: Vec<_> = (0..times.len() as i64).map(|n| base + start + n * i64::from(interval)).collect();
        assert_eq!(times, due);
        // The same by the producer's clock.
        let call = call.image_selector_type("PRODUCER_TIMESTAMP".into());
        let call = call.start_timestamp(sdk_time(base + start + AHEAD)).end_timestamp(sdk_time(base + end + AHEAD));
        let answer = call.send().await.unwrap();
        assert_eq!(answer.images().iter().map(seen).collect::<Vec<_>>(), expected, "{start}..={end} by {interval}");
    }
    // The default interval is not documented. The endpoint's is 3 s.
    let answer = images(&client, base, base + 5999).send().await.unwrap();
    assert_eq!(answer.images().iter().map(seen).collect::<Vec<_>>(), ["red", "green"]);
}

#[tokio::test]
async fn images_have_the_requested_size_and_format() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 60_000;
    door(&endpoint, base).await;
    let ask = || images(&client, base, base);
    for (call, expected) in [
        (ask(), (64, 48)),
        (ask().width_pixels(32).height_pixels(96), (32, 96)),
        (ask().width_pixels(640).height_pixels(480), (640, 480)),
        (ask().width_pixels(1).height_pixels(1), (1, 1)),
        // The height alone keeps the aspect ratio.
        (ask().height_pixels(24), (32, 24)),
        (ask().height_pixels(96), (128, 96)),
    ] {
        let answer = call.send().await.unwrap();
        let picture = decoded(&answer.images()[0]);
        assert_eq!(picture.dimensions(), expected);
        assert_eq!(seen(&answer.images()[0]), "red");
    }
    let jpeg = async |quality: Option<&str>| {
        let mut call = ask().format(Format::Jpeg);
        if let Some(quality) = quality {
            call = call.format_config(FormatConfigKey::JpegQuality, quality);
        }
        let answer = call.send().await.unwrap();
        let bytes = STANDARD.decode(answer.images()[0].image_content().unwrap()).unwrap();
        assert!(bytes.starts_with(&[0xFF, 0xD8, 0xFF]) && bytes.ends_with(&[0xFF, 0xD9]));
        bytes
    };
    assert_eq!(jpeg(None).await, jpeg(Some("80")).await);
    assert_ne!(jpeg(Some("1")).await, jpeg(Some("100")).await);
}

#[tokio::test]
async fn pages_hold_at_most_max_results_images() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 60_000;
    door(&endpoint, base).await;
    // 56 images. The middle page has some of each kind.
    let ask = || images(&client, base - 4000, base + 7000).sampling_interval(200);
    for (most, expected) in [
        (None, &[25, 25, 6][..]),
        (Some(25), &[25, 25, 6]),
        // A page has at most 25 images, whatever MaxResults.
        (Some(100), &[25, 25, 6]),
        (Some(20), &[20, 20, 16]),
        (Some(28), &[25, 25, 6]),
        (Some(14), &[14, 14, 14, 14]),
    ] {
        let mut pages = Vec::new();
        let mut times = HashSet::new();
        let mut token = None;
        loop {
            let answer = ask().set_max_results(most).set_next_token(token).send().await.unwrap();
            pages.push(answer.images().len());
            times.extend(answer.images().iter().map(millis));
            token = answer.next_token().map(ToOwned::to_owned);
            let Some(token) = &token else { break };
            // [a-zA-Z0-9+/]+={0,2}
            let digits = token.trim_end_matches('=');
            assert!((1..=4096).contains(&token.len()) && token.len() - digits.len() <= 2);
            assert!(digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte)), "{token}");
        }
        assert_eq!((&pages[..], times.len()), (expected, 56), "{most:?}");
    }
    // A token is only valid with its own request.
    let token = ask().send().await.unwrap().next_token().unwrap().to_owned();
    let other = images(&client, base - 4000, base + 7000).sampling_interval(201).next_token(&token);
    let (name, status, message) = refusal(other.send().await);
    assert_eq!((&name[..], status), ("InvalidArgumentException", 400), "{message}");
    let mut pages = ask().into_paginator().items().send();
    let mut count = 0;
    while pages.next().await.transpose().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 56);
}

#[tokio::test]
async fn images_cost_points() {
    tokio::time::pause();
    let base = now_millis() - 60_000;
    for (quotas, most, expected) in [
        // A call costs 400 metadata points plus one for each possible image, and one media point for each.
        (Quotas::default().metadata_points(Some(850)).media_points(None), None, 2),
        (Quotas::default().metadata_points(Some(849)).media_points(None), None, 1),
        (Quotas::default().metadata_points(Some(1000)).media_points(None), Some(100), 2),
        (Quotas::default().metadata_points(Some(999)).media_points(None), Some(100), 1),
        (Quotas::default().media_points(Some(75)), None, 3),
        (Quotas::default().media_points(Some(74)), None, 2),
        (Quotas::default().media_points(Some(30)), Some(10), 3),
        (Quotas::default(), Some(100), 5),
    ] {
        let endpoint = LocalEndpoint::start_with(0, quotas.clone()).await.unwrap();
        let client = Client::new(&endpoint.in_process_config());
        endpoint.create_stream("door");
        let mut answered = 0;
        let refused = loop {
            match images(&client, base, base).set_max_results(most).send().await {
                Ok(_) => answered += 1,
                refused => break refusal(refused),
            }
        };
        assert_eq!(
            (answered, &refused.0[..], refused.1),
            (expected, "ClientLimitExceededException", 400),
            "{quotas:?}"
        );
    }
}
