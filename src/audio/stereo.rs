//! [`Stereo`]: both parties of a conversation in one stream of stereo chunks.

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

/// In real time, audio that is later than this does not move the deadlines: 10 s.
const MAX_LATENESS: u64 = 10 * 8000;

/// A party whose audio ends this much before the other's counts as silent: 2 s.
const MAX_LAG: u64 = 2 * 8000;

/// A chunk of both parties: left is the customer, right is everything the customer hears.
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
    /// Returns the contact id, or `None` if none was known when the chunk was yielded.
    pub fn contact_id(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    /// Returns the start of the chunk, in frames from the start of the contact. A frame is a left and a right sample.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the start of the chunk on the producer's clock.
    ///
    /// `None` if no fragment of the contact so far has a producer time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// Returns the interleaved samples: left, right, left, …; signed 16 bits, 8000 frames per second.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// Returns the interleaved samples as little-endian bytes, ready for a transcription service.
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(&self.samples)
    }

    /// Returns the number of frames: pairs of a left and a right sample.
    pub fn frames(&self) -> u64 {
        self.samples.len() as u64 / 2
    }

    /// Returns the number of samples of filled-in silence: on the left, on the right.
    pub fn filled(&self) -> [u64; 2] {
        self.filled
    }

    /// Returns whether the chunk was made in [real time](Stereo::real_time).
    ///
    /// Audio may be missing from such a chunk.
    pub fn is_real_time(&self) -> bool {
        self.is_real_time
    }

    pub(crate) fn contact(&self) -> Option<&Arc<str>> {
        self.contact.as_ref()
    }

    /// Returns whether audio was filled, trimmed or left out in the chunk.
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

/// Joins the audio of both parties. No clock, no I/O.
struct Interleaver {
    length: u64,
    contact: Option<Arc<str>>,
    /// The position of the next chunk.
    position: u64,
    lanes: [Lane; 2],
    /// Positions and their times on the producer's clock. Only those that do not follow from the entry before.
    times: VecDeque<(u64, Timestamp)>,
    late: u64,
    has_gap: bool,
}

#[derive(Default)]
struct Lane {
    /// Samples that were yielded already, then samples from the position of the next chunk on.
    samples: Vec<i16>,
    /// The number of samples at the front that were yielded already.
    yielded: usize,
    /// The start and end positions of the runs of samples that fill holes.
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

    /// Starts another contact.
    fn begin(&mut self, chunk: &AudioChunk) {
        self.contact.clone_from(&chunk.contact);
        self.position = 0;
        self.lanes = Default::default();
        self.times.clear();
    }

