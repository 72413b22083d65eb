//! Creates the table.

use std::time::Duration;

use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::sleep;

use super::item::EXPIRES;
use super::table::{PARTITION, SORT, Table};
use crate::error::{Error, ErrorKind, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The number of looks at a table that is being created: about two minutes.
const MAX_LOOKS: u32 = 125;

/// Creates a table on demand, waits until it is active, and has it expire rows. Does nothing where that is so already.
pub(super) async fn create_table(table: &Table) -> Result<()> {
    let table = table.retrying();
    let (mut pause, mut is_requested) = (FIRST_PAUSE, false);
    for _ in 0..MAX_LOOKS {
        match describe(&table).await? {
            Some(found) => match found.table_status() {
                Some(TableStatus::Active | TableStatus::Updating) => {
                    check_keys(&table, &found)?;
                    return expire_rows(&table).await;
                }
                Some(TableStatus::Creating | TableStatus::Deleting) => {}
                status => {
                    let status = status.map_or("in an unknown state", TableStatus::as_str);
                    return Err(Error::new(ErrorKind::Service, format!("the table {} is {status}", table.name)));
                }
            },
            // A table that was just created may not be visible yet.
            None if is_requested => {}
            None => {
                request(&table).await?;
                is_requested = true;
            }
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
    let message = format!("the table {} did not become active within two minutes", table.name);
    Err(Error::new(ErrorKind::Service, message).retryable(true))
}

async fn describe(table: &Table) -> Result<Option<TableDescription>> {
    let call = table.client.describe_table().table_name(&*table.name).send();
    match table.sent("DescribeTable", call).await? {
        Ok(output) => Ok(output.table),
        Err(error) if error.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) => {
            Ok(None)
        }
        Err(error) => Err(table.failed(error, "DescribeTable")),
    }
}

async fn request(table: &Table) -> Result<()> {
    let mut call = table.client.create_table().table_name(&*table.name).billing_mode(BillingMode::PayPerRequest);
    for (name, kind) in [(PARTITION, KeyType::Hash), (SORT, KeyType::Range)] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder().attribute_name(name).key_type(kind);
        // Nothing is missing.
        if let (Ok(attribute), Ok(key)) = (attribute.build(), key.build()) {
            call = call.attribute_definitions(attribute).key_schema(key);
        }
    }
    match table.sent("CreateTable", call.send()).await? {
        Ok(_) => Ok(()),
        Err(error) => match error.as_service_error() {
            // Another process creates it.
            Some(CreateTableError::ResourceInUseException(_)) => Ok(()),
            _ => Err(table.failed(error, "CreateTable")),
        },
    }
}

fn check_keys(table: &Table, found: &TableDescription) -> Result<()> {
    let has = |name: &str, kind: &KeyType| {
        let is_key = |key: &KeySchemaElement| key.attribute_name() == name && key.key_type() == kind;
        let is_string = |attribute: &AttributeDefinition| {
            attribute.attribute_name() == name && *attribute.attribute_type() == ScalarAttributeType::S
        };
        found.key_schema().iter().any(is_key) && found.attribute_definitions().iter().any(is_string)
    };
    if has(PARTITION, &KeyType::Hash) && has(SORT, &KeyType::Range) {
        return Ok(());
    }
    let message = format!("the table {} exists, and is not a lease table", table.name);
    let hint = format!(
        "use another name; a lease table has the partition key {PARTITION} and the sort key {SORT}, both strings"
    );
    Err(Error::invalid_argument(message).with_hint(hint))
}

/// Enables the expiry of rows.
async fn expire_rows(table: &Table) -> Result<()> {
    match enable_expiry(table).await {
        // Emulators may lack the operation. Rows of dead workers then stay, which does no harm.
        Err(error) if error.kind() == ErrorKind::WrongEndpoint => {
            tracing::warn!(%error, table = &*table.name, "the rows of dead workers do not expire");
            Ok(())
        }
        done => done,
    }
}

async fn enable_expiry(table: &Table) -> Result<()> {
    let call = table.client.describe_time_to_live().table_name(&*table.name).send();
    let output = table.sent("DescribeTimeToLive", call).await?;
    let output = output.map_err(|error| table.failed(error, "DescribeTimeToLive"))?;
    if let Some(found) = output.time_to_live_description()
        && let Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling) = found.time_to_live_status()
    {
        return match found.attribute_name() {
            Some(EXPIRES) | None => Ok(()),
            Some(other) => {
                let message = format!("the table {} expires rows by the attribute {other}", table.name);
                Err(Error::invalid_argument(message).with_hint(format!("have it use {EXPIRES}, or use another table")))
            }
        };
    }
    let Ok(expiry) = TimeToLiveSpecification::builder().enabled(true).attribute_name(EXPIRES).build() else {
        return Ok(());
    };
    let call = table.client.update_time_to_live().table_name(&*table.name).time_to_live_specification(expiry).send();
    let output = table.sent("UpdateTimeToLive", call).await?;
    output.map(drop).map_err(|error| table.failed(error, "UpdateTimeToLive"))
}
