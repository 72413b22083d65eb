//! The tokio-util codec that decodes packets one by one.

use std::sync::Arc;

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::assembler::{BlockPiece, Grain, Piece};
use super::deframer::Deframer;
use super::framed::BodyDecode;
use crate::error::{Error, Result};
use crate::fragment::{Discontinuity, Fault, FragmentFooter, FragmentHeader, Skipped};
use crate::limits::Limits;
use crate::packet::{BlockPackets, Packet};

/// One item of a body that is read packet by packet.
///
/// Every fragment yields a [`Start`](PacketItem::Start), its packets, and an [`End`](PacketItem::End).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PacketItem {
    /// The start of a fragment, with its number, times, tracks and leading tags.
    Start(Arc<FragmentHeader>),
    /// A packet of the current fragment.
    Packet(Packet),
    /// The end of the current fragment, with its trailing tags and end reason.
    End(FragmentFooter),
    /// A discontinuity before the next fragment, or inside the current one.
    ///
    /// Only sources that read several bodies yield it, such as live streams.
    Discontinuity(Discontinuity),
    /// An error that the service reported inside the media.
    Fault(Fault),
    /// Bytes that belong to no fragment.
    Skipped(Skipped),
}

/// Decodes a body into packets, each as soon as its last byte has arrived.
///
/// A packet in a SimpleBlock is decoded at the end of its block. A packet in a BlockGroup is decoded at the end of
/// the group, because only the whole group shows whether it is a key frame.
///
/// Limits and errors are the same as for [`BodyDecoder`](crate::BodyDecoder).
///
/// # Memory
/// The decoder needs one block or one metadata element in the buffer.
///
/// ```
/// use bytes::BytesMut;
/// use kinesis_video::demux::PacketDecoder;
/// use tokio_util::codec::Decoder;
///
/// let mut received = BytesMut::new();
/// assert!(PacketDecoder::new().decode(&mut received)?.is_none());
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Debug)]
pub struct PacketDecoder {
    deframer: Deframer,
    /// The block whose packets are returned next.
    block: Option<BlockPackets>,
    /// The end of a fragment, to be returned next.
    end: Option<FragmentFooter>,
    /// True if a fragment has started and its end has not been decoded.
    open: bool,
    /// The ordinal of the next packet in its fragment.
    ordinal: u32,
}

impl PacketDecoder {
    /// Creates a decoder with the default limits.
    pub fn new() -> Self {
        Self { deframer: Deframer::new(Grain::Packet), block: None, end: None, open: false, ordinal: 0 }
    }

    /// Sets the limits. Default: [`Limits::default`].
    ///
    /// Call this before the first byte is decoded. A later call resets the decoder to the start of a body.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { deframer: self.deframer.limits(limits), ..self }
    }

    /// Sets whether to resume after damage. See [`BodyDecoder::resync`](crate::BodyDecoder::resync). Default: false.
    #[must_use]
    pub fn resync(self, resync: bool) -> Self {
        Self { deframer: self.deframer.resync(resync), ..self }
    }

    fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<PacketItem>> {
        loop {
            if let Some(item) = self.pending() {
                return Ok(Some(item));
            }
            match self.deframer.read(received, at_end)? {
                None => return Ok(None),
                Some(Piece::Opened(header)) => return Ok(Some(self.start(header))),
                Some(Piece::Block(BlockPiece { header, entry, raw })) => {
                    self.block = Some(BlockPackets::new(header, entry, raw));
                }
                Some(Piece::Closed(end)) => {
                    let start = (!self.open).then(|| self.start(Arc::clone(end.fragment())));
                    self.open = false;
                    self.end = Some(end);
                    if start.is_some() {
                        return Ok(start);
                    }
                }
                Some(Piece::Fault(fault)) => return Ok(Some(PacketItem::Fault(fault))),
                Some(Piece::Skipped(skipped)) => return Ok(Some(PacketItem::Skipped(skipped))),
                // The deframer returns whole fragments only with `Grain::Fragment`.
                Some(Piece::Fragment(_)) => {}
            }
        }
    }

    /// Returns whether the end of the current fragment has not been returned yet.
    #[cfg(feature = "aws")]
    pub(super) fn is_open(&self) -> bool {
        self.open || self.end.is_some()
    }

    /// Returns an item that was decoded earlier.
    fn pending(&mut self) -> Option<PacketItem> {
        if let Some(block) = &mut self.block {
            let (packet, is_last) = block.next(self.ordinal);
            self.ordinal += 1;
            if is_last {
                self.block = None;
            }
            return Some(PacketItem::Packet(packet));
        }
        self.end.take().map(PacketItem::End)
    }

    fn start(&mut self, header: Arc<FragmentHeader>) -> PacketItem {
        self.open = true;
        self.ordinal = 0;
        PacketItem::Start(header)
    }
}

impl Default for PacketDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for PacketDecoder {
    type Item = PacketItem;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<PacketItem>> {
        self.read(src, false)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<PacketItem>> {
        self.read(src, true)
    }
}

impl BodyDecode for PacketDecoder {
    fn abort(&mut self) {
        self.deframer.abort();
    }

    fn wanted(&self) -> usize {
        self.deframer.wanted()
    }
}
