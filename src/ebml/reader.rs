//! The push parser, which turns bytes into element events.

use super::element_id::ElementId;
use super::header::Header;
use super::schema::{self, Kind, id};
use super::vint::{self, Vint};
use crate::error::{Error, ErrorKind, Result};

/// An event of the [`Reader`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The header of a master element whose children are read.
    Start(Header),
    /// A complete element: a leaf, or a master element whose children are not read.
    Element(Header),
    /// The end of a master element whose children were read.
    End(Header),
}

/// The end of a body, from [`Reader::finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The body ended between elements, and no open element lacks bytes.
    Clean,
    /// The body ended inside an element, which declared more bytes.
    Cut,
}

/// Reads the elements of a body that arrives in pieces.
///
/// The caller buffers the bytes and passes all bytes from some offset to [`next`](Reader::next). That offset
/// must not be above [`needed_from`](Reader::needed_from); earlier bytes may be dropped. The reader keeps only
/// its position and the stack of open elements. It never looks at payload bytes.
///
/// Only Segment and Cluster may have an unknown size. Such an element ends where an element begins that can
/// only appear outside it (RFC 8794 section 6.2). The reader skips unknown elements by their size.
///
/// ```
/// use kinesis_video::ebml::id;
/// use kinesis_video::internals::{Event, Reader};
///
/// // A Segment of unknown size with a Cluster of unknown size with a timestamp.
/// let body = [0x18, 0x53, 0x80, 0x67, 0xFF, 0x1F, 0x43, 0xB6, 0x75, 0xFF, 0xE7, 0x81, 42];
/// let mut reader = Reader::new(16, |_| true);
///
/// let mut leaves = Vec::new();
/// for end in 1..=body.len() {
///     // Adds one byte at a time. An event is returned as soon as its bytes are complete.
///     while let Some(event) = reader.next(&body[..end], 0)? {
///         if let Event::Element(header) = event {
///             leaves.push((end, header.id, header.size));
///         }
///     }
/// }
/// assert_eq!(leaves, [(13, id::TIMESTAMP, Some(1))]);
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    position: u64,
    open: Vec<Open>,
    awaited: Option<Header>,
    depth: u8,
    enter: fn(ElementId) -> bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    header: Header,
    /// The latest offset at which it can end. `u64::MAX` if its own size and all parents' sizes are unknown.
    end: u64,
}

impl Reader {
    /// Creates a reader at offset 0.
    ///
    /// It reads the children of the master elements for which `enter` returns true. It allows `depth` levels of
    /// them.
    pub fn new(depth: u8, enter: fn(ElementId) -> bool) -> Self {
        Self { position: 0, open: Vec::new(), awaited: None, depth, enter }
    }

    /// Returns the offset of the first byte that the next call needs.
    pub fn needed_from(&self) -> u64 {
        self.awaited.map_or(self.position, |header| header.offset)
    }

    /// Returns the element whose header is complete and whose payload is not.
    ///
    /// Callers can check its size before they wait for the payload.
    pub fn awaited(&self) -> Option<&Header> {
        self.awaited.as_ref()
    }

    /// Returns the innermost open master element.
    #[inline]
    pub fn parent(&self) -> Option<&Header> {
        self.open.last().map(|open| &open.header)
    }

