//! Media as other containers describe it: MP4, Matroska and raw audio, without re-encoding.
//!
//! The [sinks](crate::sink) write files with it: [`Mp4Sink`](crate::Mp4Sink), [`MkvFileSink`](crate::MkvFileSink),
//! [`AudioSink`](crate::AudioSink). [`audio`](crate::PacketStreamExt::audio) yields coded audio. Everything here is pure: no
//! I/O and no clock.

pub(crate) mod adts;
pub(crate) mod audio_file;
mod audio_packet;
mod audio_packets;
mod audio_track;
pub(crate) mod codec;
pub(crate) mod mkv;
pub(crate) mod mp4;
pub(crate) mod timeline;
pub(crate) mod wav;

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
#[cfg(feature = "local")]
use crate::fragment::Fragment;
use crate::fragment::{FragmentHeader, Tags};
use crate::packet::Packet;

pub use audio_packet::AudioPacket;
pub use audio_packets::AudioPackets;
pub use codec::audio::{AudioCodec, AudioConfig};
pub use timeline::Gaps;

pub(crate) use timeline::{Media, Timeline};

/// Writes one file, by appending bytes to a buffer.
pub(crate) trait Muxer: Sized + Send + 'static {
    type Options: Clone + Default + Send + Sync + fmt::Debug + 'static;

    /// Writes the start of the file. The caller then pushes `first`, and everything after it.
    ///
    /// # Errors
    /// If the container has no place for a track.
    fn begin(options: &Self::Options, first: &Placed, out: &mut Vec<u8>) -> Result<Self>;

    /// Writes the media of a fragment. The bytes so far are then a file that plays.
    ///
    /// The caller first appends [`fill_before`](Muxer::fill_before) the start of the fragment.
    ///
    /// # Errors
    /// If a packet cannot be read. Then nothing was appended to `out`.
    fn push(&mut self, placed: &Placed, out: &mut Vec<u8>) -> Result<()>;

    /// Returns the bytes that complete the file.
    fn finish(self) -> Finish;

    /// Returns what fills the file up to media that begins at this time, in nanoseconds.
    fn fill_before(&self, _time: i64) -> Fill {
        Fill::default()
    }

    /// Returns the size in bytes at which the format needs a new file.
    fn max_bytes(&self) -> u64 {
        u64::MAX
    }
}

/// The media of one fragment, placed on the time of a file.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) header: Arc<FragmentHeader>,
    /// The producer's tags, before and after the media.
    pub(crate) tags: Tags,
    /// The packets in stored order.
    pub(crate) samples: Vec<Sample>,
}

/// A packet with its times in a file, in nanoseconds from the start of the file.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) packet: Packet,
    /// When it is presented. Never negative.
    pub(crate) pts: i64,
    /// When it is decoded. Negative at the start of a file if pictures are reordered.
    pub(crate) dts: i64,
    /// The time to the next sample of the track. Estimated for the last one of a fragment.
    pub(crate) duration: i64,
}

impl Placed {
    /// Returns the time at which the media begins, in nanoseconds.
    pub(crate) fn start(&self) -> i64 {
        self.samples.iter().map(|sample| sample.pts).min().unwrap_or(0)
    }

    /// Returns the samples of one track, in stored order.
    pub(crate) fn of_track(&self, number: u64) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.packet.track_number() == number)
    }
}

/// Equal bytes, such as those of a long silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) byte: u8,
    pub(crate) count: u64,
}

/// What completes a file.
pub(crate) struct Finish {
    /// The bytes to append, in pieces.
    pub(crate) pieces: Box<dyn Iterator<Item = Vec<u8>> + Send>,
    /// The bytes to overwrite afterwards.
    pub(crate) patches: Vec<Patch>,
}

impl Finish {
    pub(crate) fn new(
        pieces: impl IntoIterator<Item = Vec<u8>, IntoIter: Send + 'static>,
        patches: Vec<Patch>,
    ) -> Self {
        Self { pieces: Box::new(pieces.into_iter()), patches }
    }
}

/// Appends nothing.
impl Default for Finish {
    fn default() -> Self {
        Self::new([], Vec::new())
    }
}

/// Bytes that replace others in a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Patch {
    /// The offset in the file.
    pub(crate) at: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Returns a whole file, in one part per fragment.
///
/// # Errors
/// If the container has no place for a track, or a packet cannot be read.
#[cfg(feature = "local")]
pub(crate) fn to_parts<M: Muxer>(options: &M::Options, fragments: &[Fragment]) -> Result<Vec<Vec<u8>>> {
    let mut timeline = Timeline::new(Gaps::Keep);
    let (mut muxer, mut parts) = (None, Vec::new());
    for fragment in fragments {
        let Some(media) = Media::of(fragment) else { continue };
        let (placed, mut part) = (timeline.place(media, fragment), Vec::new());
        let open = match &mut muxer {
            Some(open) => open,
            None => muxer.insert(M::begin(options, &placed, &mut part)?),
        };
        open.push(&placed, &mut part)?;
        parts.push(part);
    }
    let finish = muxer.map(M::finish).unwrap_or_default();
    for patch in finish.patches {
        patch.apply(&mut parts);
    }
    parts.extend(finish.pieces);
    Ok(parts)
}

#[cfg(feature = "local")]
impl Patch {
    /// Overwrites bytes of a file in parts.
    fn apply(&self, parts: &mut [Vec<u8>]) {
        let mut starts = 0;
        for part in parts {
            for (at, byte) in (self.at..).zip(&self.bytes) {
                let here = at.checked_sub(starts).and_then(|at| part.get_mut(usize::try_from(at).ok()?));
                if let Some(here) = here {
                    *here = *byte;
                }
            }
            starts += part.len() as u64;
        }
    }
}
