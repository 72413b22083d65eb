//! Iterating over elements, finding them by path, and printing the tree.

use std::fmt;

use super::cursor::incomplete;
use super::element_id::ElementId;
use super::header::Header;
use super::schema::{self, Kind};
use super::value::Value;
use super::vint::Vint;
use crate::error::Result;

/// An iterator over the elements in a byte slice.
///
/// Elements are read lazily. The iterator yields `Result<Element>` and ends after an error.
/// [`Elements::find`] finds elements by path. `Display` prints the whole tree.
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
    /// Yields an element that exceeds the bytes, with a truncated payload, instead of an error.
    lenient: bool,
    failed: bool,
}

/// The depth at which `Display` and `find` stop. Matroska itself needs 8.
const MAX_DEPTH: u8 = 32;

impl<'a> Elements<'a> {
    /// Creates an iterator over the elements in `bytes`.
    ///
    /// [`Element::offset`] counts from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Creates an iterator over a part of a larger whole, such as a body.
    ///
    /// `base` is the offset of `bytes` in the whole. [`Element::offset`] counts from the start of the whole.
    pub fn at(bytes: &'a [u8], base: u64) -> Self {
        Self { bytes, base, next: 0, depth: 0, lenient: false, failed: false }
    }

    /// Yields an element that exceeds the bytes, instead of an error.
    ///
    /// The payload of such an element has the bytes that exist. An incomplete header at the end is ignored. Use this
    /// to read cut fragments.
    #[must_use]
    pub fn lenient(mut self) -> Self {
        self.lenient = true;
        self
    }

    /// Returns an iterator over all elements with this path, in document order.
    ///
    /// A path joins element names of RFC 8794 and RFC 9559 with `/`, such as
    /// `Segment/Tracks/TrackEntry/Name`. The path begins at the level of this iterator. An unknown name matches
    /// nothing. The result yields the first error on the way, and then ends.
    pub fn find<'p>(self, path: &'p str) -> Find<'a, 'p> {
        Find { levels: vec![self], names: path.split('/').collect() }
    }

    fn read(&mut self) -> Result<Option<Element<'a>>> {
        let unread = self.bytes.get(self.next..).unwrap_or_default();
        let offset = self.base + self.next as u64;
        let header = match Header::read(unread, offset) {
            Vint::Read(header, _) => header,
            Vint::Short if unread.is_empty() || self.lenient => return Ok(None),
            Vint::Short | Vint::Invalid => return Err(incomplete(unread, offset)),
        };
        let start = self.next + usize::from(header.length);
        let available = self.bytes.len() - start;
        let size = match header.size.map(usize::try_from) {
            Some(Ok(size)) if size <= available => size,
            Some(_) if self.lenient => available,
            None if schema::lookup(header.id).is_some_and(schema::ElementSchema::may_be_unknown_size) => {
                self.unknown_size(header.id, start)?
            }
            _ => return Err(incomplete(unread, offset)),
        };
        self.next = start + size;
        let payload = self.bytes.get(start..self.next).unwrap_or_default();
        Ok(Some(Element { header, payload, depth: self.depth + 1, lenient: self.lenient }))
    }

    /// Returns the length of an element of unknown size, by reading its children.
    fn unknown_size(&self, id: ElementId, start: usize) -> Result<usize> {
        let mut children = Elements { next: start, ..self.clone() };
        loop {
            let at = children.next;
            match Header::read(self.bytes.get(at..).unwrap_or_default(), 0) {
                // Its children cannot have unknown sizes, so this does not recurse further.
                Vint::Read(header, _) if schema::ends_unknown_size(id, header.id) => return Ok(at - start),
                _ if children.read()?.is_none() => return Ok(self.bytes.len() - start),
                _ => {}
            }
        }
    }

    fn print(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for element in self.clone() {
            match element {
                Ok(element) => {
                    writeln!(f, "{element}")?;
                    element.children().print(f)?;
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

/// Prints one line per element: name, id, offset, sizes of header and payload, value.
impl fmt::Display for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f)
    }
}

impl fmt::Debug for Elements<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").field("base", &self.base).field("next", &self.next).finish_non_exhaustive()
    }
}

/// An iterator over the elements with one path, from [`Elements::find`].
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

/// One element with its borrowed payload.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    header: Header,
    payload: &'a [u8],
    depth: u8,
    lenient: bool,
}

impl<'a> Element<'a> {
    /// Returns the element's id.
    pub fn id(&self) -> ElementId {
        self.header.id
    }

    /// Returns the element's header.
    #[doc(hidden)]
    pub fn header(&self) -> Header {
        self.header
    }

    /// Returns the offset of the element's first byte.
    ///
    /// The offset counts from the start of the body for [`Fragment::elements`](crate::Fragment::elements), and from
    /// the start of the slice for [`Elements::new`].
    pub fn offset(&self) -> u64 {
        self.header.offset
    }

    /// Returns the payload, the bytes after id and size.
    ///
    /// It is incomplete if the element exceeds the bytes of a [lenient](Elements::lenient) iterator.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// Returns an iterator over the children.
    ///
    /// The iterator is empty if the element is not a master, or is nested 32 levels deep.
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

    /// Decodes the payload as the type that the RFCs give the element.
    ///
    /// Returns [`Value::Binary`] if the id is unknown or the payload does not fit the type.
    pub fn value(&self) -> Value<'a> {
        let kind = schema::lookup(self.id()).map_or(Kind::Binary, |row| row.kind);
        Value::read(kind, self.payload)
    }
}

/// Prints name, id, offset, sizes of header and payload, and value, indented by depth.
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
