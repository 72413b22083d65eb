//! [`Rechunk`]: audio in chunks of equal length.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::{AudioChunk, AudioDiscontinuity, LONGEST_CHUNK, Samples};
use crate::accessors::inner_accessors;
use crate::error::{Error, Result};

pin_project! {
    /// A stream of audio in chunks of equal length.
    ///
    /// Made by [`chunk_duration`](crate::AudioStreamExt::chunk_duration) and
    /// [`chunk_bytes`](crate::AudioStreamExt::chunk_bytes).
    ///
    /// - The last chunk of a party before the end of its contact, or before a step in its positions, may be shorter.
    /// - A chunk may contain both silence and audio. [`is_filled`](AudioChunk::is_filled) returns `true` if the whole
    ///   chunk is silence.
    /// - [`fragment`](AudioChunk::fragment) returns the fragment in which the chunk begins.
    ///
    /// # Errors
    /// Errors of the audio stream, after the audio that arrived before. After an error the stream ends.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// One chunk of each party.
    #[must_use = "streams do nothing unless polled"]
    pub struct Rechunk<S> {
        #[pin]
        audio: S,
        length: usize,
        begun: [Option<Begun>; 2],
        ready: VecDeque<AudioChunk>,
        // Set at the end of the audio stream, with its error if it failed.
        end: Option<Option<Error>>,
        is_done: bool,
    }
}

impl<S> Rechunk<S> {
    pub(crate) fn new(audio: S, length: u64) -> Self {
        let length = length.clamp(1, LONGEST_CHUNK) as usize;
        Self { audio, length, begun: [None, None], ready: VecDeque::new(), end: None, is_done: false }
    }

    inner_accessors!(audio: S, "audio stream", "Audio that was received and not yielded yet is lost.");
}

/// A chunk that is not complete yet: its first part, and the samples of all its parts.
struct Begun {
    first: AudioChunk,
    samples: Vec<i16>,
    discontinuities: Vec<AudioDiscontinuity>,
}

impl Begun {
    fn new(first: AudioChunk) -> Self {
        Self { samples: Vec::new(), discontinuities: Vec::new(), first }
    }

    fn add(&mut self, part: &AudioChunk) {
        self.samples.extend_from_slice(part.samples());
        self.discontinuities.extend_from_slice(&part.discontinuities);
        self.first.is_filled &= part.is_filled;
    }

    /// Returns whether `chunk` shows that no more samples of this chunk will arrive.
    fn is_over(&self, chunk: &AudioChunk) -> bool {
        let is_other = self.first.contact.is_some() && self.first.contact != chunk.contact;
        let end = self.first.position + self.samples.len() as u64;
        is_other || self.first.party == chunk.party && end != chunk.position
    }

    fn finish(self) -> AudioChunk {
        let discontinuities = self.discontinuities.into();
        AudioChunk { samples: Samples::from(self.samples), discontinuities, ..self.first }
    }
}

/// Adds a chunk to the begun chunk of its party, and moves complete chunks to `ready`.
fn add(begun: &mut [Option<Begun>; 2], chunk: &AudioChunk, length: usize, ready: &mut VecDeque<AudioChunk>) {
    for slot in begun.iter_mut() {
        ready.extend(slot.take_if(|begun| begun.is_over(chunk)).map(Begun::finish));
    }
    let Some(slot) = begun.get_mut(chunk.party.lane()) else { return };
    let mut from = 0;
    while from < chunk.samples().len() {
        let has = slot.as_ref().map_or(0, |begun| begun.samples.len());
        let part = chunk.part(from, length - has);
        from += part.samples().len();
        slot.get_or_insert_with(|| Begun::new(part.clone())).add(&part);
        ready.extend(slot.take_if(|begun| begun.samples.len() >= length).map(Begun::finish));
    }
}

impl<S: Stream<Item = Result<AudioChunk>>> Stream for Rechunk<S> {
    type Item = Result<AudioChunk>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        while !*this.is_done {
            if let Some(chunk) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(chunk)));
            }
            if let Some(error) = this.end.take() {
                *this.is_done = true;
                return Poll::Ready(error.map(Err));
            }
            match ready!(this.audio.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => add(this.begun, &chunk, *this.length, this.ready),
                end => {
                    this.ready.extend(this.begun.iter_mut().filter_map(Option::take).map(Begun::finish));
                    *this.end = Some(end.and_then(Result::err));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl<S: Stream<Item = Result<AudioChunk>>> FusedStream for Rechunk<S> {
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl<S: fmt::Debug> fmt::Debug for Rechunk<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rechunk").field("audio", &self.audio).field("length", &self.length).finish_non_exhaustive()
    }
}
