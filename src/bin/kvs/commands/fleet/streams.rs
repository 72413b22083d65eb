//! The streams of the account that belong to a fleet.

use std::collections::HashSet;
use std::time::Duration;

use futures::TryStreamExt;
use kinesis_video::fleet::{LeaseRow, LeaseStore};
use kinesis_video::{KinesisVideo, StreamId};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::words;

/// The time between two looks at the account's streams.
const INTERVAL: Duration = Duration::from_secs(60);

/// Adds the streams whose names begin with a prefix. Those that were removed from the table stay removed.
pub(super) async fn add_all(kvs: &KinesisVideo, table: &impl LeaseStore, prefix: &str, cx: &Context) -> Result<()> {
    let rows = table.leases().await?;
    let known: HashSet<&str> = rows.iter().map(|row: &LeaseRow| row.stream.name()).collect();
    let mut entries = kvs.list_streams().name_prefix(prefix).entries();
    let mut added = 0;
    while let Some(info) = entries.try_next().await? {
        if !known.contains(info.name()) && table.add(&StreamId::from(info.name())).await? {
            added += 1;
        }
    }
    if added > 0 {
        cx.screen.note(&format!("{} added", words::count(added, "stream")));
    }
    Ok(())
}

/// Adds new streams for ever. A failure is told, and it is tried again; the reader of the output may be gone.
pub(super) async fn keep_adding(kvs: &KinesisVideo, table: &impl LeaseStore, prefix: &str, cx: &Context) -> Failure {
    loop {
        tokio::time::sleep(INTERVAL).await;
        match add_all(kvs, table, prefix, cx).await {
            Ok(()) => {}
            Err(Failure::ClosedPipe) => return Failure::ClosedPipe,
            Err(failure) => cx.screen.failure(&failure),
        }
    }
}
