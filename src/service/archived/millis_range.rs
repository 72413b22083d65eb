//! [`MillisRange`]: a range of time as the service takes it.

use std::ops::RangeInclusive;
use std::time::Duration;

use aws_smithy_types::date_time::DateTime;

use crate::error::Error;
use crate::fragment::Timestamp;

/// The longest range of one clip or one playback session: 24 hours, in milliseconds.
pub(super) const DAY: i64 = 24 * 60 * 60 * 1000;

/// A range of whole milliseconds since the epoch, both ends included.
///
/// Fragments start at whole milliseconds, so rounding a finer range inwards keeps the same fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MillisRange {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl MillisRange {
    /// Rounds a range inwards to whole milliseconds.
    pub(super) fn of(range: &RangeInclusive<Timestamp>) -> Self {
        Self { start: ceil_millis(*range.start()), end: range.end().as_millis() }
    }

    /// Returns the length; negative if no whole millisecond is in the range.
    pub(super) fn millis(self) -> i64 {
        self.end.saturating_sub(self.start)
    }

    pub(super) fn to_range(self) -> RangeInclusive<Timestamp> {
        Timestamp::from_millis(self.start)..=Timestamp::from_millis(self.end)
    }
}

/// Rounds a time up to a whole millisecond.
pub(super) fn ceil_millis(time: Timestamp) -> i64 {
    let millis = time.as_millis();
    if Timestamp::from_millis(millis) < time { millis + 1 } else { millis }
}

pub(super) fn date(millis: i64) -> DateTime {
    DateTime::from_millis(millis)
}

/// Builds the error for a request member that breaks a rule of the service.
pub(super) fn invalid(operation: &str, member: &str, rule: &str, value: impl std::fmt::Display) -> Error {
    Error::invalid_argument(format!("{operation}: {member} must be {rule}, not {value}"))
}

/// Returns a length in milliseconds, or `None` if it is not a whole number of them.
pub(super) fn whole_millis(length: Duration) -> Option<i64> {
    let is_whole = length.subsec_nanos().is_multiple_of(1_000_000);
    i64::try_from(length.as_millis()).ok().filter(|_| is_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_rounded_inwards() {
        let time = |nanos| Timestamp::default().plus_nanos(nanos);
        let range = |start, end| MillisRange::of(&(time(start)..=time(end)));
        assert_eq!(range(1_000_000, 3_000_000), MillisRange { start: 1, end: 3 });
        assert_eq!(range(1_000_001, 2_999_999), MillisRange { start: 2, end: 2 });
        assert_eq!(range(-1_999_999, -1), MillisRange { start: -1, end: -1 });
        // No whole millisecond is in this range.
        assert_eq!(range(1_000_001, 1_999_999).millis(), -1);
        assert_eq!(whole_millis(Duration::from_micros(1500)), None);
        assert_eq!(whole_millis(Duration::from_millis(1500)), Some(1500));
    }
}
