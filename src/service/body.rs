//! The SDK's streaming body as a source.

use std::pin::Pin;
use std::task::{Context, Poll};

use aws_smithy_types::byte_stream::ByteStream;
use bytes::Bytes;
use futures::Stream;

use crate::fragment::{BodyStream, BytesReader, FragmentStream};

/// The body of a response of the AWS SDK, as a stream of its chunks.
#[derive(Debug)]
pub struct SdkBody(ByteStream);

impl Stream for SdkBody {
    type Item = Result<Bytes, aws_smithy_types::byte_stream::error::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

type SdkReader = BytesReader<SdkBody, Bytes, aws_smithy_types::byte_stream::error::Error>;

impl FragmentStream<SdkReader> {
    /// Reads the fragments of a body that one's own call of the AWS SDK gave: the payload of
    /// GetMedia or GetMediaForFragmentList, or an object in S3.
    ///
    /// The SDK guards bodies against stalling, and kills one that is silent for 5 seconds: switch
    /// that off for GetMedia calls of your own.
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
        Self::from_stream(SdkBody(body))
    }
}

impl BodyStream<SdkReader> {
    /// Reads a body that one's own call of the AWS SDK gave.
    pub fn from_byte_stream(body: ByteStream) -> Self {
        Self::from_stream(SdkBody(body))
    }
}
