//! The tokio-util codecs.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::assembler::{Assembler, Boundary};
use super::{BodyItem, Discontinuity, Fragment};
use crate::error::{Error, Result};
use crate::limits::Limits;

/// The most that is reserved ahead on the word of a declared size.
const RESERVE: u64 = 1 << 20;

/// Decodes a body into [`BodyItem`]s: fragments, faults, and what is neither. Every byte of the
/// body is in exactly one item.
///
/// A fragment is handed on at the last byte of the service's closing tags, before any byte of the
/// next has come; without closing tags, where the next document begins or at the end of the body.
/// Elements are walked, never searched for.
///
/// When the body turns out to be malformed, or beyond [`Limits`], the whole blocks so far come as a
/// fragment that is [`Cut`](super::End::Cut), then the error, then nothing more, whatever else is
/// fed in.
///
/// Use it with [`FramedRead`](tokio_util::codec::FramedRead), or better with
/// [`BodyStream`](super::BodyStream), which also yields what there was when the transport fails.
///
/// ```
/// use bytes::BytesMut;
/// use kinesis_video::BodyDecoder;
/// use tokio_util::codec::Decoder;
///
/// let mut decoder = BodyDecoder::new();
/// let mut received = BytesMut::new();
/// assert!(decoder.decode(&mut received)?.is_none());
/// assert!(decoder.decode_eof(&mut received)?.is_none());
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Debug)]
pub struct BodyDecoder {
    assembler: Assembler,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    /// The error comes when what was before it has been taken.
    Failing(Error),
    Done,
}

impl BodyDecoder {
    /// A decoder with the default limits.
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    /// A decoder with these limits.
    pub fn with_limits(limits: Limits) -> Self {
        Self { assembler: Assembler::new(limits), state: State::Reading }
    }

    /// Gives up on the body: what there is of the current fragment comes as one that is cut. For
    /// when the transport failed. Nothing comes after it.
    pub fn abort(&mut self, received: &mut BytesMut) -> Option<BodyItem> {
        if !matches!(self.state, State::Reading) {
            received.clear();
            return None;
        }
        self.state = State::Done;
        let boundary = self.assembler.cut(received, None)?;
        Some(self.split(received, boundary))
    }

    fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<BodyItem>> {
        let boundary = match &self.state {
            State::Reading => match self.assembler.scan(received) {
                Ok(Some(boundary)) => boundary,
                Ok(None) if at_end => {
                    self.state = State::Done;
                    match self.assembler.finish(received) {
                        Some(boundary) => boundary,
                        None => return Ok(None),
                    }
                }
                Ok(None) => {
                    let owed = self.assembler.owed(received.len()).min(RESERVE);
                    received.reserve(owed as usize);
                    return Ok(None);
                }
                Err(error) => {
                    let stopped_at = self.assembler.stopped_at();
                    match self.assembler.cut(received, Some(stopped_at)) {
                        Some(boundary) => {
                            self.state = State::Failing(error);
                            boundary
                        }
                        None => return self.fail(error, received),
                    }
                }
            },
            State::Failing(error) => {
                let error = error.clone();
                return self.fail(error, received);
            }
            State::Done => {
                received.clear();
                return Ok(None);
            }
        };
        Ok(Some(self.split(received, boundary)))
    }

    fn split(&mut self, received: &mut BytesMut, boundary: Boundary) -> BodyItem {
        let raw = received.split_to(boundary.length).freeze();
        self.assembler.take(raw, boundary)
    }

    fn fail<T>(&mut self, error: Error, received: &mut BytesMut) -> Result<T> {
        self.state = State::Done;
        received.clear();
        Err(error)
    }
}

impl Default for BodyDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder for BodyDecoder {
    type Item = BodyItem;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<BodyItem>> {
        self.read(src, false)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<BodyItem>> {
        self.read(src, true)
    }
}

/// Decodes a body into [`Fragment`]s: a [`BodyDecoder`] that ends with an error at a fault, and
/// notes skipped bytes as a [`Discontinuity`] of the fragment behind them.
///
/// ```
/// use bytes::BytesMut;
/// use kinesis_video::FragmentDecoder;
/// use tokio_util::codec::FramedRead;
///
/// let body: &[u8] = &[];
/// let fragments = FramedRead::new(body, FragmentDecoder::new());
/// # drop(fragments);
/// ```
#[derive(Debug, Default)]
pub struct FragmentDecoder {
    body: BodyDecoder,
    pending: Pending,
}

/// What came between fragments and waits for the next one.
#[derive(Debug, Default)]
pub(super) struct Pending {
    discontinuities: Vec<Discontinuity>,
}

impl Pending {
    /// Remembers no more than this many; a body of nothing else must not fill the memory.
    const MOST: usize = 64;

    pub(super) fn discontinuities(&self) -> &[Discontinuity] {
        &self.discontinuities
    }

    /// The fragment or the error that an item is, or `None` if it only waits for a fragment.
    pub(super) fn admit(&mut self, item: BodyItem) -> Result<Option<Fragment>> {
        match item {
            BodyItem::Fragment(mut fragment) => {
                fragment.add_discontinuities(&mut self.discontinuities);
                Ok(Some(fragment))
            }
            BodyItem::Fault(fault) => Err(fault.to_error()),
            BodyItem::Skipped(skipped) => {
                tracing::debug!(offset = skipped.offset(), length = skipped.length(), reason = %skipped.reason(), "skipped");
                if self.discontinuities.len() < Self::MOST {
                    self.discontinuities.push(Discontinuity::Skipped(skipped));
                }
                Ok(None)
            }
        }
    }
}

impl FragmentDecoder {
    /// A decoder with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder with these limits.
    pub fn with_limits(limits: Limits) -> Self {
        Self { body: BodyDecoder::with_limits(limits), pending: Pending::default() }
    }

    fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<Fragment>> {
        while let Some(item) = self.body.read(received, at_end)? {
            match self.pending.admit(item) {
                Ok(None) => {}
                Ok(fragment) => return Ok(fragment),
                Err(error) => return self.body.fail(error, received),
            }
        }
        Ok(None)
    }
}

impl Decoder for FragmentDecoder {
    type Item = Fragment;
    type Error = Error;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<Fragment>> {
        self.read(src, false)
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<Fragment>> {
        self.read(src, true)
    }
}
