//! Selects the fragments of a playback session or a clip.

use std::collections::HashSet;

use crate::fragment::Timestamp;
use crate::local::server::wire::{self, ErrorResponse, FragmentSelector};
use crate::local::store::streams::Listed;

/// The longest range: 24 hours.
const MAX_RANGE_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The greatest age of the newest fragment of a live stream.
const LIVE_MILLIS: i64 = 30_000;

/// The clock whose times select fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Producer,
    Server,
}

impl Origin {
    pub(crate) fn parse(name: &str, member: &str) -> Result<Self, ErrorResponse> {
        match name {
            "PRODUCER_TIMESTAMP" => Ok(Self::Producer),
            "SERVER_TIMESTAMP" => Ok(Self::Server),
            _ => {
                Err(ErrorResponse::invalid_argument(format!("{member} must be PRODUCER_TIMESTAMP or SERVER_TIMESTAMP")))
            }
        }
    }

    /// Returns the selector's, if it has one.
    pub(crate) fn of(selector: &FragmentSelector) -> Result<Option<Self>, ErrorResponse> {
        let name = selector.fragment_selector_type.as_deref();
        name.map(|name| Self::parse(name, "FragmentSelectorType")).transpose()
    }

    pub(crate) fn time(self, fragment: &Listed) -> Timestamp {
        match self {
            Self::Producer => fragment.producer_time,
            Self::Server => fragment.server_time,
        }
    }
}

/// A range of time, both ends included. Without an end it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) origin: Origin,
    pub(crate) start: Timestamp,
    pub(crate) end: Option<Timestamp>,
}

impl Window {
    /// Returns the selector's range. The end is optional unless `needs_end`.
    pub(crate) fn of(selector: &FragmentSelector, needs_end: bool) -> Result<Self, ErrorResponse> {
        let missing = |member: &str| ErrorResponse::invalid_argument(format!("{member} is missing"));
        let origin = Origin::of(selector)?.ok_or_else(|| missing("FragmentSelectorType"))?;
        let range = selector.timestamp_range.as_ref().ok_or_else(|| missing("TimestampRange"))?;
        let start = range.start_timestamp.map(wire::from_seconds).ok_or_else(|| missing("StartTimestamp"))?;
        let end = range.end_timestamp.map(wire::from_seconds);
        if needs_end && end.is_none() {
            return Err(missing("EndTimestamp"));
        }
        if let Some(end) = end {
            if end <= start {
                return Err(ErrorResponse::invalid_argument("EndTimestamp must be later than StartTimestamp"));
            }
            if end.as_millis().saturating_sub(start.as_millis()) > MAX_RANGE_MILLIS {
                return Err(ErrorResponse::invalid_argument("EndTimestamp must be within 24 hours of StartTimestamp"));
            }
        }
        Ok(Self { origin, start, end })
    }

    /// Refuses a range by server time that does not end in the past, or starts at or before `head`.
    ///
    /// `head` is the oldest time that the stream keeps.
    pub(crate) fn check(&self, now: Timestamp, head: Option<Timestamp>) -> Result<(), ErrorResponse> {
        if self.origin == Origin::Producer {
            return Ok(());
        }
        if self.end.is_some_and(|end| end >= now) {
            let message = "EndTimestamp must be in the past if FragmentSelectorType is SERVER_TIMESTAMP";
            return Err(ErrorResponse::invalid_argument(message));
        }
        if head.is_some_and(|head| self.start <= head) {
            let message =
                "StartTimestamp must be later than the stream head if FragmentSelectorType is SERVER_TIMESTAMP";
            return Err(ErrorResponse::invalid_argument(message));
        }
        Ok(())
    }

    fn contains(&self, fragment: &Listed) -> bool {
        let time = self.origin.time(fragment);
        time >= self.start && self.end.is_none_or(|end| time <= end)
    }

    /// Returns the fragments in the range, in the order of their times.
    ///
    /// `fragments` are in the order they were ingested.
    pub(crate) fn select(&self, fragments: Vec<Listed>) -> Vec<Listed> {
        let fragments = fragments.into_iter();
        if self.origin == Origin::Server {
            let mut selected: Vec<_> = fragments.filter(|fragment| self.contains(fragment)).collect();
            selected.sort_by_key(|fragment| fragment.server_time);
            return selected;
        }
        // A later run of fragments in the range is another upload of the same time.
        let before = |fragment: &Listed| !self.contains(fragment);
        let mut run: Vec<_> = fragments.skip_while(before).take_while(|fragment| self.contains(fragment)).collect();
        run.sort_by(|a, b| a.producer_time.cmp(&b.producer_time).then_with(|| b.number.cmp(&a.number)));
        run.dedup_by_key(|fragment| fragment.producer_time);
        run
    }
}

