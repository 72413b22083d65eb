//! Stored media of a range: MP4 for the player, MP4 and WAV to keep.

use std::sync::Arc;

use async_stream::try_stream;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use serde::Deserialize;

use super::answer::{Answer, Failure};
use super::call;
use super::details;
use super::film::{Film, failed};
use super::live::{mp4, push};
use super::seats::Seat;
use super::state::State;
use super::stored::{checked, listed};
use crate::error::{Error, Result};
use crate::fragment::{Clock, Fragment, Timestamp};
use crate::local::Resetter;
use crate::mux::audio_file::{AudioContainer, AudioFile, AudioOptions};
use crate::mux::{Gaps, Media, MuxedFile};
use crate::service::{OnUnavailable, Order};

/// The longest range of media: an hour.
pub(super) const MOST_MILLIS: i64 = 3_600_000;

/// The bytes of fragments that are fetched ahead for one answer.
const AHEAD: u64 = 16 << 20;

#[derive(Deserialize)]
pub(super) struct Request {
    pub(super) stream: String,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// The fragments of a range, and the place that reading them takes.
pub(super) struct Stored {
    pub(super) seat: Seat,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) fragments: crate::service::ArchiveFragments,
}

impl Request {
    /// Lists the fragments of the range, and reads them as they are polled for.
    pub(super) async fn open(&self, state: &State) -> Answer<Stored> {
        state.check(&self.stream)?;
        let (start, end) = checked(self.start, self.end, MOST_MILLIS)?;
        let seat = state.seats.stored().await?;
        let listed = listed(state, &self.stream, start, end).await?;
        if listed.is_empty() {
            let message = "nothing is stored in this range";
            return Err(Failure::new(StatusCode::NOT_FOUND, message).hint("choose another one on the timeline"));
        }
        let archive = state.kvs.archive(self.stream.clone()).clock(Clock::Producer).order(Order::Time);
        let archive = archive.listed(listed).buffer_bytes(AHEAD).connections(1).on_unavailable(OnUnavailable::Skip);
        Ok(Stored { seat, start, end, fragments: archive.fragments() })
    }

    /// Returns the name of a file for the range.
    fn file_name(&self, extension: &str) -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
        // An ARN ends in the name and a number.
        let name = self.stream.rsplit("stream/").next().unwrap_or_default().split('/').next().unwrap_or_default();
        let name: String = name.chars().map(|c| if is_plain(&c) { c } else { '_' }).take(64).collect();
        let time = Timestamp::from_millis(self.start).to_string().replace(':', "-");
        format!("{}_{}.{extension}", name.trim_start_matches('.'), time.split('.').next().unwrap_or_default())
    }

    fn attach(&self, extension: &str, kind: &'static str, body: Body) -> Response {
        let mut response = ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response();
        let disposition = format!("attachment; filename=\"{}\"", self.file_name(extension));
        if let Ok(disposition) = HeaderValue::from_str(&disposition) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
        }
        response
    }
}

/// Answers with the media of a range, for the player.
pub(super) async fn play(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    Query(request): Query<Request>,
) -> Answer {
    let mut stored = request.open(&state).await?;
    connection.limit_waits();
    let body = async_stream::stream! {
        let _seat = stored.seat;
        let mut film = Film::new(false);
        while let Some(fragment) = stored.fragments.next().await {
            let pushed = match fragment {
                Ok(fragment) => {
                    let (returned, pushed) = push(film, fragment).await;
                    film = returned;
                    pushed
                }
                Err(error) => Err(error),
            };
            match pushed {
                Ok(bytes) => yield Ok::<Bytes, std::convert::Infallible>(bytes),
                Err(error) => {
                    yield Ok(failed(&error));
                    break;
                }
            }
        }
    };
    Ok(mp4(Body::from_stream(body)))
}

/// Answers with a range as an MP4 file.
pub(super) async fn file_mp4(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    Query(request): Query<Request>,
) -> Answer {
    let Stored { seat, mut fragments, .. } = request.open(&state).await?;
    connection.limit_waits();
    let (mut film, first) = begin(&mut fragments).await?;
    let body = try_stream! {
        let _seat = seat;
        yield first;
        while let Some(fragment) = fragments.next().await {
            let (returned, pushed) = push(film, fragment?).await;
            film = returned;
            yield pushed?;
        }
    };
    Ok(request.attach("mp4", "video/mp4", logged(body)))
}

/// Begins a file, so that a failure has a status.
async fn begin(fragments: &mut crate::service::ArchiveFragments) -> Answer<(Film, Bytes)> {
    let first = fragments.next().await.transpose()?;
    let first = first.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "nothing in this range can be read"))?;
    let (film, pushed) = push(Film::new(true), first).await;
    Ok((film, pushed?))
}

/// Answers with the sound of a range as a WAV file: both parties of a call, or the first audio track.
pub(super) async fn file_wav(
    Extract(state): Extract<Arc<State>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    Query(request): Query<Request>,
) -> Answer {
    let mut stored = request.open(&state).await?;
    connection.limit_waits();
    let first = stored.fragments.next().await.transpose()?;
    let first = first.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "nothing in this range can be read"))?;
    if details::kind(first.tracks()) == "call" {
        let length = call::wav_bytes(stored.start, stored.end);
        let body = logged(call::wav(first, stored));
        let mut response = request.attach("wav", "audio/wav", body);
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        return Ok(response);
    }
    let options = AudioOptions { container: Some(AudioContainer::Wav), track: None };
    let mut bytes = Vec::new();
    let Some(media) = Media::of(&first) else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "there is no sound in this range"));
    };
    let muxed = MuxedFile::<AudioFile>::begin(&options, Gaps::Keep, media, &first, &mut bytes)?;
    Ok(request.attach("wav", "audio/wav", logged(samples(muxed, bytes.into(), stored))))
}

/// Yields the samples of an audio track.
fn samples(
    mut muxed: MuxedFile<AudioFile>,
    first: Bytes,
    mut stored: Stored,
) -> impl Stream<Item = Result<Bytes>> + Send {
    /// A long silence is sent in pieces of this size.
    const PIECE: usize = 1 << 20;

    try_stream! {
        let _seat = stored.seat;
        yield first;
        while let Some(fragment) = stored.fragments.next().await {
            let fragment: Fragment = fragment?;
            let Some(media) = Media::of(&fragment) else { continue };
            if muxed.timeline.split_before(&media).is_some() {
                Err(Error::malformed("the tracks or the clock change here, so the file cannot continue"))?;
            }
            let mut bytes = Vec::new();
            let fill = muxed.push(media, &fragment, &mut bytes)?;
            let mut left = fill.count;
            while left > 0 {
                let piece = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
                left -= piece as u64;
                yield Bytes::from(vec![fill.byte; piece]);
            }
            yield bytes.into();
        }
    }
}

/// Makes a body that tells the log why it ends early. The browser sees a broken download.
pub(super) fn logged(body: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Body {
    Body::from_stream(body.inspect(|item| {
        if let Err(error) = item {
            tracing::warn!(%error, "a download ends early");
        }
    }))
}
