//! Audio of Amazon Connect conversations.
//!
//! Amazon Connect sends each party of a phone conversation as its own track: raw PCM, 8 kHz, 16 bits, little-endian.
//! The codec id of the track is wrong and is ignored. [`connect_audio`](crate::FragmentStreamExt::connect_audio)
//! places the audio by the timecodes of its blocks. Both parties stay in step however long the conversation lasts, and
//! every loss is reported.
//!
//! ```
//! use futures::TryStreamExt;
//! use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, RecordExt, WavSink};
//!
//! # async fn f() -> kinesis_video::Result<()> {
//! let file = tokio::fs::File::open("conversation.mkv").await?;
//! let audio = FragmentStream::new(file).connect_audio();
//! let summary = audio.stereo().record(WavSink::create("conversation.wav")).await?;
//! println!("{summary}");
//! # Ok(())
//! # }
//! ```
//!
//! # Placement
//!
//! Position 0 is the first sample of a contact, whichever party it belongs to. The timecode of a block gives its
//! position, at 8 samples per millisecond:
//!
//! | the block begins | result |
//! |---|---|
//! | at most 8 ms from the end of its party's audio | it is appended without a gap, so jitter makes no clicks |
//! | later | silence fills the hole before it |
//! | earlier | it is trimmed at its front: the audio that arrived first is kept |
//!
//! So no sample is ever more than 8 ms from its timecode. The first chunk of the silence reports the hole, and the next
//! chunk of the party reports trimmed samples: see [`AudioChunk::discontinuities`].
//!
//! Timecodes that step back by more than 20 s, or forward by more than a day, count as restarted. A smaller step back
//! from fragment to fragment counts too, if the producer's clock moved on. The audio after the restart follows all
//! audio before it: see [`AudioDiscontinuity::TimelineReset`].
//!
//! # Contacts
//!
//! A stream carries one contact after the other. Each contact starts at position 0. A fragment without a contact id
//! belongs to the contact of the fragment before it.
//!
//! At the start of a stream, up to 8 fragments without a contact id are buffered. If a [contact](ConnectAudio::contact)
//! is selected, up to 4 MiB are buffered. They belong to the first contact whose id arrives. If more fragments arrive
//! without an id, their audio is yielded with no contact id. The first id that arrives later applies to the chunks
//! after it, and positions continue.
//!
//! A fragment that was cut before its contact id may start at most 1 s after the end of the audio so far. Then the
//! fragment belongs to the current contact. Otherwise it belongs to the contact of the fragment after it.

mod connect;
mod placement;
mod rechunk;
mod stereo;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::fragment::{FragmentHeader, Timestamp, Track, TrackKind};

pub use connect::{ConnectAudio, ContactEnd};
pub use rechunk::Rechunk;
pub use stereo::{Stereo, StereoChunk};

/// The sample rate of Amazon Connect audio: 8000 samples per second.
pub const SAMPLE_RATE: u32 = 8000;

/// The maximum length of a chunk, in samples: one hour.
const LONGEST_CHUNK: u64 = 3600 * SAMPLE_RATE as u64;

const NANOS_PER_SAMPLE: i64 = 1_000_000_000 / SAMPLE_RATE as i64;

/// One of the two parties of a conversation, each with its own track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// The customer. A stream whose only track is an unnamed audio track has this party only.
    FromCustomer,
    /// Everything that the customer hears: agents, prompts, bots and others in a conference.
    ToCustomer,
}

impl Party {
    /// Both parties, the customer first.
    pub const ALL: [Self; 2] = [Self::FromCustomer, Self::ToCustomer];

    /// Returns the name of the party's track: `AUDIO_FROM_CUSTOMER` or `AUDIO_TO_CUSTOMER`.
    pub fn track_name(self) -> &'static str {
        match self {
            Self::FromCustomer => "AUDIO_FROM_CUSTOMER",
            Self::ToCustomer => "AUDIO_TO_CUSTOMER",
        }
    }

    /// Returns the party of a track by the track's name. Track numbers change between fragments, and codec ids are
    /// wrong. Old streams have a single track, of the customer, which has no name or the name of its format.
    pub(crate) fn of_track(track: &Track, is_only: bool) -> Option<Self> {
        let is_of_connect = track.sampling_frequency().is_none_or(|hertz| hertz == f64::from(SAMPLE_RATE));
        match track.name().unwrap_or_default() {
            "AUDIO_FROM_CUSTOMER" => Some(Self::FromCustomer),
            "AUDIO_TO_CUSTOMER" => Some(Self::ToCustomer),
            "" | "Track_audio/L16" if is_only && is_of_connect && track.kind() == TrackKind::Audio => {
                Some(Self::FromCustomer)
            }
            _ => None,
        }
    }

    /// Returns the index of the party in arrays of both parties.
    fn lane(self) -> usize {
        usize::from(self == Self::ToCustomer)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.track_name())
    }
}

