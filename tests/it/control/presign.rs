//! Presigned requests, sent by another HTTP client.

use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{ErrorKind, KinesisVideo, PresignExt};

use crate::support::bodies::{producer_document, stamp};
use crate::support::endpoint::http_with_headers;

#[tokio::test]
async fn a_presigned_request_is_answered() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    endpoint.create_stream("door").push_stamped(&producer_document(1), stamp(1));
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let client = kvs.archived_client("door", ApiName::ListFragments).await.unwrap();
    let request = client.list_fragments().stream_name("door").presigned(Duration::from_secs(60)).await.unwrap();
    let path = request.url().strip_prefix(endpoint.url()).unwrap();
    let headers: String = request.headers().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let body = std::str::from_utf8(request.body()).unwrap();
    let (status, answer) = http_with_headers(&endpoint, request.method(), path, &headers, body).await;
    assert!(status == 200 && answer.contains(stamp(1).number.as_str()), "{answer}");
}

#[tokio::test]
async fn impossible_lifetimes_and_incomplete_requests_are_refused() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    endpoint.create_stream("door").finish();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let client = kvs.archived_client("door", ApiName::GetClip).await.unwrap();
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    for expires in [Duration::ZERO, Duration::from_millis(1500), week + Duration::from_secs(1)] {
        let error = client.list_fragments().stream_name("door").presigned(expires).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().starts_with("ListFragments: a presigned request cannot expire after"), "{error}");
    }
    assert!(client.list_fragments().stream_name("door").presigned(week).await.is_ok());
    let selector = aws_sdk_kinesisvideoarchivedmedia::types::ClipFragmentSelector::builder();
    assert!(selector.build().is_err(), "the SDK refuses it");
    let mut config = endpoint.sdk_config().into_builder();
    config.set_credentials_provider(None);
    let kvs = KinesisVideo::new(&config.build()).with_data_endpoint(endpoint.url());
    let error = kvs.archived_client("door", ApiName::ListFragments).await.unwrap().list_fragments().stream_name("door");
    let error = error.presigned(week).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
}
