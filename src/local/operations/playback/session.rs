//! [`Session`]: one playback session, as it was requested.

use std::sync::{Mutex, PoisonError};

use super::listing::Listing;
use super::options::Options;
use crate::fragment::Timestamp;
use crate::local::faults::quotas::Buckets;
use crate::local::server::wire::ErrorResponse;
use crate::local::store::streams::Stream;

/// An open playback session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stream_arn: String,
    pub(crate) options: Options,
    /// The calls per second of this session.
    pub(crate) buckets: Buckets,
    listing: Mutex<Listing>,
}

impl Session {
    pub(crate) fn new(stream_arn: String, options: Options) -> Self {
        Self { stream_arn, options, buckets: Buckets::default(), listing: Mutex::default() }
    }

    /// Lists the fragments that are due, and passes the listing on. Call it on a blocking thread.
    ///
    /// # Errors
    /// If there is nothing to play, or the media changes in a way that players cannot follow.
    pub(crate) fn listed<T>(
        &self,
        stream: &Stream,
        now: Timestamp,
        then: impl FnOnce(&Listing) -> Result<T, ErrorResponse>,
    ) -> Result<T, ErrorResponse> {
        let mut listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        listing.update(&self.options, stream, now)?;
        then(&listing)
    }

    /// Passes on what was listed before. Nothing is listed anew, so that a player can read what it was promised.
    pub(crate) fn as_listed<T>(&self, then: impl FnOnce(&Listing) -> T) -> T {
        then(&self.listing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
