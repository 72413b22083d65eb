//! Every subscriber of a share receives everything, and no wake-up is lost.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::stream::FusedStream;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt, stream};
use kinesis_video::{Discontinuity, Error, ErrorKind, Fragment, FragmentStreamExt, Result, Share, Subscriber};
use proptest::prelude::*;

use crate::support::bodies::{first_fragments, ordinal_of};

fn dropped(fragment: &Fragment) -> u64 {
    match fragment.discontinuities() {
        [] => 0,
        [Discontinuity::Dropped { fragments, .. }] => *fragments,
        other => panic!("{other:?}"),
    }
}

fn fragment_source(count: usize) -> impl Stream<Item = Result<Fragment>> + Send + 'static {
    stream::iter(first_fragments(count)).map(Ok)
}

async fn ordinals(subscriber: Subscriber) -> Vec<u32> {
    subscriber.map_ok(|fragment| ordinal_of(&fragment)).try_collect().await.unwrap()
}

/// The next item, if it is ready.
fn next_now(subscriber: &mut Subscriber) -> Option<u32> {
    subscriber.next().now_or_never().map(|item| ordinal_of(&item.unwrap().unwrap()))
}

#[tokio::test]
async fn every_subscriber_receives_everything_once_in_order() {
    let share = fragment_source(50).share();
    let mut first = share.subscribe();
    assert_eq!(next_now(&mut first), Some(1));
    let (second, third) = (share.subscribe(), share.clone().subscribe());
    drop(share);
    let (first, second, third) = futures::join!(ordinals(first), ordinals(second), ordinals(third));
    assert_eq!(first, (2..=50).collect::<Vec<_>>());
    assert_eq!((&second, &third), (&first, &first));
}

#[test]
fn subscribers_share_buffers() {
    let share = fragment_source(1).share();
    let [mut a, mut b] = [share.subscribe(), share.subscribe_lossy(1)];
    let [a, b] = [&mut a, &mut b].map(|one| one.next().now_or_never().unwrap().unwrap().unwrap());
    assert_eq!(a.raw().as_ptr(), b.raw().as_ptr());
}

#[test]
fn the_slowest_lossless_subscriber_holds_up_the_source() {
    let polled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&polled);
    let share = fragment_source(20).inspect(move |_| _ = counter.fetch_add(1, Ordering::Relaxed)).share();
    let (mut fast, mut slow, mut lossy) = (share.subscribe(), share.subscribe(), share.subscribe_lossy(100));
    assert_eq!(
        (next_now(&mut fast), next_now(&mut fast), next_now(&mut lossy), next_now(&mut lossy)),
        (Some(1), None, Some(1), None)
    );
    assert_eq!(polled.load(Ordering::Relaxed), 1);
    for ordinal in 1..=10 {
        assert_eq!(next_now(&mut slow), Some(ordinal));
        assert_eq!((next_now(&mut fast), next_now(&mut fast)), (Some(ordinal + 1), None));
        assert_eq!(polled.load(Ordering::Relaxed), ordinal as usize + 1);
    }
    // The slow subscriber is dropped.
    drop(slow);
    assert_eq!(next_now(&mut fast), Some(12));
    assert_eq!(next_now(&mut lossy), Some(2));
}

/// Subscribers that wait for a slower one poll the source themselves when it has caught up, because it may be busy.
#[test]
fn a_blocked_subscriber_is_woken() {
    let share = fragment_source(20).share();
    let (mut slow, mut slower) = (share.subscribe(), share.subscribe());
    let mut held_up = [share.subscribe(), share.subscribe_lossy(1)].map(tokio_test::task::spawn);
    for subscriber in &mut held_up {
        tokio_test::assert_ready!(subscriber.poll_next()).unwrap().unwrap();
        tokio_test::assert_pending!(subscriber.poll_next());
    }
    assert_eq!(next_now(&mut slow), Some(1));
    assert!(held_up.iter().all(|subscriber| !subscriber.is_woken()), "one subscriber still blocks the others");
    assert_eq!(next_now(&mut slower), Some(1));
    for subscriber in &mut held_up {
        assert!(subscriber.is_woken());
        assert_eq!(ordinal_of(&tokio_test::assert_ready!(subscriber.poll_next()).unwrap().unwrap()), 2);
        tokio_test::assert_pending!(subscriber.poll_next());
    }
    drop((slow, slower));
    assert!(held_up.iter().all(tokio_test::task::Spawn::is_woken));
}

