//! The page tokens of ListFragments and ListStreams.

use crate::local::media::fragment_number::mix;
use crate::local::store::streams::Listed;

/// A listing of a stream's fragments, and the place of the next page in it.
///
/// It covers the fragments that existed when it began, in an arbitrary order that stays the same
/// from page to page. Fragments added meanwhile neither repeat nor hide others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Set if the range is on the producer's clock instead of the service's.
    pub(crate) by_producer: bool,
    /// The range in milliseconds, both ends included.
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// The number of chunks that the stream had ever had when the listing began.
    pub(crate) chunks: u64,
    /// The latest server time listed, in milliseconds.
    pub(crate) latest: i64,
    /// The place of the next page's first fragment.
    pub(crate) from: Option<(u64, u64)>,
}

impl Listing {
    /// Returns the fragments not listed yet, in the order of the listing.
    pub(crate) fn remaining(&self, mut listed: Vec<Listed>) -> Vec<Listed> {
        listed.retain(|fragment| self.contains(fragment) && self.from.is_none_or(|from| self.place(fragment) >= from));
        listed.sort_unstable_by_key(|fragment| self.place(fragment));
        listed
    }

    fn contains(&self, fragment: &Listed) -> bool {
        let time = if self.by_producer { fragment.producer_time } else { fragment.server_time };
        (self.start..=self.end).contains(&time.as_millis())
            && fragment.index < self.chunks
            && fragment.server_time.as_millis() <= self.latest
    }

    /// Returns a fragment's place in the order. It is shuffled, since the service promises no order.
    fn place(&self, fragment: &Listed) -> (u64, u64) {
        (mix(fragment.index ^ mix(self.chunks)), fragment.index)
    }

    /// Returns the same listing, with its next page at this fragment.
    pub(crate) fn from(&self, fragment: &Listed) -> Self {
        Self { from: Some(self.place(fragment)), ..self.clone() }
    }

    /// Encodes the listing as a token for the stream with this ARN.
    pub(crate) fn to_token(&self, arn: &str) -> String {
        let Self { by_producer, start, end, chunks, latest, from } = self;
        let (place, index) = from.unwrap_or_default();
        to_hex(&format!("{arn} {by_producer} {start} {end} {chunks} {latest} {place} {index}"))
    }

    /// Decodes a token that was issued for this stream.
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

/// Encodes text as hexadecimal.
pub(crate) fn to_hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes [`to_hex`].
pub(crate) fn from_hex(text: &str) -> Option<String> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok()
}
