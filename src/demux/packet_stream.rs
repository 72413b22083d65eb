//! [`PacketStream`]: packets as their bytes arrive.

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
    /// Stream of the packets of a body, each as soon as its own last byte is there, between the
    /// start and the end of its fragment: for those who cannot wait for whole fragments.
    ///
    /// [`packets`](crate::FragmentStreamExt::packets) gives the packets of whole fragments.
    ///
    /// # Errors
    /// As [`FragmentStream`](crate::FragmentStream): when reading fails, the open fragment ends
    /// [`Cut`](crate::FragmentEnd::Cut), then comes the error, then `None` for ever. Faults are items.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream drops the reader at once.
    ///
    /// # Memory
    /// One packet, plus what one read brings.
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
    /// Reads the packets of a body.
    pub fn new(reader: R) -> Self {
        Self { framed: Framed::new(reader, PacketDecoder::new()) }
    }

    /// Sets the limits. To be called before anything is read.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.framed.decoder = self.framed.decoder.limits(limits);
        self
    }

    /// Whether to go on behind damage, as [`BodyDecoder::resync`](crate::BodyDecoder::resync) says.
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
    /// Reads the packets of a body from a stream of byte chunks.
    pub fn from_stream(chunks: S) -> Self {
        Self::new(ChunkReader::new(chunks))
    }
}

impl<R> PacketStream<R> {
    inner_accessors!(framed.reader: R, "reader", "The received part of an unfinished packet is lost.");

    /// Whether no byte is there of a fragment that has not ended.
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
