//! ListFragments of the local endpoint, through the raw SDK.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::FragmentSelectorType;
use kinesis_video::local::{Document, InjectedFault, Operation, Shape, Stamp};
use kinesis_video::{BodyItem, FragmentNumber, Timestamp};
use proptest::prelude::*;

use super::archived_media::{between, door, in_process, items, listed_numbers, ordinals, pages, selector, start};
use crate::support::bodies::{ffmpeg_document, fragments, live_body, producer_document, stamp};
use crate::support::endpoint::{http, refusal, unlimited};

#[tokio::test]
async fn a_call_takes_a_stream_name_or_an_arn_but_not_both() {
    let (endpoint, archive) = start(unlimited()).await;
    let stream = door(&endpoint, 3);
    let number = stamp(1).number.to_string();
    for list in [archive.list_fragments().stream_name("door"), archive.list_fragments().stream_arn(stream.arn())] {
        assert_eq!(list.send().await.unwrap().fragments().len(), 3);
    }
    let get = || archive.get_media_for_fragment_list().fragments(&number);
    for get in [get().stream_name("door"), get().stream_arn(stream.arn())] {
        assert!(get.send().await.is_ok());
    }
    for list in [archive.list_fragments(), archive.list_fragments().stream_name("door").stream_arn(stream.arn())] {
        let (name, status, _) = refusal(list.send().await);
        assert_eq!((status, name.as_str()), (400, "InvalidArgumentException"));
    }
    for get in [get(), get().stream_name("door").stream_arn(stream.arn())] {
        let (name, status, _) = refusal(get.send().await);
        assert_eq!((status, name.as_str()), (400, "InvalidArgumentException"));
    }
    let (name, status, _) = refusal(archive.list_fragments().stream_name("nobody").send().await);
    assert_eq!((status, name.as_str()), (404, "ResourceNotFoundException"));
    let (name, status, _) = refusal(get().stream_name("nobody").send().await);
    assert_eq!((status, name.as_str()), (404, "ResourceNotFoundException"));
}

#[tokio::test]
async fn a_page_has_1_to_1000_fragments_and_a_token_if_more_follow() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 1200);
    for (asked, given) in [(Some(1), 1), (Some(7), 7), (Some(1000), 1000), (None, 100)] {
        let page = archive.list_fragments().stream_name("door").set_max_results(asked).send().await.unwrap();
        assert_eq!(page.fragments().len(), given, "{asked:?}");
        assert!(page.next_token().is_some());
    }
    for asked in [-1, 0, 1001, i64::MAX] {
        let (name, status, _) = refusal(archive.list_fragments().stream_name("door").max_results(asked).send().await);
        assert_eq!((status, name.as_str()), (400, "InvalidArgumentException"), "{asked}");
    }
    let sizes = |pages: Vec<Vec<FragmentNumber>>| pages.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(pages(&archive, 1000).await), [1000, 200]);
    // The last page has no token, whether or not it is full.
    assert_eq!(sizes(pages(&archive, 600).await), [600, 600]);
    endpoint.create_stream("door");
    assert_eq!(sizes(pages(&archive, 10).await), [0]);
}

