//! The operations of the archive: what there is of fragments, and their media.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::{Map, json};

use crate::fragment::FragmentNumber;
use crate::local::faults::counters::Event;
use crate::local::faults::injected_fault::{Mishap, Operation};
use crate::local::faults::quotas::Points;
use crate::local::media::fragment_number::mix;
use crate::local::operations::page_token::Listing;
use crate::local::server::body::Source;
use crate::local::server::connection::Resetter;
use crate::local::server::state::{Answer, Server, send};
use crate::local::server::wire::{
    self, FragmentInfo, FragmentSelector, GetMediaForFragmentListRequest, ListFragmentsRequest, Refusal,
};
use crate::local::store::streams::{Listed, Stream};

/// How many fragments a page has of which the request does not say it. What the service does is not known.
const PAGE: u64 = 100;

/// Lists fragments whose start is in a range, both ends included, in no order that means anything.
pub(crate) async fn list_fragments(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: ListFragmentsRequest = wire::parse(&body)?;
    let stream = server.archived(Operation::ListFragments, &request.stream)?;
    let most = request.max_results.unwrap_or(PAGE);
    if !(1..=1000).contains(&most) {
        return Err(Refusal::invalid_argument("MaxResults must be 1 to 1000").into());
    }
    let listing = match &request.next_token {
        Some(token) => Listing::from_token(token, stream.arn())
            .ok_or_else(|| Refusal::invalid_argument("NextToken is not one of ours"))?,
        None => begin(&server, &stream, request.fragment_selector.as_ref())?,
    };
    server.spend(&stream, Points::Metadata, most)?;
    let mishap = server.mishap(Operation::ListFragments, Some(&stream))?;
    let mut answer = Map::new();
    if matches!(mishap, Some(Mishap::EmptyPage)) {
        server.happened.count(Event::EmptyPage);
        answer.insert("NextToken".into(), listing.to_token(stream.arn()).into());
        return Ok(axum::Json(answer).into_response());
    }
    let left = listing.left(stream.list());
    let page: Vec<_> = left.iter().take(most as usize).map(info).collect();
    let mut next = left.get(page.len()).map(|next| listing.from(next));
    if matches!(mishap, Some(Mishap::RepeatPage)) && !page.is_empty() {
        server.happened.count(Event::RepeatPage);
        next = Some(listing);
    }
    answer.insert("Fragments".into(), json!(page));
    if let Some(next) = next {
        answer.insert("NextToken".into(), next.to_token(stream.arn()).into());
    }
    Ok(axum::Json(answer).into_response())
}

fn info(fragment: &Listed) -> FragmentInfo {
    FragmentInfo {
        fragment_number: fragment.number.to_string(),
        fragment_size_in_bytes: fragment.bytes,
        producer_timestamp: wire::to_seconds(fragment.producer_time),
        server_timestamp: wire::to_seconds(fragment.server_time),
        fragment_length_in_milliseconds: fragment.duration.as_millis() as u64,
    }
}

/// A listing that begins now.
fn begin(server: &Server, stream: &Stream, selector: Option<&FragmentSelector>) -> Result<Listing, Refusal> {
    let (by_producer, start, end) = selector.map_or(Ok((false, i64::MIN, i64::MAX)), to_range)?;
    // Producers' clocks say nothing of how long something has been kept.
    if !by_producer && stream.kept_since().is_some_and(|since| end < since.as_millis()) {
        let message = format!("End timestamp {end} is outside of the stream retention period.");
        return Err(Refusal::invalid_argument(message));
    }
    let age = server.quotas.listed_after;
    let latest = if age.is_zero() { i64::MAX } else { server.clock.before(age).as_millis() };
    Ok(Listing { by_producer, start, end, chunks: stream.chunks(), latest, from: None })
}

fn to_range(selector: &FragmentSelector) -> Result<(bool, i64, i64), Refusal> {
    let by_producer = match selector.fragment_selector_type.as_deref() {
        Some("PRODUCER_TIMESTAMP") => true,
        Some("SERVER_TIMESTAMP") => false,
        _ => return Err(Refusal::invalid_argument("FragmentSelectorType is missing or unknown")),
    };
    let range = selector.timestamp_range.as_ref();
    let (start, end) = (range.and_then(|range| range.start_timestamp), range.and_then(|range| range.end_timestamp));
    match (start.map(wire::from_seconds), end.map(wire::from_seconds)) {
        (Some(start), Some(end)) if start <= end => Ok((by_producer, start.as_millis(), end.as_millis())),
        (Some(_), Some(_)) => Err(Refusal::invalid_argument("StartTimestamp must not be after EndTimestamp")),
        _ => Err(Refusal::invalid_argument("TimestampRange needs a StartTimestamp and an EndTimestamp")),
    }
}

/// Sends the media of these fragments.
pub(crate) async fn get_media_for_fragment_list(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    body: Bytes,
) -> Answer {
    let request: GetMediaForFragmentListRequest = wire::parse(&body)?;
    let stream = server.archived(Operation::GetMediaForFragmentList, &request.stream)?;
    let asked = request.fragments.unwrap_or_default();
    if !(1..=1000).contains(&asked.len()) {
        return Err(Refusal::invalid_argument("Fragments must be 1 to 1000 fragment numbers").into());
    }
    let numbers: Result<Vec<FragmentNumber>, _> = asked.iter().map(|number| number.parse()).collect();
    let numbers = numbers.map_err(|_| Refusal::invalid_argument("Fragment numbers are invalid"))?;
    let Some(open) = stream.list_bodies().open(server.quotas.list_connections) else {
        server.happened.count(Event::ConnectionLimit);
        let message = "Too many connections of GetMediaForFragmentList are open for this stream";
        return Err(Refusal::new("ClientLimitExceededException", message).into());
    };
    server.spend(&stream, Points::Media, numbers.len() as u64)?;
    let mut mishap = server.mishap(Operation::GetMediaForFragmentList, Some(&stream))?;
    let age = server.quotas.archived_after;
    let until = (!age.is_zero()).then(|| server.clock.before(age));
    let is_archived = |number: &FragmentNumber| until.is_none() || stream.received(number) <= until;
    let stored = |number: FragmentNumber| {
        let document = if is_archived(&number) { stream.document(&number) } else { None };
        (number, document)
    };
    let mut asked: Vec<_> = numbers.into_iter().map(stored).collect();
    match mishap {
        Some(Mishap::Shuffle(seed)) if asked.len() > 1 => shuffle(&mut asked, seed),
        // There is no other order.
        Some(Mishap::Shuffle(_)) => mishap = None,
        _ => {}
    }
    let source = Source::Archive { asked: asked.into_iter(), spelling: stream.spelling() };
    Ok(send(server.body(source).open(open, server.quotas.linger).mishap(mishap).connection(connection)))
}

/// Brings things into another order.
fn shuffle<T>(things: &mut Vec<T>, seed: u64) {
    let mut places: Vec<usize> = (0..things.len()).collect();
    places.sort_unstable_by_key(|&place| mix(seed ^ mix(place as u64)));
    if places.is_sorted() {
        places.rotate_left(1);
    }
    let mut taken: Vec<Option<T>> = things.drain(..).map(Some).collect();
    things.extend(places.into_iter().filter_map(|place| taken.get_mut(place)?.take()));
}
