//! GetHLSStreamingSessionURL, GetDASHStreamingSessionURL, and the media at the URLs that they return.

pub(crate) mod actions;
mod dash;
mod hls;
mod listing;
mod options;
pub(crate) mod session;

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
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
use options::{Discontinuities, Options, Protocol, Selection};
use session::Session;

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

impl SessionRequest {
    /// Returns what is asked for, and for how many seconds.
    fn check(&self, protocol: Protocol) -> Result<(Options, i64), ErrorResponse> {
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
        let selection = match (mode, selector) {
            ("LIVE", Some(selector)) if selector.timestamp_range.is_some() => {
                return Err(ErrorResponse::invalid_argument(
                    "TimestampRange must not be given if PlaybackMode is LIVE",
                ));
            }
            ("LIVE", Some(selector)) => Selection::Live(Origin::of(selector)?.unwrap_or(Origin::Server)),
            ("LIVE", None) => Selection::Live(Origin::Server),
            ("LIVE_REPLAY", Some(selector)) => Selection::Replay(Window::of(selector, false)?),
            (_, Some(selector)) => Selection::OnDemand(Window::of(selector, true)?),
            (_, None) => {
                let message = format!("A fragment selector must be given if PlaybackMode is {mode}");
                return Err(ErrorResponse::invalid_argument(message));
            }
        };
        let discontinuities = match (protocol, self.discontinuity_mode.as_deref(), selection.origin()) {
            (Protocol::Dash, _, _) | (_, Some("NEVER"), _) => Discontinuities::Never,
            (_, Some("ON_DISCONTINUITY"), _) => Discontinuities::OnDiscontinuity,
            (_, Some(_), _) | (_, None, Origin::Server) => Discontinuities::Always,
            (_, None, Origin::Producer) => Discontinuities::Never,
        };
        let options = Options {
            protocol,
            selection,
            played,
            discontinuities,
            shows_times: self.display_fragment_timestamp.as_deref() == Some("ALWAYS"),
            shows_numbers: self.display_fragment_number.as_deref() == Some("ALWAYS"),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        };
        Ok((options, expires_seconds))
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

/// Makes the error for MPEG-TS in a build that does not write it.
fn no_ts() -> ErrorResponse {
    let message = "This endpoint was built without the feature `ts`, which writes MPEG-TS";
    ErrorResponse::new("NotImplementedException", message)
}

async fn begin(server: &Server, protocol: Protocol, body: &[u8]) -> Result<String, ErrorResponse> {
    let (operation, path) = match protocol {
        Protocol::Hls => (Operation::GetHlsStreamingSessionUrl, "hls/v1/getHLSMasterPlaylist.m3u8"),
        Protocol::Dash => (Operation::GetDashStreamingSessionUrl, "dash/v1/getDASHManifest.mpd"),
    };
    let request: SessionRequest = wire::parse(body)?;
    let stream = server.find_for_archive_call(operation, &request.stream)?;
    let (options, expires_seconds) = request.check(protocol)?;
    needs_retention(&stream)?;
    let now = server.clock.now();
    if let Selection::Replay(window) | Selection::OnDemand(window) = &options.selection {
        window.check(now, stream.kept_since())?;
    }
    if options.played == Played::HlsTs && !cfg!(feature = "ts") {
        return Err(no_ts());
    }
    server.spend_session(operation, &stream)?;
    let fragments = match options.selection {
        Selection::Live(origin) => live(&stream.list(), origin, options.most, now),
        Selection::Replay(window) | Selection::OnDemand(window) => window.select(stream.list()),
    };
    let first = fragments.into_iter().next().ok_or_else(no_fragments)?;
    let source = Arc::clone(&stream);
    let checked = blocking(move || {
        // An unreadable fragment counts as one without tracks.
        let fragment = read_fragment(&source, &first);
        codecs::check(fragment.as_ref().map_or(&[], |fragment| &fragment.tracks()[..]), options.played)
    });
    checked.await.map_err(unfinished)??;
    server.take_fault(operation, Some(&stream))?;
    let session = Session::new(stream.arn().to_owned(), options);
    let token = server.sessions.open(session, now, expires_seconds).ok_or_else(|| {
        let message = "The local endpoint has as many open sessions as it keeps. Wait until some have expired.";
        ErrorResponse::new("ClientLimitExceededException", message)
    })?;
    Ok(format!("{}/{path}?SessionToken={token}", server.url()))
}
