//! The checkpoint never passes a fragment that is not done, and is never lost.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error as _;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use kinesis_video::local::{Document, LocalEndpoint, LocalStream, Operation, Shape};
use kinesis_video::{
    Bound, CheckpointStore, Error, ErrorKind, FileCheckpoint, FragmentNumber, FragmentStreamExt, KinesisVideo,
    MemoryCheckpoint, Position, Result,
};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use crate::support::bodies::{first_fragments, stamp};
use crate::support::files::file_names;

fn position(ordinal: u32) -> Position {
    let stamp = stamp(ordinal);
    let (server, producer) = (stamp.server_time.as_millis(), stamp.producer_time.as_millis());
    format!("kvs1:{}:{server}:{producer}:=", stamp.number).parse().unwrap()
}

#[derive(Clone, Debug)]
enum Act {
    Next,
    Done(u32),
    Through(u32),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    // Numbers above 24 are never yielded.
    let act = prop_oneof![
        3 => Just(Act::Next),
        4 => (1..=26u32).prop_map(Act::Done),
        1 => (1..=26u32).prop_map(Act::Through),
    ];
    proptest::collection::vec(act, 0..120)
}

proptest! {
    #[test]
    fn the_saved_position_equals_the_models(acts in acts()) {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
            let store = MemoryCheckpoint::default();
            let (mut fragments, acks) = stream::iter(first_fragments(24)).map(Ok).acknowledged(store.clone());
            let (mut given, mut done) = (0, BTreeSet::new());
            for act in acts {
                match act {
                    Act::Next => given += u32::from(fragments.next().await.is_some()),
                    Act::Done(ordinal) => {
                        acks.done(&position(ordinal));
                        done.extend((ordinal <= given).then_some(ordinal));
                    }
                    Act::Through(ordinal) => {
                        acks.done_through(&position(ordinal));
                        done.extend((ordinal <= given).then_some(1..=ordinal).into_iter().flatten());
                    }
                }
                let mark = (1..=given).take_while(|ordinal| done.contains(ordinal)).last();
                assert_eq!(acks.position(), mark.map(position));
            }
            let mark = acks.position();
            assert_eq!(acks.close().await.unwrap(), mark);
            assert_eq!(store.get(), mark);
        });
    }
}

/// The end of a save, and the saved position if it succeeded.
type Save = (Instant, Option<Position>);

/// A store whose saves are slow or fail.
#[derive(Clone, Default)]
struct Slow {
    interval: Duration,
    pause: Duration,
    failures: Arc<AtomicUsize>,
    busy: Arc<AtomicBool>,
    saves: Arc<Mutex<Vec<Save>>>,
}

impl Slow {
    fn taking(millis: u64, failures: usize) -> Self {
        Self { pause: Duration::from_millis(millis), failures: Arc::new(AtomicUsize::new(failures)), ..Self::default() }
    }

    fn saved(&self) -> Vec<Position> {
        self.saves.lock().unwrap().iter().filter_map(|(_, position)| position.clone()).collect()
    }
}

