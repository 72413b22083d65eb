//! [`Stereo`]: both parties side by side.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{AudioChunk, LONGEST_CHUNK, nanos, samples_in, to_bytes};
use crate::accessors::inner_accessors;
use crate::error::{Error, Result};
use crate::fragment::Timestamp;

/// In real time, audio that is later than ten seconds is not waited for.
const MOST_WAITED: u64 = 10 * 8000;

/// A party that is so far behind the other is taken to be silent.
const PATIENCE: u64 = 2 * 8000;

/// A stretch of both parties: the customer left, the agent right.
#[derive(Clone)]
pub struct StereoChunk {
    contact: Option<Arc<str>>,
    position: u64,
    producer_time: Option<Timestamp>,
    samples: Arc<Vec<i16>>,
    filled: [u64; 2],
    has_gap: bool,
    is_real_time: bool,
}

impl StereoChunk {
    /// The contact. `None` if no fragment around it says which it is.
    pub fn contact_id(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    /// Where it begins, in frames of two samples from the start of the contact.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// When it begins, on the producer's clock.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// The samples: left and right in turn, 16 bits, 8000 frames a second.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// The samples as bytes, the lower first, as transcription services want them.
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(&self.samples)
    }

    /// How many frames of it there are.
    pub fn frames(&self) -> u64 {
        self.samples.len() as u64 / 2
    }

    /// How many of its samples are silence that fills a hole, of the customer and of the agent.
    pub fn filled(&self) -> [u64; 2] {
        self.filled
    }

    /// Whether it was made in [real time](Stereo::real_time).
    pub fn is_real_time(&self) -> bool {
        self.is_real_time
    }

    pub(crate) fn contact(&self) -> Option<&Arc<str>> {
        self.contact.as_ref()
    }

    /// Whether something was filled, trimmed or left out in it.
    pub(crate) fn has_gap(&self) -> bool {
        self.has_gap || self.filled != [0, 0]
    }
}

impl fmt::Debug for StereoChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StereoChunk")
            .field("contact", &self.contact)
            .field("position", &self.position)
            .field("frames", &self.frames())
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

/// Both parties, as far as they have come. No clock.
struct Interleaver {
    length: u64,
    contact: Option<Arc<str>>,
    /// Where the next chunk begins.
    position: u64,
    lanes: [Lane; 2],
    /// Positions, and their times on the producer's clock, where those do not follow from the ones before.
    times: VecDeque<(u64, Timestamp)>,
    late: u64,
    has_gap: bool,
}

#[derive(Default)]
struct Lane {
    /// From the position of the next chunk on, behind `given` that were.
    samples: Vec<i16>,
    given: usize,
    /// How many of them fill holes, as runs: where they begin and end.
    filled: VecDeque<(u64, u64)>,
}

impl Interleaver {
    fn new() -> Self {
        Self {
            length: samples_in(Duration::from_millis(100)),
            contact: None,
            position: 0,
            lanes: Default::default(),
            times: VecDeque::new(),
            late: 0,
            has_gap: false,
        }
    }

    /// Makes ready for another contact.
    fn begin(&mut self, chunk: &AudioChunk) {
        self.contact.clone_from(&chunk.contact);
        self.position = 0;
        self.lanes = Default::default();
        self.times.clear();
    }

    /// Whether a chunk is of another contact than what is here.
    fn is_other(&self, chunk: &AudioChunk) -> bool {
        // An id that becomes known later is not another.
        self.contact.is_some() && chunk.contact != self.contact
    }

    fn push(&mut self, chunk: &AudioChunk) {
        self.contact.clone_from(&chunk.contact);
        if let Some(time) = chunk.producer_time
            && self.times.back().is_none_or(|last| chunk.position >= last.0 && time_at(last, chunk.position) != time)
        {
            self.times.push_back((chunk.position, time));
        }
        self.has_gap |= !chunk.discontinuities().is_empty();
        let position = self.position;
        let Some(lane) = self.lanes.get_mut(chunk.party.lane()) else { return };
        // Where a chunk is not from `connect_audio`, it may leave a hole.
        lane.fill_to(position, chunk.position);
        let end = position + lane.length();
        let again = usize::try_from(end.saturating_sub(chunk.position)).unwrap_or(usize::MAX);
        let samples = chunk.samples().get(again.min(chunk.samples().len())..).unwrap_or_default();
        if !chunk.is_filled {
            self.late += (chunk.samples().len() - samples.len()) as u64;
        }
        if chunk.is_filled && !samples.is_empty() {
            lane.filled.push_back((end, end + samples.len() as u64));
        }
        lane.samples.extend_from_slice(samples);
    }

