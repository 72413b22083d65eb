//! Timestamps of the service and of producers.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in time since the Unix epoch, with nanosecond resolution.
///
/// The clock is the producer's or the service's. The method that returns the timestamp names the clock.
/// Times from the service have a resolution of 1 ms. Times of packets can be finer. If a producer
/// counts from its own start, its times are near 1970.
///
/// ```
/// use kinesis_video::Timestamp;
///
/// let time = Timestamp::parse("1511852109.126").unwrap();
/// assert_eq!(time.as_millis(), 1_511_852_109_126);
/// assert_eq!(time.to_string(), "2017-11-28T06:55:09.126Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    nanos: i64,
}

const NANOS_PER_MILLI: i64 = 1_000_000;

impl Timestamp {
    /// Creates a timestamp from milliseconds since the Unix epoch.
    ///
    /// Times more than 292 years from the epoch saturate.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: millis.saturating_mul(NANOS_PER_MILLI) }
    }

    /// Parses decimal seconds, such as `1511852109.126`.
    ///
    /// Digits after the third decimal place are dropped. Returns `None` for other text, and for times
    /// more than 292 years from the epoch.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if seconds.is_empty() || !all_digits(seconds) || !all_digits(fraction) {
            return None;
        }
        let fraction = fraction.bytes().chain(*b"000").take(3).fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
        let millis = seconds.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(fraction)?;
        let nanos = millis.checked_mul(NANOS_PER_MILLI)?;
        Some(Self { nanos: if negative { -nanos } else { nanos } })
    }

    /// Returns the whole milliseconds since the Unix epoch, rounded down.
    pub fn as_millis(self) -> i64 {
        self.nanos.div_euclid(NANOS_PER_MILLI)
    }

    /// Returns the nanoseconds since the Unix epoch.
    pub fn as_nanos(self) -> i64 {
        self.nanos
    }

    /// Converts the timestamp to a `SystemTime`.
    pub fn to_system_time(self) -> SystemTime {
        let distance = Duration::from_nanos(self.nanos.unsigned_abs());
        if self.nanos < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
    }

    pub(crate) fn plus_nanos(self, nanos: i64) -> Self {
        Self { nanos: self.nanos.saturating_add(nanos) }
    }
}

/// Converts the time. Times more than 292 years from the epoch saturate.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let nanos = |distance: Duration| i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self { nanos: nanos(after) },
            Err(before) => Self { nanos: -nanos(before.duration()) },
        }
    }
}

/// Writes RFC 3339 in UTC with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        let (days, in_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
        // Converts a day count to a civil date. Eras of 400 years start on 1 March, so that the leap
        // day is the last day of a year.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
        let (second, milli) = (in_day / 1000 % 60, in_day % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_seconds_parse_exactly() {
        let cases = [
            ("1511852109.126", Some(1_511_852_109_126)),
            ("1519423069.070", Some(1_519_423_069_070)),
            ("0.000", Some(0)),
            ("5.000", Some(5_000)),
            ("5", Some(5_000)),
            ("5.", Some(5_000)),
            ("5.07", Some(5_070)),
            ("5.0079", Some(5_007)),
            ("-1.5", Some(-1_500)),
            ("9007199254.993", Some(9_007_199_254_993)),
            ("", None),
            (".5", None),
            ("1.5E9", None),
            ("1 000", None),
            ("99999999999999999999", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Timestamp::parse(text).map(Timestamp::as_millis), expected, "{text:?}");
        }
    }

    #[test]
    fn dates_are_correct_around_leap_days_and_the_epoch() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_583_020_800_000, "2020-03-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ];
        for (millis, expected) in cases {
            assert_eq!(Timestamp::from_millis(millis).to_string(), expected);
        }
    }

    #[test]
    fn system_time_round_trips() {
        for millis in [-1_500, 0, 1_511_852_109_126] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(Timestamp::from(time.to_system_time()), time);
        }
    }
}
