//! The operations that manage streams, through the real SDK.

use std::collections::HashMap;

use aws_sdk_kinesisvideo::Client;
use aws_sdk_kinesisvideo::types::{ApiName, UpdateDataRetentionOperation::*};
use kinesis_video::local::LocalEndpoint;

use super::producer::{Producer, head, two_blocks};
use crate::support::endpoint::{refusal, unlimited};

#[tokio::test]
async fn a_stream_from_its_creation_to_its_end() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let control = Client::new(&endpoint.sdk_config());
    let create = || {
        let create =
            control.create_stream().stream_name("door").device_name("cam-1").media_type("video/h264,audio/aac");
        create.data_retention_in_hours(2).tags("site", "north")
    };
    let created = create().send().await.unwrap();
    let arn = created.stream_arn().unwrap();
    let again = refusal(create().send().await);
    assert_eq!((&again.0[..], again.1), ("ResourceInUseException", 400));

    let described =
        || async { control.describe_stream().stream_name("door").send().await.unwrap().stream_info.unwrap() };
    let info = described().await;
    assert_eq!((info.stream_arn(), info.device_name()), (Some(arn), Some("cam-1")));
    assert_eq!((info.media_type(), info.data_retention_in_hours()), (Some("video/h264,audio/aac"), Some(2)));

    let version = info.version().unwrap().to_owned();
    let update = |version: &str, operation, hours| {
        let update = control.update_data_retention().stream_name("door").current_version(version);
        update.operation(operation).data_retention_change_in_hours(hours).send()
    };
    update(&version, IncreaseDataRetention, 22).await.unwrap();
    let stale = refusal(update(&version, IncreaseDataRetention, 22).await);
    assert_eq!((&stale.0[..], stale.1), ("VersionMismatchException", 400));
    let version = described().await.version().unwrap().to_owned();
    for (operation, hours) in [(DecreaseDataRetention, 25), (IncreaseDataRetention, 87_577), (IncreaseDataRetention, 0)]
    {
        assert_eq!(refusal(update(&version, operation, hours).await).0, "InvalidArgumentException");
    }
    update(&version, DecreaseDataRetention, 24).await.unwrap();
    assert_eq!(described().await.data_retention_in_hours(), Some(0));

    let tags = || async { control.list_tags_for_stream().stream_name("door").send().await.unwrap().tags.unwrap() };
    assert_eq!(tags().await, HashMap::from([("site".to_owned(), "north".to_owned())]));
    control.tag_stream().stream_arn(arn).tags("site", "south").tags("floor", "").send().await.unwrap();
    control.untag_stream().stream_name("door").tag_key_list("floor").tag_key_list("unknown").send().await.unwrap();
    assert_eq!(tags().await, HashMap::from([("site".to_owned(), "south".to_owned())]));
    let many = (0..50).map(|n| (format!("key{n}"), "v".to_owned())).collect();
    let many = refusal(control.tag_stream().stream_name("door").set_tags(Some(many)).send().await);
    assert_eq!((&many.0[..], many.1), ("TagsPerResourceExceededLimitException", 400));

    // A producer finds its endpoint.
    let asked = control.get_data_endpoint().stream_name("door").api_name(ApiName::PutMedia).send().await;
    assert_eq!(asked.unwrap().data_endpoint(), Some(endpoint.url()));
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&[head(&[1]), two_blocks(1_000)].concat()).await;
    assert_eq!(producer.told(1).await, ["BUFFERING 1000"]);

    let stale = refusal(control.delete_stream().stream_arn(arn).current_version("local").send().await);
    assert_eq!(stale.0, "VersionMismatchException");
    control.delete_stream().stream_arn(arn).send().await.unwrap();
    let gone = refusal(control.describe_stream().stream_name("door").send().await);
    assert_eq!((&gone.0[..], gone.1), ("ResourceNotFoundException", 404));
    create().send().await.unwrap();
}

#[tokio::test]
async fn wrong_settings_are_refused() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let control = Client::new(&endpoint.sdk_config());
    let create = || control.create_stream().stream_name("door");
    for wrong in [
        create().stream_name(""),
        create().stream_name("front door"),
        create().stream_name("n".repeat(257)),
        create().device_name("<script>"),
        create().media_type("video"),
        create().media_type("video/h264;audio"),
        create().kms_key_id(""),
        create().data_retention_in_hours(-1),
        create().data_retention_in_hours(87_601),
        create().tags("", "empty"),
        create().tags("k".repeat(129), "long"),
        create().tags("key", "v".repeat(257)),
        create().tags("aws:key", "reserved"),
        create().tags("key", "<script>"),
    ] {
        let refused = refusal(wrong.clone().send().await);
        assert_eq!((&refused.0[..], refused.1), ("InvalidArgumentException", 400), "{wrong:?}: {}", refused.2);
    }
    let tags = (0..51).map(|n| (n.to_string(), String::new())).collect();
    let refused = refusal(create().set_tags(Some(tags)).send().await);
    assert_eq!(refused.0, "TagsPerResourceExceededLimitException");
    assert!(control.list_streams().send().await.unwrap().stream_info_list().is_empty());
    // Without a retention, nothing is archived.
    create().send().await.unwrap();
    let described = control.describe_stream().stream_name("door").send().await.unwrap();
    assert_eq!(described.stream_info().unwrap().data_retention_in_hours(), Some(0));
}
