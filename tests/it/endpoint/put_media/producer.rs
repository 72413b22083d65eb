//! A producer over a bare socket, and the bodies it sends.

use std::time::Duration;

use kinesis_video::ebml::id;
use kinesis_video::internals::{Width, Writer};
use kinesis_video::local::LocalEndpoint;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longer than any step of a test takes.
const LONG: Duration = Duration::from_secs(60);

/// One call of PutMedia.
pub struct Producer {
    socket: TcpStream,
    /// What was received and not yet taken.
    unread: Vec<u8>,
}

/// The headers of a call for a stream. Each ends with `\r\n`.
pub fn headers(stream: &str, kind: &str) -> String {
    format!("x-amzn-stream-name: {stream}\r\nx-amzn-fragment-timecode-type: {kind}\r\n")
}

impl Producer {
    /// Sends the headers of a call.
    pub async fn call(endpoint: &LocalEndpoint, headers: &str) -> Self {
        let mut socket = TcpStream::connect(("127.0.0.1", endpoint.port())).await.unwrap();
        let head = format!("POST /putMedia HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n{headers}\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        Self { socket, unread: Vec::new() }
    }

    /// Calls for a stream with ABSOLUTE timecodes, and waits for the headers of the answer.
    pub async fn open(endpoint: &LocalEndpoint, stream: &str) -> Self {
        let mut producer = Self::call(endpoint, &headers(stream, "ABSOLUTE")).await;
        let head = producer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        producer
    }

    /// Opens another session as soon as the endpoint has noticed that the last one has ended.
    pub async fn reopen(endpoint: &LocalEndpoint, stream: &str) -> Self {
        loop {
            let mut producer = Self::call(endpoint, &headers(stream, "ABSOLUTE")).await;
            if producer.head().await.starts_with("HTTP/1.1 200 OK\r\n") {
                return producer;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends the next bytes of the body, as one chunk of HTTP.
    pub async fn send(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.socket.write_all(&chunk).await.unwrap();
    }

    /// Ends the body.
    pub async fn end(&mut self) {
        self.socket.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Receives up to an empty line: the headers of an answer.
    pub async fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).unwrap();
            }
            assert!(self.receive().await, "the connection ended inside headers");
        }
    }

    async fn receive(&mut self) -> bool {
        let received = timeout(LONG, self.socket.read_buf(&mut self.unread)).await.expect("an answer in time");
        received.is_ok_and(|count| count > 0)
    }

    /// Receives the next acknowledgement. `None` at the end of the answer.
    ///
    /// Each is a chunk of HTTP of its own.
    pub async fn ack(&mut self) -> Option<Value> {
        loop {
            if let Some(line) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let length = usize::from_str_radix(std::str::from_utf8(&self.unread[..line]).unwrap(), 16).unwrap();
                assert!(length <= 1024, "an acknowledgement of {length} bytes");
                if self.unread.len() >= line + 2 + length + 2 {
                    let chunk: Vec<u8> = self.unread.drain(..line + 2 + length + 2).collect();
                    let text = &chunk[line + 2..line + 2 + length];
                    if length == 0 {
                        return None;
                    }
                    assert_eq!(text.last(), Some(&b'\n'));
                    return Some(serde_json::from_slice(text).unwrap());
                }
            }
            if !self.receive().await {
                return None;
            }
        }
    }

    /// Receives this many acknowledgements, as `TYPE timecode`.
    pub async fn told(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..count {
            told.push(said(&self.ack().await.expect("an acknowledgement")));
        }
        told
    }

    /// Receives all acknowledgements up to the end of the answer.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(ack) = self.ack().await {
            told.push(said(&ack));
        }
        told
    }
}

/// An acknowledgement in short: its type, timecode and error.
pub fn said(ack: &Value) -> String {
    let mut said = ack["EventType"].as_str().unwrap().to_owned();
    for member in ["FragmentTimecode", "ErrorId"] {
        if let Some(value) = ack.get(member) {
            said += &format!(" {value}");
        }
    }
    if let Some(code) = ack.get("ErrorCode") {
        said += &format!(" {}", code.as_str().unwrap());
    }
    said
}

/// The start of a body: EBML header, Segment, Info and video tracks with these numbers.
pub fn head(tracks: &[u64]) -> Vec<u8> {
    [segment(), declarations(tracks)].concat()
}

/// An EBML header, and the start of a Segment.
pub fn segment() -> Vec<u8> {
    let mut out = Writer::new();
    out.master(id::EBML, Width::Minimal, |ebml| ebml.text(id::DOC_TYPE, "matroska"));
    out.unknown(id::SEGMENT, 8);
    out.into_bytes()
}

/// Info, and video tracks with these numbers.
pub fn declarations(tracks: &[u64]) -> Vec<u8> {
    let mut out = Writer::new();
    out.master(id::INFO, Width::Minimal, |info| info.uint(id::TIMESTAMP_SCALE, 1_000_000));
    out.master(id::TRACKS, Width::Minimal, |list| {
        for number in tracks {
            list.master(id::TRACK_ENTRY, Width::Minimal, |entry| {
                entry.uint(id::TRACK_NUMBER, *number);
                entry.uint(id::TRACK_UID, *number);
                entry.uint(id::TRACK_TYPE, 1);
                entry.text(id::CODEC_ID, "V_MPEG4/ISO/AVC");
            });
        }
    });
    out.into_bytes()
}

/// The start of a Cluster of unknown size.
pub fn cluster(millis: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.unknown(id::CLUSTER, 1);
    out.uint(id::TIMESTAMP, millis);
    out.into_bytes()
}

/// A SimpleBlock with this payload.
pub fn block(track: u8, millis: i16, payload: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    let [high, low] = millis.to_be_bytes();
    out.binary(id::SIMPLE_BLOCK, &[&[0x80 | track, high, low, 0x80], payload].concat());
    out.into_bytes()
}

/// A Tags element with one tag, as the AWS producer SDK writes it.
pub fn tag(name: &str, value: &str) -> Vec<u8> {
    let mut out = Writer::new();
    out.master(id::TAGS, Width::Octets(8), |tags| {
        tags.master(id::TAG, Width::Octets(8), |tag| {
            tag.master(id::SIMPLE_TAG, Width::Octets(8), |simple| {
                simple.text(id::TAG_NAME, name);
                simple.text(id::TAG_STRING, value);
            });
        });
    });
    out.into_bytes()
}

/// The tag that ends a fragment while the body stays open.
pub fn end_of_fragment() -> Vec<u8> {
    tag("AWS_KINESISVIDEO_END_OF_FRAGMENT", "")
}

/// A Cluster with two blocks of track 1, 40 ms apart.
pub fn two_blocks(millis: u64) -> Vec<u8> {
    let payload = |index: u64| format!("frame {index} at {millis}").into_bytes();
    [cluster(millis), block(1, 0, &payload(0)), block(1, 40, &payload(1))].concat()
}
