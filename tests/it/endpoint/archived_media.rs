//! GetMediaForFragmentList of the local endpoint, its quotas and injected faults, through the raw SDK.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::config::StalledStreamProtectionConfig;
use aws_sdk_kinesisvideoarchivedmedia::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesisvideoarchivedmedia::operation::list_fragments::ListFragmentsOutput;
use aws_sdk_kinesisvideoarchivedmedia::primitives::{ByteStream, DateTime};
use aws_sdk_kinesisvideoarchivedmedia::types::{FragmentSelector, FragmentSelectorType, TimestampRange};
use bytes::Bytes;
use futures::TryStreamExt;
use kinesis_video::ebml::Elements;
use kinesis_video::local::{
    InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Stamp, TagNames, fragment_number,
};
use kinesis_video::{BodyItem, BodyStream, FragmentEnd, FragmentNumber};

use crate::support::bodies::{
    CAPTURES, capture, ffmpeg_document, fragments, live_body, ordinal, producer_document, stamp,
};
use crate::support::endpoint::{http, refusal, unlimited};

/// A client without retries.
pub(super) fn client(config: &SdkConfig) -> Client {
    let config = aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(config)
        .retry_config(aws_config::retry::RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}

pub(super) async fn start(quotas: Quotas) -> (LocalEndpoint, Client) {
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let archive = client(&endpoint.sdk_config());
    (endpoint, archive)
}

/// An endpoint without sockets, for tests in which time is paused.
pub(super) async fn in_process(quotas: Quotas) -> (LocalEndpoint, Client) {
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let archive = client(&endpoint.in_process_config());
    (endpoint, archive)
}

/// Creates the stream "door" with fragments 1 to `last`, one per second.
pub(super) fn door(endpoint: &LocalEndpoint, last: u32) -> LocalStream {
    let stream = endpoint.create_stream("door");
    (1..=last).for_each(|ordinal| stream.push_stamped(&producer_document(ordinal), stamp(ordinal)));
    stream
}

pub(super) fn name_of<T, E: ProvideErrorMetadata>(
    result: Result<T, SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>>,
) -> Option<String> {
    result.err().map(|error| error.code().unwrap_or("no code").to_owned())
}

pub(super) fn selector(kind: FragmentSelectorType, start: i64, end: i64) -> FragmentSelector {
    let range = TimestampRange::builder()
        .start_timestamp(DateTime::from_millis(start))
        .end_timestamp(DateTime::from_millis(end))
        .build()
        .unwrap();
    FragmentSelector::builder().fragment_selector_type(kind).timestamp_range(range).build().unwrap()
}

pub(super) fn listed_numbers(page: &ListFragmentsOutput) -> Vec<FragmentNumber> {
    page.fragments().iter().map(|fragment| fragment.fragment_number().unwrap().parse().unwrap()).collect()
}

pub(super) fn ordinals(numbers: &[FragmentNumber]) -> Vec<u32> {
    numbers.iter().map(ordinal).collect()
}

/// The pages of a listing, with at most this many fragments each.
pub(super) async fn pages(archive: &Client, most: i64) -> Vec<Vec<FragmentNumber>> {
    let (mut pages, mut token) = (Vec::new(), None);
    loop {
        let call = archive.list_fragments().stream_name("door").max_results(most);
        let page = call.set_next_token(token).send().await.unwrap();
        pages.push(listed_numbers(&page));
        token = page.next_token;
        if token.is_none() {
            return pages;
        }
        assert!(pages.len() < 5000, "it has no end");
    }
}

/// The ordinals of the fragments listed between two times, both included.
pub(super) async fn between(archive: &Client, kind: FragmentSelectorType, start: i64, end: i64) -> Vec<u32> {
    let call = archive.list_fragments().stream_name("door").fragment_selector(selector(kind, start, end));
    let mut listed = ordinals(&listed_numbers(&call.send().await.unwrap()));
    listed.sort_unstable();
    listed
}

async fn get(archive: &Client, numbers: impl IntoIterator<Item = FragmentNumber>) -> Bytes {
    let numbers = numbers.into_iter().map(|number| number.to_string()).collect();
    let call = archive.get_media_for_fragment_list().stream_name("door").set_fragments(Some(numbers));
    let output = call.send().await.unwrap();
    assert_eq!(output.content_type(), Some("video/webm"));
    output.payload.collect().await.unwrap().into_bytes()
}

pub(super) async fn items(body: ByteStream) -> Vec<BodyItem> {
    BodyStream::from_byte_stream(body).try_collect().await.unwrap()
}

fn number(ordinal: u32) -> FragmentNumber {
    stamp(ordinal).number
}

#[tokio::test]
async fn chunks_equal_those_of_get_media_without_closing_tags() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 3).push_bytes(producer_document(4).to_bytes(&stamp(4), 9), stamp(4));
    let chunk = |ordinal: u32| producer_document(ordinal).to_bytes_without_trailer(&stamp(ordinal));
    // Fragments are in the order of the request, and twice if requested twice.
    let body = get(&archive, [3, 1, 4, 1].map(number)).await;
    assert_eq!(body, [chunk(3), chunk(1), chunk(4), chunk(1)].concat());
    for item in items(body.into()).await {
        let BodyItem::Fragment(fragment) = item else { panic!("{item:?}") };
        assert_ne!(fragment.end_reason(), FragmentEnd::Trailer);
        assert_eq!((fragment.behind_now(), fragment.continuation_token()), (None, None));
    }
}

