//! Elements to fragments: the state machine under all decoders. No I/O, no async, no clock.
//!
//! ```text
//!            EBML header                 Cluster, or service tags
//!  (start) ──────────────▶ document ──────────────────────────────▶ fragment ──┐
//!                            ▲  ▲                                              │ closing tags
//!                            │  └───────────── next EBML header ◀──────────────┤ (Trailer)
//!                            │                 (NextDocument)                  ▼
//!                            └─────────────── EBML header ◀──────────────── behind an end
//!                                                                              │ Cluster, or service tags:
//!                                                                              ▼ another fragment of the document
//! ```

use std::sync::Arc;

use bytes::Bytes;

use super::block::BlockEntry;
use super::fault::{BodyItem, Fault, SkipReason, Skipped};
use super::tags::{ServiceTag, TagCollector};
use super::{End, Fragment, FragmentHeader, FragmentNumber, Inner, Mkv, Timestamp, Track};
use crate::ebml::{Elements, Ending, Event, Header, Reader, Writer, id, uint};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// Cuts a body into items.
///
/// The caller keeps the bytes of the current item. [`scan`](Assembler::scan) looks for its end in
/// what has come so far, each time going on where it stopped; [`take`](Assembler::take) makes the
/// item of the bytes that the caller splits off there.
#[derive(Debug)]
pub(crate) struct Assembler {
    reader: Reader,
    limits: Limits,
    /// Where the current item begins in the body.
    base: u64,
    document: Document,
    /// The last Tracks element and what was read from it: most documents repeat it byte for byte.
    known_tracks: (Vec<u8>, Arc<[Track]>),
    item: Item,
    /// An event that ended an item but belongs to the next.
    replay: Option<Event>,
    /// How many blocks the last fragment had: a good guess for the next.
    block_count: usize,
}

/// Where the current item ends, and as what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Boundary {
    pub(crate) length: usize,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    Fragment(End),
    Fault,
    Skipped,
}

/// What later fragments need to know of the document that they are in.
#[derive(Debug)]
struct Document {
    /// Whether there was an EBML header at all.
    begun: bool,
    /// EBML header, Segment of unknown size, Info, Tracks: what makes a lone Cluster a file.
    header: Writer,
    segment: Option<Header>,
    tracks: Option<Arc<[Track]>>,
    timestamp_scale: u64,
}

/// What is known of the item that is coming in.
#[derive(Debug, Default)]
struct Item {
    /// It began with an EBML header.
    is_document: bool,
    /// It has a Cluster or tags of the service.
    is_fragment: bool,
    clusters: u32,
    timecode: i64,
    first_timecode: Option<i64>,
    blocks: Vec<BlockEntry>,
    group: Option<Group>,
    tags: TagCollector,
    number: Option<FragmentNumber>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
    behind_millis: Option<u64>,
    continuation_token: Option<Arc<str>>,
    fault: Option<FaultTags>,
}

#[derive(Debug, Default)]
struct Group {
    block: Option<BlockEntry>,
    refers: bool,
    duration: Option<u64>,
}

#[derive(Debug, Default)]
struct FaultTags {
    id: Option<u32>,
    message: Option<Box<str>>,
}

/// The default TimestampScale (RFC 9559 section 5.1.2.9): a tick is a millisecond.
const MILLISECOND: u64 = 1_000_000;

impl Assembler {
    pub(crate) fn new(limits: Limits) -> Self {
        // Only what tells fragments apart is walked into; the rest is read when it is whole.
        let enter = |id| matches!(id, id::EBML | id::SEGMENT | id::CLUSTER | id::BLOCK_GROUP);
        Self {
            reader: Reader::new(limits.depth, enter),
            limits,
            base: 0,
            document: Document {
                begun: false,
                header: Writer::new(),
                segment: None,
                tracks: None,
                timestamp_scale: MILLISECOND,
            },
            known_tracks: (Vec::new(), Arc::default()),
            item: Item::default(),
            replay: None,
            block_count: 0,
        }
    }

