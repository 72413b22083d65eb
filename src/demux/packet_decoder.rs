//! Packets one by one, each with its own last byte.

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

/// What a body consists of, packet by packet.
///
/// Every fragment is a [`Start`](PacketItem::Start), its packets, and an [`End`](PacketItem::End).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PacketItem {
    /// A fragment begins: its number, times, tracks and leading tags are known.
    Start(Arc<FragmentHeader>),
    /// A coded frame of it.
    Packet(Packet),
    /// It has ended: its trailing tags and how it ended are known.
    End(FragmentFooter),
    /// What happened before the fragment that begins next, or in the one that goes on; only of
    /// sources that know more than one body.
    Discontinuity(Discontinuity),
    /// The service reported an error inside the media.
    Fault(Fault),
    /// Bytes that belong to no fragment.
    Skipped(Skipped),
}

/// Decodes a body into packets, each handed on with its own last byte, long before its fragment has
/// ended. The parser is that of [`BodyDecoder`](crate::BodyDecoder), and so are limits and errors.
///
/// A frame in a SimpleBlock comes with the last byte of the block; one in a BlockGroup with that of
/// the group, since only that tells whether it is a key frame.
///
/// # Memory
/// One packet, or one element of metadata.
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
    /// The block whose packets are being given out.
    block: Option<BlockPackets>,
    /// An end that comes next.
    end: Option<FragmentFooter>,
    /// The fragment that is open, if one is, and how many packets it has had.
    open: bool,
    ordinal: u32,
}

impl PacketDecoder {
    /// A decoder with the default limits.
    pub fn new() -> Self {
        Self { deframer: Deframer::new(Grain::Packet), block: None, end: None, open: false, ordinal: 0 }
    }

    /// Sets the limits. To be called before anything is decoded.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { deframer: self.deframer.limits(limits), ..self }
    }

    /// Whether to go on behind damage, as [`BodyDecoder::resync`](crate::BodyDecoder::resync) says.
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
                // Only come whole.
                Some(Piece::Fragment(_)) => {}
            }
        }
    }

    /// Whether a fragment has begun and not ended.
    #[cfg(feature = "aws")]
    pub(super) fn is_open(&self) -> bool {
        self.open || self.end.is_some()
    }

    /// What was read before and comes first.
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
