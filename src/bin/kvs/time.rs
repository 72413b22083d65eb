//! Times as people write and read them.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Zoned};
use kinesis_video::Timestamp;

/// Parses a time: "now", "10m ago", "yesterday 14:00", "14:00", a date, RFC 3339, or seconds since 1970.
///
/// Times without a time zone are in the time zone of this machine.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    parse_at(text, &Zoned::now())
}

/// A time that was given as an option.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GivenTime {
    pub(crate) time: Timestamp,
    /// True if the text means this time at any moment and in any time zone.
    pub(crate) is_absolute: bool,
}

impl GivenTime {
    /// Parses a time as [`parse`] does.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let time = parse(text)?;
        let text = text.trim();
        let is_absolute = Timestamp::parse(text).is_some() || text.parse::<jiff::Timestamp>().is_ok();
        Ok(Self { time, is_absolute })
    }
}

impl From<Timestamp> for GivenTime {
    fn from(time: Timestamp) -> Self {
        Self { time, is_absolute: true }
    }
}

fn parse_at(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let zoned = if text == "now" {
        Ok(now.clone())
    } else if let Ok(time) = text.parse::<jiff::Timestamp>() {
        Ok(time.to_zoned(now.time_zone().clone()))
    } else if text.ends_with("ago") {
        text.parse::<Span>().and_then(|span| now.checked_add(span))
    } else {
        civil(text, now).and_then(|time| time.to_zoned(now.time_zone().clone()))
    };
    match zoned {
        Ok(zoned) => Ok(Timestamp::from_millis(zoned.timestamp().as_millisecond())),
        Err(_) => Err(format!(
            "\"{text}\" is not a time; write \"10m ago\", \"yesterday 14:00\", \"2026-11-21 10:00\", \
             2026-11-21T10:00:00Z or seconds since 1970"
        )),
    }
}

/// Parses a day, a time of day, or both, without a time zone.
fn civil(text: &str, now: &Zoned) -> Result<DateTime, jiff::Error> {
    let (day, time) = text.split_once(' ').unwrap_or((text, ""));
    let date = match day {
        "today" => now.date(),
        "yesterday" => now.date().yesterday()?,
        // A time of day alone is of today.
        _ if time.is_empty() && day.contains(':') && !day.contains('-') => {
            return Ok(now.date().to_datetime(day.parse::<Time>()?));
        }
        _ => return text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(Into::into)),
    };
    let time = if time.trim().is_empty() { Time::midnight() } else { time.trim().parse::<Time>()? };
    Ok(date.to_datetime(time))
}

/// Parses a duration: "90s", "10m", "1h 30m", or a number of seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| format!("\"{text}\" is not a duration"));
    }
    text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(|| {
        format!("\"{text}\" is not a duration; write \"90s\", \"10m\", \"1h 30m\" or a number of seconds")
    })
}

/// Formats a time in the time zone of this machine, which it names.
pub(crate) fn local(time: Timestamp) -> String {
    format_in(time, TimeZone::system())
}

fn format_in(time: Timestamp, zone: TimeZone) -> String {
    formatted(time, zone, "%Y-%m-%d %H:%M:%S%.3f %Z")
}

fn formatted(time: Timestamp, zone: TimeZone, format: &str) -> String {
    match jiff::Timestamp::from_millisecond(time.as_millis()) {
        Ok(instant) => instant.to_zoned(zone).strftime(format).to_string(),
        Err(_) => time.to_string(),
    }
}

/// Formats the day of a time in the time zone of this machine, such as "2026-11-20".
#[cfg(feature = "ffmpeg")]
pub(crate) fn local_day(time: Timestamp) -> String {
    formatted(time, TimeZone::system(), "%Y-%m-%d")
}

/// Formats the time of day in the time zone of this machine, such as "10:00:01" or "10:00:01.250".
#[cfg(feature = "ffmpeg")]
pub(crate) fn local_time_of_day(time: Timestamp, has_millis: bool) -> String {
    formatted(time, TimeZone::system(), if has_millis { "%H:%M:%S%.3f" } else { "%H:%M:%S" })
}

/// Formats a time in media that have no clock, such as "0:00:01.250".
#[cfg(feature = "ffmpeg")]
pub(crate) fn in_media(nanos: i64) -> String {
    let (sign, millis) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs() / 1_000_000);
    let (seconds, millis) = (millis / 1000, millis % 1000);
    format!("{sign}{}:{:02}:{:02}.{millis:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Formats a time as [`local`], or a dash if it is not known.
pub(crate) fn local_or_dash(time: Option<Timestamp>) -> String {
    time.map_or_else(|| "-".into(), local)
}

/// Formats a duration with one unit or two, such as "1.2 s", "3 min 20 s" and "2 d 4 h".
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() < 1000 && duration.subsec_millis() > 0 && duration < Duration::from_millis(100) => {
            format!("{} ms", duration.as_millis())
        }
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now: Zoned = "2026-11-25T12:00:00+01:00[Europe/Berlin]".parse().unwrap();
        for (text, expected) in [
            ("now", "2026-11-25T11:00:00.000Z"),
            ("10m ago", "2026-11-25T10:50:00.000Z"),
            ("1h 30m ago", "2026-11-25T09:30:00.000Z"),
            ("2 days ago", "2026-11-23T11:00:00.000Z"),
            ("yesterday", "2026-11-23T23:00:00.000Z"),
            ("yesterday 14:00", "2026-11-24T13:00:00.000Z"),
            ("today 08:15:30", "2026-11-25T07:15:30.000Z"),
            ("14:00", "2026-11-25T13:00:00.000Z"),
            ("2026-07-01", "2026-06-30T22:00:00.000Z"),
            ("2026-07-01 10:00", "2026-07-01T08:00:00.000Z"),
            ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00.000Z"),
            ("2026-11-21T10:00:00+02:00", "2026-11-21T08:00:00.000Z"),
            ("1511852109.126", "2017-11-28T06:55:09.126Z"),
        ] {
            assert_eq!(parse_at(text, &now).map(|time| time.to_string()), Ok(expected.into()), "{text}");
        }
        for text in ["", "someday", "25:00", "2026-13-01", "yesterday noon", "ago"] {
            assert!(parse_at(text, &now).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_with_its_zone_is_absolute() {
        for text in ["2026-11-21T10:00:00Z", "2026-11-21 10:00+02:00", "1511852109.126", "0"] {
            assert!(GivenTime::parse(text).unwrap().is_absolute, "{text}");
        }
        for text in ["now", "10m ago", "yesterday", "14:00", "2026-07-01", "2026-07-01 10:00", "2026-07-01T10:00:00"] {
            assert!(!GivenTime::parse(text).unwrap().is_absolute, "{text}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("2.5"), Ok(Duration::from_millis(2500)));
        assert!(parse_duration("-5s").is_err() && parse_duration("soon").is_err() && parse_duration("-1").is_err());
    }

    #[test]
    fn times_are_shown_with_their_zone() {
        let time = Timestamp::from_millis(1_795_604_400_250);
        assert_eq!(format_in(time, TimeZone::UTC), "2026-11-25 11:00:00.250 UTC");
        assert_eq!(duration(Duration::from_millis(250)), "0.2 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
    }
}
