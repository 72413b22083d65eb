//! Events between two fragments.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{FragmentNumber, Position, Skipped, Track};
use crate::error::Error;

/// An event between or inside fragments, after which the stream continued.
///
/// A single body reports only [`SkippedBytes`](Discontinuity::SkippedBytes). The other events come
/// from sources that read more than one body: a live stream with its reconnects, the archive, or a
/// [`share`](crate::FragmentStreamExt::share). [`detect_gaps`](crate::FragmentStreamExt::detect_gaps) reports
/// gaps in a single body.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Discontinuity {
    /// The service no longer keeps the position to resume at, so reading resumed elsewhere.
    ///
    /// Only live streams report it, unless `Live::on_aged_out` is set to fail. Media after `last` may be missing,
    /// or media before the first fragment if nothing was yielded yet.
    #[non_exhaustive]
    AgedOut {
        /// The position after the last fragment that was yielded. `None` if none was.
        last: Option<Position>,
    },
    /// A [lossy subscriber](super::Share::subscribe_lossy) was too slow, so fragments were dropped.
    #[non_exhaustive]
    Dropped {
        /// The number of dropped fragments.
        fragments: u64,
    },
    /// Media is missing, by the producer's clock.
    ///
    /// The source reports only gaps above its tolerance.
    #[non_exhaustive]
    Gap {
        /// The time from the end of the previous fragment to the start of this one.
        duration: Duration,
    },
    /// A packet differs from the one that was yielded before the reconnect.
    ///
    /// The connection was lost inside the fragment, and the service sent the fragment again with other bytes.
    /// Only live streams of packets report it, once for each fragment.
    #[non_exhaustive]
    PacketDiffers {
        /// The index of the packet in its fragment, from 0.
        ordinal: u32,
    },
    /// The connection was lost, and a new one was opened.
    ///
    /// Several losses before one fragment are one event. Then `calls` and `after` are sums, and `cause` is that
    /// of the first loss.
    #[non_exhaustive]
    Reconnected {
        /// The error that ended the previous connection. `None` if the service ended it normally.
        cause: Option<Error>,
        /// The number of calls, including the one that succeeded.
        calls: u32,
        /// The time between the end of the previous body and the start of the new one.
        after: Duration,
    },
    /// The service sent fragments again that had been yielded, so the repeats were dropped.
    #[non_exhaustive]
    Repeated {
        /// The number of repeated fragments.
        fragments: u64,
    },
    /// Bytes were skipped that belong to no fragment.
    SkippedBytes(Skipped),
    /// A fragment was skipped, because reading it failed.
    ///
    /// A live stream skips a fragment after it failed twice at the same place. The complete part was
    /// yielded before, as a fragment that ended [`Cut`](super::FragmentEnd::Cut). The archive skips
    /// unavailable fragments if its option `on_unavailable` is `Skip`.
    #[non_exhaustive]
    SkippedFragment {
        /// The number of the skipped fragment.
        number: FragmentNumber,
        /// The last error of reading the fragment.
        cause: Error,
    },
    /// The time of the media went backwards, for example because the producer restarted.
    ///
    /// The time is measured on the producer's clock. If that clock did not go backwards, the time is measured
    /// on the timeline of the producer session.
    #[non_exhaustive]
    TimelineReset {
        /// The time between the two starts of fragments.
        by: Duration,
    },
    /// The tracks differ from those of the previous fragment.
    #[non_exhaustive]
    TracksChanged {
        /// The tracks of the previous fragment.
        before: Arc<[Track]>,
    },
}

impl Discontinuity {
    /// Adds skipped bytes to the discontinuities before the next fragment.
    ///
    /// Adjacent bytes skipped for the same reason become one entry.
    pub(crate) fn note_skipped(noted: &mut Vec<Self>, skipped: Skipped) {
        let extends = |last: &mut Self| match last {
            Self::SkippedBytes(last) => last.extend(&skipped),
            _ => false,
        };
        if !noted.last_mut().is_some_and(extends) {
            noted.push(Self::SkippedBytes(skipped.without_bytes()));
        }
    }

    /// Returns true if media may be missing here.
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

/// Writes a short text for a log.
impl fmt::Display for Discontinuity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgedOut { last: Some(last) } => write!(f, "fragments after {last} are no longer retained"),
            Self::AgedOut { last: None } => f.write_str("the start is no longer retained"),
            Self::Dropped { fragments } => write!(f, "{fragments} fragments dropped"),
            Self::Gap { duration } => write!(f, "gap of {duration:?}"),
            Self::PacketDiffers { ordinal } => write!(f, "packet {ordinal} differs from the one yielded before"),
            Self::Reconnected { cause: Some(cause), calls, after } => {
                write!(f, "reconnected after {after:?} and {calls} calls: {cause}")
            }
            Self::Reconnected { cause: None, calls, after } => {
                write!(f, "reconnected after {after:?} and {calls} calls: the body had ended")
            }
            Self::Repeated { fragments } => write!(f, "{fragments} repeated fragments dropped"),
            Self::SkippedBytes(skipped) => write!(f, "{} bytes skipped: {skipped}", skipped.length()),
            Self::SkippedFragment { number, cause } => write!(f, "fragment {number} skipped: {cause}"),
            Self::TimelineReset { by } => write!(f, "the timeline went back by {by:?}"),
            Self::TracksChanged { before } => write!(f, "the tracks changed; there were {}", before.len()),
        }
    }
}
