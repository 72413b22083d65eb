//! The routes, and the processing that every request shares.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Method, Request, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower::ServiceExt;

use crate::local::faults::counters::Event;
use crate::local::faults::operation::Operation;
use crate::local::operations::archived_media::{get_media_for_fragment_list, list_fragments};
use crate::local::operations::clip::get_clip;
use crate::local::operations::control::{describe_stream, get_data_endpoint, list_streams};
use crate::local::operations::get_media::get_media;
use crate::local::operations::images::get_images;
use crate::local::operations::manage::{
    create_stream, delete_stream, list_tags_for_stream, tag_stream, untag_stream, update_data_retention,
};
use crate::local::operations::playback::actions::{allow, play_dash, play_hls};
use crate::local::operations::playback::{get_dash_streaming_session_url, get_hls_streaming_session_url};
use crate::local::operations::put_media::{put_media, stream_named_by};
use crate::local::server::state::Server;
use crate::local::server::wire::ErrorResponse;

/// The largest request body accepted, in bytes.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// Makes the router of an endpoint.
pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .route("/getDataEndpoint", post(get_data_endpoint))
        .route("/describeStream", post(describe_stream))
        .route("/listStreams", post(list_streams))
        .route("/createStream", post(create_stream))
        .route("/deleteStream", post(delete_stream))
        .route("/updateDataRetention", post(update_data_retention))
        .route("/tagStream", post(tag_stream))
        .route("/untagStream", post(untag_stream))
        .route("/listTagsForStream", post(list_tags_for_stream))
        .route("/putMedia", post(put_media))
        .route("/getMedia", post(get_media))
        .route("/listFragments", post(list_fragments))
        .route("/getMediaForFragmentList", post(get_media_for_fragment_list))
        .route("/getHLSStreamingSessionURL", post(get_hls_streaming_session_url))
        .route("/getDASHStreamingSessionURL", post(get_dash_streaming_session_url))
        .route("/getClip", post(get_clip))
        .route("/getImages", post(get_images))
        .route("/hls/v1/{file}", get(play_hls).options(allow))
        .route("/dash/v1/{file}", get(play_dash).options(allow))
        .fallback(page)
        .layer(middleware::from_fn_with_state(Arc::clone(&server), handle))
        .with_state(server)
}

/// Answers requests for other paths: with the page that a viewer has attached, or as a host that knows no such operation.
async fn page(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    match server.page().filter(|_| request.method() == Method::GET) {
        Some(page) => match page.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => ErrorResponse::UnknownOperation.into_response(),
    }
}

/// Counts a request, and stamps its response with an id and the endpoint's time.
async fn handle(State(server): State<Arc<Server>>, request: Request<Body>, next: Next) -> Response {
    let count = server.count_request();
    let mut response = admit(&server, request, next).await.unwrap_or_else(IntoResponse::into_response);
    if let Ok(id) = HeaderValue::from_str(&format!("00000000-0000-4000-8000-{count:012x}")) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    if let Ok(date) = HeaderValue::from_str(&server.clock.http_date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    response
}

/// Records a call, and passes it on if its signature is within the clock tolerance.
async fn admit(server: &Server, request: Request<Body>, next: Next) -> Result<Response, ErrorResponse> {
    let is_beyond = |tolerance| server.clock.is_beyond(tolerance, request.headers());
    let is_expired = server.quotas.clock_tolerance.is_some_and(is_beyond);
    let operation = Operation::at_path(request.uri().path());
    if operation == Some(Operation::PutMedia) {
        // Its body is media, which is read while it arrives.
        server.record_call_for(Operation::PutMedia, Some(stream_named_by(request.headers())));
        check_date(server, is_expired)?;
        return Ok(next.run(request).await);
    }
    let (parts, body) = request.into_parts();
    let unread = |error| ErrorResponse::invalid_argument(format!("the request cannot be read: {error}"));
    let body = axum::body::to_bytes(body, MAX_REQUEST_BYTES).await.map_err(unread)?;
    if let Some(operation) = operation {
        server.record_call(operation, &body);
    }
    check_date(server, is_expired)?;
    Ok(next.run(Request::from_parts(parts, Body::from(body))).await)
}

/// Refuses a request whose signature is too far from the endpoint's time.
fn check_date(server: &Server, is_expired: bool) -> Result<(), ErrorResponse> {
    if is_expired {
        server.counters.count(Event::RequestExpired);
        return Err(ErrorResponse::new("RequestExpired", "The signature is too far from the current time"));
    }
    Ok(())
}
