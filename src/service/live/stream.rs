//! The public streams of live reading.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

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

/// A handle that ends a live stream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StopHandle(CancellationToken);

impl StopHandle {
    /// Ends the stream after the fragment that is being received, or at once if there is none.
    ///
    /// The stream must still be polled to its end. It waits at most 10 s for the rest of the fragment. After that,
    /// [`LiveFragments`] drops the fragment, and [`LivePackets`] yields its end.
    ///
    /// The end reason is [`StreamEnd::Stopped`]. Further calls have no effect.
    pub fn stop(&self) {
        self.0.cancel();
    }
}

/// A stream that reads live: [`LiveFragments`] or [`LivePackets`].
#[must_use = "streams do nothing unless polled"]
pub struct LiveStream<T> {
    items: BoxStream<'static, Result<T>>,
    stop: CancellationToken,
    status: watch::Receiver<LiveStatus>,
    reason: Arc<OnceLock<StreamEnd>>,
    span: Span,
    /// The checkpoint, which may end the stream.
    checkpoint: Option<Arc<dyn CheckpointStore>>,
    ended: bool,
}

/// A stream of fragments that are read live, from [`Live::fragments`].
///
/// # Errors
/// The stream ends at an error that is not retried: see [`Live`]. With `reconnect(false)`, the first error ends the
/// stream. Only a call to a wrong endpoint is retried once. The error contains the stream and, once known, the endpoint
/// and the request ID. The intact part of a cut fragment is yielded before the error.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the stream closes the connection at once.
///
/// # Memory
/// The stream holds the fragment that is being received, one fragment that was cut, and the data that the HTTP client
/// has read ahead. A slow reader slows down the connection.
pub type LiveFragments = LiveStream<Fragment>;

/// A stream of packets that are read live, from [`Live::packets`].
///
/// It yields the start of a fragment, its packets as they arrive, and its end. Discontinuities are yielded before the
/// start of the fragment that follows them.
///
/// When a connection breaks in the middle of a fragment, the next connection receives that fragment again. Packets
/// that were already yielded are compared and dropped, and the others follow, so that the reader sees no break. A
/// packet that differs is reported as [`PacketDiffers`](crate::Discontinuity::PacketDiffers). If the fragment does not
/// arrive again, its end is [`Cut`](crate::FragmentEnd::Cut).
///
/// # Errors
/// The errors of [`LiveFragments`]. The end of the open fragment is yielded before the error.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. Dropping the stream closes the connection at once.
///
/// # Memory
/// The stream holds one packet and the data of one read, plus 8 bytes for each packet of the open fragment.
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
        Self { items: items(live, observer, stopping), stop, status, reason, span, checkpoint: None, ended: false }
    }

    /// Ends the stream, and drops its connection and its checkpoint. An earlier reason stays.
    fn end(&mut self, reason: StreamEnd) {
        self.ended = true;
        self.items = futures::stream::iter(std::iter::empty()).boxed();
        self.checkpoint = None;
        let _ = self.reason.set(reason);
    }

    /// Returns why the stream has ended, or `None` while it continues.
    ///
    /// After an error, the reason is [`StreamEnd::Failed`].
    pub fn end_reason(&self) -> Option<StreamEnd> {
        self.reason.get().copied()
    }

    /// Returns a handle that ends the stream.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(self.stop.clone())
    }

    /// Returns a receiver of the stream's status, to read or to wait for changes.
    ///
    /// `changed()` fails once the stream has ended or is dropped. The last status stays readable.
    ///
    /// ```no_run
    /// # async fn f(kvs: kinesis_video::KinesisVideo) {
    /// let fragments = kvs.live("front-door").fragments();
    /// let mut status = fragments.status();
    /// tokio::spawn(async move {
    ///     while status.changed().await.is_ok() {
    ///         println!("{:?} behind", status.borrow().behind_now);
    ///     }
    /// });
    /// # }
    /// ```
    pub fn status(&self) -> watch::Receiver<LiveStatus> {
        self.status.clone()
    }
}

/// The stop token and the end reason that a stream shares with its public half.
struct Stopping {
    stop: CancellationToken,
    reason: Arc<OnceLock<StreamEnd>>,
}

impl LiveFragments {
    pub(super) fn fragments(live: Live) -> Self {
        Self::with_checkpoint(live, None)
    }

    /// Reads from the checkpoint on, if there is one.
    pub(super) fn checkpointed(live: Live, store: Arc<dyn CheckpointStore>) -> (Self, Acks) {
        let (ledger, acks) = pair(Arc::clone(&store));
        (Self::with_checkpoint(live, Some((store, ledger))), acks)
    }

    fn with_checkpoint(live: Live, checkpoint: Option<(Arc<dyn CheckpointStore>, Ledger)>) -> Self {
        let store = checkpoint.as_ref().map(|(store, _)| Arc::clone(store));
        let stream = Self::read(live, |mut live, observer, Stopping { stop, reason }| {
            let fragments = try_stream! {
                let mut is_first = false;
                let ledger = match checkpoint {
                    Some((store, ledger)) => {
                        match store.load().await? {
                            Some(position) => {
                                tracing::info!(%position, "resuming after the checkpoint");
                                live.options.start = Start::AfterPosition(position);
                            }
                            None => is_first = true,
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
                                if std::mem::take(&mut is_first) {
                                    ledger.starts_with(fragment.header());
                                }
                                ledger.record(fragment.position())?;
                            }
                            yield fragment;
                        }
                        Err(end) => {
                            let _ = reason.set(end);
                            break;
                        }
                    }
                }
            };
            fragments.boxed()
        });
        Self { checkpoint: store, ..stream }
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
                        Err(end) => {
                            let _ = reason.set(end);
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
        if self.ended {
            return Poll::Ready(None);
        }
        // At each poll, so that no fragment is yielded after the end of a lease.
        let permit = self.checkpoint.as_ref().map_or(Poll::Ready(Ok(())), |store| store.poll_permit(cx));
        if let Err(reason) = ready!(permit) {
            self.end(reason);
            return Poll::Ready(None);
        }
        let Self { items, span, .. } = &mut *self;
        let item = span.in_scope(|| items.poll_next_unpin(cx));
        if matches!(item, Poll::Ready(None | Some(Err(_)))) {
            self.end(StreamEnd::Failed);
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
