//! Reports on the blocks of a fragment.

use std::sync::Arc;

use super::Frame;
use crate::error::Error;
use crate::fragment::FragmentHeader;

/// An item of [`FrameItems`](super::FrameItems): a picture or a report.
#[derive(Clone, Debug)]
pub enum FrameItem {
    /// A picture.
    Frame(Frame),
    /// The report on a fragment, after the last picture of the fragment.
    Report(FragmentReport),
}

impl FrameItem {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Frame(frame) => frame.bytes(),
            Self::Report(_) => 0,
        }
    }
}

/// The outcome of decoding one track of a fragment, block by block.
///
/// `blocks = pictures + unsampled + skipped.len()`.
#[derive(Clone, Debug)]
pub struct FragmentReport {
    pub(super) fragment: Arc<FragmentHeader>,
    pub(super) fragment_index: u64,
    pub(super) blocks: u32,
    pub(super) pictures: u32,
    pub(super) unsampled: u32,
    pub(super) skipped: Vec<SkippedBlock>,
}

impl FragmentReport {
    /// Returns the header of the fragment.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.fragment
    }

    /// Returns the index of the fragment in the stream, from 0. Always 0 with [`Fragment::frames`].
    ///
    /// [`Fragment::frames`]: crate::Fragment::frames
    pub fn fragment_index(&self) -> u64 {
        self.fragment_index
    }

    /// Returns the number of coded frames of the decoded track. 0 if the fragment does not have the track.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Returns the number of pictures yielded.
    pub fn pictures(&self) -> u32 {
        self.pictures
    }

    /// Returns the number of blocks that sampling left out, decoded or not.
    pub fn unsampled(&self) -> u32 {
        self.unsampled
    }

    pub(super) fn is_complete(&self) -> bool {
        self.pictures + self.unsampled + self.skipped.len() as u32 >= self.blocks
    }

    /// Returns the blocks that yielded no picture and were not left out by sampling, each with the reason.
    ///
    /// They are in stored order.
    ///
    /// The list includes blocks that hold no picture: see [`NoPicture::Parameters`].
    pub fn skipped(&self) -> &[SkippedBlock] {
        &self.skipped
    }
}

/// A coded frame that yielded no picture.
#[derive(Clone, Debug)]
pub struct SkippedBlock {
    pub(super) ordinal: u32,
    pub(super) offset: u64,
    pub(super) timecode_ns: i64,
    pub(super) reason: NoPicture,
}

impl SkippedBlock {
    /// Returns the index of the coded frame among all packets of its fragment, from 0.
    ///
    /// This is [`Packet::ordinal`](crate::Packet::ordinal).
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Returns the byte offset of the coded frame in the body.
    ///
    /// If the track uses header stripping, the offset of the fragment is returned instead.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the timecode of the coded frame in nanoseconds, on the timeline of the producer session.
    pub fn timecode_ns(&self) -> i64 {
        self.timecode_ns
    }

    /// Returns the reason why the coded frame yielded no picture.
    pub fn reason(&self) -> &NoPicture {
        &self.reason
    }
}

/// The reason a coded frame yielded no picture.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NoPicture {
    /// The coded frame is before the first key frame of its fragment.
    BeforeKeyFrame,
    /// The coded frame refers to the previous fragment, because its group of pictures is open.
    ///
    /// Its picture is shown before the first key frame of its own fragment.
    /// [`continuous`](super::Frames::continuous) decodes such pictures.
    OpenGroup,
    /// The coded frame has no bytes.
    Empty,
    /// The coded frame has only parameters or messages for the decoder, no picture.
    ///
    /// [`FrameInfo::missing_before`](super::FrameInfo::missing_before) does not count such frames.
    Parameters,
    /// The coded frame is before the recovery point of a stream with gradual refresh.
    ///
    /// Its picture is not whole yet. [`OnDecodeError::Conceal`](super::OnDecodeError::Conceal) yields such pictures.
    NotRecovered,
    /// The coded frame is damaged. Holds the error of the parser or decoder, if there was one.
    Damaged(Option<Error>),
    /// The coded frame refers to a damaged picture.
    RefersToDamaged,
    /// The decoder accepted the coded frame and yielded no picture: a hidden frame or a second field, for example.
    NoOutput,
}

impl std::fmt::Display for NoPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::BeforeKeyFrame => "before the first key frame",
            Self::OpenGroup => "refers to the fragment before",
            Self::Empty => "empty",
            Self::Parameters => "no picture in it",
            Self::NotRecovered => "before the recovery point",
            Self::Damaged(_) => "damaged",
            Self::RefersToDamaged => "refers to a damaged picture",
            Self::NoOutput => "yielded no picture",
        })
    }
}
