//! A stream over a reader and a decoder.
//!
//! Unlike tokio-util's `FramedRead`, it yields the buffered items when the transport fails, and ends after an error.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use pin_project_lite::pin_project;
use tokio::io::AsyncRead;
use tokio::time::Instant;
use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

use crate::error::{Error, Result};
use crate::fragment::Arrival;

/// The least free space of the buffer before a read, in bytes.
const MIN_READ: usize = 16 << 10;

/// A decoder of bodies.
pub(crate) trait BodyDecode: Decoder<Error = Error> {
    /// Ends the body after a transport error. `decode_eof` then returns the rest as cut.
    fn abort(&mut self);

    /// Returns how many bytes the buffer needs before `decode` can make progress.
    fn wanted(&self) -> usize;
}

/// An item with the arrival time of its bytes.
pub(crate) type Timed<T> = Result<(T, Arrival)>;

pin_project! {
    #[derive(Debug)]
    pub(crate) struct Framed<R, D> {
        #[pin]
        pub(crate) reader: R,
        pub(crate) decoder: D,
        received: BytesMut,
        state: State,
        clock: Clock,
    }
}

#[derive(Debug)]
enum State {
    Reading,
    AtEnd,
    Failing(Error),
    Done,
}

/// The arrival times of the bytes in the buffer.
#[derive(Debug, Default)]
struct Clock {
    first_byte: Option<Instant>,
    last_read: Option<Instant>,
    read_before: Option<Instant>,
    /// The number of bytes of the last read.
    fresh: usize,
}

#[cfg(feature = "aws")]
impl<R, D> Framed<R, D> {
    /// Returns whether all received bytes have been yielded.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.is_empty()
    }
}

impl<R: AsyncRead, D: BodyDecode> Framed<R, D> {
    pub(crate) fn new(reader: R, decoder: D) -> Self {
        Self { reader, decoder, received: BytesMut::new(), state: State::Reading, clock: Clock::default() }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Polls for the next item and its arrival time.
    pub(crate) fn poll_item(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Timed<D::Item>>> {
        let mut this = self.project();
        loop {
            let item = match this.state {
                State::Reading => this.decoder.decode(this.received),
                State::AtEnd | State::Failing(_) => this.decoder.decode_eof(this.received),
                State::Done => return Poll::Ready(None),
            };
            match item {
                Ok(Some(item)) => {
                    let arrival = this.clock.taken(this.received.len());
                    return Poll::Ready(Some(Ok((item, arrival))));
                }
                Ok(None) => match std::mem::replace(this.state, State::Done) {
                    State::Reading => *this.state = State::Reading,
                    State::Failing(error) => return Poll::Ready(Some(Err(error))),
                    State::AtEnd | State::Done => return Poll::Ready(None),
                },
                Err(error) => {
                    *this.state = State::Done;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let wanted = this.decoder.wanted();
            loop {
                if this.received.capacity() - this.received.len() < MIN_READ {
                    this.received.reserve(MIN_READ);
                }
                match ready!(poll_read_buf(this.reader.as_mut(), cx, this.received)) {
                    Ok(0) => *this.state = State::AtEnd,
                    Ok(length) if this.received.len() < wanted => {
                        this.clock.read_part(length);
                        continue;
                    }
                    Ok(length) => this.clock.read(length),
                    Err(error) => {
                        this.decoder.abort();
                        *this.state = State::Failing(error.into());
                    }
                }
                break;
            }
        }
    }
}

impl Clock {
    /// Notes a read that cannot complete an item. Its time matters only if it begins an item.
    fn read_part(&mut self, length: usize) {
        if self.first_byte.is_none() {
            self.read(length);
        }
    }

    /// Notes a read of `length` bytes.
    fn read(&mut self, length: usize) {
        let now = Instant::now();
        self.read_before = self.last_read.replace(now);
        self.first_byte.get_or_insert(now);
        self.fresh = length;
    }

    /// Returns the arrival of an item that was taken from the buffer and left `left` bytes.
    fn taken(&mut self, left: usize) -> Arrival {
        let last_read = self.last_read.unwrap_or_else(Instant::now);
        let first_byte = self.first_byte.unwrap_or(last_read);
        let before = self.read_before.unwrap_or(last_read);
        let last_byte = if left >= self.fresh { before } else { last_read };
        self.first_byte = match left {
            0 => None,
            left if left > self.fresh => Some(before),
            _ => Some(last_read),
        };
        Arrival { first_byte: first_byte.into_std(), last_byte: last_byte.max(first_byte).into_std() }
    }
}
