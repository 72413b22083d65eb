//! Reading stored fragments: requests, unavailable fragments, and how the stream ends.

use std::ops::RangeInclusive;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::{
    Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape, Stamp, TagNames, fragment_number,
};
use kinesis_video::{
    ArchiveFragments, Clock, Discontinuity, Error, ErrorKind, Fragment, FragmentEnd, FragmentNumber, KinesisVideo,
    Limits, OnUnavailable, Order, Timestamp,
};
use tokio::time::Instant;

use crate::support::bodies::numbers_of;
use crate::support::endpoint::attempts;

const START: i64 = 1_700_000_000_000;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn ever() -> RangeInclusive<Timestamp> {
    Timestamp::from_millis(0)..=at(1_000_000_000)
}

fn two_blocks(payload: usize) -> Document {
    Document::new(Shape::Producer).video_track(1).block(1, 0, true, &vec![7; payload]).block(1, 900, false, &[8; 30])
}

fn nth(n: u32) -> Stamp {
    let time = at(i64::from(n) * 1000);
    let number = fragment_number(n + 1, u64::try_from(time.as_millis()).unwrap());
    Stamp { number, server_time: time, producer_time: time }
}

/// An endpoint, and a stream with this number of fragments, one per second.
async fn world(fragments: u32) -> (LocalEndpoint, LocalStream, KinesisVideo) {
    world_with(fragments, Quotas::default(), |_| two_blocks(1000)).await
}

async fn world_with(
    fragments: u32,
    quotas: Quotas,
    document: impl Fn(u32) -> Document,
) -> (LocalEndpoint, LocalStream, KinesisVideo) {
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let stream = endpoint.create_stream("door");
    (0..fragments).for_each(|n| stream.push_stamped(&document(n), nth(n)));
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    (endpoint, stream, kvs)
}

fn stamped(range: impl IntoIterator<Item = u32>) -> Vec<FragmentNumber> {
    range.into_iter().map(|n| nth(n).number).collect()
}

