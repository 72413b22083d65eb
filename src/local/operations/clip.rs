//! GetClip: which fragments a clip covers.

use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, header};
use bytes::Bytes;
use serde::Deserialize;

use crate::local::faults::injected_fault::Operation;
use crate::local::faults::quotas::Points;
use crate::local::operations::codecs::{self, Played};
use crate::local::operations::playback::{needs_retention, no_fragments, read, unfinished};
use crate::local::operations::selection::Window;
use crate::local::server::body::Source;
use crate::local::server::connection::Resetter;
use crate::local::server::state::{Answer, Server, send};
use crate::local::server::wire::{self, FragmentSelector, Refusal, StreamRequest};
use crate::local::store::streams::{Listed, Stream};

/// A clip ends before it would have more fragments or bytes than this, and does not say so.
const MOST_FRAGMENTS: usize = 200;
const MOST_BYTES: usize = 100 << 20;

#[derive(Debug, Deserialize)]
struct GetClipRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    #[serde(rename = "ClipFragmentSelector")]
    selector: Option<FragmentSelector>,
}

/// Answers with an MP4 file without media, since there is no MP4 writer: the type of file, and a free box that
/// has a line for each fragment that the clip covers, its number.
pub(crate) async fn get_clip(
    State(server): State<Arc<Server>>,
    ConnectInfo(connection): ConnectInfo<Resetter>,
    body: Bytes,
) -> Answer {
    let request: GetClipRequest = wire::parse(&body)?;
    let stream = server.archived(Operation::GetClip, &request.stream)?;
    let missing = || Refusal::invalid_argument("ClipFragmentSelector is missing");
    let window = Window::of(request.selector.as_ref().ok_or_else(missing)?, true)?;
    needs_retention(&stream)?;
    window.check(server.clock.now(), stream.kept_since())?;
    let fragments = bounded(window.select(stream.list()));
    if fragments.is_empty() {
        return Err(no_fragments().into());
    }
    server.spend(&stream, Points::Metadata, fragments.len() as u64)?;
    server.spend(&stream, Points::Media, fragments.len() as u64)?;
    let numbers: Vec<_> = fragments.iter().map(|fragment| fragment.number.clone()).collect();
    let source = Arc::clone(&stream);
    crate::local::media::payload::blocking(move || check(&source, &fragments)).await.map_err(unfinished)??;
    let mishap = server.mishap(Operation::GetClip, Some(&stream))?;
    let lines = numbers.iter().map(|number| format!("{number}\n"));
    let parts = file(lines.collect());
    let mut response = send(server.body(Source::Parts(parts.into_iter())).mishap(mishap).connection(connection));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    Ok(response)
}

/// The first fragments, as many as fit into a clip.
fn bounded(mut fragments: Vec<Listed>) -> Vec<Listed> {
    let mut bytes = 0usize;
    let fit = fragments.iter().take(MOST_FRAGMENTS).take_while(|fragment| {
        bytes = bytes.saturating_add(fragment.bytes);
        bytes <= MOST_BYTES
    });
    let fit = fit.count().max(1);
    fragments.truncate(fit);
    fragments
}

/// Looks at the media of a clip.
fn check(stream: &Stream, fragments: &[Listed]) -> Result<(), Refusal> {
    let mut first = None;
    for listed in fragments {
        let Some(fragment) = read(stream, listed) else {
            let message = format!("Fragment {} could not be parsed", listed.number);
            return Err(Refusal::new("InvalidMediaFrameException", message));
        };
        codecs::check(fragment.tracks(), Played::Clip)?;
        let tracks = Arc::clone(fragment.tracks());
        codecs::check_same(first.get_or_insert(tracks), fragment.tracks())?;
        codecs::check_frames(&fragment)?;
    }
    Ok(())
}

/// A file of these lines, in a part for each, so that mishaps can count them.
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

/// A box of ISO/IEC 14496-12 section 4.2.
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
        assert_eq!(bounded_count(5, 101), 1, "never nothing");
    }
}
