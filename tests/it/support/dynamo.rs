//! DynamoDB in memory, on a free port.

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::Client;
use dynoxide::Database;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A DynamoDB server on loopback. Its tables live as long as it or a clone of its `database`.
pub struct Dynamo {
    pub port: u16,
    pub database: Database,
    /// The server stops when this is dropped.
    _running: oneshot::Sender<()>,
}

impl Dynamo {
    /// Starts an empty one.
    pub async fn start() -> Self {
        Self::start_with(Database::memory().unwrap(), 0).await
    }

    /// Starts one with the tables of another, as after a restart. Port 0 stands for any free port.
    pub async fn start_with(database: Database, port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (running, stopped) = oneshot::channel::<()>();
        let served = database.clone();
        tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            dynoxide::server::serve_with_shutdown(listener, served, shutdown).await.unwrap();
        });
        Self { port, database, _running: running }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A configuration for clients of this server, and of no other service.
    pub fn sdk_config(&self) -> SdkConfig {
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys("test", "test", None)))
            .endpoint_url(self.url())
            .build()
    }

    pub fn client(&self) -> Client {
        Client::new(&self.sdk_config())
    }
}

mod tests {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::operation::put_item::PutItemError;
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
        ReturnValuesOnConditionCheckFailure, ScalarAttributeType,
    };

    use super::Dynamo;

    /// What the tests rely on: conditions, the old item of a failed one, and tables that outlive the server.
    #[tokio::test]
    async fn a_failed_condition_returns_the_old_item_even_after_a_restart() {
        let dynamo = Dynamo::start().await;
        let client = dynamo.client();
        let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
        let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash);
        let table = client.create_table().table_name("items").attribute_definitions(id.build().unwrap());
        let table = table.key_schema(key.build().unwrap()).billing_mode(BillingMode::PayPerRequest);
        table.send().await.unwrap();
        let put = |client: &Client, owner: &str| {
            let put = client.put_item().table_name("items").item("id", AttributeValue::S("a".into()));
            put.item("owner", AttributeValue::S(owner.into()))
                .condition_expression("attribute_not_exists(id)")
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                .send()
        };
        put(&client, "first").await.unwrap();
        let database = dynamo.database.clone();
        drop(dynamo);
        let dynamo = Dynamo::start_with(database, 0).await;
        let error = put(&dynamo.client(), "second").await.unwrap_err().into_service_error();
        let PutItemError::ConditionalCheckFailedException(failed) = error else { panic!("{error:?}") };
        assert_eq!(failed.item.expect("the old item")["owner"].as_s().unwrap(), "first");
    }
}
