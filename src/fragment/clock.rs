//! [`Clock`]: the producer's or the service's.

#[cfg(feature = "ffmpeg")]
use super::FragmentHeader;
#[cfg(feature = "aws")]
use super::Position;
#[cfg(any(feature = "aws", feature = "ffmpeg"))]
use super::Timestamp;

/// The clock on which a time or a range of time is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clock {
    /// The producer's clock: the start of a fragment as the producer reports it.
    Producer,
    /// The service's clock: the time at which the service began to receive a fragment.
    #[default]
    Server,
}

impl Clock {
    /// Returns the start of the position's fragment on this clock.
    #[cfg(feature = "aws")]
    pub(crate) fn of(self, position: &Position) -> Option<Timestamp> {
        match self {
            Self::Producer => position.producer_time(),
            Self::Server => position.server_time(),
        }
    }

    /// Returns the start of the fragment on this clock.
    #[cfg(feature = "ffmpeg")]
    pub(crate) fn start_of(self, fragment: &FragmentHeader) -> Option<Timestamp> {
        match self {
            Self::Producer => fragment.producer_time(),
            Self::Server => fragment.server_time(),
        }
    }
}
