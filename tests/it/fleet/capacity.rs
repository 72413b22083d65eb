//! The request units of the rows, as an emulator bills them: `docs/fleet.md` computes its costs with these.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use kinesis_video::fleet::{DynamoLeases, LeaseRow, LeaseStore, Swap, WorkerRow};

use crate::support::dynamo::Dynamo;

const OWNER: &str = "ip-10-0-12-3.ec2.internal-12345-0123456789abcdef";

/// A row as it is after weeks, with the lengths that the service's names and numbers have.
fn lease(n: u32) -> LeaseRow {
    let mut row = LeaseRow::new(format!("site-{:03}-camera-{n:05}", n % 200));
    row.owner = Some(OWNER.into());
    (row.epoch, row.seq) = (17, 54_321);
    let position = "kvs1:91343852333181432392682062607743920146159169392:1511852109126:1511852109126:=";
    row.checkpoint = Some(position.parse().unwrap());
    row
}

#[tokio::test]
async fn rows_cost_what_the_guide_says() {
    let dynamo = Dynamo::start().await;
    let client = dynamo.client();
    let table = DynamoLeases::new(&dynamo.sdk_config(), "leases");
    table.create_table().await.unwrap();
    let (rows, workers) = (1000, 10);
    for n in 0..rows {
        assert_eq!(table.swap_lease(&lease(n), None).await.unwrap(), Swap::Done);
    }
    for n in 0..workers {
        let row = WorkerRow {
            id: format!("{OWNER}{n}"),
            beat: 1_000_000,
            lease_duration: Duration::from_secs(10),
            max_streams: 500,
            dead: false,
        };
        assert_eq!(table.swap_worker(&row, None).await.unwrap(), Swap::Done);
    }
    let query = |partition: String, is_consistent: bool| {
        let query = client.query().table_name("leases").key_condition_expression("pk = :pk");
        let query = query.expression_attribute_values(":pk", AttributeValue::S(partition));
        query.consistent_read(is_consistent).return_consumed_capacity(ReturnConsumedCapacity::Total).send()
    };
    let output = query("fleet#workers".into(), true).await.unwrap();
    assert_eq!(output.count(), workers);
    assert_eq!(output.consumed_capacity().unwrap().capacity_units(), Some(1.0));
    let mut seen = 0;
    for shard in 0..16 {
        let output = query(format!("fleet#s{shard:02}"), false).await.unwrap();
        let units = output.consumed_capacity().unwrap().capacity_units().unwrap();
        // 200 bytes for each row, in steps of 4 KB, at half a unit.
        let expected = (f64::from(output.count()) * 200.0 / 4096.0).ceil() / 2.0;
        assert!((units - expected).abs() <= 0.5, "{} rows are {units} units, not {expected}", output.count());
        seen += output.count() as u32;
    }
    assert_eq!(seen, rows);
    // A save writes a row anew.
    let read = client.get_item().table_name("leases").key("pk", AttributeValue::S("fleet#workers".into()));
    let read = read.key("sk", AttributeValue::S(format!("{OWNER}0"))).send().await.unwrap();
    let first = query("fleet#s00".into(), false).await.unwrap().items()[0].clone();
    for item in [read.item.unwrap(), first] {
        let put = client.put_item().table_name("leases").set_item(Some(item));
        let output = put.return_consumed_capacity(ReturnConsumedCapacity::Total).send().await.unwrap();
        assert_eq!(output.consumed_capacity().unwrap().capacity_units(), Some(1.0));
    }
}
