//! GetClip.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Deserialize;

use crate::fragment::Fragment;
use crate::local::faults::operation::Operation;
use crate::local::faults::quotas::Points;
use crate::local::media::payload::blocking;
use crate::local::operations::check::{needs_retention, no_fragments, read_fragment, unfinished};
use crate::local::operations::codecs::{self, Played};
use crate::local::operations::selection::Window;
use crate::local::server::body::Source;
use crate::local::server::connection::Resetter;
use crate::local::server::state::Server;
use crate::local::server::wire::{self, Answer, ErrorResponse, FragmentSelector, StreamRequest};
use crate::local::store::streams::{Listed, Stream};
use crate::mux::mp4::{Mp4, Mp4Options};
use crate::mux::to_parts;

/// The limits of a clip. A longer one is cut silently.
const MAX_FRAGMENTS: usize = 200;
const MAX_BYTES: usize = 100 << 20;

#[derive(Debug, Deserialize)]
struct GetClipRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    #[serde(rename = "ClipFragmentSelector")]
    selector: Option<FragmentSelector>,
}

/// Answers with an MP4 file of the fragments, without re-encoding.
///
/// The body has a part per fragment, so that faults can count fragments, and one for the index.
pub(crate) async fn get_clip(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    body: Bytes,
) -> Answer {
    let request: GetClipRequest = wire::parse(&body)?;
    let stream = server.find_for_archive_call(Operation::GetClip, &request.stream)?;
    let missing = || ErrorResponse::invalid_argument("ClipFragmentSelector is missing");
    let window = Window::of(request.selector.as_ref().ok_or_else(missing)?, true)?;
    needs_retention(&stream)?;
    window.check(server.clock.now(), stream.kept_since())?;
    let fragments = bounded(window.select(stream.list()));
    if fragments.is_empty() {
        return Err(no_fragments());
    }
    server.spend(&stream, Points::Metadata, fragments.len() as u64)?;
    server.spend(&stream, Points::Media, fragments.len() as u64)?;
    let source = Arc::clone(&stream);
    let parts = blocking(move || clip(&source, &fragments)).await.map_err(unfinished)??;
    let fault = server.take_fault(Operation::GetClip, Some(&stream))?;
    let body = server.body(Source::Parts(parts.into_iter())).fault(fault).connection(connection);
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    Ok(response)
}

/// Keeps the first fragments that fit into a clip, but at least one.
fn bounded(mut fragments: Vec<Listed>) -> Vec<Listed> {
    let mut bytes = 0usize;
    let fit = fragments.iter().take(MAX_FRAGMENTS).take_while(|fragment| {
        bytes = bytes.saturating_add(fragment.bytes);
        bytes <= MAX_BYTES
    });
    let fit = fit.count().max(1);
    fragments.truncate(fit);
    fragments
}

/// Makes one file of these fragments, if their media can be made into one.
fn clip(stream: &Stream, listed: &[Listed]) -> Result<Vec<Bytes>, ErrorResponse> {
    let invalid = |message: String| ErrorResponse::new("InvalidMediaFrameException", message);
    let mut fragments: Vec<Fragment> = Vec::new();
    for listed in listed {
        let fragment = read_fragment(stream, listed)
            .ok_or_else(|| invalid(format!("Fragment {} could not be parsed", listed.number)))?;
        codecs::check(fragment.tracks(), Played::Clip)?;
        codecs::check_same(fragments.first().unwrap_or(&fragment).tracks(), fragment.tracks())?;
        codecs::check_frames(&fragment)?;
        fragments.push(fragment);
    }
    let parts = to_parts::<Mp4>(&Mp4Options::default(), &fragments);
    let parts = parts.map_err(|error| invalid(format!("The clip could not be made: {error}")))?;
    Ok(parts.into_iter().map(Bytes::from).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fragment::Timestamp;
    use crate::local::fragment_number;

    fn bounded_count(fragments: u32, megabytes: usize) -> usize {
        let fragment = |index| Listed {
            index: u64::from(index),
            number: fragment_number(index, 0),
            bytes: megabytes << 20,
            server_time: Timestamp::default(),
            producer_time: Timestamp::default(),
            duration: Duration::ZERO,
        };
        bounded((0..fragments).map(fragment).collect()).len()
    }

    #[test]
    fn a_clip_is_bounded() {
        assert_eq!(bounded_count(0, 0), 0);
        assert_eq!(bounded_count(200, 0), 200);
        assert_eq!(bounded_count(201, 0), 200);
        assert_eq!(bounded_count(5, 25), 4);
        assert_eq!(bounded_count(5, 26), 3);
        assert_eq!(bounded_count(5, 101), 1, "at least one");
    }
}
