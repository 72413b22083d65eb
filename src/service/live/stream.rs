//! The streams that a user reads.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use async_stream::try_stream;
use futures::Stream;
use futures::stream::{BoxStream, FusedStream, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::fragments::FragmentSource;
use super::line::Line;
use super::packets::PacketSource;
use super::status::Observer;
use super::{Live, LiveStatus};
use crate::checkpoint::{Acks, CheckpointStore, Ledger, pair};
use crate::error::Result;
use crate::fragment::{EndReason, Fragment};
use crate::packet::PacketItem;

/// Ends a live stream from elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StopHandle(CancellationToken);

impl StopHandle {
    /// Ends the stream: at once, or behind the fragment that is coming in, for which it waits ten
    /// seconds at most. The reason is [`EndReason::Stopped`].
    pub fn stop(&self) {
        self.0.cancel();
    }
}

/// What both streams have.
struct Handle {
    stop: CancellationToken,
    status: watch::Receiver<LiveStatus>,
    reason: Arc<OnceLock<EndReason>>,
    span: Span,
    ended: bool,
}

impl Handle {
    fn new(live: &Live) -> (Self, Observer) {
        let stream = &live.options.stream;
        let (observer, stop) = (Observer::new(stream), CancellationToken::new());
        let span = tracing::info_span!("live", %stream);
        let status = observer.subscribe();
        (Self { stop, status, reason: Arc::default(), span, ended: false }, observer)
    }

    fn poll<T: Send + 'static>(
        &mut self,
        stream: &mut BoxStream<'static, Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<T>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = self.span.in_scope(|| stream.poll_next_unpin(cx));
        if matches!(item, Poll::Ready(None | Some(Err(_)))) {
            self.ended = true;
            // Drops the connection.
            *stream = futures::stream::iter(std::iter::empty()).boxed();
            let _ = self.reason.set(EndReason::Failed);
        }
        item
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        f.debug_struct(name).field("reason", &self.reason.get()).finish_non_exhaustive()
    }
}

/// Stream of the fragments of a live stream, from [`Live::fragments`].
///
/// # Errors
/// Only what will not go away by itself: see [`Live`]. It names the stream, the endpoint and the
/// request. A fragment that was coming in, and what was whole of it, comes before the error.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the stream closes the connection at once.
///
/// # Memory
/// The fragment that is coming in, and one that was cut, if one was; plus what the HTTP client has
/// read ahead. Whoever reads slowly slows down the connection.
#[must_use = "streams do nothing unless polled"]
pub struct LiveFragments {
    fragments: BoxStream<'static, Result<Fragment>>,
    handle: Handle,
}

impl LiveFragments {
    pub(super) fn new(live: Live) -> Self {
        Self::read(live, None)
    }

    /// From the checkpoint on, if there is one.
    pub(super) fn checkpointed(live: Live, store: Arc<dyn CheckpointStore>) -> (Self, Acks) {
        let (ledger, acks) = pair(Arc::clone(&store));
        (Self::read(live, Some((store, ledger))), acks)
    }

    fn read(mut live: Live, checkpoint: Option<(Arc<dyn CheckpointStore>, Ledger)>) -> Self {
        let (handle, observer) = Handle::new(&live);
        let (reason, stop) = (Arc::clone(&handle.reason), handle.stop.clone());
        let fragments = try_stream! {
            let ledger = match checkpoint {
                Some((store, ledger)) => {
                    if let Some(position) = store.load().await? {
                        tracing::info!(%position, "going on behind the checkpoint");
                        live.options.start = position.into();
                    }
                    Some(ledger)
                }
                None => None,
            };
            let mut source = FragmentSource::new(Line::new(live, observer, stop));
            loop {
                match source.next().await? {
                    Ok((fragment, counts)) => {
                        if let Some(ledger) = ledger.as_ref().filter(|_| counts) {
                            ledger.gave_out(fragment.position())?;
                        }
                        yield fragment;
                    }
                    Err(why) => {
                        let _ = reason.set(why);
                        break;
                    }
                }
            }
        };
        Self { fragments: fragments.boxed(), handle }
    }

