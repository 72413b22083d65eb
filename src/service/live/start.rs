//! Where to begin.

use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use aws_smithy_types::date_time::DateTime;

use crate::error::{Error, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};

/// Where to begin reading a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// With the newest fragment.
    #[default]
    Now,
    /// With the oldest that the service still has.
    Earliest,
    /// With the fragment behind this one. The fragment itself is not sent again: to begin with it,
    /// start at its time.
    AfterFragment(FragmentNumber),
    /// With the fragment that the service was receiving at this time.
    ServerTime(Timestamp),
    /// With the fragment that the producer was making at this time, on the producer's clock.
    ProducerTime(Timestamp),
    /// Where the fragment with this [`continuation_token`](crate::Fragment::continuation_token) ended.
    Token(String),
    /// Behind the fragment that this [`position`](crate::Fragment::position) is of: by its token, else
    /// its number, else the time at which the service received it.
    Position(Position),
}

impl From<FragmentNumber> for Start {
    fn from(number: FragmentNumber) -> Self {
        Self::AfterFragment(number)
    }
}

impl From<Position> for Start {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

impl Start {
    /// As GetMedia wants it.
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
            Self::Position(position) => {
                let start = Self::behind(position, 0).ok_or_else(|| Error::invalid_argument("an empty position"))?;
                return start.to_selector();
            }
        };
        selector.build().map_err(|error| Error::invalid_argument("the start selector is not complete").caused_by(error))
    }

    /// The start that goes on behind a position: by its token, its number, its time. The first of
    /// those that there are, or a later one.
    pub(super) fn behind(position: &Position, skip: usize) -> Option<Self> {
        let token = position.continuation_token().map(|token| Self::Token(token.to_owned()));
        let number = position.number().cloned().map(Self::AfterFragment);
        let time = position.server_time().map(Self::ServerTime);
        [token, number, time].into_iter().flatten().nth(skip)
    }
}
