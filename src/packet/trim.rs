//! [`Trim`], the stream that `.trim()` returns.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::Packet;
use crate::accessors::inner_accessors;
use crate::error::{Error, Result};
use crate::fragment::{FragmentHeader, Timestamp, TrackKind};

/// The default of [`Trim::buffer_bytes`].
const BUFFER_BYTES: u64 = 64 << 20;

/// What a buffered packet counts besides its payload, so that empty packets are bounded too.
const PACKET_BYTES: u64 = size_of::<Packet>() as u64;

pin_project! {
    /// A stream of the packets of a range of time, from [`trim`](crate::PacketStreamExt::trim).
    ///
    /// # Errors
    /// - Errors of the packet stream.
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) as the first item, if the range is empty.
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a packet without a
    ///   [producer time](Packet::producer_time), unless the range has neither start nor end.
    /// - [`Limit`](crate::ErrorKind::Limit) if the group of pictures before the start exceeds
    ///   [`buffer_bytes`](Trim::buffer_bytes).
    ///
    /// After an error the stream ends.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// Before the start, the packets since the last key frame. Their payloads keep the buffers of their fragments alive.
    /// Nothing after the start.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Trim<S> {
        #[pin]
        packets: S,
        cut: Cut,
    }
}

impl<S> Trim<S> {
    pub(crate) fn new(packets: S, range: &impl RangeBounds<Timestamp>) -> Self {
        Self { packets, cut: Cut::new(range) }
    }

    /// Sets the maximum size of the packets that are buffered before the start. Default: 64 MiB.
    ///
    /// It counts the payloads, and about 100 bytes for each packet. A larger group of pictures is a
    /// [`Limit`](crate::ErrorKind::Limit) error.
    pub fn buffer_bytes(mut self, bytes: u64) -> Self {
        self.cut.buffer_bytes = bytes;
        self
    }

    /// Returns the range that was yielded so far: the start of the first packet, and the latest end of a packet.
    ///
    /// A packet lasts for its [duration](Packet::duration_ns), or else for the distance to the packet before it on its
    /// track. `None` before the first packet. Packets without a producer time do not count.
    pub fn range(&self) -> Option<(Timestamp, Timestamp)> {
        self.cut.yielded.range
    }

    inner_accessors!(packets: S, "packet stream", "Packets that are buffered are lost.");
}

