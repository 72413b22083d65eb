//! Amazon Kinesis Video Streams media as ordinary async Rust.
//!
//! Media that cameras and contact centres send to Kinesis Video Streams is read as a
//! [`Stream`](futures::Stream) of [fragments](Fragment). Everything after that is a stream adapter or a
//! [`Sink`](futures::Sink), with backpressure instead of callbacks.
//!
//! ```text
//!  bytes ──▶ ebml ──▶ demux ──▶ fragment ──┬─▶ packets   coded frames
//!  file, socket,                           ├─▶ frames    decoded pictures ──▶ RGB, JPEG, PNG
//!  SDK body                                ├─▶ audio     Amazon Connect ──▶ stereo, WAV
//!                                          ├─▶ elements  a searchable tree
//!                                          └─▶ mux       MP4 and MKV files
//!
//!  service: GetMedia and the archive       where bytes come from in AWS
//!  local:   an endpoint on this machine    the same wire format for development and tests
//! ```
//!
//! # A first program
//!
//! This program reads a stream of the local endpoint through the real AWS SDK. With
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
//! println!("{:?} is {:?} behind now", fragment.number(), fragment.behind_now());
//! assert_eq!(fragment.packets().count(), 1);
//! # Ok::<(), kinesis_video::Error>(()) }).unwrap();
//! ```
//!
//! # Sources
//!
//! | to read | use |
//! |---|---|
//! | a stream as it is produced, for ever | [`KinesisVideo::live`], then [`Live::fragments`] |
//! | the same, packet by packet as the bytes arrive | [`Live::packets`] |
//! | the same, from where the last process stopped | [`Live::checkpointed`] |
//! | a stored range, in order | [`KinesisVideo::archive`] |
//! | a part of a stored range, on each of several machines | [`Shard`] |
//! | the stored fragment, or the picture, at a time | [`Archive::fragment_at`], `Archive::frame_at` |
//! | a list of stored fragments, or the newest one | [`KinesisVideo::list_fragments`], then [`FragmentList::newest`] |
//! | the streams of the account; one stream's settings | [`KinesisVideo::list_streams`], [`KinesisVideo::describe`] |
//! | a stored range as MP4 files that the service makes | [`KinesisVideo::clips`] |
//! | a stored range as pictures that the service makes | [`KinesisVideo::images`] |
//! | a URL for a player | [`KinesisVideo::hls`], [`KinesisVideo::dash`] |
//! | a signed request for another HTTP client | [`PresignExt`] |
//! | the body of your own SDK call | [`FragmentStream::from_byte_stream`] |
//! | a file, a socket, any `AsyncRead` | [`FragmentStream::new`] |
//! | any stream of byte chunks | [`FragmentStream::from_stream`] |
//! | any of these, faults and skipped bytes included | [`BodyStream`] |
//! | any of these, packet by packet as the bytes arrive | [`PacketStream`] |
//! | bytes, with a tokio-util codec | [`FragmentDecoder`], [`BodyDecoder`] |
//!
//! # Adapters and sinks
//!
//! | method | on a stream of | yields |
//! |---|---|---|
//! | [`packets`](FragmentStreamExt::packets) | fragments | all coded frames |
//! | [`keyframes`](PacketStreamExt::keyframes) | packets | the key frames of video tracks |
//! | [`audio`](PacketStreamExt::audio) | packets | coded audio with its codec configuration |
//! | [`frames`](FragmentStreamExt::frames) | fragments | decoded pictures, all or [some](frame#sampling) |
//! | [`frame_at`](FragmentStreamExt::frame_at) | fragments | the picture that is shown at a time, as a future |
//! | [`trim`](PacketStreamExt::trim) | packets | the packets of a range of time, rounded outward to key frames |
//! | [`scale_within`](FrameStreamExt::scale_within) | frames | smaller pictures |
//! | [`rgb`](FrameStreamExt::rgb), [`jpeg`](FrameStreamExt::jpeg), [`png`](FrameStreamExt::png) | frames | converted pictures |
//! | [`connect_audio`](FragmentStreamExt::connect_audio) | fragments | the audio of each party of a conversation |
//! | [`stereo`](AudioStreamExt::stereo) | audio | both parties, interleaved, also in real time |
//! | [`chunk_duration`](AudioStreamExt::chunk_duration), [`chunk_bytes`](AudioStreamExt::chunk_bytes) | audio | chunks of one length |
//! | [`detect_gaps`](FragmentStreamExt::detect_gaps) | fragments | fragments with the gaps between them |
//! | [`until`](FragmentStreamExt::until) | fragments | fragments up to a time, number, count or deadline |
//! | [`share`](FragmentStreamExt::share) | fragments | one stream for several consumers |
//! | [`acknowledged`](FragmentStreamExt::acknowledged) | fragments | fragments whose progress is [saved](checkpoint) |
//! | [`record`](RecordExt::record) | items of a sink | a [`Summary`] of what the sink recorded |
//!
//! | sink | takes | writes |
//! |---|---|---|
//! | [`Mp4Sink`] | fragments | one MP4 or MOV file, without re-encoding |
//! | [`MkvFileSink`] | fragments | one MKV file, without re-encoding |
//! | [`AudioSink`] | fragments | one audio track as ADTS or WAV, without re-encoding |
//! | [`PipeSink`] | fragments | one MKV to the standard input of a program |
//! | [`MkvSink`] | fragments | an MKV file per fragment |
//! | [`PayloadSink`] | fragments | one file with all fragments, as the service sends them |
//! | [`PutSink`] | fragments | another stream in AWS, with PutMedia, from [`KinesisVideo::put_media`] |
//! | [`ImageSink`] | encoded frames, archived images | a JPEG or PNG file per picture |
//! | [`WavSink`] | audio, stereo or not | WAV files per conversation, contact, party or fragment |
//!
//! Your own work goes between them with the combinators of futures. Fragments are `Send` and `'static`, so
//! `fragments.map_ok(|f| work(f)).try_buffer_unordered(8)` works on at most eight at a time.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `aws` | yes | [`KinesisVideo`]: reading from the service, and sending to it, with the AWS SDK |
//! | `ffmpeg` | no | [`frame`]: decoding pictures with the installed libavcodec; needs its development files and clang |
//! | `ts` | no | `local` with MPEG-TS in HLS |
//! | `turbojpeg` | no | JPEG by libjpeg-turbo, three times as fast; needs cmake and nasm |
//! | `ndarray` | no | [`Frame::to_ndarray`] |
//! | `local` | no | [`local::LocalEndpoint`]: the service on loopback |
//! | `dynamodb` | no | [`fleet::DynamoLeases`], [`fleet::DynamoCheckpoint`]: leases and checkpoints in DynamoDB |
//! | `metrics` | no | metrics of live streams for the `metrics` facade: see [`Live`](Live#numbers) |
//! | `serde` | with `aws` | [`Position`] serialises, as its text |
//! | `cli` | no | the command `kvs`; includes `aws`, `dynamodb` and `local` |
//!
//! # Errors
//!
//! Every operation fails with the one [`Error`]. It has a [kind](Error::kind), a [position](Error::position) in the
//! body, a [context](Error::context) (stream, endpoint, request), and says whether it
//! [is retryable](Error::is_retryable). What a consumer survives is data, not an error: see [`Discontinuity`].
//! After an error every stream is at its end.
//!
//! # Logs
//!
//! The crate logs with `tracing`. Events of the target `kinesis_video::retry` report that a failed call will be made
//! again. They have the level `WARN` and these fields:
//!
//! | field | value |
//! |---|---|
//! | `stream` | the name or ARN of the stream; absent for ListStreams |
//! | `error` | the error, as text |
//! | `cause` | the error's first cause, as text; absent if the error has none |
//! | `pause_ms` | the milliseconds until the call |
//! | `attempt` | the number of the attempt, from 1 after a connection was lost and from 2 after a failed call |
//!
//! # Cancel safety
//!
//! Every stream can be polled from `select!`: dropping a `next()` future loses nothing. Dropping a stream drops its
//! reader and so closes the connection.
//!
//! # Stability
//!
//! The minimum Rust version is 1.94.1, that of the AWS SDK. It moves with the SDK in minor releases. Enums that may
//! grow are `#[non_exhaustive]`. The public API names types of tokio, futures, bytes, the AWS SDK, image and ndarray,
//! and of no other crate.

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
pub mod mux;
pub mod packet;
#[cfg(feature = "aws")]
pub mod service;
pub mod sink;
mod summary;
#[cfg(feature = "viewer")]
pub mod viewer;

