//! [`DynamoLeases`]: a lease table in DynamoDB.

use std::fmt;
use std::sync::Arc;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use futures::FutureExt;
use futures::future::{BoxFuture, try_join_all};

use super::create::create_table;
use super::item::{self, BEAT, EPOCH, SEQ, SHARDS, leases_partition, workers_partition};
use super::table::{Item, Key, Table, number};
use crate::error::{Error, Result};
use crate::service::fleet::store::{LeaseRow, LeaseStore, LeaseVersion, Swap, WorkerRow, set_removed};
use crate::service::stream_id::StreamId;

/// A lease table in DynamoDB, for the workers of a [fleet](crate::KinesisVideo::fleet) on several machines.
///
/// Clones share one client. One table can hold several fleets, and [checkpoints](super::DynamoCheckpoint) too.
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use futures::TryStreamExt;
/// # let endpoint = kinesis_video::local::LocalEndpoint::start().await?;
/// # endpoint.create_stream("front-door");
/// # let (database, listener) = (dynoxide::Database::memory().unwrap(), tokio::net::TcpListener::bind("127.0.0.1:0").await?);
/// # let url = format!("http://{}", listener.local_addr()?);
/// # tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));
/// # let config = endpoint.sdk_config().into_builder().endpoint_url(url).build();
/// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
/// use kinesis_video::fleet::{DynamoLeases, LeaseStore};
///
/// // let config = aws_config::load_from_env().await;
/// let table = DynamoLeases::new(&config, "kvs-leases");
/// table.create_table().await?; // once
/// table.add(&"front-door".into()).await?;
///
/// let mut leases = kvs.fleet(table).max_streams(500).leases();
/// let lease = leases.try_next().await?.expect("the fleet has a stream");
/// assert_eq!(lease.stream().as_str(), "front-door");
/// # drop(lease);
/// # leases.leave().await?;
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
///
/// # The table
///
/// It has the partition key `pk` and the sort key `sk`, both strings, and the TTL attribute `expires`. Capacity on
/// demand is best. [`create_table`](Self::create_table) creates it so. In the tables below, `fleet` is the
/// [name of the fleet](Self::fleet).
///
/// A worker has the partition key `fleet#workers`, its id as the sort key, and these attributes:
///
/// | attribute | type | meaning |
/// |---|---|---|
/// | `beat` | number | the number of heartbeats; each write of the row increases it |
/// | `lease_ms` | number | the duration of its leases in milliseconds, rounded up |
/// | `max_streams` | number | the maximum number of streams that it reads |
/// | `dead` | boolean | true once another worker has declared it dead |
/// | `expires` | number | when DynamoDB may delete the row, in seconds since 1970: a day after it was declared dead; else absent |
///
/// A stream has one of the partition keys `fleet#s00` to `fleet#s15`, its name or ARN as the sort key, and these
/// attributes. The number in the partition key is the CRC-32 (as in zlib) of the sort key in UTF-8, modulo 16.
///
/// | attribute | type | meaning |
/// |---|---|---|
/// | `owner` | string | the id of the worker that holds the lease; absent if it is free |
/// | `epoch` | number | the number of times the lease was claimed; never decreases |
/// | `seq` | number | the number of other writes in this epoch |
/// | `checkpoint` | string | the [position](crate::Position) after which to read; absent if nothing was saved |
/// | `removed` | boolean | true if the stream is not to be read |
///
/// `dead` and `removed` may be absent, which means false. Attributes not listed here are ignored, and lost with the next
/// write. A program that writes a stream's row increases `seq`, on condition that `epoch` and `seq` are as it read
/// them. It never deletes the row, because the epoch would start again.
///
/// # Calls
///
/// | call | when |
/// |---|---|
/// | `PutItem` | a heartbeat, a claim, a save, a release |
/// | `Query` of the workers, consistent | four times in a lease duration |
/// | `Query` of 16 partitions of streams, eventually consistent | every three lease durations, and more often after a change |
/// | `GetItem`, consistent | `add`, `remove`; after a conflict if the server does not return the current item |
/// | `DeleteItem` | a worker leaves |
///
/// The caller needs the permissions `dynamodb:PutItem`, `GetItem`, `Query` and `DeleteItem` on the table.
///
/// # Errors
///
/// The errors have the kinds of calls to Kinesis Video Streams. Their hints name the table. A call without an answer ends
/// after 5 s with [`ErrorKind::Io`](crate::ErrorKind::Io). Workers make failed calls again by themselves, so the SDK's
/// retries are used for `add`, `remove` and `create_table` only. If a retry finds that an attempt before it was
/// successful, `add` and `remove` return false.
///
/// [`workers`](LeaseStore::workers) and [`leases`](LeaseStore::leases) skip malformed rows and log a warning, so that one
/// row does not stop the fleet. All other calls fail with an [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument)
/// that names the row. A partition with more than 200,000 rows is an [`ErrorKind::Limit`](crate::ErrorKind::Limit).
#[derive(Clone)]
pub struct DynamoLeases {
    table: Table,
    fleet: Arc<str>,
}

/// Reads an item of a partition.
type Read<R> = fn(&str, &Item) -> Result<R>;

