//! Elements to bytes.

use super::{ElementId, vint};

/// How wide a size field to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As few octets as hold the size.
    Minimal,
    /// So many octets, or as many as are needed if that is more; at least 1, at most 8. Writers that fill in sizes later reserve 8; the service
    /// writes its tags with 4 at every level.
    Octets(u8),
}

/// Writes elements one after another.
///
/// ```
/// use kinesis_video::ebml::{id, Elements, Width, Writer};
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
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.out
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    /// Forgets what was written, and keeps the memory.
    pub fn clear(&mut self) {
        self.out.clear();
    }

    /// Appends bytes as they are, such as an element read elsewhere.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A master element of known size with what `fill` writes.
    pub fn master(&mut self, id: ElementId, width: Width, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::new();
        fill(&mut inner);
        self.element(id, width, &inner.out);
    }

    /// The header of a master element of unknown size, its size field `octets` wide. What is written
    /// next is inside of it, until something that cannot be.
    pub fn unknown(&mut self, id: ElementId, octets: u8) {
        self.id(id);
        vint::write_unknown(&mut self.out, octets.clamp(1, 8));
    }

    /// Any element, from its payload.
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

    /// A binary element, its size field as narrow as can be; so are those below.
    pub fn binary(&mut self, id: ElementId, payload: &[u8]) {
        self.element(id, Width::Minimal, payload);
    }

    /// A text element; pass trailing NULs to pad.
    pub fn text(&mut self, id: ElementId, text: &str) {
        self.binary(id, text.as_bytes());
    }

    /// An unsigned integer in as few octets as it needs, at least one.
    pub fn uint(&mut self, id: ElementId, value: u64) {
        let octets = 8 - value.leading_zeros() as usize / 8;
        self.binary(id, value.to_be_bytes().get(8 - octets.max(1)..).unwrap_or_default());
    }

    /// A signed integer in eight octets.
    pub fn int(&mut self, id: ElementId, value: i64) {
        self.binary(id, &value.to_be_bytes());
    }

    /// A number in eight octets.
    pub fn float(&mut self, id: ElementId, value: f64) {
        self.binary(id, &value.to_be_bytes());
    }

    fn id(&mut self, id: ElementId) {
        self.out.extend(id.0.to_be_bytes().into_iter().skip(4 - usize::from(id.width())));
    }
}
