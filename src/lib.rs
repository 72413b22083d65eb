//! Amazon Kinesis Video Streams media as ordinary async Rust: what cameras and contact centres send
//! comes out as a [`Stream`](futures::Stream) of fragments, and everything after that is an adapter
//! or a [`Sink`](futures::Sink), with backpressure instead of callbacks.
//!
//! ```text
//!  bytes ──▶ ebml ──▶ demux ─────┬─▶ packets   coded frames
//!  file, socket,                 ├─▶ frames    decoded pictures ──▶ RGB, JPEG, PNG
//!  SDK body                      ├─▶ audio     calls of Amazon Connect ──▶ stereo, WAV
//!                                ├─▶ elements  the searchable tree
//!                                └─▶ MKV files
//!
//!  service: GetMedia, for ever; the archive, in order    where bytes come from
//!  local:   an endpoint on this machine                  where tests come from
//! ```
//!
//! # A first program
//!
//! Reads a stream of the local endpoint, through the real AWS SDK. With
//! `KinesisVideo::from_env().await` it reads from AWS.
//!
//! ```
//! # #[cfg(all(feature = "aws", feature = "local"))]
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use futures::TryStreamExt;
//! use kinesis_video::local::{Document, LocalEndpoint, Shape};
//! use kinesis_video::{KinesisVideo, Start};
//!
//! let endpoint = LocalEndpoint::start().await?;
//! let camera = endpoint.create_stream("front-door");
//! camera.push(&Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"a coded frame"));
//!
//! let kvs = KinesisVideo::new(&endpoint.sdk_config());
//! let mut fragments = kvs.live("front-door").start(Start::Earliest).fragments();
//! let fragment = fragments.try_next().await?.expect("one was pushed");
//! println!("{:?} is {:?} behind", fragment.number(), fragment.behind_now());
//! assert_eq!(fragment.packets().count(), 1);
//! # Ok::<(), kinesis_video::Error>(()) }).unwrap();
//! ```
//!
//! # Sources
//!
//! | from | use |
//! |---|---|
//! | a stream in AWS, for ever | [`KinesisVideo::live`] |
//! | the same, packet by packet as they arrive | [`Live::packets`] |
//! | the same, from where the last process was done | [`Live::checkpointed`] |
//! | what is stored of a stream, in order | [`KinesisVideo::archive`] |
//! | a list of that | [`KinesisVideo::list_fragments`] |
//! | that as MP4, or as pictures that the service makes | [`KinesisVideo::clips`], [`KinesisVideo::images`] |
//! | a URL for a player | [`KinesisVideo::hls`], [`KinesisVideo::dash`] |
//! | the payload of one's own SDK call | [`FragmentStream::from_byte_stream`] |
//! | what is stored, as MP4 files that the service makes | [`KinesisVideo::clips`] |
//! | pictures that the service takes of what is stored | [`KinesisVideo::images`] |
//! | a URL for a player | [`KinesisVideo::hls`], [`KinesisVideo::dash`] |
//! | a file, a socket, any `AsyncRead` | [`FragmentStream::new`] |
//! | any stream of byte chunks | [`FragmentStream::from_stream`] |
//! | any of these, faults and skipped bytes included | [`BodyStream`] |
//! | any of these, packet by packet as they arrive | [`PacketStream`](demux::PacketStream) |
//! | a tokio-util codec | [`FragmentDecoder`], [`BodyDecoder`] |
//!
//! # Adapters and sinks
//!
//! | method | on a stream of | gives |
//! |---|---|---|
//! | [`packets`](FragmentStreamExt::packets) | fragments | every coded frame |
//! | [`keyframes`](PacketStreamExt::keyframes) | packets | the key frames of video tracks |
//! | [`frames`](FragmentStreamExt::frames) | fragments | every decoded picture, or [some](frame#which-pictures) |
//! | [`scale_within`](FrameStreamExt::scale_within) | frames | them made smaller |
//! | [`rgb`](FrameStreamExt::rgb), [`jpeg`](FrameStreamExt::jpeg), [`png`](FrameStreamExt::png) | frames | them as others want them |
//! | [`connect_audio`](FragmentStreamExt::connect_audio) | fragments | what each party of a call says, placed by time |
//! | [`stereo`](AudioStreamExt::stereo) | audio | both parties side by side, in real time too |
//! | [`chunk_duration`](AudioStreamExt::chunk_duration), [`chunk_bytes`](AudioStreamExt::chunk_bytes) | audio | chunks of one length |
//! | [`until`](FragmentStreamExt::until) | fragments | those up to a time, a number, a count or a deadline |
//! | [`share`](FragmentStreamExt::share) | fragments | the same to several consumers, over one connection |
//! | [`acknowledged`](FragmentStreamExt::acknowledged) | fragments | the same, and how far they are done is [saved](checkpoint) |
//! | [`record`](RecordExt::record) | anything | a [`Summary`] of what a sink recorded |
//!
//! | sink | takes | writes |
//! |---|---|---|
//! | [`MkvSink`] | fragments | an MKV file each |
//! | [`ImageSink`] | encoded pictures | a JPEG or PNG file each |
//! | [`WavSink`] | audio, stereo or not | WAV files, by call, contact, party or fragment |
//!
//! One's own work goes between them with the combinators of futures: fragments are `Send` and
//! `'static`, so `fragments.map_ok(|f| work(f)).try_buffer_unordered(8)` bounds it at eight at once.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `aws` | yes | [`KinesisVideo`]: reading from the service with the AWS SDK |
//! | `ffmpeg` | no | [`frame`]: decoding pictures with the installed libavcodec; needs its development files and clang |
//! | `turbojpeg` | no | JPEG with libjpeg-turbo, three times as fast; needs cmake and nasm |
//! | `ndarray` | no | [`Frame::to_ndarray`] |
//! | `local` | no | [`local::LocalEndpoint`]: the service on loopback, and documents to feed it |
//! | `metrics` | no | numbers of live streams for the `metrics` facade: see [`Live`](Live#numbers) |
//! | `serde` | with `aws` | [`Position`] serialises, as its text |
//!
//! # Errors
//!
//! Everything fails with the one [`Error`], which has a [kind](Error::kind), says
//! [where](Error::position) and over [which connection](Error::context), and whether it
//! [may go away by itself](Error::is_retryable). What a consumer can survive is data, not an error:
//! see [`Discontinuity`]. A live stream waits for what goes away by itself, and goes on; the
//! archive tries eight times. After an error every stream is at its end.
//!
//! # Cancel safety
//!
//! Every stream may be polled from `select!` and its `next()` future be dropped: nothing is lost.
//! Dropping a stream drops what it reads from, and so closes the connection.
//!
//! # Stability
//!
//! Needs Rust 1.94.1, as the AWS SDK does, and moves with it in minor releases. Enums that may grow
//! are `#[non_exhaustive]`. No type of another crate is in the public API but those of tokio, futures,
//! bytes, the AWS SDK, image and ndarray where one hands something over.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod accessors;
pub mod audio;
pub mod checkpoint;
pub mod demux;
pub mod ebml;
mod error;
mod ext;
pub mod fragment;
#[cfg(feature = "ffmpeg")]
pub mod frame;
mod image_format;
mod limits;
#[cfg(feature = "local")]
pub mod local;
pub mod packet;
#[cfg(feature = "aws")]
pub mod service;
pub mod sink;
mod summary;