    fn ends(&self) -> [u64; 2] {
        self.lanes.each_ref().map(|lane| self.position + lane.length())
    }

    /// Fills the party that is behind, but for so many samples.
    fn even_out(&mut self, patience: u64) {
        let end = self.ends().into_iter().max().unwrap_or_default().saturating_sub(patience);
        let position = self.position;
        self.lanes.iter_mut().for_each(|lane| lane.fill_to(position, end));
    }

    /// The next chunk, if both parties have come so far. At the end of a contact one may be shorter.
    fn pop(&mut self, is_end: bool, is_real_time: bool) -> Option<StereoChunk> {
        let available = self.ends().into_iter().min()?.saturating_sub(self.position);
        let length = available.min(self.length);
        if length == 0 || length < self.length && !is_end {
            return None;
        }
        let mut samples = vec![0; length as usize * 2];
        let [left, right] = self.lanes.each_ref().map(Lane::waiting);
        for (frame, (left, right)) in samples.as_chunks_mut().0.iter_mut().zip(left.iter().zip(right)) {
            *frame = [*left, *right];
        }
        self.lanes.iter_mut().for_each(|lane| lane.give(length as usize));
        while self.times.get(1).is_some_and(|(from, _)| *from <= self.position) {
            self.times.pop_front();
        }
        let end = self.position + length;
        let filled = self.lanes.each_mut().map(|lane| lane.take_filled(end));
        let chunk = StereoChunk {
            contact: self.contact.clone(),
            position: self.position,
            producer_time: self.times.front().map(|time| time_at(time, self.position)),
            samples: Arc::new(samples),
            filled,
            has_gap: std::mem::take(&mut self.has_gap),
            is_real_time,
        };
        self.position = end;
        Some(chunk)
    }
}

/// The time of a position, by that of another.
fn time_at((known, time): &(u64, Timestamp), position: u64) -> Timestamp {
    time.plus_nanos(nanos(position as i64 - *known as i64))
}

impl Lane {
    fn waiting(&self) -> &[i16] {
        self.samples.get(self.given..).unwrap_or_default()
    }

    fn length(&self) -> u64 {
        self.waiting().len() as u64
    }

    /// Lets so many go. What is in front is only cleared away when it is the larger part.
    fn give(&mut self, samples: usize) {
        self.given += samples;
        if self.given > self.samples.len() / 2 {
            self.samples.drain(..self.given.min(self.samples.len()));
            self.given = 0;
        }
    }

    fn fill_to(&mut self, position: u64, to: u64) {
        let end = position + self.length();
        if to > end {
            let length = usize::try_from(to - position).unwrap_or(usize::MAX).saturating_add(self.given);
            self.samples.resize(length, 0);
            self.filled.push_back((end, to));
        }
    }

    /// How much of what ends here was filled.
    fn take_filled(&mut self, end: u64) -> u64 {
        let mut filled = 0;
        while let Some((from, to)) = self.filled.front_mut().filter(|(from, _)| *from < end) {
            let part = (*to).min(end);
            filled += part - *from;
            *from = part;
            if from == to {
                self.filled.pop_front();
            }
        }
        filled
    }
}

pin_project! {
    /// Stream of both parties side by side, from [`stereo`](crate::AudioStreamExt::stereo).
    ///
    /// Chunks have the same length, but for the last of a contact. A party that is two seconds behind the other is taken
    /// to be silent; what comes of it later is dropped and counted.
    ///
    /// # Errors
    /// Those of the audio stream, behind what came before.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// Two seconds of audio, and a chunk.
    #[must_use = "streams do nothing unless polled"]
    pub struct Stereo<S> {
        #[pin]
        audio: S,
        interleaver: Interleaver,
        // Of another contact than what is in the interleaver.
        next: Option<AudioChunk>,
        clock: Option<Clock>,
        end: Option<Option<Error>>,
        is_done: bool,
    }
}

/// What is due when.
struct Clock {
    slack: Duration,
    /// How far the audio went that came last, and when it came.
    last: Option<(u64, Instant)>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// Audio up to this position has come. If it is late, the time that it is late is waited once, so that what follows is
    /// heard; if it is very late, it is not waited for.
    fn set(&mut self, end: u64, position: u64) {
        let behind = position.saturating_sub(end);
        if self.last.is_none() || behind <= MOST_WAITED {
            self.last = Some((end, Instant::now()));
        }
    }

