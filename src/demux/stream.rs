//! Streams of items and fragments over anything that yields bytes.

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
    /// Stream of everything in a body: fragments, faults, and what is neither.
    ///
    /// [`FragmentStream`] is the same for those who only want fragments, with its guarantees and
    /// costs. Here a fault is an item, because others may follow it in a body of
    /// GetMediaForFragmentList.
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
    /// Reads a body.
    pub fn new(reader: R) -> Self {
        Self { framed: Framed::new(reader, BodyDecoder::new()) }
    }

    /// Sets the limits. To be called before anything is read.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.framed.decoder = self.framed.decoder.limits(limits);
        self
    }

    /// Whether to go on behind damage instead of failing, as [`BodyDecoder::resync`] says.
    pub fn resync(mut self, resync: bool) -> Self {
        self.framed.decoder = self.framed.decoder.resync(resync);
        self
    }
}

impl<R> BodyStream<R> {
    inner_accessors!(framed.reader: R, "reader", "The received part of an unfinished fragment is lost.");

    /// Whether no byte is there of an item that has not come.
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
    /// Stream of the fragments of a body: the main road into this crate.
    ///
    /// Yields each fragment as soon as its last byte is there: at the end of the service's closing
    /// tags, or where the next document begins, or when the body ends. Nothing is searched for, and
    /// nothing waits for the next fragment.
    ///
    /// # Errors
    /// When the transport fails, or the bytes are malformed or beyond [`Limits`], what is whole of
    /// the current fragment comes first, as a fragment that [ends](Fragment::end_reason)
    /// [`Cut`](crate::FragmentEnd::Cut); then the error; then `None` for ever. An error that the service
    /// reports inside the media ([`Fault`](crate::Fault)) is an error here; use [`BodyStream`] to
    /// read on.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream drops the reader at once.
    ///
    /// # Memory
    /// Holds the bytes of the fragment that is coming in, in a buffer that doubles as it grows,
    /// plus its index; never more than [`Limits`] allows. Nothing is read ahead beyond one read.
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
    /// Reads the fragments of a body from a file, a socket, or anything else that is `AsyncRead`.
    pub fn new(reader: R) -> Self {
        Self { body: BodyStream::new(reader), pending: Pending::default(), failed: false }
    }

    /// Sets the limits. To be called before anything is read.
    pub fn limits(self, limits: Limits) -> Self {
        Self { body: self.body.limits(limits), ..self }
    }

    /// Whether to go on behind damage instead of failing, as [`BodyDecoder::resync`] says. What was
    /// skipped is a [`Discontinuity`] of the fragment behind it.
    pub fn resync(self, resync: bool) -> Self {
        Self { body: self.body.resync(resync), ..self }
    }
}

impl<S, B, E> FragmentStream<ChunkReader<S, B>>
where
    S: Stream<Item = std::result::Result<B, E>>,
    B: Buf,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    /// Reads the fragments of a body from a stream of byte chunks, such as an HTTP client's.
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
    /// Reads a body from a stream of byte chunks.
    pub fn from_stream(chunks: S) -> Self {
        Self::new(ChunkReader::new(chunks))
    }
}

impl<R> FragmentStream<R> {
    inner_accessors!(via body: R, "reader", "The received part of an unfinished fragment is lost.");

    /// What was skipped behind the last fragment; with a fragment behind it, it would be one of
    /// that one's [discontinuities](Fragment::discontinuities).
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
