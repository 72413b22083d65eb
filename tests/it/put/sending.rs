//! What is sent, and what becomes of it.

use std::time::Duration;

use futures::{SinkExt, StreamExt, TryStreamExt, stream};
use kinesis_video::local::{Document, LocalEndpoint, Shape};
use kinesis_video::{
    ErrorKind, Fragment, FragmentStream, KinesisVideo, PutAckKind, PutMedia, RecordExt, RetryConfig, Start, Timestamp,
};

use crate::support::bodies::{CAMERA, fragments, live_body, payload, producer_document, stamp};
use crate::support::endpoint::ends_soon;
use crate::support::put_server::{Plan, PutServer, error_ack, refusal};

/// Retries soon.
pub fn quick(attempts: u32) -> RetryConfig {
    let millis = Duration::from_millis;
    RetryConfig::default().max_attempts(attempts).initial_backoff(millis(1)).max_backoff(millis(5))
}

async fn produced(ordinals: impl IntoIterator<Item = u32>) -> Vec<Fragment> {
    let documents = ordinals.into_iter().map(|ordinal| (producer_document(ordinal), stamp(ordinal)));
    let bodies = documents.map(|(document, stamp)| document.to_bytes(&stamp, 0));
    fragments(&bodies.collect::<Vec<_>>().concat().into()).await
}

fn millis(ordinal: u32) -> i64 {
    stamp(ordinal).producer_time.as_millis()
}

type Packets = Vec<(u64, i64, bytes::Bytes)>;

/// The packets with their times after the fragment's start.
fn packets(fragment: &Fragment) -> Packets {
    let start = fragment.header().timecode_ns();
    let of =
        |packet: kinesis_video::Packet| (packet.track_number(), packet.timecode_ns() - start, packet.payload().clone());
    fragment.packets().map(of).collect()
}

async fn send(put: PutMedia, fragments: Vec<Fragment>) -> kinesis_video::Result<kinesis_video::Summary> {
    let sent = stream::iter(fragments.into_iter().map(Ok)).record(put.sink());
    tokio::time::timeout(Duration::from_secs(60), sent).await.expect("it ends")
}

