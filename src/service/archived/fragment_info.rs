//! [`FragmentInfo`]: one entry of a listing.

use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::types::Fragment as ListedFragment;
use aws_smithy_types::date_time::DateTime;

use super::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};
use crate::service::call::timestamp;

/// A stored fragment as ListFragments describes it.
///
/// ```no_run
/// use futures::TryStreamExt;
/// use kinesis_video::{KinesisVideo, Timestamp};
///
/// # async fn f(kvs: KinesisVideo, start: Timestamp, end: Timestamp) -> kinesis_video::Result<()> {
/// let list: Vec<_> = kvs.list_fragments("front-door").range(start..=end).entries().try_collect().await?;
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
    /// Returns the number that the service gave the fragment.
    pub fn number(&self) -> &FragmentNumber {
        &self.number
    }

    /// Returns the stored size in bytes, including the tags that the service adds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the start of the fragment on the producer's clock.
    ///
    /// `None` if the listing has no such time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// Returns the time at which the service began to receive the fragment.
    ///
    /// `None` if the listing has no such time.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.server_time
    }

    /// Returns the duration of the fragment, in whole milliseconds.
    ///
    /// The service sometimes reports zero for fragments that do have a duration.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns the producer time or the server time of the fragment.
    ///
    /// `None` if the listing has no such time.
    pub fn time(&self, clock: Clock) -> Option<Timestamp> {
        match clock {
            Clock::Producer => self.producer_time,
            Clock::Server => self.server_time,
        }
    }

    /// Returns the position directly after the fragment, without a continuation token.
    pub fn position(&self) -> Position {
        Position::at(self.number.clone(), self.server_time, self.producer_time)
    }

    pub(super) fn read(listed: ListedFragment) -> Result<Self> {
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
