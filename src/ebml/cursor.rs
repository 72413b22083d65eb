//! A cheap iterator over complete elements, for the metadata of every fragment.

use super::element_id::ElementId;
use super::header::Header;
use super::vint::Vint;
use crate::error::{Error, Result};

/// Iterates over sibling elements.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    offset: u64,
}

/// The id, position and payload of an element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) id: ElementId,
    pub(crate) offset: u64,
    pub(crate) payload: &'a [u8],
    /// The offset after the payload.
    end: u64,
}

impl<'a> Cursor<'a> {
    /// Creates a cursor over the elements in `bytes`, which begin at `offset`.
    pub(crate) fn new(bytes: &'a [u8], offset: u64) -> Self {
        Self { rest: bytes, offset }
    }

    /// Returns the next element, or `None` after the last one.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Item<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if let Vint::Read(header, length) = Header::read(self.rest, self.offset)
            && let Some(after_header) = self.rest.get(usize::from(length)..)
            && let Some((payload, rest)) = header
                .size
                .and_then(|size| usize::try_from(size).ok())
                .and_then(|size| after_header.split_at_checked(size))
        {
            self.rest = rest;
            self.offset = header.payload() + payload.len() as u64;
            return Ok(Some(Item { id: header.id, offset: header.offset, payload, end: self.offset }));
        }
        Err(incomplete(self.rest, self.offset))
    }

    /// Creates a cursor over the children of an element.
    pub(crate) fn inside(item: &Item<'a>) -> Self {
        Self::new(item.payload, item.end - item.payload.len() as u64)
    }

    /// Returns whether all bytes were read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Explains why `bytes` do not begin with a complete element of known size.
#[cold]
pub(super) fn incomplete(bytes: &[u8], offset: u64) -> Error {
    let error = match Header::read(bytes, offset) {
        Vint::Read(header, length) => {
            let available = bytes.len() - usize::from(length);
            match header.size {
                Some(size) => {
                    let id = header.id;
                    Error::malformed(format!(
                        "{id} of {size} bytes goes past the end: {available} bytes follow its header"
                    ))
                }
                None => Error::malformed(format!("{} of unknown size", header.id)),
            }
        }
        Vint::Short => Error::malformed("the bytes end inside an element's header"),
        Vint::Invalid => Error::malformed("no element begins here"),
    };
    error.at(offset)
}
