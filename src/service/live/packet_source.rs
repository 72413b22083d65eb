//! Packets of a live stream.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::connection::{Event, Line};
use super::session::{Next, Source};
use crate::demux::{PacketItem, PacketStream};
use crate::error::Result;
use crate::fragment::{Discontinuity, Extent, FragmentEnd, FragmentFooter, FragmentHeader, StreamEnd};
use crate::packet::Packet;
use crate::service::call::WatchedBody;

/// Puts the bodies of a live stream together to one row of packets, each once.
#[derive(Debug)]
pub(super) struct PacketSource {
    source: Source<PacketStream<WatchedBody>>,
    /// To be given out.
    ready: VecDeque<PacketItem>,
    /// The fragment of which some was given out, and which has not ended for whoever reads.
    given: Option<Given>,
    reading: Reading,
    /// Where the fragment begins that comes now, in its body.
    begins_at: u64,
    end: Option<Result<StreamEnd>>,
}

/// What was given out of a fragment.
#[derive(Debug)]
struct Given {
    header: Arc<FragmentHeader>,
    /// A digest of each packet.
    packets: Vec<u64>,
    extent: Extent,
    /// How it ended, if that is not known to be its real end.
    end: Option<FragmentFooter>,
    /// How many packets have come of it in this body.
    length: u64,
    /// How many bytes there were of it.
    bytes: u64,
    /// Whether a packet was not what it had been.
    differs: bool,
}

/// What the packets that come now are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Of no fragment.
    Nothing,
    /// Of one that was given out before.
    Repeat,
    /// Of one without a number: if nothing comes of it, it was cut before it had one.
    Unnamed,
    /// Of the one that is being given out: new, or again up to where it was cut.
    Given,
}

impl Given {
    fn new(header: &Arc<FragmentHeader>) -> Self {
        let (header, extent) = (Arc::clone(header), Extent::default());
        Self { header, packets: Vec::new(), extent, end: None, length: 0, bytes: 0, differs: false }
    }
}

/// Whether it is a key frame is left out: where a BlockGroup is cut, that is not known yet.
fn digest(packet: &Packet) -> u64 {
    let mut hasher = DefaultHasher::new();
    (packet.track_number(), packet.timecode_ns(), packet.payload()).hash(&mut hasher);
    hasher.finish()
}

impl PacketSource {
    pub(super) fn new(line: Line<PacketStream<WatchedBody>>) -> Self {
        let source = Source::new(line);
        let end = source.ends_at_once().map(Ok);
        Self { source, ready: VecDeque::new(), given: None, reading: Reading::Nothing, begins_at: 0, end }
    }

