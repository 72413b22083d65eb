//! A body of GetMedia, in fragments or in packets.

use futures::Stream;

use crate::demux::BodyStream;
use crate::demux::PacketStream;
use crate::error::Result;
use crate::limits::Limits;
use crate::service::call::WatchedBody;

/// What reads a body, in fragments or in packets.
pub(super) trait ReadBody: Stream<Item = Result<Self::Piece>> + Send + Unpin {
    type Piece: Send;

    fn open(body: WatchedBody, limits: Limits, resync: bool) -> Self;

    /// Whether nothing is there of a fragment that has not ended.
    fn is_between_fragments(&self) -> bool;
}

impl ReadBody for BodyStream<WatchedBody> {
    type Piece = crate::demux::BodyItem;

    fn open(body: WatchedBody, limits: Limits, resync: bool) -> Self {
        Self::new(body).limits(limits).resync(resync)
    }

    fn is_between_fragments(&self) -> bool {
        self.is_between_items()
    }
}

impl ReadBody for PacketStream<WatchedBody> {
    type Piece = crate::demux::PacketItem;

    fn open(body: WatchedBody, limits: Limits, resync: bool) -> Self {
        Self::new(body).limits(limits).resync(resync)
    }

    fn is_between_fragments(&self) -> bool {
        Self::is_between_fragments(self)
    }
}
