//! The parts of a body that are not fragments: faults and skipped bytes.

use bytes::Bytes;

use super::service_tags::ServiceTags;
use super::{Discontinuity, FragmentNumber};
use crate::error::{Error, ErrorKind};

/// An error that the service reported inside the media, after the response began successfully.
///
/// It is an MKV document with tags and no media. GetMedia ends the body after it.
/// GetMediaForFragmentList may continue with other fragments.
///
/// | id | meaning |
/// |---|---|
/// | 3000, 4000 | the fragment was not found |
/// | 3002 | an error occurred while the response was written |
/// | 4500 to 4506 | the KMS key of the stream cannot be used |
/// | 4507 | the stream was deleted |
/// | 5000 | internal error of the service |
#[derive(Clone, Debug)]
pub struct Fault {
    offset: u64,
    raw: Bytes,
    id: Option<u32>,
    message: Option<Box<str>>,
    fragment_number: Option<FragmentNumber>,
}

impl Fault {
    pub(crate) fn new(offset: u64, raw: Bytes, mut service: ServiceTags) -> Self {
        let (id, message) = service.fault();
        Self { offset, raw, id, message, fragment_number: service.number }
    }

    /// Returns the number of the error.
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// Returns the text of the error, for example `FRAGMENT_NOT_FOUND`.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Returns the number of the fragment that could not be sent.
    pub fn fragment_number(&self) -> Option<&FragmentNumber> {
        self.fragment_number.as_ref()
    }

    /// Returns the offset of its document in the body.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes of its document.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Converts the fault to an error with a matching kind.
    pub fn to_error(&self) -> Error {
        let (kind, retryable, meaning) = match self.id {
            Some(3000) => (ErrorKind::NotFound, true, "the fragment does not exist, or is not available yet"),
            Some(3002) => (ErrorKind::Service, true, "the service could not write the rest of the response"),
            Some(4000) => (ErrorKind::NotFound, false, "the fragment no longer exists"),
            Some(4500) => (ErrorKind::AccessDenied, false, "the caller needs kms:Decrypt on the KMS key of the stream"),
            Some(4501) => (ErrorKind::AccessDenied, false, "the KMS key of the stream is disabled"),
            Some(4502) => (ErrorKind::AccessDenied, false, "the KMS key of the stream is not valid"),
            Some(4503) => (ErrorKind::AccessDenied, true, "the KMS key of the stream is not available now"),
            Some(4504) => (ErrorKind::AccessDenied, false, "the KMS key of the stream does not allow this use"),
            Some(4505) => {
                (ErrorKind::AccessDenied, false, "the KMS key of the stream is in a state that allows no use")
            }
            Some(4506) => (ErrorKind::AccessDenied, false, "the KMS key of the stream was not found"),
            Some(4507) => (ErrorKind::NotFound, false, "the stream has been deleted"),
            Some(5000) => (ErrorKind::Service, true, "the service had an internal error"),
            _ => (ErrorKind::Service, false, "this error is unknown"),
        };
        let said = self.message.as_deref().unwrap_or("");
        let message = format!("the service reported {said:?} inside the media; {meaning}");
        let error = Error::new(kind, message).retryable(retryable).at(self.offset);
        let error = error.in_fragment(self.fragment_number.as_ref().map(FragmentNumber::as_str));
        match self.id {
            Some(id) => error.with_code(id.to_string()),
            None => error,
        }
    }
}

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
    /// The bytes could not be read; [`Skipped::cause`] has the error.
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

    /// Returns the offset of the first byte in the body.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the reason the bytes were skipped.
    pub fn reason(&self) -> SkipReason {
        self.reason
    }

    /// Returns the error, if the bytes are damaged.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_ref()
    }

    /// Returns the bytes.
    ///
    /// Empty in a [`Discontinuity`](crate::Discontinuity), so that it does not keep the buffer alive.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Adds the bytes to the discontinuities before the next fragment.
    ///
    /// Adjacent bytes skipped for the same reason become one entry.
    pub(crate) fn note_in(mut self, noted: &mut Vec<Discontinuity>) {
        let extends = |last: &mut Discontinuity| match last {
            Discontinuity::SkippedBytes(last) => last.extend(&self),
            _ => false,
        };
        if !noted.last_mut().is_some_and(extends) {
            self.raw = Bytes::new();
            noted.push(Discontinuity::SkippedBytes(self));
        }
    }

    /// Includes `next` if it follows directly and has the same reason. Returns true if it was included.
    fn extend(&mut self, next: &Self) -> bool {
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
