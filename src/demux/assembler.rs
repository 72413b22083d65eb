//! The state machine that assembles fragments from elements. It is shared by all decoders.
//!
//! It does no I/O, is not async and reads no clock.
//!
//! ```text
//!            EBML header                 Cluster, or a fragment number
//!  (start) ──────────────▶ document ──────────────────────────────▶ fragment ──┐
//!                            ▲  ▲                                              │ closing tags
//!                            │  └───────────── next EBML header ◀──────────────┤ (Trailer)
//!                            │                 (NextDocument)                  ▼
//!                            └─────────────── EBML header ◀──────────────── after an end
//!                                                                              │ Cluster, or a number:
//!                                                                              ▼ another fragment of the document
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::document::{Declared, Document, is_matroska};
use crate::ebml::{Cursor, Ending, Event, Header, Reader, id, uint, without_padding};
use crate::error::{Error, Result};
use crate::fragment::{
    BlockEntry, Fault, Fragment, FragmentEnd, FragmentFooter, FragmentHeader, FragmentNumber, FragmentParts,
    ServiceTags, SkipReason, Skipped, TagCollector, Tags, Track,
};
use crate::limits::Limits;

/// Splits a body into pieces: whole items, or the parts of fragments.
///
/// The caller buffers the bytes of the current piece. [`scan`](Assembler::scan) looks for its end in the buffer and
/// resumes where the last scan stopped. [`take`](Assembler::take) makes the piece from the bytes up to that end.
#[derive(Debug)]
pub(crate) struct Assembler {
    reader: Reader,
    limits: Limits,
    grain: Grain,
    /// True if each Cluster is a fragment of its own.
    per_cluster: bool,
    /// The offset in the body of the caller's buffer.
    base: u64,
    /// The offset of the current item. It is below `base` once parts of the item have been taken.
    start: u64,
    document: Document,
    item: Item,
    /// An event that ended a piece but belongs to the next.
    replay: Option<Event>,
    /// The end of the body, once it is known.
    ending: Option<FragmentEnd>,
    /// The number of blocks of the last fragment, as an estimate for the next one.
    block_count: usize,
}

/// The granularity of the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// Whole fragments.
    Fragment,
    /// Starts, blocks and ends of fragments.
    Packet,
}

/// The end of the current piece in the buffer, and the piece's type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundary {
    pub(crate) length: usize,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Fragment(FragmentEnd),
    Fault,
    Skipped,
    /// The start of a fragment, whose header is known.
    Opened,
    /// A complete block.
    Block(BlockEntry),
}

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// A whole fragment. Only with [`Grain::Fragment`].
    Fragment(Fragment),
    Fault(Fault),
    Skipped(Skipped),
    /// The start of a fragment. This and the next two only with [`Grain::Packet`].
    Opened(Arc<FragmentHeader>),
    Block(BlockPiece),
    /// The end of a fragment.
    Closed(FragmentFooter),
}

/// A block of a fragment that is read packet by packet.
#[derive(Debug)]
pub(crate) struct BlockPiece {
    pub(crate) header: Arc<FragmentHeader>,
    pub(crate) entry: BlockEntry,
    /// The bytes that `entry` points into.
    pub(crate) raw: Bytes,
}

/// The current item, as far as it has been read.
#[derive(Debug, Default)]
struct Item {
    /// True if the item began with an EBML header.
    is_document: bool,
    /// True if the item has a Cluster or a fragment number.
    is_fragment: bool,
    /// The bytes that make the item a file, if it did not begin with an EBML header.
    prefix: Option<Bytes>,
    clusters: u32,
    /// The declarations in force when the item's media began.
    declared: Option<Declared>,
    timecode: i64,
    first_timecode: Option<i64>,
    blocks: Vec<BlockEntry>,
    block_count: u32,
    group: Option<Group>,
    tags: TagCollector,
    service: ServiceTags,
    /// The header, if it was returned as a piece.
    header: Option<Arc<FragmentHeader>>,
}