    /// Looks for the end of the current item, of which `input` is all there is.
    ///
    /// On an error nothing more can be read; [`cut`](Assembler::cut) says what is left.
    #[inline]
    pub(crate) fn scan(&mut self, input: &[u8]) -> Result<Option<Boundary>> {
        loop {
            let event = match self.replay.take() {
                Some(event) => event,
                None => match self.reader.next(input, self.base).map_err(|error| self.in_fragment(error))? {
                    Some(event) => event,
                    None => {
                        if let Some(header) = self.reader.awaited() {
                            self.judge(header).map_err(|error| self.in_fragment(error))?;
                        }
                        return Ok(None);
                    }
                },
            };
            if let Some(boundary) = self.event(event, input)? {
                return Ok(Some(boundary));
            }
        }
    }

    /// How many bytes are sure to come, by what was declared.
    pub(crate) fn owed(&self, received: usize) -> u64 {
        let reached = self.base + received as u64;
        let element = self.reader.awaited().and_then(Header::end).unwrap_or(0);
        let parent = self.reader.parent().filter(|parent| parent.id == id::CLUSTER).and_then(Header::end).unwrap_or(0);
        element.max(parent).saturating_sub(reached)
    }

    /// The end of the current item when the body ended properly.
    pub(crate) fn finish(&mut self, input: &[u8]) -> Option<Boundary> {
        let ending = self.reader.finish(input, self.base);
        let end = if ending == Ending::Cut { End::Cut } else { End::EndOfBody };
        self.last(input.len(), end)
    }

    /// The end of the current item when nothing more can be read. What comes behind the place where
    /// reading stopped is left out.
    pub(crate) fn cut(&mut self, input: &[u8], stopped_at: Option<u64>) -> Option<Boundary> {
        let here = stopped_at.and_then(|offset| usize::try_from(offset.checked_sub(self.base)?).ok());
        self.last(here.unwrap_or(input.len()).min(input.len()), End::Cut)
    }

    /// Where the element begins that could not be read.
    pub(crate) fn stopped_at(&self) -> u64 {
        match self.replay {
            Some(Event::Start(header) | Event::Element(header) | Event::End(header)) => header.offset,
            None => self.reader.needed_from(),
        }
    }

    /// Makes the item of its bytes.
    pub(crate) fn take(&mut self, raw: Bytes, boundary: Boundary) -> BodyItem {
        let offset = self.base;
        self.base += raw.len() as u64;
        let mut item = std::mem::take(&mut self.item);
        self.block_count = item.blocks.len();
        match boundary.outcome {
            Outcome::Fragment(end) => BodyItem::Fragment(self.fragment(&mut item, raw, offset, end)),
            Outcome::Skipped => BodyItem::Skipped(Skipped { offset, raw, reason: SkipReason::AfterEnd }),
            Outcome::Fault => {
                let FaultTags { id, message } = item.fault.unwrap_or_default();
                BodyItem::Fault(Fault { offset, raw, id, message, fragment_number: item.number })
            }
        }
    }

    fn fragment(&self, item: &mut Item, raw: Bytes, offset: u64, end: End) -> Fragment {
        let (leading_tags, tags) = item.tags.finish();
        let document = &self.document;
        let header = FragmentHeader {
            number: item.number.take(),
            server_time: item.server_time,
            producer_time: item.producer_time,
            tracks: document.tracks.clone().unwrap_or_default(),
            tags: leading_tags,
            timecode: item.first_timecode.unwrap_or(0),
            timestamp_scale: document.timestamp_scale,
        };
        let mkv = match document.segment {
            _ if !item.is_document => Mkv::After(Bytes::copy_from_slice(document.header.as_bytes())),
            // A cut fragment ends inside its Segment anyway.
            Some(segment) if end != End::Cut && segment.end().is_some_and(|end| end != self.base) => {
                let id_width = segment.id.width();
                let at = (segment.offset - offset) as u32 + u32::from(id_width);
                Mkv::Resized { at, width: segment.length - id_width }
            }
            _ => Mkv::Whole,
        };
        Fragment {
            inner: Arc::new(Inner {
                header: Arc::new(header),
                raw,
                blocks: std::mem::take(&mut item.blocks),
                tags,
                end,
                behind_millis: item.behind_millis,
                continuation_token: item.continuation_token.take(),
                offset,
                mkv,
                arrival: None,
                discontinuities: Vec::new(),
            }),
        }
    }

    #[inline]
    fn event(&mut self, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        match event {
            Event::Element(header) if header.id == id::SIMPLE_BLOCK => {
                self.judge(&header).and_then(|()| self.block(&header, input)).or_else(|error| self.stop(event, error))
            }
            _ => self.other_event(event, input).or_else(|error| self.stop(event, error)),
        }
    }

