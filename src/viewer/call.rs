//! Amazon Connect calls: the peaks of both parties, and their sound.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_stream::try_stream;
use axum::Json;
use axum::extract::{Query, State as Extract};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use hound::{SampleFormat, WavSpec};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{Answer, Failure};
use super::range::{Request, Stored};
use super::state::State;
use crate::audio::{AudioChunk, Party, SAMPLE_RATE};
use crate::error::Result;
use crate::ext::{AudioStreamExt as _, FragmentStreamExt as _};
use crate::fragment::{Fragment, Timestamp};

/// The most points of a waveform.
const MOST_POINTS: usize = 8_000;

/// The most contacts that are told by name.
const MOST_CONTACTS: usize = 1_000;

#[derive(Deserialize)]
pub(super) struct Points {
    points: Option<usize>,
}

/// The extremes of one party's samples, one pair per point. `None` where no audio is stored.
struct Lane(Vec<Option<(i16, i16)>>);

impl Lane {
    fn add(&mut self, point: usize, sample: i16) {
        if let Some(extremes) = self.0.get_mut(point) {
            let (low, high) = extremes.unwrap_or((sample, sample));
            *extremes = Some((low.min(sample), high.max(sample)));
        }
    }

    /// Returns the pairs, flat, as numbers from -100 to 100.
    fn to_json(&self) -> Value {
        let percent = |sample: i16| i32::from(sample) * 100 / i32::from(i16::MAX);
        let flat = self.0.iter().flat_map(|extremes| match extremes {
            Some((low, high)) => [json!(percent(*low)), json!(percent(*high))],
            None => [Value::Null, Value::Null],
        });
        flat.collect()
    }
}

/// Answers with the waveform of a range.
pub(super) async fn peaks(
    Extract(state): Extract<Arc<State>>,
    Query(request): Query<Request>,
    Query(points): Query<Points>,
) -> Answer<Json<Value>> {
    let points = points.points.unwrap_or(1_000);
    if !(1..=MOST_POINTS).contains(&points) {
        return Err(Failure::invalid(format!("a waveform has 1 to {MOST_POINTS} points")));
    }
    let Stored { seat: _seat, start, end, fragments } = request.open(&state).await?;
    let mut lanes = [Lane(vec![None; points]), Lane(vec![None; points])];
    let mut contacts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let millis = (end.as_millis() - start.as_millis()).max(1) as f64;
    let mut audio = std::pin::pin!(fragments.connect_audio());
    while let Some(chunk) = audio.try_next().await? {
        let chunk: AudioChunk = chunk;
        let Some(time) = chunk.producer_time() else { continue };
        let from = time.as_millis() - start.as_millis();
        let lasts = chunk.samples().len() as i64 * 1000 / i64::from(SAMPLE_RATE);
        if let Some(id) = chunk.contact_id()
            && (contacts.contains_key(id) || contacts.len() < MOST_CONTACTS)
        {
            let (begins, ends) = (time.as_millis(), time.as_millis() + lasts);
            let known = contacts.entry(id.to_owned()).or_insert((begins, ends));
            *known = (known.0.min(begins), known.1.max(ends));
        }
        // Silence that fills holes is not audio.
        if chunk.is_filled() {
            continue;
        }
        let lane = match chunk.party() {
            Party::FromCustomer => 0,
            Party::ToCustomer => 1,
        };
        let Some(lane) = lanes.get_mut(lane) else { continue };
        for (at, sample) in chunk.samples().iter().enumerate() {
            let position = (from as f64 + at as f64 * 1000.0 / f64::from(SAMPLE_RATE)) / millis * points as f64;
            if position >= 0.0 {
                lane.add(position as usize, *sample);
            }
        }
        // A long call is much work for one turn.
        tokio::task::consume_budget().await;
    }
    let contacts: Vec<_> =
        contacts.iter().map(|(id, (start, end))| json!({ "id": id, "start": start, "end": end })).collect();
    Ok(Json(json!({
        "start": start.as_millis(),
        "end": end.as_millis(),
        "customer": lanes[0].to_json(),
        "agent": lanes[1].to_json(),
        "contacts": contacts,
    })))
}

/// The bytes of a frame: one sample of each party.
const FRAME: u64 = 4;

/// The bytes before the samples.
const HEADER: u64 = 44;

fn frames(start: Timestamp, end: Timestamp) -> u64 {
    u64::try_from((end.as_millis() - start.as_millis()).max(0)).unwrap_or(0) * u64::from(SAMPLE_RATE) / 1000
}

/// Returns the size of a file with the sound of a range.
pub(super) fn wav_bytes(start: Timestamp, end: Timestamp) -> u64 {
    HEADER + frames(start, end) * FRAME
}

/// Returns the header of a file with this many frames of 16 bits, left and right.
fn header(frames: u64) -> Bytes {
    let data = u32::try_from(frames * FRAME).unwrap_or(u32::MAX);
    let spec = WavSpec { channels: 2, sample_rate: SAMPLE_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut header = spec.into_header_for_infinite_file();
    // The sizes of the file after this field, and of the samples.
    for (at, size) in [(4, data.saturating_add(HEADER as u32 - 8)), (HEADER as usize - 4, data)] {
        if let Some(field) = header.get_mut(at..at + 4) {
            field.copy_from_slice(&size.to_le_bytes());
        }
    }
    header.into()
}

/// Yields a WAV file of exactly the range: the customer on the left, the agent on the right, silence where nothing is
/// stored.
pub(super) fn wav(first: Fragment, stored: Stored) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    /// Silence is sent in pieces of this many frames.
    const PIECE: u64 = 1 << 16;

    try_stream! {
        let Stored { seat: _seat, start, end, fragments } = stored;
        let total = frames(start, end);
        yield header(total);
        let mut written = 0;
        let fragments = futures::stream::once(std::future::ready(Ok(first))).chain(fragments);
        let mut audio = std::pin::pin!(fragments.connect_audio().stereo());
        loop {
            let chunk = audio.try_next().await?;
            let chunk = chunk.as_ref();
            let begins = match chunk {
                Some(chunk) => {
                    let Some(time) = chunk.producer_time() else { continue };
                    (time.as_nanos() - start.as_nanos()) / 125_000
                }
                None => i64::try_from(total).unwrap_or(i64::MAX),
            };
            let until = u64::try_from(begins).unwrap_or(0).min(total);
            // A few samples less are the rounding of times, and not a hole.
            let missing = until.saturating_sub(written);
            let mut left = if chunk.is_none() || missing > 16 { missing } else { 0 };
            written += left;
            while left > 0 {
                let piece = left.min(PIECE);
                left -= piece;
                yield Bytes::from(vec![0; (piece * FRAME) as usize]);
            }
            let Some(chunk) = chunk else { break };
            let skipped = i64::try_from(written).unwrap_or(i64::MAX).saturating_sub(begins);
            let skipped = if skipped > 16 { skipped.unsigned_abs() } else { 0 };
            let bytes = chunk.to_bytes();
            let from = usize::try_from(skipped * FRAME).unwrap_or(usize::MAX).min(bytes.len());
            let most = usize::try_from((total - written) * FRAME).unwrap_or(usize::MAX);
            let samples = bytes.slice(from..);
            let samples = samples.slice(..samples.len().min(most));
            written += samples.len() as u64 / FRAME;
            yield samples;
        }
    }
}
