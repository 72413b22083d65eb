//! GetMedia of the local endpoint: selectors, quotas and injected faults.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape};
use kinesis_video::{Error, ErrorKind, Fragment, FragmentEnd, KinesisVideo, Start, Timestamp};

use crate::support::bodies::{CAPTURES, capture, fragments, ordinal_of, stamp};
use crate::support::endpoint::ends_soon;

async fn start(quotas: Quotas) -> (LocalEndpoint, KinesisVideo) {
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    (endpoint, kvs)
}

/// A fragment of 800 ms.
fn short_document() -> Document {
    (0..4)
        .fold(Document::new(Shape::Producer).video_track(1), |document, i| document.block(1, i * 200, i == 0, b"frame"))
}

/// Ten fragments of 800 ms, one per second.
fn ten(endpoint: &LocalEndpoint) -> LocalStream {
    let stream = endpoint.create_stream("ten");
    (1..=10).for_each(|ordinal| stream.push_stamped(&short_document(), stamp(ordinal)));
    stream
}

async fn ordinals(kvs: &KinesisVideo, start: Start) -> Vec<u32> {
    let fragments = kvs.live("ten").start(start).reconnect(false).fragments();
    fragments.map_ok(|fragment| ordinal_of(&fragment)).try_collect().await.unwrap()
}

#[tokio::test]
async fn every_selector_yields_the_right_fragments() {
    let (endpoint, kvs) = start(ends_soon()).await;
    let _stream = ten(&endpoint);
    let from = |first: u32| (first..=10).collect::<Vec<_>>();
    let number = |ordinal: u32| stamp(ordinal).number;
    // A number between the fourth and the fifth.
    let between = kinesis_video::local::fragment_number(4, 9_999_999_999_999);
    let server = |ordinal: u32, millis: i64| {
        Start::ServerTime(Timestamp::from_millis(stamp(ordinal).server_time.as_millis() + millis))
    };
    let producer = |ordinal: u32, millis: i64| {
        Start::ProducerTime(Timestamp::from_millis(stamp(ordinal).producer_time.as_millis() + millis))
    };
    let cases = [
        // NOW begins with the latest, EARLIEST with the oldest.
        (Start::Now, from(10)),
        (Start::Earliest, from(1)),
        // AfterFragmentNumber is exclusive.
        (Start::AfterFragment(number(1)), from(2)),
        (Start::AfterFragment(number(4)), from(5)),
        (Start::AfterFragment(between), from(5)),
        (Start::AfterFragment("1".parse().unwrap()), from(1)),
        (Start::AfterFragment(number(10)), vec![]),
        (Start::AfterFragment("9".repeat(48).parse().unwrap()), vec![]),
        // A token continues after its fragment.
        (Start::Token(number(4).to_string()), from(5)),
        (Start::Token(number(10).to_string()), vec![]),
        // A time selects the fragment that contains it or, in a gap, the next one.
        (server(4, 0), from(4)),
        (server(4, 1), from(4)),
        (server(4, 799), from(4)),
        (server(4, 800), from(5)),
        (server(4, 999), from(5)),
        (server(1, -60_000), from(1)),
        (server(10, 799), from(10)),
        (server(10, 800), vec![]),
        (server(10, 60_000), vec![]),
        (producer(4, 0), from(4)),
        (producer(4, 799), from(4)),
        (producer(4, 900), from(5)),
        (producer(1, -1), from(1)),
        (producer(10, 60_000), vec![]),
    ];
    for (start, expected) in cases {
        assert_eq!(ordinals(&kvs, start.clone()).await, expected, "{start:?}");
    }
}

