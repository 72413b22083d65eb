//! [`Outcome`]: what came of work on a lease.

use kinesis_video::StreamEnd;

/// Why work on a lease ended, and how much there was.
pub(super) struct Outcome {
    pub(super) fragments: Option<u64>,
    pub(super) reason: Option<StreamEnd>,
}
