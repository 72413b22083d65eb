//! Positions in a stream, to resume after a fragment.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Fragment, FragmentFooter, FragmentHeader, FragmentNumber, Timestamp};
use crate::error::{Error, Result};

/// The position in a stream directly after a fragment.
///
/// Save the position to resume reading in another process. The text form is one short line. Later versions
/// of this crate will read the text too. Parsing other text is an
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument). With the feature `serde`, which `aws` enables, a
/// position is serialized as this text. Two positions are equal if they follow the same fragment. Without
/// fragment numbers, the tokens and server times are compared.
///
/// ```
/// use kinesis_video::{FragmentStream, Position};
/// # use futures::TryStreamExt;
/// # use kinesis_video::Result;
///
/// # async fn f(body: &[u8]) -> Result<()> {
/// let fragment = FragmentStream::new(body).try_next().await?.expect("there is one");
/// let saved = fragment.position().to_string();
/// assert_eq!(saved.parse::<Position>()?, fragment.position());
/// # Ok(())
/// # }
/// let position: Position = "kvs1:91343852333181432392682062607743920146:1511852109126:5000:=".parse()?;
/// assert_eq!(position.server_time().unwrap().as_millis(), 1_511_852_109_126);
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Position {
    number: Option<FragmentNumber>,
    token: Option<Arc<str>>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
}

/// The start of the text form: its name and version.
const PREFIX: &str = "kvs1:";

/// The text for a token that equals the fragment number. All tokens seen so far do.
const SAME: &str = "=";

impl Position {
    /// Returns the number of the fragment, or `None` if the position has none.
    pub fn number(&self) -> Option<&FragmentNumber> {
        self.number.as_ref()
    }

    /// Returns the token with which GetMedia resumes after the fragment.
    pub fn continuation_token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Returns the time at which the service began to receive the fragment.
    ///
    /// The time is measured on the service's clock.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.server_time
    }

    /// Returns the time at which the fragment began, on the producer's clock.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// Returns true if nothing in the position allows resuming.
    ///
    /// This is the case for a file that did not come from the service. The text of an empty position cannot be
    /// parsed.
    pub fn is_empty(&self) -> bool {
        self.number.is_none() && self.token.is_none() && self.server_time.is_none()
    }

    #[cfg(feature = "aws")]
    pub(crate) fn after(number: FragmentNumber) -> Self {
        Self { number: Some(number), ..Self::default() }
    }

    #[cfg(feature = "aws")]
    pub(crate) fn at(number: FragmentNumber, server_time: Option<Timestamp>, producer_time: Option<Timestamp>) -> Self {
        Self { number: Some(number), token: None, server_time, producer_time }
    }

    /// Returns the position just before a fragment, by its server time, or `None` if it has none.
    #[cfg(feature = "aws")]
    pub(crate) fn before(header: &FragmentHeader) -> Option<Self> {
        let before = Timestamp::from_millis(header.server_time?.as_millis() - 1);
        Some(Self { server_time: Some(before), ..Self::default() })
    }

    pub(crate) fn of(header: &FragmentHeader, token: Option<&Arc<str>>) -> Self {
        Self {
            number: header.number.clone(),
            token: token.cloned(),
            server_time: header.server_time,
            producer_time: header.producer_time,
        }
    }
}

impl FragmentHeader {
    /// Returns the position directly after the fragment, without a continuation token.
    pub fn position(&self) -> Position {
        Position::of(self, None)
    }
}

impl Fragment {
    /// Returns the position directly after the fragment.
    pub fn position(&self) -> Position {
        Position::of(&self.inner.header, self.inner.continuation_token.as_ref())
    }
}

impl FragmentFooter {
    /// Returns the position directly after the fragment.
    pub fn position(&self) -> Position {
        Position::of(&self.header, self.continuation_token.as_ref())
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        match (&self.number, &other.number) {
            (Some(number), Some(other)) => number == other,
            (None, None) => (&self.token, self.server_time) == (&other.token, other.server_time),
            _ => false,
        }
    }
}

