//! Leases and checkpoints in DynamoDB.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeyType, ScalarAttributeType, TimeToLiveStatus};
use futures::{StreamExt, TryStreamExt};
use kinesis_video::fleet::{DynamoCheckpoint, DynamoLeases, LeaseRow, LeaseStore, LeaseVersion, Swap, WorkerRow};
use kinesis_video::local::{Document, LocalEndpoint, LocalStream, Shape};
use kinesis_video::{CheckpointStore, ErrorKind, FragmentStreamExt, KinesisVideo, Position, Start, StreamEnd};
use serde_json::json;

use super::processes::store::Store;
use super::{contract, faults, one_process};
use crate::support::dynamo::Dynamo;
use crate::support::endpoint::unlimited;
use crate::support::stand_in::{Answer, stand_in_config};

const TABLE: &str = "kvs-leases";

async fn started() -> (Dynamo, DynamoLeases) {
    let dynamo = Dynamo::start().await;
    let table = DynamoLeases::new(&dynamo.sdk_config(), TABLE);
    table.create_table().await.unwrap();
    (dynamo, table)
}

fn position(n: u64) -> Position {
    format!("kvs1:{n}:::=").parse().unwrap()
}

#[tokio::test]
async fn dynamo_leases_hold_the_contract() {
    let (_dynamo, table) = started().await;
    contract::holds(Arc::new(table)).await;
}

/// An implementation by others, which does not return the current item of a conflict and does not expire rows.
#[tokio::test]
async fn dynalite_leases_hold_the_contract() {
    let Some(dynalite) = Store::dynalite().await else {
        eprintln!("skipped: dynalite is not installed; make dynalite installs it");
        return;
    };
    let table = dynalite.table();
    table.create_table().await.unwrap();
    contract::holds(Arc::new(table.clone().fleet("contract"))).await;
    one_process::zombie_saves_nothing(Arc::new(table.clone().fleet("zombie"))).await;
    faults::no_fragment_is_lost(Arc::new(table.fleet("faults"))).await;
}

#[tokio::test]
async fn streams_move_between_workers_on_dynamo() {
    let (_dynamo, table) = started().await;
    one_process::streams_move(Arc::new(table)).await;
}

#[tokio::test]
async fn no_fragment_is_lost_while_dynamo_fails() {
    let (_dynamo, table) = started().await;
    faults::no_fragment_is_lost(Arc::new(table)).await;
}

#[tokio::test]
async fn a_zombie_saves_nothing_in_dynamo() {
    let (_dynamo, table) = started().await;
    one_process::zombie_saves_nothing(Arc::new(table)).await;
}

#[tokio::test]
async fn leases_of_5000_streams_are_read_over_several_pages() {
    let (dynamo, table) = started().await;
    // A page has 1 MB, and a partition has a sixteenth of the rows.
    let rows = (0..5000).map(|n| {
        let mut row = LeaseRow::new(format!("camera-{n:04}"));
        (row.owner, row.epoch, row.checkpoint) = (Some("w".repeat(5000)), n, Some(position(n + 1)));
        row
    });
    contract::many_rows_are_read(&table, rows.collect()).await;
    let query = dynamo.client().query().table_name(TABLE).key_condition_expression("pk = :pk");
    let query = query.expression_attribute_values(":pk", AttributeValue::S("fleet#s00".into()));
    let page = query.send().await.unwrap();
    assert!(page.last_evaluated_key.is_some_and(|key| !key.is_empty()), "one page has them all");
}

#[tokio::test]
async fn the_table_is_created_once_and_as_documented() {
    let dynamo = Dynamo::start().await;
    let table = DynamoLeases::new(&dynamo.sdk_config(), TABLE);
    // Several processes start at once.
    let (first, second) = tokio::join!(table.create_table(), table.create_table());
    first.unwrap();
    second.unwrap();
    DynamoCheckpoint::new(&dynamo.sdk_config(), TABLE, "door").create_table().await.unwrap();
    let client = dynamo.client();
    let found = client.describe_table().table_name(TABLE).send().await.unwrap().table.unwrap();
    let keys: Vec<_> = found.key_schema().iter().map(|key| (key.attribute_name(), key.key_type())).collect();
    assert_eq!(keys, [("pk", &KeyType::Hash), ("sk", &KeyType::Range)]);
    assert!(found.attribute_definitions().iter().all(|a| *a.attribute_type() == ScalarAttributeType::S));
    assert_eq!(found.billing_mode_summary().unwrap().billing_mode().unwrap().as_str(), "PAY_PER_REQUEST");
    let expiry = client.describe_time_to_live().table_name(TABLE).send().await.unwrap();
    let expiry = expiry.time_to_live_description.unwrap();
    assert_eq!(expiry.attribute_name(), Some("expires"));
    assert!(matches!(expiry.time_to_live_status(), Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)));
}