    /// Keeps the event, so that it is known where reading stopped.
    fn stop<T>(&mut self, event: Event, error: Error) -> Result<T> {
        self.replay = Some(event);
        Err(self.in_fragment(error))
    }

    fn other_event(&mut self, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        match event {
            Event::Start(header) => {
                self.judge(&header)?;
                return self.start(header, event);
            }
            Event::Element(header) => {
                self.judge(&header)?;
                return self.element(header, event, input);
            }
            Event::End(header) if header.id == id::EBML => {
                let bytes = self.whole(&header, input);
                self.document.header.raw(bytes);
            }
            Event::End(header) if header.id == id::BLOCK_GROUP => self.end_group(),
            Event::End(_) => {}
        }
        Ok(None)
    }

    fn start(&mut self, header: Header, event: Event) -> Result<Option<Boundary>> {
        match header.id {
            id::EBML => {
                if header.offset > self.base {
                    return Ok(self.ends_before(&header, event, End::NextDocument));
                }
                self.item.is_document = true;
                self.document.begin();
            }
            id::SEGMENT => {
                if !self.document.begun {
                    let error = Error::malformed("a document begins with an EBML header");
                    return Err(error.at(header.offset).in_path("Segment"));
                }
                self.document.segment = Some(header);
                self.document.header.unknown(id::SEGMENT, 8);
            }
            id::CLUSTER => {
                self.item.is_fragment = true;
                self.item.clusters += 1;
                self.item.timecode = 0;
                if self.item.blocks.capacity() == 0 {
                    self.item.blocks.reserve(self.block_count);
                }
            }
            id::BLOCK_GROUP => self.item.group = Some(Group::default()),
            _ => {}
        }
        Ok(None)
    }

    fn element(&mut self, header: Header, event: Event, input: &[u8]) -> Result<Option<Boundary>> {
        let Some(parent) = self.reader.parent().map(|parent| parent.id) else { return Ok(None) };
        let payload = self.payload(&header, input);
        match (parent, header.id) {
            (id::EBML, id::DOC_TYPE) => {
                let doc_type = crate::ebml::without_padding(payload);
                if !matches!(doc_type, b"matroska" | b"webm") {
                    let shown = String::from_utf8_lossy(doc_type.get(..32).unwrap_or(doc_type));
                    let error = Error::malformed(format!("a document of type {shown:?}, neither matroska nor webm"));
                    return Err(error.at(header.offset).in_path("EBML/DocType"));
                }
            }
            (id::SEGMENT, id::INFO) => {
                for scale in Elements::at(payload, header.payload()).find("TimestampScale") {
                    match scale.map_err(|error| error.in_path("Segment/Info"))?.value().as_uint() {
                        Some(scale) if scale > 0 => self.document.timestamp_scale = scale,
                        _ => {
                            let error = Error::malformed("a TimestampScale must be a number above 0");
                            return Err(error.at(header.offset).in_path("Segment/Info/TimestampScale"));
                        }
                    }
                }
                self.document.header.raw(self.whole(&header, input));
            }
            (id::SEGMENT, id::TRACKS) => {
                if payload != self.known_tracks.0 || self.known_tracks.1.is_empty() {
                    let tracks = Track::read_all(payload, header.payload(), &self.limits);
                    let tracks = tracks.map_err(|error| error.in_path("Segment/Tracks"))?;
                    self.known_tracks = (payload.to_vec(), tracks);
                }
                self.document.tracks = Some(Arc::clone(&self.known_tracks.1));
                self.document.header.raw(self.whole(&header, input));
            }
            (id::SEGMENT, id::TAGS) => return self.tags(&header, event, payload),
            (id::CLUSTER, id::TIMESTAMP) => {
                let ticks = uint(payload).unwrap_or(0);
                self.item.timecode = i64::try_from(ticks).unwrap_or(i64::MAX);
                self.item.first_timecode.get_or_insert(self.item.timecode);
            }
            (id::BLOCK_GROUP, id::BLOCK) => {
                let entry = self.read_block(&header, payload)?;
                self.group().block = Some(entry);
            }
            (id::BLOCK_GROUP, id::REFERENCE_BLOCK) => self.group().refers = true,
            (id::BLOCK_GROUP, id::BLOCK_DURATION) => self.group().duration = uint(payload),
            _ => {}
        }
        Ok(None)
    }

