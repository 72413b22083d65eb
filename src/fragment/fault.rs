//! The parts of a body that are not fragments: faults and skipped bytes.

use bytes::Bytes;

use super::service_tags::ServiceTags;
use super::{Discontinuity, FragmentNumber};
use crate::error::{Error, ErrorKind};

/// An error that the service put into a body which had begun as a success: a document of tags
/// without media. GetMedia stops behind it; GetMediaForFragmentList may go on with other fragments.
///
/// Ids seen or documented: 3000 and 4000 fragment not found, 3002 error while writing the response,
/// 4500 to 4506 trouble with the stream's KMS key, 5000 internal error.
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

    /// The number of the error.
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// What the service says about it, such as `FRAGMENT_NOT_FOUND`.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The fragment it is about.
    pub fn fragment_number(&self) -> Option<&FragmentNumber> {
        self.fragment_number.as_ref()
    }

    /// Where its document begins in the body.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Its bytes.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The fault as an error.
    pub fn to_error(&self) -> Error {
        let (kind, retryable, meaning) = match self.id {
            Some(3000) => (ErrorKind::NotFound, true, "the fragment is not there, or not yet"),
            Some(3002) => (ErrorKind::Service, true, "the service could not go on writing"),
            Some(4000) => (ErrorKind::NotFound, false, "the fragment is not there any more"),
            Some(4500) => (ErrorKind::AccessDenied, false, "the caller needs kms:Decrypt on the KMS key of the stream"),
            Some(4501) => (ErrorKind::AccessDenied, false, "the KMS key of the stream is disabled"),
            Some(4502) => (ErrorKind::AccessDenied, false, "the KMS key of the stream is not valid"),
            Some(4503) => (ErrorKind::AccessDenied, true, "the KMS key of the stream is not available now"),
            Some(4504) => (ErrorKind::AccessDenied, false, "the KMS key of the stream is not for this use"),
            Some(4505) => (ErrorKind::AccessDenied, false, "the KMS key of the stream is in a state without use"),
            Some(4506) => (ErrorKind::AccessDenied, false, "the KMS key of the stream is not found"),
            Some(4507) => (ErrorKind::NotFound, false, "the stream has been deleted"),
            Some(5000) => (ErrorKind::Service, true, "the service failed inside"),
            _ => (ErrorKind::Service, false, "its meaning is not known"),
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

/// Bytes of a body that are in no fragment.
#[derive(Clone, Debug)]
pub struct Skipped {
    offset: u64,
    length: u64,
    raw: Bytes,
    reason: SkipReason,
    cause: Option<Error>,
}

/// Why bytes are in no fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipReason {
    /// They stand behind the closing tags of a fragment, or behind a fault, and open no other
    /// fragment.
    AfterEnd,
    /// They could not be read: see [`Skipped::cause`]. Only with [`resync`](crate::BodyDecoder::resync);
    /// a long stretch comes in several parts.
    Damaged,
}

impl SkipReason {
    /// The reason in a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AfterEnd => "behind the end of a fragment",
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

    /// Where they begin in the body.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// How many they are.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Why they are in no fragment.
    pub fn reason(&self) -> SkipReason {
        self.reason
    }

    /// What was wrong with them, if they are damaged.
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_ref()
    }

    /// The bytes; none where this is a [`Discontinuity`](crate::Discontinuity), which would keep them.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Notes it among what happened before the next fragment. However much is skipped, it is one
    /// stretch until a fragment comes.
    pub(crate) fn note_in(mut self, noted: &mut Vec<Discontinuity>) {
        let goes_on = |last: &mut Discontinuity| match last {
            Discontinuity::SkippedBytes(last) => last.extend(&self),
            _ => false,
        };
        if !noted.last_mut().is_some_and(goes_on) {
            self.raw = Bytes::new();
            noted.push(Discontinuity::SkippedBytes(self));
        }
    }

    /// Takes the next stretch in, if it goes on where this one ends, for the same reason.
    fn extend(&mut self, next: &Self) -> bool {
        let goes_on = next.reason == self.reason && next.offset == self.offset + self.length;
        if goes_on {
            self.length += next.length;
        }
        goes_on
    }
}

/// Why, and what was wrong if they are damaged.
impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}