#[tokio::test]
async fn captured_chunks_lose_their_closing_tags_and_nothing_else() {
    let (endpoint, archive) = start(unlimited()).await;
    let mut payloads = vec![live_body([producer_document(1), ffmpeg_document(2), producer_document(3)])];
    payloads.extend(CAPTURES.into_iter().filter_map(capture));
    for payload in payloads {
        endpoint.serve_payload("door", payload.clone());
        let whole: Vec<_> = fragments(&payload)
            .await
            .into_iter()
            .filter(|fragment| fragment.end_reason() == FragmentEnd::Trailer)
            .collect();
        assert!(whole.len() >= 3);
        let trailer_of = |raw: &Bytes| {
            // The last element has 161 to 165 bytes in all captures, and here.
            let tags = Elements::new(raw).find("Segment/Tags").last().unwrap().unwrap();
            assert_eq!(tags.header().payload() as usize + tags.payload().len(), raw.len());
            tags.offset() as usize
        };
        let expected: Vec<Bytes> =
            whole.iter().map(|fragment| fragment.raw().slice(..trailer_of(fragment.raw()))).collect();
        let numbers = || whole.iter().map(|fragment| fragment.number().unwrap().clone());
        assert!(get(&archive, numbers()).await == expected.concat());
    }
}

#[tokio::test]
async fn a_call_takes_1_to_1000_fragment_numbers() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 1000);
    let call = |fragments: Vec<String>| {
        archive.get_media_for_fragment_list().stream_name("door").set_fragments(Some(fragments)).send()
    };
    let all: Vec<String> = (1..=1000).map(|ordinal| number(ordinal).to_string()).collect();
    assert_eq!(items(call(all.clone()).await.unwrap().payload).await.len(), 1000);
    let one_more = [&all[..], &[all[0].clone()]].concat();
    for (fragments, expected) in [
        (vec![], "Fragments must be 1 to 1000 fragment numbers"),
        (one_more, "Fragments must be 1 to 1000 fragment numbers"),
        (vec![all[0].clone(), "no number".into()], "Fragment numbers are invalid"),
        (vec![String::new()], "Fragment numbers are invalid"),
        (vec!["9".repeat(129)], "Fragment numbers are invalid"),
    ] {
        let (name, status, message) = refusal(call(fragments).await);
        assert_eq!((status, name.as_str(), message.as_str()), (400, "InvalidArgumentException", expected));
    }
    let answer = http(&endpoint, "POST", "/getMediaForFragmentList", r#"{"StreamName":"door"}"#).await.1;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_missing_fragment_is_a_fault_in_its_place() {
    let (endpoint, archive) = start(unlimited()).await;
    let stream = door(&endpoint, 3);
    let asked = || [number(1), number(9), number(3)];
    let chunk = |ordinal: u32| producer_document(ordinal).to_bytes_without_trailer(&stamp(ordinal));
    for (tag_names, tags) in [
        (
            TagNames::Seen,
            vec![
                ("AWS_KINESISVIDEO_ERROR_CODE", "FRAGMENT_NOT_FOUND".to_owned()),
                ("AWS_KINESISVIDEO_ERROR_ID", "3000".to_owned()),
                ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number(9).to_string()),
            ],
        ),
        (
            TagNames::Documented,
            vec![
                ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", "3000".to_owned()),
                ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", "FRAGMENT_NOT_FOUND".to_owned()),
                ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number(9).to_string()),
            ],
        ),
    ] {
        stream.set_archive_tag_names(tag_names);
        let body = get(&archive, asked()).await;
        let read = items(body.clone().into()).await;
        let [BodyItem::Fragment(first), BodyItem::Fault(fault), BodyItem::Fragment(last)] = &read[..] else {
            panic!("{read:?}")
        };
        assert_eq!((first.number(), last.number()), (Some(&number(1)), Some(&number(3))));
        assert_eq!((fault.id(), fault.message()), (Some(3000), Some("FRAGMENT_NOT_FOUND")));
        assert_eq!(fault.fragment_number(), Some(&number(9)));
        // The error is an EBML header, a Segment of unknown size, and one Tags element.
        let document = body.slice(first.raw().len()..body.len() - last.raw().len());
        let top: Vec<_> = Elements::new(&document).map(Result::unwrap).collect();
        let names: Vec<_> = top.iter().map(|element| element.id().name().unwrap()).collect();
        assert_eq!(names, ["EBML", "Segment"]);
        assert_eq!(top[1].header().size, None);
        let inside: Vec<_> = top[1].children().map(|element| element.unwrap().id().name().unwrap()).collect();
        assert_eq!(inside, ["Tags"]);
        let texts = |path: &str| {
            let found =
                Elements::new(&document).find(path).map(|text| text.unwrap().value().as_text().unwrap().into_owned());
            found.collect::<Vec<String>>()
        };
        let (names, values): (Vec<_>, Vec<_>) = tags.into_iter().unzip();
        assert_eq!(texts("Segment/Tags/Tag/SimpleTag/TagName"), names);
        assert_eq!(texts("Segment/Tags/Tag/SimpleTag/TagString"), values);
        if tag_names == TagNames::Seen {
            assert_eq!(first.raw(), &chunk(1));
            assert_eq!(last.raw(), &chunk(3));
        }
    }
}

