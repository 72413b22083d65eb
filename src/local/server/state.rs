//! The operations.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, Request, header};
use axum::middleware::{self, Next as NextLayer};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::local::clock::Clock;
use crate::local::faults::counters::{Event, Happened};
use crate::local::faults::injected_fault::{Mishap, Operation, Script};
use crate::local::faults::quotas::{Buckets, Expired, Points, Quotas};
use crate::local::media::document::Document;
use crate::local::operations::archived_media::{get_media_for_fragment_list, list_fragments};
use crate::local::operations::clip::get_clip;
use crate::local::operations::images::get_images;
use crate::local::operations::playback::{
    Sessions, get_dash_streaming_session_url, get_hls_streaming_session_url, play_dash, play_hls,
};
use crate::local::server::body::{SentBody, Source, later};
use crate::local::server::connection::Resetter;
use crate::local::server::wire::{
    self, GetDataEndpointRequest, GetMediaRequest, ListStreamsRequest, Refusal, StartSelector, StreamInfo,
    StreamRequest,
};
use crate::local::store::streams::{Selector, Stream};

/// How long a request may be.
const LONGEST_REQUEST: usize = 2 << 20;

pub(crate) struct Server {
    url: String,
    stop: CancellationToken,
    pub(crate) quotas: Quotas,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    requests: AtomicU64,
    spent: Buckets,
    pub(crate) clock: Arc<Clock>,
    pub(crate) script: Script,
    pub(crate) happened: Arc<Happened>,
    pub(crate) sessions: Sessions,
}

/// What a handler answers with instead of what was asked for.
pub(crate) enum Otherwise {
    Refusal(Refusal),
    UnknownOperation,
}

impl From<Refusal> for Otherwise {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl IntoResponse for Otherwise {
    fn into_response(self) -> Response {
        match self {
            Self::Refusal(refusal) => refusal.into_response(),
            Self::UnknownOperation => wire::unknown_operation(),
        }
    }
}

pub(crate) type Answer = Result<Response, Otherwise>;

pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/getDataEndpoint", post(get_data_endpoint))
        .route("/describeStream", post(describe_stream))
        .route("/listStreams", post(list_streams))
        .route("/getMedia", post(get_media))
        .route("/listFragments", post(list_fragments))
        .route("/getMediaForFragmentList", post(get_media_for_fragment_list))
        .route("/getHLSStreamingSessionURL", post(get_hls_streaming_session_url))
        .route("/getDASHStreamingSessionURL", post(get_dash_streaming_session_url))
        .route("/getClip", post(get_clip))
        .route("/getImages", post(get_images))
        .route("/hls/v1/{file}", get(play_hls))
        .route("/dash/v1/{file}", get(play_dash))
        .fallback(async || wire::unknown_operation())
        .layer(middleware::from_fn_with_state(Arc::clone(&server), receive))
        .with_state(server)
}

impl Server {
    pub(crate) fn new(url: String, quotas: Quotas, stop: CancellationToken) -> Self {
        Self {
            url,
            stop,
            quotas,
            streams: RwLock::default(),
            requests: AtomicU64::new(0),
            spent: Buckets::default(),
            clock: Arc::new(Clock::new()),
            script: Script::default(),
            happened: Arc::default(),
            sessions: Sessions::default(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, stream: Arc<Stream>) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream.name().to_owned(), stream);
    }

    /// The stream of a request, if calls for it may be made now.
    fn admit(&self, operation: Operation, request: &StreamRequest) -> Result<Arc<Stream>, Otherwise> {
        let stream = self.find(request)?;
        let is_taken = |rate| self.spent.take(stream.name(), operation.name(), rate, 1);
        if !self.quotas.calls_per_second.is_none_or(is_taken) {
            return Err(self.throttled(&format!("calls of {}", operation.name())).into());
        }
        Ok(stream)
    }

    /// The stream of a request to the archive, whose calls are not counted but cost points.
    pub(crate) fn archived(&self, operation: Operation, request: &StreamRequest) -> Result<Arc<Stream>, Refusal> {
        let stream = self.find(request)?;
        if stream.is_stale(operation) {
            return Err(self.stale());
        }
        Ok(stream)
    }

