//! [`Fault`]: an error that the service reported inside the media.

use bytes::Bytes;

use super::FragmentNumber;
use super::service_tags::ServiceTags;
use crate::error::{Error, ErrorKind};

/// An error that the service reported inside the media, after the response began successfully.
///
/// A fault is usually an MKV document with tags and no media. GetMedia ends the body after a fault.
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

    /// Returns the number of the error, or `None` if the service sent none.
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// Returns the text of the error, for example `FRAGMENT_NOT_FOUND`.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Returns the number of the fragment that could not be sent, if the service sent the number.
    pub fn fragment_number(&self) -> Option<&FragmentNumber> {
        self.fragment_number.as_ref()
    }

    /// Returns the offset in the body of the fault's first byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the bytes of the fault, exactly as they were received.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// Converts the fault to an error with a matching kind.
    ///
    /// [`Error::code`] returns the [`id`](Fault::id). An unknown id becomes an [`ErrorKind::Service`].
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
