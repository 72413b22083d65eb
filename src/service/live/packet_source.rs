//! The packets of a live stream.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::connection::Connection;
use super::session::{Begun, CutFragment, NewFragment, Session, Step, Yielded};
use crate::demux::{PacketItem, PacketStream};
use crate::error::Result;
use crate::fragment::{Discontinuity, Extent, FragmentEnd, FragmentFooter, FragmentHeader, StreamEnd};
use crate::packet::Packet;
use crate::service::call::TimeoutBody;

/// Joins the bodies of a live stream to one sequence of packets, each yielded once.
#[derive(Debug)]
pub(super) struct PacketSource {
    session: Session<PacketStream<TimeoutBody>>,
    /// Items to yield.
    ready: VecDeque<PacketItem>,
    /// The fragment whose start has been yielded, and whose end has not.
    open: Option<OpenFragment>,
    reading: Reading,
    /// The offset in the body at which the current fragment begins.
    begins_at: u64,
    end: Option<Result<StreamEnd>>,
}

/// A fragment that is being yielded.
#[derive(Debug)]
struct OpenFragment {
    header: Arc<FragmentHeader>,
    begun: Begun,
    /// A digest of each packet that was yielded.
    packets: Vec<u64>,
    extent: Extent,
    /// The best end so far. The real end may be another one.
    end: Option<FragmentFooter>,
    /// The number of packets that this body has brought.
    received: u64,
    /// The number of bytes that this body has brought.
    bytes: u64,
    /// Set if a repeated packet differed.
    differs: bool,
}

/// The fragment of the packets that are being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// None.
    Nothing,
    /// A repeat.
    Repeat,
    /// A fragment without a number. If it brings nothing, it was cut before its number.
    Unnamed,
    /// The open fragment, new or again.
    Open,
}

impl OpenFragment {
    fn new(header: &Arc<FragmentHeader>, begun: Begun) -> Self {
        let (header, extent) = (Arc::clone(header), Extent::default());
        Self { header, begun, packets: Vec::new(), extent, end: None, received: 0, bytes: 0, differs: false }
    }

    fn as_cut(&self) -> CutFragment {
        CutFragment { position: self.header.position(), length: self.bytes, has_ended: self.end.is_some() }
    }
}

/// Returns a digest of a packet.
///
/// The key frame flag is left out: in a BlockGroup that was cut, it is not known yet.
fn digest(packet: &Packet) -> u64 {
    let mut hasher = DefaultHasher::new();
    (packet.track_number(), packet.timecode_ns(), packet.payload()).hash(&mut hasher);
    hasher.finish()
}

impl PacketSource {
    pub(super) fn new(connection: Connection<PacketStream<TimeoutBody>>) -> Self {
        let session = Session::new(connection);
        let end = session.ends_at_once().map(Ok);
        Self { session, ready: VecDeque::new(), open: None, reading: Reading::Nothing, begins_at: 0, end }
    }

