//! [`DynamoCheckpoint`]: a checkpoint in DynamoDB.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_dynamodb::Client;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;

use super::create::create_table;
use super::item::{CheckpointRow, SEQ, WRITER, to_checkpoint};
use super::table::{Item, Key, Table, number, text};
use crate::checkpoint::CheckpointStore;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Position, StreamEnd};
use crate::service::fleet::store::{Swap, contended};

/// The partition of all checkpoints.
const PARTITION: &str = "checkpoint";
const SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// The number of conflicting writes of one call after which it fails.
const MAX_CONFLICTS: u32 = 8;

/// A checkpoint in DynamoDB, for one stream that any machine may read.
///
/// Use it where a scheduler runs one process per stream. Clones share one client and one state.
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use kinesis_video::local::{Document, LocalEndpoint, Shape};
/// # let endpoint = LocalEndpoint::start().await?;
/// # let door = endpoint.create_stream("front-door");
/// # for n in 0..3 { door.push(&Document::new(Shape::Producer).video_track(1).block(1, n, true, b"coded")); }
/// # door.finish();
/// # let (database, listener) = (dynoxide::Database::memory().unwrap(), tokio::net::TcpListener::bind("127.0.0.1:0").await?);
/// # let url = format!("http://{}", listener.local_addr()?);
/// # tokio::spawn(dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()));
/// # let config = endpoint.sdk_config().into_builder().endpoint_url(url).build();
/// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
/// use futures::TryStreamExt;
/// use kinesis_video::Start;
/// use kinesis_video::fleet::DynamoCheckpoint;
///
/// // let config = aws_config::load_from_env().await;
/// let checkpoint = DynamoCheckpoint::new(&config, "kvs-leases", "front-door/recorder");
/// checkpoint.create_table().await?; // once
///
/// let live = kvs.live("front-door").start(Start::Earliest);
/// # let live = live.reconnect(false);
/// let (mut fragments, acks) = live.checkpointed(checkpoint);
/// while let Some(fragment) = fragments.try_next().await? {
///     acks.done(&fragment.position());
/// }
/// let saved = acks.close().await?;
/// assert!(saved.is_some());
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
///
/// # Two processes
///
/// The process that loaded the checkpoint last owns it. All earlier ones lose it:
///
/// - Their [`save`](CheckpointStore::save) fails with [`ErrorKind::LeaseLost`], and changes nothing.
/// - Their live stream then ends with [`StreamEnd::LeaseLost`].
///
/// Both processes may yield fragments until the earlier one saves the next time. To have a stream read by one process at
/// any time, use a [fleet](crate::KinesisVideo::fleet).
///
/// A save without a load before it, as with [`acknowledged`](crate::FragmentStreamExt::acknowledged), also makes this
/// process the owner.
///
/// # The table
///
/// It has the keys of the table of [`DynamoLeases`](super::DynamoLeases), which can be the same table. The row has the
/// partition key `checkpoint`, the checkpoint's name as the sort key, and these attributes:
///
/// | attribute | type | meaning |
/// |---|---|---|
/// | `seq` | number | the number of writes of the row |
/// | `writer` | string | the random id of the process that owns the row |
/// | `checkpoint` | string | the [position](Position); absent if nothing was saved |
///
/// A load is a `GetItem` and a `PutItem`, a save is a `PutItem`. The caller needs both permissions.
///
/// # Errors
/// As [`DynamoLeases`](super::DynamoLeases) documents. A malformed row is an [`ErrorKind::InvalidArgument`]. Loading uses
/// the SDK's retries; saving is retried by the crate.
///
/// # Cancel safety
/// A `save` whose future is dropped may still complete. It never overwrites a later save.
#[derive(Clone)]
pub struct DynamoCheckpoint {
    row: Arc<Row>,
    save_interval: Duration,
}

struct Row {
    table: Table,
    key: Key,
    writer: String,
    /// The `seq` of the row as this process last wrote it, or `None` if it does not own the row.
    seq: tokio::sync::Mutex<Option<u64>>,
    is_lost: AtomicBool,
    waker: AtomicWaker,
}

impl DynamoCheckpoint {
    /// Creates a client of one checkpoint in a table. Nothing is read or written yet.
    pub fn new(config: &SdkConfig, table: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(Table::new(config, table), name.into())
    }

    /// Uses a client that the program has configured, with a table's name or ARN.
    pub fn with_client(client: Client, table: impl Into<String>, name: impl Into<String>) -> Self {
        Self::of(Table::with_client(client, table), name.into())
    }

