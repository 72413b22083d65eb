//! Decoding payloads.

use std::borrow::Cow;
use std::fmt;

use super::schema::Kind;

/// The decoded payload of an element.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Bytes.
    ///
    /// This is also the value of an unknown element, and of a payload that does not fit the element's type.
    Binary(&'a [u8]),
    /// A date, in nanoseconds since 2001-01-01 UTC.
    Date(i64),
    /// A floating-point number.
    Float(f64),
    /// A signed integer.
    Int(i64),
    /// A master element. See [`Element::children`](super::Element::children).
    Master,
    /// Text without trailing NULs. Octets that are not UTF-8 are replaced.
    Text(Cow<'a, str>),
    /// An unsigned integer.
    Uint(u64),
}

impl<'a> Value<'a> {
    pub(super) fn read(kind: Kind, payload: &'a [u8]) -> Self {
        let value = match kind {
            Kind::Binary => None,
            Kind::Master => Some(Self::Master),
            Kind::Text => Some(Self::Text(String::from_utf8_lossy(without_padding(payload)))),
            Kind::Uint => uint(payload).map(Self::Uint),
            Kind::Int => int(payload).map(Self::Int),
            Kind::Date => int(payload).map(Self::Date),
            Kind::Float => match *payload {
                [] => Some(Self::Float(0.0)),
                [a, b, c, d] => Some(Self::Float(f64::from(f32::from_be_bytes([a, b, c, d])))),
                [a, b, c, d, e, f, g, h] => Some(Self::Float(f64::from_be_bytes([a, b, c, d, e, f, g, h]))),
                _ => None,
            },
        };
        value.unwrap_or(Self::Binary(payload))
    }

    /// Returns the number if this is [`Uint`](Value::Uint), or else `None`.
    pub fn as_uint(&self) -> Option<u64> {
        match *self {
            Self::Uint(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the number if this is [`Float`](Value::Float), or else `None`.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the text if this is [`Text`](Value::Text), or else `None`.
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// Prints text in quotes, and the first 16 bytes of binary payloads in hexadecimal.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        match self {
            Self::Binary(bytes) => {
                for byte in bytes.iter().take(SHOWN) {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str(if bytes.len() > SHOWN { "…" } else { "" })
            }
            Self::Date(nanoseconds) => write!(f, "{nanoseconds} ns since 2001"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Master => Ok(()),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Uint(value) => write!(f, "{value}"),
        }
    }
}

/// Removes the NULs that may pad text fields (RFC 8794 section 7.5). Spaces are content.
pub(crate) fn without_padding(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = text {
        text = rest;
    }
    text
}

/// Decodes an unsigned big-endian integer of at most eight octets.
pub(crate) fn uint(octets: &[u8]) -> Option<u64> {
    (octets.len() <= 8).then(|| octets.iter().fold(0, |value, octet| value << 8 | u64::from(*octet)))
}

/// Decodes a signed big-endian integer of at most eight octets.
fn int(octets: &[u8]) -> Option<i64> {
    let sign = if octets.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    (octets.len() <= 8).then(|| octets.iter().fold(sign, |value, octet| value << 8 | i64::from(*octet)))
}
