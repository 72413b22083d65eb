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
#[cfg(feature = "ts")]
pub(crate) mod ts;
pub(crate) mod wav;

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::fragment::{Fragment, FragmentHeader, Tags};
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

/// A file that is being muxed, and its time.
pub(crate) struct MuxedFile<M> {
    pub(crate) muxer: M,
    pub(crate) timeline: Timeline,
}

impl<M: Muxer> MuxedFile<M> {
    /// Writes the start of a file, and the media of its first fragment.
    ///
    /// # Errors
    /// If the container has no place for a track, or a packet cannot be read.
    pub(crate) fn begin(
        options: &M::Options,
        gaps: Gaps,
        media: Media,
        fragment: &Fragment,
        out: &mut Vec<u8>,
    ) -> Result<Self> {
        let mut timeline = Timeline::new(gaps);
        let placed = timeline.place(media, fragment);
        let mut muxer = M::begin(options, &placed, out)?;
        muxer.push(&placed, out)?;
        Ok(Self { muxer, timeline })
    }

    /// Writes the media of a later fragment. Returns what the caller appends before it.
    ///
    /// # Errors
    /// If a packet cannot be read.
    pub(crate) fn push(&mut self, media: Media, fragment: &Fragment, out: &mut Vec<u8>) -> Result<Fill> {
        let placed = self.timeline.place(media, fragment);
        let fill = self.muxer.fill_before(placed.start());
        self.muxer.push(&placed, out)?;
        Ok(fill)
    }
}

/// Places the media of one fragment alone: its first packet is at 0.
///
/// Returns the time of that packet too, in nanoseconds from the Cluster's time. `None` if there are no packets.
#[cfg(feature = "local")]
pub(crate) fn place_alone(fragment: &Fragment) -> Option<(Placed, i64)> {
    let media = Media::of(fragment)?;
    let offset = media.start().saturating_sub(fragment.header().timecode_ns());
    Some((Timeline::new(Gaps::Keep).place(media, fragment), offset))
}

/// Returns a whole file, in one part per fragment.
///
/// # Errors
/// If the container has no place for a track, or a packet cannot be read.
#[cfg(feature = "local")]
pub(crate) fn to_parts<M: Muxer>(options: &M::Options, fragments: &[Fragment]) -> Result<Vec<Vec<u8>>> {
    let (mut file, mut parts) = (None::<MuxedFile<M>>, Vec::new());
    for fragment in fragments {
        let Some(media) = Media::of(fragment) else { continue };
        let mut part = Vec::new();
        match &mut file {
            Some(file) => {
                file.push(media, fragment, &mut part)?;
            }
            None => file = Some(MuxedFile::begin(options, Gaps::Keep, media, fragment, &mut part)?),
        }
        parts.push(part);
    }
    let finish = file.map(|file| file.muxer.finish()).unwrap_or_default();
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
