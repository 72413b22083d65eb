//! Decodes the pictures at given times.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use super::page::Image;
use super::request::{Asked, Format, Size};
use crate::error::Result;
use crate::fragment::{Fragment, Timestamp, TrackKind};
use crate::frame::{EncodedFrame, Frame, FrameOptions};
use crate::local::media::payload::blocking;
use crate::local::operations::check::{read_fragment, unfinished};
use crate::local::server::wire::ErrorResponse;
use crate::local::store::streams::{Listed, Stream};

/// The track that pictures are decoded from.
const TRACK: u64 = 1;

/// The greatest width that a request may ask for.
const MAX_WIDTH: u64 = 3840;

/// Decodes an image at each of these times, which must rise.
pub(crate) async fn take(
    stream: &Arc<Stream>,
    times: &[Timestamp],
    asked: &Asked,
) -> std::result::Result<Vec<Image>, ErrorResponse> {
    let listed = stream.list();
    let covering: Vec<Option<&Listed>> = times.iter().map(|time| covering(&listed, *time, asked)).collect();
    let mut images = Vec::with_capacity(times.len());
    // Consecutive times in the same fragment share one decoding of it.
    let groups = covering.chunk_by(|a, b| a.map(|fragment| fragment.index) == b.map(|fragment| fragment.index));
    for group in groups {
        let group_times = times.iter().skip(images.len()).take(group.len());
        match group.first().copied().flatten() {
            None => images.extend(group.iter().map(|_| Image::NoMedia)),
            Some(fragment) => {
                let start = asked.origin.time(fragment).as_nanos();
                let offsets: Vec<i64> = group_times.map(|time| time.as_nanos().saturating_sub(start)).collect();
                images.extend(images_of(stream, fragment, &offsets, asked).await?);
            }
        }
    }
    Ok(images)
}

/// Returns the fragment that covers a time. Of several, the one that starts last; then the newest.
fn covering<'a>(listed: &'a [Listed], time: Timestamp, asked: &Asked) -> Option<&'a Listed> {
    let covers = |fragment: &&Listed| {
        let start = asked.origin.time(fragment);
        let duration = i64::try_from(fragment.duration.as_nanos()).unwrap_or(i64::MAX).max(1);
        start <= time && time < start.plus_nanos(duration)
    };
    listed.iter().filter(covers).max_by_key(|fragment| (asked.origin.time(fragment), fragment.index))
}

async fn images_of(
    stream: &Arc<Stream>,
    fragment: &Listed,
    offsets: &[i64],
    asked: &Asked,
) -> std::result::Result<Vec<Image>, ErrorResponse> {
    let (source, wanted) = (Arc::clone(stream), fragment.clone());
    let fragment = blocking(move || read_fragment(&source, &wanted)).await.map_err(unfinished)?;
    let shown = match fragment.filter(has_pictures) {
        Some(fragment) => shown(&fragment, offsets).await,
        None => Vec::new(),
    };
    let (format, size) = (asked.format, asked.size);
    let encode = move || shown.iter().map(|frame| encode(frame, format, size)).collect::<Vec<_>>();
    let encoded = blocking(encode).await.map_err(unfinished)?.into_iter();
    let images = encoded.map(|image| image.map_or(Image::MediaError, Image::Encoded));
    // Pictures that could not be decoded are missing at the end.
    Ok(images.chain(std::iter::repeat_with(|| Image::MediaError)).take(offsets.len()).collect())
}

fn has_pictures(fragment: &Fragment) -> bool {
    fragment.track(TRACK).is_some_and(|track| {
        track.kind() == TrackKind::Video && matches!(track.codec_id(), "V_MPEG4/ISO/AVC" | "V_MPEGH/ISO/HEVC")
    })
}

/// Returns the picture shown at each offset, in nanoseconds from the start of the fragment.
///
/// It stops at the first picture that cannot be decoded. Offsets before the first picture get that one.
async fn shown(fragment: &Fragment, offsets: &[i64]) -> Vec<Frame> {
    let start = fragment.header().timecode_ns();
    let mut frames = fragment.frames(&FrameOptions::new().track(TRACK));
    let mut shown = Vec::with_capacity(offsets.len());
    let mut last: Option<Frame> = None;
    while shown.len() < offsets.len()
        && let Ok(Some(frame)) = frames.try_next().await
    {
        let due = frame.info().timecode_ns().saturating_sub(start);
        if let Some(last) = last {
            let until = offsets.iter().skip(shown.len()).take_while(|offset| **offset < due).count();
            shown.extend(std::iter::repeat_n(last, until));
        }
        last = Some(frame);
    }
    let left = offsets.len() - shown.len();
    shown.extend(last.into_iter().flat_map(|last| std::iter::repeat_n(last, left)));
    shown
}

fn encode(frame: &Frame, format: Format, size: Size) -> Result<Bytes> {
    let info = frame.info();
    let stretched = match size {
        Size::OfSource => frame.clone(),
        Size::Stretched(width, height) => frame.stretched(width, height)?,
        Size::High(height) => {
            let (wide, high) = (u64::from(info.width()), u64::from(info.height()));
            let width = (wide * u64::from(height) + high / 2).checked_div(high).unwrap_or(1).clamp(1, MAX_WIDTH);
            frame.stretched(width as u32, height)?
        }
    };
    let encoded = match format {
        Format::Jpeg(quality) => EncodedFrame::jpeg(&stretched, quality)?,
        Format::Png => EncodedFrame::png(&stretched)?,
    };
    Ok(encoded.bytes().clone())
}
