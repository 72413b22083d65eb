//! Finding the newest stored fragment.

use std::time::Duration;

use kinesis_video::local::{InjectedFault, LocalEndpoint, LocalStream, Operation, Stamp, fragment_number};
use kinesis_video::{Clock, ErrorKind, FragmentList, KinesisVideo, Timestamp};

use crate::support::bodies::producer_document;
use crate::support::endpoint::{attempts, now_millis, time, unlimited};

const HOUR: i64 = 3_600_000;

async fn start() -> (LocalEndpoint, LocalStream, FragmentList) {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    (endpoint, door, kvs.list_fragments("door"))
}

/// Stores a fragment with these times, in milliseconds.
fn store(stream: &LocalStream, ordinal: u32, server: i64, producer: i64) {
    let number = fragment_number(ordinal, u64::try_from(server).unwrap());
    let stamp = Stamp { number, server_time: time(server), producer_time: time(producer) };
    stream.push_stamped(&producer_document(ordinal), stamp);
}

async fn newest(list: &FragmentList, clock: Clock) -> Option<Timestamp> {
    list.clone().clock(clock).newest().await.unwrap().map(|info| info.time(clock).unwrap())
}

#[tokio::test]
async fn a_stream_that_is_sending_costs_one_call() {
    let (endpoint, door, list) = start().await;
    let now = now_millis();
    for n in 1..=30 {
        store(&door, n, now - 31_000 + i64::from(n) * 1000, now);
    }
    let found = list.newest().await.unwrap().unwrap();
    assert_eq!(found.number(), &fragment_number(30, u64::try_from(now - 1000).unwrap()));
    assert_eq!(endpoint.calls(Operation::ListFragments, "door").len(), 1);
    assert!(endpoint.calls(Operation::DescribeStream, "door").is_empty());
}

#[tokio::test]
async fn fragments_of_any_age_are_found_on_either_clock() {
    for age in [-HOUR, 0, HOUR, 30 * HOUR, 400 * HOUR, 80_000 * HOUR] {
        let (_endpoint, door, list) = start().await;
        let newest_time = now_millis() - age;
        // The producer's clock is a day slow, and the last that was sent is not the last that was recorded.
        for n in 1..=40 {
            let server = newest_time - (40 - i64::from(n)) * 7000;
            store(&door, n, server, if n == 20 { server } else { server - 24 * HOUR });
        }
        let twentieth = time(newest_time - 20 * 7000);
        for page_size in [1, 7, 1000] {
            let list = list.clone().page_size(page_size);
            assert_eq!(newest(&list, Clock::Server).await, Some(time(newest_time)), "{age} {page_size}");
            assert_eq!(newest(&list, Clock::Producer).await, Some(twentieth), "{age} {page_size}");
        }
    }
}

#[tokio::test]
async fn a_producer_whose_clock_is_years_ahead_is_found() {
    let (_endpoint, door, list) = start().await;
    let now = now_millis();
    store(&door, 1, now, now + 40_000 * HOUR);
    store(&door, 2, now + 10, now);
    assert_eq!(newest(&list, Clock::Producer).await, Some(time(now + 40_000 * HOUR)));
    assert_eq!(newest(&list, Clock::Server).await, Some(time(now + 10)));
}

#[tokio::test]
async fn a_range_is_kept_to() {
    let (_endpoint, door, list) = start().await;
    let first = 1_700_000_000_000;
    for n in 0..100 {
        store(&door, n, first + i64::from(n) * HOUR, first);
    }
    let within = |start, end| list.clone().page_size(3).range(time(start)..=time(end)).newest();
    for (end, expected) in [(first + 50 * HOUR, 50), (first + 51 * HOUR - 1, 50), (first + 900 * HOUR, 99)] {
        let found = within(first, end).await.unwrap().unwrap();
        assert_eq!(found.server_time(), Some(time(first + expected * HOUR)));
    }
    // Of several with the same time, the largest number is the newest.
    store(&door, 200, first, first);
    assert!(within(first, first).await.unwrap().unwrap().number() > &fragment_number(199, first as u64));
    assert_eq!(within(first + 1, first + HOUR - 1).await.unwrap(), None);
    assert_eq!(within(first, first - 1).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn nothing_stored_is_none_and_no_retention_an_error() {
    let (endpoint, door, list) = start().await;
    assert_eq!(list.clone().newest().await.unwrap(), None);
    let calls = endpoint.calls(Operation::ListFragments, "door").len();
    assert!(calls <= 11, "{calls}");
    assert_eq!(endpoint.calls(Operation::DescribeStream, "door").len(), 1);
    // The service refuses windows before the retention: the search ends there.
    store(&door, 1, now_millis() - 50 * HOUR, 0);
    door.set_retention(Duration::from_secs(7200));
    assert_eq!(list.clone().newest().await.unwrap(), None);
    let second = endpoint.calls(Operation::ListFragments, "door").len() - calls;
    assert!(second < calls, "{second}");
    door.set_retention(Duration::ZERO);
    let error = list.clone().newest().await.unwrap_err();
    assert_eq!((error.kind(), error.context().stream()), (ErrorKind::Retention, Some("door")));
    // Without the permission to describe the stream, the search goes on.
    let refused = InjectedFault::Refuse("AccessDeniedException".into());
    endpoint.inject(Operation::DescribeStream, None, refused);
    assert_eq!(list.newest().await.unwrap(), None);
}

#[tokio::test]
async fn failures_are_those_of_a_listing() {
    let (endpoint, door, list) = start().await;
    let now = now_millis();
    store(&door, 1, now, now);
    let quick = attempts(2).initial_backoff(Duration::from_millis(1));
    let refuse = |name: &str| endpoint.inject(Operation::ListFragments, None, InjectedFault::Refuse(name.into()));
    refuse("InternalFailure");
    assert!(list.clone().retry(quick).newest().await.unwrap().is_some());
    refuse("AccessDeniedException");
    let error = list.clone().newest().await.unwrap_err();
    assert_eq!((error.kind(), error.context().stream()), (ErrorKind::AccessDenied, Some("door")));
    // Empty pages and repeated ones are read over.
    endpoint.inject(Operation::ListFragments, None, InjectedFault::EmptyPage);
    endpoint.inject(Operation::ListFragments, None, InjectedFault::RepeatPage);
    assert!(list.clone().newest().await.unwrap().is_some());
    assert_eq!(endpoint.pending_faults(), 0);
    let error = list.page_size(0).newest().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let nobody = KinesisVideo::new(&endpoint.in_process_config()).list_fragments("nobody");
    assert_eq!(nobody.newest().await.unwrap_err().kind(), ErrorKind::NotFound);
}
