//! The place at which live reading starts.

use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use aws_smithy_types::date_time::DateTime;

use crate::error::{Error, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};

/// The place at which [`Live`](super::Live) starts reading a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// Starts with the stream's newest fragment when the first call is made.
    #[default]
    Now,
    /// Starts with the oldest retained fragment.
    Earliest,
    /// Starts after the fragment with this number.
    ///
    /// The fragment itself is not sent. To include the fragment, start at its server time.
    AfterFragment(FragmentNumber),
    /// Starts with the fragment that the service was receiving at this time, on the service's clock.
    ServerTime(Timestamp),
    /// Starts with the fragment that the producer was making at this time, on the producer's clock.
    ProducerTime(Timestamp),
    /// Starts after the fragment with this [`continuation_token`](crate::Fragment::continuation_token).
    ///
    /// The stream fails at the first poll if the token is empty.
    Token(String),
    /// Starts after the fragment with this [`position`](crate::Fragment::position).
    ///
    /// The request uses the position's continuation token if it has one, else its fragment number, else its server
    /// time. If the service rejects one of them as invalid, the next is tried, unless `reconnect(false)` is set.
    AfterPosition(Position),
}

impl Start {
    /// Returns the start selector of a GetMedia request.
    pub(super) fn to_selector(&self) -> Result<StartSelector> {
        use StartSelectorType as Type;
        let millis = |time: &Timestamp| DateTime::from_millis(time.as_millis());
        let of = |kind| StartSelector::builder().start_selector_type(kind);
        let selector = match self {
            Self::Now => of(Type::Now),
            Self::Earliest => of(Type::Earliest),
            Self::AfterFragment(number) => of(Type::FragmentNumber).after_fragment_number(number.as_str()),
            Self::ServerTime(time) => of(Type::ServerTimestamp).start_timestamp(millis(time)),
            Self::ProducerTime(time) => of(Type::ProducerTimestamp).start_timestamp(millis(time)),
            Self::Token(token) if token.is_empty() => {
                return Err(Error::invalid_argument("an empty continuation token"));
            }
            Self::Token(token) => of(Type::ContinuationToken).continuation_token(token),
            Self::AfterPosition(position) => {
                let start = Self::after(position, 0).ok_or_else(|| Error::invalid_argument("an empty position"))?;
                return start.to_selector();
            }
        };
        selector.build().map_err(|error| Error::invalid_argument("the start selector is not complete").caused_by(error))
    }

    /// Returns the start after a position, by its token, its number or its time.
    ///
    /// A position may lack some of the three. `nth` counts those that it has.
    pub(super) fn after(position: &Position, nth: usize) -> Option<Self> {
        let token = position.continuation_token().map(|token| Self::Token(token.to_owned()));
        let number = position.number().cloned().map(Self::AfterFragment);
        let time = position.server_time().map(Self::ServerTime);
        [token, number, time].into_iter().flatten().nth(nth)
    }
}
