//! [`Table`]: the calls to one table of DynamoDB.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Config;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};
use crate::service::call::{sdk_failure, timed_out};
use crate::service::fleet::store::Swap;

/// The name of the partition key.
pub(super) const PARTITION: &str = "pk";
/// The name of the sort key.
pub(super) const SORT: &str = "sk";

/// The longest time of a call that is not retried. DynamoDB answers within milliseconds.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// The longest time of a call with its retries.
const RETRIED_LIMIT: Duration = Duration::from_secs(30);
/// The number of rows of one partition after which a read fails.
const MAX_ROWS: usize = 200_000;

/// The attributes of an item.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The key of an item.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) partition: String,
    pub(super) sort: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.partition, self.sort)
    }
}

/// A table of DynamoDB. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) client: Client,
    pub(super) name: Arc<str>,
    retries: bool,
}

impl Table {
    pub(super) fn new(config: &SdkConfig, name: impl Into<String>) -> Self {
        Self::with_client(Client::new(config), name)
    }

    pub(super) fn with_client(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into().into(), retries: false }
    }

    /// Returns the table with the client's own retries, for calls that no worker makes again.
    pub(super) fn retrying(&self) -> Self {
        Self { retries: true, ..self.clone() }
    }

    /// Reads an item, as it is at the call or later.
    pub(super) async fn get(&self, key: &Key) -> Result<Option<Item>> {
        let call = self.client.get_item().table_name(&*self.name).consistent_read(true);
        let call = call.key(PARTITION, text(&key.partition)).key(SORT, text(&key.sort));
        let output = self.sent("GetItem", call.customize().config_override(self.overrides()).send()).await?;
        output.map(|output| output.item).map_err(|error| self.failed(error, "GetItem"))
    }

    /// Writes an item if the current one has the expected attributes, or if none are expected and there is no item.
    pub(super) async fn swap(
        &self,
        key: &Key,
        attributes: Item,
        expected: Option<&[(&str, AttributeValue)]>,
    ) -> Result<Swap<Item>> {
        let mut call = self.client.put_item().table_name(&*self.name).set_item(Some(attributes));
        call = call.item(PARTITION, text(&key.partition)).item(SORT, text(&key.sort));
        call = call.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut condition = String::new();
        for (index, (name, value)) in expected.unwrap_or_default().iter().enumerate() {
            // Names may be reserved words.
            let and = if index == 0 { "" } else { " AND " };
            condition.push_str(&format!("{and}#n{index} = :v{index}"));
            call = call.expression_attribute_names(format!("#n{index}"), *name);
            call = call.expression_attribute_values(format!(":v{index}"), value.clone());
        }
        if condition.is_empty() {
            condition = format!("attribute_not_exists({PARTITION})");
        }
        let call = call.condition_expression(condition).customize().config_override(self.overrides());
        let Err(error) = self.sent("PutItem", call.send()).await? else { return Ok(Swap::Done) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => Ok(Swap::Conflict(match &failed.item {
                Some(item) => Some(item.clone()),
                // There was none, or the server does not return it.
                None => self.get(key).await?,
            })),
            _ => Err(self.failed(error, "PutItem")),
        }
    }

    /// Deletes an item, if there is one.
    pub(super) async fn delete(&self, key: &Key) -> Result<()> {
        let call = self.client.delete_item().table_name(&*self.name);
        let call = call.key(PARTITION, text(&key.partition)).key(SORT, text(&key.sort));
        let output = self.sent("DeleteItem", call.customize().config_override(self.overrides()).send()).await?;
        output.map(drop).map_err(|error| self.failed(error, "DeleteItem"))
    }

    /// Reads all items of a partition, page by page.
    pub(super) async fn query(&self, partition: &str, consistent: bool, mut each: impl FnMut(Item)) -> Result<()> {
        let (mut start, mut rows) = (None, 0);
        loop {
            let call = self.client.query().table_name(&*self.name).consistent_read(consistent);
            let call = call.key_condition_expression("#pk = :pk").expression_attribute_names("#pk", PARTITION);
            let call = call.expression_attribute_values(":pk", text(partition)).set_exclusive_start_key(start);
            let output = self.sent("Query", call.customize().config_override(self.overrides()).send()).await?;
            let output = output.map_err(|error| self.failed(error, "Query"))?;
            let items = output.items.unwrap_or_default();
            // A page may have no rows.
            rows += items.len().max(1);
            if rows > MAX_ROWS {
                let message = format!("the partition {partition} of the table {} has too many rows", self.name);
                return Err(Error::limit(message).with_hint(format!("delete some; {MAX_ROWS} are supported")));
            }
            items.into_iter().for_each(&mut each);
            start = output.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(());
            }
        }
    }

    /// Waits for the answer to a call, for a bounded time.
    pub(super) async fn sent<T>(&self, operation: &str, call: impl Future<Output = T>) -> Result<T> {
        let limit = if self.retries { RETRIED_LIMIT } else { CALL_LIMIT };
        timeout(limit, call).await.map_err(|_| timed_out(operation, limit))
    }

    /// Converts the error of a call, with advice about the table.
    pub(super) fn failed<E>(&self, error: SdkError<E, HttpResponse>, operation: &str) -> Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let error = sdk_failure(error, operation);
        let name = &self.name;
        let hint = match error.kind() {
            ErrorKind::NotFound => {
                format!("create the table {name} with create_table, or check its name and the region")
            }
            ErrorKind::AccessDenied if error.hint().is_some_and(|hint| hint.starts_with("allow")) => {
                format!("allow the caller dynamodb:{operation} on the table {name}")
            }
            ErrorKind::Throttled => format!("raise the capacity of the table {name}, or call less often"),
            ErrorKind::InvalidArgument if error.message().contains("key") => {
                format!("check that the table {name} has the keys {PARTITION} and {SORT}, both strings")
            }
            _ => return error,
        };
        error.with_hint(hint)
    }

    pub(super) fn overrides(&self) -> aws_sdk_dynamodb::config::Builder {
        let overrides = Config::builder();
        // A worker makes its calls again by itself, and knows when it is too late for that.
        if self.retries { overrides } else { overrides.retry_config(RetryConfig::disabled()) }
    }
}

pub(super) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}
