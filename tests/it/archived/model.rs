//! Listing and reading stored fragments. The cases by hand each follow a sentence of the service's description; then
//! a random archive is compared with a plain list.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use fastrand::Rng;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::{
    Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape, Stamp, TagNames, fragment_number,
};
use kinesis_video::{
    Archive, Clock, Discontinuity, ErrorKind, Fragment, FragmentInfo, FragmentNumber, KinesisVideo, OnUnavailable,
    Order, Position, Start, Timestamp,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::support::bodies::numbers_of;
use crate::support::endpoint::attempts;
use crate::support::stand_in::{Answer, described, stand_in};

const START: i64 = 1_700_000_000_000;

/// Milliseconds since the epoch, both included.
type Range = RangeInclusive<i64>;

fn times(range: &Range) -> RangeInclusive<Timestamp> {
    Timestamp::from_millis(*range.start())..=Timestamp::from_millis(*range.end())
}

const EVER: Range = -1_000_000..=4_000_000_000_000;

/// A fragment that is stored.
#[derive(Clone, Debug)]
struct Kept {
    number: FragmentNumber,
    producer: i64,
    server: i64,
    millis: u64,
    raw: Bytes,
}

impl Kept {
    fn time(&self, clock: Clock) -> i64 {
        match clock {
            Clock::Producer => self.producer,
            Clock::Server => self.server,
        }
    }
}

/// Stores a fragment, and returns what a reader has to yield.
fn store(stream: &LocalStream, document: &Document, millis: u64, ordinal: u32, producer: i64, server: i64) -> Kept {
    let stamp = Stamp {
        number: fragment_number(ordinal, u64::try_from(server).unwrap()),
        server_time: Timestamp::from_millis(server),
        producer_time: Timestamp::from_millis(producer),
    };
    stream.push_stamped(document, stamp.clone());
    Kept { number: stamp.number.clone(), producer, server, millis, raw: document.to_bytes_without_trailer(&stamp) }
}

/// A fragment of two pictures, the second this many milliseconds after the first.
fn two_pictures(millis: i16, payload: &[u8]) -> Document {
    Document::new(Shape::Producer).video_track(1).block(1, 0, true, payload).block(1, millis, false, payload)
}

/// An endpoint whose stream "door" has a fragment of 2 s for each pair of producer and server time.
async fn door(stored: &[(i64, i64)]) -> (LocalEndpoint, LocalStream, KinesisVideo, Vec<Kept>) {
    door_with(Quotas::default(), stored).await
}

async fn door_with(quotas: Quotas, stored: &[(i64, i64)]) -> (LocalEndpoint, LocalStream, KinesisVideo, Vec<Kept>) {
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let stream = endpoint.create_stream("door");
    let store = |(ordinal, &(producer, server))| {
        store(&stream, &two_pictures(1000, &[ordinal as u8; 50]), 2000, ordinal, producer, server)
    };
    let kept = (1..).zip(stored).map(store).collect();
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    (endpoint, stream, kvs, kept)
}

async fn listed(kvs: &KinesisVideo, range: &Range, clock: Clock, order: Order) -> Vec<FragmentInfo> {
    kvs.list_fragments("door").range(times(range)).clock(clock).order(order).entries().try_collect().await.unwrap()
}

fn archived(kvs: &KinesisVideo, range: &Range, clock: Clock, order: Order) -> Archive {
    kvs.archive("door").range(times(range)).clock(clock).order(order)
}

/// The places of these numbers among the stored fragments, from 1.
fn ordinals(kept: &[Kept], numbers: &[FragmentNumber]) -> Vec<usize> {
    numbers.iter().map(|number| 1 + kept.iter().position(|kept| kept.number == *number).unwrap()).collect()
}

/// Lists a range, and asserts that reading it yields the same fragments.
async fn between(kvs: &KinesisVideo, kept: &[Kept], range: Range, clock: Clock, order: Order) -> Vec<usize> {
    let infos = listed(kvs, &range, clock, order).await;
    let listed: Vec<_> = infos.iter().map(|info| info.number().clone()).collect();
    let read: Vec<_> = archived(kvs, &range, clock, order).fragments().try_collect().await.unwrap();
    assert_eq!(numbers_of(&read), listed, "{range:?} {clock:?} {order:?}");
    ordinals(kept, &listed)
}

// C.1: "a fragment is listed when its start satisfies Start <= start <= End, both inclusive. A fragment that began
// earlier and spans Start is not listed. Example: starts 0,2,4,6 s with range 1..4 -> 2 and 4." And "FragmentSelectorType:
// PRODUCER_TIMESTAMP|SERVER_TIMESTAMP".
#[tokio::test(start_paused = true)]
async fn fragments_that_start_in_a_range_are_listed_by_either_clock() {
    // The producer's clock is one day slow.
    let (server, producer) = (START, START - 86_400_000);
    let stored = [0, 2000, 4000, 6000].map(|offset| (producer + offset, server + offset));
    let (_endpoint, _door, kvs, kept) = door(&stored).await;
    for (from, to, expected) in [
        (1000, 4000, &[2, 3][..]),
        (2000, 4000, &[2, 3]),
        (2001, 4000, &[3]),
        (2000, 3999, &[2]),
        (2001, 3999, &[]),
        (1999, 2001, &[2]),
        (2000, 2000, &[2]),
        (0, 6000, &[1, 2, 3, 4]),
        (1, 6000, &[2, 3, 4]),
        (-1, 0, &[1]),
        (-1000, -1, &[]),
        // The last fragment lasts until 8 s, but began before the range.
        (6001, 8000, &[]),
        (6000, 6000, &[4]),
    ] {
        for order in [Order::Number, Order::Time] {
            for (clock, origin) in [(Clock::Server, server), (Clock::Producer, producer)] {
                let listed = between(&kvs, &kept, origin + from..=origin + to, clock, order).await;
                assert_eq!(listed, expected, "{from}..={to} {clock:?} {order:?}");
            }
        }
    }
    // The range by one clock has no fragments by the other.
    assert!(between(&kvs, &kept, server..=server + 6000, Clock::Producer, Order::Number).await.is_empty());
    assert!(between(&kvs, &kept, producer..=producer + 6000, Clock::Server, Order::Number).await.is_empty());
}

// B.3: "may be `0.000` or `5.000`", of the producer's time; A.1: "milliseconds matter".
#[tokio::test(start_paused = true)]
async fn producer_times_may_begin_at_zero_or_in_the_future() {
    let stored = [(0, START), (5000, START + 1), (5001, START + 2), (8_000_000_000_123, START + 3)];
    let (_endpoint, _door, kvs, kept) = door(&stored).await;
    for (range, expected) in [
        (0..=5000, &[1, 2][..]),
        (0..=0, &[1]),
        (1..=4999, &[]),
        (-5000..=0, &[1]),
        (5001..=5001, &[3]),
        (8_000_000_000_123..=8_000_000_000_123, &[4]),
        (8_000_000_000_124..=9_000_000_000_000, &[]),
        (i64::MIN..=i64::MAX, &[1, 2, 3, 4]),
    ] {
        assert_eq!(between(&kvs, &kept, range.clone(), Clock::Producer, Order::Time).await, expected, "{range:?}");
    }
    let times: Vec<_> = listed(&kvs, &EVER, Clock::Server, Order::Number).await;
    let times: Vec<_> = times.iter().map(|info| info.producer_time().unwrap().as_millis()).collect();
    assert_eq!(times, [0, 5000, 5001, 8_000_000_000_123]);
}

// D.3: "same start timestamp -> only the largest fragment number (newest) is kept" is of playback: C.1 says of no
// fragment in the range that it is not listed. E.8: "Duplicates in practice come from producers re-sending (a new
// fragment number, same producer timestamps)". E.6: "increases monotonically with ingestion order".
#[tokio::test(start_paused = true)]
async fn fragments_of_the_same_time_are_all_read() {
    let server = |n: i64| START + 1_000_000 + n;
    // Fragments of 2 s. The third is sent twice at once, the first three again at the end.
    let producer = [0, 2, 4, 4, 6, 0, 2, 4].map(|seconds| START + seconds * 1000);
    let stored: Vec<_> = producer.into_iter().zip((0..).map(server)).collect();
    let (_endpoint, _door, kvs, kept) = door(&stored).await;
    let all = START..=START + 6000;
    assert_eq!(between(&kvs, &kept, all.clone(), Clock::Producer, Order::Number).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(between(&kvs, &kept, all, Clock::Producer, Order::Time).await, [1, 6, 2, 7, 3, 4, 8, 5]);
    let two = START + 2000..=START + 4000;
    assert_eq!(between(&kvs, &kept, two.clone(), Clock::Producer, Order::Number).await, [2, 3, 4, 7, 8]);
    assert_eq!(between(&kvs, &kept, two, Clock::Producer, Order::Time).await, [2, 7, 3, 4, 8]);
    // By the server's clock they are in order of arrival, whatever the producer's times.
    assert_eq!(between(&kvs, &kept, server(3)..=server(6), Clock::Server, Order::Time).await, [4, 5, 6, 7]);
}

// C.1: "FragmentLengthInMilliseconds may be 0 for real fragments"; "FragmentSizeInBytes includes fragment metadata".
#[tokio::test(start_paused = true)]
async fn fragments_without_duration_are_read() {
    let (_endpoint, stream, kvs, _) = door(&[]).await;
    let single = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"frame");
    let kept = [store(&stream, &single, 0, 1, START, START), store(&stream, &single, 0, 2, START, START)];
    let infos = listed(&kvs, &(START..=START), Clock::Producer, Order::Time).await;
    assert_eq!(infos.iter().map(FragmentInfo::duration).collect::<Vec<_>>(), [Duration::ZERO; 2]);
    assert!(infos.iter().zip(&kept).all(|(info, kept)| info.bytes() == kept.raw.len() as u64));
    let read: Vec<_> =
        archived(&kvs, &(START..=START), Clock::Producer, Order::Time).fragments().try_collect().await.unwrap();
    same(&read, &kept.each_ref(), "of no length");
}

// C.1: "Range beyond retention -> InvalidArgumentException 400, \"End timestamp ... is outside of the stream retention
// period.\""
#[tokio::test(start_paused = true)]
async fn a_range_before_the_retention_period_is_an_error() {
    let (_endpoint, door, kvs, _) = door(&[]).await;
    let pushed = door.push(&two_pictures(1000, b"kept")).server_time.as_millis();
    door.set_retention(Duration::from_secs(7200));
    let oldest = pushed - 7_200_000;
    for (end, is_kept) in [(oldest, true), (oldest - 1, false), (0, false), (pushed, true)] {
        let range = times(&(-5..=end));
        let list = kvs.list_fragments("door").range(range.clone()).entries().try_collect::<Vec<_>>().await;
        let read = kvs.archive("door").range(range).fragments().try_collect::<Vec<_>>().await;
        let expected = if is_kept { Ok(usize::from(end == pushed)) } else { Err(ErrorKind::Retention) };
        assert_eq!(list.map(|list| list.len()).map_err(|error| error.kind()), expected, "{end}");
        assert_eq!(read.map(|read| read.len()).map_err(|error| error.kind()), expected, "{end}");
    }
}

// C.2: "Needs retention > 0." A.4: "the archived APIs give NoDataRetention or nothing."
#[tokio::test(start_paused = true)]
async fn a_stream_without_retention_has_no_archive() {
    let (_endpoint, door, kvs, kept) = door(&[(START, START)]).await;
    door.set_retention(Duration::ZERO);
    let list = kvs.list_fragments("door").range(times(&EVER)).entries().try_collect::<Vec<_>>().await;
    assert_eq!(list.unwrap_err().kind(), ErrorKind::Retention);
    let range = kvs.archive("door").range(times(&EVER)).fragments().try_collect::<Vec<_>>().await;
    assert_eq!(range.unwrap_err().kind(), ErrorKind::Retention);
    let numbers = kvs.archive("door").numbers([kept[0].number.clone()]).retry(attempts(2));
    let error = numbers.fragments().try_collect::<Vec<_>>().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Retention), "{error}");
}