impl DynamoLeases {
    /// Creates a client of a table. Nothing is read or written yet.
    pub fn new(config: &SdkConfig, table: impl Into<String>) -> Self {
        Self { table: Table::new(config, table), fleet: "fleet".into() }
    }

    /// Uses a client that the program has configured, with a table's name or ARN.
    pub fn with_client(client: Client, table: impl Into<String>) -> Self {
        Self { table: Table::with_client(client, table), fleet: "fleet".into() }
    }

    /// Sets the name of the fleet, if several fleets share the table. Default: `fleet`.
    pub fn fleet(mut self, name: impl Into<String>) -> Self {
        self.fleet = name.into().into();
        self
    }

    /// Creates the table, waits until it is active, and enables the expiry of the rows of dead workers.
    ///
    /// Does nothing if the table is there. It takes about ten seconds in AWS.
    ///
    /// The caller needs the permissions `dynamodb:CreateTable`, `DescribeTable`, `DescribeTimeToLive` and
    /// `UpdateTimeToLive`.
    ///
    /// # Errors
    /// - [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if a table of that name has other keys or
    ///   expires rows by another attribute.
    /// - [`ErrorKind::Service`](crate::ErrorKind::Service) if the table is not active within two minutes.
    ///
    /// # Cancel safety
    /// The future may be dropped and called again. The table may be created nevertheless.
    pub async fn create_table(&self) -> Result<()> {
        create_table(&self.table).await
    }

    fn worker_key(&self, id: &str) -> Key {
        Key { partition: workers_partition(&self.fleet), sort: id.into() }
    }

    fn lease_key(&self, stream: &StreamId) -> Key {
        Key { partition: leases_partition(&self.fleet, item::shard(stream.as_str())), sort: stream.as_str().into() }
    }

    /// For calls that nobody makes again.
    fn retrying(&self) -> Self {
        Self { table: self.table.retrying(), fleet: Arc::clone(&self.fleet) }
    }

    /// Reads the well-formed rows of a partition.
    async fn rows<R>(&self, partition: String, consistent: bool, read: Read<R>) -> Result<Vec<R>> {
        let (mut rows, mut skipped, mut first) = (Vec::new(), 0_u64, None::<Error>);
        let each = |item: Item| match read(&partition, &item) {
            Ok(row) => rows.push(row),
            Err(error) => {
                skipped += 1;
                first.get_or_insert(error);
            }
        };
        self.table.query(&partition, consistent, each).await?;
        if let Some(error) = first {
            tracing::warn!(%error, skipped, table = &*self.table.name, "malformed rows of the lease table are skipped");
        }
        Ok(rows)
    }
}

/// Reads the current row of a conflict.
fn conflict<R>(swap: Swap<Item>, key: &Key, read: Read<R>) -> Result<Swap<R>> {
    Ok(match swap {
        Swap::Done => Swap::Done,
        Swap::Conflict(item) => Swap::Conflict(item.map(|item| read(&key.partition, &item)).transpose()?),
    })
}

impl LeaseStore for DynamoLeases {
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>>> {
        self.rows(workers_partition(&self.fleet), true, item::to_worker).boxed()
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseRow>>> {
        let partitions = (0..SHARDS).map(|shard| leases_partition(&self.fleet, shard));
        let reads = try_join_all(partitions.map(|partition| self.rows(partition, false, item::to_lease)));
        reads.map(|shards| Ok(shards?.into_iter().flatten().collect())).boxed()
    }

    fn lease<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<LeaseRow>>> {
        async {
            let key = self.lease_key(stream);
            let item = self.table.get(&key).await?;
            item.map(|item| item::to_lease(&key.partition, &item)).transpose()
        }
        .boxed()
    }

    fn swap_worker<'a>(&'a self, row: &'a WorkerRow, replaces: Option<u64>) -> BoxFuture<'a, Result<Swap<WorkerRow>>> {
        async move {
            let key = self.worker_key(&row.id);
            let expected = replaces.map(|beat| [(BEAT, number(beat))]);
            let swap = self.table.swap(&key, item::of_worker(row), expected.as_ref().map(<[_; 1]>::as_slice)).await?;
            conflict(swap, &key, item::to_worker)
        }
        .boxed()
    }

    fn swap_lease<'a>(
        &'a self,
        row: &'a LeaseRow,
        replaces: Option<LeaseVersion>,
    ) -> BoxFuture<'a, Result<Swap<LeaseRow>>> {
        async move {
            let key = self.lease_key(&row.stream);
            let expected = replaces.map(|version| [(EPOCH, number(version.epoch)), (SEQ, number(version.seq))]);
            let swap = self.table.swap(&key, item::of_lease(row)?, expected.as_ref().map(<[_; 2]>::as_slice)).await?;
            conflict(swap, &key, item::to_lease)
        }
        .boxed()
    }

    fn delete_worker<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async { self.table.delete(&self.worker_key(id)).await }.boxed()
    }

    fn add<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        async { set_removed(&self.retrying(), stream, false).await }.boxed()
    }

    fn remove<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<bool>> {
        async { set_removed(&self.retrying(), stream, true).await }.boxed()
    }
}

impl fmt::Debug for DynamoLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoLeases")
            .field("table", &self.table.name)
            .field("fleet", &self.fleet)
            .finish_non_exhaustive()
    }
}