#[derive(Debug, Default)]
struct Group {
    block: Option<BlockEntry>,
    refers: bool,
    duration: Option<u64>,
}

impl Assembler {
    pub(crate) fn new(limits: Limits, grain: Grain) -> Self {
        // Other elements are read when they are complete.
        let enter = |id| matches!(id, id::EBML | id::SEGMENT | id::CLUSTER | id::BLOCK_GROUP);
        Self {
            reader: Reader::new(limits.depth, enter),
            limits,
            grain,
            per_cluster: false,
            base: 0,
            start: 0,
            document: Document::new(),
            item: Item::default(),
            replay: None,
            ending: None,
            block_count: 0,
        }
    }

    /// Returns a new assembler with these limits.
    pub(crate) fn limits(&self, limits: Limits) -> Self {
        Self { per_cluster: self.per_cluster, ..Self::new(limits, self.grain) }
    }

    /// Returns the assembler with this setting, before anything is read.
    pub(crate) fn per_cluster(self, per_cluster: bool) -> Self {
        Self { per_cluster, ..self }
    }

    /// Looks for the end of the current piece in `input`, which has all bytes received for it.
    ///
    /// After an error, nothing more can be read. [`cut`](Assembler::cut) then ends the current item.
    #[inline]
    pub(crate) fn scan(&mut self, input: &[u8]) -> Result<Option<Boundary>> {
        if let Some(event) = self.replay.take()
            && let Some(boundary) = self.event(event, input)?
        {
            return Ok(Some(boundary));
        }
        loop {
            if self.grain == Grain::Fragment {
                self.simple_blocks(input);
            }
            match self.reader.next(input, self.base) {
                Ok(Some(event)) => {
                    if let Some(boundary) = self.event(event, input)? {
                        return Ok(Some(boundary));
                    }
                }
                Ok(None) => {
                    if let Some(header) = self.reader.awaited() {
                        self.check_size(header).map_err(|error| self.in_fragment(error))?;
                    }
                    return Ok(None);
                }
                Err(error) => return Err(self.in_fragment(error)),
            }
        }
    }

    /// Returns how many more bytes the declared sizes announce.
    pub(crate) fn announced(&self, received: usize) -> u64 {
        let reached = self.base + received as u64;
        let element = self.reader.awaited().and_then(Header::end).unwrap_or(0);
        let parent = self.reader.parent().filter(|parent| parent.id == id::CLUSTER && self.grain == Grain::Fragment);
        let cluster = parent.and_then(Header::end).unwrap_or(0);
        element.max(cluster).saturating_sub(reached)
    }

