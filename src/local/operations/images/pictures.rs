//! The pictures of a stream that are shown at a time.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;

use crate::error::Result;
use crate::fragment::{Fragment, Timestamp, TrackKind};
use crate::frame::{EncodedFrame, Frame, FrameOptions};
use crate::local::operations::images::{Asked, Format, Image, Size};
use crate::local::operations::playback::{read, unfinished};
use crate::local::server::wire::Refusal;
use crate::local::store::streams::{Listed, Stream};

/// The track that pictures are taken of.
const TRACK: u64 = 1;

/// As wide as an image may be asked for.
const WIDEST: u64 = 3840;

/// Takes an image at each of these times, which rise.
pub(crate) async fn take(
    stream: &Arc<Stream>,
    times: &[Timestamp],
    asked: &Asked,
) -> std::result::Result<Vec<Image>, Refusal> {
    let listed = stream.list();
    let covering: Vec<Option<&Listed>> = times.iter().map(|time| covering(&listed, *time, asked)).collect();
    let mut images = Vec::with_capacity(times.len());
    // Each fragment is decoded once for the times in it that follow each other.
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

/// The fragment that is shown at a time: of several the one that began last, or was ingested last.
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
) -> std::result::Result<Vec<Image>, Refusal> {
    let (source, wanted) = (Arc::clone(stream), fragment.clone());
    let fragment = crate::local::media::payload::blocking(move || read(&source, &wanted)).await.map_err(unfinished)?;
    let shown = match fragment.filter(has_pictures) {
        Some(fragment) => shown(&fragment, offsets).await,
        None => Vec::new(),
    };
    let (format, size) = (asked.format, asked.size);
    let encode = move || shown.iter().map(|frame| encode(frame, format, size)).collect::<Vec<_>>();
    let encoded = crate::local::media::payload::blocking(encode).await.map_err(unfinished)?.into_iter();
    let images = encoded.map(|image| image.map_or(Image::MediaError, Image::Encoded));
    // Of what could not be decoded there is none.
    Ok(images.chain(std::iter::repeat_with(|| Image::MediaError)).take(offsets.len()).collect())
}

fn has_pictures(fragment: &Fragment) -> bool {
    fragment.track(TRACK).is_some_and(|track| {
        track.kind() == TrackKind::Video && matches!(track.codec_id(), "V_MPEG4/ISO/AVC" | "V_MPEGH/ISO/HEVC")
    })
}

/// The pictures that are shown so many nanoseconds behind the start of a fragment, as far as they can be
/// decoded. Before the first one is due, it is shown already.
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
            let width = (wide * u64::from(height) + high / 2).checked_div(high).unwrap_or(1).clamp(1, WIDEST);
            frame.stretched(width as u32, height)?
        }
    };
    let encoded = match format {
        Format::Jpeg(quality) => EncodedFrame::jpeg(&stretched, quality)?,
        Format::Png => EncodedFrame::png(&stretched)?,
    };
    Ok(encoded.bytes().clone())
}
