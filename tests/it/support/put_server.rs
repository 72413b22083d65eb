//! A server of PutMedia over a bare socket, which does to each connection what a test says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Fragment, KinesisVideo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::bodies::fragments;

/// What happens to a connection.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The whole HTTP response that refuses the call.
    pub refusal: Option<String>,
    /// The connection is dropped after so many bytes of the request body.
    pub drop_after: Option<usize>,
    /// After so many persisted fragments this acknowledgement is sent, and the connection is closed.
    pub end: Option<(usize, String)>,
    /// The last fragment before `end` is stored, but not acknowledged.
    pub loses_ack: bool,
    /// The pause before each read.
    pub pause: Duration,
    /// Nothing is acknowledged.
    pub is_silent: bool,
}

/// A request of PutMedia that was received.
#[derive(Clone, Debug)]
pub struct Put {
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The fragments that were stored, by their times in milliseconds.
    pub stored: Vec<(i64, Fragment)>,
    /// True if the request body was complete.
    pub is_complete: bool,
}

impl Put {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &value[..])
    }
}

/// The server. It ends with the runtime.
pub struct PutServer {
    pub url: String,
    plans: Arc<Mutex<VecDeque<Plan>>>,
    puts: Arc<Mutex<Vec<Put>>>,
    /// For its credentials and region.
    pub endpoint: LocalEndpoint,
}

impl PutServer {
    /// Starts a server. The connections follow these plans in turn, and those after them none.
    pub async fn start(plans: impl IntoIterator<Item = Plan>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let plans = Arc::new(Mutex::new(plans.into_iter().collect::<VecDeque<_>>()));
        let puts = Arc::<Mutex<Vec<Put>>>::default();
        let (kept, left) = (Arc::clone(&puts), Arc::clone(&plans));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (kept, left) = (Arc::clone(&kept), Arc::clone(&left));
                tokio::spawn(async move {
                    let _ = serve(socket, &left, &kept).await;
                });
            }
        });
        Self { url, plans, puts, endpoint: LocalEndpoint::start().await.unwrap() }
    }

    pub fn client(&self) -> KinesisVideo {
        KinesisVideo::new(&self.endpoint.sdk_config()).with_data_endpoint(&self.url)
    }

    pub fn puts(&self) -> Vec<Put> {
        self.puts.lock().unwrap().clone()
    }

    pub fn pending(&self) -> usize {
        self.plans.lock().unwrap().len()
    }

    /// The times of all stored fragments, in the order of their storing.
    pub fn stored(&self) -> Vec<i64> {
        self.puts().iter().flat_map(|put| put.stored.iter().map(|(time, _)| *time)).collect()
    }
}

pub fn refusal(status: u16, name: &str) -> String {
    let body = format!("{{\"Message\":\"{name} in a test\"}}");
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Refused\r\nx-amzn-ErrorType: {name}\r\nx-amzn-RequestId: the-id\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

pub fn ack(kind: &str, timecode: i64) -> String {
    format!(
        "{{\"EventType\":\"{kind}\",\"FragmentTimecode\":{timecode},\"FragmentNumber\":\"{}\"}}\r\n",
        7000 + timecode
    )
}

pub fn error_ack(id: u32, code: &str, timecode: i64) -> String {
    format!("{{\"EventType\":\"ERROR\",\"FragmentTimecode\":{timecode},\"ErrorId\":{id},\"ErrorCode\":\"{code}\"}}\n")
}

async fn write_chunk(socket: &mut TcpStream, text: &str) -> std::io::Result<()> {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    socket.write_all(chunk.as_bytes()).await
}

/// Closes the connection so that what was written arrives.
async fn hang_up(mut socket: TcpStream) -> std::io::Result<()> {
    socket.shutdown().await?;
    let mut rest = vec![0; 64 << 10];
    while timeout(Duration::from_millis(200), socket.read(&mut rest)).await.is_ok_and(|read| read.is_ok_and(|n| n > 0))
    {
    }
    Ok(())
}

async fn serve(mut socket: TcpStream, plans: &Mutex<VecDeque<Plan>>, puts: &Mutex<Vec<Put>>) -> std::io::Result<()> {
    let mut received = BytesMut::new();
    let end = loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if socket.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    };
    let head = String::from_utf8(received.split_to(end + 4).to_vec()).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let at = {
        let mut puts = puts.lock().unwrap();
        puts.push(Put { path, headers, stored: Vec::new(), is_complete: false });
        puts.len() - 1
    };
    let plan = plans.lock().unwrap().pop_front().unwrap_or_default();
    if let Some(refusal) = &plan.refusal {
        socket.write_all(refusal.as_bytes()).await?;
        return hang_up(socket).await;
    }
    socket.write_all(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: the-id\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    let (mut body, mut start, mut seen, mut count, mut is_complete) = (BytesMut::new(), None, 0, 0, false);
    loop {
        // Whole chunks of the request body.
        while let Some(line) = received.windows(2).position(|window| window == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&received[..line]).unwrap(), 16).unwrap();
            if received.len() < line + 2 + size + 2 {
                break;
            }
            received.advance(line + 2);
            body.extend_from_slice(&received.split_to(size));
            received.advance(2);
            seen += size;
            if plan.drop_after.is_some_and(|most| seen >= most) {
                return Ok(());
            }
            is_complete |= size == 0;
        }
        while let Some(found) = find(&body, END_OF_FRAGMENT) {
            // The tag ends with an empty TagString.
            let end = found + END_OF_FRAGMENT.len() + 3;
            if body.len() < end {
                break;
            }
            let mut cluster = body.split_to(end);
            if start.is_none() {
                let length = find(&cluster, &[0x1F, 0x43, 0xB6, 0x75]).unwrap();
                start = Some(cluster.split_to(length).freeze());
            }
            let document = [start.as_ref().unwrap(), &cluster[..]].concat();
            let fragment = fragments(&document.into()).await.remove(0);
            let millis = fragment.header().timecode_ns() / 1_000_000;
            puts.lock().unwrap()[at].stored.push((millis, fragment));
            count += 1;
            let end = plan.end.as_ref().filter(|(most, _)| count >= *most);
            let is_lost = plan.is_silent || (end.is_some() && plan.loses_ack);
            if !is_lost {
                for kind in ["BUFFERING", "RECEIVED", "PERSISTED"] {
                    write_chunk(&mut socket, &ack(kind, millis)).await?;
                }
            }
            if let Some((_, last)) = end {
                if !last.is_empty() {
                    write_chunk(&mut socket, last).await?;
                }
                socket.write_all(b"0\r\n\r\n").await?;
                return hang_up(socket).await;
            }
        }
        if is_complete {
            puts.lock().unwrap()[at].is_complete = true;
            socket.write_all(b"0\r\n\r\n").await?;
            return hang_up(socket).await;
        }
        if !plan.pause.is_zero() {
            sleep(plan.pause).await;
        }
        if socket.read_buf(&mut received).await? == 0 {
            return Ok(());
        }
    }
}

const END_OF_FRAGMENT: &[u8] = b"AWS_KINESISVIDEO_END_OF_FRAGMENT";

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
