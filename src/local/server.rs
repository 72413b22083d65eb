//! The operations.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Request, header};
use axum::middleware::{self, Next as NextLayer};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::store::{Next, Selector, Stream};
use super::wire::{
    self, GetDataEndpointRequest, GetMediaRequest, ListStreamsRequest, Refusal, StartSelector, StreamInfo,
    StreamRequest,
};

/// A body of GetMedia ends when so long nothing has come.
const IDLE: Duration = Duration::from_secs(3);

/// The APIs that GetDataEndpoint knows.
const APIS: [&str; 8] = [
    "PUT_MEDIA",
    "GET_MEDIA",
    "LIST_FRAGMENTS",
    "GET_MEDIA_FOR_FRAGMENT_LIST",
    "GET_HLS_STREAMING_SESSION_URL",
    "GET_DASH_STREAMING_SESSION_URL",
    "GET_CLIP",
    "GET_IMAGES",
];

pub(super) struct Server {
    url: String,
    stop: CancellationToken,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    requests: std::sync::atomic::AtomicU64,
}

type Answer = Result<Response, Refusal>;

pub(super) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/getDataEndpoint", post(get_data_endpoint))
        .route("/describeStream", post(describe_stream))
        .route("/listStreams", post(list_streams))
        .route("/getMedia", post(get_media))
        .fallback(wire::unknown_operation)
        .layer(middleware::from_fn_with_state(Arc::clone(&server), with_request_id))
        .with_state(server)
}

impl Server {
    pub(super) fn new(url: String, stop: CancellationToken) -> Self {
        Self { url, stop, streams: RwLock::default(), requests: std::sync::atomic::AtomicU64::new(0) }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn add(&self, stream: Arc<Stream>) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream.name().to_owned(), stream);
    }

    fn find(&self, request: &StreamRequest) -> Result<Arc<Stream>, Refusal> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let (found, asked) = match (&request.stream_name, &request.stream_arn) {
            (Some(name), None) => (streams.get(name), name),
            (None, Some(arn)) => (streams.values().find(|stream| stream.arn() == arn), arn),
            _ => return Err(Refusal::invalid_argument("Either StreamName or StreamARN must be given, and not both")),
        };
        found.cloned().ok_or_else(|| Refusal::not_found(asked))
    }
}

async fn with_request_id(State(server): State<Arc<Server>>, request: Request<Body>, next: NextLayer) -> Response {
    let count = server.requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut response = next.run(request).await;
    if let Ok(id) = HeaderValue::from_str(&format!("00000000-0000-4000-8000-{count:012x}")) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

async fn get_data_endpoint(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: GetDataEndpointRequest = wire::parse(&body)?;
    server.find(&request.stream)?;
    if !request.api_name.as_deref().is_some_and(|name| APIS.contains(&name)) {
        return Err(Refusal::invalid_argument(format!("APIName must be one of {}", APIS.join(", "))));
    }
    Ok(axum::Json(json!({ "DataEndpoint": server.url })).into_response())
}

async fn describe_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let stream = server.find(&wire::parse(&body)?)?;
    Ok(axum::Json(json!({ "StreamInfo": info(&stream) })).into_response())
}

