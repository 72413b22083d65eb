//! [`Keyframes`], the stream that `.keyframes()` returns.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::Packet;
use crate::accessors::inner_accessors;
use crate::error::Result;

pin_project! {
    /// A stream of the key frames of video tracks, from
    /// [`keyframes`](crate::PacketStreamExt::keyframes).
    ///
    /// All other packets are dropped, including all audio. [`Packet::is_key`] tells key frames, without a
    /// decoder. The stream ends after an error.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Keyframes<S> {
        #[pin]
        packets: S,
        ended: bool,
    }
}

impl<S> Keyframes<S> {
    pub(crate) fn new(packets: S) -> Self {
        Self { packets, ended: false }
    }

    inner_accessors!(packets: S, "packet stream");
}

impl<S: Stream<Item = Result<Packet>>> Stream for Keyframes<S> {
    type Item = Result<Packet>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        while !*this.ended {
            match ready!(this.packets.as_mut().poll_next(cx)) {
                Some(Ok(packet)) if !packet.is_video_key() => {}
                Some(Ok(packet)) => return Poll::Ready(Some(Ok(packet))),
                end => {
                    *this.ended = true;
                    return Poll::Ready(end);
                }
            }
        }
        Poll::Ready(None)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.packets.size_hint().1)
    }
}

impl<S: Stream<Item = Result<Packet>>> FusedStream for Keyframes<S> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}
