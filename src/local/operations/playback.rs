//! GetHLSStreamingSessionURL, GetDASHStreamingSessionURL, and the URLs that they return.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::local::faults::operation::Operation;
use crate::local::media::payload::blocking;
use crate::local::operations::check::{needs_retention, no_fragments, one_of, read_fragment, unfinished, within};
use crate::local::operations::codecs::{self, Played};
use crate::local::operations::selection::{Origin, Window, live};
use crate::local::server::state::Server;
use crate::local::server::wire::{self, Answer, ErrorResponse, FragmentSelector, StreamRequest};
use crate::local::store::sessions::Protocol;

/// A request of either operation. Members of the other one are ignored.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SessionRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    playback_mode: Option<String>,
    #[serde(rename = "HLSFragmentSelector")]
    hls_fragment_selector: Option<FragmentSelector>,
    #[serde(rename = "DASHFragmentSelector")]
    dash_fragment_selector: Option<FragmentSelector>,
    container_format: Option<String>,
    discontinuity_mode: Option<String>,
    display_fragment_timestamp: Option<String>,
    display_fragment_number: Option<String>,
    expires: Option<i64>,
    max_media_playlist_fragment_results: Option<i64>,
    max_manifest_fragment_results: Option<i64>,
}

/// A valid request.
#[derive(Debug)]
struct Asked {
    played: Played,
    media: Media,
    most: usize,
    expires_seconds: i64,
}

#[derive(Debug)]
enum Media {
    Live(Origin),
    /// ON_DEMAND and LIVE_REPLAY.
    Archived(Window),
}

impl SessionRequest {
    fn check(&self, protocol: Protocol) -> Result<Asked, ErrorResponse> {
        let (selector, most_member, most) = match protocol {
            Protocol::Hls => {
                let most = self.max_media_playlist_fragment_results;
                (&self.hls_fragment_selector, "MaxMediaPlaylistFragmentResults", most)
            }
            Protocol::Dash => {
                (&self.dash_fragment_selector, "MaxManifestFragmentResults", self.max_manifest_fragment_results)
            }
        };
        let mode = self.playback_mode.as_deref().unwrap_or("LIVE");
        one_of("PlaybackMode", Some(mode), &["LIVE", "LIVE_REPLAY", "ON_DEMAND"])?;
        let mut played = Played::Dash;
        if protocol == Protocol::Hls {
            one_of("ContainerFormat", self.container_format.as_deref(), &["FRAGMENTED_MP4", "MPEG_TS"])?;
            let discontinuity = self.discontinuity_mode.as_deref();
            one_of("DiscontinuityMode", discontinuity, &["ALWAYS", "NEVER", "ON_DISCONTINUITY"])?;
            let is_ts = self.container_format.as_deref() == Some("MPEG_TS");
            played = if is_ts { Played::HlsTs } else { Played::HlsMp4 };
        } else {
            one_of("DisplayFragmentNumber", self.display_fragment_number.as_deref(), &["ALWAYS", "NEVER"])?;
        }
        one_of("DisplayFragmentTimestamp", self.display_fragment_timestamp.as_deref(), &["ALWAYS", "NEVER"])?;
        let expires_seconds = self.expires.unwrap_or(300);
        within("Expires", expires_seconds, 300, 43_200)?;
        let most = most.unwrap_or(if mode == "ON_DEMAND" { 1000 } else { 5 });
        within(most_member, most, 1, 5000)?;
        let media = match (mode, selector) {
            ("LIVE", Some(selector)) if selector.timestamp_range.is_some() => {
                return Err(ErrorResponse::invalid_argument(
                    "TimestampRange must not be given if PlaybackMode is LIVE",
                ));
            }
            ("LIVE", Some(selector)) => Media::Live(Origin::of(selector)?.unwrap_or(Origin::Server)),
            ("LIVE", None) => Media::Live(Origin::Server),
            (_, Some(selector)) => Media::Archived(Window::of(selector, mode == "ON_DEMAND")?),
            (_, None) => {
                let message = format!("A fragment selector must be given if PlaybackMode is {mode}");
                return Err(ErrorResponse::invalid_argument(message));
            }
        };
        Ok(Asked { played, media, most: usize::try_from(most).unwrap_or(usize::MAX), expires_seconds })
    }
}

pub(crate) async fn get_hls_streaming_session_url(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let url = begin(&server, Protocol::Hls, &body).await?;
    Ok(axum::Json(json!({ "HLSStreamingSessionURL": url })).into_response())
}

pub(crate) async fn get_dash_streaming_session_url(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let url = begin(&server, Protocol::Dash, &body).await?;
    Ok(axum::Json(json!({ "DASHStreamingSessionURL": url })).into_response())
}

async fn begin(server: &Server, protocol: Protocol, body: &[u8]) -> Result<String, ErrorResponse> {
    let (operation, path) = match protocol {
        Protocol::Hls => (Operation::GetHlsStreamingSessionUrl, "hls/v1/getHLSMasterPlaylist.m3u8"),
        Protocol::Dash => (Operation::GetDashStreamingSessionUrl, "dash/v1/getDASHManifest.mpd"),
    };
    let request: SessionRequest = wire::parse(body)?;
    let stream = server.find_for_archive_call(operation, &request.stream)?;
    let asked = request.check(protocol)?;
    needs_retention(&stream)?;
    let now = server.clock.now();
    if let Media::Archived(window) = &asked.media {
        window.check(now, stream.kept_since())?;
    }
    server.spend_session(operation, &stream)?;
    let fragments = match asked.media {
        Media::Live(origin) => live(&stream.list(), origin, asked.most, now),
        Media::Archived(window) => window.select(stream.list()),
    };
    let first = fragments.into_iter().next().ok_or_else(no_fragments)?;
    let played = asked.played;
    let source = Arc::clone(&stream);
    let checked = blocking(move || {
        // An unreadable fragment counts as one without tracks.
        let fragment = read_fragment(&source, &first);
        codecs::check(fragment.as_ref().map_or(&[], |fragment| &fragment.tracks()[..]), played)
    });
    checked.await.map_err(unfinished)??;
    server.take_fault(operation, Some(&stream))?;
    let token = server.sessions.open(protocol, now, asked.expires_seconds);
    Ok(format!("{}/{path}?SessionToken={token}", server.url()))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Link {
    #[serde(rename = "SessionToken")]
    token: Option<String>,
}

pub(crate) async fn play_hls(State(server): State<Arc<Server>>, Query(link): Query<Link>) -> Response {
    play(&server, Protocol::Hls, &link)
}

pub(crate) async fn play_dash(State(server): State<Arc<Server>>, Query(link): Query<Link>) -> Response {
    play(&server, Protocol::Dash, &link)
}

fn play(server: &Server, protocol: Protocol, link: &Link) -> Response {
    let token = link.token.as_deref().unwrap_or_default();
    if !server.sessions.is_open(protocol, token, server.clock.now()) {
        return (StatusCode::FORBIDDEN, "Streaming session token is expired").into_response();
    }
    let message = "The session is open, but this local endpoint has no MP4 writer: its URLs lead to no media.";
    (StatusCode::NOT_IMPLEMENTED, message).into_response()
}