impl<S: Stream<Item = Result<Packet>>> Stream for Trim<S> {
    type Item = Result<Packet>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let cut = this.cut;
        loop {
            if let Some(packet) = cut.next() {
                return Poll::Ready(Some(Ok(packet)));
            }
            if let Some(error) = cut.end() {
                return Poll::Ready(error.map(Err));
            }
            match ready!(this.packets.as_mut().poll_next(cx)) {
                Some(Ok(packet)) => cut.add(packet),
                Some(Err(error)) => cut.finish(Some(error)),
                None => cut.finish(None),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = match &self.cut.end {
            Some(None) => Some(0),
            Some(Some(_)) => Some(1),
            None => self.packets.size_hint().1,
        };
        (0, most.and_then(|most| most.checked_add(self.cut.buffer.len())))
    }
}

impl<S: Stream<Item = Result<Packet>>> FusedStream for Trim<S> {
    fn is_terminated(&self) -> bool {
        self.cut.is_done
    }
}

/// Decides which packets are yielded. Free of I/O.
#[derive(Debug)]
struct Cut {
    /// The first nanosecond of the range, or `None` without a start.
    start: Option<i64>,
    /// The first nanosecond after the range, or `None` without an end.
    stop: Option<i64>,
    buffer_bytes: u64,
    phase: Phase,
    /// Before the start, the packets from the first of `entries`. Then what is to be yielded.
    buffer: VecDeque<Packet>,
    bytes: u64,
    /// How many packets have left the buffer at its front.
    removed: u64,
    /// The last entry point of each track.
    entries: Vec<Entry>,
    yielded: Yielded,
    /// Set at the end, with the error that comes last.
    end: Option<Option<Error>>,
    is_done: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The start was not reached.
    Before,
    Within,
}

#[derive(Debug)]
struct Entry {
    track: u64,
    fragment: Arc<FragmentHeader>,
    /// The index in the buffer, plus the number of removed packets.
    index: u64,
}

impl Cut {
    fn new(range: &impl RangeBounds<Timestamp>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(time) => Some(time.as_nanos()),
            Bound::Excluded(time) => Some(time.as_nanos().saturating_add(1)),
            Bound::Unbounded => None,
        };
        let stop = match range.end_bound() {
            Bound::Included(time) => Some(time.as_nanos().saturating_add(1)),
            Bound::Excluded(time) => Some(time.as_nanos()),
            Bound::Unbounded => None,
        };
        let is_empty = start.zip(stop).is_some_and(|(start, stop)| start >= stop);
        let invalid = is_empty.then(|| match (range.start_bound(), range.end_bound()) {
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                Error::invalid_argument(format!("the range to trim to, from {start} to {end}, is empty"))
            }
            _ => Error::invalid_argument("the range to trim to is empty"),
        });
        Self {
            start,
            stop,
            buffer_bytes: BUFFER_BYTES,
            phase: if start.is_none() { Phase::Within } else { Phase::Before },
            buffer: VecDeque::new(),
            bytes: 0,
            removed: 0,
            entries: Vec::new(),
            yielded: Yielded::default(),
            end: invalid.map(Some),
            is_done: false,
        }
    }

    /// Returns the next packet to yield.
    fn next(&mut self) -> Option<Packet> {
        let packet = self.buffer.pop_front_if(|_| self.phase == Phase::Within)?;
        self.yielded.add(&packet);
        Some(packet)
    }

    /// Returns at the end the error that comes last, once.
    fn end(&mut self) -> Option<Option<Error>> {
        let end = self.end.as_mut()?;
        self.is_done = true;
        Some(end.take())
    }

    fn finish(&mut self, error: Option<Error>) {
        // A stream that ends with the group before the start has the picture that is shown at the start.
        if error.is_none() && self.phase == Phase::Before {
            self.begin();
        }
        self.end = Some(error);
    }

    fn begin(&mut self) {
        self.phase = Phase::Within;
        self.entries = Vec::new();
    }

    /// Takes the next packet of the stream.
    fn add(&mut self, packet: Packet) {
        let time = packet.producer_time().map(Timestamp::as_nanos);
        let Some(time) = time.or_else(|| (self.start.is_none() && self.stop.is_none()).then_some(0)) else {
            return self.finish(Some(without_time(&packet)));
        };
        // Without video, every packet can be decoded by itself.
        let (leads, is_entry) = match has_video(packet.fragment()) {
            true => (is_video(packet.fragment(), packet.track_number()), packet.is_video_key()),
            false => (true, true),
        };
        if self.phase == Phase::Before && !self.is_within(&packet, time, leads, is_entry) {
            return;
        }
        if is_entry && self.stop.is_some_and(|stop| time >= stop) {
            self.finish(None);
        } else {
            self.buffer.push_back(packet);
        }
    }

    /// Returns true if the range begins with this packet or one in the buffer. Buffers the packet otherwise.
    fn is_within(&mut self, packet: &Packet, time: i64, leads: bool, is_entry: bool) -> bool {
        self.forget_entries(packet.fragment());
        if leads && self.start.is_none_or(|start| time > start) {
            // A stream that begins inside of a group is read from its first key frame.
            let begins = is_entry || !self.entries.is_empty();
            if begins {
                self.begin();
            }
            return begins;
        }
        if is_entry {
            let (track, fragment) = (packet.track_number(), Arc::clone(packet.fragment()));
            self.entries.retain(|entry| entry.track != track);
            self.entries.push(Entry { track, fragment, index: self.removed + self.buffer.len() as u64 });
        }
        self.remove_before_entries();
        if !self.entries.is_empty() {
            self.bytes += size_of_packet(packet);
            self.buffer.push_back(packet.clone());
        }
        if self.bytes > self.buffer_bytes {
            self.buffer.clear();
            self.end = Some(Some(self.too_large(packet)));
        }
        false
    }

    /// Forgets the entry points of tracks that ended before this fragment.
    fn forget_entries(&mut self, fragment: &Arc<FragmentHeader>) {
        let has_video = has_video(fragment);
        self.entries.retain(|entry| match has_video {
            true => is_video(fragment, entry.track),
            // A track may be silent for long.
            false => Arc::ptr_eq(&entry.fragment, fragment),
        });
        self.remove_before_entries();
    }

    /// Drops the packets that come before all entry points.
    fn remove_before_entries(&mut self) {
        let first = self.entries.iter().map(|entry| entry.index).min();
        while self.buffer.front().is_some() && first.is_none_or(|first| self.removed < first) {
            let bytes = self.buffer.pop_front().as_ref().map_or(0, size_of_packet);
            self.bytes -= bytes;
            self.removed += 1;
        }
    }

    fn too_large(&self, packet: &Packet) -> Error {
        let message = format!(
            "the packets from the last key frame to the start of the range are more than the {} bytes of \
             Trim::buffer_bytes; raise it, or trim a stream with more key frames",
            self.buffer_bytes
        );
        at_packet(Error::limit(message), packet)
    }
}

/// The range of the packets that were yielded.
#[derive(Debug, Default)]
struct Yielded {
    range: Option<(Timestamp, Timestamp)>,
    /// The latest time of each track.
    tracks: Vec<(u64, Timestamp)>,
}

impl Yielded {
    fn add(&mut self, packet: &Packet) {
        let Some(time) = packet.producer_time() else { return };
        let track = packet.track_number();
        let step = match self.tracks.iter_mut().find(|(number, _)| *number == track) {
            Some((_, last)) => {
                let step = time.as_nanos().saturating_sub(last.as_nanos()).saturating_abs();
                *last = time.max(*last);
                step
            }
            None => {
                self.tracks.push((track, time));
                0
            }
        };
        let end = time.plus_nanos(packet.duration_ns().unwrap_or(step).max(0));
        self.range = Some(match self.range {
            Some((first, last)) => (first, last.max(end)),
            None => (time, end),
        });
    }
}

fn size_of_packet(packet: &Packet) -> u64 {
    packet.payload().len() as u64 + PACKET_BYTES
}

fn has_video(fragment: &FragmentHeader) -> bool {
    fragment.tracks().iter().any(|track| track.kind() == TrackKind::Video)
}

fn is_video(fragment: &FragmentHeader, track: u64) -> bool {
    fragment.track(track).is_some_and(|track| track.kind() == TrackKind::Video)
}

fn without_time(packet: &Packet) -> Error {
    let message = "the fragment has no time on the producer's clock, so its packets cannot be trimmed to a range of \
                   time; choose packets by Packet::timecode_ns instead";
    at_packet(Error::invalid_argument(message), packet)
}

fn at_packet(error: Error, packet: &Packet) -> Error {
    let number = packet.fragment().number().map(ToString::to_string);
    error.in_fragment(number.as_deref()).on_track(packet.track_number())
}