    /// Returns whether a chunk belongs to another contact than the buffered audio.
    fn is_other(&self, chunk: &AudioChunk) -> bool {
        // The first id of an unnamed contact names that contact.
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
        // Chunks of `connect_audio` have no holes between them; other streams may have.
        lane.fill_to(position, chunk.position);
        let end = position + lane.length();
        let overlap = usize::try_from(end.saturating_sub(chunk.position)).unwrap_or(usize::MAX);
        let samples = chunk.samples().get(overlap.min(chunk.samples().len())..).unwrap_or_default();
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

    /// Fills the party that lags with silence, up to `max_lag` samples before the end of the other.
    fn even_out(&mut self, max_lag: u64) {
        let end = self.ends().into_iter().max().unwrap_or_default();
        self.fill_to(end.saturating_sub(max_lag));
    }

    /// Fills both parties with silence up to a position.
    fn fill_to(&mut self, end: u64) {
        let position = self.position;
        self.lanes.iter_mut().for_each(|lane| lane.fill_to(position, end));
    }

    /// Takes the next chunk if both parties reach its end. The last chunk of a contact may be shorter.
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
        self.lanes.iter_mut().for_each(|lane| lane.advance(length as usize));
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

/// Returns the time of `position`, from a known position and its time.
fn time_at((known, time): &(u64, Timestamp), position: u64) -> Timestamp {
    time.plus_nanos(nanos(position as i64 - *known as i64))
}

impl Lane {
    fn waiting(&self) -> &[i16] {
        self.samples.get(self.yielded..).unwrap_or_default()
    }

    fn length(&self) -> u64 {
        self.waiting().len() as u64
    }

    /// Marks samples as yielded. Yielded samples are removed once they are the larger part, so that few bytes move.
    fn advance(&mut self, samples: usize) {
        self.yielded += samples;
        if self.yielded > self.samples.len() / 2 {
            self.samples.drain(..self.yielded.min(self.samples.len()));
            self.yielded = 0;
        }
    }

    /// Fills with silence up to position `to`. `position` is that of the next chunk.
    fn fill_to(&mut self, position: u64, to: u64) {
        let end = position + self.length();
        if to > end {
            let length = usize::try_from(to - position).unwrap_or(usize::MAX).saturating_add(self.yielded);
            self.samples.resize(length, 0);
            self.filled.push_back((end, to));
        }
    }

    /// Removes the filled runs before position `end` and returns their number of samples.
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
    /// A stream of stereo audio: the customer left, everything the customer hears right.
    ///
    /// Made by [`stereo`](crate::AudioStreamExt::stereo). It yields [`StereoChunk`]s.
    ///
    /// - All chunks have the same length, except the last one of a contact. Default: 100 ms.
    /// - A chunk is yielded when the audio of both parties has arrived up to the end of the chunk.
    /// - A party whose audio ends more than 2 s before the other's is filled with silence up to those 2 s. They are
    ///   audio time, not time on a clock: without new audio, nothing is yielded. Audio that arrives later for a filled
    ///   position is dropped and counted by [`late`](Stereo::late).
    /// - At the end of a contact, silence makes both parties equally long.
    ///
    /// # Errors
    /// Errors of the audio stream, after the audio that arrived before. After an error the stream ends.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// Two seconds of audio, and one chunk.
    #[must_use = "streams do nothing unless polled"]
    pub struct Stereo<S> {
        #[pin]
        audio: S,
        interleaver: Interleaver,
        // The first chunk of the next contact, while the current one is yielded.
        next: Option<AudioChunk>,
        clock: Option<Clock>,
        // Set at the end of the audio stream, with its error if it failed.
        end: Option<Option<Error>>,
        is_done: bool,
    }
}

/// The deadlines of samples in real time.
struct Clock {
    slack: Duration,
    /// The end position of the last arrival, and the time of the arrival.
    last: Option<(u64, Instant)>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// Notes the arrival of audio that ends at `end`, while the next chunk starts at `position`.
    ///
    /// Late audio delays all deadlines once, so that the audio after it is not dropped too. Audio that is later than
    /// [`MAX_LATENESS`] does not.
    fn note_arrival(&mut self, end: u64, position: u64) {
        let lateness = position.saturating_sub(end);
        if self.last.is_none() || lateness <= MAX_LATENESS {
            self.last = Some((end, Instant::now()));
        }
    }

    /// Waits for the deadline of the sample at `position`.
    fn poll_due(&mut self, position: u64, cx: &mut Context<'_>) -> Poll<()> {
        let Some((end, arrived)) = self.last else { return Poll::Pending };
        let ahead = i64::try_from(position.saturating_sub(end)).map_or(i64::MAX, nanos);
        let due =
            arrived.checked_add(self.slack).and_then(|due| due.checked_add(Duration::from_nanos(ahead.unsigned_abs())));
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

    /// Sets the duration of a chunk. Default: 100 ms.
    ///
    /// The duration is rounded down to whole samples of 125 µs. It is at least one sample and at most one hour.
    pub fn chunk_duration(mut self, duration: Duration) -> Self {
        self.interleaver.length = samples_in(duration).min(LONGEST_CHUNK);
        self
    }

    /// Sets the size of a chunk in bytes. Default: 3,200 bytes (100 ms).
    ///
    /// A frame has four bytes, and the size is rounded down to whole frames. A size below one frame counts as one
    /// frame, and a size above one hour of audio as one hour.
    pub fn chunk_bytes(mut self, bytes: usize) -> Self {
        self.interleaver.length = (bytes as u64 / 4).clamp(1, LONGEST_CHUNK);
        self
    }

    /// Yields each chunk by a deadline, for live listening or transcription. Default: no deadlines.
    ///
    /// The deadline of a chunk is the sum of
    ///
    /// - the time at which the last audio of the contact arrived,
    /// - the duration from the end of that audio to the end of the chunk,
    /// - `slack`.
    ///
    /// Audio that has not arrived by the deadline is yielded as silence. After the first audio, chunks of silence
    /// continue until the audio stream ends. The limit of 2 s between the parties applies too.
    ///
    /// Audio that arrives after its position was yielded is dropped and counted by [`late`](Stereo::late):
    ///
    /// | late by | later deadlines |
    /// |---|---|
    /// | up to 10 s | are delayed by the same time, so the audio after it is heard |
    /// | more | stay as they are |
    ///
    /// Choose a `slack` longer than a fragment, because fragments arrive whole. A [`WavSink`](crate::WavSink) refuses
    /// chunks that were made in real time.
    ///
    /// # Panics
    /// Polling panics outside a tokio runtime with time enabled, as tokio's timers do.
    pub fn real_time(mut self, slack: Duration) -> Self {
        self.clock = Some(Clock { slack, last: None, alarm: None });
        self
    }

    /// Returns how many samples, of both parties together, were dropped because their place was already filled.
    ///
    /// Silence that fills holes does not count.
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
                    clock.note_arrival(chunk.end(), 0);
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
                        clock.note_arrival(chunk.end(), this.interleaver.position);
                    }
                    this.interleaver.push(&chunk);
                    this.interleaver.even_out(MAX_LAG);
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
                    this.interleaver.fill_to(due);
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