    fn of(table: Table, name: String) -> Self {
        let row = Row {
            table,
            key: Key { partition: PARTITION.into(), sort: name },
            writer: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            seq: tokio::sync::Mutex::default(),
            is_lost: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        };
        Self { row: Arc::new(row), save_interval: SAVE_INTERVAL }
    }

    /// Sets the minimum time between two saves. Default: 10 s.
    ///
    /// A restart repeats what was acknowledged since the last save. Each save is a write to the table. The last
    /// position is saved at once when the stream's [`Acks`](crate::Acks) are closed.
    pub fn with_save_interval(mut self, interval: Duration) -> Self {
        self.save_interval = interval;
        self
    }

    /// Creates the table, as [`DynamoLeases::create_table`](super::DynamoLeases::create_table) does.
    ///
    /// # Errors
    /// As documented there.
    ///
    /// # Cancel safety
    /// The future may be dropped and called again. The table may be created nevertheless.
    pub async fn create_table(&self) -> Result<()> {
        create_table(&self.row.table).await
    }
}

impl Row {
    fn read(&self, item: Option<Item>) -> Result<Option<CheckpointRow>> {
        item.map(|item| to_checkpoint(&self.key.partition, &item)).transpose()
    }

    /// Makes this process the owner of the row, and returns the row.
    async fn claim(&self) -> Result<CheckpointRow> {
        let table = self.table.retrying();
        let mut current = self.read(table.get(&self.key).await?)?;
        for _ in 0..MAX_CONFLICTS {
            let seq = current.as_ref().map(|row| row.seq);
            let new = CheckpointRow {
                seq: seq.map_or(1, |seq| seq + 1),
                writer: Some(self.writer.clone()),
                position: current.and_then(|row| row.position),
            };
            let expected = seq.map(|seq| [(SEQ, number(seq))]);
            match table.swap(&self.key, new.to_item()?, expected.as_ref().map(<[_; 1]>::as_slice)).await? {
                Swap::Done => {
                    self.is_lost.store(false, Ordering::Release);
                    return Ok(new);
                }
                Swap::Conflict(item) => current = self.read(item)?,
            }
        }
        Err(self.contended())
    }

    async fn write(&self, position: &Position) -> Result<()> {
        let mut owned = self.seq.lock().await;
        let mut seq = match *owned {
            Some(seq) => seq,
            None if self.is_lost.load(Ordering::Acquire) => return Err(self.lost()),
            None => self.claim().await?.seq,
        };
        for _ in 0..MAX_CONFLICTS {
            *owned = Some(seq);
            let new =
                CheckpointRow { seq: seq + 1, writer: Some(self.writer.clone()), position: Some(position.clone()) };
            let expected = [(SEQ, number(seq)), (WRITER, text(&self.writer))];
            match self.table.swap(&self.key, new.to_item()?, Some(&expected)).await? {
                Swap::Done => {
                    *owned = Some(new.seq);
                    return Ok(());
                }
                Swap::Conflict(item) => match self.read(item)? {
                    // An earlier save had its effect, and its reply was lost.
                    Some(row) if row.writer.as_ref() == Some(&self.writer) => seq = row.seq,
                    _ => {
                        *owned = None;
                        self.is_lost.store(true, Ordering::Release);
                        self.waker.wake();
                        return Err(self.lost());
                    }
                },
            }
        }
        Err(self.contended())
    }

    fn lost(&self) -> Error {
        let message = format!("the checkpoint {} belongs to another process now, or was deleted", self.key.sort);
        Error::new(ErrorKind::LeaseLost, message).with_hint("have only one process read the stream")
    }

    fn contended(&self) -> Error {
        contended(&format!("the checkpoint {}", self.key.sort))
    }
}

impl CheckpointStore for DynamoCheckpoint {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        async {
            let mut owned = self.row.seq.lock().await;
            let row = self.row.claim().await?;
            *owned = Some(row.seq);
            Ok(row.position)
        }
        .boxed()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        self.row.write(position).boxed()
    }

    fn save_interval(&self) -> Duration {
        self.save_interval
    }

    fn poll_permit(&self, cx: &mut Context<'_>) -> Poll<Result<(), StreamEnd>> {
        // Before the check, so that no change is missed.
        self.row.waker.register(cx.waker());
        let is_lost = self.row.is_lost.load(Ordering::Acquire);
        Poll::Ready(if is_lost { Err(StreamEnd::LeaseLost) } else { Ok(()) })
    }
}

impl fmt::Debug for DynamoCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoCheckpoint")
            .field("table", &self.row.table.name)
            .field("name", &self.row.key.sort)
            .field("save_interval", &self.save_interval)
            .finish_non_exhaustive()
    }
}
