//! Stored media of a range: MP4 for the player, MP4 and WAV to keep.

use std::sync::Arc;

use async_stream::try_stream;
use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State as Extract};
use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::answer::{Answer, Failure};
use super::call;
use super::details;
use super::film::{Film, failed};
use super::live::{mp4, push};
use super::range::{Request, Stored};
use super::state::State;
use crate::error::{Error, Result};
use crate::fragment::Fragment;
use crate::local::Resetter;
use crate::mux::audio_file::{AudioContainer, AudioFile, AudioOptions};
use crate::mux::{Gaps, Media, MuxedFile};
use crate::service::ArchiveFragments;

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

/// Returns the first fragment of a range, so that a failure has a status.
async fn first(fragments: &mut ArchiveFragments) -> Answer<Fragment> {
    let first = fragments.next().await.transpose()?;
    first.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "nothing in this range can be read"))
}

/// Begins a file, so that a failure has a status.
async fn begin(fragments: &mut ArchiveFragments) -> Answer<(Film, Bytes)> {
    let first = first(fragments).await?;
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
    let first = first(&mut stored.fragments).await?;
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