#[tokio::test]
async fn fragments_arrive_with_their_times_tags_and_frames() {
    let server = PutServer::start([]).await;
    let sent = produced(1..=5).await;
    let mut sink = server.client().put_media("door").sink();
    let acks = sink.acks();
    for fragment in &sent {
        sink.feed(fragment.clone()).await.unwrap();
    }
    sink.close().await.unwrap();
    let status = sink.status();
    assert_eq!(
        (status.fragments, status.persisted, status.waiting, status.connections, status.repeated),
        (5, 5, 0, 1, 0)
    );
    let puts = server.puts();
    let [put] = &puts[..] else { panic!("{puts:?}") };
    assert_eq!(put.path, "/putMedia");
    assert!(put.is_complete);
    for (name, value) in [
        ("x-amzn-stream-name", "door"),
        ("x-amzn-fragment-timecode-type", "ABSOLUTE"),
        ("x-amzn-fragment-acknowledgment-required", "1"),
        ("x-amzn-producer-start-timestamp", "1511852109.513"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("transfer-encoding", "chunked"),
    ] {
        assert_eq!(put.header(name), Some(value), "{name}");
    }
    assert_eq!(put.header("content-length"), None);
    assert_eq!(put.stored.len(), 5);
    for ((ordinal, fragment), (time, stored)) in (1..).zip(&sent).zip(&put.stored) {
        assert_eq!(*time, millis(ordinal));
        assert_eq!(packets(stored), packets(fragment));
        assert_eq!(stored.tracks(), fragment.tracks());
        // The producer's tags are sent, the service's are not.
        let tags: Vec<_> = stored.tags().iter().map(|tag| (tag.name().into_owned(), tag.value().to_string())).collect();
        assert_eq!(tags, [("ordinal".to_owned(), ordinal.to_string())]);
        assert!(stored.number().is_none() && stored.continuation_token().is_none());
        let reserved: Vec<_> = stored.tags().reserved().map(|tag| tag.name().into_owned()).collect();
        assert_eq!(reserved, ["AWS_KINESISVIDEO_END_OF_FRAGMENT"]);
    }
    let acks: Vec<_> = acks.collect().await;
    let persisted = acks.iter().filter(|ack| ack.kind() == PutAckKind::Persisted);
    let persisted: Vec<_> = persisted.map(|ack| ack.timecode_millis().unwrap()).collect();
    assert_eq!(persisted, (1..=5).map(millis).collect::<Vec<_>>());
    assert_eq!(acks.len(), 15);
}

#[tokio::test]
async fn a_flush_ends_when_all_is_persisted_and_the_connection_stays() {
    let server = PutServer::start([]).await;
    let mut sink = server.client().put_media("door").sink();
    for (ordinal, fragment) in (1..).zip(produced(1..=3).await) {
        sink.send(fragment).await.unwrap();
        assert_eq!((sink.status().persisted, sink.status().waiting), (ordinal, 0));
        assert_eq!(server.stored().len() as u64, ordinal);
    }
    assert_eq!(sink.status().connections, 1);
    sink.close().await.unwrap();
    let closed = sink.feed(produced([4]).await.remove(0)).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_file_is_sent_by_its_own_times_per_cluster() {
    let server = PutServer::start([]).await;
    let clusters: Vec<_> = FragmentStream::new(CAMERA).per_cluster(true).try_collect().await.unwrap();
    let start = Timestamp::from_millis(1_795_534_218_015);
    // The whole file as one fragment gives the same.
    for sent in [clusters.clone(), fragments(&CAMERA.into()).await] {
        let put = server.client().put_media("door").relative(start);
        assert_eq!(send(put, sent).await.unwrap().items() as usize, clusters.len());
    }
    for put in server.puts() {
        assert_eq!(put.header("x-amzn-fragment-timecode-type"), Some("RELATIVE"));
        assert_eq!(put.header("x-amzn-producer-start-timestamp"), Some("1795534218.015"));
        let stored: Vec<_> = put.stored.iter().map(|(_, fragment)| packets(fragment)).collect();
        assert_eq!(stored, clusters.iter().map(packets).collect::<Vec<_>>());
        let times: Vec<_> = put.stored.iter().map(|(time, _)| time * 1_000_000).collect();
        assert_eq!(times, clusters.iter().map(|cluster| cluster.header().timecode_ns()).collect::<Vec<_>>());
    }
    // Without a producer time, the fragment fails, and the sink goes on.
    let mut sink = server.client().put_media("door").sink();
    let error = sink.feed(clusters[0].clone()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("no producer time") && error.context().stream() == Some("door"), "{error}");
    sink.send(clusters[0].clone().with_producer_time(start)).await.unwrap();
    assert_eq!(server.puts()[2].stored[0].0, start.as_millis());
}

#[tokio::test]
async fn other_tracks_and_earlier_times_begin_a_connection() {
    let server = PutServer::start([]).await;
    let mut sent = produced([1, 2]).await;
    let other =
        Document::new(Shape::Producer).codec_private(&[2; 40]).video_track(1).block(1, 0, true, &payload(50, 1));
    sent.extend(fragments(&other.to_bytes(&stamp(3), 0)).await);
    sent.extend(produced([4, 5, 3]).await);
    assert_eq!(send(server.client().put_media("door"), sent).await.unwrap().items(), 6);
    let stored: Vec<Vec<_>> =
        server.puts().iter().map(|put| put.stored.iter().map(|(time, _)| *time).collect()).collect();
    let expected = [&[1, 2][..], &[3], &[4, 5], &[3]].map(|ordinals| ordinals.iter().map(|&n| millis(n)).collect());
    assert_eq!(stored, expected as [Vec<i64>; 4]);
    assert!(server.puts().iter().all(|put| put.is_complete));
}

#[tokio::test]
async fn what_was_not_persisted_is_sent_again_in_order() {
    let lossy = Plan { end: Some((3, String::new())), loses_ack: true, ..Plan::default() };
    let plans = [
        Plan { refusal: Some(refusal(503, "ServiceUnavailable")), ..Plan::default() },
        lossy,
        Plan { drop_after: Some(1000), ..Plan::default() },
        Plan { end: Some((1, error_ack(4003, "MAX_CONNECTION_DURATION_REACHED", millis(4)))), ..Plan::default() },
    ];
    let server = PutServer::start(plans).await;
    let mut sink = server.client().put_media("door").retry(quick(5)).sink();
    for fragment in produced(1..=6).await {
        sink.feed(fragment).await.unwrap();
    }
    sink.close().await.unwrap();
    assert_eq!(server.pending(), 0);
    let mut stored = server.stored();
    // The third was stored, but its acknowledgement was lost.
    let thirds = stored.iter().filter(|&&time| time == millis(3)).count();
    assert!(thirds >= 2, "{stored:?}");
    stored.dedup();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored, (1..=6).map(millis).collect::<Vec<_>>());
    assert_eq!((sink.status().persisted, sink.status().connections, sink.status().error.is_none()), (6, 5, true));
}

#[tokio::test]
async fn errors_name_the_fragment_the_stream_and_the_request() {
    let refused = Plan {
        end: Some((2, error_ack(4004, "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS", millis(2)))),
        loses_ack: true,
        ..Plan::default()
    };
    let server = PutServer::start([refused]).await;
    let mut sink = server.client().put_media("door").retry(quick(5)).sink();
    for fragment in produced(1..=2).await {
        sink.feed(fragment).await.unwrap();
    }
    let error = sink.close().await.unwrap_err();
    assert_eq!((error.kind(), error.code(), error.is_retryable()), (ErrorKind::InvalidArgument, Some("4004"), false));
    assert_eq!(error.context().stream(), Some("door"));
    assert_eq!(error.context().endpoint(), Some(&server.url[..]));
    assert_eq!(error.context().request_id(), Some("the-id"));
    assert_eq!(error.position().fragment(), Some(stamp(2).number.as_str()));
    assert!(error.message().contains(&millis(2).to_string()), "{error}");
    // The sink stays failed, and says what was persisted.
    assert_eq!(sink.feed(produced([3]).await.remove(0)).await.unwrap_err().code(), Some("4004"));
    assert_eq!((sink.status().persisted, sink.status().waiting), (1, 1));
    assert_eq!(server.puts().len(), 1);
}

#[tokio::test]
async fn calls_that_fail_are_retried_as_often_as_set() {
    for (name, status, kind, calls) in [
        ("ServiceUnavailable", 503, ErrorKind::Service, 3),
        ("ClientLimitExceededException", 400, ErrorKind::Throttled, 3),
        ("ConnectionLimitExceededException", 400, ErrorKind::ConnectionLimit, 3),
        ("NotAuthorizedException", 401, ErrorKind::AccessDenied, 1),
        ("ResourceNotFoundException", 404, ErrorKind::NotFound, 1),
    ] {
        let plan = Plan { refusal: Some(refusal(status, name)), ..Plan::default() };
        let server = PutServer::start(vec![plan; 9]).await;
        let error = send(server.client().put_media("door").retry(quick(3)), produced([1]).await).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(name)), "{error}");
        assert!(error.message().starts_with("PutMedia: "), "{error}");
        assert_eq!(server.puts().len(), calls, "{name}");
    }
    // A connection that ends at once, and one that acknowledges nothing.
    for plan in [
        Plan { refusal: Some("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into()), ..Plan::default() },
        Plan { is_silent: true, ..Plan::default() },
    ] {
        let server = PutServer::start(vec![plan; 9]).await;
        let put = server.client().put_media("door").retry(quick(2)).ack_timeout(Duration::from_millis(50));
        let error = send(put, produced([1]).await).await.unwrap_err();
        assert_eq!((error.kind(), server.puts().len()), (ErrorKind::Io, 2), "{error}");
    }
}

#[tokio::test]
async fn a_host_that_does_not_know_the_operation_is_reported() {
    let body = r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let server = PutServer::start(vec![Plan { refusal: Some(answer), ..Plan::default() }; 9]).await;
    let error = send(server.client().put_media("door").retry(quick(2)), produced([1]).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongEndpoint, "{error}");
}

#[tokio::test]
async fn a_slow_service_slows_the_sink_down() {
    let server = PutServer::start([Plan { pause: Duration::from_millis(2), ..Plan::default() }]).await;
    let mut sink = server.client().put_media("door").max_waiting_fragments(3).sink();
    let mut most = 0;
    for fragment in produced(1..=30).await {
        sink.feed(fragment).await.unwrap();
        most = most.max(sink.status().waiting);
    }
    sink.close().await.unwrap();
    assert_eq!((most, server.stored().len()), (3, 30));
    let server = PutServer::start([Plan { pause: Duration::from_millis(2), ..Plan::default() }]).await;
    let mut sink = server.client().put_media("door").max_waiting_bytes(1000).sink();
    for fragment in produced(1..=30).await {
        let size = fragment.raw().len() as u64;
        sink.feed(fragment).await.unwrap();
        assert!(sink.status().waiting_bytes < 1000 + size, "{:?}", sink.status());
    }
    sink.close().await.unwrap();
    assert_eq!(server.stored().len(), 30);
}

#[tokio::test]
async fn a_dropped_sink_closes_its_connection() {
    let server = PutServer::start([Plan { is_silent: true, ..Plan::default() }]).await;
    let mut sink = server.client().put_media("door").sink();
    let acks = sink.acks();
    sink.feed(produced([1]).await.remove(0)).await.unwrap();
    crate::kvs::until(|| server.stored().len() == 1).await;
    drop(sink);
    assert_eq!(acks.count().await, 0);
    assert!(!server.puts()[0].is_complete);
}

#[tokio::test]
async fn cut_fragments_are_sent_without_the_cut_block() {
    let server = PutServer::start([]).await;
    let body = live_body([producer_document(1)]);
    let end = body.len() - 300;
    let cut = fragments(&body.slice(..end)).await.remove(0);
    assert_eq!(cut.end_reason(), kinesis_video::FragmentEnd::Cut);
    assert!(cut.blocks().len() < 5 && cut.blocks().len() > 0);
    send(server.client().put_media("door"), vec![cut.clone()]).await.unwrap();
    assert_eq!(packets(&server.puts()[0].stored[0].1), packets(&cut));
}

#[tokio::test]
async fn streams_are_copied_without_sockets() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    let door = endpoint.create_stream("door");
    (1..=5).for_each(|ordinal| door.push_stamped(&producer_document(ordinal), stamp(ordinal)));
    drop(endpoint.create_stream("copy"));
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let read = |stream: &str| kvs.live(stream).start(Start::Earliest).reconnect(false).fragments();
    assert_eq!(read("door").record(kvs.put_media("copy").sink()).await.unwrap().items(), 5);
    let copied: Vec<Fragment> = read("copy").try_collect().await.unwrap();
    let sent: Vec<Fragment> = read("door").try_collect().await.unwrap();
    assert_eq!(copied.iter().map(packets).collect::<Vec<_>>(), sent.iter().map(packets).collect::<Vec<_>>());
    let times = |fragments: &[Fragment]| fragments.iter().map(Fragment::producer_time).collect::<Vec<_>>();
    assert_eq!(times(&copied), times(&sent));
    // Without a stream, the call that asks for its endpoint fails.
    let error = read("door").record(kvs.put_media("nowhere").sink()).await.unwrap_err();
    assert_eq!((error.kind(), error.context().stream()), (ErrorKind::NotFound, Some("nowhere")));
    assert_eq!(error.summary().unwrap().items(), 0);
}
