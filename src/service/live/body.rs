//! The body of a GetMedia response, read as fragments or as packets.

use futures::Stream;

use crate::demux::{BodyItem, BodyStream, PacketItem, PacketStream};
use crate::error::Result;
use crate::fragment::{Fault, Fragment, Skipped};
use crate::limits::Limits;
use crate::service::call::TimeoutBody;

/// One item of a body.
#[derive(Debug)]
pub(super) enum Received<M> {
    Media(M),
    Skipped(Skipped),
    Fault(Fault),
}

/// A parser of a body.
pub(super) trait ReadBody: Stream<Item = Result<Self::BodyItem>> + Send + Unpin {
    type BodyItem: Into<Received<Self::Media>> + Send;
    type Media;

    fn open(body: TimeoutBody, limits: Limits, resync: bool) -> Self;

    /// Returns whether no fragment has begun that has not ended.
    fn is_between_fragments(&self) -> bool;
}

impl ReadBody for BodyStream<TimeoutBody> {
    type BodyItem = BodyItem;
    type Media = Fragment;

    fn open(body: TimeoutBody, limits: Limits, resync: bool) -> Self {
        Self::new(body).limits(limits).resync(resync)
    }

    fn is_between_fragments(&self) -> bool {
        self.is_between_items()
    }
}

impl From<BodyItem> for Received<Fragment> {
    fn from(item: BodyItem) -> Self {
        match item {
            BodyItem::Fragment(fragment) => Self::Media(fragment),
            BodyItem::Skipped(skipped) => Self::Skipped(skipped),
            BodyItem::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl ReadBody for PacketStream<TimeoutBody> {
    type BodyItem = PacketItem;
    type Media = PacketItem;

    fn open(body: TimeoutBody, limits: Limits, resync: bool) -> Self {
        Self::new(body).limits(limits).resync(resync)
    }

    fn is_between_fragments(&self) -> bool {
        Self::is_between_fragments(self)
    }
}

impl From<PacketItem> for Received<PacketItem> {
    fn from(item: PacketItem) -> Self {
        match item {
            PacketItem::Skipped(skipped) => Self::Skipped(skipped),
            PacketItem::Fault(fault) => Self::Fault(fault),
            media => Self::Media(media),
        }
    }
}