    /// Returns the open master elements, outermost first.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = &Header> {
        self.open.iter().map(|open| &open.header)
    }

    /// Skips the children of the master element that has just started and is complete.
    ///
    /// The next event is its [`End`](Event::End).
    pub(crate) fn skip_children(&mut self) {
        if let Some(open) = self.open.last() {
            self.position = open.end;
        }
    }

    /// Continues at an offset between documents, with no element open.
    pub fn restart(&mut self, offset: u64) {
        self.open.clear();
        self.awaited = None;
        self.position = offset;
    }

    /// Returns the path of the open elements, followed by `last`.
    pub fn path(&self, last: Option<ElementId>) -> String {
        let names = self.open.iter().map(|open| open.header.id).chain(last);
        names.map(|id| id.to_string()).collect::<Vec<_>>().join("/")
    }

    /// Returns the next event, or `None` if it needs more bytes. `input` has all bytes from `offset`.
    ///
    /// # Errors
    /// - [`Malformed`](crate::ErrorKind::Malformed) if the bytes are not EBML or contradict each other.
    /// - [`Limit`](crate::ErrorKind::Limit) if elements nest too deeply.
    ///
    /// The error has the offset and the path of the element. Another call returns the same error.
    #[inline]
    pub fn next(&mut self, input: &[u8], offset: u64) -> Result<Option<Event>> {
        let reached = offset + input.len() as u64;
        if let Some(header) = self.awaited {
            return Ok(self.complete(header, reached));
        }
        if let Some(open) = self.open.last()
            && open.end == self.position
        {
            return Ok(self.close());
        }
        let unread = input.get((self.position - offset) as usize..).unwrap_or_default();
        let header = match Header::read(unread, self.position) {
            Vint::Read(header, _) => header,
            Vint::Short => return Ok(None),
            Vint::Invalid => return Err(self.not_an_element(unread)),
        };
        self.element(header, reached)
    }

    /// Returns the payload range in `input` of a complete SimpleBlock, if one is next in a Cluster.
    ///
    /// This is a fast path of [`next`](Reader::next).
    #[inline]
    pub(crate) fn peek_simple_block(&self, input: &[u8], offset: u64) -> Option<(usize, usize)> {
        let open = self.open.last().filter(|open| open.header.id == id::CLUSTER)?;
        let start = (self.position - offset) as usize;
        let [0xA3, size_field @ ..] = input.get(start..)? else { return None };
        let Vint::Read(Some(size), width) = vint::read_size(size_field) else { return None };
        let payload = start + 1 + usize::from(width);
        let end = payload.checked_add(usize::try_from(size).ok()?)?;
        (end <= input.len() && offset + end as u64 <= open.end).then_some((payload, end))
    }

    /// Continues after the SimpleBlock of [`peek_simple_block`](Reader::peek_simple_block), at its end.
    #[inline]
    pub(crate) fn skip_simple_block(&mut self, end: u64) {
        self.awaited = None;
        self.position = end;
    }

    /// Ends the body and closes all open elements.
    ///
    /// `input` is the same as for the last call of [`next`](Reader::next), which must have returned `None`.
    pub fn finish(&mut self, input: &[u8], offset: u64) -> Ending {
        let reached = offset + input.len() as u64;
        let lacks_bytes = self.open.iter().any(|open| open.end != u64::MAX && open.end > reached);
        let cut = lacks_bytes || self.awaited.is_some() || reached > self.position;
        self.open.clear();
        self.awaited = None;
        self.position = reached;
        if cut { Ending::Cut } else { Ending::Clean }
    }

    fn element(&mut self, header: Header, reached: u64) -> Result<Option<Event>> {
        if let Some(open) = self.open.last() {
            if open.header.size.is_none() && schema::ends_unknown_size(open.header.id, header.id) {
                return Ok(self.close());
            }
            if header.id == id::EBML && open.header.id != id::SEGMENT {
                let message = format!("an EBML header inside a {}", open.header.id);
                return Err(self.malformed(message, header));
            }
            if open.header.id == id::SEGMENT && header.id.width() < 4 && !is_global(header.id) {
                // All children of a Segment have ids of four octets. A shorter one is a sign of damage.
                return Err(self.malformed(format!("{} directly inside a Segment", header.id), header));
            }
            if header.end().unwrap_or(0) > open.end && header.id != id::EBML {
                let (parent, end) = (open.header.id, open.end);
                let size = header.size.unwrap_or(0);
                let message = format!("{} of {size} bytes goes past the end of its {parent} at byte {end}", header.id);
                return Err(self.malformed(message, header));
            }
        } else if !schema::lookup(header.id).is_some_and(|row| !matches!(row.parent, schema::Parent::In(_))) {
            return Err(self.malformed(format!("{} where a document should begin", header.id), header));
        }
        let row = schema::lookup(header.id);
        if let (Some(open), Some(schema::Parent::In(parent))) = (self.open.last(), row.map(|row| row.parent))
            && open.header.id == id::CLUSTER
            && parent != id::CLUSTER
        {
            // The element belongs elsewhere, so a damaged block has consumed the header of its parent.
            return Err(self.malformed(format!("{} directly inside a Cluster", header.id), header));
        }
        if header.size.is_none() && !row.is_some_and(schema::ElementSchema::may_be_unknown_size) {
            return Err(self.malformed(format!("{} of unknown size", header.id), header));
        }
        if !row.is_some_and(|row| row.kind == Kind::Master && (self.enter)(header.id)) {
            if header.size.is_none() {
                return Err(self.malformed(format!("{} of unknown size cannot be skipped", header.id), header));
            }
            return Ok(self.complete(header, reached));
        }
        if self.open.len() >= usize::from(self.depth) {
            let message = format!("elements nest deeper than the {} levels of Limits::depth", self.depth);
            return Err(Error::limit(message).at(header.offset).in_path(self.path(Some(header.id))));
        }
        if header.id == id::EBML {
            // Some writers declare a Segment size that is too large, and begin the next document inside it.
            self.open.clear();
        }
        let latest = self.open.last().map_or(u64::MAX, |parent| parent.end);
        self.open.push(Open { header, end: header.end().unwrap_or(latest) });
        self.position = header.payload();
        Ok(Some(Event::Start(header)))
    }

    #[inline]
    fn complete(&mut self, header: Header, reached: u64) -> Option<Event> {
        match header.end() {
            Some(end) if end <= reached => {
                self.awaited = None;
                self.position = end;
                Some(Event::Element(header))
            }
            _ => {
                self.awaited = Some(header);
                None
            }
        }
    }

    fn close(&mut self) -> Option<Event> {
        self.open.pop().map(|open| Event::End(open.header))
    }

    fn not_an_element(&self, unread: &[u8]) -> Error {
        // Only the bytes up to the invalid one, so that the message does not depend on how many have arrived.
        let decisive = match vint::read_id(unread) {
            Vint::Read(_, width) => usize::from(width) + 1,
            Vint::Short | Vint::Invalid => match unread.first().map_or(0, |first| first.leading_zeros()) {
                length @ 0..=3 => length as usize + 1,
                _ => 1,
            },
        };
        let bytes = unread.iter().take(decisive).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        Error::new(ErrorKind::Malformed, format!("no element begins with the bytes {}", bytes.join(" ")))
            .at(self.position)
            .in_path(self.path(None))
    }

    fn malformed(&self, message: String, header: Header) -> Error {
        Error::malformed(message).at(header.offset).in_path(self.path(Some(header.id)))
    }
}

