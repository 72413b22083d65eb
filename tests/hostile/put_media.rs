//! Producers that mean harm: damaged bodies and headers, and connections that are slow.

use std::time::Duration;

use bytes::Bytes;
use kinesis_video::ebml::id;
use kinesis_video::internals::{Width, Writer};
use kinesis_video::local::{LocalEndpoint, Quotas};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fuzz;
use crate::media::{self, CAMERA};
use crate::mutation::{Random, mutated};
use crate::rounds::rounds;

/// Longer than any step takes.
const LONG: Duration = Duration::from_secs(120);

/// A body with two Clusters, user tags, and the tag that ends a fragment.
fn body() -> Bytes {
    let mut out = Writer::new();
    out.master(id::EBML, Width::Minimal, |ebml| ebml.text(id::DOC_TYPE, "matroska"));
    out.unknown(id::SEGMENT, 8);
    out.master(id::TRACKS, Width::Minimal, |tracks| {
        tracks.master(id::TRACK_ENTRY, Width::Minimal, |entry| {
            entry.uint(id::TRACK_NUMBER, 1);
            entry.uint(id::TRACK_TYPE, 1);
            entry.text(id::CODEC_ID, "V_MPEG4/ISO/AVC");
        });
    });
    for time in [1_000, 3_000] {
        out.unknown(id::CLUSTER, 1);
        out.uint(id::TIMESTAMP, time);
        out.binary(id::SIMPLE_BLOCK, &[&[0x81, 0, 0, 0x80][..], &[7; 60]].concat());
        out.master(id::BLOCK_GROUP, Width::Minimal, |group| group.binary(id::BLOCK, &[0x81, 0, 40, 0, 1, 2, 3]));
        for name in ["place", "AWS_KINESISVIDEO_END_OF_FRAGMENT"] {
            out.master(id::TAGS, Width::Octets(8), |tags| {
                tags.master(id::TAG, Width::Octets(8), |tag| {
                    tag.master(id::SIMPLE_TAG, Width::Octets(8), |simple| {
                        simple.text(id::TAG_NAME, name);
                        simple.text(id::TAG_STRING, "front door");
                    });
                });
            });
        }
    }
    out.into_bytes().into()
}

fn bodies() -> Vec<Bytes> {
    let mut bodies = vec![body(), Bytes::from_static(CAMERA).slice(..4_000)];
    bodies.extend(media::bodies().into_iter().map(|(_, body)| body.slice(..body.len().min(3_000))));
    bodies.retain(|body| !body.is_empty());
    bodies
}

#[test]
fn mutated_bodies_are_cut_or_refused() {
    let bodies = bodies();
    bodies.iter().for_each(|body| fuzz::put_media_cuts(body));
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for round in 0..rounds(30_000) {
        let body = &bodies[if round % 2 == 0 { 0 } else { random.next(bodies.len()) }];
        fuzz::put_media_cuts(&mutated(body, &bodies, &mut random));
    }
}

fn request(stream: &str) -> String {
    format!(
        "POST /putMedia HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nx-amzn-stream-name: {stream}\r\n\
         x-amzn-fragment-timecode-type: RELATIVE\r\nx-amzn-producer-start-timestamp: 1795534218.15\r\n\r\n"
    )
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Puts a body that is fine, and checks that both of its fragments are persisted.
async fn works(endpoint: &LocalEndpoint, stream: &str) {
    let mut socket = TcpStream::connect(("127.0.0.1", endpoint.port())).await.unwrap();
    let sent = [request(stream).as_bytes(), &chunk(&body()), b"0\r\n\r\n"].concat();
    socket.write_all(&sent).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n0\r\n\r\n") {
        let received = timeout(LONG, socket.read_buf(&mut answer)).await.expect("an answer in time").unwrap();
        assert!(received > 0, "{}", String::from_utf8_lossy(&answer));
    }
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches("PERSISTED").count(), 2, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_requests_leave_the_endpoint_working() {
    let quotas = Quotas::default().calls_per_second(None).put_connections(None).put_idle(Duration::from_millis(20));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    endpoint.create_stream("door");
    let sent = Bytes::from([request("door").as_bytes(), &chunk(&body()), b"0\r\n\r\n"].concat());
    let others = [sent.clone()];
    let mut random = Random(0x9E37_79B9);
    for _ in 0..rounds(300) {
        let mut socket = TcpStream::connect(("127.0.0.1", endpoint.port())).await.unwrap();
        // The endpoint may close the connection before it has read all.
        let _ = socket.write_all(&mutated(&sent, &others, &mut random)).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(LONG, socket.read_to_end(&mut answer)).await.expect("the end of the connection in time");
    }
    works(&endpoint, "door").await;
}

/// A thousand connections with `KVS_ROUNDS=10`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_producers_are_dropped_and_others_served() {
    let quotas = Quotas::default().calls_per_second(None).put_idle(Duration::from_secs(2));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let body = body();
    let mut slow = Vec::new();
    for index in 0..rounds(100) {
        let name = format!("slow-{index}");
        endpoint.create_stream(&name);
        let mut socket = TcpStream::connect(("127.0.0.1", endpoint.port())).await.unwrap();
        let part = &body[..(index as usize * 7) % body.len()];
        let part = if part.is_empty() { Vec::new() } else { chunk(part) };
        socket.write_all(&[request(&name).as_bytes(), &part].concat()).await.unwrap();
        slow.push(socket);
    }
    endpoint.create_stream("quick");
    works(&endpoint, "quick").await;
    for (index, mut socket) in slow.into_iter().enumerate() {
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            let received = timeout(LONG, socket.read_buf(&mut answer)).await.expect("an end in time").unwrap();
            assert!(received > 0, "{index}: {}", String::from_utf8_lossy(&answer));
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("{\"EventType\":\"IDLE\"}"), "{index}: {answer}");
    }
}
