//! GetMedia.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Deserialize;

use crate::local::clock::later;
use crate::local::faults::counters::Event;
use crate::local::faults::injected_fault::InjectedFault;
use crate::local::faults::operation::Operation;
use crate::local::faults::quotas::Expired;
use crate::local::media::document::Document;
use crate::local::server::body::Source;
use crate::local::server::connection::Resetter;
use crate::local::server::state::Server;
use crate::local::server::wire::{self, Answer, ErrorResponse, StreamRequest};
use crate::local::store::streams::{Cursor, Selector};

#[derive(Debug, Deserialize)]
struct GetMediaRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    #[serde(rename = "StartSelector")]
    start_selector: Option<StartSelector>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartSelector {
    start_selector_type: Option<String>,
    after_fragment_number: Option<String>,
    start_timestamp: Option<f64>,
    continuation_token: Option<String>,
}

impl StartSelector {
    fn parse(&self) -> Result<Selector, ErrorResponse> {
        let missing = |member: &str| ErrorResponse::invalid_argument(format!("{member} is missing"));
        let number = |text: &Option<String>, member: &str| {
            let text = text.as_ref().ok_or_else(|| missing(member))?;
            text.parse().map_err(|error| ErrorResponse::invalid_argument(format!("{member}: {error}")))
        };
        let time = || self.start_timestamp.map(wire::from_seconds).ok_or_else(|| missing("StartTimestamp"));
        Ok(match self.start_selector_type.as_deref() {
            Some("NOW") => Selector::Now,
            Some("EARLIEST") => Selector::Earliest,
            Some("FRAGMENT_NUMBER") => Selector::After(number(&self.after_fragment_number, "AfterFragmentNumber")?),
            // In all captures, continuation tokens are fragment numbers.
            Some("CONTINUATION_TOKEN") => Selector::After(number(&self.continuation_token, "ContinuationToken")?),
            Some("SERVER_TIMESTAMP") => Selector::Server(time()?),
            Some("PRODUCER_TIMESTAMP") => Selector::Producer(time()?),
            _ => return Err(ErrorResponse::invalid_argument("StartSelectorType is missing or unknown")),
        })
    }
}

pub(crate) async fn get_media(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    body: Bytes,
) -> Answer {
    let request: GetMediaRequest = wire::parse(&body)?;
    let stream = server.find_for_call(Operation::GetMedia, &request.stream)?;
    let missing = || ErrorResponse::invalid_argument("StartSelector is missing");
    let selector = request.start_selector.ok_or_else(missing)?.parse()?;
    server.check_endpoint(Operation::GetMedia, &stream)?;
    let Some(open) = stream.connections().open(server.quotas.connections) else {
        server.counters.count(Event::ConnectionLimit);
        let message = "Too many connections of GetMedia are open for this stream";
        return Err(ErrorResponse::new("ConnectionLimitExceededException", message));
    };
    let fault = server.take_fault(Operation::GetMedia, Some(&stream))?;
    let (mut index, is_aged_out) = stream.seek(&selector);
    if is_aged_out {
        server.counters.count(Event::AgedOut);
    }
    if let Some(InjectedFault::Repeat(fragments)) = fault {
        let earlier = stream.before(index, fragments);
        if earlier < index {
            server.counters.count(Event::Repeat);
        }
        index = earlier;
    }
    let ends = later(server.quotas.session);
    let source = match &selector {
        Selector::After(number) if is_aged_out && server.quotas.aged_out == Expired::Fault => {
            Source::Fault(Some(Document::fault(4000, "FRAGMENT_NOT_FOUND", Some(number))))
        }
        _ => Source::Live { changes: stream.changes(), stream, cursor: Cursor::at(index), ends },
    };
    let body = server.body(source).open(open, server.quotas.linger).fault(fault).connection(connection);
    Ok(body.into_response())
}
