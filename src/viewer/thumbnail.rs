//! Small pictures for the timeline.

use std::sync::Arc;

use axum::extract::{Query, State as Extract};
use serde::Deserialize;

use super::answer::{Answer, Failure};
use super::state::State;

#[derive(Deserialize)]
pub(super) struct Request {
    stream: String,
    at: i64,
}

/// The size into which pictures are scaled.
#[cfg(feature = "ffmpeg")]
const SIZE: (u32, u32) = (320, 240);

/// Answers with the picture at a time, as JPEG.
#[cfg(feature = "ffmpeg")]
pub(super) async fn thumbnail(Extract(state): Extract<Arc<State>>, Query(request): Query<Request>) -> Answer {
    use axum::http::{StatusCode, header};
    use axum::response::IntoResponse;

    use super::stored::checked;
    use crate::error::{Error, ErrorKind};
    use crate::fragment::Clock;
    use crate::frame::EncodedFrame;

    const QUALITY: u8 = 75;

    state.check(&request.stream)?;
    let (at, _) = checked(request.at, request.at.saturating_add(1), 1)?;
    let _seat = state.seats.stored().await?;
    let frame = state.kvs.archive(request.stream).clock(Clock::Producer).frame_at(at).await?;
    let frame = frame.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "there is no picture at this time"))?;
    let encoded =
        tokio::task::spawn_blocking(move || EncodedFrame::jpeg(&frame.scale_within(SIZE.0, SIZE.1)?, QUALITY));
    let encoded = encoded.await.map_err(|_| Error::new(ErrorKind::Io, "encoding was given up"))??;
    // What is stored at a time does not change.
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=3600")];
    Ok((headers, encoded.bytes().clone()).into_response())
}

/// Tells that pictures cannot be decoded.
#[cfg(not(feature = "ffmpeg"))]
pub(super) async fn thumbnail(Extract(state): Extract<Arc<State>>, Query(request): Query<Request>) -> Answer {
    state.check(&request.stream)?;
    let message = format!("no picture of {}: this program was built without the feature \"ffmpeg\"", request.at);
    Err(Failure::new(axum::http::StatusCode::NOT_IMPLEMENTED, message).hint("build it with `--features cli,ffmpeg`"))
}