impl Eq for Position {}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.number.as_ref().map_or("", FragmentNumber::as_str);
        let token = self.token.as_deref().unwrap_or("");
        let token = if !token.is_empty() && token == number { SAME } else { token };
        let millis = |time: Option<Timestamp>| time.map(|time| time.as_millis().to_string()).unwrap_or_default();
        // The token is the last part, because it may contain colons.
        write!(f, "{PREFIX}{number}:{}:{}:{token}", millis(self.server_time), millis(self.producer_time))
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |what: &str| {
            let shown: String = text.chars().take(64).collect();
            Error::invalid_argument(format!("{shown:?} is not a position: {what}"))
        };
        let rest = text.strip_prefix(PREFIX).ok_or_else(|| invalid("it does not start with kvs1:"))?;
        let mut parts = rest.splitn(4, ':');
        let mut part = || parts.next().ok_or_else(|| invalid("a part is missing"));
        let (number, server, producer, token) = (part()?, part()?, part()?, part()?);
        let time = |text: &str| match text {
            "" => Ok(None),
            text => text
                .parse()
                .map(|millis| Some(Timestamp::from_millis(millis)))
                .map_err(|_| invalid("a time is not a number of milliseconds")),
        };
        if token.contains(['\r', '\n']) || token.len() > 1024 {
            return Err(invalid("the token has a line break or more than 1024 bytes"));
        }
        let number = if number.is_empty() { None } else { Some(number.parse::<FragmentNumber>()?) };
        let token = match (token, &number) {
            ("", _) => None,
            (SAME, Some(number)) => Some(number.shared()),
            (token, _) => Some(token.into()),
        };
        let position = Self { number, token, server_time: time(server)?, producer_time: time(producer)? };
        if position.is_empty() { Err(invalid("it has no number, token or server time")) } else { Ok(position) }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Position;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the text of a position")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Position, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_round_trips(
            number in proptest::option::of("[0-9]{1,128}"),
            token in proptest::option::of("[a-zA-Z0-9_.:-]{1,128}"),
            same in any::<bool>(),
            times in any::<(Option<i32>, Option<i32>)>(),
        ) {
            let number: Option<FragmentNumber> = number.map(|text| text.parse().unwrap());
            let same_token = || number.as_ref().map(FragmentNumber::shared);
            let token: Option<Arc<str>> = if same { same_token() } else { token.map(Into::into) };
            let time = |millis: Option<i32>| millis.map(|millis| Timestamp::from_millis(millis.into()));
            let position = Position { number, token, server_time: time(times.0), producer_time: time(times.1) };
            prop_assume!(!position.is_empty());
            let text = position.to_string();
            let read: Position = text.parse().unwrap();
            prop_assert_eq!(&read, &position);
            prop_assert_eq!(read.token, position.token);
            prop_assert_eq!((read.server_time, read.producer_time), (position.server_time, position.producer_time));
            prop_assert!(text.len() < 320);
        }

        #[test]
        fn no_text_panics(text in ".{0,80}", tail in ".{0,40}") {
            let _ = text.parse::<Position>();
            let _ = format!("kvs1:{tail}").parse::<Position>();
        }
    }

    #[test]
    fn the_text_form_is_stable() {
        let text = "kvs1:123:1511852109126:-5:token.of-its_own";
        let position: Position = text.parse().unwrap();
        assert_eq!(position.to_string(), text);
        assert_eq!(position.continuation_token(), Some("token.of-its_own"));
        for text in
            ["", "kvs1:", "kvs1::::", "kvs2:1:1:1:=", "kvs1:x:1:1:=", "kvs1:1:x:1:=", "kvs1:1:1:1", "kvs1:1:::a\n"]
        {
            assert!(text.parse::<Position>().is_err(), "{text:?}");
        }
    }
}
