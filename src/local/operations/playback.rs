//! Sessions of HLS and DASH: what may be asked for, and the URLs that come of it.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::demux::BodyItem;
use crate::fragment::{Fragment, Timestamp};
use crate::local::faults::injected_fault::Operation;
use crate::local::media::payload::items;
use crate::local::operations::codecs::{self, Played};
use crate::local::operations::selection::{Origin, Window, live};
use crate::local::server::state::{Answer, Server};
use crate::local::server::wire::{self, FragmentSelector, Refusal, StreamRequest};
use crate::local::store::streams::{Listed, Stream};

/// What a session is played with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Hls,
    Dash,
}

/// A request of either operation. What is only the other's is not looked at.
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

/// What a request asks for, if nothing is wrong with it by itself.
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
    /// On demand, and live from a time on.
    Archived(Window),
}

impl SessionRequest {
    fn check(&self, protocol: Protocol) -> Result<Asked, Refusal> {
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
                return Err(Refusal::invalid_argument("TimestampRange must not be given if PlaybackMode is LIVE"));
            }
            ("LIVE", Some(selector)) => Media::Live(Origin::of(selector)?.unwrap_or(Origin::Server)),
            ("LIVE", None) => Media::Live(Origin::Server),
            (_, Some(selector)) => Media::Archived(Window::of(selector, mode == "ON_DEMAND")?),
            (_, None) => {
                let message = format!("A fragment selector must be given if PlaybackMode is {mode}");
                return Err(Refusal::invalid_argument(message));
            }
        };
        Ok(Asked { played, media, most: usize::try_from(most).unwrap_or(usize::MAX), expires_seconds })
    }
}

/// Refuses what is none of these words.
pub(crate) fn one_of(member: &str, value: Option<&str>, words: &[&str]) -> Result<(), Refusal> {
    if value.is_none_or(|value| words.contains(&value)) {
        return Ok(());
    }
    Err(Refusal::invalid_argument(format!("{member} must be one of {}", words.join(", "))))
}

/// Refuses what is out of this range, of which both ends are allowed.
pub(crate) fn within(member: &str, value: i64, least: i64, most: i64) -> Result<(), Refusal> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Refusal::invalid_argument(format!("{member} must be {least} to {most}")))
}

/// Refuses streams that keep nothing.
pub(crate) fn needs_retention(stream: &Stream) -> Result<(), Refusal> {
    if stream.retention().is_zero() {
        let message = "The stream does not retain data: its DataRetentionInHours is 0";
        return Err(Refusal::new("NoDataRetentionException", message));
    }
    Ok(())
}

/// What the service says where there is nothing to play.
pub(crate) fn no_fragments() -> Refusal {
    let message = "No fragments found in the stream for the streaming request.";
    Refusal::new("ResourceNotFoundException", message)
}

/// The fragment that is stored under this number, if it can be read. Not for the executor's threads.
pub(crate) fn read(stream: &Stream, fragment: &Listed) -> Option<Fragment> {
    match items(&stream.document(&fragment.number)?).next() {
        Some(Ok(BodyItem::Fragment(fragment))) => Some(fragment),
        _ => None,
    }
}

/// What to say if work on another thread has not come to its end.
pub(crate) fn unfinished(error: impl fmt::Display) -> Refusal {
    Refusal::new("InternalFailure", error.to_string())
}

pub(crate) async fn get_hls_streaming_session_url(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let url = begin(&server, Protocol::Hls, &body).await?;
    Ok(axum::Json(json!({ "HLSStreamingSessionURL": url })).into_response())
}

pub(crate) async fn get_dash_streaming_session_url(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let url = begin(&server, Protocol::Dash, &body).await?;
    Ok(axum::Json(json!({ "DASHStreamingSessionURL": url })).into_response())
}

async fn begin(
    server: &Server,
    protocol: Protocol,
    body: &[u8],
) -> Result<String, crate::local::server::state::Otherwise> {
    let (operation, path) = match protocol {
        Protocol::Hls => (Operation::GetHlsStreamingSessionUrl, "hls/v1/getHLSMasterPlaylist.m3u8"),
        Protocol::Dash => (Operation::GetDashStreamingSessionUrl, "dash/v1/getDASHManifest.mpd"),
    };
    let request: SessionRequest = wire::parse(body)?;
    let stream = server.archived(operation, &request.stream)?;
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
    let checked = crate::local::media::payload::blocking(move || {
        // Nothing can be said of tracks that cannot be read.
        let fragment = read(&source, &first);
        codecs::check(fragment.as_ref().map_or(&[], |fragment| &fragment.tracks()[..]), played)
    });
    checked.await.map_err(unfinished)??;
    server.mishap(operation, Some(&stream))?;
    let token = server.sessions.open(protocol, now, asked.expires_seconds);
    Ok(format!("{}/{path}?SessionToken={token}", server.url()))
}

/// The sessions that have been begun and not expired.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Keys that nobody knows: with them, tokens cannot be guessed.
    keys: [RandomState; 2],
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    begun: u64,
    sessions: HashMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    protocol: Protocol,
    expires: Timestamp,
}

impl Sessions {
    /// Begins one, and returns its token.
    fn open(&self, protocol: Protocol, now: Timestamp, seconds: i64) -> String {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.retain(|_, session| session.expires > now);
        open.begun += 1;
        let token: String = self.keys.iter().map(|key| format!("{:016x}", key.hash_one(open.begun))).collect();
        let expires = now.plus_nanos(seconds.saturating_mul(1_000_000_000));
        open.sessions.insert(token.clone(), Session { protocol, expires });
        token
    }

    fn is_open(&self, protocol: Protocol, token: &str, now: Timestamp) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.get(token).is_some_and(|session| session.protocol == protocol && session.expires > now)
    }
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
    let message = "The session is open, but this local endpoint has no MP4 writer: there is no media behind its URLs.";
    (StatusCode::NOT_IMPLEMENTED, message).into_response()
}