#[tokio::test]
async fn a_start_after_the_newest_fragment_waits() {
    let (endpoint, kvs) = start(ends_soon().idle(Duration::from_secs(20))).await;
    let stream = ten(&endpoint);
    let mut fragments = kvs.live("ten").start(Start::AfterFragment(stamp(10).number)).reconnect(false).fragments();
    let next = tokio::spawn(async move { fragments.try_next().await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.push_stamped(&short_document(), stamp(11));
    assert_eq!(next.await.unwrap().unwrap().unwrap().number(), Some(&stamp(11).number));
}

#[tokio::test]
async fn an_idle_stream_ends_the_body_cleanly() {
    let (endpoint, kvs) = start(ends_soon()).await;
    endpoint.create_stream("ten");
    for start in [Start::Now, Start::Earliest] {
        assert!(kvs.live("ten").start(start).reconnect(false).fragments().try_next().await.unwrap().is_none());
    }
}

#[tokio::test]
async fn sessions_end_after_their_maximum_duration() {
    let (endpoint, kvs) = start(ends_soon().idle(Duration::from_secs(60)).session(Duration::from_millis(200))).await;
    let stream = ten(&endpoint);
    let fragments: Vec<_> =
        kvs.live("ten").start(Start::Earliest).reconnect(false).fragments().try_collect().await.unwrap();
    assert_eq!(fragments.len(), 10);
    assert_eq!(stream.open_connections(), 0);
}

#[tokio::test]
async fn a_fourth_connection_is_refused_and_the_others_continue() {
    let (endpoint, kvs) = start(Quotas::default().calls_per_second(None)).await;
    let stream = ten(&endpoint);
    let open = || kvs.live("ten").start(Start::Now).reconnect(false).fragments();
    let mut three = [open(), open(), open()];
    for fragments in &mut three {
        fragments.try_next().await.unwrap().unwrap();
    }
    assert_eq!(stream.open_connections(), 3);
    let error = open().try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::ConnectionLimit, Some("ConnectionLimitExceededException")));
    assert!(error.is_retryable());
    stream.push_stamped(&short_document(), stamp(11));
    for fragments in &mut three {
        assert_eq!(fragments.try_next().await.unwrap().unwrap().number(), Some(&stamp(11).number));
    }
    // Dropping a stream closes its connection, which frees a place.
    drop(three);
    tokio::time::timeout(Duration::from_secs(10), async {
        while stream.open_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("dropped bodies are closed");
    open().try_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn calls_are_limited_per_second_and_stream() {
    let (endpoint, kvs) = start(Quotas::default().connections(None)).await;
    ten(&endpoint).finish();
    let other = endpoint.create_stream("other");
    other.finish();
    // Each client has its own rate limit, as separate processes do.
    let kind = async || {
        let kvs = KinesisVideo::new(&endpoint.sdk_config());
        kvs.live("ten").reconnect(false).fragments().try_next().await.err().map(|error| error.kind())
    };
    for _ in 0..5 {
        assert_eq!(kind().await, None);
    }
    // However slow the machine is, some call is sooner than the limit allows.
    let mut refused = None;
    for _ in 0..100 {
        refused = refused.or(kind().await);
    }
    assert_eq!(refused, Some(ErrorKind::Throttled));
    assert!(kvs.live("other").reconnect(false).fragments().try_next().await.is_ok());
}

#[tokio::test]
async fn refusals_can_be_injected_by_name() {
    let (endpoint, kvs) = start(ends_soon()).await;
    ten(&endpoint).finish();
    for (name, kind, retryable) in [
        ("AccessDeniedException", ErrorKind::AccessDenied, false),
        ("ClientLimitExceededException", ErrorKind::Throttled, true),
        ("ConnectionLimitExceededException", ErrorKind::ConnectionLimit, true),
        ("ExpiredTokenException", ErrorKind::AccessDenied, false),
        ("IncompleteSignature", ErrorKind::AccessDenied, false),
        ("InternalFailure", ErrorKind::Service, true),
        ("InvalidArgumentException", ErrorKind::InvalidArgument, false),
        ("InvalidClientTokenId", ErrorKind::AccessDenied, false),
        ("NotAuthorizedException", ErrorKind::AccessDenied, false),
        ("ResourceNotFoundException", ErrorKind::NotFound, false),
        ("ServiceUnavailable", ErrorKind::Service, true),
        ("ThrottlingException", ErrorKind::Throttled, true),
    ] {
        endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse(name.into()));
        let error = kvs.live("ten").reconnect(false).fragments().try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.code(), error.is_retryable()), (kind, Some(name), retryable), "{error}");
        assert_eq!(error.context().stream(), Some("ten"));
    }
    assert_eq!(endpoint.pending_faults(), 0);
    assert_eq!(kvs.live("ten").start(Start::Earliest).reconnect(false).fragments().count().await, 10);
}

#[tokio::test]
async fn a_stale_endpoint_is_looked_up_again() {
    let (endpoint, kvs) = start(ends_soon()).await;
    ten(&endpoint).finish();
    assert!(kvs.live("ten").reconnect(false).fragments().try_next().await.unwrap().is_some());
    let before = endpoint.requests();
    endpoint.inject(Operation::GetMedia, Some("ten"), InjectedFault::StaleEndpoint);
    // The refused call, GetDataEndpoint, and GetMedia again.
    assert!(kvs.live("ten").reconnect(false).fragments().try_next().await.unwrap().is_some());
    assert_eq!(endpoint.requests() - before, 3);
}

