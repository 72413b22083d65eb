//! Elements whose bytes are all there, as cheaply as can be: what is read of every fragment.

use super::vint::Vint;
use super::{ElementId, Header};
use crate::error::{Error, Result};

/// Steps over elements one beside another.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: u64,
}

/// An element: its id, where it stands, and its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) id: ElementId,
    pub(crate) offset: u64,
    pub(crate) payload: &'a [u8],
    behind: u64,
}

impl<'a> Cursor<'a> {
    /// The elements in `bytes`, which stand at `offset`.
    pub(crate) fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { rest: bytes, offset }
    }

    /// The next element, if there is one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if let Vint::Read(header, length) = Header::read(self.rest, self.offset)
            && let Some(behind) = self.rest.get(usize::from(length)..)
            && let Some((payload, rest)) =
                header.size.and_then(|size| usize::try_from(size).ok()).and_then(|size| behind.split_at_checked(size))
        {
            self.rest = rest;
            self.offset = header.payload() + payload.len() as u64;
            return Ok(Some(Item { id: header.id, offset: header.offset, payload, behind: self.offset }));
        }
        Err(misfit(self.rest, self.offset))
    }

    /// The children of an element.
    pub(crate) fn inside(item: &Item<'a>) -> Self {
        Self::new(item.payload, item.behind - item.payload.len() as u64)
    }

    /// Whether everything was read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Why no whole element of known size stands at the front of `bytes`.
#[cold]
pub(super) fn misfit(bytes: &[u8], offset: u64) -> Error {
    let error = match Header::read(bytes, offset) {
        Vint::Read(header, length) => {
            let available = bytes.len() - usize::from(length);
            match header.size {
                Some(size) => {
                    let id = header.id;
                    Error::malformed(format!("{id} of {size} bytes goes past the end, {available} bytes on"))
                }
                None => Error::malformed(format!("{} of unknown size", header.id)),
            }
        }
        Vint::Short => Error::malformed("the bytes end inside an element's header"),
        Vint::Invalid => Error::malformed("no element begins here"),
    };
    error.at(offset)
}
