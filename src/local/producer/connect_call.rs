//! Conversations as Amazon Connect sends them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::fragment::Timestamp;
use crate::local::media::document::{Document, Shape, Stamp};
use crate::local::media::fragment_number::fragment_number;
use crate::local::store::streams::Stream;

/// Returns a sample by track and position.
type Voice = Arc<dyn Fn(usize, u64) -> i16 + Send + Sync>;

/// Samples per block, and blocks per track in a fragment: 1.088 s.
const BLOCK: u64 = 512;
const BLOCKS: u64 = 17;

/// A conversation as Amazon Connect sends it.
///
/// It has two tracks of 16-bit little-endian PCM at 8 kHz, labelled AAC as Amazon Connect labels them.
/// Each fragment has 17 blocks of 64 ms per track; the last may have fewer. The contact id is in tags after the media.
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::local::ConnectCall;
/// use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, Timestamp};
/// use std::time::Duration;
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let call = ConnectCall::new("4a573372-1f28-4e26-b97b-3f8b5d2a9e11").duration(Duration::from_secs(3));
/// let body = call.to_payload(Timestamp::from_millis(1_700_000_000_000));
/// let audio: Vec<_> = FragmentStream::new(&body[..]).connect_audio().stereo().try_collect().await?;
/// assert_eq!(audio.iter().map(|chunk| chunk.frames()).sum::<u64>(), 3 * 8000);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct ConnectCall {
    contact: String,
    samples: u64,
    voice: Voice,
}

impl ConnectCall {
    /// Creates a conversation of ten seconds with this contact id.
    ///
    /// The customer is a tone of 440 Hz, the agent one of 620 Hz.
    pub fn new(contact: impl Into<String>) -> Self {
        let tone = |track: usize, position: u64| {
            let hertz = if track == 0 { 440.0 } else { 620.0 };
            let turns = position as f64 * hertz / 8000.0;
            ((turns * std::f64::consts::TAU).sin() * 8000.0) as i16
        };
        Self { contact: contact.into(), samples: 80_000, voice: Arc::new(tone) }
    }

    /// Sets the duration, rounded down to a whole sample. Default: 10 s.
    ///
    /// A conversation of zero length has no fragments.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.samples = u64::try_from(duration.as_nanos() / 125_000).unwrap_or(u64::MAX);
        self
    }

    /// Sets the samples, as a function of the party and the position.
    ///
    /// Party 0 is the customer, 1 the agent. Positions count samples from the start of the conversation.
    /// Default: the tones of [`new`](Self::new).
    #[must_use]
    pub fn voice(mut self, voice: impl Fn(usize, u64) -> i16 + Send + Sync + 'static) -> Self {
        self.voice = Arc::new(voice);
        self
    }

    /// Returns the conversation's fragments, each with its producer time.
    ///
    /// The conversation starts at `start`.
    pub fn documents(&self, start: Timestamp) -> impl Iterator<Item = (Document, Timestamp)> + use<'_> {
        let per_fragment = BLOCK * BLOCKS;
        (0..self.samples.div_ceil(per_fragment)).map(move |index| {
            let first = index * per_fragment;
            let time = start.plus_nanos(i64::try_from(first * 125_000).unwrap_or(i64::MAX));
            (self.document(first, (first + per_fragment).min(self.samples), time), time)
        })
    }

    /// Encodes the whole conversation as a payload: the HTTP body of GetMedia.
    ///
    /// Server times are 300 ms after the producer times, which begin at `start`.
    pub fn to_payload(&self, start: Timestamp) -> bytes::Bytes {
        let stamped = self.documents(start).zip(1..).map(|((document, time), ordinal)| {
            let millis = u64::try_from(time.as_millis()).unwrap_or_default();
            let stamp = Stamp {
                number: fragment_number(ordinal, millis),
                server_time: time.plus_nanos(300_000_000),
                producer_time: time,
            };
            document.to_bytes(&stamp, 0)
        });
        stamped.collect::<Vec<_>>().concat().into()
    }

    fn document(&self, first: u64, end: u64, time: Timestamp) -> Document {
        let mut document = Document::new(Shape::Producer)
            .titled("Kinesis Video SDK", "Kinesis Video SDK 1.1.0 JNI 2.0")
            .codec_private(&[0x11, 0x90])
            .audio_track(1, "AUDIO_FROM_CUSTOMER", "A_AAC")
            .audio_track(2, "AUDIO_TO_CUSTOMER", "A_AAC")
            .cluster_time(u64::try_from(time.as_millis()).unwrap_or_default());
        for (start, block) in (first..end).step_by(BLOCK as usize).zip(0i16..) {
            for track in 0..2 {
                let samples = (start..(start + BLOCK).min(end)).flat_map(|at| (self.voice)(track, at).to_le_bytes());
                let payload: Vec<u8> = samples.collect();
                document = document.block(track as u64 + 1, block * 64, true, &payload);
            }
        }
        document
            .tag("ContactId", &self.contact)
            .tag("InstanceId", "bf2d6c88-0c3f-4a5b-9d1e-6f7a8b9c0d1e")
            .tag("MimeType", "audio/L16;rate=8000;channels=1;")
            .tag("AUDIO_FROM_CUSTOMER", "1")
            .tag("AUDIO_TO_CUSTOMER", "2")
            .tag("Events", "[]")
    }
}

impl fmt::Debug for ConnectCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectCall")
            .field("contact", &self.contact)
            .field("samples", &self.samples)
            .finish_non_exhaustive()
    }
}

/// Plays a conversation in real time, once or repeatedly, each time as another contact.
///
/// Each fragment is pushed when it would be complete.
pub(crate) async fn play(stream: Arc<Stream>, call: ConnectCall, repeats: bool) {
    let start = Instant::now();
    let mut played = 0u64;
    for round in 1u64.. {
        let mut this = call.clone();
        if round > 1 {
            this.contact = format!("{}-{round}", call.contact);
        }
        let time = stream.clock().at(start + Duration::from_nanos(played.saturating_mul(125_000)));
        for (index, (document, producer_time)) in (0..).zip(this.documents(time)) {
            let end = (played + ((index + 1) * BLOCK * BLOCKS).min(call.samples)).saturating_mul(125_000);
            sleep_until(start + Duration::from_nanos(end)).await;
            let stamp = stream.stamp_at(producer_time);
            stream.push(document.before_trailer(&stamp), stamp);
        }
        played = played.saturating_add(call.samples);
        if !repeats || call.samples == 0 {
            break;
        }
    }
    stream.finish();
}
