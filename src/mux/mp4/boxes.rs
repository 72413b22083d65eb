//! Boxes (ISO/IEC 14496-12 section 4.2) around bytes that are written already.

use mp4_atom::Encode;

use super::values::Values;
use crate::error::{Error, ErrorKind, Result};

/// Bytes in pieces, so that large tables are not copied into the boxes around them.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    list: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// Numbers of this many bytes each.
    Values(Values, usize),
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Appends a piece.
    pub(super) fn push(&mut self, piece: Vec<u8>) {
        self.list.push(Piece::Bytes(piece));
    }

    /// Appends numbers of `width` bytes each.
    pub(super) fn values(&mut self, values: Values, width: usize) {
        self.list.push(Piece::Values(values, width));
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.list.append(&mut other.list);
    }

    /// Appends a box that `mp4-atom` writes.
    pub(super) fn atom(&mut self, atom: &impl Encode) -> Result<()> {
        let mut bytes = Vec::new();
        encode(atom, &mut bytes)?;
        self.push(bytes);
        Ok(())
    }

    /// Appends a box with this content.
    pub(super) fn boxed(&mut self, kind: &[u8; 4], content: Self) {
        self.push(header(kind, content.len()));
        self.append(content);
    }

    /// Appends a box with a version of 0, no flags, and this content.
    pub(super) fn full_box(&mut self, kind: &[u8; 4], content: Self) {
        let mut full = Self::from(vec![0; 4]);
        full.append(content);
        self.boxed(kind, full);
    }

    pub(super) fn len(&self) -> u64 {
        let length = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Values(values, width) => values.len() * *width as u64,
        };
        self.list.iter().map(length).sum()
    }

    /// Returns the bytes of all pieces.
    pub(super) fn concat(self) -> Vec<u8> {
        self.into_iter().flatten().collect()
    }
}

impl IntoIterator for Pieces {
    type Item = Vec<u8>;
    type IntoIter = Box<dyn Iterator<Item = Vec<u8>> + Send>;

    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.list.into_iter().flat_map(|piece| -> Self::IntoIter {
            match piece {
                Piece::Bytes(bytes) => Box::new(std::iter::once(bytes)),
                Piece::Values(values, width) => Box::new(values.into_bytes(width)),
            }
        }))
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(bytes: Vec<u8>) -> Self {
        Self { list: vec![Piece::Bytes(bytes)] }
    }
}

/// Returns the header of a box with this number of bytes in it. It has a size of 64 bits if it needs one.
pub(super) fn header(kind: &[u8; 4], content: u64) -> Vec<u8> {
    match u32::try_from(content + 8) {
        Ok(size) => [&size.to_be_bytes()[..], kind].concat(),
        Err(_) => long_header(kind, content).to_vec(),
    }
}

/// Returns the header of a box with a size of 64 bits.
pub(super) fn long_header(kind: &[u8; 4], content: u64) -> [u8; 16] {
    let mut header = [0; 16];
    let size = (content + 16).to_be_bytes();
    for (to, from) in header.iter_mut().zip([0, 0, 0, 1].iter().chain(kind).chain(&size)) {
        *to = *from;
    }
    header
}

/// Appends a box that `mp4-atom` writes.
pub(super) fn encode(atom: &impl Encode, out: &mut Vec<u8>) -> Result<()> {
    let failed = |error| Error::new(ErrorKind::Unsupported, "a box of MP4 could not be written").caused_by(error);
    atom.encode(out).map_err(|error: mp4_atom::Error| failed(error))
}