    fn tags(&mut self, header: &Header, event: Event, payload: &[u8]) -> Result<Option<Boundary>> {
        let mut found = ServiceTags::default();
        let after_media = self.item.clusters > 0;
        let tags = self.item.tags.read(payload, header.payload(), after_media, &self.limits, |tag, value| {
            found.set(tag, value);
        });
        tags.map_err(|error| error.in_path("Segment/Tags"))?;

        let another = found.number.is_some() && self.item.number.is_some() && found.number != self.item.number;
        if after_media && (another || found.is_fault()) {
            // These are not the tags of the fragment before them: the service went on to another one
            // without closing tags, or could not go on.
            self.item.tags.forget_last();
            let end = if found.is_fault() { End::Cut } else { End::NextDocument };
            return Ok(self.ends_before(header, event, end));
        }
        let item = &mut self.item;
        item.is_fragment |= found.number.is_some();
        if item.number.is_none() {
            item.number = found.number.take();
        }
        item.server_time = item.server_time.or(found.server_time);
        item.producer_time = item.producer_time.or(found.producer_time);
        if found.is_fault() {
            let (id, message) = found.fault();
            item.fault = Some(FaultTags { id, message });
            return Ok(Some(self.ends_behind(header, Outcome::Fault)));
        }
        item.behind_millis = item.behind_millis.or(found.behind_millis);
        if let Some(token) = found.continuation_token {
            item.is_fragment = true;
            item.continuation_token = Some(token);
        }
        if item.behind_millis.is_some() && item.continuation_token.is_some() {
            return Ok(Some(self.ends_behind(header, Outcome::Fragment(End::Trailer))));
        }
        Ok(None)
    }

    #[inline]
    fn block(&mut self, header: &Header, input: &[u8]) -> Result<Option<Boundary>> {
        if self.reader.parent().is_none_or(|parent| parent.id != id::CLUSTER) {
            return Ok(None);
        }
        let payload = self.payload(header, input);
        let entry = self.read_block(header, payload)?;
        self.item.blocks.push(entry);
        Ok(None)
    }

    #[inline]
    fn read_block(&self, header: &Header, payload: &[u8]) -> Result<BlockEntry> {
        let place = |error: Error| error.at(header.offset).in_path(self.reader.path(Some(header.id)));
        if self.item.blocks.len() >= self.limits.blocks as usize {
            let message = format!("more than {} blocks in one fragment", self.limits.blocks);
            return Err(place(Error::limit(message)));
        }
        let start = (header.payload() - self.base) as u32;
        let entry = BlockEntry::read(payload, start, self.item.timecode).map_err(place)?;
        if entry.is_laced() {
            let data = payload.get((entry.start - start) as usize..).unwrap_or_default();
            entry.frames(data).map_err(place)?;
        }
        Ok(entry)
    }

    fn end_group(&mut self) {
        let Group { block, refers, duration } = self.item.group.take().unwrap_or_default();
        if let Some(block) = block {
            self.item.blocks.push(block.with_key(!refers).with_duration(duration));
        }
    }

    fn group(&mut self) -> &mut Group {
        self.item.group.get_or_insert_default()
    }

    /// Checks the declared size of an element, as soon as its header is known.
    #[inline]
    fn judge(&self, header: &Header) -> Result<()> {
        let end = header.end().unwrap_or(header.payload());
        // A Segment may hold many fragments.
        if end - self.base > u64::from(self.limits.fragment_bytes) && header.id != id::SEGMENT {
            return Err(self.too_large(header, end));
        }
        let is_block = matches!(header.id, id::SIMPLE_BLOCK | id::BLOCK | id::BLOCK_GROUP);
        if !is_block && header.size.is_some_and(|size| size > u64::from(self.limits.metadata_bytes)) {
            return self.judge_metadata(header);
        }
        Ok(())
    }

    #[cold]
    fn too_large(&self, header: &Header, end: u64) -> Error {
        let (limit, asked) = (self.limits.fragment_bytes, end - self.base);
        let message = format!("a fragment of at least {asked} bytes, more than the {limit} of Limits::fragment_bytes");
        Error::limit(message).at(header.offset).in_path(self.path_of(header))
    }

