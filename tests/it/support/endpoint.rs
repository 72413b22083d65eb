//! Quotas for local endpoints, times, and requests over a bare socket.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use aws_sdk_kinesisvideoarchivedmedia::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use kinesis_video::local::{LocalEndpoint, Quotas};
use kinesis_video::{RetryConfig, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Quotas without a limit on calls, connections, sessions or points.
pub fn unlimited() -> Quotas {
    let quotas = Quotas::default().calls_per_second(None).connections(None).sessions_per_second(None);
    let quotas = quotas.list_connections(None).metadata_points(None).media_points(None);
    quotas.playlists_per_second(None).segments_per_second(None)
}

/// Quotas without limits, whose bodies of GetMedia end after 100 ms without media.
pub fn ends_soon() -> Quotas {
    unlimited().idle(Duration::from_millis(100))
}

/// Retries with the default backoff and this number of attempts.
pub fn attempts(attempts: u32) -> RetryConfig {
    RetryConfig::default().max_attempts(attempts)
}

/// The system's time, in milliseconds since the epoch.
pub fn now_millis() -> i64 {
    Timestamp::from(SystemTime::now()).as_millis()
}

/// A time of this crate, from milliseconds since the epoch.
pub fn time(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A time of the SDK, from milliseconds since the epoch.
pub fn sdk_time(millis: i64) -> DateTime {
    DateTime::from_millis(millis)
}

/// Returns the name, the HTTP status and the message of a refusal.
pub fn refusal<T, E: ProvideErrorMetadata + Debug>(answer: Result<T, SdkError<E>>) -> (String, u16, String) {
    let Err(error) = answer else { panic!("the call was not refused") };
    let status = error.raw_response().expect("the endpoint answered").status().as_u16();
    (error.code().unwrap_or_default().into(), status, error.message().unwrap_or_default().into())
}

/// Sends a request over a socket, and returns the status and the whole answer.
pub async fn http(endpoint: &LocalEndpoint, method: &str, path: &str, body: &str) -> (u16, String) {
    http_with_headers(endpoint, method, path, "", body).await
}

/// Sends a request with further headers, each of which ends with `\r\n`.
pub async fn http_with_headers(
    endpoint: &LocalEndpoint,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", endpoint.port())).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    (answer[9..12].parse().unwrap(), answer)
}
