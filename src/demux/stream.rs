//! Streams of body items and fragments.

use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;

use super::chunk_reader::ChunkReader;
use super::decoder::{BodyDecoder, Pending};
use super::framed::Framed;
use super::item::BodyItem;
use crate::accessors::inner_accessors;
use crate::error::Result;
use crate::fragment::{Discontinuity, Fragment};
use crate::limits::Limits;

pin_project! {
    /// A stream of all items of a body: fragments, faults and skipped bytes.
    ///
    /// Errors, cancel safety and memory are the same as for [`FragmentStream`], which yields only fragments. A
    /// fault is an item here, because fragments may follow it in a body of GetMediaForFragmentList.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{BodyItem, BodyStream};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut items = BodyStream::new(body);
    /// while let Some(item) = items.try_next().await? {
    ///     match item {
    ///         BodyItem::Fragment(fragment) => println!("{fragment:?}"),
    ///         BodyItem::Fault(fault) => println!("{:?}: {:?}", fault.fragment_number(), fault.message()),
    ///         other => println!("{} other bytes", other.raw().len()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct BodyStream<R> {
        #[pin]
        framed: Framed<R, BodyDecoder>,
    }
}

impl<R: AsyncRead> BodyStream<R> {
    /// Creates a stream that reads a body from `reader`.
    pub fn new(reader: R) -> Self {
        Self { framed: Framed::new(reader, BodyDecoder::new()) }
    }

    /// Sets the limits. Default: [`Limits::default`].
    ///
    /// Call this before the stream is polled. A later call resets the decoder to the start of a body.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.framed.decoder = self.framed.decoder.limits(limits);
        self
    }

    /// Sets whether to resume after damage. See [`BodyDecoder::resync`]. Default: false.
    pub fn resync(mut self, resync: bool) -> Self {
        self.framed.decoder = self.framed.decoder.resync(resync);
        self
    }

    /// Sets whether each Cluster becomes a fragment of its own. See [`BodyDecoder::per_cluster`]. Default: false.
    pub fn per_cluster(mut self, per_cluster: bool) -> Self {
        self.framed.decoder = self.framed.decoder.per_cluster(per_cluster);
        self
    }
}

impl<R> BodyStream<R> {
    inner_accessors!(framed.reader: R, "reader", "The received part of an unfinished fragment is lost.");

    /// Returns whether all received bytes have been yielded.
    #[cfg(feature = "aws")]
    pub(crate) fn is_between_items(&self) -> bool {
        self.framed.is_empty()
    }
}

impl<R: AsyncRead> Stream for BodyStream<R> {
    type Item = Result<BodyItem>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.project().framed.poll_item(cx));
        Poll::Ready(item.map(|item| {
            let (mut item, arrival) = item?;
            if let BodyItem::Fragment(fragment) = &mut item {
                fragment.set_arrival(arrival);
            }
            Ok(item)
        }))
    }
}

impl<R: AsyncRead> FusedStream for BodyStream<R> {
    fn is_terminated(&self) -> bool {
        self.framed.is_done()
    }
}

pin_project! {
    /// A stream of the fragments of a body.
    ///
    /// The stream yields each fragment when the fragment's last byte arrives, at the end of the service's closing
    /// tags. A fragment without closing tags ends where the next document begins, or with the body.
    ///
    /// # Errors
    /// The stream fails in these cases:
    ///
    /// - The transport fails.
    /// - The bytes are malformed, exceed [`Limits`], or have frames that are encrypted or compressed.
    /// - The service reports a [`Fault`](crate::Fault) inside the media. To continue after a fault, use
    ///   [`BodyStream`].
    ///
    /// Before the error, the stream yields the complete blocks of the current fragment, as a fragment that ended
    /// [`Cut`](crate::FragmentEnd::Cut). After the error, the stream yields `None`.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream drops the reader.
    ///
    /// # Memory
    /// The stream holds the bytes of the current fragment and its index, never more than [`Limits`] allows. The
    /// buffer doubles as it grows. The stream reads ahead by at most one read.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::FragmentStream;
    ///
    /// # async fn f() -> kinesis_video::Result<()> {
    /// let mut fragments = FragmentStream::new(tokio::fs::File::open("dump.mkv").await?);
    /// while let Some(fragment) = fragments.try_next().await? {
    ///     println!("{:?}: {} packets", fragment.number(), fragment.packets().count());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct FragmentStream<R> {
        #[pin]
        body: BodyStream<R>,
        pending: Pending,
        failed: bool,
    }
}

impl<R: AsyncRead> FragmentStream<R> {
    /// Creates a stream that reads a body from a file, a socket or any other `AsyncRead`.
    pub fn new(reader: R) -> Self {
        Self { body: BodyStream::new(reader), pending: Pending::default(), failed: false }
    }

    /// Sets the limits. Default: [`Limits::default`].
    ///
    /// Call this before the stream is polled. A later call resets the decoder to the start of a body.
    pub fn limits(self, limits: Limits) -> Self {
        Self { body: self.body.limits(limits), ..self }
    }

    /// Sets whether to resume after damage. See [`BodyDecoder::resync`]. Default: false.
    ///
    /// Skipped bytes are a [`Discontinuity`] of the next fragment. After the last fragment,
    /// [`trailing`](Self::trailing) has them.
    pub fn resync(self, resync: bool) -> Self {
        Self { body: self.body.resync(resync), ..self }
    }

    /// Sets whether each Cluster becomes a fragment of its own. Default: false.
    ///
    /// Without it, a document with many Clusters, such as a file of FFmpeg, is one fragment at the end of the file. See
    /// [`BodyDecoder::per_cluster`].
    pub fn per_cluster(self, per_cluster: bool) -> Self {
        Self { body: self.body.per_cluster(per_cluster), ..self }
    }
}

impl<S, B, E> FragmentStream<ChunkReader<S, B>>
where
    S: Stream<Item = std::result::Result<B, E>>,
    B: Buf,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Creates a stream that reads a body from a stream of byte chunks, such as an HTTP response.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use futures::{stream, TryStreamExt};
    /// use kinesis_video::FragmentStream;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let chunks = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"\x1A\x45\xDF\xA3"))]);
    /// let fragments: Vec<_> = FragmentStream::from_stream(chunks).try_collect().await?;
    /// assert!(fragments[0].end_reason() == kinesis_video::FragmentEnd::Cut);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn from_stream(chunks: S) -> Self {
        Self::new(ChunkReader::new(chunks))
    }
}

impl<S, B, E> BodyStream<ChunkReader<S, B>>
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

impl<R> FragmentStream<R> {
    inner_accessors!(via body: R, "reader", "The received part of an unfinished fragment is lost.");

    /// Returns the bytes skipped after the last fragment.
    ///
    /// If another fragment follows, they become [discontinuities](Fragment::discontinuities) of that fragment.
    pub fn trailing(&self) -> &[Discontinuity] {
        self.pending.discontinuities()
    }
}

impl<R: AsyncRead> Stream for FragmentStream<R> {
    type Item = Result<Fragment>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        while !*this.failed {
            let Some(item) = ready!(this.body.as_mut().poll_next(cx)) else { break };
            match item.and_then(|item| this.pending.admit(item)).transpose() {
                None => {}
                Some(item) => {
                    *this.failed = item.is_err();
                    return Poll::Ready(Some(item));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl<R: AsyncRead> FusedStream for FragmentStream<R> {
    fn is_terminated(&self) -> bool {
        self.failed || self.body.is_terminated()
    }
}
