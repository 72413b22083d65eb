//! The tags that the service adds to MKV documents, in the spellings of both APIs.

use std::sync::Arc;

use super::{FragmentNumber, Timestamp};

/// The prefix of all tag names that the service uses or reserves.
pub(crate) const SERVICE_PREFIX: &str = "AWS_KINESISVIDEO";

/// A tag of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceTag {
    ContinuationToken,
    ErrorId,
    /// GetMedia's `ERROR_CODE` is a text. The archive's documented `EXCEPTION_ERROR_CODE` is a number.
    ErrorText,
    FragmentNumber,
    MillisBehindNow,
    ProducerTimestamp,
    ServerTimestamp,
}

impl ServiceTag {
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let rest = name.strip_prefix(SERVICE_PREFIX.as_bytes())?.strip_prefix(b"_")?;
        Some(match rest {
            b"CONTINUATION_TOKEN" => Self::ContinuationToken,
            b"ERROR_ID" | b"EXCEPTION_ERROR_CODE" => Self::ErrorId,
            b"ERROR_CODE" | b"EXCEPTION_MESSAGE" => Self::ErrorText,
            b"FRAGMENT_NUMBER" => Self::FragmentNumber,
            b"MILLIS_BEHIND_NOW" => Self::MillisBehindNow,
            b"PRODUCER_TIMESTAMP" | b"PRODUCER_SIDE_TIMESTAMP" => Self::ProducerTimestamp,
            b"SERVER_TIMESTAMP" | b"SERVER_SIDE_TIMESTAMP" => Self::ServerTimestamp,
            _ => return None,
        })
    }
}

/// The service's tags of one fragment.
#[derive(Debug, Default)]
pub(crate) struct ServiceTags {
    pub(crate) number: Option<FragmentNumber>,
    pub(crate) server_time: Option<Timestamp>,
    pub(crate) producer_time: Option<Timestamp>,
    pub(crate) behind_millis: Option<u64>,
    pub(crate) continuation_token: Option<Arc<str>>,
    /// True if a MILLIS_BEHIND_NOW tag was present, even an unreadable one. It is one of the two closing tags.
    has_behind_now: bool,
    error_id: Option<Box<str>>,
    error_text: Option<Box<str>>,
}

impl ServiceTags {
    /// Sets the value of a tag. Returns false if the value cannot be read.
    pub(crate) fn set(&mut self, tag: ServiceTag, value: &str) -> bool {
        match tag {
            ServiceTag::ContinuationToken => self.continuation_token = Some(value.into()),
            ServiceTag::ErrorId => self.error_id = Some(value.into()),
            ServiceTag::ErrorText => self.error_text = Some(value.into()),
            ServiceTag::FragmentNumber => {
                self.number = value.parse().ok();
                return self.number.is_some();
            }
            ServiceTag::MillisBehindNow => {
                self.has_behind_now = true;
                self.behind_millis = value.parse().ok();
                return self.behind_millis.is_some();
            }
            ServiceTag::ProducerTimestamp => {
                self.producer_time = Timestamp::parse(value);
                return self.producer_time.is_some();
            }
            ServiceTag::ServerTimestamp => {
                self.server_time = Timestamp::parse(value);
                return self.server_time.is_some();
            }
        }
        true
    }

    /// Adds the tags of a later Tags element. Earlier values take precedence.
    pub(crate) fn merge(&mut self, later: Self) {
        self.number = self.number.take().or(later.number);
        self.server_time = self.server_time.or(later.server_time);
        self.producer_time = self.producer_time.or(later.producer_time);
        self.behind_millis = self.behind_millis.or(later.behind_millis);
        if self.continuation_token.is_none() {
            self.continuation_token = match (&self.number, later.continuation_token) {
                // All tokens seen so far equal the number, so both share one text.
                (Some(number), Some(token)) if number.as_str() == &*token => Some(number.shared()),
                (_, token) => token,
            };
        }
        self.has_behind_now |= later.has_behind_now;
        self.error_id = self.error_id.take().or(later.error_id);
        self.error_text = self.error_text.take().or(later.error_text);
    }

    /// Returns true if all closing tags were present.
    pub(crate) fn is_closed(&self) -> bool {
        self.has_behind_now && self.continuation_token.is_some()
    }

    pub(crate) fn is_fault(&self) -> bool {
        self.error_id.is_some() || self.error_text.is_some()
    }

    /// Takes the number and the text of a fault.
    ///
    /// Accepts both spellings, and the number in either of the two tags.
    pub(crate) fn fault(&mut self) -> (Option<u32>, Option<Box<str>>) {
        let (id, text) = (self.error_id.take(), self.error_text.take());
        let number = |value: &Option<Box<str>>| value.as_deref().and_then(|value| value.trim().parse().ok());
        match (number(&id), number(&text)) {
            (Some(id), _) => (Some(id), text),
            (None, Some(id_in_text)) => (Some(id_in_text), id),
            (None, None) => (None, text.or(id)),
        }
    }
}
