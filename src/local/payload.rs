//! What is in a payload that is all there.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder;

use crate::demux::{BodyDecoder, BodyItem};
use crate::error::Result;
use crate::limits::Limits;

/// The items of a payload, up to the first error. It is on this machine already, so one fragment may
/// be as large as all of it.
pub(super) fn items(payload: &Bytes) -> impl Iterator<Item = Result<BodyItem>> + use<> {
    let mut decoder = BodyDecoder::new().limits(Limits::default().fragment_bytes(u32::MAX >> 1).blocks(u32::MAX));
    let mut unread = BytesMut::from(&payload[..]);
    std::iter::from_fn(move || decoder.decode_eof(&mut unread).transpose())
}
