//! A lease table in PostgreSQL: how a program writes a [`LeaseStore`] of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use kinesis_video::fleet::{LeaseRow, LeaseStore, LeaseVersion, Swap, WorkerRow};
use kinesis_video::{Error, ErrorKind, Result, StreamId};
use tokio::sync::{Mutex, MutexGuard};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls, Row};

use super::{contract, faults, one_process};
use crate::support::postgres::Postgres;

/// PostgreSQL has no unsigned integers. The largest maximum of streams does not fit into a signed one.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS workers (
        id text COLLATE \"C\" PRIMARY KEY,
        beat bigint NOT NULL,
        lease_ms bigint NOT NULL,
        max_streams numeric NOT NULL,
        dead boolean NOT NULL
    );
    CREATE TABLE IF NOT EXISTS leases (
        stream text COLLATE \"C\" PRIMARY KEY,
        owner text,
        epoch bigint NOT NULL,
        seq bigint NOT NULL,
        checkpoint text,
        removed boolean NOT NULL
    );";
const WORKER: &str = "id, beat, lease_ms, max_streams::text, dead";
const LEASE: &str = "stream, owner, epoch, seq, checkpoint, removed";

/// A lease table in PostgreSQL, with a few connections.
pub struct PostgresLeases {
    config: Config,
    /// Made when needed, and again after it broke.
    connections: [Mutex<Option<Client>>; 8],
    next: AtomicUsize,
}

impl PostgresLeases {
    /// Connects, and creates the tables if they are not there.
    pub async fn connect(config: Config) -> Result<Self> {
        let store = Self { config, connections: Default::default(), next: AtomicUsize::new(0) };
        let mut connection = store.connection().await;
        store.client(&mut connection).await?.batch_execute(SCHEMA).await.map_err(failed)?;
        drop(connection);
        Ok(store)
    }

    async fn connection(&self) -> MutexGuard<'_, Option<Client>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        self.connections[index].lock().await
    }

    async fn client<'a>(&self, connection: &'a mut Option<Client>) -> Result<&'a Client> {
        if connection.as_ref().is_none_or(Client::is_closed) {
            let (client, task) = self.config.connect(NoTls).await.map_err(failed)?;
            // Its error is that of the calls that it ends.
            tokio::spawn(task);
            *connection = Some(client);
        }
        Ok(connection.as_ref().unwrap())
    }

    async fn query<T>(
        &self,
        sql: &str,
        arguments: &[&(dyn ToSql + Sync)],
        read: fn(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut connection = self.connection().await;
        let rows = self.client(&mut connection).await?.query(sql, arguments).await.map_err(failed)?;
        rows.iter().map(read).collect()
    }

    /// Returns whether a row was written.
    async fn write(&self, sql: &str, arguments: &[&(dyn ToSql + Sync)]) -> Result<bool> {
        let mut connection = self.connection().await;
        Ok(self.client(&mut connection).await?.execute(sql, arguments).await.map_err(failed)? == 1)
    }
}

fn failed(error: tokio_postgres::Error) -> Error {
    Error::new(ErrorKind::Io, "PostgreSQL failed").caused_by(error)
}

fn signed(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| Error::new(ErrorKind::Limit, "a counter is too large").caused_by(error))
}

fn unsigned(row: &Row, index: usize) -> Result<u64> {
    let number: i64 = row.try_get(index).map_err(failed)?;
    u64::try_from(number)
        .map_err(|error| Error::new(ErrorKind::InvalidArgument, "a counter is negative").caused_by(error))
}

fn worker(row: &Row) -> Result<WorkerRow> {
    let max: &str = row.try_get(3).map_err(failed)?;
    let max_streams = max.parse();
    Ok(WorkerRow {
        id: row.try_get(0).map_err(failed)?,
        beat: unsigned(row, 1)?,
        lease_duration: Duration::from_millis(unsigned(row, 2)?),
        max_streams: max_streams.map_err(|_| Error::new(ErrorKind::InvalidArgument, "max_streams is no integer"))?,
        dead: row.try_get(4).map_err(failed)?,
    })
}

fn lease(row: &Row) -> Result<LeaseRow> {
    let stream: &str = row.try_get(0).map_err(failed)?;
    let checkpoint: Option<&str> = row.try_get(4).map_err(failed)?;
    let mut lease = LeaseRow::new(stream);
    lease.owner = row.try_get(1).map_err(failed)?;
    (lease.epoch, lease.seq) = (unsigned(row, 2)?, unsigned(row, 3)?);
    lease.checkpoint = checkpoint.map(str::parse).transpose()?;
    lease.removed = row.try_get(5).map_err(failed)?;
    Ok(lease)
}