/// Answers with these JSON texts as the pages of a listing.
fn paged(pages: &'static [&'static str], retention: u32) -> impl Fn(&str, &Value) -> Answer + Send + Sync {
    move |path, body| {
        if path == "describeStream" {
            return Answer::json(described(retention));
        }
        assert_eq!(path, "listFragments");
        let page = body.get("NextToken").map_or(0, |token| token.as_str().unwrap().len());
        Answer { status: 200, headers: Vec::new(), body: SdkBody::from(pages[page]) }
    }
}

async fn list_of(pages: &'static [&'static str]) -> (Vec<FragmentInfo>, Vec<Value>) {
    let (kvs, asked) = stand_in(paged(pages, 24)).await;
    let infos = kvs.list_fragments("door").range(times(&EVER)).entries().try_collect().await.unwrap();
    (infos, asked.bodies())
}

// C.1: "An early start (before the stream existed) once returned a null list: treat missing `Fragments` as empty."
// "NextToken (absent/null at the end)".
#[tokio::test]
async fn empty_pages_are_not_the_end() {
    const ONE: &str = r#"{"Fragments":[{"FragmentNumber":"7"}],"NextToken":null}"#;
    for empty in ["{}", r#"{"Fragments":null}"#, r#"{"Fragments":[]}"#, r#"{"Fragments":null,"NextToken":null}"#] {
        let pages: &'static [&'static str] = Box::leak(Box::new([empty]));
        assert_eq!(list_of(pages).await.0, [], "{empty}");
    }
    for first in
        [r#"{"NextToken":"A"}"#, r#"{"Fragments":null,"NextToken":"A"}"#, r#"{"Fragments":[],"NextToken":"A"}"#]
    {
        let pages: &'static [&'static str] = Box::leak(Box::new([first, ONE]));
        let (infos, asked) = list_of(pages).await;
        assert_eq!(infos.iter().map(|info| info.number().as_str()).collect::<Vec<_>>(), ["7"], "{first}");
        assert_eq!(asked.len(), 2);
    }
    // A stream without retention lists nothing.
    let (kvs, _) = stand_in(paged(&["{}"], 0)).await;
    let error = kvs.list_fragments("door").range(times(&EVER)).entries().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retention);
}

