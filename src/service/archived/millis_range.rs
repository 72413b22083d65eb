//! A stretch of time as the service takes it.

use std::ops::RangeInclusive;
use std::time::Duration;

use aws_smithy_types::date_time::DateTime;

use crate::error::Error;
use crate::fragment::Timestamp;

/// The longest that the service plays or cuts at once.
pub(super) const DAY: i64 = 24 * 60 * 60 * 1000;

/// Milliseconds of the epoch, both ends included. Fragments begin at whole ones, so those between the ends
/// of a finer range are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Span {
    pub(super) fn of(range: &RangeInclusive<Timestamp>) -> Self {
        Self { start: first_millis(*range.start()), end: range.end().as_millis() }
    }

    pub(super) fn millis(self) -> i64 {
        self.end.saturating_sub(self.start)
    }

    pub(super) fn to_range(self) -> RangeInclusive<Timestamp> {
        Timestamp::from_millis(self.start)..=Timestamp::from_millis(self.end)
    }
}

/// The first whole millisecond that is not before.
pub(super) fn first_millis(time: Timestamp) -> i64 {
    let millis = time.as_millis();
    if Timestamp::from_millis(millis) < time { millis + 1 } else { millis }
}

/// A time of an answer. The SDK reads seconds as a binary fraction, which misses most milliseconds by a little.
pub(super) fn timestamp(date: &DateTime) -> Option<Timestamp> {
    let millis = (date.as_nanos() + 500_000).div_euclid(1_000_000);
    i64::try_from(millis).ok().map(Timestamp::from_millis)
}

pub(super) fn date(millis: i64) -> DateTime {
    DateTime::from_millis(millis)
}

/// What a member has to be, and what it was.
pub(super) fn refused(operation: &str, member: &str, rule: &str, was: impl std::fmt::Display) -> Error {
    Error::invalid_argument(format!("{operation}: {member} must be {rule}, not {was}"))
}

/// Whole milliseconds of a length of time, if that is what it is.
pub(super) fn whole_millis(length: Duration) -> Option<i64> {
    let is_whole = length.subsec_nanos().is_multiple_of(1_000_000);
    i64::try_from(length.as_millis()).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_millisecond_comes_through_the_sdk() {
        for millis in (1_511_852_109_000..1_511_852_110_000).chain(-1000..1000) {
            let parsed = DateTime::from_secs_f64(format!("{millis}e-3").parse().unwrap());
            assert_eq!(timestamp(&parsed), Some(Timestamp::from_millis(millis)));
        }
    }

    #[test]
    fn ranges_are_of_whole_milliseconds() {
        let time = |nanos| Timestamp::default().plus_nanos(nanos);
        let span = |start, end| Span::of(&(time(start)..=time(end)));
        assert_eq!(span(1_000_000, 3_000_000), Span { start: 1, end: 3 });
        assert_eq!(span(1_000_001, 2_999_999), Span { start: 2, end: 2 });
        assert_eq!(span(-1_999_999, -1), Span { start: -1, end: -1 });
        // Nothing begins in it.
        assert_eq!(span(1_000_001, 1_999_999).millis(), -1);
        assert_eq!(whole_millis(Duration::from_micros(1500)), None);
        assert_eq!(whole_millis(Duration::from_millis(1500)), Some(1500));
    }
}
