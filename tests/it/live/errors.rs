//! Errors of live reading: kinds, advice, and whether they are retried.

use std::time::Duration;

use futures::TryStreamExt;
use kinesis_video::local::{InjectedFault, LocalEndpoint, Operation, Quotas};
use kinesis_video::{Bound, ErrorKind, KinesisVideo, Start, StreamEnd};
use tokio::time::{Instant, sleep};

use super::reading::{next, push, start};

/// Each error of the service has a kind, is retryable or not, and gives advice.
#[tokio::test(start_paused = true)]
async fn errors_have_a_kind_and_advice() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=1);
    let url = endpoint.url().to_owned();
    let cases = [
        (
            "ResourceNotFoundException",
            ErrorKind::NotFound,
            false,
            "not found: GetMedia: {said}; check the stream name and the region",
        ),
        (
            "NotAuthorizedException",
            ErrorKind::AccessDenied,
            false,
            "access denied: GetMedia: {said}; allow the caller kinesisvideo:GetMedia on the stream",
        ),
        (
            "AccessDeniedException",
            ErrorKind::AccessDenied,
            false,
            "access denied: GetMedia: {said}; allow the caller kinesisvideo:GetMedia on the stream",
        ),
        (
            "ExpiredTokenException",
            ErrorKind::AccessDenied,
            false,
            "access denied: GetMedia: {said}; renew the credentials, which have expired",
        ),
        (
            "InvalidClientTokenId",
            ErrorKind::AccessDenied,
            false,
            "access denied: GetMedia: {said}; check the access key, which is unknown in this region",
        ),
        (
            "MissingAuthenticationToken",
            ErrorKind::AccessDenied,
            false,
            "access denied: GetMedia: {said}; check that credentials are configured; the request was not signed",
        ),
        (
            "OptInRequired",
            ErrorKind::AccessDenied,
            false,
            "access denied: GetMedia: {said}; enable the region for the account",
        ),
        (
            "IncompleteSignature",
            ErrorKind::AccessDenied,
            false,
            "access denied: GetMedia: {said}; check the secret access key",
        ),
        ("InvalidArgumentException", ErrorKind::InvalidArgument, false, "invalid argument: GetMedia: {said}"),
        ("ValidationError", ErrorKind::InvalidArgument, false, "invalid argument: GetMedia: {said}"),
        (
            "ClientLimitExceededException",
            ErrorKind::Throttled,
            true,
            "throttled: GetMedia: {said}; call less often; a stream allows 5 calls per second, for all its readers together",
        ),
        (
            "ThrottlingException",
            ErrorKind::Throttled,
            true,
            "throttled: GetMedia: {said}; call less often; a stream allows 5 calls per second, for all its readers together",
        ),
        (
            "ConnectionLimitExceededException",
            ErrorKind::ConnectionLimit,
            true,
            "too many connections: GetMedia: {said}; close another reader; a stream allows 3 connections, and all are in use",
        ),
        ("InternalFailure", ErrorKind::Service, true, "service error: GetMedia: {said}"),
        ("ServiceUnavailable", ErrorKind::Service, true, "service error: GetMedia: {said}"),
        ("NeverHeardOfException", ErrorKind::Service, false, "service error: GetMedia: {said}"),
    ];
    for (name, kind, retryable, text) in cases {
        endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse(name.into()));
        let error = kvs.live("door").reconnect(false).fragments().try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.code(), error.is_retryable()), (kind, Some(name), retryable), "{error}");
        let text = text.replace("{said}", &format!("{name}, an injected fault"));
        let id = error.context().request_id().expect("a request id").to_owned();
        let place = format!(" (code {name}, stream door, endpoint {url}, request {id})");
        assert_eq!(error.to_string(), format!("{text}{place}"));
        // A reconnecting stream retries transient errors.
        endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse(name.into()));
        let live = kvs.live("door").start(Start::Earliest).idle_timeout(Duration::from_secs(60));
        let may_go_away = retryable || kind == ErrorKind::Service;
        assert_eq!(live.fragments().try_next().await.is_ok(), may_go_away, "{name}");
        // The same errors from GetDataEndpoint.
        let fresh = KinesisVideo::new(&endpoint.in_process_config());
        endpoint.inject(Operation::GetDataEndpoint, None, InjectedFault::Refuse(name.into()));
        let error = fresh.live("door").reconnect(false).fragments().try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, retryable));
        assert!(error.to_string().contains("GetDataEndpoint"), "{error}");
        sleep(Duration::from_secs(2)).await;
    }
    assert_eq!(endpoint.pending_faults(), 0);
}