// A.1: "a JSON number of epoch seconds with an optional fraction (milliseconds matter). Integers are accepted. Responses
// may use exponent form: a real reply carried "CreationTime":1.551924009774E9." E.6: "order = numeric (compare length
// after stripping leading zeros, then bytes)". C.1: "Sort by numeric fragment number".
#[tokio::test]
async fn times_and_numbers_are_read_in_every_notation() {
    const PAGES: &[&str] = &[
        r#"{"Fragments":[
            {"FragmentNumber":"10","FragmentSizeInBytes":5,"ProducerTimestamp":1.551924009774E9,"ServerTimestamp":1551924010,
             "FragmentLengthInMilliseconds":0},
            {"FragmentNumber":"009","FragmentSizeInBytes":50000000,"ProducerTimestamp":0.0,"ServerTimestamp":1.5E9,
             "FragmentLengthInMilliseconds":20000}],"NextToken":"A"}"#,
        r#"{"Fragments":[{"FragmentNumber":"91343852333181432392682062607743920146159169392"},
            {"FragmentNumber":"8","ProducerTimestamp":1511852109.070}]}"#,
    ];
    let (kvs, _) = stand_in(paged(PAGES, 24)).await;
    let sorted = async |order| {
        let list = kvs.list_fragments("door").range(times(&EVER)).clock(Clock::Producer).order(order);
        list.entries().try_collect::<Vec<_>>().await.unwrap()
    };
    let by_number = sorted(Order::Number).await;
    let numbers: Vec<_> = by_number.iter().map(|info| info.number().as_str()).collect();
    let long = "91343852333181432392682062607743920146159169392";
    assert!(matches!(numbers[..], ["8", "9" | "009", "10", last] if last == long), "{numbers:?}");
    let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
    let times: Vec<_> =
        by_number.iter().map(|info| (millis(info.producer_time()), millis(info.server_time()))).collect();
    assert_eq!(
        times,
        [
            (Some(1_511_852_109_070), None),
            (Some(0), Some(1_500_000_000_000)),
            (Some(1_551_924_009_774), Some(1_551_924_010_000)),
            (None, None),
        ]
    );
    let sizes: Vec<_> = by_number.iter().map(|info| (info.bytes(), info.duration().as_millis())).collect();
    assert_eq!(sizes, [(0, 0), (50_000_000, 20_000), (5, 0), (0, 0)]);
    let by_time = sorted(Order::Time).await;
    let known = |info: &&FragmentInfo| info.producer_time().is_some();
    let numbers: Vec<_> = by_time.iter().filter(known).map(|info| info.number().to_string()).collect();
    assert!(numbers[0].ends_with('9') && numbers[1..] == ["8", "10"], "{numbers:?}");
}

// C.1: "`StreamName` xor `StreamARN`"; "MaxResults long 1..1000 (...) send it explicitly"; "a follow-up call with NextToken
// may omit it; send only stream + NextToken (+ MaxResults) then"; "all three inner members required". A.1: "Absent
// members are omitted, not null"; "serialise with three decimals".
#[tokio::test]
async fn requests_of_list_fragments_carry_the_range() {
    const PAGES: &[&str] = &[r#"{"NextToken":"A"}"#, r#"{"NextToken":"AA"}"#, r#"{"Fragments":[]}"#];
    const ARN: &str = "arn:aws-cn:kinesisvideo:cn-north-1:123456789012:stream/door/1598784211076";
    for (stream, member) in [("door", "StreamName"), (ARN, "StreamARN")] {
        for (clock, kind) in [(Clock::Producer, "PRODUCER_TIMESTAMP"), (Clock::Server, "SERVER_TIMESTAMP")] {
            let (kvs, asked) = stand_in(paged(PAGES, 24)).await;
            let list = kvs.list_fragments(stream).range(times(&(1_511_852_109_126..=1_511_852_109_500))).clock(clock);
            assert!(list.page_size(250).entries().try_collect::<Vec<_>>().await.unwrap().is_empty());
            let asked: Vec<_> = asked.take().into_iter().filter(|(path, _)| path == "listFragments").collect();
            let range = json!({ "StartTimestamp": 1_511_852_109.126, "EndTimestamp": 1_511_852_109.5 });
            let selector = json!({ "FragmentSelectorType": kind, "TimestampRange": range });
            let expected = [
                json!({ member: stream, "MaxResults": 250, "FragmentSelector": selector }),
                json!({ member: stream, "MaxResults": 250, "NextToken": "A" }),
                json!({ member: stream, "MaxResults": 250, "NextToken": "AA" }),
            ];
            assert_eq!(asked.into_iter().map(|(_, body)| body).collect::<Vec<_>>(), expected);
        }
    }
}

// C.1 and C.2: "Errors: ResourceNotFound 404, InvalidArgument 400 ("Fragment numbers are invalid" observed),
// ClientLimitExceeded 400, NotAuthorized 401". A.2: "NotAuthorizedException may be 401 or 403; accept both"; "cut at first
// `:`".
#[tokio::test(start_paused = true)]
async fn errors_are_recognized_in_every_wire_format() {
    let name = |name: &str| format!("{name}:https://kinesisvideo.amazonaws.com/doc/2017-09-30/");
    for (status, exception, message, kind) in [
        (404, "ResourceNotFoundException", "The requested stream is not found.", ErrorKind::NotFound),
        (400, "InvalidArgumentException", "Fragment numbers are invalid", ErrorKind::InvalidArgument),
        (
            400,
            "InvalidArgumentException",
            "End timestamp 1724080162000 is outside of the stream retention period.",
            ErrorKind::Retention,
        ),
        (400, "ClientLimitExceededException", "Rate exceeded", ErrorKind::Throttled),
        (401, "NotAuthorizedException", "No.", ErrorKind::AccessDenied),
        (403, "NotAuthorizedException", "No.", ErrorKind::AccessDenied),
    ] {
        let (kvs, asked) = stand_in(move |_, _| Answer::refusal(status, &name(exception), message)).await;
        let list =
            kvs.list_fragments("door").range(times(&EVER)).retry(attempts(2)).entries().try_collect::<Vec<_>>().await;
        let error = list.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(exception)));
        let calls = if kind == ErrorKind::Throttled { 2 } else { 1 };
        assert_eq!(asked.take().len(), calls, "{exception}");
        let read = kvs
            .archive("door")
            .numbers(["7".parse().unwrap()])
            .retry(attempts(2))
            .fragments()
            .try_collect::<Vec<_>>()
            .await;
        let error = read.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(exception)));
        assert_eq!(asked.take().len(), calls, "{exception}");
    }
}

/// An answer with a body of the archive.
fn media(parts: &[Bytes]) -> Answer {
    Answer { status: 200, headers: Vec::new(), body: SdkBody::from(parts.concat()) }.with("content-type", "video/webm")
}

fn nth(ordinal: u32) -> Stamp {
    let millis = START + i64::from(ordinal) * 1000;
    Stamp {
        number: fragment_number(ordinal, millis as u64),
        server_time: Timestamp::from_millis(millis),
        producer_time: Timestamp::from_millis(millis - 77),
    }
}