/// Returns the newest fragments of a live stream, in the order they were ingested.
///
/// Returns none if the newest is too old.
pub(crate) fn live(fragments: &[Listed], origin: Origin, most: usize, now: Timestamp) -> Vec<Listed> {
    let since = now.as_millis().saturating_sub(LIVE_MILLIS);
    if !fragments.iter().any(|fragment| fragment.server_time.as_millis() >= since) {
        return Vec::new();
    }
    let mut seen = HashSet::new();
    // In reverse order, the newest fragment of each time is first.
    let newest = fragments.iter().rev();
    let newest = newest.filter(|fragment| origin == Origin::Server || seen.insert(fragment.producer_time.as_nanos()));
    let mut newest: Vec<_> = newest.take(most).cloned().collect();
    newest.reverse();
    newest
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::local::fragment_number;

    /// Fragments with these producer times in seconds, ingested one per second from second 100 on.
    fn ingested(producer: &[i64]) -> Vec<Listed> {
        let fragment = |(index, seconds): (u32, &i64)| Listed {
            index: u64::from(index),
            number: fragment_number(index, 0),
            bytes: 1,
            server_time: Timestamp::from_millis((100 + i64::from(index)) * 1000),
            producer_time: Timestamp::from_millis(seconds * 1000),
            duration: Duration::from_secs(1),
        };
        (0..).zip(producer).map(fragment).collect()
    }

    fn window(origin: Origin, start: i64, end: Option<i64>) -> Window {
        let end = end.map(|end| Timestamp::from_millis(end * 1000));
        Window { origin, start: Timestamp::from_millis(start * 1000), end }
    }

    fn indices(fragments: &[Listed]) -> Vec<u64> {
        fragments.iter().map(|fragment| fragment.index).collect()
    }

    #[test]
    fn ranges_by_producer_time() {
        for (producer, start, end, expected) in [
            (&[0, 2, 4, 6][..], 1, Some(4), &[1, 2][..]),
            (&[0, 2, 4, 6], 2, Some(5), &[1, 2]),
            (&[0, 2, 4, 6], 2, None, &[1, 2, 3]),
            (&[0, 2, 4, 6], 7, None, &[]),
            // The same range is uploaded twice, with another time between.
            (&[0, 2, 4, 90, 0, 2, 4], 0, Some(4), &[0, 1, 2]),
            // A fragment out of range ends the run.
            (&[0, 2, 50, 4], 0, Some(10), &[0, 1]),
            // The largest number wins among fragments with the same time.
            (&[0, 2, 2, 4, 0], 0, Some(10), &[4, 2, 3]),
        ] {
            let selected = window(Origin::Producer, start, end).select(ingested(producer));
            assert_eq!(indices(&selected), expected, "{producer:?} {start} {end:?}");
        }
    }

    #[test]
    fn ranges_by_server_time_keep_duplicates() {
        let fragments = ingested(&[0, 0, 7, 0]);
        assert_eq!(indices(&window(Origin::Server, 100, Some(102)).select(fragments.clone())), [0, 1, 2]);
        assert_eq!(indices(&window(Origin::Server, 101, None).select(fragments)), [1, 2, 3]);
    }

    #[test]
    fn live_fragments() {
        let fragments = ingested(&[0, 2, 4, 2]);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        assert_eq!(indices(&live(&fragments, Origin::Server, 3, at(104))), [1, 2, 3]);
        assert_eq!(indices(&live(&fragments, Origin::Producer, 3, at(104))), [0, 2, 3]);
        // The last began at 103.
        assert_eq!(live(&fragments, Origin::Server, 3, at(133)).len(), 3);
        assert_eq!(live(&fragments, Origin::Server, 3, Timestamp::from_millis(133_001)).len(), 0);
        assert_eq!(live(&[], Origin::Server, 3, at(0)).len(), 0);
    }
}
