//! GetClip.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Deserialize;

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

/// Answers with an MP4 file without media, since the endpoint has no MP4 writer.
///
/// The file is a `ftyp` box and a `free` box with one line per fragment: its number.
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
    let numbers: Vec<_> = fragments.iter().map(|fragment| fragment.number.clone()).collect();
    let source = Arc::clone(&stream);
    blocking(move || check(&source, &fragments)).await.map_err(unfinished)??;
    let fault = server.take_fault(Operation::GetClip, Some(&stream))?;
    let lines = numbers.iter().map(|number| format!("{number}\n"));
    let parts = file(lines.collect());
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

/// Checks that the media of these fragments can be made into one clip.
fn check(stream: &Stream, fragments: &[Listed]) -> Result<(), ErrorResponse> {
    let mut first = None;
    for listed in fragments {
        let Some(fragment) = read_fragment(stream, listed) else {
            let message = format!("Fragment {} could not be parsed", listed.number);
            return Err(ErrorResponse::new("InvalidMediaFrameException", message));
        };
        codecs::check(fragment.tracks(), Played::Clip)?;
        let tracks = Arc::clone(fragment.tracks());
        codecs::check_same(first.get_or_insert(tracks), fragment.tracks())?;
        codecs::check_frames(&fragment)?;
    }
    Ok(())
}

/// Makes a file of these lines, in one part per line, so that faults can count fragments.
fn file(lines: Vec<String>) -> Vec<Bytes> {
    let ftyp = make_box(*b"ftyp", b"isom\0\0\x02\0isomiso2mp41");
    let free = make_box(*b"free", lines.concat().as_bytes());
    let mut parts: Vec<Vec<u8>> = lines.into_iter().map(String::into_bytes).collect();
    if let Some(first) = parts.first_mut() {
        let head = free.get(..8).unwrap_or_default();
        *first = [&ftyp[..], head, first].concat();
    }
    parts.into_iter().map(Bytes::from).collect()
}

/// Makes a box (ISO/IEC 14496-12 section 4.2).
fn make_box(kind: [u8; 4], content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 8).unwrap_or(u32::MAX);
    [&size.to_be_bytes()[..], &kind, content].concat()
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
