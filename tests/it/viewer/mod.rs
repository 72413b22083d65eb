//! The page to watch streams.

mod browser;
mod media;
mod safety;

use std::net::SocketAddr;
use std::time::Duration;

use kinesis_video::KinesisVideo;
use kinesis_video::local::LocalEndpoint;
use kinesis_video::viewer::Viewer;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The longest time that a test waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Shows the page at the root of an endpoint.
pub fn show(endpoint: &LocalEndpoint) -> SocketAddr {
    Viewer::new(KinesisVideo::new(&endpoint.sdk_config())).attach(endpoint);
    ([127, 0, 0, 1], endpoint.port()).into()
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn of(bytes: &[u8]) -> Self {
        let ends = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("the headers are whole");
        let head = String::from_utf8(bytes[..ends].to_vec()).unwrap().to_ascii_lowercase();
        let status = head[9..12].parse().unwrap();
        let mut rest = &bytes[ends + 4..];
        let mut body = Vec::new();
        if head.contains("transfer-encoding: chunked") {
            // What was cut off at the end is no whole chunk.
            while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
                let length = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
                let Some(chunk) = rest.get(line + 2..line + 2 + length) else { break };
                body.extend_from_slice(chunk);
                rest = rest.get(line + 4 + length..).unwrap_or_default();
            }
        } else {
            body.extend_from_slice(rest);
        }
        Self { status, head, body }
    }
}

/// Sends a request with these headers, each of which ends with `\r\n`.
pub async fn send(address: SocketAddr, line: &str, headers: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Reads an answer to its end.
pub async fn answer(mut socket: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("the answer ends").unwrap();
    Answer::of(&bytes)
}

/// Gets a path, as a browser does that has opened the page.
pub async fn get(address: SocketAddr, path: &str) -> Answer {
    answer(send(address, &format!("GET {path}"), &format!("Host: {address}\r\nSec-Fetch-Site: same-origin\r\n")).await)
        .await
}

/// Reads an answer until this is true of its body.
pub async fn read_until(socket: &mut TcpStream, is_enough: impl Fn(&[u8]) -> bool) -> Answer {
    let mut bytes = Vec::new();
    let read = async {
        loop {
            let mut piece = vec![0; 64 << 10];
            let length = socket.read(&mut piece).await.unwrap();
            bytes.extend_from_slice(&piece[..length]);
            let has_head = bytes.windows(4).any(|four| four == b"\r\n\r\n");
            if has_head && (length == 0 || is_enough(&Answer::of(&bytes).body)) {
                return;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("enough arrives");
    Answer::of(&bytes)
}

/// The top-level boxes of MP4, by name and content. What is cut at the end is left out.
pub fn boxes(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut boxes = Vec::new();
    while let Some(start) = bytes.first_chunk::<8>() {
        let length = u32::from_be_bytes(*start.first_chunk().unwrap()) as usize;
        let Some(whole) = bytes.get(..length.max(8)) else { break };
        boxes.push((String::from_utf8_lossy(&start[4..]).into_owned(), whole[8..].to_vec()));
        bytes = &bytes[length.max(8)..];
    }
    boxes
}

/// What the page is told of each fragment, as JSON.
pub fn events(bytes: &[u8]) -> Vec<Value> {
    let json = |content: Vec<u8>| {
        let begins = content.iter().position(|byte| *byte == b'{').unwrap();
        serde_json::from_slice(&content[begins..]).unwrap()
    };
    boxes(bytes).into_iter().filter(|(name, _)| name == "emsg").map(|(_, content)| json(content)).collect()
}
