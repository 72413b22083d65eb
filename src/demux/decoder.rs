//! The tokio-util codecs that decode whole fragments.

use bytes::BytesMut;
use tokio_util::codec::Decoder;

use super::assembler::{Grain, Piece};
use super::deframer::Deframer;
use super::framed::BodyDecode;
use super::item::BodyItem;
use crate::error::{Error, Result};
use crate::fragment::{Discontinuity, Fragment};
use crate::limits::Limits;

/// Decodes a body into [`BodyItem`]s: fragments, faults and skipped bytes.
///
/// Every byte of the body is in exactly one item, up to the end or the error.
///
/// A fragment is decoded at the last byte of the service's closing tags, before any byte of the next fragment
/// has arrived. A fragment without closing tags is decoded where the next document begins, or at the end of
/// the body. The decoder follows element headers. It scans bytes only after
/// damage, with [`resync`](BodyDecoder::resync).
///
/// Use it with [`FramedRead`](tokio_util::codec::FramedRead). Prefer [`BodyStream`](crate::BodyStream), which also
/// yields the buffered part of a fragment when the transport fails.
///
/// # Errors
/// - [`Malformed`](crate::ErrorKind::Malformed) if the body is not valid media.
/// - [`Limit`](crate::ErrorKind::Limit) if the body exceeds [`Limits`].
/// - [`Unsupported`](crate::ErrorKind::Unsupported) if the frames of a track are encrypted or compressed.
///
/// Before the error, the complete blocks of the current fragment are decoded as a fragment that is
/// [`Cut`](crate::FragmentEnd::Cut). After the error, the decoder returns `None`, whatever follows. With
/// [`resync`](BodyDecoder::resync), decoding resumes after `Malformed` and `Limit`.
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
    /// Creates a decoder with the default limits.
    pub fn new() -> Self {
        Self { deframer: Deframer::new(Grain::Fragment) }
    }

    /// Sets the limits. Default: [`Limits::default`].
    ///
    /// Call this before the first byte is decoded. A later call resets the decoder to the start of a body.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { deframer: self.deframer.limits(limits) }
    }

    /// Sets whether to resume after damage instead of failing. Default: false.
    ///
    /// This concerns `Malformed` and `Limit`. An `Unsupported` error still ends decoding.
    ///
    /// Damaged bytes become [skipped](BodyItem::Skipped) items. Decoding resumes at the next document, which
    /// begins with an EBML header with a Matroska DocType, a Segment, and a valid first child of the Segment.
    ///
    /// A damaged Cluster with a known, correct size is skipped whole if it ends at most 1 MiB after the damage. Its
    /// blocks are then never mistaken for documents. In any other damaged Cluster, a complete document inside a
    /// block is mistaken for the next document.
    #[must_use]
    pub fn resync(self, resync: bool) -> Self {
        Self { deframer: self.deframer.resync(resync) }
    }

    /// Sets whether each Cluster becomes a fragment of its own. Default: false.
    ///
    /// Without it, a document with many Clusters, such as a file of FFmpeg, is one fragment. With it, the fragments are
    /// those that the service makes of the file. A Cluster without closing tags ends where the next one begins. Tags after
    /// a Cluster belong to it.
    ///
    /// Call this before the first byte is decoded.
    #[must_use]
    pub fn per_cluster(self, per_cluster: bool) -> Self {
        Self { deframer: self.deframer.per_cluster(per_cluster) }
    }

    fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<BodyItem>> {
        Ok(self.deframer.read(received, at_end)?.and_then(|piece| match piece {
            Piece::Fragment(fragment) => Some(BodyItem::Fragment(fragment)),
            Piece::Fault(fault) => Some(BodyItem::Fault(fault)),
            Piece::Skipped(skipped) => Some(BodyItem::Skipped(skipped)),
            // These pieces exist only when packets are decoded one by one.
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

/// Decodes a body into [`Fragment`]s.
///
/// It differs from [`BodyDecoder`] in two ways. A [`Fault`](crate::Fault) in the media is an error. Skipped bytes are
/// a [`Discontinuity`] of the next fragment. Bytes skipped after the last fragment are not reported.
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

/// The discontinuities that the next fragment will carry.
#[derive(Debug, Default)]
pub(super) struct Pending {
    discontinuities: Vec<Discontinuity>,
}

impl Pending {
    pub(super) fn discontinuities(&self) -> &[Discontinuity] {
        &self.discontinuities
    }

    /// Returns the fragment or the error of an item, or `None` if the item is kept for the next fragment.
    pub(super) fn admit(&mut self, item: BodyItem) -> Result<Option<Fragment>> {
        match item {
            BodyItem::Fragment(mut fragment) => {
                fragment.add_discontinuities(&mut self.discontinuities);
                Ok(Some(fragment))
            }
            BodyItem::Fault(fault) => Err(fault.to_error()),
            BodyItem::Skipped(skipped) => {
                let (offset, length) = (skipped.offset(), skipped.length());
                tracing::debug!(offset, length, reason = %skipped.reason(), "skipped bytes");
                Discontinuity::note_skipped(&mut self.discontinuities, skipped);
                Ok(None)
            }
        }
    }
}

impl FragmentDecoder {
    /// Creates a decoder with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the limits. Default: [`Limits::default`].
    ///
    /// Call this before the first byte is decoded. A later call resets the decoder to the start of a body.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { body: self.body.limits(limits), ..self }
    }

    /// Sets whether to resume after damage. See [`BodyDecoder::resync`]. Default: false.
    #[must_use]
    pub fn resync(self, resync: bool) -> Self {
        Self { body: self.body.resync(resync), ..self }
    }

    /// Sets whether each Cluster becomes a fragment of its own. See [`BodyDecoder::per_cluster`]. Default: false.
    #[must_use]
    pub fn per_cluster(self, per_cluster: bool) -> Self {
        Self { body: self.body.per_cluster(per_cluster), ..self }
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