#[test]
fn a_stalled_lossy_subscriber_holds_up_nobody_and_buffers_little() {
    let share = fragment_source(100).share();
    let (mut steady, mut lossy, mut least) = (share.subscribe(), share.subscribe_lossy(3), share.subscribe_lossy(0));
    for ordinal in 1..=10 {
        assert_eq!(next_now(&mut steady), Some(ordinal));
    }
    // 1 2 3, dropped for 4; 4 5 6, dropped for 7; 7 8 9, dropped for 10.
    let debug = format!("{lossy:?}");
    assert!(debug.contains("capacity: Some(3), fragments: Some(1), dropped: Some(9)"), "{debug}");
    for ordinal in 11..=12 {
        assert_eq!(next_now(&mut steady), Some(ordinal));
    }
    let got: Vec<_> = (0..4).map(|_| lossy.next().now_or_never().unwrap().unwrap().unwrap()).collect();
    let got: Vec<_> = got.iter().map(|fragment| (ordinal_of(fragment), dropped(fragment))).collect();
    assert_eq!(got, [(10, 9), (11, 0), (12, 0), (13, 0)]);
    let one = least.next().now_or_never().unwrap().unwrap().unwrap();
    assert_eq!((ordinal_of(&one), dropped(&one)), (13, 12));
    // Other subscribers' fragments do not carry that discontinuity.
    assert_eq!(dropped(&steady.next().now_or_never().unwrap().unwrap().unwrap()), 0);
}

#[test]
fn errors_and_the_end_reach_every_subscriber() {
    let failing = fragment_source(1).chain(stream::iter([Err(Error::new(ErrorKind::Io, "gone"))]));
    let share = failing.chain(stream::poll_fn(|_| panic!("polled after its end"))).share();
    let (mut a, mut b, mut lossy) = (share.subscribe(), share.subscribe(), share.subscribe_lossy(1));
    assert_eq!((next_now(&mut a), next_now(&mut b)), (Some(1), Some(1)));
    assert!(a.next().now_or_never().unwrap().is_some_and(|item| item.is_err()));
    // It receives its buffered fragments before the error.
    assert_eq!(next_now(&mut lossy), Some(1));
    let mut late = share.subscribe();
    for subscriber in [&mut b, &mut lossy, &mut late] {
        assert!(!subscriber.is_terminated());
        let error = subscriber.next().now_or_never().unwrap().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "I/O failed: gone");
    }
    for subscriber in [&mut a, &mut b, &mut lossy, &mut late] {
        assert!(subscriber.next().now_or_never().unwrap().is_none());
        assert!(subscriber.is_terminated());
    }

    let share = fragment_source(0).share();
    assert!(share.subscribe().next().now_or_never().unwrap().is_none());
    assert!(share.subscribe_lossy(5).next().now_or_never().unwrap().is_none());
}

#[test]
fn a_panicking_source_is_an_error_for_every_subscriber() {
    let share = stream::poll_fn(|_| -> Poll<Option<Result<Fragment>>> { panic!("a bug") }).share();
    let (mut a, mut b) = (share.subscribe(), share.subscribe());
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| a.next().now_or_never())).is_err());
    let error = b.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "I/O failed: the shared source panicked");
}

#[test]
fn the_source_lives_as_long_as_its_handles() {
    let owner = Arc::new(());
    let make = || {
        let owner = Arc::clone(&owner);
        fragment_source(9).inspect(move |_| _ = &owner).share()
    };
    let share = make();
    let mut subscriber = share.subscribe();
    assert_eq!(next_now(&mut subscriber), Some(1));
    drop(subscriber);
    assert_eq!(Arc::strong_count(&owner), 2);
    // The source was not polled in between.
    let (mut subscriber, full) = (share.subscribe(), share.subscribe());
    assert_eq!((next_now(&mut subscriber), next_now(&mut subscriber)), (Some(2), None));
    drop((share, full));
    assert_eq!(next_now(&mut subscriber), Some(3));
    assert_eq!(Arc::strong_count(&owner), 2);
    drop(subscriber);
    assert_eq!(Arc::strong_count(&owner), 1);

    // The source is dropped at its end, even if handles are left.
    let share = make();
    assert_eq!(share.subscribe().count().now_or_never(), Some(9));
    assert_eq!(Arc::strong_count(&owner), 1);
    drop(share);
}

/// An action. Actions occur in any order, also while the source is polled.
#[derive(Clone, Debug)]
enum Act {
    /// The source has one more item, and wakes its task.
    Push,
    /// The source wakes its task without an item.
    Call,
    /// A subscriber's task polls once, woken or not.
    Poll(usize),
    Drop(usize),
    Subscribe(Option<usize>),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Push),
        1 => Just(Act::Call),
        6 => (0..5usize).prop_map(Act::Poll),
        1 => (0..5usize).prop_map(Act::Drop),
        2 => proptest::option::of(1..4usize).prop_map(Act::Subscribe),
    ]
}