#[tokio::test]
async fn documented_tag_names_can_replace_the_observed_ones() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 1).set_archive_tag_names(TagNames::Documented);
    let body = get(&archive, [number(1)]).await;
    let seen = producer_document(1).to_bytes_without_trailer(&stamp(1));
    let tags_of = |document: &Bytes| {
        let tags = Elements::new(document).find("Segment/Tags").next().unwrap().unwrap();
        tags.offset() as usize..tags.header().payload() as usize + tags.payload().len()
    };
    let (there, was) = (tags_of(&body), tags_of(&seen));
    assert_eq!(body[..there.start], seen[..was.start]);
    assert_eq!(body[there.end..], seen[was.end..]);
    let names: Vec<_> = Elements::new(&body)
        .find("Segment/Tags/Tag/SimpleTag/TagName")
        .map(|name| name.unwrap().value().as_text().unwrap().into_owned())
        .collect();
    assert_eq!(
        names,
        [
            "AWS_KINESISVIDEO_FRAGMENT_NUMBER",
            "AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP",
            "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP",
            "ordinal"
        ]
    );
    let read = items(body.into()).await;
    let [BodyItem::Fragment(fragment)] = &read[..] else { panic!("{read:?}") };
    assert_eq!(fragment.server_time(), Some(stamp(1).server_time));
    assert_eq!(fragment.producer_time(), Some(stamp(1).producer_time));
}

