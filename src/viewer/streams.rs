//! The list of streams, and what is known of one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State as Extract};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Failure};
use super::details;
use super::state::State;
use crate::error::Error;
use crate::fragment::{Clock, Timestamp};
use crate::service::StreamInfo;

/// The most streams of a list.
const MOST: usize = 1000;

/// Answers with what the page needs first.
pub(super) async fn info(Extract(state): Extract<Arc<State>>) -> Json<Value> {
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "thumbnails": cfg!(feature = "ffmpeg"),
        "only": state.only,
        "limits": { "range": super::stored::MOST_MILLIS, "media": super::range::MOST_MILLIS },
    }))
}

/// Answers with the streams, by name.
pub(super) async fn list(Extract(state): Extract<Arc<State>>) -> Answer<Json<Value>> {
    let mut streams = Vec::new();
    let mut has_more = false;
    if let Some(only) = &state.only {
        for name in only {
            match state.kvs.describe(name.clone()).await {
                Ok(info) => streams.push(of_stream(&info, Some(name))),
                Err(error) => {
                    let failure = Failure::from(error).to_json();
                    streams.push(json!({ "name": name, "error": failure.get("error") }));
                }
            }
        }
    } else {
        let mut entries = state.kvs.list_streams().entries();
        while let Some(entry) = entries.next().await {
            if streams.len() == MOST {
                has_more = true;
                break;
            }
            streams.push(of_stream(&entry?, None));
        }
        streams.sort_by_key(|stream| stream.get("name").and_then(Value::as_str).unwrap_or_default().to_lowercase());
    }
    Ok(Json(json!({ "streams": streams, "more": has_more })))
}

/// Returns a stream. `asked` is how the user named it.
fn of_stream(info: &StreamInfo, asked: Option<&str>) -> Value {
    json!({
        "name": asked.unwrap_or(info.name()),
        "title": info.name(),
        "arn": info.arn(),
        "status": info.status().as_str(),
        "retention": info.retention().map(|retention| retention.as_secs() / 3600),
        "created": info.created().map(Timestamp::as_millis),
        "media": info.media_type(),
    })
}

#[derive(Deserialize)]
pub(super) struct Request {
    stream: String,
}

/// Answers with a stream and its newest fragment.
pub(super) async fn describe(
    Extract(state): Extract<Arc<State>>,
    Query(request): Query<Request>,
) -> Answer<Json<Value>> {
    let name = &request.stream;
    state.check(name)?;
    let info = state.kvs.describe(name.clone()).await?;
    let _seat = state.seats.stored().await?;
    let newest = match state.newest(name) {
        Some(fragment) => Ok(Some(fragment)),
        None => newest(&state, name).await,
    };
    let (newest, problem) = match newest {
        Ok(newest) => (newest, None),
        Err(error) => (None, Some(Failure::from(error).to_json())),
    };
    let kind = newest.as_ref().map(|fragment| details::kind(fragment.tracks()));
    Ok(Json(json!({
        "stream": of_stream(&info, Some(name)),
        "kind": kind,
        "newest": newest.as_ref().map(details::of_fragment),
        "problem": problem,
    })))
}

async fn newest(state: &State, name: &str) -> Result<Option<crate::fragment::Fragment>, Error> {
    let Some(newest) = state.kvs.list_fragments(name).clock(Clock::Producer).newest().await? else { return Ok(None) };
    let mut fragments = state.kvs.archive(name).listed([newest]).fragments();
    fragments.next().await.transpose()
}