impl CheckpointStore for Slow {
    fn save_interval(&self) -> Duration {
        self.interval
    }

    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        async { Ok(self.saved().last().cloned()) }.boxed()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        async move {
            assert!(!self.busy.swap(true, Ordering::SeqCst), "two saves at once");
            sleep(self.pause).await;
            self.busy.store(false, Ordering::SeqCst);
            let fail =
                self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            self.saves.lock().unwrap().push((Instant::now(), (!fail).then(|| position.clone())));
            if fail { Err(Error::new(ErrorKind::Io, "the table is away")) } else { Ok(()) }
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_receives_the_newest_and_the_last_position() {
    let store = Slow::taking(1000, 0);
    let (fragments, acks) = stream::iter(first_fragments(60)).map(Ok).acknowledged(store.clone());
    let work = fragments.map_ok(|fragment| {
        let acks = acks.clone();
        async move {
            // Neighbouring fragments are done in the wrong order.
            sleep(Duration::from_millis(if fragment.number().unwrap().as_str().ends_with('1') { 350 } else { 100 }))
                .await;
            acks.done(&fragment.position());
            Ok(())
        }
    });
    work.try_buffer_unordered(4).try_collect::<()>().await.unwrap();
    assert_eq!(acks.position(), Some(position(60)));
    assert_ne!(acks.saved(), Some(position(60)));
    assert_eq!(acks.clone().close().await.unwrap(), Some(position(60)));
    assert_eq!(acks.saved(), Some(position(60)));
    let saved = store.saved();
    assert!((2..8).contains(&saved.len()), "{saved:?}");
    assert!(saved.windows(2).all(|two| two[0].number() < two[1].number()), "{saved:?}");
    // An unchanged position is not saved again.
    acks.done(&position(60));
    acks.clone().close().await.unwrap();
    drop(acks);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(store.saved(), saved);
    assert_eq!(Arc::strong_count(&store.saves), 1, "the task has ended");
}

/// A store with an interval is written once in it, with the newest position, and at once when all is closed.
#[tokio::test(start_paused = true)]
async fn saves_are_spaced_and_the_last_is_not_delayed() {
    let store = Slow { interval: Duration::from_secs(10), ..Slow::taking(100, 0) };
    let (mut fragments, acks) = stream::iter(first_fragments(60)).map(Ok).acknowledged(store.clone());
    let began = Instant::now();
    for ordinal in 1..=60 {
        fragments.next().await.unwrap().unwrap();
        acks.done(&position(ordinal));
        sleep(Duration::from_secs(1)).await;
    }
    let saves = || -> Vec<(u64, Option<Position>)> {
        let saves = store.saves.lock().unwrap();
        saves.iter().map(|(at, position)| ((*at - began).as_secs(), position.clone())).collect()
    };
    // Each save takes a tenth of a second, and the interval begins at its end.
    let expected = [(0, 1), (10, 11), (20, 21), (30, 31), (40, 41), (50, 51)];
    assert_eq!(saves(), expected.map(|(at, ordinal)| (at, Some(position(ordinal)))));
    assert_eq!(acks.clone().close().await.unwrap(), Some(position(60)));
    drop((fragments, acks));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(saves().len(), 7);
    assert_eq!(saves()[6], (60, Some(position(60))));
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_is_retried() {
    let store = Slow::taking(0, 12);
    let (mut fragments, acks) = stream::iter(first_fragments(3)).map(Ok).acknowledged(store.clone());
    let began = Instant::now();
    for ordinal in 1..=3 {
        fragments.next().await.unwrap().unwrap();
        acks.done(&position(ordinal));
    }
    sleep(Duration::from_secs(45)).await;
    // It is saved at once, and only once.
    assert_eq!(acks.saved(), None);
    let error = acks.clone().close().await.unwrap_err();
    assert_eq!(error.to_string(), "I/O failed: the table is away");
    sleep(Duration::from_secs(300)).await;
    assert_eq!(acks.saved(), Some(position(3)));
    let tries: Vec<u64> = store.saves.lock().unwrap().iter().map(|(at, _)| (*at - began).as_millis() as u64).collect();
    let seconds: Vec<u64> = tries.iter().map(|millis| millis / 1000).collect();
    assert_eq!(seconds, [0, 0, 0, 0, 1, 3, 6, 12, 25, 45, 51, 81, 111], "{tries:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_position_is_saved_when_all_handles_are_dropped() {
    // In the second case the handles are dropped during a pause.
    for failures in [0, 1] {
        let store = Slow::taking(50, failures);
        let (mut fragments, acks) = stream::iter(first_fragments(2)).map(Ok).acknowledged(store.clone());
        let first = fragments.try_next().await.unwrap().unwrap();
        acks.done(&first.position());
        sleep(Duration::from_millis(60)).await;
        fragments.try_next().await.unwrap().unwrap();
        drop(fragments);
        acks.done(&position(2));
        drop(acks);
        sleep(Duration::from_millis(101)).await;
        assert_eq!(store.saved().last(), Some(&position(2)));
        assert_eq!(Arc::strong_count(&store.saves), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_close_saves_only_once() {
    let store = Slow::taking(1000, 0);
    let (mut fragments, acks) = stream::iter(first_fragments(2)).map(Ok).acknowledged(store.clone());
    for ordinal in 1..=2 {
        fragments.next().await.unwrap().unwrap();
        acks.done(&position(ordinal));
        assert!(tokio::time::timeout(Duration::from_millis(100), acks.clone().close()).await.is_err());
    }
    assert_eq!(acks.close().await.unwrap(), Some(position(2)));
    assert_eq!(store.saved(), [position(1), position(2)]);
}

#[tokio::test]
async fn fragments_and_errors_pass_through() {
    let given = first_fragments(3);
    let items: VecDeque<_> = given.iter().cloned().map(Ok).chain([Err(Error::new(ErrorKind::Io, "gone"))]).collect();
    let store: Arc<dyn CheckpointStore> = Arc::new(MemoryCheckpoint::at(position(7)));
    assert_eq!(store.load().await.unwrap(), Some(position(7)));
    let (mut fragments, acks) = stream::iter(items).acknowledged(Arc::clone(&store));
    for fragment in &given {
        assert_eq!(fragments.next().await.unwrap().unwrap().raw(), fragment.raw());
    }
    assert!(fragments.next().await.unwrap().is_err());
    assert!(fragments.next().await.is_none());
    // Nothing is done, so the stored position stays.
    assert_eq!(acks.close().await.unwrap(), None);
    assert_eq!(store.load().await.unwrap(), Some(position(7)));
}

#[test]
fn without_a_runtime_only_close_saves() {
    let store = MemoryCheckpoint::default();
    futures::executor::block_on(async {
        let (mut fragments, acks) = stream::iter(first_fragments(1)).map(Ok).acknowledged(store.clone());
        fragments.next().await.unwrap().unwrap();
        acks.done(&position(1));
        assert_eq!((acks.saved(), store.get()), (None, None));
        acks.close().await.unwrap();
        let file = FileCheckpoint::new("nowhere");
        assert_eq!(file.load().await.unwrap_err().kind(), ErrorKind::Unsupported);
    });
    assert_eq!(store.get(), Some(position(1)));
}

#[tokio::test]
async fn thousands_of_saves_leave_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door");
    let file = FileCheckpoint::new(&path);
    assert_eq!(file.load().await.unwrap(), None);
    for ordinal in 1..=2000 {
        file.save(&position(ordinal)).await.unwrap();
    }
    assert_eq!(file_names(dir.path()), ["door"]);
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", position(2000)));
    assert_eq!(FileCheckpoint::new(&path).load().await.unwrap(), Some(position(2000)));
}

#[tokio::test]
async fn stores_in_one_folder_do_not_disturb_each_other() {
    let dir = tempfile::tempdir().unwrap();
    // The last two use the same file, as when the old process has not ended yet.
    let files = ["a", "a.tmp", ".a", "b", "b"].map(|name| FileCheckpoint::new(dir.path().join(name)));
    let work = files.iter().map(|file| async {
        for ordinal in 1..=100 {
            file.save(&position(ordinal)).await.unwrap();
            assert!(file.load().await.unwrap().is_some());
        }
    });
    futures::future::join_all(work).await;
    assert_eq!(file_names(dir.path()), [".a", "a", "a.tmp", "b"]);
    for file in files {
        assert_eq!(file.load().await.unwrap(), Some(position(100)), "{}", file.path().display());
    }
}

#[tokio::test]
async fn leftovers_of_a_killed_process_are_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door");
    let file = FileCheckpoint::new(&path);
    file.save(&position(1)).await.unwrap();
    // Files of a process killed while it wrote: an empty one, and a part of a line.
    fs::write(dir.path().join(".door.00000000000000aa.tmp"), "").unwrap();
    fs::write(dir.path().join(".door.00000000000000bb.tmp"), &position(2).to_string()[..20]).unwrap();
    let file = FileCheckpoint::new(&path);
    assert_eq!(file.load().await.unwrap(), Some(position(1)));
    file.save(&position(3)).await.unwrap();
    assert_eq!(file.load().await.unwrap(), Some(position(3)));
}

/// Watches the file: it always has a whole line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_always_has_the_old_or_the_new_position() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door");
    let file = FileCheckpoint::new(&path);
    file.save(&position(1)).await.unwrap();
    let (watched, stop) = (path.clone(), Arc::new(AtomicBool::new(false)));
    let stopped = Arc::clone(&stop);
    let watcher = std::thread::spawn(move || {
        let mut seen = vec![Position::default()];
        while !stopped.load(Ordering::Relaxed) {
            let line = fs::read_to_string(&watched).unwrap();
            assert!(line.ends_with('\n'), "{line:?}");
            let position: Position = line.trim_end().parse().unwrap();
            let last = seen.last().unwrap();
            assert!(position.number() >= last.number(), "{position} after {last}");
            if position != *last {
                seen.push(position);
            }
        }
        seen.len()
    });
    for ordinal in 2..=300 {
        // An abandoned save never replaces a later one.
        if ordinal % 2 == 0 {
            let _ = file.save(&position(ordinal)).now_or_never();
        } else {
            file.save(&position(ordinal)).await.unwrap();
        }
    }
    file.save(&position(301)).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(watcher.join().unwrap() > 2);
    assert_eq!(file.load().await.unwrap(), Some(position(301)));
}

#[tokio::test]
async fn errors_name_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().display().to_string();
    let path = dir.path().join("door");
    for (content, cause) in [
        (&b""[..], "invalid argument: \"\" is not a position: it does not start with kvs1:"),
        (b"kvs1:123:45", "invalid argument: \"kvs1:123:45\" is not a position: a part is missing"),
        (
            b"kvs1:1:2:3:=\n\n",
            "invalid argument: \"kvs1:1:2:3:=\\n\" is not a position: the token has a line break or more than 1024 bytes",
        ),
        (b"\xFF\xFE", "invalid argument: \"\u{FFFD}\u{FFFD}\" is not a position: it does not start with kvs1:"),
    ] {
        fs::write(&path, content).unwrap();
        let error = FileCheckpoint::new(&path).load().await.unwrap_err();
        assert_eq!(error.to_string(), format!("invalid argument: {at}/door is not a checkpoint"));
        assert_eq!(error.source().unwrap().to_string(), cause);
    }
    // A file that is far too long is not read to its end.
    let endless = FileCheckpoint::new("/dev/zero").load().await.unwrap_err();
    assert_eq!(endless.to_string(), "invalid argument: /dev/zero is not a checkpoint");
    let folder = FileCheckpoint::new(dir.path());
    assert_eq!(folder.load().await.unwrap_err().to_string(), format!("I/O failed: reading the checkpoint {at} failed"));
    let error = folder.save(&position(1)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("I/O failed: writing the checkpoint {at} failed"));
    assert!(!error.is_retryable());
    // A file in the place of a folder is an error, even for root. A missing folder is created.
    let inside = FileCheckpoint::new(path.join("inside"));
    let error = inside.save(&position(1)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("I/O failed: writing the checkpoint {at}/door/inside failed"));
    assert_eq!(file_names(dir.path()), ["door"]);
    let deep = FileCheckpoint::new(dir.path().join("a/b/door"));
    deep.save(&position(1)).await.unwrap();
    assert_eq!(deep.load().await.unwrap(), Some(position(1)));
}

/// The file and the acknowledgements together, on real threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_after_the_last_acknowledged_fragment() {
    let dir = tempfile::tempdir().unwrap();
    let file = FileCheckpoint::new(dir.path().join("door"));
    let (fragments, acks) = stream::iter(first_fragments(200)).map(Ok).acknowledged(file.clone());
    let work = fragments.try_for_each_concurrent(8, |fragment| {
        let acks = acks.clone();
        async move {
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                // The consumer crashed before this fragment was done.
                if fragment.position() != position(150) {
                    acks.done(&fragment.position());
                }
            })
            .await
            .unwrap();
            Ok(())
        }
    });
    work.await.unwrap();
    assert_eq!(acks.close().await.unwrap(), Some(position(149)));
    assert_eq!(file.load().await.unwrap(), Some(position(149)));
}

