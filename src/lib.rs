//! Amazon Kinesis Video Streams media as ordinary async Rust.

pub mod ebml;
mod error;
mod ext;
pub mod fragment;
mod limits;
#[cfg(feature = "local")]
pub mod local;
pub mod packet;
#[cfg(feature = "aws")]
pub mod service;
pub mod sink;
mod summary;

pub use error::{Context, Error, ErrorKind, Position, Result};
pub use ext::{FragmentStreamExt, PacketStreamExt};
pub use fragment::{
    Arrival, Block, BodyDecoder, BodyItem, BodyStream, Discontinuity, End, Fault, Fragment, FragmentDecoder,
    FragmentHeader, FragmentNumber, FragmentStream, SkipReason, Skipped, Tag, TagValue, Tags, Timestamp, Track,
    TrackKind,
};
pub use limits::Limits;
pub use packet::Packet;
#[cfg(feature = "aws")]
pub use service::{KinesisVideo, Live, LiveFragments, Start, StreamId};
pub use sink::{MediaSink, MkvSink};
pub use summary::Summary;