    /// Returns the next item, or the reason of the end.
    pub(super) async fn next(&mut self) -> Result<std::result::Result<PacketItem, StreamEnd>> {
        self.session.connection.start_waiting();
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Ok(item));
            }
            if let Some(end) = self.end.take() {
                return end.map(Err);
            }
            let is_open = self.reading == Reading::Open;
            match self.session.next(|| self.open.as_ref().filter(|_| is_open).map(OpenFragment::as_cut)).await {
                Step::Opened => (self.reading, self.begins_at) = (Reading::Nothing, 0),
                Step::Media(item) => self.received(item),
                Step::Skipped(skipped) => {
                    self.close();
                    self.begins_at = skipped.offset() + skipped.length();
                    self.session.skipped(skipped);
                }
                Step::BodyEnded => self.keep(),
                Step::AgedOut(error) => {
                    // A fragment that was cut there does not arrive again either.
                    self.yield_end();
                    match self.session.restart(error) {
                        Ok(()) => self.keep(),
                        Err(error) => self.ended(Err(error)),
                    }
                }
                Step::Ended(end) => self.ended(end),
            }
        }
    }

    fn received(&mut self, item: PacketItem) {
        match item {
            PacketItem::Start(header) => self.starts(&header),
            PacketItem::Packet(packet) => self.packet(packet),
            PacketItem::End(end) => self.ends(end),
            other => self.ready.push_back(other),
        }
    }

    fn starts(&mut self, header: &Arc<FragmentHeader>) {
        self.close();
        if header.number().is_none() {
            self.reading = Reading::Unnamed;
        } else if let Some(new) = self.session.check(header) {
            self.reading = Reading::Open;
            self.begins(header, new);
        } else {
            self.reading = Reading::Repeat;
        }
    }

    fn begins_unnamed(&mut self, header: &Arc<FragmentHeader>) {
        if let Some(new) = self.session.check(header) {
            self.begins(header, new);
        }
    }

    fn begins(&mut self, header: &Arc<FragmentHeader>, new: NewFragment) {
        let is_same =
            |open: &&mut OpenFragment| open.header.number().is_some() && open.header.number() == header.number();
        if let Some(open) = self.open.as_mut().filter(is_same) {
            (open.received, open.bytes) = (0, 0);
            self.reading = Reading::Open;
            self.session.arrives_again(&new);
            return;
        }
        // The fragment that was cut does not arrive again.
        self.yield_end();
        if let Some(reason) = self.session.leaves_out(header) {
            self.end.get_or_insert(Ok(reason));
        }
        if self.end.is_some() {
            return;
        }
        let arrival = self.session.arrives(new);
        let (begun, before) = self.session.begins(header, arrival);
        self.ready.extend(before.into_iter().map(PacketItem::Discontinuity));
        self.ready.push_back(PacketItem::Start(Arc::clone(header)));
        self.open = Some(OpenFragment::new(header, begun));
        self.reading = Reading::Open;
    }

    fn packet(&mut self, packet: Packet) {
        if self.reading == Reading::Unnamed {
            self.begins_unnamed(packet.fragment());
        }
        let Some(open) = self.open.as_mut().filter(|_| self.reading == Reading::Open) else { return };
        let (ordinal, digest) = (open.received, digest(&packet));
        open.received += 1;
        match open.packets.get(usize::try_from(ordinal).unwrap_or(usize::MAX)) {
            Some(before) if *before == digest => {}
            Some(_) => self.differs(packet.ordinal()),
            None => {
                open.extent.add(packet.track_number(), packet.timecode_ns());
                open.packets.push(digest);
                self.ready.push_back(PacketItem::Packet(packet));
            }
        }
    }

    /// Reports, once for each fragment, that a repeated packet differs.
    fn differs(&mut self, ordinal: u32) {
        if let Some(open) = &mut self.open
            && !std::mem::replace(&mut open.differs, true)
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
                    self.session.repeated(end.fragment());
                }
            }
            Reading::Unnamed if matches!(end.end_reason(), FragmentEnd::Cut | FragmentEnd::EndOfBody) => {
                self.reading = Reading::Nothing;
            }
            Reading::Unnamed => self.begins_unnamed(end.fragment()),
            Reading::Open | Reading::Nothing => {}
        }
        let Some(open) = self.open.as_mut().filter(|_| self.reading == Reading::Open) else { return };
        open.bytes = bytes;
        let is_complete = end.end_reason() == FragmentEnd::Trailer;
        // The longer of two parts of one fragment has the better end.
        if is_complete || open.received >= open.packets.len() as u64 || open.end.is_none() {
            open.end = Some(end);
        }
        if is_complete {
            self.close();
        }
    }

    /// Takes the open fragment for complete.
    fn close(&mut self) {
        if self.reading != Reading::Open {
            return;
        }
        if let Some(open) = &self.open
            && open.received < open.packets.len() as u64
        {
            self.differs(u32::try_from(open.received).unwrap_or(u32::MAX));
        }
        self.yield_end();
    }

    /// Yields the end of the open fragment.
    fn yield_end(&mut self) {
        self.reading = Reading::Nothing;
        let Some(OpenFragment { header, begun, extent, end, .. }) = self.open.take() else { return };
        let end = end.unwrap_or_else(|| FragmentFooter::cut(header));
        let yielded = Yielded {
            header: end.fragment(),
            position: end.position(),
            end: end.end_reason(),
            behind_now: end.behind_now(),
            duration: extent.duration(end.fragment(), end.fragment().timecode_ns()),
        };
        let reason = self.session.yielded(begun, yielded);
        self.ready.push_back(PacketItem::End(end));
        if let Some(reason) = reason {
            self.end.get_or_insert(Ok(reason));
        }
    }

    /// Keeps the open fragment until the next body.
    fn keep(&mut self) {
        self.reading = Reading::Nothing;
        // Without a number, it could not be recognized when it arrives again.
        if self.open.as_ref().is_some_and(|open| open.header.number().is_none()) {
            self.yield_end();
        }
    }

    /// Ends the stream, and the open fragment with it.
    ///
    /// The fragment does not count as yielded if it may be complete at the next attempt.
    fn ended(&mut self, end: Result<StreamEnd>) {
        let may_arrive_again = matches!(end, Ok(StreamEnd::Stopped | StreamEnd::Deadline | StreamEnd::IdleTimeout));
        if may_arrive_again && let Some(OpenFragment { header, end, .. }) = self.open.take() {
            self.ready.push_back(PacketItem::End(end.unwrap_or_else(|| FragmentFooter::cut(header))));
        } else {
            self.yield_end();
        }
        self.end.get_or_insert(end);
    }
}