/// A store with an interval between two saves.
#[derive(Clone, Default)]
struct Spaced(Slow);

impl CheckpointStore for Spaced {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        self.0.load()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        self.0.save(position)
    }

    fn save_interval(&self) -> Duration {
        Duration::from_secs(10)
    }
}

#[tokio::test(start_paused = true)]
async fn saves_are_spaced_and_the_last_one_is_not() {
    let store = Spaced::default();
    let second = |n: u32| async move {
        sleep(Duration::from_secs(1)).await;
        n
    };
    let paced =
        stream::iter(first_fragments(24)).zip(stream::iter(0..24).then(second)).map(|(fragment, _)| Ok(fragment));
    let (mut fragments, acks) = Box::pin(paced).acknowledged(store.clone());
    while let Some(fragment) = fragments.try_next().await.unwrap() {
        acks.done(&fragment.position());
    }
    let times: Vec<Instant> = store.0.saves.lock().unwrap().iter().map(|(time, _)| *time).collect();
    assert_eq!(times.len(), 3, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(10)), "{times:?}");
    let last = acks.close().await.unwrap();
    assert_eq!(last, Some(position(24)));
    assert_eq!(store.0.saved().last().cloned(), last);
}

/// A store that takes no more positions.
struct Lost(Arc<AtomicUsize>);

