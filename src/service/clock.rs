//! What time it is for the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};

use crate::fragment::Timestamp;

/// A clock that is off by less is left alone: the service refuses requests only from 15 minutes on.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// The clock with which requests are signed: this machine's, put right by the `Date` of the service's
/// replies if it is far off, since the service refuses whoever does not know what time it is.
#[derive(Clone, Debug)]
pub(super) struct ServiceClock {
    machine: SharedTimeSource,
    ahead_millis: Arc<AtomicI64>,
}

impl ServiceClock {
    pub(super) fn new(machine: Option<SharedTimeSource>) -> Self {
        Self { machine: machine.unwrap_or_default(), ahead_millis: Arc::default() }
    }

    /// What a reply says. Whether requests are signed with another time from now on.
    fn note(&self, date: Timestamp) -> bool {
        let ahead = date.as_millis() - Timestamp::from(self.machine.now()).as_millis();
        let ahead = if Duration::from_millis(ahead.unsigned_abs()) > TOLERANCE { ahead } else { 0 };
        let before = self.ahead_millis.swap(ahead, Ordering::Relaxed);
        let moved = Duration::from_millis(ahead.abs_diff(before)) > TOLERANCE / 2;
        if moved {
            tracing::warn!(ahead_seconds = ahead / 1000, "this machine's clock is wrong; signing with the service's");
        }
        moved
    }
}

impl TimeSource for ServiceClock {
    fn now(&self) -> SystemTime {
        let ahead = self.ahead_millis.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        let now = self.machine.now();
        if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) }.unwrap_or(now)
    }
}

/// Reads the `Date` of the reply to one call.
#[derive(Clone, Debug)]
pub(super) struct ReplyDate {
    clock: ServiceClock,
    /// In milliseconds; 0 before there is one.
    date: Arc<AtomicI64>,
    moved: Arc<AtomicI64>,
}

impl ReplyDate {
    pub(super) fn new(clock: &ServiceClock) -> Self {
        Self { clock: clock.clone(), date: Arc::default(), moved: Arc::default() }
    }

    /// When the service replied, on its own clock, to the second.
    pub(super) fn get(&self) -> Option<Timestamp> {
        let date = self.date.load(Ordering::Relaxed);
        (date != 0).then(|| Timestamp::from_millis(date))
    }

    /// Whether the clock was put right by it, so that what was refused for its time may succeed now.
    pub(super) fn moved_clock(&self) -> bool {
        self.moved.load(Ordering::Relaxed) != 0
    }
}

impl Intercept for ReplyDate {
    fn name(&self) -> &'static str {
        "ReplyDate"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()?.to_millis().ok());
        if let Some(date) = date {
            self.date.store(date, Ordering::Relaxed);
            self.moved.store(self.clock.note(Timestamp::from_millis(date)).into(), Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use aws_smithy_async::time::StaticTimeSource;

    use super::*;

    #[test]
    fn only_a_clock_that_is_far_off_is_put_right() {
        let machine = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        for (ahead, moved, expected) in
            [(0, false, 0), (299, false, 0), (-299, false, 0), (3600, true, 3600), (-3600, true, -3600)]
        {
            let clock = ServiceClock::new(Some(SharedTimeSource::new(StaticTimeSource::new(machine))));
            let date = Timestamp::from_millis((1_700_000_000 + ahead) * 1000);
            assert_eq!(clock.note(date), moved, "{ahead}");
            assert!(!clock.note(date), "it moves once");
            assert_eq!(Timestamp::from(clock.now()).as_millis(), (1_700_000_000 + expected) * 1000);
        }
    }
}
