//! The calls that players make with the token of a session.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use super::listing::{Listing, Part};
use super::options::Protocol;
use super::session::Session;
use super::{dash, hls};
use crate::error::Error;
use crate::local::media::payload::blocking;
use crate::local::operations::check::{read_fragment, unfinished};
use crate::local::operations::codecs::Played;
use crate::local::server::state::Server;
use crate::local::server::wire::{Answer, ErrorResponse, StreamRequest};
use crate::local::store::streams::Stream;
use crate::mux::mp4::segment::Segment;
use crate::mux::place_alone;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const MANIFEST: &str = "application/dash+xml";

/// The query of a call.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Link {
    session_token: Option<String>,
    track_number: Option<String>,
    sequence_number: Option<String>,
    fragment_number: Option<String>,
}

impl Link {
    /// Returns a whole number of the query.
    fn number(name: &str, text: Option<&str>, default: Option<u64>) -> Result<u64, ErrorResponse> {
        let invalid = || ErrorResponse::invalid_argument(format!("{name} must be a whole number"));
        match (text, default) {
            (Some(text), _) => text.parse().map_err(|_| invalid()),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(invalid()),
        }
    }

    fn track(&self) -> Result<u64, ErrorResponse> {
        Self::number("TrackNumber", self.track_number.as_deref(), Some(1))
    }

    fn sequence(&self, default: Option<u64>) -> Result<u64, ErrorResponse> {
        Self::number("SequenceNumber", self.sequence_number.as_deref(), default)
    }
}

/// An action of a session.
#[derive(Clone, Copy, Debug)]
enum Action {
    Master,
    Media,
    Manifest,
    Init,
    Mp4,
    Ts,
}

impl Action {
    /// Returns the action of a file name.
    fn of(protocol: Protocol, file: &str) -> Option<Self> {
        Some(match (protocol, file) {
            (Protocol::Hls, "getHLSMasterPlaylist.m3u8") => Self::Master,
            (Protocol::Hls, "getHLSMediaPlaylist.m3u8") => Self::Media,
            (Protocol::Hls, "getTSFragment.ts") => Self::Ts,
            (Protocol::Dash, "getDASHManifest.mpd") => Self::Manifest,
            (_, "getMP4InitFragment.mp4") => Self::Init,
            (_, "getMP4MediaFragment.mp4") => Self::Mp4,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Master => "GetHLSMasterPlaylist",
            Self::Media => "GetHLSMediaPlaylist",
            Self::Manifest => "GetDASHManifest",
            Self::Init => "GetMP4InitFragment",
            Self::Mp4 => "GetMP4MediaFragment",
            Self::Ts => "GetTSFragment",
        }
    }
}

pub(crate) async fn play_hls(
    State(server): State<Arc<Server>>,
    Path(file): Path<String>,
    Query(link): Query<Link>,
) -> Response {
    open_to_all(play(&server, Protocol::Hls, &file, link).await)
}

pub(crate) async fn play_dash(
    State(server): State<Arc<Server>>,
    Path(file): Path<String>,
    Query(link): Query<Link>,
) -> Response {
    open_to_all(play(&server, Protocol::Dash, &file, link).await)
}

/// Answers what a browser asks before it reads from another site.
pub(crate) async fn allow() -> Response {
    open_to_all(Ok(StatusCode::NO_CONTENT.into_response()))
}

/// Lets pages of every site read an answer. The token is the credential.
fn open_to_all(answer: Answer) -> Response {
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn play(server: &Server, protocol: Protocol, file: &str, link: Link) -> Answer {
    let token = link.session_token.clone().unwrap_or_default();
    let now = server.clock.now();
    let session = server.sessions.find(&token, now).filter(|session| session.options.protocol == protocol);
    let Some(session) = session else {
        return Ok((StatusCode::FORBIDDEN, "Streaming session token is expired").into_response());
    };
    let Some(action) = Action::of(protocol, file) else {
        return Err(ErrorResponse::new("ResourceNotFoundException", "The address has no such action of a session"));
    };
    let rate = match action {
        Action::Mp4 | Action::Ts => server.quotas.segments_per_second,
        _ => server.quotas.playlists_per_second,
    };
    server.spend_action(&session, action.name(), rate)?;
    let stream = server.find(&StreamRequest { stream_name: None, stream_arn: Some(session.stream_arn.clone()) })?;
    let numbers = server.numbers_discontinuities.load(Ordering::Relaxed);
    let made = blocking(move || {
        let options = &session.options;
        let is_ts = options.played == Played::HlsTs;
        match action {
            Action::Master => {
                let text = session.listed(&stream, now, |listing| Ok(hls::master(options, listing, &token)))?;
                Ok((PLAYLIST, text.into()))
            }
            Action::Media => {
                let track = link.track()?;
                let text = session.listed(&stream, now, |listing| {
                    config_of(listing, None, track)?;
                    Ok(hls::media(options, listing, &token, track, numbers))
                })?;
                Ok((PLAYLIST, text.into()))
            }
            Action::Manifest => {
                let text = session.listed(&stream, now, |listing| Ok(dash::manifest(options, listing, &token, now)))?;
                Ok((MANIFEST, text.into()))
            }
            Action::Init if !is_ts => init(&session, &link),
            Action::Mp4 if !is_ts => media(&session, &stream, &link),
            Action::Ts if is_ts => ts(&session, &stream, &link),
            _ => Err(ErrorResponse::invalid_argument(format!(
                "{} is not an action of a session with this ContainerFormat",
                action.name()
            ))),
        }
    });
    let (kind, bytes): (&str, Bytes) = made.await.map_err(unfinished)??;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], bytes).into_response())
}

