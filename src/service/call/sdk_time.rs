//! Conversion of the SDK's times.

use aws_smithy_types::date_time::DateTime;

use crate::fragment::Timestamp;

/// Rounds a time of a response to the nearest millisecond.
///
/// The SDK parses seconds as a binary fraction, which misses most milliseconds by a little.
pub(crate) fn timestamp(date: &DateTime) -> Option<Timestamp> {
    let millis = (date.as_nanos() + 500_000).div_euclid(1_000_000);
    i64::try_from(millis).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_millisecond_survives_the_sdk() {
        for millis in (1_511_852_109_000..1_511_852_110_000).chain(-1000..1000) {
            let parsed = DateTime::from_secs_f64(format!("{millis}e-3").parse().unwrap());
            assert_eq!(timestamp(&parsed), Some(Timestamp::from_millis(millis)));
        }
    }
}