#[tokio::test]
async fn an_unknown_operation_answers_200_without_media() {
    let (endpoint, kvs) = start(ends_soon()).await;
    ten(&endpoint).finish();
    // The first failure may be due to an endpoint that has moved.
    endpoint.inject(Operation::GetMedia, None, InjectedFault::UnknownOperation);
    assert!(kvs.live("ten").reconnect(false).fragments().try_next().await.unwrap().is_some());
    endpoint.inject(Operation::GetMedia, None, InjectedFault::UnknownOperation);
    endpoint.inject(Operation::GetMedia, None, InjectedFault::UnknownOperation);
    let error = kvs.live("ten").reconnect(false).fragments().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongEndpoint, "{error}");
    endpoint.inject(Operation::GetDataEndpoint, None, InjectedFault::UnknownOperation);
    let error = kvs.live("ten").reconnect(false).fragments().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongEndpoint, "{error}");
    // The error is final after some retries.
    assert!(kvs.live("ten").reconnect(false).fragments().try_next().await.is_ok());
}

/// Reads a body of ten fragments under a fault.
async fn with(fault: InjectedFault) -> (Vec<Fragment>, Option<Error>) {
    let (endpoint, kvs) = start(ends_soon()).await;
    ten(&endpoint).finish();
    endpoint.inject(Operation::GetMedia, None, fault);
    let mut stream = kvs.live("ten").start(Start::Earliest).reconnect(false).fragments();
    let mut fragments = Vec::new();
    while let Some(fragment) = stream.next().await {
        match fragment {
            Ok(fragment) => fragments.push(fragment),
            Err(error) => {
                assert!(stream.next().await.is_none());
                return (fragments, Some(error));
            }
        }
    }
    (fragments, None)
}

#[tokio::test]
async fn injected_faults_break_bodies() {
    let (whole, error) = with(InjectedFault::EndAfter(4)).await;
    assert!(error.is_none());
    assert_eq!(whole.len(), 4);
    let length = whole.iter().map(|fragment| fragment.raw().len() as u64).sum::<u64>();
    for fault in [InjectedFault::CutAfter(length + 700), InjectedFault::ResetAfter(length + 700)] {
        let (fragments, error) = with(fault.clone()).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Io, "{fault:?}: {error}");
        assert!(error.is_retryable());
        let ends: Vec<_> = fragments.iter().map(Fragment::end_reason).collect();
        assert_eq!(
            ends,
            [FragmentEnd::Trailer, FragmentEnd::Trailer, FragmentEnd::Trailer, FragmentEnd::Trailer, FragmentEnd::Cut],
            "{fault:?}"
        );
        assert!(fragments[4].raw().len() <= 701);
    }
}

#[tokio::test]
async fn injected_faults_delay_bodies() {
    for fault in [
        InjectedFault::Stall { after: 1500, pause: Duration::from_millis(50) },
        InjectedFault::Trickle { bytes: 333, pause: Duration::from_millis(1) },
    ] {
        let (fragments, error) = with(fault).await;
        assert!(error.is_none());
        assert_eq!(fragments.len(), 10);
        assert!(fragments.iter().all(|fragment| fragment.end_reason() == FragmentEnd::Trailer));
    }
}

#[tokio::test]
async fn injected_faults_falsify_bodies() {
    let (fragments, error) = with(InjectedFault::FaultAfter { fragments: 3, id: 4503, message: "KMS".into() }).await;
    let error = error.unwrap();
    assert_eq!(fragments.len(), 3);
    assert_eq!((error.kind(), error.code()), (ErrorKind::AccessDenied, Some("4503")));
    let second = fragments[0].raw().len() as u64;
    let (fragments, error) = with(InjectedFault::DamageAt(second)).await;
    assert_eq!((fragments.len(), error.unwrap().position().offset()), (1, Some(second)));
}