/// The fragment numbers in a request of GetMediaForFragmentList.
fn wanted(body: &Value) -> Vec<String> {
    body["Fragments"].as_array().unwrap().iter().map(|number| number.as_str().unwrap().to_owned()).collect()
}

fn chunk(ordinal: u32) -> Bytes {
    two_pictures(1000, &[ordinal as u8; 50]).to_bytes_without_trailer(&nth(ordinal))
}

// C.2: "Body: `StreamName` xor `StreamARN`; `Fragments` required: 1..1000 fragment-number strings"; "Order of the returned
// chunks: not documented. (...) Match by AWS_KINESISVIDEO_FRAGMENT_NUMBER, never by position. Whether duplicate numbers in
// the request are allowed: unconfirmed." E.8: "overlapping resume points (same number)".
#[tokio::test(start_paused = true)]
async fn chunks_are_matched_by_fragment_number() {
    let (kvs, asked) = stand_in(|_, body| {
        let find = |number: String| (1..10).find(|&ordinal| nth(ordinal).number.as_str() == number).unwrap();
        let mut ordinals: Vec<u32> = wanted(body).into_iter().map(find).collect();
        ordinals.sort_unstable_by(|a, b| b.cmp(a));
        // One that was not requested, and each requested one twice.
        let parts: Vec<_> = ordinals.iter().flat_map(|&n| [chunk(n), chunk(9), chunk(n)]).collect();
        media(&parts)
    })
    .await;
    let numbers = [3, 1, 2, 3, 1, 5, 4].map(|ordinal| nth(ordinal).number);
    let read: Vec<_> = kvs.archive("door").numbers(numbers).fragments().try_collect().await.unwrap();
    let expected = [3, 1, 2, 5, 4];
    assert_eq!(numbers_of(&read), expected.map(|ordinal| nth(ordinal).number));
    assert!(read.iter().zip(expected).all(|(fragment, ordinal)| *fragment.raw() == chunk(ordinal)));
    for body in asked.bodies() {
        let mut members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        members.sort();
        assert_eq!(members, ["Fragments", "StreamName"]);
        let numbers = wanted(&body);
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len(), "no number twice");
    }
}

// C.2: "1..1000 fragment-number strings", of which the endpoint refuses more; C.4: "a GetMediaForFragmentList of 1000
// fragments costs twice the per-second media budget"; "Over budget -> ClientLimitExceededException".
#[tokio::test(start_paused = true)]
async fn no_call_asks_for_more_fragments_than_allowed() {
    let stored: Vec<_> = (0..1001).map(|n| (START + n, START + n)).collect();
    let (endpoint, _door, kvs, kept) = door(&stored).await;
    let expected: Vec<_> = kept.iter().map(|kept| kept.number.clone()).collect();
    for numbers in [false, true] {
        let archive = kvs.archive("door");
        let archive = if numbers { archive.numbers(expected.clone()) } else { archive.range(times(&EVER)) };
        let read: Vec<_> = archive.fragments().try_collect().await.unwrap();
        assert_eq!(numbers_of(&read), expected);
    }
    assert_eq!((endpoint.fault_counts().throttled, endpoint.fault_counts().connection_limit), (0, 0));
}

// C.3: "Accept both spellings of all of them." One by one, since nobody knows which go together; and those of GetMedia
// at the end, which are "not expected" (C.2), and no error either.
#[tokio::test(start_paused = true)]
async fn both_names_of_the_time_tags_are_read() {
    let tags = |server: &'static str, producer: &'static str, ordinal: u32| {
        let seconds =
            |time: Timestamp| format!("{}.{:03}", time.as_millis().div_euclid(1000), time.as_millis().rem_euclid(1000));
        let Stamp { number, server_time, producer_time } = nth(ordinal);
        let found = |text: &str| chunk(ordinal).windows(text.len()).any(|bytes| bytes == text.as_bytes());
        assert!(found(&seconds(server_time)) && found("AWS_KINESISVIDEO_SERVER_TIMESTAMP"));
        let tags = Document::of_tags(&[
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number.as_str()),
            (server, &seconds(server_time)),
            (producer, &seconds(producer_time)),
        ]);
        // The Tags of that document, after its EBML header and the head of its Segment, replace those of a chunk.
        let tags_id = [0x12, 0x54, 0xC3, 0x67];
        let place = |bytes: &[u8]| bytes.windows(4).position(|window| window == tags_id).unwrap();
        let chunk = chunk(ordinal);
        let cluster = chunk.windows(4).position(|window| window == [0x1F, 0x43, 0xB6, 0x75]).unwrap();
        Bytes::from([&chunk[..place(&chunk)], &tags[place(&tags)..], &chunk[cluster..]].concat())
    };
    let plain = ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP");
    let side = ("AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP");
    let parts = [
        tags(plain.0, plain.1, 1),
        tags(side.0, side.1, 2),
        tags(plain.0, side.1, 3),
        tags(side.0, plain.1, 4),
        two_pictures(1000, &[5; 50]).to_bytes(&nth(5), 12),
    ];
    assert_eq!(parts[0], chunk(1));
    let (kvs, asked) = stand_in(move |_, _| media(&parts)).await;
    let read: Vec<_> =
        kvs.archive("door").numbers((1..=5).map(|n| nth(n).number)).fragments().try_collect().await.unwrap();
    let times: Vec<_> = read.iter().map(|fragment| (fragment.server_time(), fragment.producer_time())).collect();
    let expected: Vec<_> = (1..=5).map(|n| (Some(nth(n).server_time), Some(nth(n).producer_time))).collect();
    assert_eq!(times, expected);
    assert_eq!(asked.take().len(), 1, "all of it was there");
}

// C.3: "It was returned for a fragment too fresh to be archived; retrying a little later worked." "Accept both
// spellings".
#[tokio::test(start_paused = true)]
async fn fragments_too_new_are_requested_again_later() {
    for tag_names in [TagNames::Seen, TagNames::Documented] {
        let quotas = Quotas::default().archived_after(Duration::from_millis(2500));
        let (_endpoint, door, kvs, _) = door_with(quotas, &[]).await;
        door.set_archive_tag_names(tag_names);
        let pushed: Vec<_> = (0..3).map(|_| door.push(&two_pictures(1000, b"fresh")).number).collect();
        let start = Instant::now();
        let read: Vec<_> = kvs.archive("door").numbers(pushed.clone()).fragments().try_collect().await.unwrap();
        assert_eq!(numbers_of(&read), pushed, "{tag_names:?}");
        let took = start.elapsed();
        assert!((2500..10_000).contains(&took.as_millis()), "{tag_names:?}: {took:?}");
    }
}