    /// Returns how many bytes the buffer needs before [`scan`](Assembler::scan) can make progress.
    ///
    /// The awaited element is then complete.
    pub(crate) fn wanted(&self) -> usize {
        let end = self.reader.awaited().and_then(Header::end).unwrap_or(0);
        usize::try_from(end.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }

    /// Returns the end of the current item when the body has ended.
    ///
    /// Call it until it returns `None`. The same holds for [`abort`](Assembler::abort) and [`cut`](Assembler::cut).
    pub(crate) fn finish(&mut self, input: &[u8]) -> Option<Boundary> {
        let end = match self.ending {
            Some(end) => end,
            None => match self.reader.finish(input, self.base) {
                Ending::Clean => FragmentEnd::EndOfBody,
                Ending::Cut => FragmentEnd::Cut,
            },
        };
        self.ending = Some(end);
        self.end_item(input, input.len(), end)
    }

    /// Returns the end of the current item when the transport has failed.
    pub(crate) fn abort(&mut self, input: &[u8]) -> Option<Boundary> {
        self.end_item(input, input.len(), FragmentEnd::Cut)
    }

    /// Returns the end of the current item after an error, without the bytes after the error.
    pub(crate) fn cut(&mut self, input: &[u8]) -> Option<Boundary> {
        let here = usize::try_from(self.stopped_at().saturating_sub(self.base)).unwrap_or(usize::MAX);
        // After the end of the Segment, nothing is missing.
        let is_whole = self.reader.parent().is_none() && self.document.has_segment();
        let end = if is_whole { FragmentEnd::EndOfBody } else { FragmentEnd::Cut };
        self.end_item(input, here.min(input.len()), end)
    }

    /// Returns the offset of the element that could not be read.
    fn stopped_at(&self) -> u64 {
        match self.replay {
            Some(Event::Start(header) | Event::Element(header) | Event::End(header)) => header.offset,
            None => self.reader.needed_from(),
        }
    }

    /// Returns the offset in the body of the caller's buffer.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Returns the end of the current Cluster in the caller's buffer, if its size is known.
    pub(crate) fn cluster_end(&self) -> Option<usize> {
        let end = self.reader.open().find(|open| open.id == id::CLUSTER)?.end()?;
        usize::try_from(end.checked_sub(self.base)?).ok()
    }

    /// Skips bytes that contain no document, and returns their offset.
    pub(crate) fn skip(&mut self, length: usize) -> u64 {
        let offset = self.base;
        self.base += length as u64;
        self.start = self.base;
        self.item = Item::default();
        self.replay = None;
        self.document.forget();
        self.reader.restart(self.base);
        offset
    }

    /// Makes a piece of `raw`, the bytes up to the boundary.
    pub(crate) fn take(&mut self, raw: Bytes, boundary: Boundary) -> Piece {
        let offset = self.base;
        self.base += raw.len() as u64;
        match boundary.outcome {
            Outcome::Opened => {
                let (leading, _) = self.item.tags.finish();
                Piece::Opened(self.open(leading))
            }
            Outcome::Block(entry) => {
                let header = match &self.item.header {
                    Some(header) => Arc::clone(header),
                    None => self.open(Tags::default()),
                };
                Piece::Block(BlockPiece { header, entry, raw })
            }
            Outcome::Fragment(end) if self.grain == Grain::Packet => {
                Piece::Closed(self.close(end, offset + raw.len() as u64))
            }
            Outcome::Fragment(end) => {
                let item = self.next_item();
                Piece::Fragment(self.fragment(item, raw, offset, end))
            }
            Outcome::Fault => {
                let service = self.next_item().service;
                Piece::Fault(Fault::new(offset, raw, service))
            }
            Outcome::Skipped => {
                self.next_item();
                Piece::Skipped(Skipped::new(offset, raw, SkipReason::AfterEnd, None))
            }
        }
    }

    /// Starts the next item, and returns the one that has ended.
    fn next_item(&mut self) -> Item {
        self.start = self.base;
        let item = std::mem::take(&mut self.item);
        self.block_count = item.blocks.len();
        item
    }

    fn close(&mut self, end: FragmentEnd, offset: u64) -> FragmentFooter {
        let mut item = self.next_item();
        let (leading, tags) = item.tags.finish();
        let header = match item.header.take() {
            Some(header) => header,
            None => Arc::new(item.to_header(&self.document, leading)),
        };
        FragmentFooter::new(header, tags, end, offset, item.service)
    }

    fn open(&mut self, leading: Tags) -> Arc<FragmentHeader> {
        let header = Arc::new(self.item.to_header(&self.document, leading));
        self.item.header = Some(Arc::clone(&header));
        header
    }

    fn fragment(&self, mut item: Item, raw: Bytes, offset: u64, end: FragmentEnd) -> Fragment {
        let (leading_tags, tags) = item.tags.finish();
        let header = item.to_header(&self.document, leading_tags);
        let mkv = self.document.mkv(item.prefix, item.is_document, offset, self.base, end);
        let (blocks, service) = (item.blocks, item.service);
        Fragment::from_parts(FragmentParts { header, raw, blocks, tags, end, service, offset, mkv })
    }

    #[inline]
    fn event(&mut self, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        let done = match event {
            Event::Element(header) if header.id == id::SIMPLE_BLOCK => self.simple_block(header, event, input),
            _ => self.other_event(event, input),
        };
        match done {
            Ok(boundary) => Ok(boundary),
            Err(error) => {
                // Keeps the event, so that `stopped_at` knows where reading stopped.
                self.replay = Some(event);
                Err(self.in_fragment(error))
            }
        }
    }

    fn other_event(&mut self, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        match event {
            Event::Start(header) => self.start(header, event, input),
            Event::Element(header) => self.element(header, event, input),
            Event::End(header) if header.id == id::EBML => {
                let bytes = self.bytes_of(&header, input);
                self.document.set_ebml(bytes);
                Ok(None)
            }
            Event::End(header) if header.id == id::BLOCK_GROUP => Ok(self.end_group(&header)),
            Event::End(_) => Ok(None),
        }
    }

    fn start(&mut self, header: Header, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        if header.id == id::EBML && header.offset > self.start {
            // Its size counts for the next item, which checks it.
            return Ok(self.ends_before(input, &header, event, FragmentEnd::NextDocument));
        }
        if header.id == id::CLUSTER && self.per_cluster && self.item.clusters > 0 {
            return Ok(self.ends_before(input, &header, event, FragmentEnd::NextDocument));
        }
        self.check_size(&header)?;
        let outer = self.reader.open().nth_back(1).map(|outer| outer.id);
        let in_place = match header.id {
            id::CLUSTER => outer == Some(id::SEGMENT),
            id::BLOCK_GROUP => outer == Some(id::CLUSTER),
            _ => outer.is_none(),
        };
        if !in_place {
            let outer = outer.map_or_else(|| "document".into(), |outer| outer.to_string());
            let error = Error::malformed(format!("{} directly inside a {outer}", header.id));
            return Err(error.at(header.offset).in_path(self.reader.path(None)));
        }
        match header.id {
            id::EBML => {
                self.item.is_document = true;
                self.document.begin();
                if self.document.knows_ebml(self.bytes_of(&header, input)) {
                    self.reader.skip_children();
                }
            }
            id::SEGMENT => {
                if !self.document.has_begun() {
                    let error = Error::malformed("a document begins with an EBML header");
                    return Err(error.at(header.offset).in_path("Segment"));
                }
                self.document.set_segment(header);
            }
            id::CLUSTER => {
                self.keep_prefix();
                self.item.is_fragment = true;
                self.item.clusters += 1;
                self.item.timecode = 0;
                if self.item.first_timecode.is_none() && self.item.block_count == 0 {
                    self.item.declared = Some(self.document.declared());
                }
                if self.item.blocks.capacity() == 0 {
                    self.item.blocks.reserve(self.block_count);
                }
            }
            id::BLOCK_GROUP => {
                if let Some(boundary) = self.open_before(&header, event) {
                    return Ok(Some(boundary));
                }
                self.item.group = Some(Group::default());
            }
            _ => {}
        }
        Ok(None)
    }

    fn element(&mut self, header: Header, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        let Some(parent) = self.reader.parent().map(|parent| parent.id) else {
            return self.check_size(&header).map(|()| None);
        };
        if (parent, header.id) == (id::SEGMENT, id::TAGS) {
            return self.tags(&header, event, input);
        }
        self.check_size(&header)?;
        let payload = self.payload(&header, input);
        match (parent, header.id) {
            (id::EBML, id::DOC_TYPE) => {
                let doc_type = without_padding(payload);
                if !is_matroska(doc_type) {
                    let shown = String::from_utf8_lossy(doc_type.get(..32).unwrap_or(doc_type));
                    let error = Error::malformed(format!("a document of type {shown:?}, neither matroska nor webm"));
                    return Err(error.at(header.offset).in_path("EBML/DocType"));
                }
            }
            (id::SEGMENT, id::INFO) => {
                self.keep_prefix();
                let read = || timestamp_scale(payload, header.payload()).map_err(|error| error.in_path("Segment/Info"));
                self.document.set_info(self.bytes_of(&header, input), read)?;
            }
            (id::SEGMENT, id::TRACKS) => {
                self.keep_prefix();
                let bytes = self.bytes_of(&header, input);
                let read = || Track::read_all(payload, header.payload(), &self.limits);
                self.document.set_tracks(bytes, read).map_err(|error| error.in_path("Segment/Tracks"))?;
            }
            (id::CLUSTER, id::TIMESTAMP) => {
                let ticks = uint(payload).unwrap_or(0);
                self.item.timecode = i64::try_from(ticks).unwrap_or(i64::MAX);
                self.item.first_timecode.get_or_insert(self.item.timecode);
                if self.grain == Grain::Packet && self.item.header.is_none() {
                    return Ok(Some(self.ends_after(&header, Outcome::Opened)));
                }
            }
            // An invalid second block of a group is ignored.
            (id::BLOCK_GROUP, id::BLOCK) if self.group().block.is_none() => {
                let entry = self.read_block(&header, payload)?;
                self.group().block = Some(entry);
            }
            (id::BLOCK_GROUP, id::REFERENCE_BLOCK) => self.group().refers = true,
            (id::BLOCK_GROUP, id::BLOCK_DURATION) => self.group().duration = uint(payload),
            _ => {}
        }
        Ok(None)
    }

    fn tags(&mut self, header: &Header, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        self.check_size(header)?;
        let payload = self.payload(header, input);
        let mut found = ServiceTags::default();
        let after_media = self.item.clusters > 0;
        let offset = header.payload();
        let tags = self.item.tags.read(payload, offset, after_media, &self.limits, |tag, value| found.set(tag, value));
        if let Err(error) = tags {
            self.item.tags.forget_last();
            return Err(error.in_path("Segment/Tags"));
        }
        let another =
            found.number.is_some() && self.item.service.number.is_some() && found.number != self.item.service.number;
        if after_media && (another || found.is_fault()) {
            // The tags belong to the next item: the service started another fragment without closing tags, or
            // reports a fault.
            self.item.tags.forget_last();
            let end = if found.is_fault() { FragmentEnd::Cut } else { FragmentEnd::NextDocument };
            return Ok(self.ends_before(input, header, event, end));
        }
        if let Err(error) = self.check_fragment_size(header, header.reach()) {
            self.item.tags.forget_last();
            return Err(error);
        }
        self.keep_prefix();
        let item = &mut self.item;
        item.is_fragment |= found.number.is_some();
        item.service.merge(found);
        if item.service.is_fault() {
            return Ok(Some(self.ends_after(header, Outcome::Fault)));
        }
        // Closing tags without a fragment or document end nothing.
        if item.service.is_closed() && (item.is_fragment || item.is_document) {
            return Ok(Some(self.ends_after(header, Outcome::Fragment(FragmentEnd::Trailer))));
        }
        Ok(None)
    }

    /// Adds consecutive complete SimpleBlocks that need no further checks.
    ///
    /// This is the fast path for most of a fragment. All other elements are read as events.
    #[inline]
    fn simple_blocks(&mut self, input: &[u8]) {
        if self.document.has_encodings() {
            return;
        }
        while self.item.block_count < self.limits.blocks
            && let Some((payload, end)) = self.reader.peek_simple_block(input, self.base)
            // The buffer begins with the fragment, so `end` is the fragment's size so far.
            && end as u64 <= u64::from(self.limits.fragment_bytes)
            && let Some(bytes) = input.get(payload..end)
            && let Ok(entry) = BlockEntry::read(bytes, payload as u32, self.item.timecode)
            && !entry.is_laced()
        {
            self.reader.skip_simple_block(self.base + end as u64);
            self.item.blocks.push(entry);
            self.item.block_count += 1;
        }
    }

    #[inline]
    fn simple_block(&mut self, header: Header, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        self.check_size(&header)?;
        if self.reader.parent().is_none_or(|parent| parent.id != id::CLUSTER) {
            return Ok(None);
        }
        if let Some(boundary) = self.open_before(&header, event) {
            return Ok(Some(boundary));
        }
        let payload = self.payload(&header, input);
        let entry = self.read_block(&header, payload)?;
        Ok(self.add_block(entry, &header))
    }

    #[inline]
    fn read_block(&mut self, header: &Header, payload: &[u8]) -> Result<BlockEntry> {
        let start = (header.payload() - self.base) as u32;
        match BlockEntry::read(payload, start, self.item.timecode) {
            Ok(entry)
                if self.item.block_count < self.limits.blocks
                    && !entry.is_laced()
                    && !self.document.has_encodings() =>
            {
                self.item.block_count += 1;
                Ok(entry)
            }
            read => self.check_block(header, payload, start, read),
        }
    }

    #[cold]
    fn check_block(
        &mut self,
        header: &Header,
        payload: &[u8],
        start: u32,
        read: Result<BlockEntry>,
    ) -> Result<BlockEntry> {
        let place = |error: Error| error.at(header.offset).in_path(self.reader.path(Some(header.id)));
        if self.item.block_count >= self.limits.blocks {
            let message = format!("more than the {} blocks of Limits::blocks in one fragment", self.limits.blocks);
            return Err(place(Error::limit(message)));
        }
        let entry = read.map_err(place)?;
        if entry.is_laced() {
            let data = payload.get((entry.start - start) as usize..).unwrap_or_default();
            entry.frames(data).map_err(|error| place(error).on_track(entry.track))?;
        }
        self.document.check_encoding(entry.track).map_err(|error| place(error).on_track(entry.track))?;
        self.item.block_count += 1;
        Ok(entry)
    }

    fn end_group(&mut self, header: &Header) -> Option<Boundary> {
        let Group { block, refers, duration } = self.item.group.take()?;
        self.add_block(block?.with_key(!refers).with_duration(duration), header)
    }

    /// Adds a block that is complete at the end of this element.
    fn add_block(&mut self, entry: BlockEntry, header: &Header) -> Option<Boundary> {
        if self.grain == Grain::Packet {
            return Some(self.ends_after(header, Outcome::Block(entry)));
        }
        self.item.blocks.push(entry);
        None
    }

    fn group(&mut self) -> &mut Group {
        self.item.group.get_or_insert_default()
    }

    /// Ends a piece with the fragment's start before its first block, if packets are read one by one.
    #[inline]
    fn open_before(&mut self, header: &Header, event: Event) -> Option<Boundary> {
        if self.grain == Grain::Fragment || self.item.header.is_some() {
            return None;
        }
        self.replay = Some(event);
        Some(Boundary { length: (header.offset - self.base) as usize, outcome: Outcome::Opened })
    }

    /// Keeps the header of the document, for an item without a header of its own.
    fn keep_prefix(&mut self) {
        if !self.item.is_document && self.item.prefix.is_none() && self.grain == Grain::Fragment {
            self.item.prefix = Some(self.document.prefix());
        }
    }

    /// Checks the declared size of an element. Call it as soon as its header is known.
    #[inline]
    fn check_size(&self, header: &Header) -> Result<()> {
        match header.id {
            id::SIMPLE_BLOCK => self.check_fragment_size(header, header.reach()),
            // Tags after the media may belong to the next fragment.
            id::TAGS if self.item.clusters > 0 => self.check_metadata_size(header),
            // A Segment may hold many fragments. Its children are checked.
            id::SEGMENT => self.check_fragment_size(header, header.payload()),
            _ => {
                self.check_fragment_size(header, header.reach())?;
                self.check_metadata_size(header)
            }
        }
    }

    #[inline]
    fn check_fragment_size(&self, header: &Header, end: u64) -> Result<()> {
        if end - self.start > u64::from(self.limits.fragment_bytes) {
            return Err(self.too_large(header, end));
        }
        Ok(())
    }

    #[cold]
    fn too_large(&self, header: &Header, end: u64) -> Error {
        let (limit, asked) = (self.limits.fragment_bytes, end - self.start);
        let message = format!("a fragment of at least {asked} bytes, more than the {limit} of Limits::fragment_bytes");
        Error::limit(message).at(header.offset).in_path(self.path_of(header))
    }

    fn check_metadata_size(&self, header: &Header) -> Result<()> {
        let (limit, size) = (self.limits.metadata_bytes, header.size.unwrap_or(0));
        let is_metadata = matches!(header.id, id::EBML | id::DOC_TYPE | id::INFO | id::TRACKS | id::TAGS);
        if !is_metadata || size <= u64::from(limit) {
            return Ok(());
        }
        let message = format!("{} of {size} bytes, more than the {limit} of Limits::metadata_bytes", header.id);
        Err(Error::limit(message).at(header.offset).in_path(self.path_of(header)))
    }

    /// Returns the path of an element, which may be the innermost open one.
    fn path_of(&self, header: &Header) -> String {
        let is_open = self.reader.parent() == Some(header);
        self.reader.path((!is_open).then_some(header.id))
    }

    fn ends_after(&self, header: &Header, outcome: Outcome) -> Boundary {
        let end = header.reach();
        Boundary { length: (end - self.base) as usize, outcome }
    }

    /// Ends the item before this element. The element's event is kept for the next item.
    fn ends_before(&mut self, input: &[u8], header: &Header, event: Event, end: FragmentEnd) -> Option<Boundary> {
        self.replay = Some(event);
        self.end_item(input, (header.offset - self.base) as usize, end)
    }

    fn end_item(&mut self, input: &[u8], length: usize, end: FragmentEnd) -> Option<Boundary> {
        if self.base + length as u64 == self.start {
            return None;
        }
        // A complete Block counts even if its group is incomplete.
        if let Some(block) = self.item.group.take().and_then(|group| group.block) {
            // Without the whole group, it is unknown whether the block depends on others.
            let block = block.with_key(false);
            if self.grain == Grain::Packet {
                return Some(Boundary { length, outcome: Outcome::Block(block) });
            }
            self.item.blocks.push(block);
        }
        let is_fragment = self.item.is_document || self.item.is_fragment;
        // The first bytes of a document count as a document, even if its header is incomplete.
        let begins = || self.base == 0 || input.iter().zip(id::EBML.0.to_be_bytes()).all(|(a, b)| *a == b);
        let outcome = if is_fragment || (end == FragmentEnd::Cut && begins()) {
            Outcome::Fragment(end)
        } else {
            Outcome::Skipped
        };
        Some(Boundary { length, outcome })
    }

    #[inline]
    fn payload<'a>(&self, header: &Header, input: &'a [u8]) -> &'a [u8] {
        self.slice(input, header.payload(), header)
    }

    fn bytes_of<'a>(&self, header: &Header, input: &'a [u8]) -> &'a [u8] {
        self.slice(input, header.offset, header)
    }

    #[inline]
    fn slice<'a>(&self, input: &'a [u8], from: u64, header: &Header) -> &'a [u8] {
        let end = header.end().unwrap_or(from);
        let inside = |offset: u64| offset.checked_sub(self.base).map_or(usize::MAX, |offset| offset as usize);
        input.get(inside(from)..inside(end)).unwrap_or_default()
    }

    fn in_fragment(&self, error: Error) -> Error {
        error.in_fragment(self.item.service.number.as_ref().map(FragmentNumber::as_str))
    }
}

impl Item {
    fn to_header(&self, document: &Document, leading: Tags) -> FragmentHeader {
        let declared = self.declared.clone().unwrap_or_else(|| document.declared());
        declared.header(&self.service, leading, self.first_timecode)
    }
}

/// Returns the TimestampScale of the payload of an Info element, which begins at `offset`.
pub(crate) fn timestamp_scale(payload: &[u8], offset: u64) -> Result<Option<u64>> {
    let mut children = Cursor::new(payload, offset);
    while let Some(child) = children.next()? {
        if child.id == id::TIMESTAMP_SCALE {
            let scale = uint(child.payload).filter(|&scale| scale > 0);
            let error = || Error::malformed("a TimestampScale must be a number above 0").at(child.offset);
            return scale.ok_or_else(error).map(Some);
        }
    }
    Ok(None)
}
