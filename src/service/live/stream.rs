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

use super::connection::Connection;
use super::fragment_source::FragmentSource;
use super::packet_source::PacketSource;
use super::start::Start;
use super::status::Observer;
use super::{Live, LiveStatus};
use crate::checkpoint::{Acks, CheckpointStore, Ledger, pair};
use crate::demux::PacketItem;
use crate::error::Result;
use crate::fragment::{Fragment, StreamEnd};

/// Ends a live stream from elsewhere. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StopHandle(CancellationToken);

impl StopHandle {
    /// Ends the stream: at once, or behind the fragment that is coming in, for which it waits ten
    /// seconds at most. The reason is [`StreamEnd::Stopped`].
    pub fn stop(&self) {
        self.0.cancel();
    }
}

/// A live stream that is read: [`LiveFragments`] or [`LivePackets`].
#[must_use = "streams do nothing unless polled"]
pub struct LiveStream<T> {
    items: BoxStream<'static, Result<T>>,
    stop: CancellationToken,
    status: watch::Receiver<LiveStatus>,
    reason: Arc<OnceLock<StreamEnd>>,
    span: Span,
    ended: bool,
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
pub type LiveFragments = LiveStream<Fragment>;

/// Stream of the packets of a live stream, from [`Live::packets`]: the start of a fragment, its packets
/// as they come, its end. What happened before a fragment comes before its start.
///
/// When a connection breaks in the middle of a fragment, the next one brings that fragment again:
/// the packets that were given out are compared and dropped, and the others follow; to whoever reads
/// nothing happened. If one is not the same,
/// [`PacketDiffers`](crate::Discontinuity::PacketDiffers) says so. If the fragment does not come again,
/// it ends [`Cut`](crate::FragmentEnd::Cut).
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
/// use kinesis_video::demux::PacketItem;
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
pub type LivePackets = LiveStream<PacketItem>;

impl<T: Send + 'static> LiveStream<T> {
    fn read(live: Live, items: impl FnOnce(Live, Observer, Stopping) -> BoxStream<'static, Result<T>>) -> Self {
        let stream = &live.options.stream;
        let (observer, stop, reason) = (Observer::new(stream), CancellationToken::new(), Arc::default());
        let (span, status) = (tracing::info_span!("live", %stream), observer.subscribe());
        let stopping = Stopping { stop: stop.clone(), reason: Arc::clone(&reason) };
        Self { items: items(live, observer, stopping), stop, status, reason, span, ended: false }
    }

    /// Why the stream has ended; `None` while it goes on.
    pub fn end_reason(&self) -> Option<StreamEnd> {
        self.reason.get().copied()
    }

    /// What ends the stream from elsewhere.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
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
        self.status.clone()
    }
}

/// How the inside of a stream is told to end, and tells that it has.
struct Stopping {
    stop: CancellationToken,
    reason: Arc<OnceLock<StreamEnd>>,
}

impl LiveFragments {
    pub(super) fn fragments(live: Live) -> Self {
        Self::with_checkpoint(live, None)
    }

    /// From the checkpoint on, if there is one.
    pub(super) fn checkpointed(live: Live, store: Arc<dyn CheckpointStore>) -> (Self, Acks) {
        let (ledger, acks) = pair(Arc::clone(&store));
        (Self::with_checkpoint(live, Some((store, ledger))), acks)
    }

    fn with_checkpoint(live: Live, checkpoint: Option<(Arc<dyn CheckpointStore>, Ledger)>) -> Self {
        Self::read(live, |mut live, observer, Stopping { stop, reason }| {
            let fragments = try_stream! {
                let ledger = match checkpoint {
                    Some((store, ledger)) => {
                        if let Some(position) = store.load().await? {
                            tracing::info!(%position, "going on behind the checkpoint");
                            live.options.start = Start::AfterPosition(position);
                        }
                        Some(ledger)
                    }
                    None => None,
                };
                let mut source = FragmentSource::new(Connection::new(live, observer, stop));
                loop {
                    match source.next().await? {
                        Ok((fragment, counts)) => {
                            if let Some(ledger) = ledger.as_ref().filter(|_| counts) {
                                ledger.record(fragment.position())?;
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
            fragments.boxed()
        })
    }
}

impl LivePackets {
    pub(super) fn packets(live: Live) -> Self {
        Self::read(live, |live, observer, Stopping { stop, reason }| {
            let items = try_stream! {
                let mut source = PacketSource::new(Connection::new(live, observer, stop));
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
            items.boxed()
        })
    }
}

impl<T: Send + 'static> Stream for LiveStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { items, span, reason, ended, .. } = &mut *self;
        if *ended {
            return Poll::Ready(None);
        }
        let item = span.in_scope(|| items.poll_next_unpin(cx));
        if matches!(item, Poll::Ready(None | Some(Err(_)))) {
            *ended = true;
            // Drops the connection.
            *items = futures::stream::iter(std::iter::empty()).boxed();
            let _ = reason.set(StreamEnd::Failed);
        }
        item
    }
}

impl<T: Send + 'static> FusedStream for LiveStream<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<T> fmt::Debug for LiveStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveStream").field("reason", &self.reason.get()).finish_non_exhaustive()
    }
}