async fn list_streams(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: ListStreamsRequest = wire::parse(&body)?;
    let most = request.max_results.unwrap_or(10_000) as usize;
    if !(1..=10_000).contains(&most) {
        return Err(Refusal::invalid_argument("MaxResults must be 1 to 10000"));
    }
    let prefix = match request.stream_name_condition {
        Some(condition)
            if condition.comparison_operator.as_deref().is_some_and(|operator| operator != "BEGINS_WITH") =>
        {
            return Err(Refusal::invalid_argument("ComparisonOperator must be BEGINS_WITH"));
        }
        Some(condition) => condition.comparison_value.unwrap_or_default(),
        None => String::new(),
    };
    let streams = server.streams.read().unwrap_or_else(PoisonError::into_inner);
    // The token is the name of the last stream of the page before, in hexadecimal.
    let after = match &request.next_token {
        Some(token) => Some(from_hex(token).ok_or_else(|| Refusal::invalid_argument("NextToken is not one of ours"))?),
        None => None,
    };
    let behind = |name: &String| after.as_ref().is_none_or(|after| name > after);
    let mut page: Vec<_> = streams.iter().filter(|(name, _)| name.starts_with(&prefix) && behind(name)).collect();
    let more = page.len() > most;
    page.truncate(most);
    let last = page.last().filter(|_| more);
    let next = last.map(|(name, _)| name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    let infos: Vec<StreamInfo> = page.iter().map(|(_, stream)| info(stream)).collect();
    Ok(axum::Json(match next {
        Some(token) => json!({ "StreamInfoList": infos, "NextToken": token }),
        None => json!({ "StreamInfoList": infos }),
    })
    .into_response())
}

fn from_hex(text: &str) -> Option<String> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}

fn info(stream: &Stream) -> StreamInfo {
    StreamInfo {
        stream_name: stream.name().to_owned(),
        stream_arn: stream.arn().to_owned(),
        media_type: "video/h264",
        version: "local",
        status: "ACTIVE",
        creation_time: wire::to_seconds(stream.created()),
        data_retention_in_hours: 0,
    }
}

async fn get_media(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: GetMediaRequest = wire::parse(&body)?;
    let stream = server.find(&request.stream)?;
    let Some(selector) = request.start_selector else {
        return Err(Refusal::invalid_argument("StartSelector is missing"));
    };
    let index = stream.seek(&to_selector(&selector)?);
    let state = Reading { changes: stream.changes(), stream, index, stop: server.stop.clone() };
    let chunks = futures::stream::unfold(Some(state), |state| async move {
        let mut state = state?;
        match state.next().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    let mut response = Body::from_stream(chunks).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/webm"));
    Ok(response)
}

fn to_selector(selector: &StartSelector) -> Result<Selector, Refusal> {
    let missing = |member: &str| Refusal::invalid_argument(format!("{member} is missing"));
    let number = |text: &Option<String>, member: &str| {
        let text = text.as_ref().ok_or_else(|| missing(member))?;
        text.parse().map_err(|error| Refusal::invalid_argument(format!("{member}: {error}")))
    };
    let time = || selector.start_timestamp.map(wire::from_seconds).ok_or_else(|| missing("StartTimestamp"));
    Ok(match selector.start_selector_type.as_deref() {
        Some("NOW") => Selector::Now,
        Some("EARLIEST") => Selector::Earliest,
        Some("FRAGMENT_NUMBER") => Selector::After(number(&selector.after_fragment_number, "AfterFragmentNumber")?),
        // Tokens are numbers, as in all captures.
        Some("CONTINUATION_TOKEN") => Selector::After(number(&selector.continuation_token, "ContinuationToken")?),
        Some("SERVER_TIMESTAMP") => Selector::Server(time()?),
        Some("PRODUCER_TIMESTAMP") => Selector::Producer(time()?),
        _ => return Err(Refusal::invalid_argument("StartSelectorType is missing or unknown")),
    })
}

/// One open body of GetMedia.
struct Reading {
    stream: Arc<Stream>,
    changes: tokio::sync::watch::Receiver<u64>,
    index: u64,
    stop: CancellationToken,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.stop.is_cancelled() {
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint was stopped"));
            }
            // What is added from here on wakes us up.
            self.changes.mark_unchanged();
            match self.stream.next(&mut self.index) {
                Next::Chunk(bytes) => return Ok(Some(bytes)),
                Next::End => return Ok(None),
                Next::Wait => {}
            }
            tokio::select! {
                changed = tokio::time::timeout(IDLE, self.changes.changed()) => {
                    if !matches!(changed, Ok(Ok(()))) {
                        return Ok(None);
                    }
                }
                () = self.stop.cancelled() => {}
            }
        }
    }
}
