//! The searchable tree of elements whose bytes are all there.

use std::borrow::Cow;
use std::fmt;

use super::cursor::misfit;
use super::schema::{self, Kind};
use super::vint::Vint;
use super::{ElementId, Header};
use crate::error::Result;

/// The elements in some bytes, one after another, read only as far as they are asked for.
///
/// An iterator of `Result<Element>`; after an error it ends. [`Elements::find`] looks for a path at
/// any depth, and `Display` draws the whole tree.
///
/// ```
/// use kinesis_video::ebml::Elements;
///
/// let bytes = [0x1A, 0x45, 0xDF, 0xA3, 0x87, 0x42, 0x82, 0x84, b'w', b'e', b'b', b'm'];
/// let doc_type = Elements::new(&bytes).find("EBML/DocType").next().unwrap()?;
/// assert_eq!(doc_type.value().as_text().as_deref(), Some("webm"));
/// assert_eq!(doc_type.offset(), 5);
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone)]
pub struct Elements<'a> {
    bytes: &'a [u8],
    base: u64,
    next: usize,
    depth: u8,
    /// What does not fit the end is a cut, not damage: the last element is given with what is there.
    lenient: bool,
    failed: bool,
}

/// How deep `Display` and `find` go; Matroska itself needs 8.
const MAX_DEPTH: u8 = 32;

impl<'a> Elements<'a> {
    /// The elements in `bytes`. Offsets count from the front of them.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// The elements in `bytes`, which stand at the offset `base` of something larger.
    pub fn at(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, base, next: 0, depth: 0, lenient: false, failed: false }
    }

    /// The same, but an element that goes past the end is given with as much of it as there is
    /// instead of being an error. That is how a cut fragment is looked at.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// All elements with this path, in the order they stand: names of RFC 8794 and 9559 joined by
    /// `/`, from the level of this iterator down, such as `Segment/Tracks/TrackEntry/Name`.
    pub fn find<'p>(self, path: &'p str) -> Find<'a, 'p> {
        Find { levels: vec![self], names: path.split('/').collect() }
    }

    fn read(&mut self) -> Result<Option<Element<'a>>> {
        let unread = self.bytes.get(self.next..).unwrap_or_default();
        let offset = self.base + self.next as u64;
        let header = match Header::read(unread, offset) {
            Vint::Read(header, _) => header,
            Vint::Short if unread.is_empty() || self.lenient => return Ok(None),
            Vint::Short | Vint::Invalid => return Err(misfit(unread, offset)),
        };
        let start = self.next + usize::from(header.length);
        let available = self.bytes.len() - start;
        let size = match header.size.map(usize::try_from) {
            Some(Ok(size)) if size <= available => size,
            Some(_) if self.lenient => available,
            None if schema::lookup(header.id).is_some_and(schema::ElementSchema::may_be_unknown_size) => {
                self.unknown_size(header.id, start)?
            }
            _ => return Err(misfit(unread, offset)),
        };
        self.next = start + size;
        let payload = self.bytes.get(start..self.next).unwrap_or_default();
        Ok(Some(Element { header, payload, depth: self.depth + 1, lenient: self.lenient }))
    }

    /// How long an element of unknown size is: its children are walked.
    fn unknown_size(&self, id: ElementId, start: usize) -> Result<usize> {
        let mut children = Elements { next: start, ..self.clone() };
        loop {
            let at = children.next;
            match Header::read(self.bytes.get(at..).unwrap_or_default(), 0) {
                // Nothing of unknown size can be inside of it, so this does not go deeper.
                Vint::Read(header, _) if schema::ends_unknown_size(id, header.id) => return Ok(at - start),
                _ if children.read()?.is_none() => return Ok(self.bytes.len() - start),
                _ => {}
            }
        }
    }

    fn draw(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for element in self.clone() {
            match element {
                Ok(element) => {
                    writeln!(f, "{element}")?;
                    element.children().draw(f)?;
                }
                Err(error) => writeln!(f, "{:indent$}! {error}", "", indent = usize::from(self.depth) * 2)?,
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Element<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.read().transpose();
        self.failed = !matches!(item, Some(Ok(_)));
        item
    }
}

/// The tree, a line an element: name, id, offset, size of header and payload, value.
impl fmt::Display for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.draw(f)
    }
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").field("base", &self.base).field("next", &self.next).finish_non_exhaustive()
    }
}

