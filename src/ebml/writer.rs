//! Writing elements.

use super::element_id::ElementId;
use super::vint;

/// The width of a size field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The fewest octets that hold the size.
    Minimal,
    /// This number of octets, from 1 to 8, or more if the size needs more.
    ///
    /// Writers that fill in sizes later reserve 8. The service writes its tags with 4 at every level.
    Octets(u8),
}

/// Writes elements one after another.
///
/// ```
/// use kinesis_video::ebml::{Elements, id};
/// use kinesis_video::internals::{Width, Writer};
///
/// let mut writer = Writer::new();
/// writer.unknown(id::SEGMENT, 8);
/// writer.master(id::CLUSTER, Width::Minimal, |cluster| {
///     cluster.uint(id::TIMESTAMP, 1000);
/// });
/// let bytes = writer.into_bytes();
/// let timestamp = Elements::new(&bytes).find("Segment/Cluster/Timestamp").next().unwrap()?;
/// assert_eq!(timestamp.value().as_uint(), Some(1000));
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Creates an empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the bytes written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// Returns the bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Removes the written bytes. Keeps the allocated memory.
    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// Appends bytes unchanged, such as an element of another document.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes a master element of known size. `fill` writes its children.
    pub fn master(&mut self, id: ElementId, width: Width, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::new();
        fill(&mut inner);
        self.element(id, width, &inner.out);
    }

    /// Writes the header of a master element of unknown size, with a size field of `octets` octets.
    ///
    /// The elements written next are its children, up to the first one that cannot be.
    pub fn unknown(&mut self, id: ElementId, octets: u8) {
        self.id(id);
        vint::write_unknown(&mut self.out, octets.clamp(1, 8));
    }

    /// Writes an element with this payload.
    pub fn element(&mut self, id: ElementId, width: Width, payload: &[u8]) {
        let size = payload.len() as u64;
        let least = vint::width(size).unwrap_or(8);
        self.id(id);
        let width = match width {
            Width::Minimal => least,
            Width::Octets(octets) => octets.clamp(least, 8),
        };
        vint::write_number(&mut self.out, size, width);
        self.out.extend_from_slice(payload);
    }

    /// Writes a binary element. The size field is minimal, as in the methods below.
    pub fn binary(&mut self, id: ElementId, payload: &[u8]) {
        self.element(id, Width::Minimal, payload);
    }

    /// Writes a text element. Add NULs to `text` for padding.
    pub fn text(&mut self, id: ElementId, text: &str) {
        self.binary(id, text.as_bytes());
    }

    /// Writes an unsigned integer in the fewest octets, at least one.
    pub fn uint(&mut self, id: ElementId, value: u64) {
        let octets = 8 - value.leading_zeros() as usize / 8;
        self.binary(id, value.to_be_bytes().get(8 - octets.max(1)..).unwrap_or_default());
    }

    /// Writes a signed integer in eight octets.
    pub fn int(&mut self, id: ElementId, value: i64) {
        self.binary(id, &value.to_be_bytes());
    }

    /// Writes a floating-point number in eight octets.
    pub fn float(&mut self, id: ElementId, value: f64) {
        self.binary(id, &value.to_be_bytes());
    }

    fn id(&mut self, id: ElementId) {
        self.out.extend(id.0.to_be_bytes().into_iter().skip(4 - usize::from(id.width())));
    }
}
