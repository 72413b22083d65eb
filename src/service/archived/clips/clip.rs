//! [`Clip`]: one MP4 file.

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
use crate::service::call::{Origin, TimeoutBody};

/// The largest chunk of a clip.
const CHUNK: usize = 64 * 1024;

/// Stream of the bytes of an MP4 file, from [`ClipStream`](super::ClipStream).
///
/// The service makes the file from the [fragments of the clip](Clip::fragments). The bytes are yielded as they arrive.
/// [`into_async_read`](Clip::into_async_read) and [`write_to`](Clip::write_to) are alternatives to the stream.
///
/// # Errors
/// - A broken connection, or silence for longer than the [read timeout](super::Clips::read_timeout). The clip is then
///   incomplete. Request the [range](Clip::range) again.
/// - No first byte within the [call timeout](super::Clips::call_timeout).
/// - [`Service`](crate::ErrorKind::Service) for a response without bytes.
/// - [`WrongEndpoint`](crate::ErrorKind::WrongEndpoint) for a response that is not media.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the clip closes the connection.
///
/// # Memory
/// 64 KiB, plus what the HTTP client has read ahead. A slow reader slows down the connection.
#[must_use = "streams do nothing unless polled"]
pub struct Clip {
    part: Part,
    content_type: Option<String>,
    origin: Origin,
    body: Option<ReaderStream<TimeoutBody>>,
    /// No byte has arrived.
    is_empty: bool,
}

impl Clip {
    pub(super) fn new(part: Part, output: GetClipOutput, origin: Origin, first_byte: Duration, read: Duration) -> Self {
        let body = TimeoutBody::new(OPERATION, output.payload.into(), first_byte, read, Arc::default());
        let body = Some(ReaderStream::with_capacity(body, CHUNK));
        Self { part, content_type: output.content_type, origin, body, is_empty: true }
    }

    /// Returns the requested range, on the [clock](super::Clips::clock) of the clips.
    ///
    /// The range goes from the start of the first fragment to the start of the last. If those are equal, the range is
    /// extended by 1 ms at one end. Ranges of clips do not overlap.
    pub fn range(&self) -> RangeInclusive<Timestamp> {
        self.part.range.to_range()
    }

    /// Returns the listed fragments of the clip, ordered by start on the clip's clock.
    ///
    /// A fragment that has expired since the listing may be in this list, but not in the file.
    pub fn fragments(&self) -> &[FragmentInfo] {
        &self.part.fragments
    }

    /// Returns the fragments that start within the range and that the service leaves out.
    ///
    /// Those are fragments that were uploaded again later, and fragments that were not ingested right after the
    /// others. See [overlapping uploads](super::Clips#overlapping-uploads).
    pub fn left_out(&self) -> &[FragmentInfo] {
        &self.part.left_out
    }

    /// Returns the listed size of the [fragments](Clip::fragments) in bytes. The clip has about the same size.
    pub fn listed_bytes(&self) -> u64 {
        self.part.fragments.iter().map(FragmentInfo::bytes).sum()
    }

    /// Returns the media type that the service sent, usually `video/mp4`.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Returns a reader of the bytes. Its errors are [`Error`]s inside [`io::Error`](std::io::Error)s.
    pub fn into_async_read(self) -> impl AsyncRead + Send + Unpin + 'static {
        StreamReader::new(self)
    }

    /// Writes the clip to a file and returns its size in bytes.
    ///
    /// An existing file is replaced, and a missing folder is created. The file is written as `NAME.part` and renamed
    /// once it is complete.
    ///
    /// # Errors
    /// Errors of the clip and of the file system. The incomplete file is removed. A path without a file name is
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    ///
    /// # Cancel safety
    /// Dropping the future leaves `NAME.part` in the folder.
    pub async fn write_to(self, path: impl AsRef<Path>) -> Result<u64> {
        let path = path.as_ref();
        let Some(name) = path.file_name() else {
            return Err(Error::invalid_argument(format!("{} is not the name of a file", path.display())));
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
            // The first error is returned, whether or not this succeeds.
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
            tokio::fs::create_dir_all(dir).await.map_err(|error| Error::of_file("creating the folder", dir, error))?;
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