#[tokio::test]
async fn a_token_alone_selects_the_next_page() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 20);
    let time = |ordinal: u32| stamp(ordinal).server_time.as_millis();
    let range = selector(FragmentSelectorType::ServerTimestamp, time(4), time(9));
    let call = archive.list_fragments().stream_name("door").fragment_selector(range.clone()).max_results(2);
    let first = call.send().await.unwrap();
    let token = first.next_token().unwrap();
    let digits = token.trim_end_matches('=');
    assert!(token.len() - digits.len() <= 2 && !digits.is_empty() && token.len() <= 4096);
    assert!(digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte)), "{token}");
    // The token alone keeps the range of the first call. With the selector the result is the same.
    let follow = || archive.list_fragments().stream_name("door").next_token(token);
    let rest = follow().send().await.unwrap();
    assert_eq!(rest.next_token(), None);
    let all: BTreeSet<u32> = ordinals(&[listed_numbers(&first), listed_numbers(&rest)].concat()).into_iter().collect();
    assert_eq!(all, (4..=9).collect());
    assert_eq!(listed_numbers(&follow().fragment_selector(range).send().await.unwrap()), listed_numbers(&rest));
    // A page can be requested again.
    assert_eq!(listed_numbers(&follow().send().await.unwrap()), listed_numbers(&rest));
    let other = endpoint.create_stream("window");
    other.push_stamped(&producer_document(1), stamp(1));
    for (stream, token) in [("window", token), ("door", "abcd"), ("door", ""), ("door", &token[2..])] {
        let (name, status, _) = refusal(archive.list_fragments().stream_name(stream).next_token(token).send().await);
        assert_eq!((status, name.as_str()), (400, "InvalidArgumentException"), "{token}");
    }
}

#[tokio::test]
async fn the_selector_is_optional() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 10);
    let listed = archive.list_fragments().stream_name("door").send().await.unwrap();
    let all: BTreeSet<u32> = ordinals(&listed_numbers(&listed)).into_iter().collect();
    assert_eq!(all, (1..=10).collect());
    assert_eq!(listed.next_token(), None);
}

