//! The attributes of the rows. They are an interface to other programs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;

use super::table::{Item, Key, SORT, number, text};
use crate::error::{Error, Result};
use crate::fragment::Position;
use crate::service::fleet::store::{LeaseRow, WorkerRow};

pub(super) const BEAT: &str = "beat";
pub(super) const EPOCH: &str = "epoch";
pub(super) const SEQ: &str = "seq";
pub(super) const EXPIRES: &str = "expires";
pub(super) const WRITER: &str = "writer";
const LEASE_MS: &str = "lease_ms";
const MAX_STREAMS: &str = "max_streams";
const DEAD: &str = "dead";
const OWNER: &str = "owner";
const CHECKPOINT: &str = "checkpoint";
const REMOVED: &str = "removed";

/// How long the row of a dead worker stays. Its leases have been taken over long before.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The largest counter that is read. Adding to it cannot overflow.
const MAX_COUNTER: u64 = 1 << 62;
/// The longest lease duration that is read: one day.
const MAX_LEASE_MS: u64 = 24 * 3600 * 1000;
/// The number of partitions of the streams of one fleet. Each takes 1,000 writes per second.
pub(super) const SHARDS: u32 = 16;

/// Returns the partition of the workers of a fleet.
pub(super) fn workers_partition(fleet: &str) -> String {
    format!("{fleet}#workers")
}

/// Returns a partition of the streams of a fleet.
pub(super) fn leases_partition(fleet: &str, shard: u32) -> String {
    format!("{fleet}#s{shard:02}")
}

/// Returns the partition in which a stream's row is.
pub(super) fn shard(stream: &str) -> u32 {
    crc32fast::hash(stream.as_bytes()) % SHARDS
}

pub(super) fn of_worker(row: &WorkerRow) -> Item {
    // Rounded up: nobody may take the lease for shorter than it is.
    let lease_ms = row.lease_duration.as_nanos().div_ceil(1_000_000);
    let mut item = Item::from([
        (BEAT.into(), number(row.beat)),
        (LEASE_MS.into(), number(u64::try_from(lease_ms).unwrap_or(u64::MAX))),
        (MAX_STREAMS.into(), number(row.max_streams)),
        (DEAD.into(), AttributeValue::Bool(row.dead)),
    ]);
    if row.dead {
        let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + KEPT;
        item.insert(EXPIRES.into(), number(expires.as_secs()));
    }
    item
}

pub(super) fn of_lease(row: &LeaseRow) -> Result<Item> {
    let mut item = Item::from([
        (EPOCH.into(), number(row.epoch)),
        (SEQ.into(), number(row.seq)),
        (REMOVED.into(), AttributeValue::Bool(row.removed)),
    ]);
    if let Some(owner) = &row.owner {
        item.insert(OWNER.into(), text(owner));
    }
    if let Some(position) = &row.checkpoint {
        item.insert(CHECKPOINT.into(), of_position(position)?);
    }
    Ok(item)
}

fn of_position(position: &Position) -> Result<AttributeValue> {
    if position.is_empty() {
        return Err(Error::invalid_argument("an empty position cannot be saved"));
    }
    Ok(text(position.to_string()))
}

/// The row of a checkpoint outside of a fleet.
#[derive(Clone, Debug)]
pub(super) struct CheckpointRow {
    pub(super) seq: u64,
    pub(super) writer: Option<String>,
    pub(super) position: Option<Position>,
}

impl CheckpointRow {
    pub(super) fn to_item(&self) -> Result<Item> {
        let mut item = Item::from([(SEQ.into(), number(self.seq))]);
        if let Some(writer) = &self.writer {
            item.insert(WRITER.into(), text(writer));
        }
        if let Some(position) = &self.position {
            item.insert(CHECKPOINT.into(), of_position(position)?);
        }
        Ok(item)
    }
}

pub(super) fn to_worker(partition: &str, item: &Item) -> Result<WorkerRow> {
    Reader { partition, item }.worker()
}

pub(super) fn to_lease(partition: &str, item: &Item) -> Result<LeaseRow> {
    Reader { partition, item }.lease()
}

pub(super) fn to_checkpoint(partition: &str, item: &Item) -> Result<CheckpointRow> {
    Reader { partition, item }.checkpoint()
}

/// An item of a partition, to be read. Errors name its key.
struct Reader<'a> {
    partition: &'a str,
    item: &'a Item,
}

impl<'a> Reader<'a> {
    fn worker(&self) -> Result<WorkerRow> {
        Ok(WorkerRow {
            id: self.required(SORT)?.into(),
            beat: self.number(BEAT, MAX_COUNTER)?,
            lease_duration: Duration::from_millis(self.number(LEASE_MS, MAX_LEASE_MS)?),
            max_streams: self.number(MAX_STREAMS, u64::MAX)?,
            dead: self.flag(DEAD)?,
        })
    }

    fn lease(&self) -> Result<LeaseRow> {
        let stream = self.required(SORT)?;
        Ok(LeaseRow {
            stream: stream.into(),
            owner: self.text(OWNER)?.map(Into::into),
            epoch: self.number(EPOCH, MAX_COUNTER)?,
            seq: self.number(SEQ, MAX_COUNTER)?,
            checkpoint: self.position()?,
            removed: self.flag(REMOVED)?,
        })
    }

