//! Resuming at the local endpoint, under paused and wrong clocks.

use std::time::{Duration, SystemTime};

use aws_sdk_kinesisvideomedia::config::StalledStreamProtectionConfig;
use aws_sdk_kinesisvideomedia::operation::get_media::GetMediaOutput;
use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use futures::TryStreamExt;
use kinesis_video::local::{Document, Expired, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape};
use kinesis_video::{BodyStream, Error, Fragment, FragmentNumber, FragmentStream, Timestamp};
use tokio::time::Instant;

use crate::support::bodies::stamp;
use crate::support::endpoint::{ends_soon, http_with_headers};

fn two_frames() -> Document {
    Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"frame").block(1, 500, false, b"frame")
}

fn after(number: &FragmentNumber) -> StartSelector {
    StartSelector::builder()
        .start_selector_type(StartSelectorType::FragmentNumber)
        .after_fragment_number(number.as_str())
        .build()
        .unwrap()
}

fn earliest() -> StartSelector {
    StartSelector::builder().start_selector_type(StartSelectorType::Earliest).build().unwrap()
}

fn token(number: &FragmentNumber) -> StartSelector {
    StartSelector::builder()
        .start_selector_type(StartSelectorType::ContinuationToken)
        .continuation_token(number.as_str())
        .build()
        .unwrap()
}

/// A client without retries.
fn client(config: &aws_config::SdkConfig) -> aws_sdk_kinesisvideomedia::Client {
    let config = aws_sdk_kinesisvideomedia::config::Builder::from(config)
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    aws_sdk_kinesisvideomedia::Client::from_conf(config)
}

/// Calls GetMedia, and returns the code of a refusal.
async fn get(
    client: &aws_sdk_kinesisvideomedia::Client,
    stream: &str,
    selector: StartSelector,
) -> Result<GetMediaOutput, String> {
    use aws_sdk_kinesisvideomedia::error::ProvideErrorMetadata;
    let sent = client.get_media().stream_name(stream).start_selector(selector).send().await;
    sent.map_err(|error| error.code().map_or_else(|| format!("{error:?}"), str::to_owned))
}

#[tokio::test]
async fn fragments_are_stamped_by_the_endpoints_clock() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    let stream = endpoint.create_stream("door");
    for offset in [0, 90_000, -3_600_000] {
        endpoint.set_clock_offset(offset);
        let before = Timestamp::from(SystemTime::now()).as_millis();
        let stamp = stream.push(&two_frames());
        let ahead = stamp.server_time.as_millis() - before;
        assert!((offset - 1_000..offset + 20_000).contains(&ahead), "{ahead}");
        assert_eq!(stamp.producer_time, stamp.server_time);
    }
}

#[tokio::test]
async fn every_answer_has_a_date_header() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    let now = Timestamp::from(SystemTime::now()).as_millis();
    endpoint.set_clock_offset(784_108_800_000 - now);
    let answer = list_streams(&endpoint, "").await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("\r\ndate: sun, 06 nov 1994 08:0"), "{answer}");
    assert_eq!(answer.matches("\r\ndate: ").count(), 1, "{answer}");
}

#[tokio::test]
async fn requests_signed_at_another_time_are_refused() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("door").finish();
    for (offset, refused) in [(0, false), (870_000, false), (960_000, true), (-870_000, false), (-960_000, true)] {
        endpoint.set_clock_offset(offset);
        let media = client(&endpoint.sdk_config());
        let result = get(&media, "door", earliest()).await;
        assert_eq!(result.err(), refused.then(|| "RequestExpired".to_owned()), "{offset}");
        // The SDK has learned the difference of the clocks from the answer's date.
        assert!(get(&media, "door", earliest()).await.is_ok());
    }
    let answer = list_streams(&endpoint, "x-amz-date: 20010101T000000Z\r\n").await;
    assert!(answer.starts_with("http/1.1 400") && answer.contains("requestexpired"), "{answer}");
    for headers in ["", "x-amz-date: yesterday\r\n"] {
        assert!(list_streams(&endpoint, headers).await.starts_with("http/1.1 200"));
    }
    let endpoint = LocalEndpoint::start_with(0, ends_soon().clock_tolerance(None)).await.unwrap();
    assert!(list_streams(&endpoint, "x-amz-date: 20010101T000000Z\r\n").await.starts_with("http/1.1 200"));
}

