//! [`Settings`]: what all leases have in common.

use std::time::Duration;

use kinesis_video::KinesisVideo;

/// The client and the durations that work on a lease needs.
pub(super) struct Settings {
    pub(super) kvs: KinesisVideo,
    pub(super) lease_duration: Duration,
    pub(super) save_interval: Duration,
}