    #[cold]
    fn judge_metadata(&self, header: &Header) -> Result<()> {
        if !matches!(header.id, id::EBML | id::DOC_TYPE | id::INFO | id::TRACKS | id::TAGS) {
            return Ok(());
        }
        let (limit, size) = (self.limits.metadata_bytes, header.size.unwrap_or(0));
        let message = format!("{} of {size} bytes, more than the {limit} of Limits::metadata_bytes", header.id);
        Err(Error::limit(message).at(header.offset).in_path(self.path_of(header)))
    }

    /// The path of an element, whether or not it is the innermost open one.
    fn path_of(&self, header: &Header) -> String {
        let is_open = self.reader.parent() == Some(header);
        self.reader.path((!is_open).then_some(header.id))
    }

    fn ends_behind(&self, header: &Header, outcome: Outcome) -> Boundary {
        let end = header.end().unwrap_or(header.payload());
        Boundary { length: (end - self.base) as usize, outcome }
    }

    /// The item ends before this element, whose event is kept for the next.
    fn ends_before(&mut self, header: &Header, event: Event, end: End) -> Option<Boundary> {
        self.replay = Some(event);
        self.last((header.offset - self.base) as usize, end)
    }

    fn last(&mut self, length: usize, end: End) -> Option<Boundary> {
        if length == 0 {
            return None;
        }
        // A Block that is whole counts, even if its group is not.
        self.end_group();
        // The first bytes of a body are those of a document, even if its header is not all there.
        let is_fragment = self.item.is_document || self.item.is_fragment || self.base == 0;
        let outcome = if is_fragment { Outcome::Fragment(end) } else { Outcome::Skipped };
        Some(Boundary { length, outcome })
    }

    fn payload<'a>(&self, header: &Header, input: &'a [u8]) -> &'a [u8] {
        self.slice(input, header.payload(), header)
    }

    fn whole<'a>(&self, header: &Header, input: &'a [u8]) -> &'a [u8] {
        self.slice(input, header.offset, header)
    }

    fn slice<'a>(&self, input: &'a [u8], from: u64, header: &Header) -> &'a [u8] {
        let end = header.end().unwrap_or(from);
        input.get((from - self.base) as usize..(end - self.base) as usize).unwrap_or_default()
    }

    fn in_fragment(&self, error: Error) -> Error {
        error.in_fragment(self.item.number.as_ref().map(FragmentNumber::as_str))
    }
}

impl Document {
    fn begin(&mut self) {
        self.begun = true;
        self.header.clear();
        self.segment = None;
        self.tracks = None;
        self.timestamp_scale = MILLISECOND;
    }
}

/// What the service says in one Tags element.
#[derive(Debug, Default)]
struct ServiceTags {
    number: Option<FragmentNumber>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
    behind_millis: Option<u64>,
    continuation_token: Option<Arc<str>>,
    error_id: Option<Box<str>>,
    error_text: Option<Box<str>>,
}

impl ServiceTags {
    fn set(&mut self, tag: ServiceTag, value: &str) {
        match tag {
            ServiceTag::ContinuationToken => self.continuation_token = Some(value.into()),
            ServiceTag::ErrorId => self.error_id = Some(value.into()),
            ServiceTag::ErrorText => self.error_text = Some(value.into()),
            ServiceTag::FragmentNumber => self.number = value.parse().ok(),
            ServiceTag::MillisBehindNow => self.behind_millis = value.parse().ok(),
            ServiceTag::ProducerTimestamp => self.producer_time = Timestamp::parse(value),
            ServiceTag::ServerTimestamp => self.server_time = Timestamp::parse(value),
        }
    }

    fn is_fault(&self) -> bool {
        self.error_id.is_some() || self.error_text.is_some()
    }

    /// The number and the words, whichever of the two spellings was used, and in whichever place
    /// the number stands.
    fn fault(&mut self) -> (Option<u32>, Option<Box<str>>) {
        let (id, text) = (self.error_id.take(), self.error_text.take());
        let number = |value: &Option<Box<str>>| value.as_deref().and_then(|value| value.trim().parse().ok());
        match (number(&id), number(&text)) {
            (Some(id), _) => (Some(id), text),
            (None, Some(id_in_text)) => (Some(id_in_text), id),
            (None, None) => (None, text.or(id)),
        }
    }
}
