//! Finding the next document after damage.

use memchr::memmem;

use super::document::is_matroska;
use crate::ebml::{Cursor, ElementId, Header, id, schema, vint::Vint, without_padding};

/// The result of searching for a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// A document begins at this index.
    Found(usize),
    /// No document begins before this index. The bytes from here must be searched again with more input.
    NotBefore(usize),
}

/// The longest EBML header that is recognized, in bytes.
const MAX_HEADER: u64 = 4096;

/// Searches for an EBML header with a Matroska DocType, followed by a Segment with a valid first child.
///
/// It requires all three, because four bytes of video can look like an EBML header.
pub(super) fn find_document(bytes: &[u8], from: usize, at_end: bool) -> Search {
    let marker = id::EBML.0.to_be_bytes();
    let mut next = from.min(bytes.len());
    while let Some(found) = bytes.get(next..).and_then(|rest| find(rest, &marker)) {
        let candidate = next + found;
        match is_document(bytes.get(candidate..).unwrap_or_default()) {
            Verdict::Yes => return Search::Found(candidate),
            Verdict::Unclear if !at_end => return Search::NotBefore(candidate),
            Verdict::No | Verdict::Unclear => next = candidate + 1,
        }
    }
    // The last bytes may be the start of a marker.
    Search::NotBefore(if at_end { bytes.len() } else { bytes.len().saturating_sub(marker.len() - 1).max(next) })
}

fn find(bytes: &[u8], marker: &[u8]) -> Option<usize> {
    let found = memmem::find(bytes, marker);
    #[cfg(test)]
    crate::ebml::header::work::count(found.unwrap_or(bytes.len()) as u64 / 8);
    found
}

/// Returns whether a document begins here, or `None` if more bytes are needed.
pub(super) fn begins_document(bytes: &[u8]) -> Option<bool> {
    match is_document(bytes) {
        Verdict::Yes => Some(true),
        Verdict::No => Some(false),
        Verdict::Unclear => None,
    }
}

/// Returns whether a sibling of a Cluster can begin here, or `None` if more bytes are needed.
pub(super) fn begins_cluster_sibling(bytes: &[u8]) -> Option<bool> {
    match Header::read(bytes, 0) {
        Vint::Read(header, _) => Some(header.id == id::EBML || is_child_of_segment(header.id)),
        Vint::Short => None,
        Vint::Invalid => Some(false),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    No,
    Unclear,
}

fn is_document(bytes: &[u8]) -> Verdict {
    let (ebml, rest) = match element(bytes) {
        Ok((header, size, payload)) if header.id == id::EBML => match size {
            Some(size) if size <= MAX_HEADER => match (payload.get(..size as usize), payload.get(size as usize..)) {
                (Some(ebml), Some(rest)) => (ebml, rest),
                _ => return Verdict::Unclear,
            },
            _ => return Verdict::No,
        },
        Ok(_) => return Verdict::No,
        Err(verdict) => return verdict,
    };
    if !has_doc_type(ebml) {
        return Verdict::No;
    }
    let inside = match skip_void(rest) {
        Ok((header, _, inside)) if header.id == id::SEGMENT => inside,
        Ok(_) => return Verdict::No,
        Err(verdict) => return verdict,
    };
    match element(inside) {
        Ok((header, ..)) if is_child_of_segment(header.id) => Verdict::Yes,
        Ok(_) => Verdict::No,
        Err(verdict) => verdict,
    }
}

fn has_doc_type(ebml: &[u8]) -> bool {
    let (mut children, mut found) = (Cursor::new(ebml, 0), false);
    while let Ok(Some(child)) = children.next() {
        if child.id == id::DOC_TYPE {
            found = is_matroska(without_padding(child.payload));
        }
    }
    found && children.is_at_end()
}

type Read<'a> = (Header, Option<u64>, &'a [u8]);

/// Returns an element's header, its size, and all bytes after the header.
fn element(bytes: &[u8]) -> Result<Read<'_>, Verdict> {
    match Header::read(bytes, 0) {
        Vint::Read(header, length) => Ok((header, header.size, bytes.get(usize::from(length)..).unwrap_or_default())),
        Vint::Short => Err(Verdict::Unclear),
        Vint::Invalid => Err(Verdict::No),
    }
}

/// Returns the first element, or the second one if the first is a Void.
fn skip_void(bytes: &[u8]) -> Result<Read<'_>, Verdict> {
    let (header, size, payload) = element(bytes)?;
    if header.id != id::VOID {
        return Ok((header, size, payload));
    }
    let size = size.filter(|&size| size <= MAX_HEADER).ok_or(Verdict::No)?;
    element(payload.get(size as usize..).ok_or(Verdict::Unclear)?)
}

fn is_child_of_segment(element: ElementId) -> bool {
    match schema::lookup(element).map(|row| row.parent) {
        Some(schema::Parent::In(parent)) => parent == id::SEGMENT,
        Some(schema::Parent::Anywhere) => true,
        Some(schema::Parent::Root) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebml::writer::{Width, Writer};

    fn document(doc_type: &str, child: ElementId) -> Vec<u8> {
        let mut out = Writer::new();
        out.master(id::EBML, Width::Octets(8), |ebml| ebml.text(id::DOC_TYPE, doc_type));
        out.unknown(id::SEGMENT, 8);
        out.binary(child, &[0; 9]);
        out.into_bytes()
    }

    #[test]
    fn finds_a_document_after_any_bytes() {
        let document = document("matroska\0", id::INFO);
        let mut bytes = vec![0x1A, 0x45, 0xDF, 0xA3, 0x84, 1, 2, 3, 4, 0x1A, 0x45];
        let start = bytes.len();
        bytes.extend_from_slice(&document);
        assert_eq!(find_document(&bytes, 0, false), Search::Found(start));
        assert_eq!(find_document(&bytes, start, false), Search::Found(start));
        // A truncated document is not rejected.
        for length in 0..bytes.len() - 10 {
            match find_document(&bytes[..length], 0, false) {
                Search::Found(found) => assert_eq!(found, start),
                Search::NotBefore(offset) => assert!(offset <= start, "{length}: {offset}"),
            }
        }
        assert_eq!(find_document(&bytes[..start + 20], 0, true), Search::NotBefore(start + 20));
    }

    #[test]
    fn rejects_other_doc_types_and_children() {
        for bytes in
            [document("mp4", id::INFO), document("matroska", id::SIMPLE_BLOCK), document("matroska", ElementId(0x4D4D))]
        {
            assert_eq!(find_document(&bytes, 0, true), Search::NotBefore(bytes.len()));
        }
    }
}