/// A source, subscribers, and an executor that does one action at a time.
struct World {
    share: Mutex<Option<Share>>,
    tasks: Mutex<Vec<Option<Task>>>,
    ready: Mutex<VecDeque<Fragment>>,
    pushed: AtomicUsize,
    yielded: AtomicU32,
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// The actions during polls of the source.
    inside: Mutex<VecDeque<Vec<Act>>>,
}

struct Task {
    subscriber: Subscriber,
    woken: Arc<Flag>,
    lossy: bool,
    last: u32,
    ended: bool,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Scripted(Arc<World>);

impl Stream for Scripted {
    type Item = Result<Fragment>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let world = &self.0;
        world.interrupt();
        if let Some(fragment) = world.ready.lock().unwrap().pop_front() {
            world.yielded.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Some(Ok(fragment)));
        }
        if world.ended.load(Ordering::Relaxed) {
            return Poll::Ready(None);
        }
        *world.waker.lock().unwrap() = Some(cx.waker().clone());
        world.interrupt();
        Poll::Pending
    }
}

impl World {
    fn new(inside: Vec<Vec<Act>>) -> Arc<Self> {
        let world = Arc::new(Self {
            share: Mutex::default(),
            tasks: Mutex::default(),
            ready: Mutex::default(),
            pushed: AtomicUsize::new(0),
            yielded: AtomicU32::new(0),
            ended: AtomicBool::new(false),
            waker: Mutex::default(),
            inside: Mutex::new(inside.into()),
        });
        *world.share.lock().unwrap() = Some(Scripted(Arc::clone(&world)).share());
        world
    }

    fn interrupt(&self) {
        let acts = self.inside.lock().unwrap().pop_front();
        acts.into_iter().flatten().for_each(|act| self.act(&act));
    }

    fn call(&self) {
        let waker = self.waker.lock().unwrap().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn act(&self, act: &Act) {
        match act {
            Act::Push => {
                let next = first_fragments(300)[self.pushed.fetch_add(1, Ordering::Relaxed)].clone();
                self.ready.lock().unwrap().push_back(next);
                self.call();
            }
            Act::Call => {
                let waker = self.waker.lock().unwrap().clone();
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            Act::Poll(index) => self.poll(*index),
            Act::Drop(index) => {
                let task = self.tasks.lock().unwrap().get_mut(*index).and_then(Option::take);
                drop(task);
            }
            Act::Subscribe(capacity) => {
                let share = self.share.lock().unwrap().clone().unwrap();
                let subscriber = capacity.map_or_else(|| share.subscribe(), |most| share.subscribe_lossy(most));
                let woken = Arc::new(Flag(AtomicBool::new(true)));
                let last = self.yielded.load(Ordering::Relaxed);
                let task = Task { subscriber, woken, lossy: capacity.is_some(), last, ended: false };
                self.tasks.lock().unwrap().push(Some(task));
            }
        }
    }

    fn poll(&self, index: usize) {
        // A task that is being polled has been taken out.
        let task = self.tasks.lock().unwrap().get_mut(index).and_then(Option::take);
        let Some(mut task) = task else { return };
        task.woken.0.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.woken));
        match task.subscriber.poll_next_unpin(&mut Context::from_waker(&waker)) {
            Poll::Pending => {}
            Poll::Ready(item) => {
                // It was not pending, so it polls again.
                task.woken.0.store(true, Ordering::Relaxed);
                match item.map(Result::unwrap) {
                    None => task.ended = true,
                    Some(fragment) => {
                        let (ordinal, dropped) = (ordinal_of(&fragment), dropped(&fragment) as u32);
                        assert!(task.lossy || dropped == 0);
                        assert_eq!(ordinal, task.last + dropped + 1, "the gap does not equal the dropped fragments");
                        task.last = ordinal;
                    }
                }
            }
        }
        self.tasks.lock().unwrap()[index] = Some(task);
    }

    /// Runs woken tasks until all are pending. Lossy tasks are left out if they stall.
    fn settle(&self, stalled: bool) {
        for _ in 0..100_000 {
            let woken = self.tasks.lock().unwrap().iter().position(|task| {
                let runs =
                    |task: &Task| task.woken.0.load(Ordering::Relaxed) && !task.ended && !(stalled && task.lossy);
                task.as_ref().is_some_and(runs)
            });
            match woken {
                Some(index) => self.poll(index),
                None => return,
            }
        }
        panic!("the tasks wake each other without end");
    }

    fn check(&self, stalled: bool) {
        let (pushed, ended) = (self.pushed.load(Ordering::Relaxed), self.ended.load(Ordering::Relaxed));
        for (index, task) in self.tasks.lock().unwrap().iter().enumerate() {
            if let Some(task) = task
                && !(stalled && task.lossy)
            {
                assert_eq!(task.last as usize, pushed, "subscriber {index} waits without end");
                assert_eq!(task.ended, ended, "subscriber {index} waits for the end");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 8, ..ProptestConfig::default() })]