// C.3: "Whether further fragments follow an error document, or the body stops: undocumented (...). Parse on until EOF and
// report per fragment."
#[tokio::test(start_paused = true)]
async fn an_error_concerns_one_fragment_whatever_follows() {
    let stored: Vec<_> = (0..6).map(|n| (START + n, START + n)).collect();
    for tag_names in [TagNames::Seen, TagNames::Documented] {
        for goes_on in [true, false] {
            let (endpoint, door, kvs, kept) = door(&stored).await;
            door.set_archive_tag_names(tag_names);
            for id in [3000, 4000] {
                let message = "FRAGMENT_NOT_FOUND".to_owned();
                let fault = match goes_on {
                    true => InjectedFault::FaultAt { fragment: 2, id, message },
                    false => InjectedFault::FaultAfter { fragments: 2, id, message },
                };
                endpoint.inject(Operation::GetMediaForFragmentList, None, fault);
            }
            let read: Vec<_> = kvs.archive("door").range(times(&EVER)).fragments().try_collect().await.unwrap();
            let said = format!("{tag_names:?}, goes on: {goes_on}");
            assert_eq!(ordinals(&kept, &numbers_of(&read)), [1, 2, 3, 4, 5, 6], "{said}");
            let counts = endpoint.fault_counts();
            assert!(counts.fault + counts.fault_at > 0, "{said}");
        }
        // A fragment that stays missing is reported with the service's code and message, and no other is.
        let (_endpoint, door, kvs, kept) = door(&stored).await;
        door.set_archive_tag_names(tag_names);
        let missing = nth(1).number;
        let mut numbers: Vec<_> = kept.iter().map(|kept| kept.number.clone()).collect();
        numbers.insert(4, missing.clone());
        let archive = kvs.archive("door").numbers(numbers).retry(attempts(3)).on_unavailable(OnUnavailable::Skip);
        let archive = archive.fragments();
        let progress = archive.progress();
        let read: Vec<_> = archive.try_collect().await.unwrap();
        assert_eq!(ordinals(&kept, &numbers_of(&read)), [1, 2, 3, 4, 5, 6], "{tag_names:?}");
        let passed = |discontinuity: &Discontinuity| match discontinuity {
            Discontinuity::SkippedFragment { number, cause, .. } => {
                Some((number.clone(), cause.code() == Some("3000")))
            }
            _ => None,
        };
        let passed: Vec<Vec<_>> =
            read.iter().map(|fragment| fragment.discontinuities().iter().filter_map(passed).collect()).collect();
        assert_eq!(passed, [vec![], vec![], vec![], vec![], vec![(missing, true)], vec![]], "{tag_names:?}");
        assert_eq!((progress.borrow().fragments, progress.borrow().unavailable), (7, 1));
    }
}

// C.3: which of its tags an error has besides the number and the text is a matter of one observation: one without the
// fragment's number is about some of what did not come, with either tag names.
#[tokio::test(start_paused = true)]
async fn an_error_without_a_number_concerns_the_next_fragment() {
    for [number, text] in [
        ["AWS_KINESISVIDEO_ERROR_ID", "AWS_KINESISVIDEO_ERROR_CODE"],
        ["AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", "AWS_KINESISVIDEO_EXCEPTION_MESSAGE"],
    ] {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let (kvs, _) = stand_in(move |_, body| {
            let numbers = wanted(body);
            let mut parts: Vec<_> =
                (1..=4).filter(|&n| numbers.contains(&nth(n).number.to_string())).map(chunk).collect();
            if counted.fetch_add(1, Ordering::Relaxed) < 2 {
                parts.truncate(1);
                parts.push(Document::of_tags(&[(text, "FRAGMENT_NOT_FOUND"), (number, "3000")]));
            }
            media(&parts)
        })
        .await;
        let read: Vec<_> = kvs
            .archive("door")
            .numbers((1..=4).map(|n| nth(n).number))
            .connections(1)
            .fragments()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(numbers_of(&read), (1..=4).map(|n| nth(n).number).collect::<Vec<_>>(), "{number}");
        assert!(read.iter().all(|fragment| fragment.discontinuities().is_empty()), "{number}");
        assert!(calls.load(Ordering::Relaxed) > 2);
    }
}

// C.1: "FragmentSizeInBytes includes fragment metadata": so nobody knows whether it is just what is sent.
#[tokio::test(start_paused = true)]
async fn listed_sizes_may_differ_from_the_bytes_sent() {
    for difference in [-60_i64, 0, 60, 5_000, i64::MIN] {
        let (kvs, _) = stand_in(move |path, body| {
            if path == "listFragments" {
                let info = |ordinal: u32| {
                    let bytes = (chunk(ordinal).len() as i64).saturating_add(difference).max(0);
                    json!({ "FragmentNumber": nth(ordinal).number.as_str(), "FragmentSizeInBytes": bytes })
                };
                return Answer::json(json!({ "Fragments": (1..=5).map(info).collect::<Vec<_>>() }));
            }
            let numbers = wanted(body);
            let parts = (1..=5).filter(|&n| numbers.contains(&nth(n).number.to_string())).map(chunk);
            media(&parts.collect::<Vec<_>>())
        })
        .await;
        let read: Vec<_> = kvs.archive("door").range(times(&EVER)).fragments().try_collect().await.unwrap();
        assert_eq!(numbers_of(&read), (1..=5).map(|n| nth(n).number).collect::<Vec<_>>(), "{difference}");
        assert!(read.iter().zip(1..).all(|(fragment, n)| *fragment.raw() == chunk(n)), "{difference}");
    }
}

// The model of the archive.

fn same(read: &[Fragment], expected: &[&Kept], context: &str) {
    let numbers: Vec<_> = expected.iter().map(|kept| kept.number.clone()).collect();
    assert!(numbers_of(read) == numbers, "{context}: {:?}, not {numbers:?}", numbers_of(read));
    for (fragment, kept) in read.iter().zip(expected) {
        assert!(*fragment.raw() == kept.raw, "{context}: other bytes in {}", kept.number);
        let times = [fragment.producer_time(), fragment.server_time()].map(|time| time.unwrap().as_millis());
        assert_eq!(times, [kept.producer, kept.server], "{context}: {}", kept.number);
    }
}

fn same_infos(infos: &[FragmentInfo], expected: &[&Kept], context: &str) {
    let told = |info: &FragmentInfo| {
        let times = [info.producer_time(), info.server_time()].map(|time| time.unwrap().as_millis());
        (info.number().clone(), info.bytes(), times, info.duration().as_millis() as u64)
    };
    let known = |kept: &&Kept| (kept.number.clone(), kept.raw.len() as u64, [kept.producer, kept.server], kept.millis);
    let (told, known): (Vec<_>, Vec<_>) = (infos.iter().map(told).collect(), expected.iter().map(known).collect());
    assert!(told == known, "{context}:\n{told:?}\n{known:?}");
}

/// All stored fragments, in this order.
fn in_order(kept: &[Kept], clock: Clock, order: Order) -> Vec<&Kept> {
    let mut all: Vec<&Kept> = kept.iter().collect();
    if order == Order::Time {
        all.sort_by_key(|kept| kept.time(clock));
    }
    all
}

fn within<'a>(all: &[&'a Kept], clock: Clock, range: &Range) -> Vec<&'a Kept> {
    all.iter().copied().filter(|kept| range.contains(&kept.time(clock))).collect()
}

const FRAGMENTS: usize = 3000;