fn is_global(id: ElementId) -> bool {
    schema::lookup(id).is_some_and(|row| row.parent == schema::Parent::Anywhere)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebml::writer::{Width, Writer};

    fn events(body: &[u8]) -> Result<Vec<Event>> {
        let mut reader = Reader::new(16, |_| true);
        let mut events = Vec::new();
        while let Some(event) = reader.next(body, 0)? {
            events.push(event);
        }
        Ok(events)
    }

    fn names(body: &[u8]) -> Vec<String> {
        let name = |event: &Event| match event {
            Event::Start(header) => format!("<{}>", header.id),
            Event::Element(header) => header.id.to_string(),
            Event::End(header) => format!("</{}>", header.id),
        };
        events(body).unwrap().iter().map(name).collect()
    }

    #[test]
    fn the_next_element_ends_an_unknown_size() {
        let mut writer = Writer::new();
        writer.unknown(id::SEGMENT, 8);
        writer.unknown(id::CLUSTER, 1);
        writer.uint(id::TIMESTAMP, 7);
        writer.binary(ElementId(0x4D4D), b"never heard of");
        writer.binary(id::VOID, b"");
        writer.master(id::TAGS, Width::Minimal, |_| {});
        writer.master(id::EBML, Width::Minimal, |_| {});
        let expected = [
            "<Segment>",
            "<Cluster>",
            "Timestamp",
            "0x4D4D",
            "Void",
            "</Cluster>",
            "<Tags>",
            "</Tags>",
            "</Segment>",
            "<EBML>",
            "</EBML>",
        ];
        assert_eq!(names(&writer.into_bytes()), expected);
    }

    #[test]
    fn an_unknown_size_ends_with_its_parent() {
        let mut writer = Writer::new();
        writer.master(id::SEGMENT, Width::Minimal, |segment| {
            segment.unknown(id::CLUSTER, 1);
            segment.uint(id::TIMESTAMP, 7);
        });
        writer.master(id::SEGMENT, Width::Minimal, |_| {});
        let expected = ["<Segment>", "<Cluster>", "Timestamp", "</Cluster>", "</Segment>", "<Segment>", "</Segment>"];
        assert_eq!(names(&writer.into_bytes()), expected);
    }

    #[test]
    fn an_empty_master_starts_and_ends() {
        let mut writer = Writer::new();
        writer.master(id::SEGMENT, Width::Octets(2), |segment| {
            segment.master(id::CLUSTER, Width::Octets(8), |_| {});
        });
        assert_eq!(names(&writer.into_bytes()), ["<Segment>", "<Cluster>", "</Cluster>", "</Segment>"]);
    }

    #[test]
    fn errors_have_offset_and_path() {
        let segment = |rest: &[u8]| [&[0x18, 0x53, 0x80, 0x67, 0xFF], rest].concat();
        let cases = [
            (b"{\"Output\"".to_vec(), "0x7B22 where a document should begin (at byte 0, in 0x7B22)"),
            (segment(&[0, 1, 2]), "no element begins with the bytes 00 (at byte 5, in Segment)"),
            (segment(&[0xE7, 0x85, 0]), "Timestamp directly inside a Segment (at byte 5, in Segment/Timestamp)"),
            (segment(&[0x12, 0x54, 0xC3, 0x67, 0xFF]), "Tags of unknown size (at byte 5, in Segment/Tags)"),
            (
                vec![0x18, 0x53, 0x80, 0x67, 0x83, 0xEC, 0x85, 0],
                "Void of 5 bytes goes past the end of its Segment at byte 8 (at byte 5, in Segment/Void)",
            ),
            (
                vec![0x1A, 0x45, 0xDF, 0xA3, 0x88, 0x1A, 0x45, 0xDF, 0xA3, 0x80, 0, 0, 0],
                "an EBML header inside a EBML (at byte 5, in EBML/EBML)",
            ),
        ];
        for (body, expected) in cases {
            let error = events(&body).unwrap_err();
            assert_eq!(error.to_string(), format!("malformed media: {expected}"));
        }
    }

    #[test]
    fn nesting_is_limited() {
        let mut body = vec![0x18, 0x53, 0x80, 0x67, 0xFF];
        for _ in 0..20 {
            body.extend([0x1F, 0x43, 0xB6, 0x75, 0x08, 0, 0, 0, 0]);
        }
        let mut reader = Reader::new(3, |_| true);
        let error = loop {
            match reader.next(
                &[0x18, 0x53, 0x80, 0x67, 0x98, 0x12, 0x54, 0xC3, 0x67, 0x93, 0x73, 0x73, 0x90, 0x67, 0xC8, 0x8D],
                0,
            ) {
                Ok(Some(_)) => {}
                Ok(None) => panic!("no limit"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(error.position().path(), Some("Segment/Tags/Tag/SimpleTag"));
    }

    #[test]
    fn finish_distinguishes_a_cut_from_a_clean_end() {
        let body = [0x18, 0x53, 0x80, 0x67, 0xFF, 0x1F, 0x43, 0xB6, 0x75, 0x83, 0xE7, 0x81, 42];
        for (length, expected) in
            [(5, Ending::Clean), (6, Ending::Cut), (10, Ending::Cut), (12, Ending::Cut), (13, Ending::Clean)]
        {
            let mut reader = Reader::new(16, |_| true);
            while reader.next(&body[..length], 0).unwrap().is_some() {}
            assert_eq!(reader.finish(&body[..length], 0), expected, "{length}");
        }
    }
}
