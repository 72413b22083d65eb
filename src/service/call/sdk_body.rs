//! The SDK's streaming body as a reader.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::byte_stream::error::Error as ByteStreamError;
use bytes::Bytes;
use futures::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::demux::PacketStream;
use crate::demux::{BodyStream, ChunkReader, FragmentStream};

/// A reader of the response body of an AWS SDK call. Created with `From<ByteStream>`.
#[derive(Debug)]
pub struct SdkBody(ChunkReader<Chunks, Bytes>);

#[derive(Debug)]
struct Chunks(ByteStream);

impl Stream for Chunks {
    type Item = Result<Bytes, ByteStreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

impl From<ByteStream> for SdkBody {
    fn from(body: ByteStream) -> Self {
        Self(ChunkReader::new(Chunks(body)))
    }
}

impl AsyncRead for SdkBody {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, out)
    }
}

impl FragmentStream<SdkBody> {
    /// Creates a stream of fragments from the response body of an AWS SDK call.
    ///
    /// The body is the payload of GetMedia or GetMediaForFragmentList, or an object in S3.
    ///
    /// The SDK's stalled stream protection ends a body that is silent for 5 s. Disable it for your own GetMedia calls.
    ///
    /// ```
    /// use aws_smithy_types::byte_stream::ByteStream;
    /// use futures::TryStreamExt;
    /// use kinesis_video::FragmentStream;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let payload = ByteStream::from_static(b"");
    /// assert!(FragmentStream::from_byte_stream(payload).try_next().await?.is_none());
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn from_byte_stream(body: ByteStream) -> Self {
        Self::new(body.into())
    }
}

impl BodyStream<SdkBody> {
    /// Creates a stream of fragments, faults and skipped bytes from an AWS SDK response body.
    ///
    /// The notes of [`FragmentStream::from_byte_stream`] apply.
    pub fn from_byte_stream(body: ByteStream) -> Self {
        Self::new(body.into())
    }
}

impl PacketStream<SdkBody> {
    /// Creates a stream of packets from the response body of an AWS SDK call.
    ///
    /// The notes of [`FragmentStream::from_byte_stream`] apply.
    pub fn from_byte_stream(body: ByteStream) -> Self {
        Self::new(body.into())
    }
}