fn not_listed(what: &str) -> ErrorResponse {
    ErrorResponse::new("ResourceNotFoundException", format!("The session has no such {what}"))
}

/// Returns the codec configuration of a track. Without a number, that of the first fragment of the playlist.
fn config_of(listing: &Listing, number: Option<u64>, track: u64) -> Result<(Bytes, bool), ErrorResponse> {
    let first = || listing.shown().next().map_or(0, |part| part.config);
    let number = number.map_or_else(first, |number| usize::try_from(number).unwrap_or(usize::MAX));
    let config = listing.config(number).ok_or_else(|| not_listed("configuration"))?;
    let is_audio = config.video().is_none_or(|video| video.declared.number() != track);
    let track = config.track(track).ok_or_else(|| not_listed("track"))?;
    Ok((track.init.clone(), is_audio))
}

/// Returns the content type of MP4 with this kind of track.
fn mp4_kind(is_audio: bool) -> &'static str {
    if is_audio { "audio/mp4" } else { "video/mp4" }
}

fn init(session: &Session, link: &Link) -> Result<(&'static str, Bytes), ErrorResponse> {
    let (sequence, track) = (link.sequence(Some(0))?, link.track()?);
    let (init, is_audio) = session.as_listed(|listing| config_of(listing, Some(sequence), track))?;
    Ok((mp4_kind(is_audio), init))
}

/// Finds the part that a call names, and copies what is needed of it.
fn part<T>(
    session: &Session,
    link: &Link,
    copy: impl FnOnce(&Listing, &Part) -> Option<T>,
) -> Result<T, ErrorResponse> {
    let sequence = match &link.fragment_number {
        Some(_) => None,
        None => Some(link.sequence(None)?),
    };
    session
        .as_listed(|listing| {
            let by_number = || listing.with_number(link.fragment_number.as_deref().unwrap_or_default());
            let part = sequence.map_or_else(by_number, |sequence| listing.with_sequence(sequence))?;
            copy(listing, part)
        })
        .ok_or_else(|| not_listed("fragment or track"))
}

fn cannot_be_played(error: &Error) -> ErrorResponse {
    ErrorResponse::new("UnsupportedStreamMediaTypeException", format!("The fragment cannot be played: {error}"))
}

fn media(session: &Session, stream: &Stream, link: &Link) -> Result<(&'static str, Bytes), ErrorResponse> {
    let number = link.track()?;
    let copied = part(session, link, |listing, part| {
        let track = part.track(number)?;
        let is_audio = config_of(listing, None, number).is_ok_and(|(_, is_audio)| is_audio);
        let sequence = u32::try_from(part.sequence).unwrap_or(u32::MAX);
        Some((part.listed.clone(), track.at, track.delay, part.config > 0, is_audio, sequence))
    });
    let (listed, at, delay, repeats_sets, is_audio, sequence) = copied?;
    let fragment = read_fragment(stream, &listed).ok_or_else(|| not_listed("fragment: it is no longer stored"))?;
    let (placed, _) = place_alone(&fragment).ok_or_else(|| not_listed("media"))?;
    let segment = Segment::of(&placed, number, repeats_sets).and_then(|segment| segment.media(sequence, at, delay));
    Ok((mp4_kind(is_audio), segment.map_err(|error| cannot_be_played(&error))?.into()))
}

#[cfg(feature = "ts")]
fn ts(session: &Session, stream: &Stream, link: &Link) -> Result<(&'static str, Bytes), ErrorResponse> {
    use crate::mux::ts::{TsTrack, segment};

    let copied = part(session, link, |_, part| {
        let tracks: Vec<_> = part.tracks.iter().map(|track| (track.number, track.at, track.delay)).collect();
        Some((part.listed.clone(), tracks))
    });
    let (listed, tracks) = copied?;
    let fragment = read_fragment(stream, &listed).ok_or_else(|| not_listed("fragment: it is no longer stored"))?;
    let (placed, _) = place_alone(&fragment).ok_or_else(|| not_listed("media"))?;
    let tracks = tracks
        .into_iter()
        .map(|(number, start, delay)| Ok(TsTrack { segment: Segment::of(&placed, number, true)?, start, delay }));
    let written = tracks.collect::<Result<_, _>>().and_then(segment);
    Ok(("video/mp2t", written.map_err(|error| cannot_be_played(&error))?.into()))
}

#[cfg(not(feature = "ts"))]
fn ts(_: &Session, _: &Stream, _: &Link) -> Result<(&'static str, Bytes), ErrorResponse> {
    Err(super::no_ts())
}