/// Not a stable interface: for this crate's own fuzzing and tests.
#[doc(hidden)]
pub mod internals {
    pub use crate::ebml::header::Header;
    pub use crate::ebml::reader::{Ending, Event, Reader};
    pub use crate::ebml::writer::{Width, Writer};
    #[cfg(feature = "local")]
    pub use crate::local::operations::put_media::{Cut, FragmentCutter, PutError};
}

pub use audio::{AudioChunk, Party, StereoChunk};
pub use checkpoint::{Acks, CheckpointStore, FileCheckpoint, MemoryCheckpoint};
pub use demux::{BodyDecoder, BodyItem, BodyStream, FragmentDecoder, FragmentStream, PacketStream};
pub use error::{Error, ErrorContext, ErrorKind, ErrorPosition, Result};
#[cfg(feature = "ffmpeg")]
pub use ext::FrameStreamExt;
pub use ext::{AudioStreamExt, FragmentStreamExt, PacketStreamExt, RecordExt};
pub use fragment::{
    Arrival, Block, Bound, Clock, Discontinuity, Fault, Fragment, FragmentEnd, FragmentFooter, FragmentHeader,
    FragmentNumber, Position, Share, SkipReason, Skipped, StreamEnd, Subscriber, Tag, TagValue, Tags, Timestamp, Track,
    TrackKind,
};
#[cfg(feature = "ffmpeg")]
pub use frame::{EncodedFrame, Frame, RgbFrame};
pub use image_format::ImageFormat;
pub use limits::Limits;
pub use mux::{AudioPacket, Gaps};
pub use packet::Packet;
#[cfg(feature = "aws")]
pub use service::{
    Archive, ArchiveFragments, ArchiveProgress, ArchivedImage, ArchivedStream, Clip, ClipStream, Clips, DashSession,
    FragmentEntries, FragmentInfo, FragmentList, HlsSession, ImageStream, Images, KinesisVideo, Live, LiveFragments,
    LivePackets, LiveStatus, LiveStream, NoImage, OnAgedOut, OnDamage, OnUnavailable, Order, PlaybackUrl, PresignExt,
    PresignedRequest, PutAck, PutAckKind, PutAcks, PutMedia, PutSink, PutStatus, RetryConfig, Shard, Start, StopHandle,
    StreamEntries, StreamId, StreamInfo, StreamList, StreamStatus, fleet,
};
#[cfg(any(feature = "aws", feature = "ffmpeg"))]
pub use sink::ImageSink;
pub use sink::{
    AudioSink, MediaSink, MkvFileSink, MkvSink, Mp4Sink, PayloadSink, PipeEnd, PipeSink, RecordedFile, RecordingSink,
    WavFile, WavSink,
};
pub use summary::Summary;

/// Compiles and runs the examples of the README and of the guides with the tests.
#[cfg(all(doctest, feature = "dynamodb", feature = "ffmpeg", feature = "viewer"))]
mod guides {
    macro_rules! guide {
        ($($name:ident: $path:literal)*) => {
            $(#[doc = include_str!(concat!("../", $path))] pub(super) struct $name;)*
        };
    }

    guide! {
        Readme: "README.md"
        Archive: "docs/archive.md"
        Calls: "docs/calls.md"
        Errors: "docs/errors.md"
        Fleet: "docs/fleet.md"
        FromJava: "docs/from-java.md"
        FromPython: "docs/from-python.md"
        Live: "docs/live.md"
        LocalEndpoint: "docs/local-endpoint.md"
        Pictures: "docs/pictures.md"
        Put: "docs/put.md"
        Recordings: "docs/recordings.md"
        Viewer: "docs/viewer.md"
    }
}
