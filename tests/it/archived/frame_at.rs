//! The stored fragment and the picture at a time.

use std::time::Duration;

use fastrand::Rng;
use futures::TryStreamExt;
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, LocalStream, Operation};
use kinesis_video::{
    Archive, Clock, ErrorKind, FragmentEnd, FragmentStreamExt, Frame, KinesisVideo, OnUnavailable, Timestamp,
};

use crate::support::bodies::{connect_document, stamp_at};
use crate::support::endpoint::{attempts, unlimited};
use crate::support::footage::{document, footage, fragment, groups, hash, packets};
use crate::support::rounds::rounds;
use crate::support::stills::{AHEAD, BASE, at, at_nanos, h264, store};

struct World {
    endpoint: LocalEndpoint,
    door: LocalStream,
    kvs: KinesisVideo,
}

impl World {
    async fn new() -> Self {
        let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
        let door = endpoint.create_stream("door");
        let kvs = KinesisVideo::new(&endpoint.in_process_config());
        Self { endpoint, door, kvs }
    }

    fn archive(&self) -> Archive {
        self.kvs.archive("door").clock(Clock::Producer)
    }

    /// The calls of this operation since the last time.
    fn calls(&self, operation: Operation, seen: &mut usize) -> usize {
        let all = self.endpoint.calls(operation, "door").len();
        all - std::mem::replace(seen, all)
    }
}

/// Six groups of a second, of 25 pictures each.
async fn six_seconds(parameters: &'static str) -> Vec<Document> {
    groups(&fragment(&footage("testsrc2=size=160x96:rate=25:duration=6", &h264(parameters))).await)
}

const CLOSED: &str = "keyint=25:min-keyint=25:scenecut=0:bframes=2";
const OPEN: &str = "keyint=25:min-keyint=25:scenecut=0:bframes=3:b-adapt=0:open-gop=1";