/// Reads all fragments, and returns the error that ended the stream.
async fn until_error(mut archive: ArchiveFragments) -> (Vec<Fragment>, Option<Error>) {
    let mut fragments = Vec::new();
    loop {
        match archive.next().await {
            Some(Ok(fragment)) => fragments.push(fragment),
            Some(Err(error)) => {
                assert!(archive.next().await.is_none(), "an item after {error}");
                return (fragments, Some(error));
            }
            None => return (fragments, None),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_fragment_ends_the_stream_in_its_place() {
    let (endpoint, _door, kvs) = world(6).await;
    let unknown: FragmentNumber = "12345".parse().unwrap();
    let mut wanted = stamped(0..6);
    wanted.insert(3, unknown.clone());
    let start = Instant::now();
    let (fragments, error) =
        until_error(kvs.archive("door").numbers(wanted.clone()).retry(attempts(5)).fragments()).await;
    assert_eq!(numbers_of(&fragments), stamped(0..3));
    let error = error.unwrap();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("3000")));
    assert_eq!(error.position().fragment(), Some("12345"));
    assert_eq!(error.context().stream(), Some("door"));
    // The missing fragment is requested five times, with pauses. Others are requested once.
    assert!((Duration::from_millis(750)..Duration::from_secs(10)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(endpoint.calls(Operation::GetMediaForFragmentList, "door").len(), 5);

    let mut archive =
        kvs.archive("door").numbers(wanted).retry(attempts(2)).on_unavailable(OnUnavailable::Skip).fragments();
    let progress = archive.progress();
    let mut fragments: Vec<Fragment> = Vec::new();
    while let Some(fragment) = archive.try_next().await.unwrap() {
        fragments.push(fragment);
    }
    assert_eq!(numbers_of(&fragments), stamped(0..6));
    for (n, fragment) in fragments.iter().enumerate() {
        let passed = fragment.discontinuities().iter().find_map(|what| match what {
            Discontinuity::SkippedFragment { number, cause, .. } => Some((number.clone(), cause.kind())),
            _ => None,
        });
        assert_eq!(passed, (n == 3).then(|| (unknown.clone(), ErrorKind::NotFound)));
    }
    assert!(archive.trailing().is_empty());
    let progress = progress.borrow();
    assert_eq!((progress.fragments, progress.total_fragments, progress.unavailable), (7, Some(7), 1));
}

#[tokio::test(start_paused = true)]
async fn fragments_skipped_after_the_last_are_reported() {
    let (_endpoint, _door, kvs) = world(2).await;
    let wanted = stamped(0..2).into_iter().chain(["5".parse().unwrap(), "6".parse().unwrap()]);
    let mut archive =
        kvs.archive("door").numbers(wanted).retry(attempts(1)).on_unavailable(OnUnavailable::Skip).fragments();
    assert_eq!(numbers_of(&archive.by_ref().try_collect::<Vec<_>>().await.unwrap()), stamped(0..2));
    let trailing: Vec<_> = archive.trailing().iter().map(ToString::to_string).collect();
    assert!(trailing.len() == 2 && trailing[0].starts_with("fragment 5 skipped"), "{trailing:?}");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_fragment_is_yielded_up_to_the_damage() {
    let (_endpoint, door, kvs) = world(3).await;
    // A block declares more bytes than its Cluster has.
    let mut bytes = Document::new(Shape::Ffmpeg)
        .video_track(1)
        .block(1, 0, true, &[1; 100])
        .block(1, 40, false, &[2; 100])
        .to_bytes_without_trailer(&nth(3))
        .to_vec();
    let second = bytes.windows(100).position(|window| window == [2; 100]).unwrap();
    bytes[second - 6..second].fill(0);
    door.push_bytes(bytes, nth(3));
    (4..6).for_each(|n| door.push_stamped(&two_blocks(50), nth(n)));

    let (fragments, error) = until_error(kvs.archive("door").range(ever()).fragments()).await;
    assert_eq!(numbers_of(&fragments), stamped(0..4));
    assert_eq!(fragments[3].end_reason(), FragmentEnd::Cut);
    assert_eq!(fragments[3].packets().count(), 1, "its whole blocks");
    let error = error.unwrap();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!(error.position().fragment(), Some(nth(3).number.as_str()));

    let archive = kvs.archive("door").range(ever()).on_unavailable(OnUnavailable::Skip).fragments();
    let fragments: Vec<_> = archive.try_collect().await.unwrap();
    assert_eq!(numbers_of(&fragments), stamped(0..6));
    let passed = |fragment: &Fragment| {
        fragment.discontinuities().iter().any(|what| matches!(what, Discontinuity::SkippedFragment { .. }))
    };
    assert_eq!(fragments.iter().map(passed).collect::<Vec<_>>(), [false, false, false, false, true, false]);
}

#[tokio::test(start_paused = true)]
async fn a_fragment_beyond_the_limits_counts_as_damaged() {
    let (_endpoint, _door, kvs) =
        world_with(5, Quotas::default(), |n| two_blocks(if n == 2 { 100_000 } else { 100 })).await;
    let archive = || kvs.archive("door").range(ever()).limits(Limits::default().fragment_bytes(50_000));
    let (fragments, error) = until_error(archive().fragments()).await;
    assert!(fragments.len() <= 3 && numbers_of(&fragments)[..2] == stamped(0..2), "{fragments:?}");
    assert_eq!(error.unwrap().kind(), ErrorKind::Limit);
    let fragments: Vec<_> = archive().on_unavailable(OnUnavailable::Skip).fragments().try_collect().await.unwrap();
    let whole: Vec<_> = fragments.into_iter().filter(|fragment| fragment.end_reason() != FragmentEnd::Cut).collect();
    assert_eq!(numbers_of(&whole), stamped([0, 1, 3, 4]));
}

#[tokio::test(start_paused = true)]
async fn an_unusable_kms_key_ends_the_stream_at_once() {
    let (endpoint, _door, kvs) = world(10).await;
    let message = "KMS_KEY_ACCESS_DENIED".to_owned();
    endpoint.inject(
        Operation::GetMediaForFragmentList,
        None,
        InjectedFault::FaultAt { fragment: 4, id: 4500, message },
    );
    let archive = kvs.archive("door").range(ever()).on_unavailable(OnUnavailable::Skip).fragments();
    let (fragments, error) = until_error(archive).await;
    assert_eq!(numbers_of(&fragments), stamped(0..4));
    let error = error.unwrap();
    assert_eq!((error.kind(), error.code()), (ErrorKind::AccessDenied, Some("4500")));
    assert_eq!(endpoint.calls(Operation::GetMediaForFragmentList, "door").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn only_missing_fragments_are_requested_again() {
    for fault in [
        InjectedFault::CutAfter(30_000),
        InjectedFault::BreakOff(30_000),
        InjectedFault::EndAfter(20),
        InjectedFault::Stall { after: 30_000, pause: Duration::from_secs(3600) },
        InjectedFault::Omit(5),
    ] {
        let (endpoint, _door, kvs) = world(40).await;
        endpoint.inject(Operation::GetMediaForFragmentList, None, fault.clone());
        let archive = kvs.archive("door").range(ever()).fragments();
        let progress = archive.progress();
        let fragments: Vec<_> = archive.try_collect().await.unwrap();
        assert_eq!(numbers_of(&fragments), stamped(0..40), "{fault:?}");
        let bytes: u64 = fragments.iter().map(|fragment| fragment.raw().len() as u64).sum();
        let received = progress.borrow().received_bytes;
        // One fragment may have been partly received.
        assert!((bytes..bytes + 2000).contains(&received), "{fault:?}: {received} for {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn fragments_out_of_order_do_not_fill_the_buffer() {
    let quotas = Quotas::default().list_connections(Some(5));
    // The first fragment is large, so the estimate for the others is too.
    let (endpoint, _door, kvs) = world_with(200, quotas, |n| two_blocks(if n < 20 { 100 } else { 10_000 })).await;
    (0..1000).for_each(|n| endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::Shuffle(n)));
    let archive = kvs.archive("door").numbers(stamped(0..200)).buffer_bytes(60_000).connections(3).fragments();
    let progress = archive.progress();
    let mut most = 0;
    let read = archive.inspect_ok(|_| most = most.max(progress.borrow().held_bytes));
    assert_eq!(numbers_of(&read.try_collect::<Vec<_>>().await.unwrap()), stamped(0..200));
    assert!(most > 0 && most < 60_000 + 3 * 11_000, "{most} bytes were buffered");
    assert!(endpoint.fault_counts().shuffle > 0);
}

#[tokio::test]
async fn dropping_the_stream_closes_its_connections() {
    let quotas = Quotas::default().media_points(None);
    let (endpoint, door, _) = world_with(60, quotas, |_| two_blocks(1_000_000)).await;
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    // Each answer has more bytes than a connection buffers.
    let mut archive = kvs.archive("door").range(ever()).connections(3).fragments();
    archive.try_next().await.unwrap().unwrap();
    assert!(door.open_list_connections() > 0);
    drop(archive);
    let closed = async {
        while door.open_list_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn invalid_arguments_are_refused_before_any_call() {
    let (endpoint, _door, kvs) = world(3).await;
    let back = at(1)..=at(0);
    let position = |text: &str| text.parse().unwrap();
    let archives = [
        (kvs.archive("door"), "neither a range nor fragment numbers"),
        (kvs.archive("door").range(back.clone()), "after its end"),
        (kvs.archive("door").range(ever()).batch(0), "1 to 1000 fragments, not 0"),
        (kvs.archive("door").range(ever()).batch(1001), "1 to 1000 fragments, not 1001"),
        (kvs.archive("door").range(ever()).connections(0), "more than 0"),
        (kvs.archive("door").range(ever()).points_per_second(0), "more than 0"),
        (kvs.archive("door").range(ever()).retry(attempts(0)), "more than 0"),
        (kvs.archive("door").range(ever()).start_after(position("kvs1::5::")), "lacks the number or time"),
        (
            kvs.archive("door").range(ever()).order(Order::Time).start_after(position("kvs1:5:::")),
            "lacks the number or time",
        ),
        (kvs.archive("door").numbers(stamped(0..3)).start_after(position("kvs1:5:::")), "is not in the list"),
    ];
    for (archive, expected) in archives {
        let (fragments, error) = until_error(archive.fragments()).await;
        let error = error.unwrap();
        assert!(fragments.is_empty());
        assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains(expected), "{error}");
        assert_eq!(error.context().stream(), Some("door"));
    }
    for (list, expected) in [
        (kvs.list_fragments("door").range(back), "after its end"),
        (kvs.list_fragments("door").page_size(0), "1 to 1000"),
        (kvs.list_fragments("door").page_size(1001), "1 to 1000"),
    ] {
        let error = list.entries().try_collect::<Vec<_>>().await.unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains(expected), "{error}");
    }
    assert_eq!(endpoint.requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_empty_request_makes_no_call() {
    let (endpoint, _door, kvs) = world(3).await;
    assert!(kvs.archive("door").numbers([]).fragments().try_next().await.unwrap().is_none());
    assert!(kvs.archive("door").listed([]).fragments().try_next().await.unwrap().is_none());
    assert_eq!(endpoint.requests(), 0);
    // An empty range of a stream with retention.
    assert!(kvs.archive("door").range(at(-2000)..=at(-1000)).fragments().try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_retention_is_an_error() {
    let (_endpoint, door, kvs) = world(3).await;
    door.set_retention(Duration::ZERO);
    let error = kvs.archive("door").range(ever()).fragments().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retention);
    assert_eq!(
        error.to_string(),
        "not retained: nothing is listed: the stream has a retention of 0 hours, and can only be read live (stream door)"
    );
}

#[tokio::test(start_paused = true)]
async fn errors_of_both_calls_keep_the_services_code() {
    let cases = [
        ("ResourceNotFoundException", ErrorKind::NotFound, 1),
        ("InvalidArgumentException", ErrorKind::InvalidArgument, 1),
        ("NotAuthorizedException", ErrorKind::AccessDenied, 1),
        ("AccessDeniedException", ErrorKind::AccessDenied, 1),
        ("ExpiredTokenException", ErrorKind::AccessDenied, 1),
        ("ClientLimitExceededException", ErrorKind::Throttled, 3),
        ("ThrottlingException", ErrorKind::Throttled, 3),
        ("InternalFailure", ErrorKind::Service, 3),
        ("ServiceUnavailable", ErrorKind::Service, 3),
    ];
    for operation in [Operation::ListFragments, Operation::GetMediaForFragmentList] {
        for (name, kind, calls) in cases {
            let (endpoint, _door, kvs) = world(3).await;
            (0..5).for_each(|_| endpoint.inject(operation, None, InjectedFault::Refuse(name.into())));
            let error = kvs.archive("door").range(ever()).retry(attempts(3)).fragments().try_next().await.unwrap_err();
            assert_eq!((error.kind(), error.code()), (kind, Some(name)), "{operation:?}");
            // The client finds the rejected fragment by requesting fewer at a time.
            let is_about_one = (operation, kind) == (Operation::GetMediaForFragmentList, ErrorKind::InvalidArgument);
            assert_eq!(error.position().fragment().is_some(), operation == Operation::GetMediaForFragmentList);
            let calls = if is_about_one { calls + 3 } else { calls };
            assert!((1..=calls).contains(&endpoint.calls(operation, "door").len()), "{operation:?} {name}");
            let context = error.context();
            assert_eq!((context.stream(), context.endpoint()), (Some("door"), Some(endpoint.url())));
            assert!(context.request_id().is_some(), "{error}");
        }
        // The SDK reads the answer of a host that does not know the operation as an empty one.
        let (endpoint, _door, kvs) = world(3).await;
        (0..5).for_each(|_| endpoint.inject(operation, None, InjectedFault::UnknownOperation));
        let error = kvs.archive("door").range(ever()).retry(attempts(3)).fragments().try_next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongEndpoint, "{error}");
        assert_eq!(endpoint.calls(operation, "door").len(), 3);
        let fragments: Vec<_> = kvs.archive("door").range(ever()).fragments().try_collect().await.unwrap();
        assert_eq!(fragments.len(), 3, "after the endpoint knows the operation");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_repeats_its_pages_is_an_error() {
    let quotas = Quotas::default().metadata_points(None);
    let (endpoint, _door, kvs) = world_with(30, quotas, |_| two_blocks(10)).await;
    (0..5000).for_each(|_| endpoint.inject(Operation::ListFragments, None, InjectedFault::RepeatPage));
    let mut list = kvs.list_fragments("door").range(ever()).page_size(10).entries();
    let mut listed = 0;
    let error = loop {
        match list.try_next().await {
            Ok(info) => listed += u32::from(info.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!((listed, error.kind()), (10, ErrorKind::Service));
    assert!(error.to_string().contains("nothing new"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn pages_are_prefetched_as_configured() {
    for (prefetch, expected) in [(0, 1), (1, 2), (3, 4)] {
        let (endpoint, _door, kvs) = world(100).await;
        let mut list = kvs.list_fragments("door").range(ever()).page_size(10).prefetch(prefetch).entries();
        for _ in 0..8 {
            list.try_next().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        assert_eq!(endpoint.calls(Operation::ListFragments, "door").len(), expected, "{prefetch} ahead");
        assert_eq!(list.try_collect::<Vec<_>>().await.unwrap().len(), 92);
    }
}

#[tokio::test(start_paused = true)]
async fn fragments_just_stored_are_waited_for() {
    let quotas =
        Quotas::default().listed_after(Duration::from_millis(1000)).archived_after(Duration::from_millis(2500));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let door = endpoint.create_stream("door");
    let mut pushed = Vec::new();
    for _ in 0..5 {
        pushed.push(door.push(&two_blocks(10)).number);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let listed: Vec<_> = kvs.list_fragments("door").range(ever()).entries().try_collect().await.unwrap();
    assert!(listed.is_empty(), "the service does not list them yet");
    let fragments: Vec<_> = kvs
        .archive("door")
        .range(at(0)..=Timestamp::from_millis(4_000_000_000_000))
        .fragments()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(numbers_of(&fragments), pushed);
    assert!(endpoint.fault_counts().fault == 0, "no fault was injected");
}

#[tokio::test(start_paused = true)]
async fn both_tag_names_are_understood() {
    for tag_names in [TagNames::Documented, TagNames::Seen] {
        let (_endpoint, door, kvs) = world(4).await;
        door.set_archive_tag_names(tag_names);
        let mut wanted = stamped(0..4);
        wanted.push("77".parse().unwrap());
        let (fragments, error) = until_error(kvs.archive("door").numbers(wanted).retry(attempts(2)).fragments()).await;
        assert_eq!(numbers_of(&fragments), stamped(0..4));
        for (n, fragment) in (0..).zip(&fragments) {
            assert_eq!((fragment.server_time(), fragment.producer_time()), (Some(at(n * 1000)), Some(at(n * 1000))));
        }
        let error = error.unwrap();
        assert_eq!(
            (error.kind(), error.code(), error.position().fragment()),
            (ErrorKind::NotFound, Some("3000"), Some("77"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn gaps_and_new_sessions_are_reported_on_fragments() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let door = endpoint.create_stream("door");
    // One fragment per second, a gap of a minute, then the missing fragments, sent later.
    let times = [0, 1000, 2000, 62_000, 63_000, 3000, 4000];
    for (n, millis) in (0..).zip(times) {
        let stamp = Stamp { producer_time: at(millis), ..nth(n) };
        let document =
            two_blocks(10).cluster_time(u64::try_from(at(millis).as_millis()).unwrap()).block(1, 950, false, &[1]);
        door.push_stamped(&document, stamp);
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let said = async |order| {
        let archive = kvs.archive("door").range(ever()).clock(Clock::Producer).order(order).fragments();
        let fragments: Vec<_> = archive.try_collect().await.unwrap();
        let said = |fragment: &Fragment| {
            fragment.discontinuities().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        fragments.iter().map(said).collect::<Vec<_>>()
    };
    let by_number = said(Order::Number).await;
    assert!(
        by_number[3].starts_with("gap of 59") && by_number[5].starts_with("the timeline went back by 60s"),
        "{by_number:?}"
    );
    let by_time = said(Order::Time).await;
    assert!(by_time[..5].iter().all(String::is_empty) && by_time[5].starts_with("gap of 57"), "{by_time:?}");
}

/// All fragments before an error are yielded first, whatever the error and the call.
#[tokio::test(start_paused = true)]
async fn all_fragments_before_an_error_are_yielded_first() {
    // Without sizes, the last fragment of a body is known to be whole only by what follows.
    for has_sizes in [true, false] {
        for fault in [
            InjectedFault::FaultAt { fragment: 4, id: 4501, message: "KMS_KEY_DISABLED".into() },
            InjectedFault::Refuse("AccessDeniedException".into()),
        ] {
            let (endpoint, _door, kvs) = world(60).await;
            // The first call succeeds slowly. The second fails before it.
            endpoint.inject(
                Operation::GetMediaForFragmentList,
                None,
                InjectedFault::Trickle { bytes: 100, pause: Duration::from_millis(10) },
            );
            endpoint.inject(Operation::GetMediaForFragmentList, None, fault.clone());
            let archive = match has_sizes {
                true => kvs.archive("door").range(ever()),
                false => kvs.archive("door").numbers(stamped(0..60)),
            };
            let archive = archive.batch(10).connections(3).fragments();
            let progress = archive.progress();
            let (fragments, error) = until_error(archive).await;
            let expected = if matches!(fault, InjectedFault::Refuse(_)) { 10 } else { 14 };
            assert_eq!(numbers_of(&fragments), stamped(0..expected), "{fault:?}");
            assert_eq!(error.as_ref().unwrap().kind(), ErrorKind::AccessDenied, "{error:?}");
            assert_eq!(error.unwrap().position().fragment(), Some(nth(expected).number.as_str()));
            let progress = progress.borrow();
            assert_eq!(progress.position.as_ref().unwrap().number(), Some(&nth(expected - 1).number));
            assert_eq!(progress.error.as_ref().unwrap().kind(), ErrorKind::AccessDenied);
        }
    }
}

/// Failures of several calls at the same time count as one attempt.
#[tokio::test(start_paused = true)]
async fn simultaneous_failures_count_as_one_attempt() {
    for fault in [
        InjectedFault::Refuse("ThrottlingException".into()),
        InjectedFault::UnknownOperation,
        InjectedFault::CutAfter(0),
    ] {
        let (endpoint, _door, kvs) = world(60).await;
        (0..5).for_each(|_| endpoint.inject(Operation::GetMediaForFragmentList, None, fault.clone()));
        let fragments: Vec<_> =
            kvs.archive("door").range(ever()).batch(10).retry(attempts(2)).fragments().try_collect().await.unwrap();
        assert_eq!(numbers_of(&fragments), stamped(0..60), "{fault:?}");
        assert_eq!(endpoint.pending_faults(), 0);
    }
}

/// A cut fragment is yielded as cut, and reading does not resume after it.
#[tokio::test(start_paused = true)]
async fn a_cut_fragment_does_not_advance_the_position() {
    let (endpoint, _door, kvs) = world(5).await;
    let size = two_blocks(1000).to_bytes_without_trailer(&nth(0)).len() as u64;
    // The body breaks off in the third fragment each time, between two blocks, where it looks whole.
    endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::BreakOff(size * 3 - 41));
    (0..20).for_each(|_| endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::BreakOff(size - 41)));
    let archive = kvs.archive("door").range(ever()).retry(attempts(3)).fragments();
    let progress = archive.progress();
    let (fragments, error) = until_error(archive).await;
    assert_eq!(numbers_of(&fragments), stamped(0..3));
    assert_eq!(fragments.iter().map(Fragment::end_reason).collect::<Vec<_>>()[2], FragmentEnd::Cut);
    assert!(error.is_some());
    let saved = progress.borrow().position.clone().unwrap();
    assert_eq!(saved.number(), Some(&nth(1).number));
    let (endpoint, _door, kvs) = world(5).await;
    let rest: Vec<_> = kvs.archive("door").range(ever()).start_after(saved).fragments().try_collect().await.unwrap();
    assert_eq!(numbers_of(&rest), stamped(2..5));
    drop(endpoint);
}

/// The time that a consumer takes does not count for timeouts.
#[tokio::test]
async fn a_slow_consumer_causes_no_timeout() {
    let quotas = Quotas::default().media_points(None);
    let (endpoint, _, _) = world_with(300, quotas, |_| two_blocks(1000)).await;
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let timeout = Duration::from_millis(300);
    let mut archive = kvs.archive("door").range(ever()).batch(20).retry(attempts(1)).call_timeout(timeout).fragments();
    let mut read = Vec::new();
    while let Some(fragment) = archive.try_next().await.unwrap() {
        if read.len() % 60 == 10 {
            tokio::time::sleep(timeout * 2).await;
        }
        read.push(fragment);
    }
    assert_eq!(numbers_of(&read), stamped(0..300));
    assert_eq!(endpoint.calls(Operation::GetMediaForFragmentList, "door").len(), 15);

    let mut list =
        kvs.list_fragments("door").range(ever()).page_size(50).retry(attempts(1)).call_timeout(timeout).entries();
    let mut listed = 0;
    while list.try_next().await.unwrap().is_some() {
        if listed % 50 == 20 {
            tokio::time::sleep(timeout * 2).await;
        }
        listed += 1;
    }
    assert_eq!(listed, 300);
}

/// A service that rejects one number, and answers requests without it.
async fn odd_one(odd: &'static str, tail: fn() -> Vec<u8>) -> (KinesisVideo, crate::support::stand_in::Asked) {
    use crate::support::stand_in::{Answer, stand_in};

    stand_in(move |_, body| {
        let wanted: Vec<_> =
            body["Fragments"].as_array().unwrap().iter().map(|number| number.as_str().unwrap()).collect();
        if wanted.contains(&odd) {
            return Answer::refusal(400, "InvalidArgumentException", "Fragment numbers are invalid");
        }
        let documents = wanted.iter().map(|number| {
            let stamp = Stamp { number: number.parse().unwrap(), ..nth(0) };
            two_blocks(10).to_bytes_without_trailer(&stamp).to_vec()
        });
        let mut media = documents.collect::<Vec<_>>().concat();
        media.extend(tail());
        let mut answer = Answer::json(serde_json::Value::Null).with("content-type", "video/webm");
        answer.body = media.into();
        answer
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_rejected_number_does_not_affect_others() {
    let (kvs, _) = odd_one("999", Vec::new).await;
    let wanted: Vec<FragmentNumber> = (900..1020).map(|number: u32| number.to_string().parse().unwrap()).collect();
    let archive = || kvs.archive("door").numbers(wanted.clone());
    let read: Vec<_> = archive().on_unavailable(OnUnavailable::Skip).fragments().try_collect().await.unwrap();
    let others: Vec<_> = wanted.iter().filter(|number| number.as_str() != "999").cloned().collect();
    assert_eq!(numbers_of(&read), others);
    let (read, error) = until_error(archive().fragments()).await;
    assert_eq!(numbers_of(&read), wanted[..99]);
    let error = error.unwrap();
    assert_eq!((error.kind(), error.position().fragment()), (ErrorKind::InvalidArgument, Some("999")));
}

/// Faults about fragments that were not requested, or have been received, are ignored.
#[tokio::test(start_paused = true)]
async fn faults_about_other_fragments_are_ignored() {
    let tail = || {
        let about = |number: &str| Document::fault(3000, "FRAGMENT_NOT_FOUND", Some(&number.parse().unwrap())).to_vec();
        [about("1"), about("5"), about("901")].concat()
    };
    let (kvs, asked) = odd_one("none", tail).await;
    let wanted: Vec<FragmentNumber> = (900..960).map(|number: u32| number.to_string().parse().unwrap()).collect();
    let read: Vec<_> = kvs.archive("door").numbers(wanted.clone()).batch(7).fragments().try_collect().await.unwrap();
    assert_eq!(numbers_of(&read), wanted);
    let asked: usize = asked.bodies().iter().map(|body| body["Fragments"].as_array().unwrap().len()).sum();
    assert_eq!(asked, 60, "no fragment was requested twice");
}