    /// The next item, or why there is none.
    pub(super) async fn next(&mut self) -> Result<std::result::Result<PacketItem, StreamEnd>> {
        self.source.line.wait();
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Ok(item));
            }
            if let Some(end) = self.end.take() {
                return end.map(Err);
            }
            match self.source.next().await {
                Ok(Event::Opened) => (self.reading, self.begins_at) = (Reading::Nothing, 0),
                Ok(Event::Piece(PacketItem::Start(header))) => self.starts(&header),
                Ok(Event::Piece(PacketItem::Packet(packet))) => self.packet(packet),
                Ok(Event::Piece(PacketItem::End(end))) => self.ends(end),
                Ok(Event::Piece(PacketItem::Skipped(skipped))) => match self.cut() {
                    Some(cut) if cut.end.is_some() && self.source.is_damage_of(&skipped, &cut.header.position()) => {
                        let next = self.source.broke(&cut.header.position(), cut.bytes, skipped.cause().cloned());
                        self.after_body(next);
                    }
                    _ => {
                        self.close();
                        self.begins_at = skipped.offset() + skipped.length();
                        self.source.skipped(skipped);
                    }
                },
                Ok(Event::Piece(PacketItem::Discontinuity(what))) => {
                    self.ready.push_back(PacketItem::Discontinuity(what));
                }
                Ok(Event::Piece(PacketItem::Fault(fault))) => {
                    let next = match self.cut() {
                        Some(cut) => self.source.fault_inside(&fault, &cut.header.position(), cut.bytes),
                        None => self.source.fault(&fault),
                    };
                    self.after_body(next);
                }
                Ok(Event::Over(cause)) => {
                    let next = match self.cut() {
                        Some(cut) => self.source.broke(&cut.header.position(), cut.bytes, cause),
                        None => self.source.over(cause),
                    };
                    self.after_body(next);
                }
                Ok(Event::Gone(error)) => self.after_body(Next::Gone(error)),
                Ok(Event::Ended(reason)) => self.ended(Ok(reason)),
                Err(error) => self.ended(Err(error)),
            }
        }
    }

    /// The fragment in which this body ended.
    fn cut(&self) -> Option<&Given> {
        self.given.as_ref().filter(|_| self.reading == Reading::Given)
    }

    fn starts(&mut self, header: &Arc<FragmentHeader>) {
        self.close();
        self.reading = match header.number() {
            None => Reading::Unnamed,
            Some(_) if self.source.is_repeat(header) => Reading::Repeat,
            Some(_) => Reading::Given,
        };
        if self.reading == Reading::Given {
            self.begins(header);
        }
    }

    fn begins(&mut self, header: &Arc<FragmentHeader>) {
        let is_again = self
            .given
            .as_ref()
            .is_some_and(|given| given.header.number().is_some() && given.header.number() == header.number());
        if let Some(given) = self.given.as_mut().filter(|_| is_again) {
            (given.length, given.bytes) = (0, 0);
            self.reading = Reading::Given;
            self.source.comes_again();
            return;
        }
        // What was cut does not come again.
        self.give_out_end();
        if let Some(reason) = self.source.leaves_out(header) {
            self.end.get_or_insert(Ok(reason));
        }
        if self.end.is_some() {
            return;
        }
        let mut before = self.source.arrives();
        self.source.begins(header, &mut before);
        self.ready.extend(before.into_iter().map(PacketItem::Discontinuity));
        self.ready.push_back(PacketItem::Start(Arc::clone(header)));
        self.given = Some(Given::new(header));
        self.reading = Reading::Given;
    }

    fn packet(&mut self, packet: Packet) {
        if self.reading == Reading::Unnamed {
            self.begins(packet.fragment());
        }
        let Some(given) = self.given.as_mut().filter(|_| self.reading == Reading::Given) else { return };
        let (ordinal, digest) = (given.length, digest(&packet));
        given.length += 1;
        match given.packets.get(usize::try_from(ordinal).unwrap_or(usize::MAX)) {
            Some(before) if *before == digest => {}
            Some(_) => self.differs(packet.ordinal()),
            None => {
                given.extent.add(packet.track_number(), packet.timecode_ns());
                given.packets.push(digest);
                self.ready.push_back(PacketItem::Packet(packet));
            }
        }
    }

    /// Says once that the fragment is not what it was.
    fn differs(&mut self, ordinal: u32) {
        if let Some(given) = &mut self.given
            && !std::mem::replace(&mut given.differs, true)
        {
            self.ready.push_back(PacketItem::Discontinuity(Discontinuity::PacketDiffers { ordinal }));
        }
    }

    fn ends(&mut self, end: FragmentFooter) {
        let bytes = end.offset().saturating_sub(std::mem::replace(&mut self.begins_at, end.offset()));
        match self.reading {
            Reading::Repeat => {
                self.reading = Reading::Nothing;
                if end.end_reason() == FragmentEnd::Trailer {
                    self.source.repeated(end.fragment());
                }
            }
            Reading::Unnamed if end.end_reason() == FragmentEnd::Cut => self.reading = Reading::Nothing,
            Reading::Unnamed => self.begins(end.fragment()),
            Reading::Given | Reading::Nothing => {}
        }
        let Some(given) = self.given.as_mut().filter(|_| self.reading == Reading::Given) else { return };
        given.bytes = bytes;
        let is_whole = end.end_reason() == FragmentEnd::Trailer;
        // Of two parts of one fragment the longer one tells more.
        if is_whole || given.length >= given.packets.len() as u64 || given.end.is_none() {
            given.end = Some(end);
        }
        if is_whole {
            self.close();
        }
    }

    /// All is there of the fragment that is being given out.
    fn close(&mut self) {
        if self.reading != Reading::Given {
            return;
        }
        if let Some(given) = &self.given
            && given.length < given.packets.len() as u64
        {
            self.differs(u32::try_from(given.length).unwrap_or(u32::MAX));
        }
        self.give_out_end();
    }

    /// Ends the fragment that is being given out, as far as it came.
    fn give_out_end(&mut self) {
        self.reading = Reading::Nothing;
        let Some(Given { header, extent, end, .. }) = self.given.take() else { return };
        let end = end.unwrap_or_else(|| FragmentFooter::cut(header));
        let duration = extent.duration(end.fragment(), end.fragment().timecode_ns());
        let reason = self.source.gave_out(end.fragment(), end.position(), end.end_reason(), end.behind_now(), duration);
        self.ready.push_back(PacketItem::End(end));
        if let Some(reason) = reason {
            self.end.get_or_insert(Ok(reason));
        }
    }

    fn after_body(&mut self, next: Next) {
        self.reading = Reading::Nothing;
        match next {
            // It cannot be told from others when it comes again.
            Next::Again if self.given.as_ref().is_some_and(|given| given.header.number().is_none()) => {
                self.give_out_end();
            }
            Next::Again => {}
            Next::Gone(error) => {
                // Nor does what was cut there come again.
                self.give_out_end();
                let next = self.source.go_elsewhere(error);
                self.after_body(next);
            }
            Next::Ended(end) => self.ended(end),
        }
    }

    /// Nothing more comes: what was begun ends where it is. What may come again another time is not
    /// counted as given out.
    fn ended(&mut self, end: Result<StreamEnd>) {
        let may_come_again = matches!(end, Ok(StreamEnd::Stopped | StreamEnd::Deadline | StreamEnd::IdleTimeout));
        match self.given.take() {
            Some(Given { header, end, .. }) if may_come_again => {
                self.ready.push_back(PacketItem::End(end.unwrap_or_else(|| FragmentFooter::cut(header))));
            }
            given => {
                self.given = given;
                self.give_out_end();
            }
        }
        self.end.get_or_insert(end);
    }
}
