//! Listing and describing streams.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt;
use futures::stream::FusedStream;
use kinesis_video::local::{InjectedFault, LocalEndpoint, Operation};
use kinesis_video::{ErrorKind, KinesisVideo, StreamList, StreamStatus};
use serde_json::json;

use crate::support::endpoint::{attempts, unlimited};
use crate::support::stand_in::{Answer, stand_in};

async fn endpoint(streams: &[String]) -> (LocalEndpoint, KinesisVideo) {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    for name in streams {
        drop(endpoint.create_stream(name));
    }
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    (endpoint, kvs)
}

async fn names(list: StreamList) -> Vec<String> {
    list.entries().map_ok(|info| info.name().to_owned()).try_collect().await.unwrap()
}

fn refuse(name: &str) -> InjectedFault {
    InjectedFault::Refuse(name.into())
}

#[tokio::test]
async fn all_pages_are_read() {
    let streams: Vec<_> = (0..45).map(|n| format!("camera-{n:02}")).chain(["door".into()]).collect();
    let (endpoint, kvs) = endpoint(&streams).await;
    assert_eq!(names(kvs.list_streams()).await.into_iter().collect::<BTreeSet<_>>(), streams.iter().cloned().collect());
    assert_eq!(endpoint.calls(Operation::ListStreams, "").len(), 1);
    // 45 streams in pages of 10.
    let cameras = names(kvs.list_streams().page_size(10).name_prefix("camera-")).await;
    assert_eq!(cameras.into_iter().collect::<BTreeSet<_>>(), streams[..45].iter().cloned().collect());
    assert_eq!(endpoint.calls(Operation::ListStreams, "").len(), 1 + 5);
    assert_eq!(names(kvs.list_streams().name_prefix("nobody")).await, [""; 0]);
}

#[tokio::test]
async fn nothing_is_sent_before_the_first_poll() {
    let (endpoint, kvs) = endpoint(&["door".into()]).await;
    let entries = kvs.list_streams().entries();
    let described = kvs.describe("door");
    assert!(!entries.is_terminated());
    drop((entries, described));
    for size in [0, 10_001] {
        let mut entries = kvs.list_streams().page_size(size).entries();
        assert_eq!(entries.try_next().await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(entries.is_terminated() && entries.try_next().await.unwrap().is_none());
    }
    assert_eq!(endpoint.requests(), 0);
}

#[tokio::test]
async fn a_failed_page_is_requested_again() {
    let (endpoint, kvs) = endpoint(&["a".into(), "b".into()]).await;
    let quick = attempts(3).initial_backoff(Duration::from_millis(1));
    endpoint.inject(Operation::ListStreams, None, refuse("InternalFailure"));
    endpoint.inject(Operation::ListStreams, None, refuse("ClientLimitExceededException"));
    assert_eq!(names(kvs.list_streams().page_size(1).retry(quick)).await.len(), 2);
    assert_eq!(endpoint.calls(Operation::ListStreams, "").len(), 4);
    // No more attempts.
    endpoint.inject(Operation::ListStreams, None, refuse("InternalFailure"));
    let error = kvs.list_streams().retry(attempts(1)).entries().try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Service, true));
    // What cannot help is not tried again.
    endpoint.inject(Operation::ListStreams, None, refuse("AccessDeniedException"));
    let error = kvs.list_streams().retry(quick).entries().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(endpoint.calls(Operation::ListStreams, "").len(), 6);
}

#[tokio::test]
async fn a_description_has_what_the_service_says() {
    let (endpoint, kvs) = endpoint(&[]).await;
    let door = endpoint.create_stream("door");
    let info = kvs.describe("door").await.unwrap();
    assert_eq!((info.name(), info.arn(), info.status()), ("door", door.arn(), &StreamStatus::Active));
    assert_eq!(info.retention(), Some(Duration::from_secs(24 * 3600)));
    assert!(info.created().is_some());
    assert_eq!((info.media_type(), info.version()), (Some("video/h264"), Some("local")));
    assert_eq!((info.kms_key_id(), info.device_name()), (None, None));
    // By ARN, and as it is listed.
    assert_eq!(kvs.describe(door.arn()).await.unwrap(), info);
    assert_eq!(kvs.list_streams().entries().try_next().await.unwrap().unwrap(), info);
    door.set_retention(Duration::ZERO);
    assert_eq!(kvs.describe("door").await.unwrap().retention(), Some(Duration::ZERO));
}

#[tokio::test]
async fn a_description_fails_with_the_name_of_the_stream() {
    let (endpoint, kvs) = endpoint(&["door".into()]).await;
    let error = kvs.describe("nobody").await.unwrap_err();
    assert_eq!((error.kind(), error.context().stream()), (ErrorKind::NotFound, Some("nobody")));
    endpoint.inject(Operation::DescribeStream, None, refuse("NotAuthorizedException"));
    let error = kvs.describe("door").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(error.hint(), Some("allow the caller kinesisvideo:DescribeStream on the stream"));
    // A failure that passes is retried.
    endpoint.inject(Operation::DescribeStream, None, refuse("InternalFailure"));
    assert!(kvs.describe("door").await.is_ok());
    // So is a clock that is wrong by an hour.
    endpoint.set_clock_offset(3_600_000);
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    assert!(kvs.describe("door").await.is_ok());
    assert_eq!(endpoint.fault_counts().request_expired, 1);
}

/// A data endpoint answers these calls with success and an error in JSON.
#[tokio::test]
async fn a_host_that_does_not_know_the_operation_is_named_so() {
    let (endpoint, kvs) = endpoint(&["door".into()]).await;
    endpoint.inject(Operation::DescribeStream, None, InjectedFault::UnknownOperation);
    endpoint.inject(Operation::ListStreams, None, InjectedFault::UnknownOperation);
    assert_eq!(kvs.describe("door").await.unwrap_err().kind(), ErrorKind::WrongEndpoint);
    let error = kvs.list_streams().entries().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongEndpoint);
}

#[tokio::test]
async fn a_listing_that_makes_no_progress_fails() {
    // Always the same stream and the same token.
    let (kvs, asked) = stand_in(|_, _| {
        let streams = json!([{ "StreamName": "a", "StreamARN": "arn:a" }]);
        Answer::json(json!({ "StreamInfoList": streams, "NextToken": "more" }))
    })
    .await;
    let mut entries = kvs.list_streams().entries();
    assert_eq!(entries.try_next().await.unwrap().unwrap().name(), "a");
    let error = entries.try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Service, false));
    assert_eq!(asked.bodies()[1], json!({ "MaxResults": 10_000, "NextToken": "more" }));
}

#[tokio::test]
async fn a_request_has_the_prefix_and_the_page_size() {
    let (kvs, asked) = stand_in(|_, _| Answer::json(json!({ "StreamInfoList": [] }))).await;
    assert_eq!(names(kvs.list_streams().name_prefix("door-").page_size(7)).await, [""; 0]);
    let condition = json!({ "ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "door-" });
    assert_eq!(asked.bodies(), [json!({ "MaxResults": 7, "StreamNameCondition": condition })]);
    assert_eq!(names(kvs.list_streams()).await, [""; 0]);
    assert_eq!(asked.bodies(), [json!({ "MaxResults": 10_000 })]);
}