#[tokio::test]
async fn another_programs_table_is_left_alone() {
    use aws_sdk_dynamodb::types::{AttributeDefinition, BillingMode, KeySchemaElement};
    let dynamo = Dynamo::start().await;
    let client = dynamo.client();
    let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
    let other = client.create_table().table_name("others").attribute_definitions(id.build().unwrap());
    other.key_schema(key.build().unwrap()).billing_mode(BillingMode::PayPerRequest).send().await.unwrap();
    let table = DynamoLeases::new(&dynamo.sdk_config(), "others");
    let error = table.create_table().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid argument: the table others exists, and is not a lease table; use another name; a lease table has the \
         partition key pk and the sort key sk, both strings"
    );
    let error = table.add(&"door".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.hint(), Some("check that the table others has the keys pk and sk, both strings"));
}

#[tokio::test]
async fn a_missing_table_is_an_error_that_says_what_to_do() {
    let dynamo = Dynamo::start().await;
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let table = DynamoLeases::new(&dynamo.sdk_config(), TABLE);
    let mut leases = kvs.fleet(table.clone()).leases();
    let error = leases.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::NotFound, false));
    assert_eq!(error.hint(), Some("create the table kvs-leases with create_table, or check its name and the region"));
    assert!(leases.next().await.is_none());
    assert_eq!(table.leases().await.unwrap_err().kind(), ErrorKind::NotFound);
    // Without a server.
    drop(dynamo);
    let error = table.leases().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Io, true));
}

/// What other programs read: names, types, keys.
#[tokio::test]
async fn rows_have_the_documented_attributes() {
    let (dynamo, table) = started().await;
    let table = table.fleet("lobby");
    let mut worker = WorkerRow {
        id: "host-1".into(),
        beat: 1,
        lease_duration: Duration::from_secs(10),
        max_streams: 500,
        dead: false,
    };
    assert_eq!(table.swap_worker(&worker, None).await.unwrap(), Swap::Done);
    let mut lease = LeaseRow::new("front-door");
    assert_eq!(table.swap_lease(&lease, None).await.unwrap(), Swap::Done);
    let item = async |partition: &str, sort: &str| {
        let get = dynamo.client().get_item().table_name(TABLE).key("pk", AttributeValue::S(partition.into()));
        get.key("sk", AttributeValue::S(sort.into())).send().await.unwrap().item.expect("the row")
    };
    let (n, s) = (|n: &str| AttributeValue::N(n.into()), |s: &str| AttributeValue::S(s.into()));
    let row = item("lobby#workers", "host-1").await;
    assert_eq!((&row["beat"], &row["lease_ms"], &row["max_streams"]), (&n("1"), &n("10000"), &n("500")));
    assert_eq!(row["dead"], AttributeValue::Bool(false));
    assert_eq!(row.len(), 6);
    (worker.beat, worker.dead) = (2, true);
    assert_eq!(table.swap_worker(&worker, Some(1)).await.unwrap(), Swap::Done);
    let row = item("lobby#workers", "host-1").await;
    assert_eq!(row["dead"], AttributeValue::Bool(true));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let expires: u64 = row["expires"].as_n().unwrap().parse().unwrap();
    assert!((now + 86_000..=now + 86_400).contains(&expires));

    // The CRC-32 of "front-door" is 14, modulo 16.
    let row = item("lobby#s14", "front-door").await;
    assert_eq!((&row["epoch"], &row["seq"], &row["removed"]), (&n("0"), &n("0"), &AttributeValue::Bool(false)));
    assert_eq!(row.len(), 5);
    let version = lease.version();
    (lease.owner, lease.epoch, lease.checkpoint) = (Some("host-1".into()), 1, Some(position(7)));
    assert_eq!(table.swap_lease(&lease, Some(version)).await.unwrap(), Swap::Done);
    let row = item("lobby#s14", "front-door").await;
    assert_eq!((&row["owner"], &row["checkpoint"]), (&s("host-1"), &s("kvs1:7:::=")));
    // Another fleet in the table has nothing of it.
    assert_eq!(table.clone().fleet("fleet").leases().await.unwrap(), []);
    assert_eq!(table.fleet("fleet").workers().await.unwrap(), []);
}

