//! [`Outcome`]: the result of work on a lease.

use kinesis_video::StreamEnd;

/// The number of fragments that were read, and the reason for the end.
pub(super) struct Outcome {
    pub(super) fragments: Option<u64>,
    pub(super) reason: Option<StreamEnd>,
}