    /// Whether the audio up to this position is overdue.
    fn poll_due(&mut self, position: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Some((end, came)) = self.last else { return Poll::Pending };
        let ahead = i64::try_from(position.saturating_sub(end)).map_or(i64::MAX, nanos);
        let due =
            came.checked_add(self.slack).and_then(|due| due.checked_add(Duration::from_nanos(ahead.unsigned_abs())));
        let Some(due) = due else { return Poll::Pending };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        alarm.as_mut().poll(cx)
    }
}

impl<S> Stereo<S> {
    pub(crate) fn new(audio: S) -> Self {
        Self { audio, interleaver: Interleaver::new(), next: None, clock: None, end: None, is_done: false }
    }

    /// How long a chunk is. By default 100 ms; at least one frame, at most an hour.
    pub fn chunk_duration(mut self, duration: Duration) -> Self {
        self.interleaver.length = samples_in(duration).min(LONGEST_CHUNK);
        self
    }

    /// How many bytes a chunk has, four a frame. At least one frame, at most an hour of them.
    pub fn chunk_bytes(mut self, bytes: usize) -> Self {
        self.interleaver.length = (bytes as u64 / 4).clamp(1, LONGEST_CHUNK);
        self
    }

    /// Goes on in real time: what has not come when it is due is silence, so that there is always something to send.
    /// Audio is due as long after what came last as it lies behind it, and the slack later: more than a fragment lasts, since
    /// they come whole. What comes of a time that was given out already is dropped and counted: [`late`](Stereo::late).
    /// Audio that has fallen behind for good, by up to ten seconds, is waited for once, and then heard again. Such chunks are
    /// for listening; a [`WavSink`](crate::WavSink) refuses them.
    ///
    /// Polling it panics where there is no tokio runtime with time, as tokio's own timers do.
    pub fn real_time(mut self, slack: Duration) -> Self {
        self.clock = Some(Clock { slack, last: None, alarm: None });
        self
    }

    /// How many samples came too late, and were dropped. Silence that fills holes does not count.
    pub fn late(&self) -> u64 {
        self.interleaver.late
    }

    inner_accessors!(audio: S, "audio stream", "Audio that was received and not yielded yet is lost.");
}

impl<S: Stream<Item = Result<AudioChunk>>> Stream for Stereo<S> {
    type Item = Result<StereoChunk>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let is_real_time = this.clock.is_some();
        while !*this.is_done {
            let is_end = this.next.is_some() || this.end.is_some();
            if let Some(chunk) = this.interleaver.pop(is_end, is_real_time) {
                return Poll::Ready(Some(Ok(chunk)));
            }
            if let Some(chunk) = this.next.take() {
                this.interleaver.begin(&chunk);
                this.interleaver.push(&chunk);
                if let Some(clock) = this.clock {
                    clock.last = None;
                    clock.set(chunk.end(), 0);
                }
                continue;
            }
            if let Some(error) = this.end.take() {
                *this.is_done = true;
                return Poll::Ready(error.map(Err));
            }
            match this.audio.as_mut().poll_next(cx) {
                Poll::Ready(Some(Ok(chunk))) if this.interleaver.is_other(&chunk) => {
                    this.interleaver.even_out(0);
                    *this.next = Some(chunk);
                }
                Poll::Ready(Some(Ok(chunk))) => {
                    if let Some(clock) = this.clock {
                        clock.set(chunk.end(), this.interleaver.position);
                    }
                    this.interleaver.push(&chunk);
                    this.interleaver.even_out(PATIENCE);
                }
                Poll::Ready(end) => {
                    this.interleaver.even_out(0);
                    *this.end = Some(end.and_then(Result::err));
                }
                Poll::Pending => {
                    let Some(clock) = this.clock else { return Poll::Pending };
                    let due = this.interleaver.position + this.interleaver.length;
                    if clock.poll_due(due, cx).is_pending() {
                        return Poll::Pending;
                    }
                    let position = this.interleaver.position;
                    this.interleaver.lanes.iter_mut().for_each(|lane| lane.fill_to(position, due));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl<S: Stream<Item = Result<AudioChunk>>> FusedStream for Stereo<S> {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl<S: fmt::Debug> fmt::Debug for Stereo<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stereo")
            .field("audio", &self.audio)
            .field("position", &self.interleaver.position)
            .field("late", &self.interleaver.late)
            .finish_non_exhaustive()
    }
}