fn identity(frame: &Frame) -> (Option<String>, u32, i64, String) {
    let info = frame.info();
    (info.fragment().number().map(ToString::to_string), info.index(), info.timecode_ns(), hash(frame))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_is_that_of_decoding_the_whole() {
    for parameters in [CLOSED, OPEN] {
        let world = World::new().await;
        store(&world.door, &six_seconds(parameters).await).await;
        let whole = world.archive().range(at(-1000)..=at(10_000)).fragments().frames();
        let whole: Vec<Frame> = whole.try_collect().await.unwrap();
        assert!(whole.len() > 130);
        let mut rng = Rng::with_seed(7);
        let (mut lists, mut fetches) = (0, 0);
        world.calls(Operation::ListFragments, &mut lists);
        world.calls(Operation::GetMediaForFragmentList, &mut fetches);
        for round in 0..rounds(100) {
            let time = match round % 2 {
                0 => at_nanos(rng.i64(at(-100).as_nanos()..at(6500).as_nanos())),
                _ => whole[rng.usize(..whole.len())].info().producer_time().unwrap(),
            };
            let shown = |frame: &&Frame| frame.info().producer_time().unwrap() <= time;
            let expected = whole.iter().filter(shown).max_by_key(|frame| frame.info().producer_time());
            let found = world.archive().frame_at(time).await.unwrap();
            assert_eq!(found.as_ref().map(identity), expected.map(identity), "{parameters} {time}");
            // One page, and one fragment.
            assert_eq!(world.calls(Operation::ListFragments, &mut lists), 1);
            assert_eq!(world.calls(Operation::GetMediaForFragmentList, &mut fetches), usize::from(time >= at(0)));
            // On the service's clock, the same picture is shown later.
            let later = Timestamp::from_millis(time.as_millis() + AHEAD);
            let found = world.kvs.archive("door").frame_at(later).await.unwrap();
            let time = Timestamp::from_millis(time.as_millis());
            let shown = |frame: &&Frame| frame.info().producer_time().unwrap() <= time;
            let expected = whole.iter().filter(shown).max_by_key(|frame| frame.info().producer_time());
            assert_eq!(found.as_ref().map(identity), expected.map(identity), "{parameters} {later}");
            world.calls(Operation::ListFragments, &mut lists);
            world.calls(Operation::GetMediaForFragmentList, &mut fetches);
        }
    }
}

#[tokio::test]
async fn the_fragment_is_the_last_that_starts_at_or_before_the_time() {
    let world = World::new().await;
    let documents = six_seconds(CLOSED).await;
    // Out of order, uploaded twice, and with a gap.
    for (n, start, place) in [(1, 4000, 0), (2, 0, 1), (3, 2000, 2), (4, 2000, 3), (5, 60_000, 4)] {
        world.door.push_stamped(&documents[place], stamp_at(n, BASE + i64::from(n) * 10_000, BASE + start));
    }
    let numbers: Vec<_> = (1..=5).map(|n| stamp_at(n, BASE + i64::from(n) * 10_000, 0).number).collect();
    let found = async |millis: i64| {
        let fragment = world.archive().fragment_at(at(millis)).await.unwrap()?;
        Some(1 + numbers.iter().position(|number| Some(number) == fragment.number()).unwrap())
    };
    for (millis, expected) in [
        (-1, None),
        (0, Some(2)),
        (1999, Some(2)),
        (2000, Some(4)),
        (3999, Some(4)),
        (4000, Some(1)),
        (24_000, Some(1)),
        (24_001, None),
        (59_999, None),
        (60_000, Some(5)),
        (80_000, Some(5)),
        (80_001, None),
    ] {
        assert_eq!(found(millis).await, expected, "{millis}");
        let frame = world.archive().frame_at(at(millis)).await.unwrap();
        assert_eq!(frame.is_some(), expected.is_some(), "{millis}");
    }
    // By the service's clock, in the order of their arrival.
    let fragment = world.kvs.archive("door").fragment_at(at(35_000)).await.unwrap().unwrap();
    assert_eq!(fragment.number(), Some(&numbers[2]));
    // Of part of a millisecond, the start is rounded up and the end down.
    assert!(world.archive().fragment_at(at_nanos(at(24_000).as_nanos() + 1)).await.unwrap().is_none());
    assert!(world.archive().fragment_at(at_nanos(at(0).as_nanos() - 1)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_fragment_without_a_picture_up_to_the_time_is_passed_over() {
    let world = World::new().await;
    let file = fragment(&footage("testsrc2=size=160x96:rate=25:duration=2", &h264(CLOSED))).await;
    let all = packets(&file);
    let second = all[25..].iter().fold(document(&file, &[]).cluster_time(800), |document, packet| {
        let relative = packet.timecode_ns() / 1_000_000 - 800;
        document.block(1, i16::try_from(relative).unwrap(), packet.is_key(), packet.payload())
    });
    store(&world.door, &[document(&file, &all[..19]), second]).await;
    let (mut lists, mut fetches) = (0, 0);
    for (millis, timecode, calls) in [(700, 680, 1), (800, 720, 2), (999, 720, 2), (1000, 1000, 1)] {
        let frame = world.archive().frame_at(at(millis)).await.unwrap().unwrap();
        assert_eq!(frame.info().timecode_ns() / 1_000_000, timecode, "{millis}");
        assert_eq!(world.calls(Operation::GetMediaForFragmentList, &mut fetches), calls, "{millis}");
        assert_eq!(world.calls(Operation::ListFragments, &mut lists), 1);
    }
    // Without video, there is no picture.
    let call = world.endpoint.create_stream("call");
    call.push_stamped(&connect_document(1), stamp_at(1, BASE, BASE));
    let archive = world.kvs.archive("call");
    assert!(archive.clone().frame_at(at(500)).await.unwrap().is_none());
    assert_eq!(archive.fragment_at(at(500)).await.unwrap().unwrap().packets().count(), 34);
}

#[tokio::test]
async fn failures_are_those_of_listing_and_fetching() {
    let world = World::new().await;
    assert!(world.archive().frame_at(at(0)).await.unwrap().is_none());
    let documents = six_seconds(CLOSED).await;
    store(&world.door, &documents).await;
    let quick = attempts(2).initial_backoff(Duration::from_millis(1));
    let inject = |operation, fault| world.endpoint.inject(operation, Some("door"), fault);
    for operation in [Operation::ListFragments, Operation::GetMediaForFragmentList] {
        inject(operation, InjectedFault::Refuse("InternalFailure".into()));
        assert!(world.archive().retry(quick).frame_at(at(500)).await.unwrap().is_some());
        inject(operation, InjectedFault::Refuse("AccessDeniedException".into()));
        let error = world.archive().frame_at(at(500)).await.unwrap_err();
        assert_eq!((error.kind(), error.context().stream()), (ErrorKind::AccessDenied, Some("door")));
    }
    assert_eq!(world.endpoint.pending_faults(), 0);
    let error = world.archive().batch(0).fragment_at(at(500)).await.unwrap_err();
    assert_eq!((error.kind(), error.context().stream()), (ErrorKind::InvalidArgument, Some("door")));
    let error = world.kvs.archive("nobody").frame_at(at(500)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.door.set_retention(Duration::ZERO);
    let error = world.archive().frame_at(at(500)).await.unwrap_err();
    assert_eq!((error.kind(), error.context().stream()), (ErrorKind::Retention, Some("door")));
}

#[tokio::test]
async fn an_unavailable_fragment_is_treated_as_the_option_says() {
    let world = World::new().await;
    store(&world.door, &six_seconds(CLOSED).await).await;
    let archive = |on_unavailable| world.archive().retry(attempts(1)).on_unavailable(on_unavailable);
    let found = async |fault: InjectedFault, on_unavailable| {
        world.endpoint.inject(Operation::GetMediaForFragmentList, Some("door"), fault);
        let found = archive(on_unavailable).fragment_at(at(2500)).await;
        assert_eq!(world.endpoint.pending_faults(), 0);
        found
    };
    let missing = || InjectedFault::Omit(0);
    assert_eq!(found(missing(), OnUnavailable::Fail).await.unwrap_err().kind(), ErrorKind::NotFound);
    let before = found(missing(), OnUnavailable::Skip).await.unwrap().unwrap();
    assert_eq!(before.producer_time(), Some(at(1000)));
    // The readable part does not hide the error.
    let cut = || InjectedFault::BreakOff(3000);
    assert!(found(cut(), OnUnavailable::Fail).await.is_err());
    let part = found(cut(), OnUnavailable::Skip).await.unwrap().unwrap();
    assert_eq!((part.producer_time(), part.end_reason()), (Some(at(2000)), FragmentEnd::Cut));
}
