//! What happened before a fragment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{FragmentNumber, Position, Skipped, Track};
use crate::error::Error;

/// What happened before a fragment, that its consumer can survive.
///
/// A body by itself has [`Skipped`](Discontinuity::SkippedBytes) bytes; the others come from sources that
/// know more than one body: a live stream over its connections, a [`share`](crate::FragmentStreamExt::share).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Discontinuity {
    /// Where reading was to go on is no longer kept, and it went on elsewhere, as was asked for.
    /// What was behind this position, or before the first fragment, may be missing.
    #[non_exhaustive]
    AgedOut {
        /// Of the last fragment that was given out.
        last: Option<Position>,
    },
    /// So many fragments were dropped, because a subscriber that does not want to hold up others
    /// was not quick enough.
    #[non_exhaustive]
    Dropped {
        /// How many.
        fragments: u64,
    },
    /// On the producer's clock, so much media is missing.
    #[non_exhaustive]
    Gap {
        /// From the end of the fragment before to the beginning of this one.
        duration: Duration,
    },
    /// A packet that was given out before its fragment was cut is not the same in what was sent again.
    #[non_exhaustive]
    PacketDiffers {
        /// Its place among the packets of its fragment.
        ordinal: u32,
    },
    /// A fragment that could not be read, twice at the same place, was passed over. What was whole of
    /// it was given out before, as a fragment that ended [`Cut`](super::FragmentEnd::Cut).
    #[non_exhaustive]
    SkippedFragment {
        /// Its number.
        number: FragmentNumber,
        /// What was wrong.
        cause: Error,
    },
    /// The connection is another one.
    #[non_exhaustive]
    Reconnected {
        /// What ended the one before; `None` if the service did, in good order.
        cause: Option<Error>,
        /// How many calls it took.
        calls: u32,
        /// From the end of the body before until the next one began.
        after: Duration,
    },
    /// So many fragments that had been given out came again, and were dropped.
    #[non_exhaustive]
    Repeated {
        /// How many.
        fragments: u64,
    },
    /// Bytes that belong to no fragment.
    SkippedBytes(Skipped),
    /// The time of the media went back: on the producer's clock, or, where that goes on, on the
    /// timeline of its session, as when a producer starts anew.
    #[non_exhaustive]
    TimelineReset {
        /// How far.
        by: Duration,
    },
    /// The tracks are not those of the fragment before.
    #[non_exhaustive]
    TracksChanged {
        /// What they were.
        before: Arc<[Track]>,
    },
}

impl Discontinuity {
    /// Whether media may be missing here, which a whole recording would have.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::AgedOut { .. } | Self::Dropped { .. } | Self::Gap { .. } | Self::SkippedFragment { .. } => true,
            Self::SkippedBytes(skipped) => skipped.reason() == super::SkipReason::Damaged,
            Self::PacketDiffers { .. }
            | Self::Reconnected { .. }
            | Self::Repeated { .. }
            | Self::TimelineReset { .. }
            | Self::TracksChanged { .. } => false,
        }
    }
}

/// In a few words, as for a log.
impl fmt::Display for Discontinuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgedOut { last: Some(last) } => write!(f, "what followed {last} is no longer kept"),
            Self::AgedOut { last: None } => f.write_str("the start is no longer kept"),
            Self::Dropped { fragments } => write!(f, "{fragments} fragments dropped"),
            Self::Gap { duration } => write!(f, "gap of {duration:?}"),
            Self::PacketDiffers { ordinal } => write!(f, "packet {ordinal} differs from what was given out"),
            Self::SkippedFragment { number, cause } => write!(f, "fragment {number} passed over: {cause}"),
            Self::Reconnected { cause: Some(cause), calls, after } => {
                write!(f, "reconnected after {after:?} and {calls} calls: {cause}")
            }
            Self::Reconnected { cause: None, calls, after } => {
                write!(f, "reconnected after {after:?} and {calls} calls: the body had ended")
            }
            Self::Repeated { fragments } => write!(f, "{fragments} fragments came again"),
            Self::SkippedBytes(skipped) => write!(f, "{} bytes skipped: {skipped}", skipped.length()),
            Self::TimelineReset { by } => write!(f, "the timeline went back by {by:?}"),
            Self::TracksChanged { before } => write!(f, "the tracks changed; there were {}", before.len()),
        }
    }
}
