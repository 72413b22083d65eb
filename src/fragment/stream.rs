//! Streams of items and fragments over anything that yields bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures::Stream;
use futures::stream::{FusedStream, MapErr, TryStreamExt};
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::io::{StreamReader, poll_read_buf};

use super::decoder::{BodyDecoder, Pending};
use super::{Arrival, BodyItem, Discontinuity, Fragment};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// How much is read at once, at least.
const READ: usize = 16 << 10;

/// A stream of byte chunks as an `AsyncRead`: what [`FragmentStream::from_stream`] reads from.
pub type BytesReader<S, B, E> = StreamReader<MapErr<S, fn(E) -> io::Error>, B>;

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
        reader: R,
        decoder: BodyDecoder,
        received: BytesMut,
        state: State,
        first_byte: Option<Instant>,
        last_read: Option<Instant>,
    }
}

#[derive(Debug)]
enum State {
    Reading,
    AtEnd,
    Failed(Error),
    Done,
}

impl<R: AsyncRead> BodyStream<R> {
    /// Reads a body.
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            decoder: BodyDecoder::new(),
            received: BytesMut::new(),
            state: State::Reading,
            first_byte: None,
            last_read: None,
        }
    }

    /// Sets the limits. To be called before anything is read.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.decoder = BodyDecoder::with_limits(limits);
        self
    }
}

impl<R> BodyStream<R> {
    /// The reader.
    pub fn get_ref(&self) -> &R {
        &self.reader
    }

    /// The reader.
    pub fn get_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// The reader.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut R> {
        self.project().reader
    }

    /// The reader. What was read of an unfinished fragment is lost.
    pub fn into_inner(self) -> R {
        self.reader
    }
}

impl<R: AsyncRead> Stream for BodyStream<R> {
    type Item = Result<BodyItem>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use tokio_util::codec::Decoder;

        let mut this = self.project();
        loop {
            let item = match this.state {
                State::Reading => this.decoder.decode(this.received),
                State::AtEnd => this.decoder.decode_eof(this.received),
                State::Failed(error) => {
                    let error = error.clone();
                    *this.state = State::Done;
                    return Poll::Ready(Some(Err(error)));
                }
                State::Done => return Poll::Ready(None),
            };
            match item {
                Ok(Some(item)) => {
                    let item = stamp(item, *this.first_byte, *this.last_read);
                    *this.first_byte = if this.received.is_empty() { None } else { *this.last_read };
                    return Poll::Ready(Some(Ok(item)));
                }
                Ok(None) if matches!(this.state, State::AtEnd) => {
                    *this.state = State::Done;
                    return Poll::Ready(None);
                }
                Ok(None) => {}
                Err(error) => {
                    *this.state = State::Done;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            if this.received.capacity() - this.received.len() < READ {
                this.received.reserve(READ);
            }
            match ready!(poll_read_buf(this.reader.as_mut(), cx, this.received)) {
                Ok(0) => *this.state = State::AtEnd,
                Ok(_) => {
                    let now = Instant::now();
                    *this.last_read = Some(now);
                    this.first_byte.get_or_insert(now);
                }
                Err(error) => {
                    // What has come is given out first.
                    *this.state = State::Failed(error.into());
                    if let Some(item) = this.decoder.abort(this.received) {
                        return Poll::Ready(Some(Ok(stamp(item, *this.first_byte, *this.last_read))));
                    }
                }
            }
        }
    }
}

fn stamp(mut item: BodyItem, first_byte: Option<Instant>, last_read: Option<Instant>) -> BodyItem {
    if let (BodyItem::Fragment(fragment), Some(first), Some(last)) = (&mut item, first_byte, last_read) {
        fragment.set_arrival(Arrival { first_byte: first.into_std(), last_byte: last.into_std() });
    }
    item
}

impl<R: AsyncRead> FusedStream for BodyStream<R> {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
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
    /// the current fragment comes first, as a fragment that [ends](Fragment::end)
    /// [`Cut`](super::End::Cut); then the error; then `None` for ever. An error that the service
    /// reports inside the media ([`Fault`](super::Fault)) is an error here; use [`BodyStream`] to
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
}

impl<S, B, E> FragmentStream<BytesReader<S, B, E>>
where
    S: Stream<Item = std::result::Result<B, E>>,
    B: Buf,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
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
    /// assert!(fragments[0].end() == kinesis_video::End::Cut);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn from_stream(chunks: S) -> Self {
        Self::new(BodyStream::from_stream(chunks).reader)
    }
}

impl<S, B, E> BodyStream<BytesReader<S, B, E>>
where
    S: Stream<Item = std::result::Result<B, E>>,
    B: Buf,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Reads a body from a stream of byte chunks.
    pub fn from_stream(chunks: S) -> Self {
        let to_io: fn(E) -> io::Error = |error| {
            let error = error.into();
            match error.downcast::<io::Error>() {
                Ok(error) => *error,
                Err(error) => io::Error::other(error),
            }
        };
        Self::new(StreamReader::new(chunks.map_err(to_io)))
    }
}

impl<R> FragmentStream<R> {
    /// The reader.
    pub fn get_ref(&self) -> &R {
        self.body.get_ref()
    }

    /// The reader.
    pub fn get_mut(&mut self) -> &mut R {
        self.body.get_mut()
    }

    /// The reader.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut R> {
        self.project().body.get_pin_mut()
    }

    /// The reader. What was read of an unfinished fragment is lost.
    pub fn into_inner(self) -> R {
        self.body.into_inner()
    }

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