/// Pushes fragments like a camera that pauses, restarts, repeats fragments, and whose clock is set.
fn ingest(stream: &LocalStream, rng: &mut Rng) -> Vec<Kept> {
    let mut kept: Vec<Kept> = Vec::new();
    let (mut ordinal, mut server, mut producer, mut timecode) = (1_u32, START, START - 5000, 0_u64);
    let mut again: Vec<i64> = Vec::new();
    while kept.len() < FRAGMENTS {
        let length = rng.i16(0..3) * 1000;
        let mut time = producer;
        if let Some(earlier) = again.pop() {
            // A fragment with an earlier producer time.
            time = earlier;
        } else {
            match rng.u32(0..100) {
                0 | 1 => {
                    let gap = rng.i64(10_000..3_600_000);
                    (server, producer) = (server + gap, producer + gap);
                }
                // A new session: numbers jump, timecodes restart.
                2 | 3 => (ordinal, timecode) = (ordinal + rng.u32(1..100_000), 0),
                4 if kept.len() > 50 => {
                    let from = rng.usize(0..kept.len() - 40);
                    again = kept[from..from + rng.usize(5..40)].iter().rev().map(|kept| kept.producer).collect();
                    timecode = 0;
                }
                5..10 => time = kept.last().map_or(time, |last| last.producer),
                10 => producer = rng.i64(0..5000),
                11 => producer = server + rng.i64(-300_000_000..300_000_000),
                _ => {}
            }
        }
        let document = Document::new(if rng.bool() { Shape::Producer } else { Shape::Ffmpeg })
            .video_track(1)
            .cluster_time(timecode)
            .block(1, 0, true, &vec![rng.u8(..); rng.usize(1..80)]);
        // The duration of two pictures is twice the distance between them.
        let (document, millis) = match length {
            0 => (document, 0),
            _ => (document.block(1, length / 2, false, b"p"), length as u64),
        };
        kept.push(store(stream, &document, millis, ordinal, time, server));
        ordinal += 1;
        timecode += length as u64;
        producer += i64::from(length);
        server += if rng.u32(0..5) == 0 { 0 } else { rng.i64(1..2000) };
    }
    kept
}

struct World {
    endpoint: LocalEndpoint,
    stream: LocalStream,
    kvs: KinesisVideo,
    kept: Vec<Kept>,
    rng: Rng,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        fastrand::seed(seed);
        let endpoint = LocalEndpoint::start().await.unwrap();
        let stream = endpoint.create_stream("door");
        let kept = ingest(&stream, &mut rng);
        let kvs = KinesisVideo::new(&endpoint.in_process_config());
        Self { endpoint, stream, kvs, kept, rng }
    }

    fn clock(&mut self) -> Clock {
        if self.rng.bool() { Clock::Producer } else { Clock::Server }
    }

    fn order(&mut self) -> Order {
        if self.rng.bool() { Order::Number } else { Order::Time }
    }

    /// A range of about a hundred fragments. Its ends are starts of fragments, or next to them.
    fn range(&mut self, clock: Clock) -> Range {
        let all = in_order(&self.kept, clock, Order::Time);
        let first = self.rng.usize(0..all.len());
        let last = (first + self.rng.usize(0..200)).min(all.len() - 1);
        let mut end = |index: usize| {
            let time = all[index].time(clock);
            match self.rng.u32(0..8) {
                0..4 => time,
                4 => time - 1,
                5 => time + 1,
                _ => time + self.rng.i64(-5000..5000),
            }
        };
        let (start, end) = (end(first), end(last));
        start.min(end)..=start.max(end)
    }

    /// Any batch size and any number of connections.
    fn anyhow(&mut self, archive: Archive) -> Archive {
        let rng = &mut self.rng;
        archive.batch(rng.usize(1..=500)).connections(rng.usize(1..=5)).buffer_bytes(1 << rng.u32(10..24))
    }

    fn nothing_was_refused(&self) {
        let counts = self.endpoint.fault_counts();
        assert_eq!((counts.throttled, counts.connection_limit), (0, 0), "more than the service allows");
    }
}

#[tokio::test(start_paused = true)]
async fn random_ranges_are_listed_like_the_model() {
    let mut world = World::new(1).await;
    let mut seen = 0;
    for round in 0..300 {
        let (clock, order) = (world.clock(), world.order());
        let range = if round == 0 { EVER } else { world.range(clock) };
        let expected = within(&in_order(&world.kept, clock, order), clock, &range);
        let context = format!("round {round}: {range:?} {clock:?} {order:?}");
        seen += expected.len();
        let pages = |rng: &mut Rng| rng.u32(1 + expected.len() as u32 / 20..=1000);
        let (size, again) = (pages(&mut world.rng), pages(&mut world.rng));
        let list = || world.kvs.list_fragments("door").range(times(&range)).clock(clock);
        let sorted: Vec<_> =
            list().page_size(size).prefetch(size as usize % 4).order(order).entries().try_collect().await.unwrap();
        same_infos(&sorted, &expected, &context);
        // The listing has the same fragments, each once.
        let mut unsorted: Vec<_> =
            list().page_size(again).prefetch(again as usize % 4).entries().try_collect().await.unwrap();
        unsorted.sort_by(|a, b| a.number().cmp(b.number()));
        let by_number = within(&in_order(&world.kept, clock, Order::Number), clock, &range);
        same_infos(&unsorted, &by_number, &context);
    }
    assert!(seen > 20_000, "{seen}");
    world.nothing_was_refused();
}

#[tokio::test(start_paused = true)]
async fn random_ranges_are_read_like_the_model() {
    let mut world = World::new(2).await;
    let mut seen = 0;
    for round in 0..100 {
        let (clock, order) = (world.clock(), world.order());
        let range = if round == 0 { EVER } else { world.range(clock) };
        let expected = within(&in_order(&world.kept, clock, order), clock, &range);
        seen += expected.len();
        let context = format!("round {round}: {range:?} {clock:?} {order:?}");
        let archive = archived(&world.kvs, &range, clock, order);
        let expected: Vec<Kept> = expected.into_iter().cloned().collect();
        let archive = if round % 4 == 0 { archive } else { world.anyhow(archive) };
        let archive = archive.fragments();
        let progress = archive.progress();
        let read: Vec<_> = archive.try_collect().await.unwrap();
        same(&read, &expected.iter().collect::<Vec<_>>(), &context);
        let progress = progress.borrow();
        let bytes: u64 = expected.iter().map(|kept| kept.raw.len() as u64).sum();
        let total = expected.len() as u64;
        assert_eq!((progress.fragments, progress.total_fragments, progress.unavailable), (total, Some(total), 0));
        assert_eq!((progress.bytes, progress.total_bytes), (bytes, Some(bytes)), "{context}");
        assert_eq!(progress.position, read.last().map(Fragment::position), "{context}");
    }
    assert!(seen > 8_000, "{seen}");
    world.nothing_was_refused();
}

