//! [`Share`], the type that `.share()` returns: one source, many subscribers.
//!
//! There is no background task. A subscriber with an empty queue polls the source, and distributes the
//! fragment to all queues. The source gets one waker that wakes every waiting subscriber. So the stream
//! continues even if the subscriber that polled last is never polled again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures::Stream;
use futures::stream::FusedStream;

use super::{Discontinuity, Fragment};
use crate::error::{Error, ErrorKind, Result};

/// A fragment stream with several subscribers, from [`share`](crate::FragmentStreamExt::share).
///
/// The subscribers share one connection, one parser, and one buffer per fragment.
///
/// Every [`Subscriber`] that is not [lossy](Share::subscribe_lossy) receives all fragments that the source yields
/// after it subscribed, in the same order. A lossy one misses fragments if it is too slow. All then receive the
/// source's error or end. A subscriber that subscribes after the end receives the error or end at once. Clones of
/// a `Share` refer to the same source. Subscribers can be added and dropped at any time.
///
/// Polling a subscriber whose queue is empty polls the source, unless another subscriber that is not lossy still has
/// a fragment in its queue. Without subscribers the source is not polled. The source is dropped when it ends or fails, or when the last subscriber and the
/// last `Share` are dropped.
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::{FragmentStream, FragmentStreamExt, MkvSink, RecordExt};
///
/// # async fn f(body: tokio::fs::File) -> kinesis_video::Result<()> {
/// let share = FragmentStream::new(body).share();
/// let recording = share.subscribe().record(MkvSink::to_dir("recordings"));
/// // Keeps only the newest fragment if it is too slow.
/// let mut preview = share.subscribe_lossy(1);
/// drop(share);
/// let shown = async {
///     while let Some(fragment) = preview.try_next().await? {
///         println!("{:?} after {:?}", fragment.number(), fragment.discontinuities());
///     }
///     Ok(())
/// };
/// futures::try_join!(recording, shown)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Share {
    hub: Arc<Hub>,
}

impl Share {
    pub(crate) fn new(source: impl Stream<Item = Result<Fragment>> + Send + 'static) -> Self {
        let state = State { source: Some(Box::pin(source)), ..State::default() };
        let waiting = Arc::new(Waiting::default());
        let waker = Waker::from(Arc::clone(&waiting));
        Self { hub: Arc::new(Hub { state: Mutex::new(state), waiting, waker }) }
    }

    /// Adds a subscriber that receives every fragment.
    ///
    /// The source waits for the slowest of these subscribers.
    pub fn subscribe(&self) -> Subscriber {
        self.add(None)
    }

    /// Adds a subscriber that never blocks the others.
    ///
    /// If a fragment arrives while `capacity` fragments are queued, all queued fragments are dropped.
    /// The new fragment then starts with a [`Discontinuity::Dropped`], which has their number. The
    /// discontinuities of dropped fragments are lost. A `capacity` of 0 counts as 1.
    pub fn subscribe_lossy(&self, capacity: usize) -> Subscriber {
        self.add(Some(capacity.max(1)))
    }

    fn add(&self, capacity: Option<usize>) -> Subscriber {
        let mut state = self.hub.state();
        let id = state.next_id;
        state.next_id += 1;
        state.queues.insert(id, Queue { capacity, ..Queue::default() });
        drop(state);
        Subscriber { hub: Arc::clone(&self.hub), id, ended: false }
    }
}

/// A stream of the fragments of a [`Share`].
///
/// # Errors
/// The error of the source, after all fragments that precede it. If the source panics, the other subscribers
/// receive an [`Io`](crate::ErrorKind::Io) error.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. A subscriber that is kept but not polled blocks the
/// others, unless it is lossy. Drop a subscriber that is no longer needed.
///
/// # Memory
/// A subscriber queues one fragment. A lossy one queues up to `capacity` fragments. Subscribers share the
/// buffers of fragments.
#[must_use = "streams do nothing unless polled"]
pub struct Subscriber {
    hub: Arc<Hub>,
    id: u64,
    ended: bool,
}

/// The state that all subscribers share.
///
/// Lock order: `state`, then `waiting`. Hold neither lock while the source or a waker is called or
/// dropped, because both may call back into the hub.
struct Hub {
    state: Mutex<State>,
    waiting: Arc<Waiting>,
    /// The waker for the source. It wakes all waiting subscribers. It must not own the hub, which owns the source.
    waker: Waker,
}

type Source = Pin<Box<dyn Stream<Item = Result<Fragment>> + Send>>;

#[derive(Default)]
struct State {
    /// `None` while it is polled, and after its end.
    source: Option<Source>,
    /// The end or the error of the source.
    end: Option<Result<()>>,
    queues: BTreeMap<u64, Queue>,
    /// The number of queues that block the source.
    full: usize,
    next_id: u64,
}

#[derive(Default)]
struct Queue {
    fragments: VecDeque<Fragment>,
    /// The capacity of a lossy subscriber. `None` for one that receives every fragment.
    capacity: Option<usize>,
    /// The number of fragments that were dropped before the first of `fragments`.
    dropped: u64,
}

impl Queue {
    /// Returns true if the source must wait for this queue.
    fn is_full(&self) -> bool {
        self.capacity.is_none() && !self.fragments.is_empty()
    }
}