    /// Why the stream has ended; `None` while it goes on.
    pub fn reason(&self) -> Option<EndReason> {
        self.handle.reason.get().copied()
    }

    /// What ends the stream from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.handle.stop.clone())
    }

    /// How the stream is doing, to look at or to wait for changes of.
    ///
    /// ```no_run
    /// # async fn f(kvs: kinesis_video::KinesisVideo) {
    /// let fragments = kvs.live("front-door").fragments();
    /// let mut status = fragments.status();
    /// tokio::spawn(async move {
    ///     while status.changed().await.is_ok() {
    ///         println!("{:?} behind", status.borrow().behind);
    ///     }
    /// });
    /// # }
    /// ```
    pub fn status(&self) -> watch::Receiver<LiveStatus> {
        self.handle.status.clone()
    }
}

impl Stream for LiveFragments {
    type Item = Result<Fragment>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { fragments, handle } = &mut *self;
        handle.poll(fragments, cx)
    }
}

impl FusedStream for LiveFragments {
    fn is_terminated(&self) -> bool {
        self.handle.ended
    }
}

impl fmt::Debug for LiveFragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f, "LiveFragments")
    }
}

/// Stream of the packets of a live stream, from [`Live::packets`]: the start of a fragment, its packets
/// as they come, its end. What happened before a fragment comes before its start.
///
/// When a connection breaks in the middle of a fragment, the next one brings that fragment again:
/// the packets that were given out are compared and dropped, and the others follow; to whoever reads
/// nothing happened. If one is not the same,
/// [`PacketDiffers`](crate::Discontinuity::PacketDiffers) says so. If the fragment does not come again,
/// it ends [`Cut`](crate::End::Cut).
///
/// # Errors
/// Those of [`LiveFragments`]. The open fragment ends before.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the stream closes the connection at once.
///
/// # Memory
/// One packet and what one read brings, plus eight bytes for each packet of the open fragment.
///
/// ```no_run
/// # async fn f(kvs: kinesis_video::KinesisVideo) -> kinesis_video::Result<()> {
/// use futures::TryStreamExt;
/// use kinesis_video::packet::PacketItem;
///
/// let mut items = kvs.live("front-door").packets();
/// while let Some(item) = items.try_next().await? {
///     if let PacketItem::Packet(packet) = item {
///         println!("{:?}: {} bytes", packet.producer_time(), packet.payload().len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct LivePackets {
    items: BoxStream<'static, Result<PacketItem>>,
    handle: Handle,
}

impl LivePackets {
    pub(super) fn new(live: Live) -> Self {
        let (handle, observer) = Handle::new(&live);
        let (reason, stop) = (Arc::clone(&handle.reason), handle.stop.clone());
        let items = try_stream! {
            let mut source = PacketSource::new(Line::new(live, observer, stop));
            loop {
                match source.next().await? {
                    Ok(item) => yield item,
                    Err(why) => {
                        let _ = reason.set(why);
                        break;
                    }
                }
            }
        };
        Self { items: items.boxed(), handle }
    }

    /// Why the stream has ended; `None` while it goes on.
    pub fn reason(&self) -> Option<EndReason> {
        self.handle.reason.get().copied()
    }

    /// What ends the stream from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.handle.stop.clone())
    }

    /// How the stream is doing, to look at or to wait for changes of.
    pub fn status(&self) -> watch::Receiver<LiveStatus> {
        self.handle.status.clone()
    }
}

impl Stream for LivePackets {
    type Item = Result<PacketItem>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { items, handle } = &mut *self;
        handle.poll(items, cx)
    }
}

impl FusedStream for LivePackets {
    fn is_terminated(&self) -> bool {
        self.handle.ended
    }
}

impl fmt::Debug for LivePackets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f, "LivePackets")
    }
}
