//! Retries: how many, and how long to wait before each.

use std::error::Error as _;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::error::{Error, ErrorKind, Result};
use crate::service::stream_id::StreamId;

/// Settings for the retries of failed API calls.
///
/// Only [retryable](Error::is_retryable) errors are retried. [`Live`](crate::Live) has its own retry rules and does not
/// use these settings.
///
/// | setting | default |
/// |---|---|
/// | [`max_attempts`](Self::max_attempts) | 8 |
/// | [`initial_backoff`](Self::initial_backoff) | 100 ms |
/// | [`max_backoff`](Self::max_backoff) | 5 s |
///
/// A backoff is drawn at random between zero and an upper bound. The bound begins at the initial backoff, doubles
/// with each failure, and ends at the maximum. Some failures have bounds that are multiples of these:
///
/// | failure | first bound | last bound |
/// |---|---|---|
/// | the service throttles the call | 5 × initial | 2 × max |
/// | too many connections to the stream | 10 × initial | 3 × max |
/// | wrong endpoint, the first time | 0 | 0 |
/// | a stored fragment is missing | 2 × initial, at least half of it | max, at least half of it |
///
/// ```
/// use std::time::Duration;
/// use kinesis_video::RetryConfig;
///
/// let retry = RetryConfig::default().max_attempts(3).max_backoff(Duration::from_secs(1));
/// # let _ = retry;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    max_attempts: u32,
    initial_backoff: Duration,
    max_backoff: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { max_attempts: 8, initial_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(5) }
    }
}

impl RetryConfig {
    /// Sets the maximum number of attempts for each call, the first one included. Default: 8.
    ///
    /// 0 counts as 1, except that [`Archive`](crate::Archive) refuses it as an invalid argument.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts;
        self
    }

    /// Sets the upper bound of the first backoff after most failures. Default: 100 ms.
    ///
    /// The table of [`RetryConfig`] lists the other failures. Zero disables the backoff.
    #[must_use]
    pub fn initial_backoff(mut self, backoff: Duration) -> Self {
        self.initial_backoff = backoff;
        self
    }

    /// Sets the largest upper bound of a backoff after most failures. Default: 5 s.
    ///
    /// The table of [`RetryConfig`] lists the failures with a multiple of it. Zero disables the backoff.
    #[must_use]
    pub fn max_backoff(mut self, backoff: Duration) -> Self {
        self.max_backoff = backoff;
        self
    }

    /// Returns how often a call may be made.
    pub(crate) fn attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Draws the backoff after a failure that `failures` others came before.
    ///
    /// Without an error, the failure is a body that ended at once and brought nothing.
    pub(crate) fn backoff(&self, failures: u32, error: Option<&Error>, rng: &mut fastrand::Rng) -> Duration {
        // Drawn from the whole range, so that clients that failed together do not come back together.
        self.bound(failures, error).mul_f64(rng.f64())
    }

    /// Draws a backoff that is at least half of its upper bound.
    pub(crate) fn long_backoff(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        let bound = grow(self.initial_backoff, failures).min(self.max_backoff);
        bound.mul_f64(0.5 + rng.f64() / 2.0)
    }

    /// Returns the upper bound of the backoff.
    fn bound(&self, failures: u32, error: Option<&Error>) -> Duration {
        let (initial, max) = (self.initial_backoff, self.max_backoff);
        let (first, last) = match error.map(Error::kind) {
            // The service does not document how long it counts a connection that is gone.
            Some(ErrorKind::ConnectionLimit) => (initial.saturating_mul(10), max.saturating_mul(3)),
            Some(ErrorKind::Throttled) => (initial.saturating_mul(5), max.saturating_mul(2)),
            // Only a change of permissions helps, and that takes its time.
            Some(ErrorKind::AccessDenied) => (initial.saturating_mul(50), max.saturating_mul(12)),
            // The next call asks for the endpoint again.
            Some(ErrorKind::WrongEndpoint) if failures == 0 => (Duration::ZERO, Duration::ZERO),
            Some(_) => (initial, max),
            None => (initial, max / 5 * 2),
        };
        grow(first, failures).min(last)
    }
}

/// Doubles the first bound with each failure.
fn grow(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(1 << failures.min(10))
}

/// Counts the failures in a row, and draws a backoff after each.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    config: RetryConfig,
    failures: u32,
    rng: fastrand::Rng,
}

impl Backoff {
    pub(crate) fn new(config: RetryConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// Forgets the failures after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure, and returns how long to wait.
    pub(crate) fn pause(&mut self, error: Option<&Error>) -> Duration {
        let pause = self.config.backoff(self.failures, error, &mut self.rng);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// Calls until the service answers, and retries what is [retryable](Error::is_retryable).
pub(crate) async fn with_retries<T, F: Future<Output = Result<T>>>(
    config: RetryConfig,
    stream: Option<&StreamId>,
    call: impl Fn() -> F,
) -> Result<T> {
    let (mut backoff, mut attempt) = (Backoff::new(config), 1);
    loop {
        let error = match call().await {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        if attempt >= config.attempts() || !error.is_retryable() {
            return Err(error);
        }
        let pause = backoff.pause(Some(&error));
        attempt += 1;
        log_retry(stream, &error, pause, attempt);
        sleep(pause).await;
    }
}

/// Logs that a failed call will be made again: the event of the target `kinesis_video::retry`.
///
/// ListStreams is about no stream.
pub(crate) fn log_retry<'a>(stream: impl Into<Option<&'a StreamId>>, error: &Error, pause: Duration, attempt: u32) {
    let cause = std::iter::successors(error.source(), |&cause| cause.source()).last();
    tracing::warn!(
        target: "kinesis_video::retry",
        stream = stream.into().map(tracing::field::display),
        %error,
        cause = cause.map(tracing::field::display),
        pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
        attempt,
        "calling again"
    );
}

/// Waits until an instant, or for ever if there is none.
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

    #[test]
    fn a_kind_of_failure_has_its_own_bounds() {
        let config =
            RetryConfig::default().initial_backoff(Duration::from_millis(10)).max_backoff(Duration::from_secs(1));
        let mut rng = fastrand::Rng::with_seed(1);
        let mut longest = |failures, kind: Option<ErrorKind>| {
            let error = kind.map(|kind| Error::new(kind, "failed"));
            (0..500).map(|_| config.backoff(failures, error.as_ref(), &mut rng)).max().unwrap().as_millis()
        };
        for (kind, first, last) in [
            (Some(ErrorKind::Io), 10, 1000),
            (Some(ErrorKind::Throttled), 50, 2000),
            (Some(ErrorKind::ConnectionLimit), 100, 3000),
            (Some(ErrorKind::AccessDenied), 500, 12_000),
            (None, 10, 400),
        ] {
            assert!((first * 9 / 10..=first).contains(&longest(0, kind)), "{kind:?}");
            assert!((last * 9 / 10..=last).contains(&longest(20, kind)), "{kind:?}");
        }
        assert_eq!(longest(0, Some(ErrorKind::WrongEndpoint)), 0);
    }
}
