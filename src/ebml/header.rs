//! What stands before every element's payload: its id and its size.

use std::fmt;

use super::schema;
use super::vint::{self, Vint};

/// The id of an element, marker bits included, as specifications print it.
///
/// ```
/// use kinesis_video::ebml::id;
///
/// assert_eq!(id::CLUSTER.name(), Some("Cluster"));
/// assert_eq!(format!("{:?}", id::CLUSTER), "Cluster");
/// assert_eq!(format!("{:#x}", id::CLUSTER), "0x1f43b675");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ElementId(pub u32);

impl ElementId {
    /// The element's name in RFC 8794 or 9559.
    pub fn name(self) -> Option<&'static str> {
        schema::lookup(self).map(|element| element.name)
    }

    /// How many octets it takes.
    pub fn width(self) -> u8 {
        4 - (self.0.leading_zeros() / 8).min(3) as u8
    }
}

/// The name, or the hexadecimal id of an element not in the schema.
impl fmt::Display for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "0x{:X}", self.0),
        }
    }
}

impl fmt::Debug for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::LowerHex for ElementId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}

/// An element's id and size, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The element's id.
    pub id: ElementId,
    /// The offset of the id's first octet.
    pub offset: u64,
    /// Octets of id and size field.
    pub length: u8,
    /// Octets of payload; `None` when declared unknown.
    pub size: Option<u64>,
}

impl Header {
    /// The offset of the first payload byte.
    pub fn payload(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }

    /// The offset behind the last payload byte, when the size is known.
    pub fn end(&self) -> Option<u64> {
        self.size.map(|size| self.payload().saturating_add(size))
    }

    /// How far the element is known to reach: to its end, or its payload if the size is unknown.
    #[inline]
    pub(crate) fn reach(&self) -> u64 {
        self.end().unwrap_or(self.payload())
    }

    /// Reads the header at the front of `bytes`, which stand at `offset`.
    #[inline]
    pub(crate) fn read(bytes: &[u8], offset: u64) -> Vint<Self> {
        #[cfg(test)]
        work::count(1);
        let (id, id_length) = match vint::read_id(bytes) {
            Vint::Read(id, length) => (ElementId(id), length),
            Vint::Short => return Vint::Short,
            Vint::Invalid => return Vint::Invalid,
        };
        match vint::read_size(bytes.get(usize::from(id_length)..).unwrap_or_default()) {
            Vint::Read(size, length) => {
                let length = id_length + length;
                Vint::Read(Self { id, offset, length, size }, length)
            }
            Vint::Short => Vint::Short,
            Vint::Invalid => Vint::Invalid,
        }
    }
}

/// Counts what reading costs, for tests that it is in proportion to what comes.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local!(static HEADERS: Cell<u64> = const { Cell::new(0) });

    pub(crate) fn count(units: u64) {
        HEADERS.set(HEADERS.get() + units);
    }

    /// How many headers this thread has tried to read since it asked last, and others' work in units
    /// of about that.
    pub(crate) fn taken() -> u64 {
        HEADERS.take()
    }
}
