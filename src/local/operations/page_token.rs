//! A listing of the fragments of a stream.

use crate::local::media::fragment_number::mix;
use crate::local::server::state::{from_hex, to_hex};
use crate::local::store::streams::Listed;

/// What was asked for, and how far that has been answered. The fragments that there were when it began, in
/// an order of its own that stays the same from page to page: nothing is listed twice or left out because
/// others are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Whose clock the range is by.
    pub(crate) by_producer: bool,
    /// In milliseconds, both included.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// How many chunks the stream had ever had when it began.
    pub(crate) chunks: u64,
    /// The latest server time that was listed then, in milliseconds.
    pub(crate) latest: i64,
    /// The place of the first that is still to come.
    pub(crate) from: Option<(u64, u64)>,
}

impl Listing {
    /// What is still to come of it, in its order.
    pub(crate) fn left(&self, mut listed: Vec<Listed>) -> Vec<Listed> {
        listed.retain(|fragment| self.has(fragment) && self.from.is_none_or(|from| self.place(fragment) >= from));
        listed.sort_unstable_by_key(|fragment| self.place(fragment));
        listed
    }

    fn has(&self, fragment: &Listed) -> bool {
        let time = if self.by_producer { fragment.producer_time } else { fragment.server_time };
        (self.start..=self.end).contains(&time.as_millis())
            && fragment.index < self.chunks
            && fragment.server_time.as_millis() <= self.latest
    }

    /// Where a fragment stands: anywhere, since the service promises no order.
    fn place(&self, fragment: &Listed) -> (u64, u64) {
        (mix(fragment.index ^ mix(self.chunks)), fragment.index)
    }

    /// The same from this fragment on.
    pub(crate) fn from(&self, fragment: &Listed) -> Self {
        Self { from: Some(self.place(fragment)), ..self.clone() }
    }

    /// As the service would hand it out, for the stream with this ARN.
    pub(crate) fn to_token(&self, arn: &str) -> String {
        let Self { by_producer, start, end, chunks, latest, from } = self;
        let (place, index) = from.unwrap_or_default();
        to_hex(&format!("{arn} {by_producer} {start} {end} {chunks} {latest} {place} {index}"))
    }

    /// What a token says that was handed out for this stream.
    pub(crate) fn from_token(token: &str, arn: &str) -> Option<Self> {
        let text = from_hex(token)?;
        let mut parts = text.strip_prefix(arn)?.strip_prefix(' ')?.split(' ');
        let listing = Self {
            by_producer: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
            end: parts.next()?.parse().ok()?,
            chunks: parts.next()?.parse().ok()?,
            latest: parts.next()?.parse().ok()?,
            from: Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)),
        };
        parts.next().is_none().then_some(listing)
    }
}