impl State {
    /// Takes the next fragment of a subscriber, and the number of fragments dropped before it.
    fn take(&mut self, id: u64) -> Option<(Fragment, u64)> {
        let queue = self.queues.get_mut(&id)?;
        let fragment = queue.fragments.pop_front()?;
        if queue.capacity.is_none() {
            self.full -= 1;
        }
        Some((fragment, mem::take(&mut queue.dropped)))
    }

    /// Adds a fragment to all queues. Dropped fragments go to `dropped`, so that the caller frees them unlocked.
    fn distribute(&mut self, fragment: &Fragment, dropped: &mut Vec<Fragment>) {
        for queue in self.queues.values_mut() {
            match queue.capacity {
                None => self.full += 1,
                Some(capacity) if queue.fragments.len() >= capacity => {
                    queue.dropped += queue.fragments.len() as u64;
                    dropped.extend(queue.fragments.drain(..));
                }
                Some(_) => {}
            }
            queue.fragments.push_back(fragment.clone());
        }
    }
}

/// The subscribers that wait for a fragment, or for another one to stop polling the source.
#[derive(Default)]
struct Waiting(Mutex<Wakers>);

#[derive(Default)]
struct Wakers {
    by_id: BTreeMap<u64, Waker>,
    /// True if the source has woken the subscribers since it was last polled.
    was_woken: bool,
}

impl Waiting {
    fn wakers(&self) -> MutexGuard<'_, Wakers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        let wakers = mem::take(&mut self.wakers().by_id);
        wakers.into_values().for_each(Waker::wake);
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wakers().was_woken = true;
        self.wake_all();
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Owns the source while it is polled. If the source panics, dropping this ends the stream for all.
struct Polling<'a> {
    hub: &'a Hub,
    source: Option<Source>,
}

impl Polling<'_> {
    /// Polls the source for subscriber `id`. Returns true if it yielded an item or ended.
    fn poll(mut self, id: u64) -> bool {
        let Some(source) = &mut self.source else { return true };
        self.hub.waiting.wakers().was_woken = false;
        let item = source.as_mut().poll_next(&mut Context::from_waker(&self.hub.waker));
        let source = self.source.take();
        match item {
            Poll::Pending => {
                self.hub.state().source = source;
                // A subscriber that was woken during the poll found no source, so it must try again.
                if self.hub.waiting.wakers().was_woken {
                    self.hub.waiting.wake_all();
                }
                return false;
            }
            Poll::Ready(Some(Ok(fragment))) => {
                let mut dropped = Vec::new();
                let mut state = self.hub.state();
                state.source = source;
                state.distribute(&fragment, &mut dropped);
            }
            Poll::Ready(Some(Err(error))) => self.hub.state().end = Some(Err(error)),
            Poll::Ready(None) => self.hub.state().end = Some(Ok(())),
        }
        // The calling subscriber looks into its queue again without a wake-up.
        let own = self.hub.waiting.wakers().by_id.remove(&id);
        drop(own);
        self.hub.waiting.wake_all();
        true
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            // The source is still here only if polling it panicked.
            let error = Error::new(ErrorKind::Io, "the shared source panicked").retryable(false);
            self.hub.state().end = Some(Err(error));
            drop(source);
            self.hub.waiting.wake_all();
        }
    }
}

impl Stream for Subscriber {
    type Item = Result<Fragment>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.ended {
            let hub = &*this.hub;
            let mut state = hub.state();
            let was_blocked = state.full > 0;
            if let Some((mut fragment, dropped)) = state.take(this.id) {
                let is_free = was_blocked && state.full == 0;
                drop(state);
                if is_free {
                    hub.waiting.wake_all();
                }
                if dropped > 0 {
                    fragment.add_discontinuities(&mut vec![Discontinuity::Dropped { fragments: dropped }]);
                }
                return Poll::Ready(Some(Ok(fragment)));
            }
            if let Some(end) = state.end.clone() {
                drop(state);
                this.ended = true;
                return Poll::Ready(end.err().map(Err));
            }
            // Registers the waker under the lock, so that every later change of the state finds it.
            let old = hub.waiting.wakers().by_id.insert(this.id, cx.waker().clone());
            let source = if was_blocked { None } else { state.source.take() };
            drop(state);
            drop(old);
            if source.is_none() || !(Polling { hub, source }.poll(this.id)) {
                return Poll::Pending;
            }
        }
        Poll::Ready(None)
    }
}

impl FusedStream for Subscriber {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        let queue = state.queues.remove(&self.id);
        let was_full = queue.as_ref().is_some_and(Queue::is_full);
        if was_full {
            state.full -= 1;
        }
        let is_free = was_full && state.full == 0;
        drop(state);
        let own = self.hub.waiting.wakers().by_id.remove(&self.id);
        drop(own);
        if is_free {
            self.hub.waiting.wake_all();
        }
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.hub.state();
        let subscribers = state.queues.len();
        f.debug_struct("Share").field("subscribers", &subscribers).field("end", &state.end).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.hub.state();
        let queue = state.queues.get(&self.id);
        f.debug_struct("Subscriber")
            .field("capacity", &queue.and_then(|queue| queue.capacity))
            .field("fragments", &queue.map(|queue| queue.fragments.len()))
            .field("dropped", &queue.map(|queue| queue.dropped))
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
