//! What the archive says of a fragment.

use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::types::Fragment as Listed;
use aws_smithy_types::date_time::DateTime;

use super::Clock;
use super::millis_range::timestamp;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};

/// What ListFragments says of a fragment.
///
/// ```no_run
/// use futures::TryStreamExt;
/// use kinesis_video::{KinesisVideo, Timestamp};
///
/// # async fn f(kvs: KinesisVideo, start: Timestamp, end: Timestamp) -> kinesis_video::Result<()> {
/// let list: Vec<_> = kvs.list_fragments("front-door").range(start..=end).try_collect().await?;
/// let bytes: u64 = list.iter().map(|info| info.bytes()).sum();
/// println!("{} fragments, {bytes} bytes", list.len());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FragmentInfo {
    number: FragmentNumber,
    bytes: u64,
    producer_time: Option<Timestamp>,
    server_time: Option<Timestamp>,
    duration: Duration,
}

impl FragmentInfo {
    /// The number that the service gave it.
    pub fn number(&self) -> &FragmentNumber {
        &self.number
    }

    /// Its size, what the service says about it included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// When it began, on the producer's clock.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// When the service began to receive it.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.server_time
    }

    /// How long it lasts; zero, now and then, for fragments that do last.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// When it began, on this clock.
    pub fn time(&self, clock: Clock) -> Option<Timestamp> {
        match clock {
            Clock::Producer => self.producer_time,
            Clock::Server => self.server_time,
        }
    }

    /// The place right behind it.
    pub fn position(&self) -> Position {
        Position::at(self.number.clone(), self.server_time, self.producer_time)
    }

    pub(super) fn read(listed: Listed) -> Result<Self> {
        let number = listed.fragment_number.ok_or_else(|| {
            Error::new(ErrorKind::Service, "ListFragments: an entry has no fragment number").retryable(false)
        })?;
        let time = |time: Option<DateTime>| time.as_ref().and_then(timestamp);
        Ok(Self {
            number: number.parse()?,
            bytes: u64::try_from(listed.fragment_size_in_bytes).unwrap_or(0),
            producer_time: time(listed.producer_timestamp),
            server_time: time(listed.server_timestamp),
            duration: Duration::from_millis(u64::try_from(listed.fragment_length_in_milliseconds).unwrap_or(0)),
        })
    }
}