/// Each error that the service reports inside the media.
#[tokio::test(start_paused = true)]
async fn faults_have_a_kind_and_advice() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=3);
    let cases = [
        (3002, ErrorKind::Service, true, "the service could not write the rest of the response"),
        (4000, ErrorKind::NotFound, false, "the fragment no longer exists"),
        (4500, ErrorKind::AccessDenied, false, "the caller needs kms:Decrypt on the KMS key of the stream"),
        (4501, ErrorKind::AccessDenied, false, "the KMS key of the stream is disabled"),
        (4502, ErrorKind::AccessDenied, false, "the KMS key of the stream is not valid"),
        (4503, ErrorKind::AccessDenied, true, "the KMS key of the stream is not available now"),
        (4504, ErrorKind::AccessDenied, false, "the KMS key of the stream does not allow this use"),
        (4505, ErrorKind::AccessDenied, false, "the KMS key of the stream is in a state that allows no use"),
        (4506, ErrorKind::AccessDenied, false, "the KMS key of the stream was not found"),
        (4507, ErrorKind::NotFound, false, "the stream has been deleted"),
        (5000, ErrorKind::Service, true, "the service had an internal error"),
        (3000, ErrorKind::NotFound, true, "the fragment does not exist, or is not available yet"),
        (9999, ErrorKind::Service, false, "this error is unknown"),
    ];
    for (id, kind, retryable, meaning) in cases {
        let fault = || InjectedFault::FaultAfter { fragments: 2, id, message: "SAID".into() };
        endpoint.inject(Operation::GetMedia, None, fault());
        let mut fragments = kvs.live("door").start(Start::Earliest).reconnect(false).fragments();
        assert_eq!([next(&mut fragments).await, next(&mut fragments).await], [1, 2]);
        let error = fragments.try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{error}");
        assert_eq!(error.code(), Some(&*id.to_string()));
        let text = error.to_string();
        let begin = format!("{kind}: the service reported \"SAID\" inside the media; {meaning} (code {id}, at byte ");
        assert!(text.starts_with(&begin), "{text}");
        assert!(text.contains("stream door, endpoint http://127.0.0.1:"), "{text}");
        // A reconnecting stream retries transient faults, and unknown ones a few times.
        endpoint.inject(Operation::GetMedia, None, fault());
        let live = kvs.live("door").start(Start::Earliest).until(Bound::Count(3));
        let result: Result<Vec<_>, _> = live.fragments().try_collect().await;
        let may_go_away = retryable || kind == ErrorKind::Service || id == 4000;
        assert_eq!(result.is_ok_and(|fragments| fragments.len() == 3), may_go_away, "{id}");
        sleep(Duration::from_secs(2)).await;
    }
}

/// An answer 200 without media is a wrong endpoint.
#[tokio::test(start_paused = true)]
async fn an_unknown_operation_is_a_wrong_endpoint() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=1);
    for _ in 0..20 {
        endpoint.inject(Operation::GetMedia, None, InjectedFault::UnknownOperation);
    }
    let error = kvs.live("door").fragments().try_next().await.unwrap_err();
    let url = endpoint.url();
    let id = error.context().request_id().unwrap();
    assert_eq!(
        error.to_string(),
        format!(
            "wrong endpoint: GetMedia: the answer is not media; its host does not know the operation (stream door, endpoint {url}, request {id})"
        )
    );
    // The data endpoint was looked up again each time, and the error is final after some retries.
    assert!(endpoint.calls(Operation::GetDataEndpoint, "door").len() >= 5);
}

#[tokio::test]
async fn an_unreachable_service_is_an_io_error() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let config = endpoint.sdk_config();
    drop(endpoint);
    let kvs = KinesisVideo::new(&config);
    let mut fragments = kvs.live("door").idle_timeout(Duration::from_millis(500)).fragments();
    let error = fragments.try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Io, true), "{error}");
    assert_eq!(fragments.end_reason(), Some(StreamEnd::Failed));
}

#[tokio::test(start_paused = true)]
async fn network_timeouts_reconnect() {
    let (endpoint, door, kvs) = start(Quotas::default().idle(Duration::from_secs(3600))).await;
    push(&door, 1..=2);
    // The body stalls before its first byte, then in the middle.
    for after in [0, 700] {
        let pause = Duration::from_secs(3600);
        endpoint.inject(Operation::GetMedia, None, InjectedFault::Stall { after, pause });
        let live = kvs.live("door").start(Start::Earliest);
        let live = live.first_byte_timeout(Duration::from_secs(5)).read_timeout(Duration::from_secs(7));
        let mut fragments = live.fragments();
        let before = Instant::now();
        assert_eq!([next(&mut fragments).await, next(&mut fragments).await], [1, 2]);
        let expected = if after == 0 { 5 } else { 7 };
        assert_eq!(before.elapsed().as_secs(), expected);
    }
}

/// A listener that never answers.
#[tokio::test]
async fn a_missing_answer_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = LocalEndpoint::start().await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kvs = KinesisVideo::new(&endpoint.sdk_config().into_builder().endpoint_url(url).build());
    let live = kvs.live("door").call_timeout(Duration::from_millis(50)).idle_timeout(Duration::from_millis(500));
    let error = live.fragments().try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Io, true));
    assert_eq!(error.to_string(), "I/O failed: GetDataEndpoint: no response within 50ms (stream door)");
}