    /// Spends points of a stream, if it has as many left.
    pub(crate) fn spend(&self, stream: &Stream, bucket: Points, points: u64) -> Result<(), Refusal> {
        let is_taken = |rate| self.spent.take(stream.name(), bucket.name(), rate, points);
        if bucket.budget(&self.quotas).is_none_or(is_taken) {
            return Ok(());
        }
        Err(self.throttled(&format!("{} points spent", bucket.name())))
    }

    /// Lets a playback session begin, if not too many have this second.
    pub(crate) fn spend_session(&self, operation: Operation, stream: &Stream) -> Result<(), Refusal> {
        let is_taken = |rate| self.spent.take(stream.name(), operation.name(), rate, 1);
        if self.quotas.sessions_per_second.is_none_or(is_taken) {
            return Ok(());
        }
        Err(self.throttled(&format!("sessions of {}", operation.name())))
    }

    fn throttled(&self, what: &str) -> Refusal {
        self.happened.count(Event::Throttled);
        let message = format!("Too many {what} for this stream. Please try again later.");
        Refusal::new("ClientLimitExceededException", message)
    }

    /// What is to go wrong with a call that nothing else is wrong with, if it is not the call itself.
    pub(crate) fn mishap(&self, operation: Operation, stream: Option<&Stream>) -> Result<Option<Mishap>, Otherwise> {
        match (self.script.take(operation, stream.map_or("", Stream::name)), stream) {
            (Some(Mishap::Refuse(name)), _) => {
                self.happened.count(Event::Refuse);
                Err(Refusal::new(&name, format!("{name}, as the script says")).into())
            }
            (Some(Mishap::UnknownOperation), _) => {
                self.happened.count(Event::UnknownOperation);
                Err(Otherwise::UnknownOperation)
            }
            (Some(Mishap::StaleEndpoint), Some(stream)) if operation.has_endpoint() => {
                stream.set_stale(operation, true);
                Err(self.stale().into())
            }
            (mishap, _) => Ok(mishap),
        }
    }

    pub(crate) fn find(&self, request: &StreamRequest) -> Result<Arc<Stream>, Refusal> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        let (found, asked) = match (&request.stream_name, &request.stream_arn) {
            (Some(name), None) => (streams.get(name), name),
            (None, Some(arn)) => (streams.values().find(|stream| stream.arn() == arn), arn),
            _ => return Err(Refusal::invalid_argument("Either StreamName or StreamARN must be given, and not both")),
        };
        found.cloned().ok_or_else(|| Refusal::not_found(asked))
    }

    fn stale(&self) -> Refusal {
        self.happened.count(Event::StaleEndpoint);
        let message = "The data endpoint is not valid for this stream. Call GetDataEndpoint to get the current one.";
        Refusal::new("InvalidEndpointException", message)
    }

    /// Remembers that a call came, whatever becomes of it. `body` is that of the request.
    fn note(&self, operation: Operation, body: &[u8]) {
        let named = wire::parse::<StreamRequest>(body).ok();
        let found = named.as_ref().and_then(|request| self.find(request).ok()).map(|stream| stream.name().to_owned());
        let asked = || named.and_then(|request| request.stream_name.or(request.stream_arn)).unwrap_or_default();
        self.happened.call(operation, found.unwrap_or_else(asked));
    }

    pub(crate) fn body(&self, source: Source) -> SentBody {
        SentBody::new(source, &self.quotas, self.stop.clone(), Arc::clone(&self.happened))
    }
}

