//! Element headers: the id and the size in front of every payload.

use super::element_id::ElementId;
use super::vint::{self, Vint};

/// The id, size and position of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The element's id.
    pub id: ElementId,
    /// The offset of the id's first octet.
    pub offset: u64,
    /// The length of id and size field, in octets.
    pub length: u8,
    /// The declared length of the payload, in octets. `None` if it is declared as unknown.
    pub size: Option<u64>,
}

impl Header {
    /// Returns the offset of the first payload byte.
    pub fn payload(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.length))
    }

    /// Returns the offset after the last payload byte, or `None` if the size is unknown.
    pub fn end(&self) -> Option<u64> {
        self.size.map(|size| self.payload().saturating_add(size))
    }

    /// Returns the end of the element, or the start of its payload if the size is unknown.
    #[inline]
    pub(crate) fn reach(&self) -> u64 {
        self.end().unwrap_or(self.payload())
    }

    /// Reads the header at the front of `bytes`, which begin at `offset`.
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

/// Counts the work of reading, so that tests can check that it is linear in the input.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local!(static HEADERS: Cell<u64> = const { Cell::new(0) });

    /// Adds `units`: one per header, or other work that costs about as much.
    pub(crate) fn count(units: u64) {
        HEADERS.set(HEADERS.get() + units);
    }

    /// Returns the units that this thread has counted since the last call, and resets the count.
    pub(crate) fn taken() -> u64 {
        HEADERS.take()
    }
}
