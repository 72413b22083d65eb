//! ListFragments and GetMediaForFragmentList.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use crate::fragment::FragmentNumber;
use crate::local::faults::counters::Event;
use crate::local::faults::quotas::Points;
use crate::local::faults::{injected_fault::InjectedFault, operation::Operation};
use crate::local::media::fragment_number::mix;
use crate::local::operations::page_token::Listing;
use crate::local::server::body::Source;
use crate::local::server::connection::Resetter;
use crate::local::server::state::Server;
use crate::local::server::wire::{self, Answer, ErrorResponse, FragmentSelector, StreamRequest};
use crate::local::store::streams::{Listed, Stream};

/// The default of MaxResults. The service's is not documented.
const DEFAULT_MAX_RESULTS: u64 = 100;

#[derive(Debug, Deserialize)]
struct ListFragmentsRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    #[serde(rename = "MaxResults")]
    max_results: Option<u64>,
    #[serde(rename = "NextToken")]
    next_token: Option<String>,
    #[serde(rename = "FragmentSelector")]
    fragment_selector: Option<FragmentSelector>,
}

#[derive(Debug, Deserialize)]
struct GetMediaForFragmentListRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    #[serde(rename = "Fragments")]
    fragments: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct FragmentInfo {
    fragment_number: String,
    fragment_size_in_bytes: usize,
    producer_timestamp: f64,
    server_timestamp: f64,
    fragment_length_in_milliseconds: u64,
}

/// Lists the fragments that start in a range, both ends included. Their order is arbitrary.
pub(crate) async fn list_fragments(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: ListFragmentsRequest = wire::parse(&body)?;
    let stream = server.find_for_archive_call(Operation::ListFragments, &request.stream)?;
    let max_results = request.max_results.unwrap_or(DEFAULT_MAX_RESULTS);
    if !(1..=1000).contains(&max_results) {
        return Err(ErrorResponse::invalid_argument("MaxResults must be 1 to 1000"));
    }
    let listing = match &request.next_token {
        Some(token) => Listing::from_token(token, stream.arn())
            .ok_or_else(|| ErrorResponse::invalid_argument("NextToken was not issued by this endpoint"))?,
        None => begin(&server, &stream, request.fragment_selector.as_ref())?,
    };
    server.spend(&stream, Points::Metadata, max_results)?;
    let fault = server.take_fault(Operation::ListFragments, Some(&stream))?;
    let mut answer = Map::new();
    if matches!(fault, Some(InjectedFault::EmptyPage)) {
        server.counters.count(Event::EmptyPage);
        answer.insert("NextToken".into(), listing.to_token(stream.arn()).into());
        return Ok(axum::Json(answer).into_response());
    }
    let remaining = listing.remaining(stream.list());
    let page: Vec<_> = remaining.iter().take(max_results as usize).map(info).collect();
    let mut next = remaining.get(page.len()).map(|next| listing.from(next));
    if matches!(fault, Some(InjectedFault::RepeatPage)) && !page.is_empty() {
        server.counters.count(Event::RepeatPage);
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

/// Begins a listing.
fn begin(server: &Server, stream: &Stream, selector: Option<&FragmentSelector>) -> Result<Listing, ErrorResponse> {
    let (by_producer, start, end) = selector.map_or(Ok((false, i64::MIN, i64::MAX)), to_range)?;
    // Retention goes by the service's clock, so it cannot be compared with producers' times.
    if !by_producer && stream.kept_since().is_some_and(|since| end < since.as_millis()) {
        let message = format!("End timestamp {end} is outside of the stream retention period.");
        return Err(ErrorResponse::invalid_argument(message));
    }
    let age = server.quotas.listed_after;
    let latest = if age.is_zero() { i64::MAX } else { server.clock.before(age).as_millis() };
    Ok(Listing { by_producer, start, end, chunks: stream.chunks(), latest, from: None })
}

fn to_range(selector: &FragmentSelector) -> Result<(bool, i64, i64), ErrorResponse> {
    let by_producer = match selector.fragment_selector_type.as_deref() {
        Some("PRODUCER_TIMESTAMP") => true,
        Some("SERVER_TIMESTAMP") => false,
        _ => return Err(ErrorResponse::invalid_argument("FragmentSelectorType is missing or unknown")),
    };
    let range = selector.timestamp_range.as_ref();
    let (start, end) = (range.and_then(|range| range.start_timestamp), range.and_then(|range| range.end_timestamp));
    match (start.map(wire::from_seconds), end.map(wire::from_seconds)) {
        (Some(start), Some(end)) if start <= end => Ok((by_producer, start.as_millis(), end.as_millis())),
        (Some(_), Some(_)) => Err(ErrorResponse::invalid_argument("StartTimestamp must not be after EndTimestamp")),
        _ => Err(ErrorResponse::invalid_argument("TimestampRange needs a StartTimestamp and an EndTimestamp")),
    }
}

/// Sends the media of the requested fragments.
pub(crate) async fn get_media_for_fragment_list(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    body: Bytes,
) -> Answer {
    let request: GetMediaForFragmentListRequest = wire::parse(&body)?;
    let stream = server.find_for_archive_call(Operation::GetMediaForFragmentList, &request.stream)?;
    let asked = request.fragments.unwrap_or_default();
    if !(1..=1000).contains(&asked.len()) {
        return Err(ErrorResponse::invalid_argument("Fragments must be 1 to 1000 fragment numbers"));
    }
    let numbers: Result<Vec<FragmentNumber>, _> = asked.iter().map(|number| number.parse()).collect();
    let numbers = numbers.map_err(|_| ErrorResponse::invalid_argument("Fragment numbers are invalid"))?;
    let Some(open) = stream.list_connections().open(server.quotas.list_connections) else {
        server.counters.count(Event::ConnectionLimit);
        let message = "Too many connections of GetMediaForFragmentList are open for this stream";
        return Err(ErrorResponse::new("ClientLimitExceededException", message));
    };
    server.spend(&stream, Points::Media, numbers.len() as u64)?;
    let mut fault = server.take_fault(Operation::GetMediaForFragmentList, Some(&stream))?;
    let age = server.quotas.archived_after;
    let newest = (!age.is_zero()).then(|| server.clock.before(age));
    let is_archived = |number: &FragmentNumber| newest.is_none() || stream.received(number) <= newest;
    let stored = |number: FragmentNumber| {
        let document = if is_archived(&number) { stream.document(&number) } else { None };
        (number, document)
    };
    let mut asked: Vec<_> = numbers.into_iter().map(stored).collect();
    match fault {
        Some(InjectedFault::Shuffle(seed)) if asked.len() > 1 => shuffle(&mut asked, seed),
        // A single fragment has no other order.
        Some(InjectedFault::Shuffle(_)) => fault = None,
        _ => {}
    }
    let source = Source::Archive { asked: asked.into_iter(), names: stream.tag_names() };
    let body = server.body(source).open(open, server.quotas.linger).fault(fault).connection(connection);
    Ok(body.into_response())
}

/// Puts things into another order, which depends on the seed only.
fn shuffle<T>(things: &mut Vec<T>, seed: u64) {
    let mut places: Vec<usize> = (0..things.len()).collect();
    places.sort_unstable_by_key(|&place| mix(seed ^ mix(place as u64)));
    if places.is_sorted() {
        places.rotate_left(1);
    }
    let mut taken: Vec<Option<T>> = things.drain(..).map(Some).collect();
    things.extend(places.into_iter().filter_map(|place| taken.get_mut(place)?.take()));
}
