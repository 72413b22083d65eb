//! [`Packets`], the stream that `.packets()` returns.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::{Packet, PacketIter};
use crate::accessors::inner_accessors;
use crate::error::Result;
use crate::fragment::Fragment;

pin_project! {
    /// A stream of the packets of all fragments, from
    /// [`packets`](crate::FragmentStreamExt::packets).
    ///
    /// The stream ends after an error.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Packets<S> {
        #[pin]
        fragments: S,
        current: Option<PacketIter>,
        ended: bool,
    }
}

impl<S> Packets<S> {
    pub(crate) fn new(fragments: S) -> Self {
        Self { fragments, current: None, ended: false }
    }

    inner_accessors!(
        fragments: S,
        "fragment stream",
        "Packets of the current fragment that were not yielded yet are lost."
    );
}

impl<S: Stream<Item = Result<Fragment>>> Stream for Packets<S> {
    type Item = Result<Packet>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if let Some(packet) = this.current.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(Ok(packet)));
            }
            *this.current = None;
            if *this.ended {
                return Poll::Ready(None);
            }
            match ready!(this.fragments.as_mut().poll_next(cx)) {
                Some(Ok(fragment)) => *this.current = Some(PacketIter::new(fragment)),
                Some(Err(error)) => {
                    *this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => *this.ended = true,
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.current.as_ref().map_or(0, |packets| packets.size_hint().0), None)
    }
}

impl<S: Stream<Item = Result<Fragment>>> FusedStream for Packets<S> {
    fn is_terminated(&self) -> bool {
        self.ended && self.current.is_none()
    }
}
