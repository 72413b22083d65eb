//! Checks and errors that several operations share.

use std::fmt;

use crate::demux::BodyItem;
use crate::fragment::Fragment;
use crate::local::media::payload::items;
use crate::local::server::wire::ErrorResponse;
use crate::local::store::streams::{Listed, Stream};

/// Refuses a member that is given and is none of these words.
pub(crate) fn one_of(member: &str, value: Option<&str>, words: &[&str]) -> Result<(), ErrorResponse> {
    if value.is_none_or(|value| words.contains(&value)) {
        return Ok(());
    }
    Err(ErrorResponse::invalid_argument(format!("{member} must be one of {}", words.join(", "))))
}

/// Refuses a number outside of `least..=most`.
pub(crate) fn within(member: &str, value: i64, least: i64, most: i64) -> Result<(), ErrorResponse> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ErrorResponse::invalid_argument(format!("{member} must be {least} to {most}")))
}

/// Refuses a stream with a retention of zero.
pub(crate) fn needs_retention(stream: &Stream) -> Result<(), ErrorResponse> {
    if stream.retention().is_zero() {
        let message = "The stream does not retain data: its DataRetentionInHours is 0";
        return Err(ErrorResponse::new("NoDataRetentionException", message));
    }
    Ok(())
}

/// Makes the error for a request that selects no fragments.
pub(crate) fn no_fragments() -> ErrorResponse {
    let message = "No fragments found in the stream for the streaming request.";
    ErrorResponse::new("ResourceNotFoundException", message)
}

/// Parses a stored fragment, if it is there and readable. Call it on a blocking thread.
pub(crate) fn read_fragment(stream: &Stream, fragment: &Listed) -> Option<Fragment> {
    match items(&stream.document(&fragment.number)?).next() {
        Some(Ok(BodyItem::Fragment(fragment))) => Some(fragment),
        _ => None,
    }
}

/// Makes the error for work on a blocking thread that did not finish.
pub(crate) fn unfinished(error: impl fmt::Display) -> ErrorResponse {
    ErrorResponse::new("InternalFailure", error.to_string())
}