#[tokio::test(start_paused = true)]
async fn random_lists_are_read_like_the_model() {
    let mut world = World::new(3).await;
    let infos = listed(&world.kvs, &EVER, Clock::Server, Order::Number).await;
    for round in 0..60 {
        // Numbers in any order, some more than once.
        let count = world.rng.usize(1..200);
        let chosen: Vec<usize> =
            (0..count).map(|_| world.rng.usize(0..if round % 2 == 0 { FRAGMENTS } else { 300 })).collect();
        let mut once = BTreeSet::new();
        let first: Vec<Kept> =
            chosen.iter().filter(|&&index| once.insert(index)).map(|&index| world.kept[index].clone()).collect();
        let archive = world.kvs.archive("door");
        let archive = match round % 3 {
            0 => archive.listed(chosen.iter().map(|&index| infos[index].clone())),
            _ => archive.numbers(chosen.iter().map(|&index| world.kept[index].number.clone())),
        };
        let archive = world.anyhow(archive);
        let read: Vec<_> = archive.fragments().try_collect().await.unwrap();
        same(&read, &first.iter().collect::<Vec<_>>(), &format!("round {round}"));
        // The rest of a list without repetitions, after any of its fragments.
        let behind = world.rng.usize(0..first.len());
        let position = position(&mut world.rng, &read[behind], &first[behind]);
        let archive =
            world.kvs.archive("door").numbers(first.iter().map(|kept| kept.number.clone())).start_after(position);
        let read: Vec<_> = archive.fragments().try_collect().await.unwrap();
        same(&read, &first[behind + 1..].iter().collect::<Vec<_>>(), &format!("round {round} behind {behind}"));
    }
    world.nothing_was_refused();
}

/// The position after a fragment, from a random source.
fn position(rng: &mut Rng, fragment: &Fragment, kept: &Kept) -> Position {
    match rng.u32(0..5) {
        0 => fragment.position(),
        1 => fragment.header().position(),
        2 => fragment.position().to_string().parse().unwrap(),
        3 => serde_json::from_str(&serde_json::to_string(&fragment.position()).unwrap()).unwrap(),
        // As a live stream saves it, with a token.
        _ => format!("kvs1:{}:{}:{}:=", kept.number, kept.server, kept.producer).parse().unwrap(),
    }
}

#[tokio::test(start_paused = true)]
async fn reading_resumes_after_any_position() {
    let mut world = World::new(4).await;
    for round in 0..80 {
        let (clock, order) = (world.clock(), world.order());
        let range = world.range(clock);
        let all = in_order(&world.kept, clock, order);
        // Within the range, before it, or after it.
        let inside = within(&all, clock, &range);
        let at = match inside.get(world.rng.usize(0..inside.len().max(1))) {
            Some(inside) if round % 4 > 0 => all.iter().position(|kept| kept.number == inside.number).unwrap(),
            _ => world.rng.usize(0..all.len()),
        };
        let expected: Vec<Kept> = within(&all[at + 1..], clock, &range).into_iter().cloned().collect();
        let last = all[at].clone();
        let info = listed(&world.kvs, &(last.server..=last.server), Clock::Server, Order::Number).await;
        let info = info.iter().find(|info| *info.number() == last.number).unwrap();
        let fragment = world.kvs.archive("door").listed([info.clone()]).fragments().try_next().await.unwrap().unwrap();
        let position = match round % 5 {
            0 => info.position(),
            _ => position(&mut world.rng, &fragment, &last),
        };
        let archive = archived(&world.kvs, &range, clock, order).start_after(position.clone());
        let archive = world.anyhow(archive);
        let archive = archive.fragments();
        let progress = archive.progress();
        let read: Vec<_> = archive.try_collect().await.unwrap();
        let context = format!("round {round}: {range:?} {clock:?} {order:?} behind {position}");
        same(&read, &expected.iter().collect::<Vec<_>>(), &context);
        assert_eq!(progress.borrow().total_fragments, Some(expected.len() as u64));
    }
    world.nothing_was_refused();
}

#[tokio::test(start_paused = true)]
async fn a_range_resumes_after_each_of_its_fragments() {
    let mut world = World::new(5).await;
    for (clock, order) in
        [(Clock::Server, Order::Number), (Clock::Producer, Order::Number), (Clock::Producer, Order::Time)]
    {
        let range = loop {
            let range = world.range(clock);
            if (30..60).contains(&within(&in_order(&world.kept, clock, order), clock, &range).len()) {
                break range;
            }
        };
        let whole: Vec<_> = archived(&world.kvs, &range, clock, order).fragments().try_collect().await.unwrap();
        for (index, fragment) in whole.iter().enumerate() {
            let archive = archived(&world.kvs, &range, clock, order).start_after(fragment.position());
            let rest: Vec<_> = archive.fragments().try_collect().await.unwrap();
            assert_eq!(numbers_of(&rest), numbers_of(&whole[index + 1..]), "{clock:?} {order:?} after {index}");
        }
    }
    world.nothing_was_refused();
}

