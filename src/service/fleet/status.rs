//! The status of a worker of a fleet.

use std::time::Duration;

use crate::error::Error;

/// The status of a worker, from [`FleetLeases::status`](super::FleetLeases::status).
///
/// It is renewed with each heartbeat: four times in a lease duration.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FleetStatus {
    /// The id of the worker. It changes after the worker was declared dead by others.
    pub worker: String,
    /// The number of live workers, this one included.
    pub workers: usize,
    /// The number of streams in the table, without the removed ones.
    pub streams: usize,
    /// The number of streams that no worker reads, as far as this worker has seen.
    pub free: usize,
    /// The number of leases that this worker holds.
    pub held: usize,
    /// False while the leases could not be extended in time. Their streams then yield nothing.
    pub is_valid: bool,
    /// The number of leases that were taken over from workers that had died.
    pub takeovers: u64,
    /// The number of leases that were lost to other workers.
    pub lost: u64,
    /// The longest time for which a held lease saved no position.
    ///
    /// It grows if a consumer hangs, and also while a camera is off. Positions are saved at most once in a
    /// [save interval](super::Fleet::save_interval).
    pub oldest_save: Option<Duration>,
    /// The last error of the table. A successful heartbeat resets it to `None`.
    pub error: Option<Error>,
}

/// Records the status with the `metrics` facade, if the feature `metrics` is enabled.
#[cfg(feature = "metrics")]
pub(super) fn record(status: &FleetStatus) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
    for (name, value) in [("kinesis_video_fleet_leases", status.held), ("kinesis_video_fleet_free", status.free)] {
        metrics::gauge!(name).set(value as f64);
    }
    metrics::gauge!("kinesis_video_fleet_valid").set(f64::from(u8::from(status.is_valid)));
    metrics::gauge!("kinesis_video_fleet_oldest_save_seconds")
        .set(status.oldest_save.unwrap_or_default().as_secs_f64());
    metrics::counter!("kinesis_video_fleet_takeovers_total").absolute(status.takeovers);
    metrics::counter!("kinesis_video_fleet_lost_total").absolute(status.lost);
}

#[cfg(not(feature = "metrics"))]
pub(super) fn record(_: &FleetStatus) {}