/// The elements that [`Elements::find`] finds, in the order they stand.
#[derive(Clone, Debug)]
pub struct Find<'a, 'p> {
    levels: Vec<Elements<'a>>,
    names: Vec<&'p str>,
}

impl<'a> Iterator for Find<'a, '_> {
    type Item = Result<Element<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(level) = self.levels.last_mut() {
            match level.next() {
                None => {
                    self.levels.pop();
                }
                Some(Err(error)) => {
                    self.levels.clear();
                    return Some(Err(error));
                }
                Some(Ok(element)) => {
                    let wanted = self.names.get(self.levels.len() - 1);
                    if element.id().name() == wanted.copied() {
                        if self.levels.len() == self.names.len() {
                            return Some(Ok(element));
                        }
                        self.levels.push(element.children());
                    }
                }
            }
        }
        None
    }
}

/// One element, its payload borrowed.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    header: Header,
    payload: &'a [u8],
    depth: u8,
    lenient: bool,
}

impl<'a> Element<'a> {
    /// The element's id.
    pub fn id(&self) -> ElementId {
        self.header.id
    }

    /// Id, offset, and the size as it was declared.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The offset of its first byte.
    pub fn offset(&self) -> u64 {
        self.header.offset
    }

    /// Its payload.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The elements inside of it; none if it is not a master.
    pub fn children(&self) -> Elements<'a> {
        let is_master = schema::lookup(self.id()).is_some_and(|row| row.kind == Kind::Master);
        let bytes = if is_master && self.depth < MAX_DEPTH { self.payload } else { &[] };
        Elements {
            bytes,
            base: self.header.payload(),
            next: 0,
            depth: self.depth,
            lenient: self.lenient,
            failed: false,
        }
    }

    /// Its payload as what the schema says it is.
    pub fn value(&self) -> Value<'a> {
        let kind = schema::lookup(self.id()).map_or(Kind::Binary, |row| row.kind);
        Value::read(kind, self.payload)
    }
}

impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { id, offset, length, size } = self.header;
        let indent = usize::from(self.depth.saturating_sub(1)) * 2;
        write!(f, "{:indent$}{id} {id:#x} @{offset} {length}+", "")?;
        match size {
            Some(size) if size == self.payload.len() as u64 => write!(f, "{size}")?,
            Some(size) => write!(f, "{size} (only {} here)", self.payload.len())?,
            None => write!(f, "? ({} here)", self.payload.len())?,
        }
        match self.value() {
            Value::Master => Ok(()),
            value => write!(f, " = {value}"),
        }
    }
}

impl fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Element").field("header", &self.header).field("value", &self.value()).finish()
    }
}

/// An element's payload, as its type says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// Bytes, also those of an element whose payload does not fit its type.
    Binary(&'a [u8]),
    /// Nanoseconds since 2001-01-01 UTC.
    Date(i64),
    /// A number.
    Float(f64),
    /// A signed integer.
    Int(i64),
    /// A master element: look at its children.
    Master,
    /// Text without its trailing NULs; octets that are not UTF-8 replaced.
    Text(Cow<'a, str>),
    /// An unsigned integer.
    Uint(u64),
}

impl<'a> Value<'a> {
    fn read(kind: Kind, payload: &'a [u8]) -> Self {
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

    /// The unsigned integer, if it is one.
    pub fn as_uint(&self) -> Option<u64> {
        match *self {
            Self::Uint(value) => Some(value),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Self::Float(value) => Some(value),
            _ => None,
        }
    }

    /// The text, if it is some.
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// Numbers as they are, text quoted, binary as capped hexadecimal.
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

/// Text fields may be padded with NUL (RFC 8794 section 7.5); spaces are content.
pub(crate) fn without_padding(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., 0] = text {
        text = rest;
    }
    text
}

pub(crate) fn uint(octets: &[u8]) -> Option<u64> {
    (octets.len() <= 8).then(|| octets.iter().fold(0, |value, octet| value << 8 | u64::from(*octet)))
}

fn int(octets: &[u8]) -> Option<i64> {
    let sign = if octets.first().is_some_and(|first| first & 0x80 != 0) { -1 } else { 0 };
    (octets.len() <= 8).then(|| octets.iter().fold(sign, |value, octet| value << 8 | i64::from(*octet)))
}