/// One row that another program wrote does not stop the fleet.
#[tokio::test]
async fn malformed_rows_are_skipped_by_readers_of_all_and_named_by_readers_of_one() {
    let (dynamo, table) = started().await;
    table.add(&"good".into()).await.unwrap();
    table.add(&"front-door".into()).await.unwrap();
    let broken = async |partition: &str, sort: &str| {
        let put = dynamo.client().put_item().table_name(TABLE).item("pk", AttributeValue::S(partition.into()));
        put.item("sk", AttributeValue::S(sort.into())).send().await.unwrap();
    };
    broken("fleet#s14", "front-door").await;
    broken("fleet#workers", "stranger").await;
    let rows = table.leases().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.stream.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!(table.workers().await.unwrap(), []);
    let door = "front-door".into();
    let expected = "invalid argument: the attribute epoch of the row fleet#s14 / front-door is not a whole number in its \
                    range; correct or delete the row, which another program wrote";
    assert_eq!(table.lease(&door).await.unwrap_err().to_string(), expected);
    assert_eq!(table.swap_lease(&LeaseRow::new(&door), None).await.unwrap_err().to_string(), expected);
    assert_eq!(table.remove(&door).await.unwrap_err().to_string(), expected);
    // The fleet reads the other stream.
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let mut leases = KinesisVideo::new(&endpoint.sdk_config()).fleet(table).leases();
    assert_eq!(leases.try_next().await.unwrap().unwrap().stream().as_str(), "good");
}

fn push(stream: &LocalStream, n: u32) {
    stream.push(&Document::new(Shape::Producer).video_track(1).block(1, n as i16, true, b"coded"));
}

#[tokio::test]
async fn a_live_stream_resumes_at_a_checkpoint_in_dynamo() {
    let (dynamo, _) = started().await;
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    (0..6).for_each(|n| push(&door, n));
    door.finish();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let mut seen = Vec::new();
    // Each round is another process. Fragments that were not acknowledged are repeated.
    for (take, acknowledged) in [(4, 2), (2, 2), (9, 0)] {
        let checkpoint = DynamoCheckpoint::new(&dynamo.sdk_config(), TABLE, "door/recorder");
        let live = kvs.live("door").start(Start::Earliest).reconnect(false);
        let (mut fragments, acks) = live.checkpointed(checkpoint);
        let mut numbers = Vec::new();
        while let Some(fragment) = fragments.try_next().await.unwrap() {
            numbers.push(fragment.number().unwrap().clone());
            if numbers.len() <= acknowledged {
                acks.done(&fragment.position());
            }
            if numbers.len() == take {
                break;
            }
        }
        drop(fragments);
        // The interval of ten seconds does not delay the last save.
        acks.close().await.unwrap();
        seen.push(numbers);
    }
    assert_eq!(seen[0][2..4], seen[1]);
    assert_eq!(seen[2].len(), 2);
    assert!(seen[1].last() < seen[2].first());
}

#[tokio::test]
async fn the_last_process_to_load_a_checkpoint_owns_it() {
    let (dynamo, _) = started().await;
    let open = || DynamoCheckpoint::new(&dynamo.sdk_config(), TABLE, "door");
    let (zombie, heir) = (open(), open());
    assert_eq!(zombie.load().await.unwrap(), None);
    zombie.save(&position(5)).await.unwrap();
    assert_eq!(heir.load().await.unwrap(), Some(position(5)));
    for n in 0..1000 {
        let error = zombie.save(&position(n)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LeaseLost);
        assert_eq!(
            error.to_string(),
            "lease lost: the checkpoint door belongs to another process now, or was deleted; have only one process \
             read the stream"
        );
    }
    heir.save(&position(6)).await.unwrap();
    assert!(zombie.save(&position(7)).await.is_err());
    assert_eq!(open().load().await.unwrap(), Some(position(6)));
    assert!(heir.save(&position(8)).await.is_err());
}