#[tokio::test]
async fn all_members_of_a_selector_are_required() {
    let (endpoint, _) = start(unlimited()).await;
    door(&endpoint, 1);
    let range = r#""TimestampRange":{"StartTimestamp":1.5,"EndTimestamp":2E9}"#;
    let whole = format!(r#""FragmentSelectorType":"SERVER_TIMESTAMP",{range}"#);
    let list = async |selector: &str| {
        let body = format!(r#"{{"StreamName":"door","FragmentSelector":{{{selector}}}}}"#);
        http(&endpoint, "POST", "/listFragments", &body).await.1
    };
    let answer = list(&whole).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(stamp(1).number.as_str()), "{answer}");
    for selector in [
        "",
        range,
        r#""FragmentSelectorType":"SERVER_TIMESTAMP""#,
        &whole.replace("SERVER_", "CAMERA_"),
        &whole.replace(r#""StartTimestamp":1.5,"#, ""),
        &whole.replace(r#","EndTimestamp":2E9"#, ""),
        // A range that ends before it starts.
        &whole.replace("2E9", "1.4"),
    ] {
        let answer = list(selector).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{selector}: {answer}");
        assert!(answer.to_lowercase().contains("x-amzn-errortype: invalidargumentexception:"), "{answer}");
    }
}

#[tokio::test]
async fn a_fragment_is_listed_if_it_starts_in_the_range() {
    let (endpoint, archive) = start(unlimited()).await;
    let stream = endpoint.create_stream("door");
    // Fragments of 2 s. The producer's clock is three days slow.
    let (server, producer) = (1_700_000_000_000, 1_699_740_800_000);
    let two_seconds = || Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"a").block(1, 1000, true, b"b");
    for ordinal in 1..=4 {
        let offset = (i64::from(ordinal) - 1) * 2000;
        stream.push_stamped(
            &two_seconds(),
            Stamp {
                number: stamp(ordinal).number,
                server_time: Timestamp::from_millis(server + offset),
                producer_time: Timestamp::from_millis(producer + offset),
            },
        );
    }
    for (start, end, expected) in [
        // The example of the documentation: starts 0, 2, 4 and 6, range 1 to 4. The first contains 1, and is not
        // listed.
        (1000, 4000, vec![2, 3]),
        // Both ends are included, to the millisecond.
        (2000, 4000, vec![2, 3]),
        (2001, 4000, vec![3]),
        (2000, 3999, vec![2]),
        (2001, 3999, vec![]),
        (2000, 2000, vec![2]),
        (0, 6000, vec![1, 2, 3, 4]),
        (-1_000_000, 1_000_000, vec![1, 2, 3, 4]),
        (6001, 100_000, vec![]),
        (-100_000, -1, vec![]),
    ] {
        for (kind, origin) in
            [(FragmentSelectorType::ServerTimestamp, server), (FragmentSelectorType::ProducerTimestamp, producer)]
        {
            let listed = between(&archive, kind.clone(), origin + start, origin + end).await;
            assert_eq!(listed, expected, "{kind} {start}..={end}");
        }
    }
    // The range by one clock has no fragments by the other.
    assert!(between(&archive, FragmentSelectorType::ProducerTimestamp, server, server + 6000).await.is_empty());
    assert!(between(&archive, FragmentSelectorType::ServerTimestamp, producer, producer + 6000).await.is_empty());
}

#[tokio::test]
async fn each_fragment_is_listed_with_its_size_times_and_length() {
    let (endpoint, archive) = start(unlimited()).await;
    let stream = door(&endpoint, 1);
    // A single frame has no duration.
    let single = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"frame");
    stream.push_stamped(&single, stamp(2));
    let listed = archive.list_fragments().stream_name("door").send().await.unwrap();
    // The SDK reads seconds as a float, which is a few nanoseconds off.
    let millis = |time: &DateTime| ((time.as_nanos() + 500_000) / 1_000_000) as i64;
    for (document, stamp, length) in [(producer_document(1), stamp(1), 1000), (single, stamp(2), 0)] {
        let is_it = |number: &str| number == stamp.number.as_str();
        let info = listed.fragments().iter().find(|info| info.fragment_number().is_some_and(is_it)).unwrap();
        let size = document.to_bytes_without_trailer(&stamp).len() as i64;
        assert_eq!(info.fragment_size_in_bytes(), size);
        assert_eq!(millis(info.server_timestamp().unwrap()), stamp.server_time.as_millis());
        assert_eq!(millis(info.producer_timestamp().unwrap()), stamp.producer_time.as_millis());
        let fragment = &fragments(&document.to_bytes(&stamp, 0)).await[0];
        assert_eq!(info.fragment_length_in_milliseconds() as u128, fragment.duration().as_millis());
        assert_eq!(info.fragment_length_in_milliseconds(), length);
    }
    let answer = http(&endpoint, "POST", "/listFragments", r#"{"StreamName":"door"}"#).await.1;
    assert!(answer.contains(r#""ServerTimestamp":1511852110.126,"#), "{answer}");
    assert!(answer.contains(r#""ProducerTimestamp":1511852109.513,"#), "{answer}");
}

#[tokio::test]
async fn listed_fragments_are_in_a_stable_random_order() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 200);
    let first = pages(&archive, 50).await;
    assert_eq!(first.len(), 4);
    for page in &first {
        assert!(!page.is_sorted(), "not within a page");
    }
    assert!(first.windows(2).all(|two| two[0].iter().max() > two[1].iter().min()), "not across pages");
    let mut all = first.concat();
    all.sort_unstable();
    assert_eq!(ordinals(&all), (1..=200).collect::<Vec<_>>());
    // The order does not depend on the page size, so tests are reproducible.
    assert_eq!(pages(&archive, 33).await.concat(), first.concat());
}

#[tokio::test(start_paused = true)]
async fn a_range_before_the_retention_period_is_refused() {
    let (endpoint, archive) = in_process(unlimited()).await;
    let stream = endpoint.create_stream("door");
    let pushed = stream.push(&producer_document(1)).server_time.as_millis();
    let hour = 3_600_000;
    let list = async |kind: FragmentSelectorType, end: i64| {
        let range = selector(kind, end - 1000, end);
        archive.list_fragments().stream_name("door").fragment_selector(range).send().await
    };
    // The retention is not set.
    assert!(list(FragmentSelectorType::ServerTimestamp, pushed - 10_000 * hour).await.is_ok());
    stream.set_retention(Duration::from_secs(2 * 3600));
    let oldest = pushed - 2 * hour;
    assert!(list(FragmentSelectorType::ServerTimestamp, oldest).await.is_ok());
    let end = oldest - 1;
    let (name, status, message) = refusal(list(FragmentSelectorType::ServerTimestamp, end).await);
    assert_eq!((status, name.as_str()), (400, "InvalidArgumentException"));
    assert_eq!(message, format!("End timestamp {end} is outside of the stream retention period."));
    // An earlier start is accepted. So is any time of the producer's clock.
    let early = selector(FragmentSelectorType::ServerTimestamp, 0, pushed);
    let call = archive.list_fragments().stream_name("door").fragment_selector(early);
    assert_eq!(call.send().await.unwrap().fragments().len(), 1);
    assert!(list(FragmentSelectorType::ProducerTimestamp, 5_000).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn expired_fragments_are_gone_from_every_operation() {
    let (endpoint, archive) = in_process(unlimited()).await;
    let stream = endpoint.create_stream("door");
    let control = aws_sdk_kinesisvideo::Client::new(&endpoint.in_process_config());
    let hours = async || {
        let described = control.describe_stream().stream_name("door").send().await.unwrap();
        described.stream_info().unwrap().data_retention_in_hours()
    };
    assert_eq!(hours().await, Some(24));
    let stamps: Vec<Stamp> = {
        let mut stamps = Vec::new();
        for ordinal in 1..=3 {
            stamps.push(stream.push(&producer_document(ordinal)));
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        stamps
    };
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let there = async || {
        let mut listed = pages(&archive, 10).await.concat();
        listed.sort_unstable();
        let mut found = Vec::new();
        for Stamp { number, .. } in &stamps {
            let call = archive.get_media_for_fragment_list().stream_name("door").fragments(number.as_str());
            if matches!(items(call.send().await.unwrap().payload).await.as_slice(), [BodyItem::Fragment(_)]) {
                found.push(number.clone());
            }
        }
        assert_eq!(listed, found);
        let media = aws_sdk_kinesisvideomedia::Client::new(&endpoint.in_process_config());
        let earliest = aws_sdk_kinesisvideomedia::types::StartSelector::builder()
            .start_selector_type(aws_sdk_kinesisvideomedia::types::StartSelectorType::Earliest);
        let body = media.get_media().stream_name("door").start_selector(earliest.build().unwrap()).send();
        let live = items(body.await.unwrap().payload).await.len();
        (listed.len(), live)
    };
    // Without a retention, a stream keeps fragments of any age.
    assert_eq!(there().await, (3, 3));
    // The last two are 24 h 2 min and 24 h 1 min old, plus the idle time of GetMedia.
    stream.set_retention(Duration::from_secs(24 * 3600 + 150));
    assert_eq!(hours().await, Some(25));
    assert_eq!(there().await, (2, 2));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(there().await, (1, 1));
    // Expired fragments do not come back.
    stream.set_retention(Duration::from_secs(1000 * 3600));
    assert_eq!(there().await, (1, 1));
    // Without retention there is no archive, but live reading continues.
    stream.set_retention(Duration::ZERO);
    assert_eq!(hours().await, Some(0));
    assert_eq!(there().await, (0, 1));
}

#[tokio::test]
async fn all_fragments_of_a_served_payload_are_listed() {
    let (endpoint, archive) = start(unlimited()).await;
    let body = live_body([producer_document(1), ffmpeg_document(2)]);
    endpoint.serve_payload("door", body);
    assert_eq!(pages(&archive, 10).await.concat().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fragment_is_listed_after_its_delay() {
    let (endpoint, archive) = in_process(unlimited().listed_after(Duration::from_secs(1))).await;
    let stream = endpoint.create_stream("door");
    let stamps: Vec<_> = (1..=20).map(|ordinal| stream.push(&producer_document(ordinal))).collect();
    assert_eq!(pages(&archive, 10).await, [[]]);
    tokio::time::sleep(Duration::from_millis(999)).await;
    assert_eq!(pages(&archive, 10).await, [[]]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let late = stream.push(&producer_document(21));
    let first = archive.list_fragments().stream_name("door").max_results(5).send().await.unwrap();
    assert_eq!(first.fragments().len(), 5);
    // Fragments that become visible during a listing are not part of it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let follow = archive.list_fragments().stream_name("door").max_results(100).set_next_token(first.next_token.clone());
    let rest = follow.send().await.unwrap();
    let all: BTreeSet<_> = [listed_numbers(&first), listed_numbers(&rest)].concat().into_iter().collect();
    assert_eq!(all, stamps.into_iter().map(|stamp| stamp.number).collect());
    assert!(pages(&archive, 10).await.concat().contains(&late.number));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn pages_of_any_size_have_each_fragment_once(
        before in 0u32..60,
        sizes in prop::collection::vec(1i64..20, 1..8),
        added in prop::collection::vec(0u32..4, 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (endpoint, archive) = start(unlimited()).await;
            let stream = door(&endpoint, before);
            let (mut last, mut listed, mut token) = (before, Vec::new(), None);
            let mut rounds = sizes.iter().cycle().zip(added.iter().cycle());
            loop {
                let (size, added) = rounds.next().unwrap();
                let call = archive.list_fragments().stream_name("door").max_results(*size).set_next_token(token);
                let page = call.send().await.unwrap();
                assert!(page.fragments().len() as i64 <= *size);
                listed.extend(listed_numbers(&page));
                token = page.next_token;
                if token.is_none() {
                    break;
                }
                for _ in 0..*added {
                    last += 1;
                    stream.push_stamped(&producer_document(last), stamp(last));
                }
            }
            listed.sort_unstable();
            // The fragments that existed when the listing began.
            let expected: Vec<_> = (1..=before).map(|ordinal| stamp(ordinal).number).collect();
            assert_eq!(listed, expected);
        });
    }
}

#[tokio::test]
async fn injected_pages_are_repeated_or_empty() {
    let (endpoint, archive) = start(unlimited()).await;
    door(&endpoint, 10);
    let plain = pages(&archive, 4).await;
    endpoint.inject(Operation::ListFragments, Some("door"), InjectedFault::RepeatPage);
    let repeated = pages(&archive, 4).await;
    assert_eq!(repeated, [&plain[..1], &plain[..]].concat());
    // The fault applies to the first page with a predecessor. Pages before it are normal.
    let first = archive.list_fragments().stream_name("door").max_results(4).send().await.unwrap();
    endpoint.inject(Operation::ListFragments, None, InjectedFault::RepeatPage);
    let follow = |token: &Option<String>| {
        archive.list_fragments().stream_name("door").max_results(10).set_next_token(token.clone()).send()
    };
    let second = follow(&first.next_token).await.unwrap();
    // It was the last page, but has a token.
    let again = follow(&second.next_token).await.unwrap();
    assert_eq!((listed_numbers(&again), again.next_token()), (listed_numbers(&second), None));
    assert_eq!(endpoint.fault_counts().repeat_page, 2);

    endpoint.inject(Operation::ListFragments, None, InjectedFault::EmptyPage);
    let with_empty = pages(&archive, 4).await;
    assert_eq!(with_empty, [&[vec![]], &plain[..]].concat());
    endpoint.inject(Operation::ListFragments, None, InjectedFault::EmptyPage);
    let answer = http(&endpoint, "POST", "/listFragments", r#"{"StreamName":"door"}"#).await.1;
    assert!(answer.contains("NextToken") && !answer.contains("Fragments"), "{answer}");
    assert_eq!(endpoint.fault_counts().empty_page, 2);
    // An empty page has no fragments to repeat.
    endpoint.create_stream("empty");
    endpoint.inject(Operation::ListFragments, Some("empty"), InjectedFault::RepeatPage);
    assert_eq!(archive.list_fragments().stream_name("empty").send().await.unwrap().next_token(), None);
    assert_eq!((endpoint.fault_counts().repeat_page, endpoint.pending_faults()), (2, 0));
}
