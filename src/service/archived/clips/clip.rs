//! [`Clip`]: one file.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::operation::get_clip::GetClipOutput;
use bytes::Bytes;
use futures::stream::{FusedStream, TryStreamExt};
use futures::{Stream, StreamExt};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio_util::io::{ReaderStream, StreamReader};

use super::OPERATION;
use super::plan::Part;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::archived::FragmentInfo;
use crate::service::call::{Origin, WatchedBody};

/// How much of a clip is given out at once, at most.
const CHUNK: usize = 64 * 1024;

/// An MP4 file that the service makes of [some fragments](Clip::fragments), from [`Clips`](super::Clips): a
/// stream of its bytes, as they come in. [`into_async_read`](Clip::into_async_read) and
/// [`write_to`](Clip::write_to) are other ways to have them.
///
/// # Errors
/// A connection that breaks, or brings nothing for [too long](super::Clips::read_timeout) while it is
/// waited for. What came before is no whole clip; the same can be asked for again by its
/// [range](Clip::range). An answer that is no media is
/// [`WrongEndpoint`](crate::ErrorKind::WrongEndpoint).
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the clip closes the connection.
///
/// # Memory
/// 64 KiB, plus what the HTTP client has read ahead. Whoever reads slowly slows down the connection.
#[must_use = "streams do nothing unless polled"]
pub struct Clip {
    part: Part,
    content_type: Option<String>,
    origin: Origin,
    body: Option<ReaderStream<WatchedBody>>,
    /// Nothing has come of it.
    is_empty: bool,
}

impl Clip {
    pub(super) fn new(part: Part, output: GetClipOutput, origin: Origin, first_byte: Duration, read: Duration) -> Self {
        let body = WatchedBody::new(OPERATION, output.payload.into(), first_byte, read, Arc::default());
        let body = Some(ReaderStream::with_capacity(body, CHUNK));
        Self { part, content_type: output.content_type, origin, body, is_empty: true }
    }

    /// The range that the service was asked for, on the [clock](super::Clips::by) of the clips: from the
    /// start of the first fragment to that of the last, or a millisecond longer where they are the same. Ranges of
    /// clips do not overlap.
    pub fn range(&self) -> RangeInclusive<Timestamp> {
        self.part.span.to_range()
    }

    /// The fragments that the clip is made of, in the order in which they begin, as they were listed. What
    /// the service keeps may have changed since.
    pub fn fragments(&self) -> &[FragmentInfo] {
        &self.part.fragments
    }

    /// The fragments that begin within the range, too, and are not in the clip: those that have been sent
    /// again since, and those that were not ingested right behind the others.
    pub fn left_out(&self) -> &[FragmentInfo] {
        &self.part.left_out
    }

    /// How large the fragments are together, as they are stored. The clip is about as large.
    pub fn listed_bytes(&self) -> u64 {
        self.part.fragments.iter().map(FragmentInfo::bytes).sum()
    }

    /// What the service says that it is: `video/mp4`.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The bytes, to be read. An error is an [`Error`] inside an [`io::Error`](std::io::Error).
    pub fn into_async_read(self) -> impl AsyncRead + Send + Unpin + 'static {
        StreamReader::new(self)
    }

    /// Writes the clip to this file, and says how large it is. A file of that name is replaced, a folder that
    /// is not there is made. It is written as `NAME.part` and renamed when it is whole.
    ///
    /// # Errors
    /// Those of the clip, and those of the file system. What was written of it is removed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves `NAME.part` behind.
    pub async fn write_to(self, path: impl AsRef<Path>) -> Result<u64> {
        let path = path.as_ref();
        let Some(name) = path.file_name() else {
            return Err(Error::invalid_argument(format!("{} is no name of a file", path.display())));
        };
        let mut part = name.to_owned();
        part.push(".part");
        let part = path.with_file_name(part);
        let written = self.write(&part).await;
        let renamed = match written {
            Ok(bytes) => match tokio::fs::rename(&part, path).await {
                Ok(()) => Ok(bytes),
                Err(error) => Err(Error::of_file("renaming to", path, error)),
            },
            Err(error) => Err(error),
        };
        if renamed.is_err() {
            // What is wrong has been found already.
            let _ = tokio::fs::remove_file(&part).await;
        }
        renamed
    }

    async fn write(mut self, path: &Path) -> Result<u64> {
        let failed = |error| Error::of_file("writing", path, error);
        let mut file = File::create(path).await;
        if let (Err(error), Some(dir)) = (&file, path.parent())
            && error.kind() == std::io::ErrorKind::NotFound
        {
            tokio::fs::create_dir_all(dir).await.map_err(|error| Error::of_file("making the folder", dir, error))?;
            file = File::create(path).await;
        }
        let (mut file, mut bytes) = (file.map_err(failed)?, 0);
        while let Some(chunk) = self.try_next().await? {
            file.write_all(&chunk).await.map_err(failed)?;
            bytes += chunk.len() as u64;
        }
        file.flush().await.map_err(failed)?;
        Ok(bytes)
    }
}

impl Stream for Clip {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let chunk = std::task::ready!(body.poll_next_unpin(cx));
        let chunk = match chunk {
            None if self.is_empty => Some(Err(Error::new(ErrorKind::Service, "GetClip: the clip has no bytes"))),
            chunk => chunk.map(|chunk| chunk.map_err(Error::from)),
        };
        let chunk = chunk.map(|chunk| chunk.map_err(|error| self.part.name_in(self.origin.name_in(error))));
        self.is_empty &= !matches!(chunk, Some(Ok(_)));
        if !matches!(chunk, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(chunk)
    }
}

impl FusedStream for Clip {
    fn is_terminated(&self) -> bool {
        self.body.is_none()
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clip")
            .field("range", &self.range())
            .field("fragments", &self.fragments().len())
            .field("left_out", &self.left_out().len())
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}
