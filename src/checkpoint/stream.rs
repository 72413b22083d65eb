//! [`Acknowledged`]: a stream whose fragments are to be acknowledged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::{Acks, CheckpointStore, Ledger, pair};
use crate::accessors::inner_accessors;
use crate::error::Result;
use crate::fragment::Fragment;

pin_project! {
    /// A stream of fragments that are to be acknowledged with [`Acks`].
    ///
    /// Made by [`acknowledged`](crate::FragmentStreamExt::acknowledged), which documents errors, cancel safety and
    /// memory.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Acknowledged<S> {
        #[pin]
        fragments: S,
        ledger: Ledger,
        ended: bool,
    }
}

impl<S> Acknowledged<S> {
    pub(crate) fn new(fragments: S, store: impl CheckpointStore) -> (Self, Acks) {
        let (ledger, acks) = pair(Arc::new(store));
        (Self { fragments, ledger, ended: false }, acks)
    }

    inner_accessors!(fragments: S, "fragment stream", "It may have more fragments.");
}

impl<S: Stream<Item = Result<Fragment>>> Stream for Acknowledged<S> {
    type Item = Result<Fragment>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let item = ready!(this.fragments.poll_next(cx))
            .map(|item| item.and_then(|fragment| this.ledger.record(fragment.position()).map(|()| fragment)));
        *this.ended = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        if self.ended { (0, Some(0)) } else { (0, self.fragments.size_hint().1) }
    }
}

impl<S: Stream<Item = Result<Fragment>>> FusedStream for Acknowledged<S> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}
