//! The endpoint's clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use tokio::time::Instant;

use crate::fragment::Timestamp;

/// The endpoint's clock.
///
/// It moves with tokio's clock, so that tests can pause and advance both.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    at_start: Timestamp,
    /// The lead over this machine's clock, in milliseconds.
    offset: AtomicI64,
}

impl Clock {
    /// Creates a clock that shows this machine's time.
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), at_start: SystemTime::now().into(), offset: AtomicI64::new(0) }
    }

    pub(crate) fn set_offset(&self, millis: i64) {
        self.offset.store(millis, Ordering::Release);
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    /// Returns the time this long ago.
    pub(crate) fn before(&self, age: Duration) -> Timestamp {
        self.now().plus_nanos(-i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Returns the clock's time at this instant.
    pub(crate) fn at(&self, instant: Instant) -> Timestamp {
        let offset = self.offset.load(Ordering::Acquire).saturating_mul(1_000_000);
        self.machine_time(instant).plus_nanos(offset)
    }

    /// Returns this machine's time at this instant, moving with tokio's clock.
    pub(crate) fn machine_time(&self, instant: Instant) -> Timestamp {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let (after, before) =
            (instant.saturating_duration_since(self.start), self.start.saturating_duration_since(instant));
        self.at_start.plus_nanos(nanos(after)).plus_nanos(-nanos(before))
    }

    /// Formats the time for HTTP's `Date` header.
    pub(crate) fn http_date(&self) -> String {
        // The formatter panics on times before 1970.
        httpdate::fmt_http_date(self.now().max(Timestamp::default()).to_system_time())
    }

    /// Tells whether a request was signed further from now than `tolerance`.
    ///
    /// A request without a date was not.
    pub(crate) fn is_beyond(&self, tolerance: Duration, headers: &HeaderMap) -> bool {
        let signed = headers.get("x-amz-date").and_then(|date| parse_date(date.to_str().ok()?));
        let distance = |signed: Timestamp| self.now().as_millis().abs_diff(signed.as_millis());
        signed.is_some_and(|signed| u128::from(distance(signed)) > tolerance.as_millis())
    }
}

/// Returns the instant this long from now. If it cannot be represented: 100 years from now.
pub(crate) fn later(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400))
}

/// Parses the date of a signature: `20261120T164110Z`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let is_number = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(date, 8) || !is_number(time, 6) {
        return None;
    }
    let number = |text: &str, digits: std::ops::Range<usize>| text.get(digits)?.parse::<i64>().ok();
    let (year, month, day) = (number(date, 0..4)?, number(date, 4..6)?, number(date, 6..8)?);
    let (hour, minute, second) = (number(time, 0..2)?, number(time, 2..4)?, number(time, 4..6)?);
    // A count of days from a civil date, in years that begin on 1 March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(Timestamp::from_millis((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_signatures() {
        for (text, expected) in [
            ("19700101T000000Z", "1970-01-01T00:00:00.000Z"),
            ("20261120T164110Z", "2026-11-20T16:41:10.000Z"),
            ("20000229T235959Z", "2000-02-29T23:59:59.000Z"),
            ("20000301T000000Z", "2000-03-01T00:00:00.000Z"),
            ("21000301T000000Z", "2100-03-01T00:00:00.000Z"),
            ("20240101T000000Z", "2024-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(parse_date(text).unwrap().to_string(), expected);
        }
        for text in ["", "Z", "20261120T164110", "2026112T0164110Z", "20261120 164110Z", "+0261120T164110Z"] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_follows_tokios_clock_and_its_offset() {
        let clock = Clock::new();
        let began = clock.now();
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(clock.now().as_millis() - began.as_millis(), 7_000);
        clock.set_offset(-8_000);
        assert_eq!(clock.now().as_millis() - began.as_millis(), -1_000);
        for offset in [i64::MIN, i64::MAX] {
            clock.set_offset(offset);
            clock.http_date();
        }
    }
}
