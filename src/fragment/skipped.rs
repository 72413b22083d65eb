//! [`Skipped`]: bytes that belong to no fragment.

use bytes::Bytes;

use crate::error::Error;

/// Bytes of a body that belong to no fragment.
#[derive(Clone, Debug)]
pub struct Skipped {
    offset: u64,
    length: u64,
    raw: Bytes,
    reason: SkipReason,
    cause: Option<Error>,
}

/// The reason bytes belong to no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// The bytes follow a complete fragment or a fault, and do not start another fragment.
    AfterEnd,
    /// The bytes could not be read. [`Skipped::cause`] has the error.
    ///
    /// Only with [`resync`](crate::BodyDecoder::resync). Many damaged bytes are yielded in several parts.
    Damaged,
}

impl SkipReason {
    /// Returns the reason as a short text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AfterEnd => "after the end of a fragment",
            Self::Damaged => "damaged",
        }
    }
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Skipped {
    pub(crate) fn new(offset: u64, raw: Bytes, reason: SkipReason, cause: Option<Error>) -> Self {
        Self { offset, length: raw.len() as u64, raw, reason, cause }
    }

    /// Returns the offset in the body of the first skipped byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of skipped bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the reason the bytes were skipped.
    pub fn reason(&self) -> SkipReason {
        self.reason
    }

    /// Returns the error if the bytes are damaged, or else `None`.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_ref()
    }

    /// Returns the skipped bytes.
    ///
    /// They are empty in a [`Discontinuity`](crate::Discontinuity), which so does not keep the buffer alive.
    /// [`length`](Skipped::length) still has their number.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Drops the bytes, so that they do not keep the body's buffer alive.
    pub(super) fn without_bytes(self) -> Self {
        Self { raw: Bytes::new(), ..self }
    }

    /// Includes `next` if it follows directly and has the same reason. Returns true if it was included.
    pub(super) fn extend(&mut self, next: &Self) -> bool {
        let is_adjacent = next.reason == self.reason && next.offset == self.offset + self.length;
        if is_adjacent {
            self.length += next.length;
        }
        is_adjacent
    }
}

/// Writes the reason, and the error if the bytes are damaged.
impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}