impl CheckpointStore for Lost {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        async { Ok(None) }.boxed()
    }

    fn save<'a>(&'a self, _: &'a Position) -> BoxFuture<'a, Result<()>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        async { Err(Error::new(ErrorKind::LeaseLost, "another worker has it")) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_is_not_saved_again() {
    let saves = Arc::new(AtomicUsize::new(0));
    let (mut fragments, acks) = stream::iter(first_fragments(24)).map(Ok).acknowledged(Lost(Arc::clone(&saves)));
    while let Some(fragment) = fragments.try_next().await.unwrap() {
        acks.done(&fragment.position());
        sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(saves.load(Ordering::SeqCst), 1);
    assert_eq!(acks.close().await.unwrap_err().kind(), ErrorKind::LeaseLost);
}

#[tokio::test]
async fn a_crash_before_the_first_acknowledgement_loses_nothing() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let door = endpoint.create_stream("door");
    let store = MemoryCheckpoint::default();
    // Without a start: with the newest fragment.
    let (mut fragments, acks) = kvs.live("door").checkpointed(store.clone());
    let pushed = async {
        while endpoint.calls(Operation::GetMedia, "door").is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        (1..=3).map(|n| push(&door, n)).collect::<Vec<FragmentNumber>>()
    };
    let (first, pushed) = tokio::join!(fragments.try_next(), pushed);
    assert_eq!(first.unwrap().unwrap().number(), Some(&pushed[0]));
    tokio::time::timeout(Duration::from_secs(30), async {
        while store.get().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("a position is saved");
    drop((fragments, acks));
    let (fragments, _acks) = kvs.live("door").until(Bound::Count(3)).checkpointed(store);
    let numbers: Vec<FragmentNumber> =
        fragments.map_ok(|fragment| fragment.number().unwrap().clone()).try_collect().await.unwrap();
    assert_eq!(numbers, pushed);
}

fn push(stream: &LocalStream, n: i16) -> FragmentNumber {
    let document = Document::new(Shape::Producer).video_track(1).block(1, n, true, b"coded");
    stream.push(&document).number.to_string().parse().unwrap()
}
