//! Streams that begin when they are first polled.

use std::task::{Context, Poll};

use futures::stream::{BoxStream, StreamExt};

use crate::error::Result;

/// What is behind a stream that takes its options until it is polled, and ends behind an error.
pub(super) enum Lazy<T> {
    Before,
    Reading(BoxStream<'static, Result<T>>),
    Ended,
}

impl<T> Lazy<T> {
    /// The next item; the first time, of what `begin` gives.
    pub(super) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        begin: impl FnOnce() -> BoxStream<'static, Result<T>>,
    ) -> Poll<Option<Result<T>>> {
        if let Self::Before = self {
            *self = Self::Reading(begin());
        }
        let Self::Reading(items) = self else { return Poll::Ready(None) };
        let item = items.poll_next_unpin(cx);
        if matches!(item, Poll::Ready(None | Some(Err(_)))) {
            // Drops its connections.
            *self = Self::Ended;
        }
        item
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended)
    }
}
