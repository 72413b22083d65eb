//! The operations of the archive: what there is of fragments, and their media.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::json;

use super::body::Source;
use super::connection::Resetter;
use super::document::Document;
use super::mishap::Operation;
use super::quotas::Points;
use super::server::{Answer, Server, from_hex, send, to_hex};
use super::wire::{
    self, FragmentInfo, FragmentSelector, GetMediaForFragmentListRequest, ListFragmentsRequest, Refusal,
};
use crate::fragment::FragmentNumber;

/// Lists fragments whose start is in a range, both ends included. The service promises no order.
pub(super) async fn list_fragments(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: ListFragmentsRequest = wire::parse(&body)?;
    let stream = server.archived(Operation::ListFragments, &request.stream)?;
    let most = request.max_results.unwrap_or(100);
    if !(1..=1000).contains(&most) {
        return Err(Refusal::invalid_argument("MaxResults must be 1 to 1000").into());
    }
    // The token says what was asked for, and with which chunk to go on.
    let (by_producer, start, end, next) = match (&request.next_token, &request.fragment_selector) {
        (Some(token), _) => {
            from_token(token).ok_or_else(|| Refusal::invalid_argument("NextToken is not one of ours"))?
        }
        (None, Some(selector)) => {
            let (by_producer, start, end) = to_range(selector)?;
            // Producers' clocks say nothing of how long something has been kept.
            if !by_producer && stream.kept_since().is_some_and(|since| end < since.as_millis()) {
                let message = format!("End timestamp {end} is outside of the stream retention period.");
                return Err(Refusal::invalid_argument(message).into());
            }
            (by_producer, start, end, 0)
        }
        (None, None) => (false, i64::MIN, i64::MAX, 0),
    };
    server.spend(&stream, Points::Metadata, most)?;
    server.mishap(Operation::ListFragments, Some(&stream))?;
    let mut listed = stream.list();
    listed.retain(|fragment| {
        let time = if by_producer { fragment.producer_time } else { fragment.server_time };
        fragment.index >= next && (start..=end).contains(&time.as_millis())
    });
    let page = listed.iter().take(most as usize).map(|fragment| FragmentInfo {
        fragment_number: fragment.number.to_string(),
        fragment_size_in_bytes: fragment.bytes,
        producer_timestamp: wire::to_seconds(fragment.producer_time),
        server_timestamp: wire::to_seconds(fragment.server_time),
        fragment_length_in_milliseconds: fragment.duration.as_millis() as u64,
    });
    let page: Vec<FragmentInfo> = page.collect();
    Ok(axum::Json(match listed.get(page.len()) {
        Some(next) => {
            let token = format!("{}/{start}/{end}/{}", if by_producer { "P" } else { "S" }, next.index);
            json!({ "Fragments": page, "NextToken": to_hex(&token) })
        }
        None => json!({ "Fragments": page }),
    })
    .into_response())
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

fn from_token(token: &str) -> Option<(bool, i64, i64, u64)> {
    let text = from_hex(token)?;
    let mut parts = text.split('/');
    let by_producer = parts.next()? == "P";
    Some((by_producer, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) async fn get_media_for_fragment_list(
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
    server.spend(&stream, Points::Media, numbers.len() as u64)?;
    let mishap = server.mishap(Operation::GetMediaForFragmentList, Some(&stream))?;
    let document = |number: &FragmentNumber| {
        // What is not there, or not yet, is reported where it would stand.
        stream.document(number).unwrap_or_else(|| Document::fault(3000, "FRAGMENT_NOT_FOUND", Some(number)))
    };
    let documents: Vec<Bytes> = numbers.iter().map(document).collect();
    Ok(send(server.body(Source::Listed(documents.into_iter())).mishap(mishap).connection(connection)))
}