    /// Random interleavings of actions inside and outside a poll of the source. Tasks run only if woken, so a lost
    /// wake-up is noticed.
    #[test]
    fn no_wakeup_is_lost(
        acts in proptest::collection::vec((act(), any::<Option<bool>>()), 0..40),
        inside in proptest::collection::vec(proptest::collection::vec(act(), 0..4), 0..30),
    ) {
        let world = World::new(inside);
        for capacity in [None, Some(2), None] {
            world.act(&Act::Subscribe(capacity));
        }
        for (act, settle) in acts {
            world.act(&act);
            if let Some(stalled) = settle && matches!(act, Act::Push) {
                world.settle(stalled);
                world.check(stalled);
            }
        }
        for stalled in [true, false] {
            world.act(&Act::Push);
            world.settle(stalled);
            world.check(stalled);
        }
        world.ended.store(true, Ordering::Relaxed);
        world.call();
        world.settle(false);
        world.act(&Act::Subscribe(None));
        world.settle(false);
        if world.yielded.load(Ordering::Relaxed) as usize == world.pushed.load(Ordering::Relaxed) {
            world.check(false);
        }
        // The world and its share own each other.
        world.share.lock().unwrap().take();
        let tasks = std::mem::take(&mut *world.tasks.lock().unwrap());
        drop(tasks);
        prop_assert_eq!(Arc::strong_count(&world), 1);
    }
}

/// A random generator, good enough to mix threads.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    async fn pause(&mut self) {
        match self.below(40) {
            0 => tokio::time::sleep(Duration::from_micros(self.below(300))).await,
            1..=5 => tokio::task::yield_now().await,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn subscribers_on_many_threads_lose_nothing() {
    const COUNT: u32 = 3000;
    let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
    let share = stream::poll_fn(move |cx| receiver.poll_recv(cx)).share();
    let steady = (0..8u64).map(|seed| {
        let mut subscriber = share.subscribe();
        tokio::spawn(async move {
            let mut random = Random(seed);
            for expected in 1..=COUNT {
                random.pause().await;
                assert_eq!(ordinal_of(&subscriber.next().await.unwrap().unwrap()), expected);
            }
            assert!(subscriber.next().await.is_none());
        })
    });
    let steady: Vec<_> = steady.collect();
    let lossy = (10..14u64).map(|seed| {
        let mut subscriber = share.subscribe_lossy(seed as usize - 9);
        tokio::spawn(async move {
            let (mut random, mut last) = (Random(seed), 0);
            while let Some(fragment) = subscriber.next().await {
                let fragment = fragment.unwrap();
                assert_eq!(u64::from(ordinal_of(&fragment)), last + dropped(&fragment) + 1);
                last = u64::from(ordinal_of(&fragment));
                for _ in 0..random.below(8) {
                    random.pause().await;
                }
            }
            assert_eq!(last, u64::from(COUNT));
        })
    });
    let lossy: Vec<_> = lossy.collect();
    // These subscribe, read a few items, drop the subscriber during a poll or with items left, and subscribe again.
    let restless = (20..24u64).map(|seed| {
        let share = share.clone();
        tokio::spawn(async move {
            let mut random = Random(seed);
            loop {
                let mut subscriber = if random.below(3) == 0 { share.subscribe_lossy(2) } else { share.subscribe() };
                let mut last = None;
                for _ in 0..random.below(20) {
                    let wait = Duration::from_micros(random.below(2000));
                    match tokio::time::timeout(wait, subscriber.next()).await {
                        Ok(None) => return,
                        Ok(Some(fragment)) => {
                            let fragment = fragment.unwrap();
                            let first = u64::from(ordinal_of(&fragment)) - dropped(&fragment);
                            assert!(last.is_none_or(|last: u64| first == last + 1));
                            last = Some(u64::from(ordinal_of(&fragment)));
                        }
                        Err(_) => {}
                    }
                }
                random.pause().await;
            }
        })
    });
    let restless: Vec<_> = restless.collect();
    drop(share);
    let feeder = tokio::spawn(async move {
        let mut random = Random(99);
        for fragment in first_fragments(COUNT as usize) {
            random.pause().await;
            sender.send(Ok(fragment)).await.unwrap();
        }
    });
    let tasks = steady.into_iter().chain(lossy).chain(restless).chain([feeder]);
    let all = futures::future::try_join_all(tasks);
    tokio::time::timeout(Duration::from_secs(60), all).await.expect("somebody waits without end").unwrap();
}