/// Calls ListStreams over a bare socket, and returns the answer in lower case.
async fn list_streams(endpoint: &LocalEndpoint, headers: &str) -> String {
    http_with_headers(endpoint, "POST", "/listStreams", headers, "").await.1.to_lowercase()
}

/// Creates a stream of ten fragments.
fn ten(endpoint: &LocalEndpoint) -> LocalStream {
    let stream = endpoint.create_stream("ten");
    (0..10).for_each(|_| drop(stream.push(&two_frames())));
    stream
}

/// Reads the fragments of a body, and the error that ended it.
async fn read(output: GetMediaOutput) -> (Vec<Fragment>, Option<Error>) {
    let mut stream = FragmentStream::from_byte_stream(output.payload);
    let mut fragments = Vec::new();
    loop {
        match stream.try_next().await {
            Ok(Some(fragment)) => fragments.push(fragment),
            Ok(None) => return (fragments, None),
            Err(error) => return (fragments, Some(error)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn idle_bodies_end_under_a_paused_clock() {
    let began = SystemTime::now();
    let endpoint = LocalEndpoint::start().await.unwrap();
    let stream = ten(&endpoint);
    let media = client(&endpoint.in_process_config());
    let start = Instant::now();
    let (fragments, error) = read(get(&media, "ten", earliest()).await.unwrap()).await;
    assert!(error.is_none());
    assert_eq!(fragments.len(), 10);
    assert_eq!(start.elapsed().as_millis(), 3_000);
    assert_eq!(stream.open_connections(), 0);
    // A body that is never idle ends after the maximum duration of a session.
    let feed = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stream.push(&two_frames());
        }
    };
    let start = Instant::now();
    let read = read(get(&media, "ten", earliest()).await.unwrap());
    let (fragments, error) = tokio::select! {
        read = read => read,
        () = feed => unreachable!(),
    };
    assert!(error.is_none());
    assert!((2_700..2_720).contains(&fragments.len()), "{}", fragments.len());
    assert_eq!(start.elapsed().as_secs(), 45 * 60);
    let stamps: Vec<_> =
        fragments.iter().skip(10).map(|fragment| fragment.server_time().unwrap().as_millis()).collect();
    assert!(stamps.windows(2).all(|pair| pair[1] - pair[0] == 1_000), "{stamps:?}");
    // A request signed an hour later is not too old for the endpoint's clock.
    assert!(get(&media, "ten", earliest()).await.is_ok());
    assert!(
        client(&endpoint.in_process_config())
            .get_media()
            .stream_name("ten")
            .start_selector(earliest())
            .send()
            .await
            .is_ok()
    );
    assert!(began.elapsed().unwrap() < Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn body_faults_are_the_same_in_process_and_over_sockets() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    let stream = ten(&endpoint);
    let media = client(&endpoint.in_process_config());
    let length = read(get(&media, "ten", earliest()).await.unwrap()).await.0[0].raw().len() as u64;
    for fault in [
        InjectedFault::CutAfter(length + 100),
        InjectedFault::ResetAfter(length + 100),
        InjectedFault::CutAfter(0),
        InjectedFault::ResetAfter(0),
    ] {
        endpoint.inject(Operation::GetMedia, None, fault.clone());
        let (fragments, error) = read(get(&media, "ten", earliest()).await.unwrap()).await;
        let error = error.unwrap_or_else(|| panic!("{fault:?} is an error"));
        assert_eq!(error.kind(), kinesis_video::ErrorKind::Io, "{fault:?}: {error}");
        let whole = !matches!(fault, InjectedFault::CutAfter(0) | InjectedFault::ResetAfter(0));
        assert_eq!(fragments.len(), if whole { 2 } else { 0 }, "{fault:?}");
        assert_eq!(stream.open_connections(), 0);
    }
    // Nothing is yielded after a reset.
    endpoint.inject(Operation::GetMedia, None, InjectedFault::ResetAfter(10));
    let mut payload = get(&media, "ten", earliest()).await.unwrap().payload;
    assert_eq!(payload.next().await.unwrap().unwrap().len(), 10);
    assert!(payload.next().await.unwrap().is_err());
    assert!(payload.next().await.is_none_or(|end| end.is_err()));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_is_closed_at_once() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let stream = ten(&endpoint);
    let media = client(&endpoint.in_process_config());
    let mut bodies = Vec::new();
    for _ in 0..3 {
        bodies.push(get(&media, "ten", earliest()).await.unwrap());
    }
    assert_eq!(stream.open_connections(), 3);
    assert_eq!(get(&media, "ten", earliest()).await.unwrap_err(), "ConnectionLimitExceededException");
    bodies.pop();
    assert_eq!(stream.open_connections(), 2);
    assert!(get(&media, "ten", earliest()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_endpoint_breaks_bodies_in_process() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let stream = ten(&endpoint);
    let media = client(&endpoint.in_process_config());
    let unread = get(&media, "ten", earliest()).await.unwrap();
    let waiting = tokio::spawn(read(get(&media, "ten", earliest()).await.unwrap()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(endpoint);
    let (fragments, error) = waiting.await.unwrap();
    assert_eq!((fragments.len(), error.unwrap().kind()), (10, kinesis_video::ErrorKind::Io));
    let mut items = BodyStream::from_byte_stream(unread.payload);
    assert!(items.try_next().await.is_err());
    assert_eq!(stream.open_connections(), 0);
    let error = get(&media, "ten", earliest()).await.unwrap_err();
    assert!(error.contains("DispatchFailure"), "{error}");
}

/// The fault counters that are not zero.
fn counted(endpoint: &LocalEndpoint) -> Vec<(&'static str, u64)> {
    endpoint.fault_counts().iter().filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(start_paused = true)]
async fn faults_are_counted_when_they_take_effect() {
    let pause = Duration::from_secs(1);
    let fault = |fragments| InjectedFault::FaultAfter { fragments, id: 5000, message: "INTERNAL_ERROR".into() };
    let never = u64::MAX;
    for (fault, expected) in [
        (InjectedFault::CutAfter(1_000), vec![("cut", 1)]),
        (InjectedFault::CutAfter(never), vec![]),
        (InjectedFault::ResetAfter(1_000), vec![("reset", 1)]),
        (InjectedFault::ResetAfter(never), vec![]),
        (InjectedFault::DamageAt(100), vec![("damage", 1)]),
        (InjectedFault::DamageAt(never), vec![]),
        (InjectedFault::EndAfter(3), vec![("end", 1)]),
        (InjectedFault::EndAfter(never), vec![]),
        (fault(3), vec![("fault", 1)]),
        (fault(never), vec![]),
        (InjectedFault::Stall { after: 1_000, pause }, vec![("stall", 1)]),
        (InjectedFault::Stall { after: never, pause }, vec![]),
        (InjectedFault::Trickle { bytes: 1_000, pause }, vec![("trickle", 1)]),
        (InjectedFault::Refuse("ServiceUnavailable".into()), vec![("refuse", 1)]),
        (InjectedFault::UnknownOperation, vec![("unknown operation", 1)]),
        (InjectedFault::StaleEndpoint, vec![("stale endpoint", 1)]),
    ] {
        let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
        ten(&endpoint).finish();
        endpoint.inject(Operation::GetMedia, None, fault.clone());
        assert_eq!(counted(&endpoint), [], "{fault:?}");
        if let Ok(output) = get(&client(&endpoint.in_process_config()), "ten", earliest()).await {
            read(output).await;
        }
        assert_eq!(counted(&endpoint), expected, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_by_quotas_are_counted() {
    let quotas = Quotas::default().session(Duration::from_secs(60)).connections(Some(1)).calls_per_second(Some(2));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let stream = ten(&endpoint);
    let media = client(&endpoint.in_process_config());
    let start = Instant::now().into_std();
    read(get(&media, "ten", earliest()).await.unwrap()).await;
    assert_eq!(counted(&endpoint), [("idle end", 1)]);
    let body = get(&media, "ten", earliest()).await.unwrap();
    assert_eq!(get(&media, "ten", earliest()).await.unwrap_err(), "ConnectionLimitExceededException");
    assert_eq!(get(&media, "ten", earliest()).await.unwrap_err(), "ClientLimitExceededException");
    assert_eq!(counted(&endpoint), [("connection limit", 1), ("idle end", 1), ("throttled", 1)]);
    let feed = async {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            stream.push(&two_frames());
        }
    };
    tokio::select! {
        _ = read(body) => {}
        () = feed => unreachable!(),
    }
    endpoint.set_clock_offset(-1_000_000);
    assert_eq!(get(&client(&endpoint.in_process_config()), "ten", earliest()).await.unwrap_err(), "RequestExpired");
    let expected =
        [("connection limit", 1), ("idle end", 1), ("request expired", 1), ("session end", 1), ("throttled", 1)];
    assert_eq!(counted(&endpoint), expected);
    let calls = endpoint.calls(Operation::GetMedia, "ten");
    assert_eq!(calls.iter().map(|call| (*call - start).as_secs()).collect::<Vec<_>>(), [0, 3, 3, 3, 63]);
    assert!(endpoint.calls(Operation::GetMedia, "other").is_empty());
    assert!(endpoint.calls(Operation::ListFragments, "ten").is_empty());
}

#[tokio::test]
async fn calls_by_arn_and_for_unknown_streams_are_recorded() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    let stream = ten(&endpoint);
    let control = aws_sdk_kinesisvideo::Client::new(&endpoint.in_process_config());
    control.describe_stream().stream_arn(stream.arn()).send().await.unwrap();
    control.describe_stream().stream_name("nobody").send().await.unwrap_err();
    for stream in ["ten", "nobody"] {
        assert_eq!(endpoint.calls(Operation::DescribeStream, stream).len(), 1);
    }
}

/// Reads the fragment numbers of a body that must not fail.
async fn numbers(output: GetMediaOutput) -> Vec<FragmentNumber> {
    let (fragments, error) = read(output).await;
    assert!(error.is_none(), "{error:?}");
    fragments.iter().map(|fragment| fragment.number().unwrap().clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn fragments_can_be_repeated() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    ten(&endpoint).finish();
    let media = client(&endpoint.in_process_config());
    let all = numbers(get(&media, "ten", earliest()).await.unwrap()).await;
    for (behind, repeated, expected, count) in
        [(3, 0, 4, 0), (3, 1, 3, 1), (3, 2, 2, 2), (3, 99, 0, 3), (9, 3, 7, 4), (0, u64::MAX, 0, 5)]
    {
        endpoint.inject(Operation::GetMedia, None, InjectedFault::Repeat(repeated));
        let received = numbers(get(&media, "ten", after(&all[behind])).await.unwrap()).await;
        assert_eq!(received, all[expected..], "{behind} {repeated}");
        assert_eq!(endpoint.fault_counts().repeat, count);
    }
    // The oldest fragment has no predecessor to repeat.
    endpoint.inject(Operation::GetMedia, None, InjectedFault::Repeat(2));
    assert_eq!(numbers(get(&media, "ten", earliest()).await.unwrap()).await, all);
    assert_eq!(endpoint.fault_counts().repeat, 5);
}

#[tokio::test(start_paused = true)]
async fn connections_linger_after_the_client_disconnects() {
    let linger = Duration::from_secs(10);
    let quotas = ends_soon().idle(Duration::from_secs(3)).connections(Some(2)).linger(linger);
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let stream = ten(&endpoint);
    let media = client(&endpoint.in_process_config());
    let open = || get(&media, "ten", earliest());
    let (first, second) = (open().await.unwrap(), open().await.unwrap());
    drop(first);
    assert_eq!(stream.open_connections(), 1);
    tokio::time::sleep(linger - Duration::from_millis(1)).await;
    assert_eq!(open().await.unwrap_err(), "ConnectionLimitExceededException");
    tokio::time::sleep(Duration::from_millis(1)).await;
    // A body that ended by itself, a refused call and a broken connection do not linger.
    read(open().await.unwrap()).await;
    for fault in
        [InjectedFault::Refuse("ServiceUnavailable".into()), InjectedFault::CutAfter(10), InjectedFault::ResetAfter(10)]
    {
        endpoint.inject(Operation::GetMedia, None, fault);
        if let Ok(output) = open().await {
            read(output).await;
        }
    }
    let third = open().await.unwrap();
    drop((second, third));
    assert_eq!(stream.open_connections(), 0);
    assert_eq!(open().await.unwrap_err(), "ConnectionLimitExceededException");
}

#[tokio::test(start_paused = true)]
async fn expired_positions_are_answered_as_configured() {
    for aged_out in [Expired::Fault, Expired::Oldest] {
        let endpoint = LocalEndpoint::start_with(0, ends_soon().aged_out(aged_out)).await.unwrap();
        let stream = ten(&endpoint);
        let media = client(&endpoint.in_process_config());
        let all = numbers(get(&media, "ten", earliest()).await.unwrap()).await;
        stream.expire(3);
        assert_eq!(numbers(get(&media, "ten", earliest()).await.unwrap()).await, all[3..]);
        // After the last expired fragment nothing is missing.
        for behind in [2, 3, 9] {
            let received = numbers(get(&media, "ten", after(&all[behind])).await.unwrap()).await;
            assert_eq!(received, all[behind + 1..], "{behind}");
        }
        assert_eq!(endpoint.fault_counts().aged_out, 0);
        for (behind, selector) in [(1, after(&all[1])), (0, token(&all[0]))] {
            let (fragments, error) = read(get(&media, "ten", selector).await.unwrap()).await;
            match aged_out {
                Expired::Fault => {
                    let error = error.unwrap();
                    assert_eq!((fragments.len(), error.code()), (0, Some("4000")), "{behind}: {error}");
                }
                _ => assert_eq!((fragments.len(), error.is_none()), (7, true), "{behind}"),
            }
        }
        assert_eq!(endpoint.fault_counts().aged_out, 2);
        assert_eq!(stream.open_connections(), 0);
        // Expires all fragments, and more than there are.
        stream.expire(100);
        assert!(numbers(get(&media, "ten", earliest()).await.unwrap()).await.is_empty());
        let newest = stream.push(&two_frames());
        assert_eq!(numbers(get(&media, "ten", after(&all[9])).await.unwrap()).await, [newest.number]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_continues_when_its_next_fragment_expires() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    let stream = endpoint.create_stream("ten");
    let first = stream.push(&two_frames());
    let output = get(&client(&endpoint.in_process_config()), "ten", earliest()).await.unwrap();
    let mut fragments = FragmentStream::from_byte_stream(output.payload);
    assert_eq!(fragments.try_next().await.unwrap().unwrap().number(), Some(&first.number));
    let stamps: Vec<_> = (0..3).map(|_| stream.push(&two_frames())).collect();
    stream.expire(3);
    assert_eq!(fragments.try_next().await.unwrap().unwrap().number(), Some(&stamps[2].number));
    assert!(fragments.try_next().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn stored_damage_is_served_again_at_every_resume() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    let stream = endpoint.create_stream("ten");
    let media = client(&endpoint.in_process_config());
    let first = stream.push(&two_frames());
    let second = stamp(2);
    let mut damaged = two_frames().to_bytes(&second, 0).to_vec();
    damaged[..12].fill(0);
    stream.push_bytes(damaged.clone(), second.clone());
    let third = stamp(3);
    stream.push_stamped(&two_frames(), third.clone());
    for _ in 0..3 {
        let payload = get(&media, "ten", after(&first.number)).await.unwrap().payload;
        let body = payload.collect().await.unwrap().into_bytes();
        assert_eq!(body[..damaged.len()], damaged[..]);
        let (fragments, error) = read(get(&media, "ten", after(&first.number)).await.unwrap()).await;
        assert_eq!((fragments.len(), error.unwrap().position().offset()), (0, Some(0)));
    }
    // The damaged fragment has a number to resume after.
    assert_eq!(numbers(get(&media, "ten", after(&second.number)).await.unwrap()).await, [third.number]);
}
