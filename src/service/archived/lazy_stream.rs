//! [`LazyStream`]: what all streams of stored media have in common.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::{BoxStream, FusedStream, StreamExt};

use crate::error::Result;

/// A boxed stream that ends after its first error and then drops its connections.
///
/// The streams in it are written with `try_stream!`, so they do nothing before they are polled.
pub(super) struct LazyStream<T>(Option<BoxStream<'static, Result<T>>>);

impl<T> LazyStream<T> {
    pub(super) fn new(items: impl Stream<Item = Result<T>> + Send + 'static) -> Self {
        Self(Some(items.boxed()))
    }
}

impl<T> Stream for LazyStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(items) = &mut self.0 else { return Poll::Ready(None) };
        let item = items.poll_next_unpin(cx);
        if matches!(item, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        item
    }
}

impl<T> FusedStream for LazyStream<T> {
    fn is_terminated(&self) -> bool {
        self.0.is_none()
    }
}
