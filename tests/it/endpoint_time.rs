//! The local endpoint's clock, its in-process client, and what it says has happened.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesisvideomedia::config::StalledStreamProtectionConfig;
use aws_sdk_kinesisvideomedia::operation::get_media::GetMediaOutput;
use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use kinesis_video::Timestamp;
use kinesis_video::local::{Document, LocalEndpoint, Quotas, Shape};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Quotas for tests that neither want to wait nor to be throttled.
fn quick() -> Quotas {
    Quotas::default().idle(Duration::from_millis(100)).connections(None).calls_per_second(None)
}

fn document() -> Document {
    Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"frame").block(1, 500, false, b"frame")
}

fn earliest() -> StartSelector {
    StartSelector::builder().start_selector_type(StartSelectorType::Earliest).build().unwrap()
}

/// A client that asks once.
fn client(config: &aws_config::SdkConfig) -> aws_sdk_kinesisvideomedia::Client {
    let config = aws_sdk_kinesisvideomedia::config::Builder::from(config)
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    aws_sdk_kinesisvideomedia::Client::from_conf(config)
}

/// Calls GetMedia; what the error is called if it is refused.
async fn get(
    client: &aws_sdk_kinesisvideomedia::Client,
    stream: &str,
    selector: StartSelector,
) -> Result<GetMediaOutput, String> {
    use aws_sdk_kinesisvideomedia::error::ProvideErrorMetadata;
    let sent = client.get_media().stream_name(stream).start_selector(selector).send().await;
    sent.map_err(|error| error.code().map_or_else(|| format!("{error:?}"), str::to_owned))
}

/// A request over a socket, as it is, and its answer.
async fn raw(endpoint: &LocalEndpoint, headers: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", endpoint.port())).await.unwrap();
    let request =
        format!("POST /listStreams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: 0\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer.to_lowercase()
}

#[tokio::test]
async fn fragments_are_stamped_by_the_clock_of_the_endpoint() {
    let endpoint = LocalEndpoint::start_with(0, quick()).await.unwrap();
    let stream = endpoint.create_stream("door");
    for offset in [0, 90_000, -3_600_000] {
        endpoint.set_clock_offset(offset);
        let before = Timestamp::from(SystemTime::now()).as_millis();
        let stamp = stream.push(&document());
        let ahead = stamp.server_time.as_millis() - before;
        assert!((offset - 1_000..offset + 20_000).contains(&ahead), "{ahead}");
        assert_eq!(stamp.producer_time, stamp.server_time);
    }
}

#[tokio::test]
async fn every_answer_is_dated() {
    let endpoint = LocalEndpoint::start_with(0, quick()).await.unwrap();
    let now = Timestamp::from(SystemTime::now()).as_millis();
    endpoint.set_clock_offset(784_111_777_000 - now);
    let answer = raw(&endpoint, "").await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("\r\ndate: sun, 06 nov 1994 08:4"), "{answer}");
    assert_eq!(answer.matches("\r\ndate: ").count(), 1, "{answer}");
}

#[tokio::test]
async fn requests_signed_at_another_time_are_refused() {
    let endpoint = LocalEndpoint::start_with(0, quick()).await.unwrap();
    endpoint.create_stream("door").finish();
    for (offset, refused) in [(0, false), (890_000, false), (960_000, true), (-890_000, false), (-960_000, true)] {
        endpoint.set_clock_offset(offset);
        let media = client(&endpoint.sdk_config());
        let result = get(&media, "door", earliest()).await;
        assert_eq!(result.err(), refused.then(|| "RequestExpired".to_owned()), "{offset}");
        // The SDK has learned the difference from the date of the answer.
        assert!(get(&media, "door", earliest()).await.is_ok());
    }
    let answer = raw(&endpoint, "x-amz-date: 20010101T000000Z\r\n").await;
    assert!(answer.starts_with("http/1.1 400") && answer.contains("requestexpired"), "{answer}");
    for headers in ["", "x-amz-date: yesterday\r\n"] {
        assert!(raw(&endpoint, headers).await.starts_with("http/1.1 200"));
    }
    let endpoint = LocalEndpoint::start_with(0, quick().clock_tolerance(None)).await.unwrap();
    assert!(raw(&endpoint, "x-amz-date: 20010101T000000Z\r\n").await.starts_with("http/1.1 200"));
}
