//! The audio of Amazon Connect: who said what, and when.
//!
//! Amazon Connect sends each party of a call as a track of its own: raw PCM of 8 kHz, 16 bits, little
//! endian, whatever the codec id says. [`connect_audio`](crate::FragmentStreamExt::connect_audio) places it
//! by the timecodes of its blocks, so that both parties stay in step for as long as the call lasts and nothing
//! is lost without being said.
//!
//! ```
//! use futures::TryStreamExt;
//! use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, RecordExt, WavSink};
//!
//! # async fn f() -> kinesis_video::Result<()> {
//! let file = tokio::fs::File::open("call.mkv").await?;
//! let call = FragmentStream::new(file).connect_audio();
//! let summary = call.stereo().record(WavSink::create("call.wav")).await?;
//! println!("{summary}");
//! # Ok(())
//! # }
//! ```
//!
//! # Placement
//!
//! The first sample of a contact, of whichever party, has position 0. A block goes where its timecode says, at 8
//! samples a millisecond; one that begins within 8 ms of where its party's audio ended continues it, so that the
//! jitter of timecodes makes no clicks. A larger hole is filled with silence; what comes twice is trimmed, and the
//! first wins. So no sample is ever more than 8 ms from where its timecode says, however long the call. What was
//! filled or trimmed is on the chunk behind it: [`AudioChunk::discontinuities`].
//!
//! # Contacts
//!
//! A stream is used for one contact after the other. Each begins anew at position 0. A fragment that does not say
//! which contact it is of belongs to the one before it, and, at the start of a stream, to the one behind it.

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

/// Samples a second, of all audio of Amazon Connect.
pub const SAMPLE_RATE: u32 = 8000;

/// The longest chunk that can be asked for, an hour.
const LONGEST_CHUNK: u64 = 3600 * SAMPLE_RATE as u64;

const NANOS_PER_SAMPLE: i64 = 1_000_000_000 / SAMPLE_RATE as i64;

/// Who is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// The caller.
    FromCustomer,
    /// What the caller hears: agents, prompts, bots, others in a conference.
    ToCustomer,
}

impl Party {
    /// Both, the caller first.
    pub const ALL: [Self; 2] = [Self::FromCustomer, Self::ToCustomer];

    /// What Amazon Connect calls its track: `AUDIO_FROM_CUSTOMER` or `AUDIO_TO_CUSTOMER`.
    pub fn track_name(self) -> &'static str {
        match self {
            Self::FromCustomer => "AUDIO_FROM_CUSTOMER",
            Self::ToCustomer => "AUDIO_TO_CUSTOMER",
        }
    }

    /// Whose track it is. Numbers change from fragment to fragment, and codec ids lie: only the name counts. An old
    /// stream has a single track, unnamed or named for its format, of the caller.
    fn of_track(track: &Track, is_only: bool) -> Option<Self> {
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

    fn lane(self) -> usize {
        usize::from(self == Self::ToCustomer)
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.track_name())
    }
}

/// What happened to a party's audio before a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AudioDiscontinuity {
    /// Nothing came for so many samples. They were filled with silence.
    Filled(u64),
    /// Nothing came of either party for so many samples more than
    /// [`max_silence`](ConnectAudio::max_silence). They were left out of both.
    LeftOut(u64),
    /// So many samples came for a time that had been heard already. They were dropped.
    Trimmed(u64),
    /// The timecodes began anew: nothing can be said of how much is missing.
    TimelineReset,
}

/// A stretch of what one party said, or of silence.
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

/// Part of a buffer that others share.
#[derive(Clone)]
struct Samples {
    buffer: Arc<[i16]>,
    range: Range<usize>,
}

impl Samples {
    fn get(&self) -> &[i16] {
        self.buffer.get(self.range.clone()).unwrap_or_default()
    }

    /// Without so many at the front.
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
    /// Who is heard.
    pub fn party(&self) -> Party {
        self.party
    }

    /// The contact. `None` if no fragment around it says which it is.
    pub fn contact_id(&self) -> Option<&str> {
        self.contact.as_deref()
    }

    /// Where it begins, in samples from the start of the contact.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// When it begins, on the producer's clock. `None` if the fragment has no producer time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// The samples: mono, 16 bits, 8000 a second.
    pub fn samples(&self) -> &[i16] {
        self.samples.get()
    }

    /// The samples as bytes, the lower first, as most services want them.
    pub fn to_bytes(&self) -> Bytes {
        to_bytes(self.samples())
    }

    /// Whether it is silence that fills a hole, and not what was sent.
    pub fn is_filled(&self) -> bool {
        self.is_filled
    }

    /// What happened to this party's audio since its chunk before.
    pub fn discontinuities(&self) -> &[AudioDiscontinuity] {
        &self.discontinuities
    }

    /// The fragment that it came in; of silence, the one behind it.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.fragment
    }

    pub(crate) fn contact(&self) -> Option<&Arc<str>> {
        self.contact.as_ref()
    }

    /// Where it ends, in samples from the start of the contact.
    fn end(&self) -> u64 {
        self.position + self.samples().len() as u64
    }

    /// The part of it that begins so many samples into it, at most so long.
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

/// So many samples in nanoseconds.
fn nanos(samples: i64) -> i64 {
    samples.saturating_mul(NANOS_PER_SAMPLE)
}

/// This long in samples, at least one.
pub(crate) fn samples_in(duration: std::time::Duration) -> u64 {
    let samples = duration.as_nanos() / u128::from(NANOS_PER_SAMPLE.unsigned_abs());
    u64::try_from(samples).unwrap_or(u64::MAX).max(1)
}