pub(crate) fn send(body: SentBody) -> Response {
    let mut response = Body::from_stream(body.into_stream()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/webm"));
    response
}

/// What happens to every request and every answer.
async fn receive(State(server): State<Arc<Server>>, request: Request<Body>, next: NextLayer) -> Response {
    let count = server.requests.fetch_add(1, Ordering::Relaxed);
    let mut response = admit(&server, request, next).await.unwrap_or_else(IntoResponse::into_response);
    if let Ok(id) = HeaderValue::from_str(&format!("00000000-0000-4000-8000-{count:012x}")) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    if let Ok(date) = HeaderValue::from_str(&server.clock.http_date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Lets a request pass that was signed in time.
async fn admit(server: &Server, request: Request<Body>, next: NextLayer) -> Result<Response, Refusal> {
    let is_beyond = |tolerance| server.clock.is_beyond(tolerance, request.headers());
    let is_expired = server.quotas.clock_tolerance.is_some_and(is_beyond);
    let (parts, body) = request.into_parts();
    let unread = |error| Refusal::invalid_argument(format!("the request cannot be read: {error}"));
    let body = axum::body::to_bytes(body, LONGEST_REQUEST).await.map_err(unread)?;
    if let Some(operation) = Operation::at_path(parts.uri.path()) {
        server.note(operation, &body);
    }
    if is_expired {
        server.happened.count(Event::RequestExpired);
        return Err(Refusal::new("RequestExpired", "The signature is too far from the current time"));
    }
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

async fn get_data_endpoint(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: GetDataEndpointRequest = wire::parse(&body)?;
    let stream = server.admit(Operation::GetDataEndpoint, &request.stream)?;
    let api = request.api_name.as_deref().unwrap_or_default();
    let asked = Operation::of_api(api);
    if asked.is_none() && api != "PUT_MEDIA" {
        return Err(Refusal::invalid_argument("APIName must be that of an operation on media").into());
    }
    server.mishap(Operation::GetDataEndpoint, Some(&stream))?;
    if let Some(operation) = asked {
        stream.set_stale(operation, false);
    }
    Ok(axum::Json(json!({ "DataEndpoint": server.url })).into_response())
}

async fn describe_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let stream = server.admit(Operation::DescribeStream, &wire::parse(&body)?)?;
    server.mishap(Operation::DescribeStream, Some(&stream))?;
    Ok(axum::Json(json!({ "StreamInfo": info(&stream) })).into_response())
}

async fn list_streams(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: ListStreamsRequest = wire::parse(&body)?;
    server.mishap(Operation::ListStreams, None)?;
    let most = request.max_results.unwrap_or(10_000) as usize;
    if !(1..=10_000).contains(&most) {
        return Err(Refusal::invalid_argument("MaxResults must be 1 to 10000").into());
    }
    let prefix = match request.stream_name_condition {
        Some(condition)
            if condition.comparison_operator.as_deref().is_some_and(|operator| operator != "BEGINS_WITH") =>
        {
            return Err(Refusal::invalid_argument("ComparisonOperator must be BEGINS_WITH").into());
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
    let next = last.map(|(name, _)| to_hex(name));
    let infos: Vec<StreamInfo> = page.iter().map(|(_, stream)| info(stream)).collect();
    Ok(axum::Json(match next {
        Some(token) => json!({ "StreamInfoList": infos, "NextToken": token }),
        None => json!({ "StreamInfoList": infos }),
    })
    .into_response())
}

pub(crate) fn to_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn from_hex(text: &str) -> Option<String> {
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
        data_retention_in_hours: stream.retention().as_secs().div_ceil(3600),
    }
}

async fn get_media(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    body: Bytes,
) -> Answer {
    let request: GetMediaRequest = wire::parse(&body)?;
    let stream = server.admit(Operation::GetMedia, &request.stream)?;
    let Some(selector) = request.start_selector else {
        return Err(Refusal::invalid_argument("StartSelector is missing").into());
    };
    let selector = to_selector(&selector)?;
    if stream.is_stale(Operation::GetMedia) {
        return Err(server.stale().into());
    }
    let Some(open) = stream.bodies().open(server.quotas.connections) else {
        server.happened.count(Event::ConnectionLimit);
        let message = "Too many connections of GetMedia are open for this stream";
        return Err(Refusal::new("ConnectionLimitExceededException", message).into());
    };
    let mishap = server.mishap(Operation::GetMedia, Some(&stream))?;
    let (mut index, is_aged_out) = stream.seek(&selector);
    if is_aged_out {
        server.happened.count(Event::AgedOut);
    }
    if let Some(Mishap::Repeat(fragments)) = mishap {
        let earlier = stream.before(index, fragments);
        if earlier < index {
            server.happened.count(Event::Repeat);
        }
        index = earlier;
    }
    let ends = later(server.quotas.session);
    let source = match &selector {
        Selector::After(number) if is_aged_out && server.quotas.aged_out == Expired::Fault => {
            let fault = Document::fault(4000, "FRAGMENT_NOT_FOUND", Some(number));
            Source::Fault(Some(fault))
        }
        _ => Source::Live { changes: stream.changes(), stream, index, ends },
    };
    Ok(send(server.body(source).open(open, server.quotas.linger).mishap(mishap).connection(connection)))
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