// A position stays valid when its fragment has expired.
#[tokio::test(start_paused = true)]
async fn reading_resumes_after_an_expired_fragment() {
    let world = World::new(6).await;
    for order in [Order::Number, Order::Time] {
        let archive = archived(&world.kvs, &EVER, Clock::Server, order);
        let position = archive.fragments().take(100).try_collect::<Vec<_>>().await.unwrap()[99].position();
        if order == Order::Number {
            world.stream.expire(200);
        }
        let read: Vec<_> = archived(&world.kvs, &EVER, Clock::Server, order)
            .start_after(position)
            .fragments()
            .try_collect()
            .await
            .unwrap();
        let behind = if order == Order::Number { 200 } else { 300 };
        let expected: Vec<_> = in_order(&world.kept, Clock::Server, order)[behind..].to_vec();
        same(&read, &expected, &format!("{order:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_dropped_and_resumed_repeatedly_loses_nothing() {
    let mut world = World::new(7).await;
    for round in 0..12 {
        let (clock, order) = (world.clock(), world.order());
        let range = world.range(clock);
        let expected: Vec<Kept> =
            within(&in_order(&world.kept, clock, order), clock, &range).into_iter().cloned().collect();
        let (mut read, mut position): (Vec<Fragment>, Option<Position>) = (Vec::new(), None);
        loop {
            let mut archive = world.anyhow(archived(&world.kvs, &range, clock, order));
            if let Some(position) = position.take() {
                archive = archive.start_after(position);
            }
            let mut archive = archive.fragments();
            let progress = archive.progress();
            let most = world.rng.usize(1..60);
            // Drops the stream in the middle of a call about half the time.
            let until = Instant::now() + Duration::from_millis(world.rng.u64(0..20_000));
            let mut is_over = false;
            for _ in 0..most {
                match tokio::time::timeout_at(until, archive.try_next()).await {
                    Ok(Ok(Some(fragment))) => read.push(fragment),
                    Ok(Ok(None)) => {
                        is_over = true;
                        break;
                    }
                    Ok(Err(error)) => panic!("round {round}: {error}"),
                    Err(_) => break,
                }
            }
            let saved = progress.borrow().position.as_ref().map(ToString::to_string);
            drop(archive);
            if is_over {
                break;
            }
            position =
                saved.or_else(|| read.last().map(|last| last.position().to_string())).map(|p| p.parse().unwrap());
        }
        same(&read, &expected.iter().collect::<Vec<_>>(), &format!("round {round}: {range:?} {clock:?} {order:?}"));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_consumers_receive_every_fragment() {
    let mut world = World::new(8).await;
    let range = START..=world.kept[600].server;
    let expected = within(&in_order(&world.kept, Clock::Server, Order::Number), Clock::Server, &range);
    let pauses: Vec<u64> = (0..FRAGMENTS).map(|_| world.rng.u64(0..3000)).collect();
    let work = async |(index, fragment): (usize, Fragment)| {
        sleep(Duration::from_millis(pauses[index])).await;
        fragment
    };
    let archive = || {
        let mut index = 0;
        let archive = archived(&world.kvs, &range, Clock::Server, Order::Number).buffer_bytes(20_000).batch(50);
        archive.fragments().map_ok(move |fragment| {
            index += 1;
            (index, fragment)
        })
    };
    let ordered = archive().map_ok(|item| async { Ok(work(item).await) }).try_buffered(8);
    same(&ordered.try_collect::<Vec<_>>().await.unwrap(), &expected, "in order");
    let unordered = archive().map_ok(|item| async { Ok(work(item).await) }).try_buffer_unordered(8);
    let mut read: Vec<_> = unordered.try_collect().await.unwrap();
    assert!(!read.is_sorted_by_key(|fragment| fragment.number().cloned()), "in the order of the work");
    read.sort_by_key(|fragment| fragment.number().cloned());
    same(&read, &expected, "unordered");
    world.nothing_was_refused();
}

// C.4: "Archived media budget per stream: 500 points/s (shared by several APIs)".
#[tokio::test(start_paused = true)]
async fn concurrent_readers_share_the_rate_limit_of_a_stream() {
    let mut world = World::new(9).await;
    let mut reading = Vec::new();
    for _ in 0..4 {
        let (clock, order) = (world.clock(), world.order());
        let expected: Vec<Kept> = in_order(&world.kept, clock, order).into_iter().cloned().collect();
        let batch = world.rng.usize(100..=500);
        let archive = archived(&world.kvs.clone(), &EVER, clock, order).batch(batch).connections(1);
        reading.push(async move {
            let read: Vec<_> = archive.fragments().try_collect().await.unwrap();
            same(&read, &expected.iter().collect::<Vec<_>>(), &format!("{clock:?} {order:?}"));
        });
    }
    let start = Instant::now();
    futures::future::join_all(reading).await;
    // 12,000 fragments. The points for the first 500 are available at once.
    assert!(start.elapsed() >= Duration::from_secs(23), "{:?}", start.elapsed());
    world.nothing_was_refused();
}

// Live streams and the archive share one type of position.
#[tokio::test(start_paused = true)]
async fn the_archive_resumes_after_a_live_stream() {
    let world = World::new(10).await;
    let live = world.kvs.live("door").start(Start::Earliest).fragments();
    let live: Vec<_> = live.take(50).try_collect().await.unwrap();
    let position = live[49].position();
    assert!(position.continuation_token().is_some());
    for (clock, order) in [(Clock::Server, Order::Number), (Clock::Producer, Order::Time)] {
        let all = in_order(&world.kept, clock, order);
        let at = all.iter().position(|kept| Some(&kept.number) == position.number()).unwrap();
        let range = START - 1_000_000..=START + 1_000_000;
        let read: Vec<_> = archived(&world.kvs, &range, clock, order)
            .start_after(position.clone())
            .fragments()
            .try_collect()
            .await
            .unwrap();
        same(&read, &within(&all[at + 1..], clock, &range), &format!("{clock:?} {order:?}"));
    }
}

// C.1: "a fragment is listed when its start satisfies Start <= start <= End": one that begins at a whole millisecond does
// not begin in a range that starts within that millisecond.
#[tokio::test(start_paused = true)]
async fn a_range_may_start_within_a_millisecond() {
    let stored: Vec<_> = (0..3).map(|n| (START + n, START + n)).collect();
    let (_endpoint, _door, kvs, kept) = door(&stored).await;
    let within = |millis: i64, nanos: u64| {
        let whole = Timestamp::from_millis(START + millis).to_system_time();
        Timestamp::from(whole + Duration::from_nanos(nanos))
    };
    for (range, expected) in [
        (within(0, 0)..=within(1, 999_999), &[1, 2][..]),
        (within(0, 1)..=within(2, 0), &[2, 3]),
        (within(0, 1)..=within(0, 999_999), &[]),
    ] {
        for clock in [Clock::Server, Clock::Producer] {
            let list = kvs.list_fragments("door").range(range.clone()).clock(clock).order(Order::Number);
            let listed: Vec<_> = list.entries().map_ok(|info| info.number().clone()).try_collect().await.unwrap();
            assert_eq!(ordinals(&kept, &listed), expected, "{range:?} {clock:?}");
            let read: Vec<_> =
                kvs.archive("door").range(range.clone()).clock(clock).fragments().try_collect().await.unwrap();
            assert_eq!(numbers_of(&read), listed);
        }
    }
}

// `numbers` yields a number given twice once, in its first place. `start_after` leaves out the numbers up to a position,
// because another process has yielded them.
#[tokio::test(start_paused = true)]
async fn a_number_given_twice_is_not_repeated_after_a_position() {
    let stored: Vec<_> = (0..3).map(|n| (START + n, START + n)).collect();
    let (_endpoint, _door, kvs, kept) = door(&stored).await;
    let infos = listed(&kvs, &EVER, Clock::Server, Order::Number).await;
    let named = [0, 1, 0, 2, 1];
    for is_listed in [false, true] {
        let archive = || match is_listed {
            true => kvs.archive("door").listed(named.map(|index| infos[index].clone())),
            false => kvs.archive("door").numbers(named.map(|index| kept[index].number.clone())),
        };
        let whole: Vec<_> = archive().fragments().try_collect().await.unwrap();
        assert_eq!(ordinals(&kept, &numbers_of(&whole)), [1, 2, 3]);
        for (index, fragment) in whole.iter().enumerate() {
            let rest: Vec<_> = archive().start_after(fragment.position()).fragments().try_collect().await.unwrap();
            assert_eq!(numbers_of(&rest), numbers_of(&whole[index + 1..]), "behind {index}");
        }
    }
}

// C.4: "a GetMediaForFragmentList of 1000 fragments costs twice the per-second media budget"; "Over budget ->
// ClientLimitExceededException". Of `points_per_second`: "How many points of media a second to use".
#[tokio::test(start_paused = true)]
async fn calls_wait_until_an_expensive_call_is_within_the_rate() {
    let stored: Vec<_> = (0..3000).map(|n| (START + n, START + n)).collect();
    for (points, batch) in [(500, 1000), (100, 500), (100, 1000), (50, 20)] {
        let (endpoint, _door, kvs, _) = door(&stored).await;
        let start = Instant::now();
        let archive = kvs.archive("door").range(times(&EVER)).batch(batch).points_per_second(points);
        assert_eq!(archive.fragments().try_collect::<Vec<_>>().await.unwrap().len(), 3000);
        let context = format!("batches of {batch}, {points} points a second: {:?}", start.elapsed());
        assert_eq!(endpoint.fault_counts().throttled, 0, "{context}");
        // The points of the first call may be paid off after it.
        let least = (3000 - batch as u64) / u64::from(points);
        assert!(start.elapsed() >= Duration::from_secs(least), "{context}");
    }
}
