//! Sessions from their headers to their end.

use std::time::Duration;

use futures::TryStreamExt;
use kinesis_video::local::{InjectedFault, LocalEndpoint, Operation};
use kinesis_video::{Fragment, KinesisVideo, Start, Timestamp};

use super::producer::{Producer, declarations, end_of_fragment, head, headers, segment, tag, two_blocks};
use crate::support::endpoint::{ends_soon, http_with_headers, now_millis, unlimited};

/// All fragments of a stream so far, by GetMedia.
async fn stored(endpoint: &LocalEndpoint, stream: &str) -> Vec<Fragment> {
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let live = kvs.live(stream).start(Start::Earliest).reconnect(false);
    live.fragments().try_collect().await.unwrap()
}

/// The fragments of a stream's archive, by ListFragments and GetMediaForFragmentList.
async fn archived(endpoint: &LocalEndpoint, stream: &str) -> Vec<Fragment> {
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let archive =
        kvs.archive(stream).range(Timestamp::from_millis(1)..=Timestamp::from_millis(4_000_000_000_000)).fragments();
    archive.try_collect().await.unwrap()
}

fn payloads(fragments: &[Fragment]) -> Vec<Vec<String>> {
    let text = |fragment: &Fragment| {
        fragment.packets().map(|packet| String::from_utf8_lossy(packet.payload()).into_owned()).collect()
    };
    fragments.iter().map(text).collect()
}

#[tokio::test]
async fn fragments_are_stored_and_acknowledged() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("door");
    let before = now_millis();
    let mut producer = Producer::open(&endpoint, "door").await;
    let start = now_millis() as u64 - 5_000;
    let start_of_body = [segment(), tag("first", "1"), declarations(&[1])].concat();
    producer.send(&start_of_body).await;
    producer.send(&[two_blocks(start), tag("place", "front"), two_blocks(start + 2_000)].concat()).await;
    producer.end().await;
    let [first, second] = [start, start + 2_000];
    let expected = [
        format!("BUFFERING {first}"),
        format!("RECEIVED {first}"),
        format!("PERSISTED {first}"),
        format!("BUFFERING {second}"),
        format!("RECEIVED {second}"),
        format!("PERSISTED {second}"),
    ];
    assert_eq!(producer.rest().await, expected);

    let live = stored(&endpoint, "door").await;
    let kept = archived(&endpoint, "door").await;
    for fragments in [&live, &kept] {
        let frames = |millis| vec![format!("frame 0 at {millis}"), format!("frame 1 at {millis}")];
        assert_eq!(payloads(fragments), [frames(first), frames(second)]);
        assert_eq!(fragments[0].producer_time().unwrap().as_millis() as u64, first);
        assert!(fragments[0].server_time().unwrap().as_millis() >= before);
        // Tags between Clusters are those of the fragment before; tags in front of Tracks are the first fragment's.
        assert_eq!(fragments[0].tags().get("place").as_deref(), Some("front"));
        let tag = fragments[0].tags().iter().map(|tag| (tag.name().into_owned(), tag.is_after_media()));
        assert_eq!(tag.collect::<Vec<_>>(), [("first".to_owned(), false), ("place".to_owned(), true)]);
        assert!(fragments[1].tags().is_empty());
        assert!(fragments[0].number() < fragments[1].number());
    }
}

#[tokio::test]
async fn relative_timecodes_begin_at_the_start_timestamp() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("door");
    let named = headers("door", "RELATIVE");
    let started = format!("{named}x-amzn-producer-start-timestamp: 1795534218.250\r\n");
    let mut producer = Producer::call(&endpoint, &started).await;
    producer.head().await;
    producer.send(&[head(&[1]), two_blocks(1_500)].concat()).await;
    producer.end().await;
    // Acknowledgements have the timecode of the Cluster.
    assert_eq!(producer.rest().await, ["BUFFERING 1500", "RECEIVED 1500", "PERSISTED 1500"]);
    let [fragment] = &stored(&endpoint, "door").await[..] else { panic!("one fragment") };
    assert_eq!(fragment.producer_time().unwrap().as_millis(), 1_795_534_219_750);
}

#[tokio::test]
async fn the_last_fragment_is_persisted_while_the_body_is_open() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("door");
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&[head(&[1]), two_blocks(1_000), end_of_fragment()].concat()).await;
    assert_eq!(producer.told(3).await, ["BUFFERING 1000", "RECEIVED 1000", "PERSISTED 1000"]);
    // The session goes on.
    producer.send(&two_blocks(3_000)).await;
    assert_eq!(producer.told(1).await, ["BUFFERING 3000"]);
    producer.end().await;
    assert_eq!(producer.rest().await, ["RECEIVED 3000", "PERSISTED 3000"]);
    let fragments = stored(&endpoint, "door").await;
    assert_eq!(fragments.len(), 2);
    assert!(fragments.iter().all(|fragment| fragment.tags().is_empty()));
}

#[tokio::test]
async fn headers_come_before_the_body_and_expect_is_answered() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    endpoint.create_stream("door");
    let named = headers("door", "ABSOLUTE");
    let mut producer = Producer::call(&endpoint, &format!("{named}Expect: 100-continue\r\n")).await;
    assert_eq!(producer.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(producer.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    producer.send(&[head(&[1]), two_blocks(1_000)].concat()).await;
    assert_eq!(producer.told(1).await, ["BUFFERING 1000"]);
}

#[tokio::test]
async fn without_acknowledgements_only_errors_are_sent() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("door");
    let named = headers("door", "ABSOLUTE");
    let quiet = format!("{named}x-amzn-fragment-acknowledgment-required: 0\r\n");
    let mut producer = Producer::call(&endpoint, &quiet).await;
    producer.head().await;
    producer.send(&[head(&[1]), two_blocks(2_000), two_blocks(1_000)].concat()).await;
    assert_eq!(producer.rest().await, ["ERROR 4004 FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"]);
    assert_eq!(stored(&endpoint, "door").await.len(), 1);
}

