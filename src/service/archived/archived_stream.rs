//! [`ArchivedStream`], the stream of everything that is read from the archive.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{BoxStream, FusedStream, StreamExt};

use crate::error::Result;
use crate::service::stream_id::StreamId;

/// A stream of items read from stored media.
///
/// Nothing is sent before the stream is polled.
/// [`FragmentEntries`](crate::FragmentEntries), [`ClipStream`](crate::ClipStream) and
/// [`ImageStream`](crate::ImageStream) are this type. The stream ends after its first error and closes its connections.
#[must_use = "streams do nothing unless polled"]
pub struct ArchivedStream<T> {
    stream: StreamId,
    /// `None` after the end.
    items: Option<BoxStream<'static, Result<T>>>,
}

impl<T> ArchivedStream<T> {
    /// Boxes a stream. It is written with `try_stream!`, so it does nothing before it is polled.
    pub(super) fn new(stream: StreamId, items: impl Stream<Item = Result<T>> + Send + 'static) -> Self {
        Self { stream, items: Some(items.boxed()) }
    }
}

impl<T> Stream for ArchivedStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(items) = &mut self.items else { return Poll::Ready(None) };
        let item = items.poll_next_unpin(cx);
        if matches!(item, Poll::Ready(None | Some(Err(_)))) {
            self.items = None;
        }
        item
    }
}

impl<T> FusedStream for ArchivedStream<T> {
    fn is_terminated(&self) -> bool {
        self.items.is_none()
    }
}

impl<T> fmt::Debug for ArchivedStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArchivedStream").field("stream", &self.stream).finish_non_exhaustive()
    }
}