    fn checkpoint(&self) -> Result<CheckpointRow> {
        let writer = self.text(WRITER)?.map(Into::into);
        Ok(CheckpointRow { seq: self.number(SEQ, MAX_COUNTER)?, writer, position: self.position()? })
    }

    fn position(&self) -> Result<Option<Position>> {
        let text = self.text(CHECKPOINT)?;
        text.map(|text| text.parse().map_err(|error: Error| self.malformed(CHECKPOINT, "position").caused_by(error)))
            .transpose()
    }

    fn number(&self, name: &str, max: u64) -> Result<u64> {
        let number = self.item.get(name).and_then(|value| value.as_n().ok()).and_then(|text| text.parse().ok());
        number.filter(|number| *number <= max).ok_or_else(|| self.malformed(name, "whole number in its range"))
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>> {
        let text = |value: &'a AttributeValue| value.as_s().map_err(|_| self.malformed(name, "string"));
        Ok(self.item.get(name).map(text).transpose()?.map(String::as_str))
    }

    fn required(&self, name: &str) -> Result<&'a str> {
        self.text(name)?.ok_or_else(|| self.malformed(name, "string"))
    }

    /// Reads a flag, which is false if it is absent.
    fn flag(&self, name: &str) -> Result<bool> {
        let flag = |value: &AttributeValue| value.as_bool().copied().map_err(|_| self.malformed(name, "boolean"));
        self.item.get(name).map_or(Ok(false), flag)
    }

    fn malformed(&self, name: &str, what: &str) -> Error {
        let sort = self.item.get(SORT).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
        let key = Key { partition: self.partition.into(), sort };
        Error::invalid_argument(format!("the attribute {name} of the row {key} is not a {what}"))
            .with_hint("correct or delete the row, which another program wrote")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shard_of_a_stream_is_stable() {
        // As zlib.crc32(name) % 16 says.
        for (stream, expected) in [
            ("", 0),
            ("a", 3),
            ("front-door", 14),
            ("123456789", 6),
            ("arn:aws:kinesisvideo:us-east-1:111122223333:stream/front-door/1522222222222", 8),
        ] {
            assert_eq!(shard(stream), expected, "{stream}");
        }
        assert_eq!(leases_partition("fleet", 3), "fleet#s03");
        let mut counts = [0_u32; SHARDS as usize];
        for n in 0..8000 {
            counts[shard(&format!("camera-{n:04}")) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (300..700).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            (id, owner) in ("\\PC{1,40}", proptest::option::of("\\PC{1,40}")),
            (beat, epoch, seq) in (0..=MAX_COUNTER, 0..=MAX_COUNTER, 0..=MAX_COUNTER),
            (max_streams, lease_ms) in (any::<u64>(), 1..=MAX_LEASE_MS),
            (dead, removed) in any::<(bool, bool)>(),
            number in proptest::option::of("[0-9]{1,128}"),
        ) {
            let lease_duration = Duration::from_millis(lease_ms);
            let worker = WorkerRow { id: id.clone(), beat, lease_duration, max_streams, dead };
            let mut item = of_worker(&worker);
            prop_assert_eq!(item.contains_key(EXPIRES), dead);
            item.insert(SORT.into(), text(&id));
            prop_assert_eq!(to_worker("p", &item).unwrap(), worker);

            let checkpoint = number.map(|number| format!("kvs1:{number}:1:2:=").parse::<Position>().unwrap());
            let lease = LeaseRow { stream: id.clone().into(), owner, epoch, seq, checkpoint, removed };
            let mut item = of_lease(&lease).unwrap();
            item.insert(SORT.into(), text(&id));
            prop_assert_eq!(to_lease("p", &item).unwrap(), lease);
        }
    }

    #[test]
    fn a_malformed_row_is_an_error_that_names_it() {
        let lease = |name: &str, value: AttributeValue| {
            let mut item = of_lease(&LeaseRow::new("door")).unwrap();
            item.insert(SORT.into(), text("door"));
            item.insert(name.into(), value);
            to_lease("fleet#s05", &item)
        };
        assert!(lease("another", text("program's")).is_ok());
        for (name, value, what) in [
            (EPOCH, text("1"), "whole number in its range"),
            (EPOCH, AttributeValue::N("-1".into()), "whole number in its range"),
            (SEQ, AttributeValue::N("1.5".into()), "whole number in its range"),
            (SEQ, number(u64::MAX), "whole number in its range"),
            (OWNER, number(1), "string"),
            (CHECKPOINT, text("kvs1::::"), "position"),
            (REMOVED, text("yes"), "boolean"),
        ] {
            let error = lease(name, value).unwrap_err();
            let expected = format!("the attribute {name} of the row fleet#s05 / door is not a {what}");
            assert_eq!(error.message(), expected);
        }
        assert!(to_lease("fleet#s05", &Item::new()).is_err());
    }

    #[test]
    fn a_lease_duration_is_rounded_up() {
        let row = WorkerRow {
            id: "a".into(),
            beat: 1,
            lease_duration: Duration::from_micros(100_001),
            max_streams: 1,
            dead: false,
        };
        assert_eq!(of_worker(&row)[LEASE_MS], number(101));
    }
}
