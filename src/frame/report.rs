//! What became of the blocks of a fragment.

use std::sync::Arc;

use super::Frame;
use crate::error::Error;
use crate::fragment::FragmentHeader;

/// What decoding gives, nothing left out.
#[derive(Clone, Debug)]
pub enum FrameItem {
    /// A picture.
    Frame(Frame),
    /// What became of the blocks of a fragment. Comes behind its last picture.
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

/// What became of the blocks of a fragment's track.
///
/// `blocks = pictures + unsampled + skipped`.
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
    /// Of which fragment.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.fragment
    }

    /// Which fragment of the stream it is, from 0.
    pub fn fragment_index(&self) -> u64 {
        self.fragment_index
    }

    /// How many coded frames the track has in it. 0 if it has no such track.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// How many pictures were given.
    pub fn pictures(&self) -> u32 {
        self.pictures
    }

    /// How many pictures were not asked for.
    pub fn unsampled(&self) -> u32 {
        self.unsampled
    }

    pub(super) fn is_complete(&self) -> bool {
        self.pictures + self.unsampled + self.skipped.len() as u32 >= self.blocks
    }

    /// Those that gave none although they were to, in the order they stand.
    pub fn skipped(&self) -> &[SkippedBlock] {
        &self.skipped
    }
}

/// A coded frame that gave no picture.
#[derive(Clone, Debug)]
pub struct SkippedBlock {
    pub(super) ordinal: u32,
    pub(super) offset: u64,
    pub(super) timecode_ns: i64,
    pub(super) reason: NoPicture,
}

impl SkippedBlock {
    /// Its place among the packets of its fragment, from 0:
    /// [`Packet::ordinal`](crate::Packet::ordinal).
    pub fn ordinal(&self) -> u32 {
        self.ordinal
    }

    /// Where its bytes begin in the body.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its time in nanoseconds on the timeline of the producer session.
    pub fn timecode_ns(&self) -> i64 {
        self.timecode_ns
    }

    /// Why.
    pub fn reason(&self) -> &NoPicture {
        &self.reason
    }
}

/// Why a coded frame gave no picture.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NoPicture {
    /// It stands before the first key frame of its fragment.
    BeforeKeyFrame,
    /// It is shown before the first key frame of its fragment and refers to pictures of the fragment before:
    /// its group of pictures is open. [`continuous`](super::Frames::continuous) gives it.
    OpenGroup,
    /// There are no bytes in it.
    Empty,
    /// There is no picture in it, only parameters or messages for the decoder. It does not count as missing.
    Parameters,
    /// It stands before the point from which on the pictures of its fragment are whole, where they are refreshed bit by
    /// bit.
    NotRecovered,
    /// It is damaged, or the decoder finds it so. With what the decoder said, if it said something.
    Damaged(Option<Error>),
    /// It refers to a damaged one.
    RefersToDamaged,
    /// The decoder took it and gave nothing. So do frames that are not to be shown, and second fields.
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
            Self::NoOutput => "gave no picture",
        })
    }
}