impl LeaseStore for PostgresLeases {
    fn workers(&self) -> BoxFuture<'_, Result<Vec<WorkerRow>>> {
        async { self.query(&format!("SELECT {WORKER} FROM workers"), &[], worker).await }.boxed()
    }

    fn leases(&self) -> BoxFuture<'_, Result<Vec<LeaseRow>>> {
        async { self.query(&format!("SELECT {LEASE} FROM leases"), &[], lease).await }.boxed()
    }

    fn lease<'a>(&'a self, stream: &'a StreamId) -> BoxFuture<'a, Result<Option<LeaseRow>>> {
        async {
            let sql = format!("SELECT {LEASE} FROM leases WHERE stream = $1");
            Ok(self.query(&sql, &[&stream.as_str()], lease).await?.pop())
        }
        .boxed()
    }

    fn swap_worker<'a>(&'a self, row: &'a WorkerRow, replaces: Option<u64>) -> BoxFuture<'a, Result<Swap<WorkerRow>>> {
        async move {
            let lease_ms = i64::try_from(row.lease_duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
            let (beat, max) = (signed(row.beat)?, row.max_streams.to_string());
            let done = match replaces {
                None => {
                    let sql = "INSERT INTO workers VALUES ($1, $2, $3, $4::text::numeric, $5) ON CONFLICT DO NOTHING";
                    self.write(sql, &[&row.id, &beat, &lease_ms, &max, &row.dead]).await?
                }
                Some(old) => {
                    let sql = "UPDATE workers SET beat = $2, lease_ms = $3, max_streams = $4::text::numeric, dead = $5
                        WHERE id = $1 AND beat = $6";
                    self.write(sql, &[&row.id, &beat, &lease_ms, &max, &row.dead, &signed(old)?]).await?
                }
            };
            if done {
                return Ok(Swap::Done);
            }
            let sql = format!("SELECT {WORKER} FROM workers WHERE id = $1");
            Ok(Swap::Conflict(self.query(&sql, &[&row.id], worker).await?.pop()))
        }
        .boxed()
    }

    fn swap_lease<'a>(
        &'a self,
        row: &'a LeaseRow,
        replaces: Option<LeaseVersion>,
    ) -> BoxFuture<'a, Result<Swap<LeaseRow>>> {
        async move {
            let (stream, epoch, seq) = (row.stream.as_str(), signed(row.epoch)?, signed(row.seq)?);
            let checkpoint = row.checkpoint.as_ref().map(ToString::to_string);
            let done = match replaces {
                None => {
                    let sql = "INSERT INTO leases VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
                    self.write(sql, &[&stream, &row.owner, &epoch, &seq, &checkpoint, &row.removed]).await?
                }
                Some(old) => {
                    // A statement that waits for another one's lock looks at the condition again after it.
                    let sql = "UPDATE leases SET owner = $2, epoch = $3, seq = $4, checkpoint = $5, removed = $6
                        WHERE stream = $1 AND epoch = $7 AND seq = $8";
                    let (old_epoch, old_seq) = (signed(old.epoch)?, signed(old.seq)?);
                    let new: [&(dyn ToSql + Sync); 8] =
                        [&stream, &row.owner, &epoch, &seq, &checkpoint, &row.removed, &old_epoch, &old_seq];
                    self.write(sql, &new).await?
                }
            };
            if done { Ok(Swap::Done) } else { Ok(Swap::Conflict(self.lease(&row.stream).await?)) }
        }
        .boxed()
    }

    fn delete_worker<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move { self.write("DELETE FROM workers WHERE id = $1", &[&id]).await.map(drop) }.boxed()
    }
}

async fn started() -> Option<(Postgres, Arc<PostgresLeases>)> {
    let postgres = Postgres::start().await?;
    let store = PostgresLeases::connect(postgres.config()).await.unwrap();
    Some((postgres, Arc::new(store)))
}

#[tokio::test]
async fn postgres_leases_hold_the_contract() {
    let Some((_postgres, store)) = started().await else { return };
    contract::holds(store).await;
}

#[tokio::test]
async fn postgres_reads_leases_of_5000_streams() {
    let Some((_postgres, store)) = started().await else { return };
    let rows = (0..5000).map(|n| LeaseRow::new(format!("camera-{n:04}"))).collect();
    contract::many_rows_are_read(&*store, rows).await;
}

#[tokio::test]
async fn streams_move_between_workers_on_postgres() {
    let Some((_postgres, store)) = started().await else { return };
    one_process::streams_move(store).await;
}

#[tokio::test]
async fn no_fragment_is_lost_while_postgres_fails() {
    let Some((_postgres, store)) = started().await else { return };
    faults::no_fragment_is_lost(store).await;
}

#[tokio::test]
async fn a_zombie_saves_nothing_in_postgres() {
    let Some((_postgres, store)) = started().await else { return };
    one_process::zombie_saves_nothing(store).await;
}

/// What was written stays, and the connections are made again.
#[tokio::test]
async fn leases_survive_a_killed_server() {
    let Some((mut postgres, store)) = started().await else { return };
    store.add(&"door".into()).await.unwrap();
    postgres.kill();
    assert_eq!(store.add(&"yard".into()).await.unwrap_err().kind(), ErrorKind::Io);
    postgres.restart().await;
    // A connection that broke without having been used meanwhile fails once.
    for _ in 0..16 {
        let _ = store.leases().await;
    }
    assert_eq!(store.leases().await.unwrap(), [LeaseRow::new("door")]);
}
