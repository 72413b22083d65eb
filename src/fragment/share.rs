//! [`Share`], the type behind `.share()`: one source, many subscribers.
//!
//! There is no task. A subscriber without a fragment polls the source, and hands what comes to all.
//! The source is given one waker that wakes every subscriber that waits, so it never matters which
//! of them polled it last, or whether that one is ever polled again.

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

/// One stream of fragments for several consumers in one process, from
/// [`share`](crate::FragmentStreamExt::share): one connection, one parser, one buffer for each fragment.
///
/// Every [`Subscriber`] gets the same fragments in the same order, from the next one on that the
/// source yields after it subscribed, and the same error or end. One that comes later than that gets
/// it at once. Clones of the handle are the same; subscribers may come and go at any time.
///
/// The source is polled by whichever subscriber is polled and has nothing. Without subscribers nobody
/// polls it, and it stays where it is. It is dropped at its end, and when the last subscriber and the
/// last handle are gone.
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::{FragmentStream, FragmentStreamExt, MkvSink, RecordExt};
///
/// # async fn f(body: tokio::fs::File) -> kinesis_video::Result<()> {
/// let share = FragmentStream::new(body).share();
/// let recording = share.subscribe().record(MkvSink::to_dir("recordings"));
/// // Rather the newest fragment than every one.
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

    /// A subscriber that gets every fragment. The source waits for the slowest of these.
    pub fn subscribe(&self) -> Subscriber {
        self.add(None)
    }

    /// A subscriber that never holds up the others. When more than `capacity` fragments (at least
    /// one) wait for it, it goes back to live: all but the newest are dropped, and that one says how
    /// many, as a [`Discontinuity::Dropped`] before its others. What the dropped ones said is gone
    /// with them.
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
/// That of the source, behind all fragments that came before it.
///
/// # Cancel safety
/// Dropping a `next()` future loses nothing. A subscriber that is kept and not polled holds up the
/// others, unless it is lossy; drop it instead.
///
/// # Memory
/// One fragment; if lossy, as many as its capacity. Subscribers share the buffers of fragments.
#[must_use = "streams do nothing unless polled"]
pub struct Subscriber {
    hub: Arc<Hub>,
    id: u64,
    ended: bool,
}

/// What all of them share. To lock: first `state`, then `waiting`; neither while the source or a
/// waker is called or dropped, since that may come back here.
struct Hub {
    state: Mutex<State>,
    waiting: Arc<Waiting>,
    /// What the source wakes: all who are waiting. It must not own the hub, which owns the source.
    waker: Waker,
}

type Source = Pin<Box<dyn Stream<Item = Result<Fragment>> + Send>>;

#[derive(Default)]
struct State {
    /// Not here while it is polled, and behind its end.
    source: Option<Source>,
    /// How it ended.
    end: Option<Result<()>>,
    queues: BTreeMap<u64, Queue>,
    /// How many subscribers hold up the source.
    full: usize,
    next_id: u64,
}

#[derive(Default)]
struct Queue {
    fragments: VecDeque<Fragment>,
    /// Of a lossy one.
    capacity: Option<usize>,
    /// Before the first of `fragments`.
    dropped: u64,
}

impl Queue {
    /// Whether the source has to wait for it.
    fn is_full(&self) -> bool {
        self.capacity.is_none() && !self.fragments.is_empty()
    }
}

impl State {
    /// The next fragment for a subscriber, and how many were dropped before it.
    fn take(&mut self, id: u64) -> Option<(Fragment, u64)> {
        let queue = self.queues.get_mut(&id)?;
        let fragment = queue.fragments.pop_front()?;
        if queue.capacity.is_none() {
            self.full -= 1;
        }
        Some((fragment, mem::take(&mut queue.dropped)))
    }

    /// Hands a fragment to all; what is dropped for it goes to `dropped`.
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

/// Who waits for a fragment, or for the source to be free.
#[derive(Default)]
struct Waiting(Mutex<Wakers>);

#[derive(Default)]
struct Wakers {
    by_id: BTreeMap<u64, Waker>,
    /// Whether the source has called since it was last polled.
    called: bool,
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
        self.wakers().called = true;
        self.wake_all();
    }
}

impl Hub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source while it is polled; the others do not wait for it if it panics.
struct Polling<'a> {
    hub: &'a Hub,
    source: Option<Source>,
}

impl Polling<'_> {
    /// Whether the source had something for everyone.
    fn poll(mut self, id: u64) -> bool {
        let Some(source) = &mut self.source else { return true };
        self.hub.waiting.wakers().called = false;
        let item = source.as_mut().poll_next(&mut Context::from_waker(&self.hub.waker));
        let source = self.source.take();
        match item {
            Poll::Pending => {
                self.hub.state().source = source;
                // Who was woken while the source was not here could not poll it, and has to try again.
                if self.hub.waiting.wakers().called {
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
        // This one need not be woken: it looks again.
        let own = self.hub.waiting.wakers().by_id.remove(&id);
        drop(own);
        self.hub.waiting.wake_all();
        true
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            // Only then is it still here.
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
            let was_held_up = state.full > 0;
            if let Some((mut fragment, dropped)) = state.take(this.id) {
                let is_free = was_held_up && state.full == 0;
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
            // Under the lock: whoever changes the state from here on finds the waker.
            let old = hub.waiting.wakers().by_id.insert(this.id, cx.waker().clone());
            let source = if was_held_up { None } else { state.source.take() };
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
        let held_up = queue.as_ref().is_some_and(Queue::is_full);
        if held_up {
            state.full -= 1;
        }
        let is_free = held_up && state.full == 0;
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