/// The earlier of two processes ends, at its next save.
#[tokio::test]
async fn a_stream_ends_when_another_process_loads_its_checkpoint() {
    let (dynamo, _) = started().await;
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let open = || DynamoCheckpoint::new(&dynamo.sdk_config(), TABLE, "door").with_save_interval(Duration::ZERO);
    let (mut fragments, acks) = kvs.live("door").start(Start::Earliest).checkpointed(open());
    push(&door, 0);
    let fragment = fragments.try_next().await.unwrap().unwrap();
    open().load().await.unwrap();
    acks.done(&fragment.position());
    let ended = tokio::time::timeout(Duration::from_secs(60), fragments.try_next()).await;
    assert!(ended.expect("the stream ends").unwrap().is_none());
    assert_eq!(fragments.end_reason(), Some(StreamEnd::LeaseLost));
}

/// `acknowledged` does not load. The first save then makes the process the owner.
#[tokio::test]
async fn a_save_without_a_load_takes_the_checkpoint() {
    let (dynamo, _) = started().await;
    let open = |name: &str| DynamoCheckpoint::new(&dynamo.sdk_config(), TABLE, name);
    let old = open("door");
    old.save(&position(1)).await.unwrap();
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    (0..3).for_each(|n| push(&door, n));
    door.finish();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let live = kvs.live("door").start(Start::Earliest).reconnect(false).fragments();
    let (fragments, acks) = live.acknowledged(open("door"));
    let all: Vec<_> = fragments.try_collect().await.unwrap();
    all.iter().for_each(|fragment| acks.done(&fragment.position()));
    assert_eq!(acks.close().await.unwrap(), Some(all[2].position()));
    assert_eq!(old.save(&position(2)).await.unwrap_err().kind(), ErrorKind::LeaseLost);
    assert_eq!(open("door").load().await.unwrap(), Some(all[2].position()));
    assert_eq!(open("yard").load().await.unwrap(), None);
}

#[tokio::test]
async fn an_empty_or_malformed_checkpoint_is_an_error() {
    let (dynamo, table) = started().await;
    let checkpoint = DynamoCheckpoint::new(&dynamo.sdk_config(), TABLE, "door");
    let error = checkpoint.save(&Position::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "invalid argument: an empty position cannot be saved");
    let mut row = LeaseRow::new("door");
    row.checkpoint = Some(Position::default());
    assert_eq!(table.swap_lease(&row, None).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let put = dynamo.client().put_item().table_name(TABLE).item("pk", AttributeValue::S("checkpoint".into()));
    let put = put.item("sk", AttributeValue::S("door".into())).item("seq", AttributeValue::N("1".into()));
    put.item("checkpoint", AttributeValue::S("yesterday".into())).send().await.unwrap();
    let error = checkpoint.load().await.unwrap_err();
    assert_eq!(error.message(), "the attribute checkpoint of the row checkpoint / door is not a position");
    assert!(std::error::Error::source(&error).is_some());
}

fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let code = format!("com.amazonaws.dynamodb.v20120810#{code}");
    Answer { status, ..Answer::json(json!({ "__type": code, "message": message })) }
}