/// A gap, overlap or restart in a party's audio before a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioDiscontinuity {
    /// A hole of this many samples is filled with silence. The first chunk of the silence reports it.
    Filled(u64),
    /// This many samples of silence were left out for both parties, because of
    /// [`max_silence`](ConnectAudio::max_silence).
    LeftOut(u64),
    /// This many samples were dropped, because the party's earlier audio overlaps them.
    Trimmed(u64),
    /// The timecodes restarted.
    ///
    /// If both fragments have a producer time, the gap is measured on the producer's clock and filled. Otherwise the
    /// length of the gap is unknown, and nothing is filled.
    TimelineReset,
}

/// A chunk of one party's audio, or of silence that fills a hole.
#[derive(Clone)]
pub struct AudioChunk {
    party: Party,
    contact: Option<Arc<str>>,
    position: u64,
    producer_time: Option<Timestamp>,
    samples: Samples,
    is_filled: bool,
    discontinuities: Arc<[AudioDiscontinuity]>,
    fragment: Arc<FragmentHeader>,
}

/// A range of a shared buffer.
#[derive(Clone)]
struct Samples {
    buffer: Arc<[i16]>,
    range: Range<usize>,
}

impl Samples {
    fn get(&self) -> &[i16] {
        self.buffer.get(self.range.clone()).unwrap_or_default()
    }

    /// Drops samples at the front.
    fn skip(&mut self, samples: usize) {
        self.range.start = (self.range.start + samples).min(self.range.end);
    }
}

impl From<Vec<i16>> for Samples {
    fn from(samples: Vec<i16>) -> Self {
        Self { range: 0..samples.len(), buffer: samples.into() }
    }
}

impl AudioChunk {
    /// Returns the party that the audio belongs to.
    pub fn party(&self) -> Party {
        self.party
    }

    /// Returns the contact id, or `None` if none was known when the chunk was yielded.
    pub fn contact_id(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    /// Returns the start of the chunk, in samples from the start of the contact.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Returns the start of the chunk on the producer's clock.
    ///
    /// `None` if the [fragment](AudioChunk::fragment) has no producer time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// Returns the samples: mono, signed 16 bits, 8000 per second.
    pub fn samples(&self) -> &[i16] {
        self.samples.get()
    }

    /// Returns the samples as little-endian bytes.
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(self.samples())
    }

    /// Returns whether the whole chunk is silence that fills a hole.
    pub fn is_filled(&self) -> bool {
        self.is_filled
    }

    /// Returns the discontinuities between the party's previous chunk and this one, at most 16.
    ///
    /// A chunk of [`Rechunk`] also lists the discontinuities inside the chunk.
    pub fn discontinuities(&self) -> &[AudioDiscontinuity] {
        &self.discontinuities
    }

    /// Returns the header of the fragment in which the audio arrived.
    ///
    /// For silence, that is the fragment of the audio after the silence.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.fragment
    }

    pub(crate) fn contact(&self) -> Option<&Arc<str>> {
        self.contact.as_ref()
    }

    /// Returns the end of the chunk, in samples from the start of the contact.
    fn end(&self) -> u64 {
        self.position + self.samples().len() as u64
    }

    /// Returns at most `length` samples of the chunk, from `start` on.
    fn part(&self, start: usize, length: usize) -> Self {
        let mut part = self.clone();
        part.samples.skip(start);
        part.samples.range.end = part.samples.range.end.min(part.samples.range.start.saturating_add(length));
        part.position += start as u64;
        part.producer_time = self.producer_time.map(|time| time.plus_nanos(nanos(start as i64)));
        if start > 0 {
            part.discontinuities = Arc::default();
        }
        part
    }
}

impl fmt::Debug for AudioChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AudioChunk")
            .field("party", &self.party)
            .field("contact", &self.contact)
            .field("position", &self.position)
            .field("samples", &self.samples().len())
            .field("is_filled", &self.is_filled)
            .field("discontinuities", &self.discontinuities)
            .finish_non_exhaustive()
    }
}

fn to_bytes(samples: &[i16]) -> Bytes {
    samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<u8>>().into()
}

/// Converts samples to nanoseconds.
fn nanos(samples: i64) -> i64 {
    samples.saturating_mul(NANOS_PER_SAMPLE)
}

/// Converts a duration to samples, at least one.
pub(crate) fn samples_in(duration: std::time::Duration) -> u64 {
    let samples = duration.as_nanos() / u128::from(NANOS_PER_SAMPLE.unsigned_abs());
    u64::try_from(samples).unwrap_or(u64::MAX).max(1)
}
