//! The live picture: fragmented MP4 without an end.

use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State as Extract};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::answer::Answer;
use super::film::{Film, event, failed};
use super::state::State;
use crate::fragment::Fragment;
use crate::local::Resetter;

/// How often the page hears that nothing has come.
const PULSE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub(super) struct Request {
    stream: String,
}

/// Answers with the fragments of a stream as they come.
pub(super) async fn live(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    Query(request): Query<Request>,
) -> Answer {
    state.check(&request.stream)?;
    let seat = state.seats.live()?;
    connection.limit_waits();
    let mut viewer = state.join(&request.stream);
    let body = stream! {
        let _seat = seat;
        let mut film = Film::new(false);
        // The headers do not reach every client before the first byte.
        yield Ok::<Bytes, std::convert::Infallible>(event(&json!({ "waiting": true })));
        let mut last = None;
        let mut next = viewer.newest.take().map(Ok);
        loop {
            let item = match next.take() {
                Some(item) => Some(item),
                None => match timeout(PULSE, viewer.fragments.next()).await {
                    Ok(item) => item,
                    Err(_) => {
                        yield Ok(event(&json!({ "waiting": true })));
                        continue;
                    }
                },
            };
            let pushed = match item {
                // The newest fragment may be in the queue too.
                Some(Ok(fragment)) if last.is_some() && last.as_ref() == fragment.number() => continue,
                Some(Ok(fragment)) => {
                    last = fragment.number().cloned();
                    let (returned, pushed) = push(film, fragment).await;
                    film = returned;
                    pushed
                }
                Some(Err(error)) => Err(error),
                None => break,
            };
            match pushed {
                Ok(bytes) => yield Ok(bytes),
                Err(error) => {
                    yield Ok(failed(&error));
                    break;
                }
            }
        }
    };
    Ok(mp4(Body::from_stream(body)))
}

/// Muxes a fragment on a thread for blocking work, since it may have many megabytes.
pub(super) async fn push(mut film: Film, fragment: Fragment) -> (Film, crate::error::Result<Bytes>) {
    let pushed = tokio::task::spawn_blocking(move || {
        let pushed = film.push(&fragment);
        (film, pushed)
    });
    pushed.await.unwrap_or_else(|_| {
        let message = "muxing a fragment was given up";
        (Film::new(false), Err(crate::error::Error::new(crate::error::ErrorKind::Io, message)))
    })
}

/// Answers with MP4 for the page's player.
pub(super) fn mp4(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "video/mp4"), (header::CACHE_CONTROL, "no-store")], body).into_response()
}
