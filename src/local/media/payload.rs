//! Parses whole payloads.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::Decoder;

use crate::demux::{BodyDecoder, BodyItem};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// Parses the items of a payload, up to the first error.
///
/// The payload is in memory already, so a fragment may be as large as all of it.
pub(crate) fn items(payload: &Bytes) -> impl Iterator<Item = Result<BodyItem>> + use<> {
    let mut decoder = BodyDecoder::new().limits(Limits::default().fragment_bytes(u32::MAX >> 1).blocks(u32::MAX));
    let mut unread = BytesMut::from(&payload[..]);
    std::iter::from_fn(move || decoder.decode_eof(&mut unread).transpose())
}

/// Runs work on a blocking thread. Parsing a whole file would block the executor.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(ErrorKind::Io, "the work on a blocking thread did not finish").caused_by(error))
}
