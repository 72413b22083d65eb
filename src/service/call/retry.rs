//! How long to wait before the next call.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::{Error, ErrorKind};

/// Pauses that grow with each failure, up to a limit, each drawn from all of its range, so that
/// many who failed at the same time do not come back at the same time.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something came: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause behind a call that failed with this, or a body that brought nothing and ended at once.
    pub(crate) fn pause(&mut self, error: Option<&Error>) -> Duration {
        let (base, most) = match error.map(Error::kind) {
            // How long the service counts a connection that is gone is not known.
            Some(ErrorKind::ConnectionLimit) => (Duration::from_secs(1), Duration::from_secs(15)),
            Some(ErrorKind::Throttled) => (Duration::from_millis(500), Duration::from_secs(10)),
            // Of little use to hurry, and asked for patience.
            Some(ErrorKind::AccessDenied) => (Duration::from_secs(5), Duration::from_secs(60)),
            Some(ErrorKind::WrongEndpoint) if self.failures == 0 => (Duration::ZERO, Duration::ZERO),
            Some(_) => (Duration::from_millis(100), Duration::from_secs(5)),
            None => (Duration::from_millis(100), Duration::from_secs(2)),
        };
        let range = base.saturating_mul(1 << self.failures.min(10)).min(most);
        self.failures = self.failures.saturating_add(1);
        range.mul_f64(fastrand::f64())
    }
}

/// Waits until then; for ever, if that is never.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit() {
        let error = Error::new(ErrorKind::Io, "reset");
        let (mut most, mut sum) = ([Duration::ZERO; 12], Duration::ZERO);
        for _ in 0..500 {
            let mut backoff = Backoff::default();
            for (n, most) in most.iter_mut().enumerate() {
                let pause = backoff.pause(Some(&error));
                assert!(pause <= Duration::from_millis(100 << n.min(10)).min(Duration::from_secs(5)));
                *most = pause.max(*most);
                sum += pause;
            }
            backoff.reset();
            assert!(backoff.pause(Some(&error)) <= Duration::from_millis(100));
        }
        // Drawn from all of the range.
        assert!(most[11] > Duration::from_millis(4500), "{most:?}");
        assert!(sum / (500 * 12) < Duration::from_millis(1800));
    }
}
