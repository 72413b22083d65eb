//! What is stored: the spans of a range of time, and single fragments.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State as Extract};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Failure};
use super::details;
use super::state::State;
use crate::fragment::{Clock, FragmentNumber, Timestamp};
use crate::service::FragmentInfo;

/// The longest range of a list: a day.
pub(super) const MOST_MILLIS: i64 = 24 * 3_600_000;

/// The most fragments that are listed for one answer.
const MOST_LISTED: usize = 100_000;

/// The most fragments that an answer has one by one.
const MOST_SHOWN: usize = 3_000;

/// The longest fragment, in milliseconds.
pub(super) const LONGEST_FRAGMENT: i64 = 20_000;

/// The longest time between two fragments that is not a gap.
const TOLERANCE: i64 = 500;

#[derive(Deserialize)]
pub(super) struct Range {
    stream: String,
    start: i64,
    end: i64,
}

/// Returns a range of times, if it is one and not too long.
pub(super) fn checked(start: i64, end: i64, most: i64) -> Answer<(Timestamp, Timestamp)> {
    /// Milliseconds of the year 9999, which every clock of the service can hold.
    const LATEST: i64 = 253_402_300_799_000;
    if !(0..=LATEST).contains(&start) || !(0..=LATEST).contains(&end) || end <= start {
        return Err(Failure::invalid("a range has a start and a later end, in milliseconds since 1970"));
    }
    if end - start > most {
        return Err(Failure::invalid(format!(
            "a range of {} s is too long; the limit is {} s",
            (end - start) / 1000,
            most / 1000
        )));
    }
    Ok((Timestamp::from_millis(start), Timestamp::from_millis(end)))
}

/// Answers with the spans of stored media in a range, and with the fragments if there are not too many.
pub(super) async fn spans(Extract(state): Extract<Arc<State>>, Query(range): Query<Range>) -> Answer<Json<Value>> {
    state.check(&range.stream)?;
    let (start, end) = checked(range.start, range.end, MOST_MILLIS)?;
    let _seat = state.seats.stored().await?;
    let listed = listed(&state, &range.stream, start, end).await?;
    let mut spans: Vec<Span> = Vec::new();
    for (at, info) in listed.iter().enumerate() {
        let Some(begins) = start_of(info) else { continue };
        let ends = begins.saturating_add(millis(&listed, at));
        match spans.last_mut() {
            Some(span) if begins <= span.end.saturating_add(TOLERANCE) => {
                span.end = span.end.max(ends);
                span.fragments += 1;
                span.bytes += info.bytes();
            }
            _ => spans.push(Span { start: begins, end: ends, fragments: 1, bytes: info.bytes() }),
        }
    }
    let fragments = (listed.len() <= MOST_SHOWN).then(|| {
        let shown = listed
            .iter()
            .enumerate()
            .map(|(at, info)| json!([info.number().as_str(), start_of(info), millis(&listed, at), info.bytes()]));
        shown.collect::<Vec<_>>()
    });
    let spans: Vec<_> = spans.iter().map(|span| json!([span.start, span.end, span.fragments, span.bytes])).collect();
    Ok(Json(json!({ "spans": spans, "fragments": fragments })))
}

struct Span {
    start: i64,
    end: i64,
    fragments: u64,
    bytes: u64,
}

fn start_of(info: &FragmentInfo) -> Option<i64> {
    info.producer_time().map(Timestamp::as_millis)
}

/// Returns the duration of a listed fragment. The service sometimes reports none; then it lasts until the next one.
fn millis(listed: &[FragmentInfo], at: usize) -> i64 {
    let Some(info) = listed.get(at) else { return 0 };
    let reported = i64::try_from(info.duration().as_millis()).unwrap_or(0);
    if reported > 0 {
        return reported;
    }
    let start = start_of(info).unwrap_or(0);
    let next = listed.get(at + 1).and_then(start_of);
    next.map_or(0, |next| next.saturating_sub(start)).clamp(0, LONGEST_FRAGMENT)
}

/// Lists the fragments that overlap a range, by their start.
pub(super) async fn listed(state: &State, stream: &str, start: Timestamp, end: Timestamp) -> Answer<Vec<FragmentInfo>> {
    let earliest = start.plus_nanos(-LONGEST_FRAGMENT * 1_000_000);
    let mut entries = state.kvs.list_fragments(stream).range(earliest..=end).clock(Clock::Producer).entries();
    let mut listed = Vec::new();
    while let Some(info) = entries.next().await.transpose()? {
        if listed.len() == MOST_LISTED {
            let message = format!("the range has more than {MOST_LISTED} fragments");
            return Err(Failure::invalid(message).hint("choose a shorter one"));
        }
        listed.push(info);
    }
    listed.sort_by(|a, b| (a.producer_time(), a.number()).cmp(&(b.producer_time(), b.number())));
    // Of those that start before the range, only the last one can reach into it.
    let before = listed.partition_point(|info| info.producer_time().is_none_or(|time| time <= start));
    let first = before.saturating_sub(1);
    let reaches = listed.get(first).is_some_and(|info| {
        let ends = start_of(info).unwrap_or(0).saturating_add(millis(&listed, first));
        ends > start.as_millis()
    });
    let first = if before == 0 || reaches { first } else { before };
    Ok(listed.split_off(first.min(listed.len())))
}

#[derive(Deserialize)]
pub(super) struct One {
    stream: String,
    number: String,
}

/// Answers with the tags, tracks and discontinuities of a stored fragment.
pub(super) async fn fragment(Extract(state): Extract<Arc<State>>, Query(one): Query<One>) -> Answer<Json<Value>> {
    state.check(&one.stream)?;
    let number: FragmentNumber = one.number.parse().map_err(Failure::from)?;
    let _seat = state.seats.stored().await?;
    let mut fragments = state.kvs.archive(one.stream).numbers([number]).fragments();
    let found = fragments.try_next().await?;
    let found =
        found.ok_or_else(|| Failure::new(axum::http::StatusCode::NOT_FOUND, "that fragment is no longer stored"))?;
    Ok(Json(json!({ "fragment": details::of_fragment(&found), "kind": details::kind(found.tracks()) })))
}