/// Not a stable interface: for this crate's own fuzzing and tests.
#[doc(hidden)]
pub mod internals {
    pub use crate::ebml::header::Header;
    pub use crate::ebml::reader::{Ending, Event, Reader};
    pub use crate::ebml::writer::{Width, Writer};
}

pub use audio::{AudioChunk, Party, StereoChunk};
pub use checkpoint::{Acks, CheckpointStore, FileCheckpoint, MemoryCheckpoint};
pub use demux::{BodyDecoder, BodyItem, BodyStream, FragmentDecoder, FragmentStream, PacketStream};
pub use error::{Error, ErrorContext, ErrorKind, ErrorPosition, Result};
#[cfg(feature = "ffmpeg")]
pub use ext::FrameStreamExt;
pub use ext::{AudioStreamExt, FragmentStreamExt, PacketStreamExt, RecordExt};
pub use fragment::{
    Arrival, Block, Bound, Discontinuity, Fault, Fragment, FragmentEnd, FragmentFooter, FragmentHeader, FragmentNumber,
    Position, Share, SkipReason, Skipped, StreamEnd, Subscriber, Tag, TagValue, Tags, Timestamp, Track, TrackKind,
};
#[cfg(feature = "ffmpeg")]
pub use frame::{EncodedFrame, Frame, RgbFrame};
pub use image_format::ImageFormat;
pub use limits::Limits;
pub use packet::Packet;
#[cfg(feature = "aws")]
pub use service::{
    Archive, ArchiveFragments, ArchiveProgress, ArchivedImage, Clip, ClipStream, Clips, Clock, DashSession,
    FragmentEntries, FragmentInfo, FragmentList, HlsSession, ImageStream, Images, KinesisVideo, Live, LiveFragments,
    LivePackets, LiveStatus, LiveStream, NoImage, OnAgedOut, OnDamage, OnUnavailable, Order, PlaybackUrl, RetryConfig,
    Start, StopHandle, StreamId,
};
#[cfg(any(feature = "aws", feature = "ffmpeg"))]
pub use sink::ImageSink;
pub use sink::{MediaSink, MkvSink, WavSink};
pub use summary::Summary;

/// The examples of the README are compiled and run with the tests.
#[cfg(all(doctest, feature = "aws", feature = "local"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the guides are compiled and run with the tests.
#[cfg(all(doctest, feature = "aws", feature = "local"))]
#[doc = include_str!("../docs/calls.md")]
struct CallsGuide;

#[cfg(all(doctest, feature = "aws", feature = "local", feature = "ffmpeg"))]
#[doc = include_str!("../docs/archive.md")]
struct ArchiveGuide;
