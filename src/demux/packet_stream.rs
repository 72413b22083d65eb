//! The stream of packets.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;

use super::chunk_reader::ChunkReader;
use super::framed::Framed;
use super::packet_decoder::{PacketDecoder, PacketItem};
use crate::accessors::inner_accessors;
use crate::error::Result;
use crate::limits::Limits;

pin_project! {
    /// A stream of the packets of a body, each yielded as soon as its last byte arrives.
    ///
    /// The stream yields the start of a fragment, its packets, and its end. Use it if waiting for whole fragments
    /// takes too long. Otherwise, [`packets`](crate::FragmentStreamExt::packets) yields the packets of a stream of
    /// fragments.
    ///
    /// # Errors
    /// The stream fails if the transport fails. It also fails if the bytes are malformed, exceed [`Limits`], or have
    /// frames that are encrypted or compressed. Before the error, the current fragment ends
    /// [`Cut`](crate::FragmentEnd::Cut). After the error, the stream yields `None`. A [`Fault`](crate::Fault) of the
    /// service is an item.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream drops the reader.
    ///
    /// # Memory
    /// The stream holds one block or one metadata element, and the bytes of one read.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::demux::{PacketItem, PacketStream};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut items = PacketStream::new(body);
    /// while let Some(item) = items.try_next().await? {
    ///     match item {
    ///         PacketItem::Start(fragment) => println!("{:?}", fragment.number()),
    ///         PacketItem::Packet(packet) => println!("  {} bytes", packet.payload().len()),
    ///         PacketItem::End(end) => println!("  {}", end.end_reason()),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct PacketStream<R> {
        #[pin]
        framed: Framed<R, PacketDecoder>,
    }
}

impl<R: AsyncRead> PacketStream<R> {
    /// Creates a stream that reads a body from `reader`.
    pub fn new(reader: R) -> Self {
        Self { framed: Framed::new(reader, PacketDecoder::new()) }
    }

    /// Sets the limits. Default: [`Limits::default`].
    ///
    /// Call this before the stream is polled. A later call resets the decoder to the start of a body.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.framed.decoder = self.framed.decoder.limits(limits);
        self
    }

    /// Sets whether to resume after damage. See [`BodyDecoder::resync`](crate::BodyDecoder::resync). Default: false.
    pub fn resync(mut self, resync: bool) -> Self {
        self.framed.decoder = self.framed.decoder.resync(resync);
        self
    }
}

impl<S, B, E> PacketStream<ChunkReader<S, B>>
where
    S: Stream<Item = std::result::Result<B, E>>,
    B: Buf,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Creates a stream that reads a body from a stream of byte chunks.
    pub fn from_stream(chunks: S) -> Self {
        Self::new(ChunkReader::new(chunks))
    }
}

impl<R> PacketStream<R> {
    inner_accessors!(framed.reader: R, "reader", "The received part of an unfinished packet is lost.");

    /// Returns whether every received fragment has been yielded with its end.
    #[cfg(feature = "aws")]
    pub(crate) fn is_between_fragments(&self) -> bool {
        self.framed.is_empty() && !self.framed.decoder.is_open()
    }
}

impl<R: AsyncRead> Stream for PacketStream<R> {
    type Item = Result<PacketItem>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.project().framed.poll_item(cx));
        Poll::Ready(item.map(|item| item.map(|(item, _)| item)))
    }
}

impl<R: AsyncRead> FusedStream for PacketStream<R> {
    fn is_terminated(&self) -> bool {
        self.framed.is_done()
    }
}
