//! The tokio-util codecs for whole fragments.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::assembler::{Grain, Piece};
use super::deframer::Deframer;
use super::framed::BodyDecode;
use super::item::BodyItem;
use crate::error::{Error, Result};
use crate::fragment::{Discontinuity, Fragment};
use crate::limits::Limits;

/// Decodes a body into [`BodyItem`]s: fragments, faults, and what is neither. Every byte of the
/// body is in exactly one item.
///
/// A fragment is handed on at the last byte of the service's closing tags, before any byte of the
/// next has come; without closing tags, where the next document begins or at the end of the body.
/// Elements are walked, never searched for.
///
/// When the body turns out to be malformed, or beyond [`Limits`], the whole blocks so far come as a
/// fragment that is [`Cut`](crate::FragmentEnd::Cut), then the error, then nothing more, whatever else is
/// fed in. With [`resync`](BodyDecoder::resync) reading goes on instead.
///
/// Use it with [`FramedRead`](tokio_util::codec::FramedRead), or better with
/// [`BodyStream`](crate::BodyStream), which also yields what there was when the transport fails.
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
    deframer: Deframer,
}

impl BodyDecoder {
    /// A decoder with the default limits.
    pub fn new() -> Self {
        Self { deframer: Deframer::new(Grain::Fragment) }
    }

    /// Sets the limits. To be called before anything is decoded.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { deframer: self.deframer.limits(limits) }
    }

    /// Whether to go on behind damage instead of failing: off unless set.
    ///
    /// What cannot be read is then reported as [skipped](BodyItem::Skipped), and reading goes on at
    /// the next place where a document begins: an EBML header with a Matroska DocType, a Segment and
    /// a first child that can be one, all three. Inside a Cluster that says where it ends, and is right
    /// about that, nothing is taken for a document; in one of unknown size, a whole document that
    /// stands inside of a damaged block would be.
    #[must_use]
    pub fn resync(self, resync: bool) -> Self {
        Self { deframer: self.deframer.resync(resync) }
    }

    fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<BodyItem>> {
        Ok(self.deframer.read(received, at_end)?.and_then(|piece| match piece {
            Piece::Fragment(fragment) => Some(BodyItem::Fragment(fragment)),
            Piece::Fault(fault) => Some(BodyItem::Fault(fault)),
            Piece::Skipped(skipped) => Some(BodyItem::Skipped(skipped)),
            // Only come one by one.
            Piece::Opened(_) | Piece::Block(_) | Piece::Closed(_) => None,
        }))
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

impl BodyDecode for BodyDecoder {
    fn abort(&mut self) {
        self.deframer.abort();
    }

    fn wanted(&self) -> usize {
        self.deframer.wanted()
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
                let (offset, length) = (skipped.offset(), skipped.length());
                tracing::debug!(offset, length, reason = %skipped.reason(), "skipped");
                skipped.note_in(&mut self.discontinuities);
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

    /// Sets the limits. To be called before anything is decoded.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { body: self.body.limits(limits), ..self }
    }

    /// Whether to go on behind damage, as [`BodyDecoder::resync`] says.
    #[must_use]
    pub fn resync(self, resync: bool) -> Self {
        Self { body: self.body.resync(resync), ..self }
    }

    fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<Fragment>> {
        while let Some(item) = self.body.read(received, at_end)? {
            match self.pending.admit(item) {
                Ok(None) => {}
                Ok(fragment) => return Ok(fragment),
                Err(error) => return self.body.deframer.fail(error, received),
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
