//! The errors of PutMedia.

use crate::error::Error;

/// An error that ends a session of PutMedia, with the service's id and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutError {
    /// The request could not be read to its end.
    StreamReadError,
    /// A fragment is larger than 50 MB.
    MaxFragmentSizeReached,
    /// A fragment is longer than 20 s.
    MaxFragmentDurationReached,
    /// The session is older than 45 min.
    MaxConnectionDurationReached,
    /// A Cluster is not later than the one before it.
    FragmentTimecodeLesserThanPrevious,
    /// There are more than three tracks.
    MoreThanAllowedTracksFound,
    /// The body is not one MKV document.
    InvalidMkvData,
    /// A fragment's time cannot be represented.
    InvalidProducerTimestamp,
    /// A fragment has too many tags, or tags that are too long or reserved.
    FragmentMetadataLimitReached,
    /// A block belongs to no track.
    TrackNumberMismatch,
    /// A fragment lacks blocks of a track.
    FramesMissingForTrack,
    /// The stream was deleted.
    StreamDeleted,
    /// An error that was injected, with any id.
    Injected(u32),
}

impl PutError {
    /// Returns the value of ErrorId.
    pub fn id(self) -> u32 {
        match self {
            Self::StreamReadError => 4000,
            Self::MaxFragmentSizeReached => 4001,
            Self::MaxFragmentDurationReached => 4002,
            Self::MaxConnectionDurationReached => 4003,
            Self::FragmentTimecodeLesserThanPrevious => 4004,
            Self::MoreThanAllowedTracksFound => 4005,
            Self::InvalidMkvData => 4006,
            Self::InvalidProducerTimestamp => 4007,
            Self::FragmentMetadataLimitReached => 4009,
            Self::TrackNumberMismatch => 4010,
            Self::FramesMissingForTrack => 4011,
            Self::StreamDeleted => 4507,
            Self::Injected(id) => id,
        }
    }

    /// Returns the value of ErrorCode. Injected errors have a message instead.
    pub fn code(self) -> &'static str {
        match self {
            Self::StreamReadError => "STREAM_READ_ERROR",
            Self::MaxFragmentSizeReached => "MAX_FRAGMENT_SIZE_REACHED",
            Self::MaxFragmentDurationReached => "MAX_FRAGMENT_DURATION_REACHED",
            Self::MaxConnectionDurationReached => "MAX_CONNECTION_DURATION_REACHED",
            Self::FragmentTimecodeLesserThanPrevious => "FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS",
            Self::MoreThanAllowedTracksFound => "MORE_THAN_ALLOWED_TRACKS_FOUND",
            Self::InvalidMkvData => "INVALID_MKV_DATA",
            Self::InvalidProducerTimestamp => "INVALID_PRODUCER_TIMESTAMP",
            Self::FragmentMetadataLimitReached => "FRAGMENT_METADATA_LIMIT_REACHED",
            Self::TrackNumberMismatch => "TRACK_NUMBER_MISMATCH",
            Self::FramesMissingForTrack => "FRAMES_MISSING_FOR_TRACK",
            Self::StreamDeleted => "STREAM_DELETED",
            Self::Injected(_) => "",
        }
    }
}

/// An error, and its cause for people.
pub(super) type Refusal = (PutError, String);

/// Makes the error for a body that is not one MKV document.
pub(super) fn invalid(reason: impl Into<String>) -> Refusal {
    (PutError::InvalidMkvData, reason.into())
}

/// Makes the error for elements that cannot be read.
pub(super) fn unreadable(error: Error) -> Refusal {
    invalid(error.to_string())
}