#[tokio::test(start_paused = true)]
async fn a_fragment_is_found_after_its_delay() {
    let (endpoint, archive) = in_process(unlimited().archived_after(Duration::from_secs(2))).await;
    let stream = endpoint.create_stream("door");
    let old = stream.push(&producer_document(1));
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let fresh = stream.push(&producer_document(2));
    let numbers = || [old.number.clone(), fresh.number.clone(), old.number.clone()];
    let found = async || {
        let read = items(get(&archive, numbers()).await.into()).await;
        read.iter().map(|item| matches!(item, BodyItem::Fragment(_))).collect::<Vec<_>>()
    };
    assert_eq!(found().await, [false, false, false]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(found().await, [true, false, true]);
    tokio::time::sleep(Duration::from_millis(1499)).await;
    assert_eq!(found().await, [true, false, true]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(found().await, [true, true, true]);
    // Fragments are listed at once.
    assert_eq!(pages(&archive, 10).await.concat().len(), 2);
}

#[tokio::test]
async fn fragments_are_found_among_many() {
    let (endpoint, archive) = start(unlimited()).await;
    let stream = endpoint.create_stream("door");
    let stamp = |ordinal: u32| Stamp { number: fragment_number(ordinal, 0), ..stamp(1) };
    for ordinal in 1..=100_000u32 {
        stream.push_bytes(ordinal.to_be_bytes().to_vec(), stamp(ordinal));
    }
    let start = std::time::Instant::now();
    // The newest is found as fast as the oldest.
    let body = get(&archive, (99_001..=100_000).map(|ordinal| stamp(ordinal).number)).await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let expected: Vec<u8> = (99_001..=100_000u32).flat_map(u32::to_be_bytes).collect();
    assert_eq!(body, expected);
    // Expired fragments are not confused with others.
    stream.expire(99_500);
    let read = get(&archive, [99_500, 99_501].map(|ordinal| stamp(ordinal).number)).await;
    assert!(read.ends_with(&99_501u32.to_be_bytes()));
    assert!(read.windows(18).any(|bytes| bytes == b"FRAGMENT_NOT_FOUND"));
}

// Limits.

#[tokio::test]
async fn a_sixth_connection_is_refused_until_one_is_closed() {
    let (endpoint, archive) = start(Quotas::default().media_points(None)).await;
    let stream = endpoint.create_stream("door");
    // More than a socket buffers, so that an unread body stays open.
    stream.push_bytes(vec![7; 32 << 20], stamp(1));
    let open = async || {
        let number = number(1).to_string();
        archive.get_media_for_fragment_list().stream_name("door").fragments(number).send().await
    };
    let mut bodies = Vec::new();
    for _ in 0..5 {
        bodies.push(open().await.unwrap().payload);
    }
    assert_eq!(stream.open_list_connections(), 5);
    for refused in 1..=2 {
        let (name, status, _) = refusal(open().await);
        assert_eq!((status, name.as_str()), (400, "ClientLimitExceededException"));
        assert_eq!(endpoint.fault_counts().connection_limit, refused);
    }
    // The connections of GetMedia and of other streams count separately.
    assert_eq!(stream.open_connections(), 0);
    let other = endpoint.create_stream("window");
    other.push_stamped(&producer_document(1), self::stamp(1));
    let call = archive.get_media_for_fragment_list().stream_name("window").fragments(number(1).as_str());
    call.send().await.unwrap().payload.collect().await.unwrap();
    let until = async |open: u32| {
        tokio::time::timeout(Duration::from_secs(20), async {
            while stream.open_list_connections() > open {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("it is closed");
    };
    // A body that is read to its end frees a connection. So does a client that disconnects.
    assert_eq!(bodies.pop().unwrap().collect().await.unwrap().into_bytes().len(), 32 << 20);
    until(4).await;
    bodies.push(open().await.unwrap().payload);
    assert_eq!(name_of(open().await).as_deref(), Some("ClientLimitExceededException"));
    drop(bodies);
    until(0).await;
    assert!(open().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_counts_while_it_lingers() {
    let quotas = unlimited().list_connections(Some(1)).linger(Duration::from_secs(10));
    let (endpoint, archive) = in_process(quotas).await;
    door(&endpoint, 2);
    let open = async || {
        let call = archive.get_media_for_fragment_list().stream_name("door");
        call.fragments(number(1).as_str()).fragments(number(2).as_str()).send().await
    };
    // A body that ended by itself does not linger.
    open().await.unwrap().payload.collect().await.unwrap();
    drop(open().await.unwrap());
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(name_of(open().await).as_deref(), Some("ClientLimitExceededException"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(open().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_listing_costs_a_point_for_each_fragment_it_may_have() {
    let (endpoint, archive) = in_process(Quotas::default()).await;
    door(&endpoint, 3);
    let list = async |most: Option<i64>| {
        name_of(archive.list_fragments().stream_name("door").set_max_results(most).send().await)
    };
    let throttled = Some("ClientLimitExceededException".to_owned());
    // Ten calls per second with 1000 results each, however few fragments there are.
    for _ in 0..10 {
        assert_eq!(list(Some(1000)).await, None);
    }
    assert_eq!(list(Some(1)).await, throttled);
    assert_eq!(endpoint.fault_counts().throttled, 1);
    // Media have their own points, and so does each stream.
    get(&archive, [number(1)]).await;
    endpoint.create_stream("window");
    assert!(archive.list_fragments().stream_name("window").send().await.is_ok());
    // 10,000 points per second are ten per millisecond.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(list(Some(501)).await, throttled);
    assert_eq!(list(Some(500)).await, None);
    // A call without MaxResults costs 100 points.
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(list(None).await, None);
    assert_eq!(list(Some(1)).await, throttled);
    // A call with an invalid argument costs nothing.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(list(Some(0)).await.as_deref(), Some("InvalidArgumentException"));
    assert_eq!(list(Some(10)).await, None);
    assert_eq!(endpoint.fault_counts().throttled, 3);
}

#[tokio::test(start_paused = true)]
async fn media_cost_a_point_for_each_fragment() {
    let (endpoint, archive) = in_process(Quotas::default()).await;
    door(&endpoint, 1000);
    let get = async |fragments: u32| {
        let numbers = (1..=fragments).map(|ordinal| number(ordinal).to_string()).collect();
        let call = archive.get_media_for_fragment_list().stream_name("door").set_fragments(Some(numbers));
        let sent = call.send().await;
        if let Ok(output) = sent {
            output.payload.collect().await.unwrap();
            return None;
        }
        name_of(sent)
    };
    let throttled = Some("ClientLimitExceededException".to_owned());
    assert_eq!(get(499).await, None);
    assert_eq!(get(1).await, None);
    assert_eq!(get(1).await, throttled);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(get(50).await, None);
    assert_eq!(get(1).await, throttled);
    // 1000 fragments cost twice the points of a second. The call needs all points, and is paid off after 2 s.
    tokio::time::sleep(Duration::from_millis(990)).await;
    assert_eq!(get(1000).await, throttled);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(get(1000).await, None);
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(get(1).await, throttled);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(get(1).await, None);
    assert_eq!(endpoint.fault_counts().throttled, 4);
}

#[tokio::test(start_paused = true)]
async fn point_quotas_can_be_set_and_removed() {
    let (endpoint, archive) = in_process(Quotas::default().metadata_points(Some(5)).media_points(Some(2))).await;
    door(&endpoint, 3);
    assert_eq!(name_of(archive.list_fragments().stream_name("door").max_results(5).send().await), None);
    assert!(archive.list_fragments().stream_name("door").max_results(1).send().await.is_err());
    get(&archive, [1, 2].map(number)).await;
    let call = archive.get_media_for_fragment_list().stream_name("door").fragments(number(1).as_str());
    assert!(call.send().await.is_err());

    // Only points are limited, not calls.
    let (endpoint, archive) = in_process(unlimited().calls_per_second(Some(1))).await;
    door(&endpoint, 3);
    for _ in 0..50 {
        assert!(archive.list_fragments().stream_name("door").max_results(1000).send().await.is_ok());
        get(&archive, [1, 2, 3].map(number)).await;
    }
    assert_eq!(endpoint.fault_counts().throttled, 0);
}

// Injected faults.

/// Requests ten fragments under a fault. Returns their ordinals, negative for a fault in the media, and the error at
/// the end of the body.
async fn with(endpoint: &LocalEndpoint, archive: &Client, fault: InjectedFault) -> (Vec<i64>, Option<String>) {
    endpoint.inject(Operation::GetMediaForFragmentList, Some("door"), fault);
    let numbers = (1..=10).map(|ordinal| number(ordinal).to_string()).collect();
    let call = archive.get_media_for_fragment_list().stream_name("door").set_fragments(Some(numbers));
    let mut body = BodyStream::from_byte_stream(call.send().await.unwrap().payload);
    let ordinal = |number: &FragmentNumber| i64::from(ordinals(std::slice::from_ref(number))[0]);
    let mut read = Vec::new();
    loop {
        match body.try_next().await {
            Ok(Some(BodyItem::Fragment(fragment))) => read.push(ordinal(fragment.number().unwrap())),
            Ok(Some(BodyItem::Fault(fault))) => read.push(-fault.fragment_number().map_or(99, ordinal)),
            Ok(Some(_)) => {}
            Ok(None) => return (read, None),
            Err(error) => return (read, Some(format!("{:?}", error.kind()))),
        }
    }
}

#[tokio::test]
async fn injected_faults_shuffle_omit_or_replace_chunks() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 10);
    let sorted: Vec<i64> = (1..=10).collect();
    let mut orders = BTreeSet::new();
    for seed in 0..20 {
        let (mut read, error) = with(&endpoint, &archive, InjectedFault::Shuffle(seed)).await;
        assert_eq!(error, None);
        assert_ne!(read, sorted);
        assert_eq!(with(&endpoint, &archive, InjectedFault::Shuffle(seed)).await.0, read);
        orders.insert(read.clone());
        read.sort_unstable();
        assert_eq!(read, sorted);
    }
    assert!(orders.len() > 15);
    assert_eq!(endpoint.fault_counts().shuffle, 40);
    for seed in 0..8 {
        // Two fragments have one other order. One fragment has none, and is not counted.
        endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::Shuffle(seed));
        let read = items(get(&archive, [1, 2].map(number)).await.into()).await;
        let BodyItem::Fragment(first) = &read[0] else { panic!("{read:?}") };
        assert_eq!(first.number(), Some(&number(2)));
        endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::Shuffle(seed));
        get(&archive, [number(1)]).await;
    }
    assert_eq!(endpoint.fault_counts().shuffle, 48);

    for place in [0, 4, 9] {
        let (read, error) = with(&endpoint, &archive, InjectedFault::Omit(place)).await;
        let expected: Vec<i64> = sorted.iter().copied().filter(|ordinal| *ordinal != place as i64 + 1).collect();
        assert_eq!((read, error), (expected, None));
        let fault = InjectedFault::FaultAt { fragment: place, id: 5000, message: "internal".into() };
        let (read, error) = with(&endpoint, &archive, fault).await;
        let mut expected = sorted.clone();
        expected[place as usize] *= -1;
        assert_eq!((read, error), (expected, None));
    }
    // There is no fragment of this index.
    assert_eq!(with(&endpoint, &archive, InjectedFault::Omit(10)).await, (sorted.clone(), None));
    let fault = InjectedFault::FaultAt { fragment: 10, id: 5000, message: "internal".into() };
    assert_eq!(with(&endpoint, &archive, fault).await, (sorted, None));
    let counts = endpoint.fault_counts();
    assert_eq!((counts.omit, counts.fault_at, counts.fault), (3, 3, 0));
}

#[tokio::test]
async fn a_fault_carries_the_injected_id_and_message() {
    let (endpoint, archive) = start(unlimited()).await;
    let stream = door(&endpoint, 2);
    for tag_names in [TagNames::Seen, TagNames::Documented] {
        stream.set_archive_tag_names(tag_names);
        let fault = InjectedFault::FaultAt { fragment: 1, id: 4503, message: "KMS key not available".into() };
        endpoint.inject(Operation::GetMediaForFragmentList, None, fault);
        let body = get(&archive, [1, 2].map(number)).await;
        let names = b"AWS_KINESISVIDEO_EXCEPTION_MESSAGE";
        assert_eq!(body.windows(names.len()).any(|bytes| bytes == names), tag_names == TagNames::Documented);
        let read = items(body.into()).await;
        let [BodyItem::Fragment(_), BodyItem::Fault(fault)] = &read[..] else { panic!("{read:?}") };
        assert_eq!(
            (fault.id(), fault.message(), fault.fragment_number()),
            (Some(4503), Some("KMS key not available"), Some(&number(2)))
        );
    }
}

#[tokio::test]
async fn body_faults_apply_as_in_get_media() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 10);
    let length = producer_document(1).to_bytes_without_trailer(&stamp(1)).len() as u64;
    let ten: Vec<i64> = (1..=10).collect();
    let io = Some("Io".to_owned());
    // The third fragment is cut after its number.
    let three = vec![1, 2, 3];
    let cut = length * 2 + length - 40;
    let pause = Duration::from_millis(30);
    let fault = InjectedFault::FaultAfter { fragments: 4, id: 5000, message: "internal".into() };
    for (fault, event, expected) in [
        (InjectedFault::CutAfter(cut), "cut", (three.clone(), io.clone())),
        (InjectedFault::ResetAfter(cut), "reset", (three.clone(), io.clone())),
        (InjectedFault::BreakOff(cut), "break off", (three, None)),
        (InjectedFault::EndAfter(4), "end", (vec![1, 2, 3, 4], None)),
        (fault, "fault", (vec![1, 2, 3, 4, -99], None)),
        (InjectedFault::Stall { after: 700, pause }, "stall", (ten.clone(), None)),
        (InjectedFault::Trickle { bytes: 333, pause: Duration::from_micros(10) }, "trickle", (ten.clone(), None)),
    ] {
        let start = std::time::Instant::now();
        let read = with(&endpoint, &archive, fault.clone()).await;
        assert_eq!(read, expected, "{fault:?}");
        let counted = endpoint.fault_counts().iter().find(|(name, _)| *name == event);
        assert_eq!(counted, Some((event, 1)), "{fault:?}");
        assert!(event != "stall" || start.elapsed() >= pause);
    }
    // The damage is in the bytes, at this offset.
    let whole = get(&archive, (1..=10).map(number)).await;
    endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::DamageAt(length * 3 + 50));
    let damaged = get(&archive, (1..=10).map(number)).await;
    let at = length as usize * 3 + 50;
    assert_eq!(damaged[..at], whole[..at]);
    assert_eq!(damaged[at..at + 12], [0; 12]);
    assert_eq!(damaged[at + 12..], whole[at + 12..]);
    assert_eq!(endpoint.fault_counts().damage, 1);
    assert_eq!(endpoint.pending_faults(), 0);
}

#[tokio::test]
async fn calls_are_refused_as_injected() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 1);
    let list = || archive.list_fragments().stream_name("door").send();
    let media = || archive.get_media_for_fragment_list().stream_name("door").fragments(number(1).as_str()).send();
    for (name, status) in
        [("ClientLimitExceededException", 400), ("NotAuthorizedException", 401), ("InternalFailure", 500)]
    {
        endpoint.inject(Operation::ListFragments, None, InjectedFault::Refuse(name.into()));
        endpoint.inject(Operation::GetMediaForFragmentList, Some("door"), InjectedFault::Refuse(name.into()));
        let (list, media) = (refusal(list().await), refusal(media().await));
        assert_eq!((list.0.as_str(), list.1), (name, status));
        assert_eq!((media.0.as_str(), media.1), (name, status));
    }
    // The answer is 200, without content.
    endpoint.inject(Operation::ListFragments, None, InjectedFault::UnknownOperation);
    endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::UnknownOperation);
    let listed = list().await.unwrap();
    assert_eq!((listed.fragments(), listed.next_token()), (&[][..], None));
    let body = media().await.unwrap().payload.collect().await.unwrap().into_bytes();
    assert!(body.starts_with(br#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException""#));
    assert_eq!(endpoint.fault_counts().unknown_operation, 2);
}

#[tokio::test]
async fn a_stale_endpoint_can_be_injected_for_each_operation() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 1);
    let control = aws_sdk_kinesisvideo::Client::new(&endpoint.sdk_config());
    let ask = async |api: ApiName| {
        control.get_data_endpoint().stream_name("door").api_name(api).send().await.unwrap();
    };
    let list = async || name_of(archive.list_fragments().stream_name("door").send().await);
    let media = async || {
        name_of(archive.get_media_for_fragment_list().stream_name("door").fragments(number(1).as_str()).send().await)
    };
    let stale = Some("InvalidEndpointException".to_owned());
    endpoint.inject(Operation::ListFragments, None, InjectedFault::StaleEndpoint);
    assert_eq!((list().await, list().await, media().await), (stale.clone(), stale.clone(), None));
    ask(ApiName::GetMediaForFragmentList).await;
    ask(ApiName::GetMedia).await;
    assert_eq!(list().await, stale);
    ask(ApiName::ListFragments).await;
    assert_eq!(list().await, None);
    endpoint.inject(Operation::GetMediaForFragmentList, None, InjectedFault::StaleEndpoint);
    assert_eq!((media().await, media().await, list().await), (stale.clone(), stale, None));
    ask(ApiName::GetMediaForFragmentList).await;
    assert_eq!(media().await, None);
    assert_eq!(endpoint.fault_counts().stale_endpoint, 5);
}
