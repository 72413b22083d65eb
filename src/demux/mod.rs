//! Reads fragments and packets from bytes.
//!
//! A body of GetMedia or GetMediaForFragmentList is a sequence of small MKV documents, one per fragment. A document
//! is one EBML header and its Segment. The service writes tags before the media, such as the fragment number, and
//! closing tags after them: `MILLIS_BEHIND_NOW` and `CONTINUATION_TOKEN`.
//!
//! | item | stream over a reader | tokio-util codec |
//! |---|---|---|
//! | [`Fragment`](crate::Fragment) | [`FragmentStream`] | [`FragmentDecoder`] |
//! | [`BodyItem`]: fragments, faults and skipped bytes | [`BodyStream`] | [`BodyDecoder`] |
//! | [`PacketItem`]: single packets as they arrive | [`PacketStream`] | [`PacketDecoder`] |
//!
//! [`ChunkReader`] turns a stream of byte chunks into a reader.

mod assembler;
mod chunk_reader;
mod decoder;
mod deframer;
mod document;
mod framed;
mod item;
mod packet_decoder;
mod packet_stream;
mod resync;
mod stream;

#[cfg(feature = "local")]
pub(crate) use assembler::timestamp_scale;
pub use chunk_reader::ChunkReader;
pub use decoder::{BodyDecoder, FragmentDecoder};
pub use item::BodyItem;
pub use packet_decoder::{PacketDecoder, PacketItem};
pub use packet_stream::PacketStream;
pub use stream::{BodyStream, FragmentStream};

pub use crate::fragment::{SkipReason, Skipped};
