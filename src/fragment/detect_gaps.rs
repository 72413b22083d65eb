//! [`DetectGaps`], the stream that `.detect_gaps()` returns.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::continuity::Continuity;
use super::{Fragment, FragmentEnd};
use crate::accessors::inner_accessors;
use crate::error::Result;

pin_project! {
    /// A stream of fragments that reports gaps between them, from
    /// [`detect_gaps`](crate::FragmentStreamExt::detect_gaps).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct DetectGaps<S> {
        #[pin]
        fragments: S,
        continuity: Continuity,
    }
}

impl<S> DetectGaps<S> {
    pub(crate) fn new(fragments: S, tolerance: Duration) -> Self {
        Self { fragments, continuity: Continuity::new(tolerance) }
    }

    inner_accessors!(fragments: S, "fragment stream");
}

impl<S: Stream<Item = Result<Fragment>>> Stream for DetectGaps<S> {
    type Item = Result<Fragment>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        let mut item = ready!(this.fragments.poll_next(cx));
        if let Some(Ok(fragment)) = &mut item {
            let mut found = Vec::new();
            this.continuity.begins(fragment.header(), &mut found);
            this.continuity.lasted(fragment.duration(), fragment.end_reason() != FragmentEnd::Cut);
            fragment.add_discontinuities(&mut found);
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.fragments.size_hint()
    }
}

impl<S: FusedStream + Stream<Item = Result<Fragment>>> FusedStream for DetectGaps<S> {
    fn is_terminated(&self) -> bool {
        self.fragments.is_terminated()
    }
}