#[tokio::test]
async fn a_stream_without_retention_persists_nothing() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("door").set_retention(Duration::ZERO);
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&[head(&[1]), two_blocks(1_000)].concat()).await;
    producer.end().await;
    assert_eq!(producer.rest().await, ["BUFFERING 1000", "RECEIVED 1000"]);
    assert_eq!(stored(&endpoint, "door").await.len(), 1);
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    endpoint.create_stream("door");
    endpoint.create_stream("shut").finish();
    let kind = "x-amzn-fragment-timecode-type: ABSOLUTE\r\n";
    let door = "x-amzn-stream-name: door\r\n";
    for (headers, status, exception) in [
        (kind.to_owned(), 400, "InvalidArgumentException"),
        (format!("{kind}{door}x-amzn-stream-arn: arn\r\n"), 400, "InvalidArgumentException"),
        (format!("{kind}x-amzn-stream-name: window\r\n"), 404, "ResourceNotFoundException"),
        (format!("{kind}x-amzn-stream-name: shut\r\n"), 404, "ResourceNotFoundException"),
        (door.to_owned(), 400, "InvalidArgumentException"),
        (headers("door", "absolute"), 400, "InvalidArgumentException"),
        (headers("door", "RELATIVE"), 400, "InvalidArgumentException"),
        (format!("{door}{kind}x-amzn-producer-start-timestamp: soon\r\n"), 400, "InvalidArgumentException"),
        (format!("{door}{kind}x-amzn-fragment-acknowledgment-required: maybe\r\n"), 400, "InvalidArgumentException"),
        (format!("{door}{kind}x-amz-date: 20200101T000000Z\r\n"), 400, "RequestExpired"),
    ] {
        let (answered, answer) = http_with_headers(&endpoint, "POST", "/putMedia", &headers, "").await;
        assert_eq!(answered, status, "{headers}: {answer}");
        assert!(answer.contains(exception), "{headers}: {answer}");
    }
    assert_eq!(endpoint.calls(Operation::PutMedia, "door").len(), 7);
}

#[tokio::test]
async fn a_stream_takes_one_connection() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    endpoint.create_stream("door");
    let mut first = Producer::open(&endpoint, "door").await;
    let mut second = Producer::call(&endpoint, &headers("door", "ABSOLUTE")).await;
    let refused = second.head().await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("ConnectionLimitExceededException"), "{refused}");
    first.end().await;
    assert_eq!(first.rest().await, [""; 0]);
    // The first connection is given up just after its answer has ended.
    let mut third = Producer::reopen(&endpoint, "door").await;
    third.send(&[head(&[1]), two_blocks(1_000)].concat()).await;
    assert_eq!(third.told(1).await, ["BUFFERING 1000"]);
}

#[tokio::test]
async fn an_idle_session_and_an_old_one_end() {
    let quotas = unlimited().put_idle(Duration::from_millis(50));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    endpoint.create_stream("door");
    assert_eq!(Producer::open(&endpoint, "door").await.rest().await, ["IDLE"]);

    let quotas = ends_soon().put_session(Duration::from_millis(200));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    endpoint.create_stream("door");
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&[head(&[1]), two_blocks(1_000)].concat()).await;
    let expected = ["BUFFERING 1000", "ERROR 1000 4003 MAX_CONNECTION_DURATION_REACHED"];
    assert_eq!(producer.rest().await, expected);
    // The fragment is discarded.
    assert_eq!(archived(&endpoint, "door").await.len(), 0);
}

#[tokio::test]
async fn injected_faults_break_sessions() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("door");
    let body = [head(&[1]), two_blocks(1_000), two_blocks(3_000)].concat();
    endpoint.inject(Operation::PutMedia, Some("door"), InjectedFault::ResetAfter(body.len() as u64));
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&body).await;
    let told = producer.rest().await;
    // A reset may discard what is on its way.
    assert!(
        ["BUFFERING 1000", "RECEIVED 1000", "PERSISTED 1000", "BUFFERING 3000"].map(str::to_owned).starts_with(&told),
        "{told:?}"
    );
    assert_eq!(endpoint.fault_counts().reset, 1);

    let fault = InjectedFault::FaultAfter { fragments: 1, id: 5001, message: "ARCHIVAL_ERROR".into() };
    endpoint.inject(Operation::PutMedia, Some("door"), fault);
    let mut producer = Producer::reopen(&endpoint, "door").await;
    producer.send(&body).await;
    let told = producer.rest().await;
    assert_eq!(told.last().unwrap(), "ERROR 1000 5001 ARCHIVAL_ERROR");
    // Each session stored its first fragment.
    assert_eq!(archived(&endpoint, "door").await.len(), 2);
}

#[tokio::test]
async fn deleting_a_stream_ends_its_sessions() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&[head(&[1]), two_blocks(1_000)].concat()).await;
    assert_eq!(producer.told(1).await, ["BUFFERING 1000"]);
    let control = aws_sdk_kinesisvideo::Client::new(&endpoint.sdk_config());
    control.delete_stream().stream_arn(door.arn()).send().await.unwrap();
    assert_eq!(producer.rest().await, ["ERROR 1000 4507 STREAM_DELETED"]);
}