#[tokio::test]
async fn captures_keep_their_own_numbers_and_times() {
    let (endpoint, kvs) = start(ends_soon()).await;
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        endpoint.serve_payload(name, body.clone());
        endpoint.loop_media("looped", body.clone()).unwrap();
        let all = fragments(&body).await;
        let third = &all[2];
        for (start, expected) in [
            (Start::AfterFragment(third.number().unwrap().clone()), 3),
            (Start::Token(third.continuation_token().unwrap().into()), 3),
            (Start::ServerTime(third.server_time().unwrap()), 2),
            (Start::Now, all.len() - 1),
        ] {
            let received: Vec<_> =
                kvs.live(name).start(start.clone()).reconnect(false).fragments().try_collect().await.unwrap();
            let numbers = |fragments: &[Fragment]| fragments.iter().map(|f| f.number().cloned()).collect::<Vec<_>>();
            // Server times of uploads overlap, so the fragment that contains a time may have begun earlier.
            if matches!(start, Start::ServerTime(_)) {
                assert!(numbers(&received).contains(&third.number().cloned()), "{name}");
            } else {
                assert_eq!(numbers(&received), numbers(&all[expected..]), "{name} {start:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_break_between_fragments_is_an_error() {
    // No bytes follow, but the connection breaks instead of ending the body.
    let (endpoint, kvs) = start(ends_soon().idle(Duration::MAX).session(Duration::MAX)).await;
    let stream = endpoint.create_stream("ten");
    stream.push_stamped(&short_document(), stamp(1));
    for fault in [InjectedFault::CutAfter(0), InjectedFault::ResetAfter(0)] {
        endpoint.inject(Operation::GetMedia, None, fault);
        let error = kvs.live("ten").start(Start::Earliest).reconnect(false).fragments().try_next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
    }
    let length = kvs
        .live("ten")
        .start(Start::Earliest)
        .reconnect(false)
        .fragments()
        .try_next()
        .await
        .unwrap()
        .unwrap()
        .raw()
        .len();
    endpoint.inject(Operation::GetMedia, None, InjectedFault::CutAfter(length as u64));
    let mut fragments = kvs.live("ten").start(Start::Earliest).reconnect(false).fragments();
    assert_eq!(fragments.try_next().await.unwrap().unwrap().end_reason(), FragmentEnd::Trailer);
    assert_eq!(fragments.try_next().await.unwrap_err().kind(), ErrorKind::Io);
}

#[tokio::test]
async fn a_fault_waits_for_a_call_that_is_not_refused() {
    let (endpoint, kvs) = start(ends_soon().connections(Some(0))).await;
    ten(&endpoint);
    endpoint.inject(Operation::GetMedia, None, InjectedFault::EndAfter(1));
    assert_eq!(
        kvs.live("ten").reconnect(false).fragments().try_next().await.unwrap_err().kind(),
        ErrorKind::ConnectionLimit
    );
    assert_eq!(
        kvs.live("nobody").reconnect(false).fragments().try_next().await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(endpoint.pending_faults(), 1);
}

#[tokio::test]
async fn dropping_the_endpoint_breaks_unread_bodies() {
    let (endpoint, kvs) = start(ends_soon()).await;
    let stream = endpoint.create_stream("ten");
    stream.push_raw(vec![0x1A; 64 << 20]);
    let mut fragments = kvs.live("ten").start(Start::Earliest).reconnect(false).fragments();
    // Opens the connection, and fails on bytes that are no media.
    assert!(fragments.try_next().await.is_err());
    drop(fragments);
    let media = aws_sdk_kinesisvideomedia::Client::new(&endpoint.sdk_config());
    let selector = aws_sdk_kinesisvideomedia::types::StartSelector::builder()
        .start_selector_type(aws_sdk_kinesisvideomedia::types::StartSelectorType::Earliest)
        .build()
        .unwrap();
    let body = media.get_media().stream_name("ten").start_selector(selector).send().await.unwrap().payload;
    drop(endpoint);
    tokio::time::timeout(Duration::from_secs(10), async {
        while stream.open_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the unread body is closed");
    assert!(body.collect().await.is_err());
}

#[tokio::test]
async fn single_frames_can_be_looped() {
    let (endpoint, kvs) = start(ends_soon().idle(Duration::from_secs(10))).await;
    let media: Vec<u8> = (0..3)
        .flat_map(|n| {
            let document = Document::new(Shape::Ffmpeg).video_track(1).cluster_time(n * 40).block(1, 0, true, b"frame");
            document.to_bytes(&stamp(n as u32 + 1), 0)
        })
        .collect();
    endpoint.loop_media("frames", media).unwrap();
    let fragments: Vec<_> =
        kvs.live("frames").start(Start::Earliest).reconnect(false).fragments().take(4).try_collect().await.unwrap();
    let times: Vec<_> = fragments.iter().map(|fragment| fragment.producer_time().unwrap().as_millis()).collect();
    assert_eq!(times.iter().map(|time| time - times[0]).collect::<Vec<_>>(), [0, 40, 80, 120]);
}