#[tokio::test(start_paused = true)]
async fn dynamos_errors_have_kinds_and_advice() {
    let throttled = Some("raise the capacity of the table kvs-leases, or call less often");
    let allow = Some("allow the caller dynamodb:Query on the table kvs-leases");
    let key = Some("check the access key, which is unknown in this region");
    let keys = Some("check that the table kvs-leases has the keys pk and sk, both strings");
    let create = Some("create the table kvs-leases with create_table, or check its name and the region");
    for (status, code, message, kind, is_retryable, hint) in [
        (400, "ProvisionedThroughputExceededException", "slow down", ErrorKind::Throttled, true, throttled),
        (400, "ThrottlingException", "slow down", ErrorKind::Throttled, true, throttled),
        (400, "RequestLimitExceeded", "slow down", ErrorKind::Throttled, true, throttled),
        (400, "TransactionConflictException", "a transaction", ErrorKind::Service, true, None),
        (400, "ReplicatedWriteConflictException", "a write", ErrorKind::Service, true, None),
        (500, "InternalServerError", "sorry", ErrorKind::Service, true, None),
        (503, "ServiceUnavailable", "sorry", ErrorKind::Service, true, None),
        (400, "ResourceNotFoundException", "Requested resource not found", ErrorKind::NotFound, false, create),
        (400, "AccessDeniedException", "not authorized to perform", ErrorKind::AccessDenied, false, allow),
        (400, "UnrecognizedClientException", "invalid token", ErrorKind::AccessDenied, false, key),
        (
            400,
            "ValidationException",
            "Query condition missed key schema element",
            ErrorKind::InvalidArgument,
            false,
            keys,
        ),
        (400, "ValidationException", "Item size has exceeded", ErrorKind::InvalidArgument, false, None),
    ] {
        let (config, asked) = stand_in_config(move |_, _| refusal(status, code, message)).await;
        let table = DynamoLeases::new(&config, TABLE);
        let error = table.workers().await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable(), error.hint()), (kind, is_retryable, hint), "{code}");
        assert_eq!((error.message(), error.code()), (&*format!("Query: {message}"), Some(code)));
        // The fleet makes calls again by itself. Nobody else does that for `add`.
        assert_eq!(asked.take().len(), 1, "{code}");
        assert_eq!(table.add(&"door".into()).await.unwrap_err().kind(), kind);
        let is_retried = !matches!(code, "TransactionConflictException" | "ReplicatedWriteConflictException");
        assert_eq!(asked.take().len(), if is_retryable && is_retried { 3 } else { 1 }, "{code}");
    }
}

/// Some emulators do not return the current item of a conflict. It is then read.
#[tokio::test]
async fn a_conflict_without_the_current_item_reads_it() {
    let (config, asked) = stand_in_config(|_, body| {
        if body["ConditionExpression"].is_string() {
            return refusal(400, "ConditionalCheckFailedException", "The conditional request failed");
        }
        let (n, s) = (|n: &str| json!({ "N": n }), |s: &str| json!({ "S": s }));
        Answer::json(json!({ "Item": { "pk": s("fleet#s14"), "sk": s("front-door"), "epoch": n("3"), "seq": n("4") } }))
    })
    .await;
    let table = DynamoLeases::new(&config, TABLE);
    let row = LeaseRow::new("front-door");
    let Swap::Conflict(Some(current)) = table.swap_lease(&row, Some(row.version())).await.unwrap() else {
        panic!("the condition failed");
    };
    assert_eq!(current.version(), LeaseVersion { epoch: 3, seq: 4 });
    let asked = asked.bodies();
    assert_eq!(asked[0]["ConditionExpression"], "#n0 = :v0 AND #n1 = :v1");
    assert_eq!(asked[0]["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
    assert_eq!(asked[1]["ConsistentRead"], true);
    assert_eq!(asked.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_ends() {
    use aws_smithy_runtime_api::client::http::{HttpConnectorFuture, SharedHttpConnector, http_client_fn};
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

    #[derive(Debug)]
    struct Silent;

    impl aws_smithy_runtime_api::client::http::HttpConnector for Silent {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            HttpConnectorFuture::new(std::future::pending())
        }
    }

    let (config, _) = stand_in_config(|_, _| Answer::json(json!({}))).await;
    let client = http_client_fn(|_, _| SharedHttpConnector::new(Silent));
    let config = config.into_builder().http_client(client).build();
    let error = DynamoLeases::new(&config, TABLE).workers().await.unwrap_err();
    assert_eq!(error.to_string(), "I/O failed: Query: no response within 5s");
    assert!(error.is_retryable());
    let checkpoint = DynamoCheckpoint::new(&config, TABLE, "door");
    assert_eq!(checkpoint.load().await.unwrap_err().kind(), ErrorKind::Io);
}
