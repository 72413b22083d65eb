//! The routes of the page, and the headers of its answers.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Request, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::answer::Failure;
use super::state::State;
use super::{call, live, media, stored, streams, thumbnail};

/// Makes the router of the page.
pub(super) fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/index.html")))
        .route("/view/style.css", file("text/css; charset=utf-8", include_str!("page/style.css")))
        .route("/view/app.js", script(include_str!("page/app.js")))
        .route("/view/boxes.js", script(include_str!("page/boxes.js")))
        .route("/view/call.js", script(include_str!("page/call.js")))
        .route("/view/dom.js", script(include_str!("page/dom.js")))
        .route("/view/player.js", script(include_str!("page/player.js")))
        .route("/view/timeline.js", script(include_str!("page/timeline.js")))
        .route("/view/icon.svg", file("image/svg+xml", include_str!("page/icon.svg")))
        .route("/view/info", get(streams::info))
        .route("/view/streams", get(streams::list))
        .route("/view/stream", get(streams::describe))
        .route("/view/live", get(live::live))
        .route("/view/spans", get(stored::spans))
        .route("/view/fragment", get(stored::fragment))
        .route("/view/media", get(media::play))
        .route("/view/file.mp4", get(media::file_mp4))
        .route("/view/file.wav", get(media::file_wav))
        .route("/view/thumbnail", get(thumbnail::thumbnail))
        .route("/view/peaks", get(call::peaks))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .layer(middleware::from_fn(protect))
        .with_state(state)
}

fn script(text: &'static str) -> MethodRouter<Arc<State>> {
    file("text/javascript; charset=utf-8", text)
}

fn file(kind: &'static str, text: &'static str) -> MethodRouter<Arc<State>> {
    get(async move || ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text).into_response())
}

/// The headers of every answer: nothing from elsewhere, nothing inline, in no frame.
const HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Returns true if a page of another site embeds the answer. A link from there may lead here.
fn is_embedded(request: &Request<axum::body::Body>) -> bool {
    let sent = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let is_foreign = matches!(sent("sec-fetch-site"), Some("cross-site" | "same-site"));
    is_foreign && !(sent("sec-fetch-mode") == Some("navigate") && request.uri().path() == "/")
}

/// Refuses what other sites embed, and adds the headers.
async fn protect(request: Request<axum::body::Body>, next: Next) -> Response {
    let mut response = if is_embedded(&request) {
        Failure::new(StatusCode::FORBIDDEN, "another site asked for this").into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}
