//! Reading a live stream: options, ends, errors, and the calls that the service receives.

use std::time::{Duration, SystemTime};

use aws_smithy_async::time::{SharedTimeSource, StaticTimeSource};
use aws_smithy_types::retry::RetryConfig;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::demux::PacketItem;
use kinesis_video::local::{
    self, Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape, Stamp,
};
use kinesis_video::{
    Bound, Discontinuity, ErrorKind, Fragment, FragmentEnd, FragmentNumber, KinesisVideo, Limits, LiveFragments,
    OnAgedOut, OnDamage, Position, Start, StreamEnd, Timestamp,
};
use tokio::time::{Instant, sleep, timeout};

use crate::support::bodies::{connect_document, ordinal_of, producer_document, stamp};

/// An endpoint in process, for a paused clock.
pub(super) async fn start(quotas: Quotas) -> (LocalEndpoint, LocalStream, KinesisVideo) {
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let door = endpoint.create_stream("door");
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    (endpoint, door, kvs)
}

pub(super) fn push(stream: &LocalStream, ordinals: impl IntoIterator<Item = u32>) {
    ordinals.into_iter().for_each(|ordinal| stream.push_stamped(&producer_document(ordinal), stamp(ordinal)));
}

pub(super) async fn next(fragments: &mut LiveFragments) -> u32 {
    ordinal_of(&fragments.try_next().await.unwrap().expect("another one"))
}

async fn ordinals(fragments: LiveFragments) -> Vec<u32> {
    fragments.map_ok(|fragment| ordinal_of(&fragment)).try_collect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_reconnected_until_media_arrive() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    let mut fragments = kvs.live("door").fragments();
    let mut status = fragments.status();
    let producer = async {
        status.wait_for(|status| status.connected_since.is_some()).await.unwrap();
        sleep(Duration::from_secs(3600)).await;
        door.push(&producer_document(1));
    };
    let (_, fragment) = tokio::join!(producer, fragments.try_next());
    assert_eq!(fragment.unwrap().unwrap().end_reason(), FragmentEnd::Trailer);
    // A call every three seconds, as the service ends each body.
    let calls = endpoint.calls(Operation::GetMedia, "door").len();
    assert!((1190..=1202).contains(&calls), "{calls}");
    // The data endpoint is looked up again before it is 45 minutes old.
    assert_eq!(endpoint.calls(Operation::GetDataEndpoint, "door").len(), 2);
}

/// This holds for any SDK configuration of the user.
#[tokio::test(start_paused = true)]
async fn the_sdk_does_not_time_out_a_silent_body() {
    let quotas = Quotas::default().idle(Duration::from_secs(3600));
    let (endpoint, door, _) = start(quotas).await;
    for retries in [RetryConfig::disabled(), RetryConfig::standard(), RetryConfig::adaptive()] {
        let guard = aws_sdk_kinesisvideomedia::config::StalledStreamProtectionConfig::enabled()
            .grace_period(Duration::from_secs(1))
            .build();
        let config = endpoint.in_process_config().into_builder();
        let config = config.retry_config(retries).stalled_stream_protection(guard).build();
        let kvs = KinesisVideo::new(&config);
        push(&door, 1..=1);
        let live = kvs.live("door").start(Start::Earliest).read_timeout(Duration::from_secs(120));
        let mut fragments = live.fragments();
        let before = endpoint.calls(Operation::GetMedia, "door").len();
        assert_eq!(next(&mut fragments).await, 1);
        let producer = async {
            sleep(Duration::from_secs(60)).await;
            push(&door, 2..=2);
        };
        let (second, ()) = tokio::join!(next(&mut fragments), producer);
        assert_eq!(second, 2);
        assert_eq!(endpoint.calls(Operation::GetMedia, "door").len() - before, 1, "it was one body");
        // The default time limit starts another body, but does not end the stream.
        let mut fragments = kvs.live("door").start(Start::AfterFragment(stamp(2).number)).fragments();
        let producer = async {
            sleep(Duration::from_secs(60)).await;
            push(&door, 3..=3);
        };
        let (third, ()) = tokio::join!(next(&mut fragments), producer);
        assert_eq!(third, 3);
        assert!(fragments.status().borrow().reconnects >= 1);
        door.expire(3);
    }
}

/// The offset of the client's clock, and of the service's.
#[tokio::test(start_paused = true)]
async fn a_clock_off_by_an_hour_is_corrected() {
    for (client, server) in [(0, 0), (3600, 0), (-3600, 0), (0, 3600), (0, -3600)] {
        let (endpoint, door, _) = start(Quotas::default()).await;
        endpoint.set_clock_offset(server * 1000);
        let now = SystemTime::now();
        let shifted =
            if client < 0 { now - Duration::from_secs(3600) } else { now + Duration::from_secs(client as u64) };
        let time = SharedTimeSource::new(StaticTimeSource::new(shifted));
        let config = endpoint.in_process_config().into_builder();
        let kvs = KinesisVideo::new(&config.time_source(time).build());
        // The first body is empty. Fragments pushed before the second are not lost.
        let mut fragments = kvs.live("door").start(Start::Now).fragments();
        endpoint.inject(Operation::GetMedia, None, InjectedFault::EndAfter(0));
        let mut status = fragments.status();
        let producer = async {
            status.wait_for(|status| status.connected_since.is_some()).await.unwrap();
            (1..=3).map(|ordinal| door.push(&producer_document(ordinal)).number).collect::<Vec<_>>()
        };
        let consumer = async {
            let first: Vec<_> = fragments.by_ref().take(3).try_collect().await.unwrap();
            first.iter().map(|fragment: &Fragment| fragment.number().cloned().unwrap()).collect::<Vec<FragmentNumber>>()
        };
        let (pushed, received) = tokio::join!(producer, consumer);
        assert_eq!(received, pushed, "client {client}, server {server}");
        let refused = endpoint.fault_counts().request_expired;
        assert_eq!(refused > 0, client != 0 || server != 0, "client {client}, server {server}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_end_has_a_reason() {
    let (_endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=10);
    let live = || kvs.live("door").start(Start::Earliest);

    let mut fragments = live().idle_timeout(Duration::from_secs(60)).fragments();
    let before = Instant::now();
    assert_eq!((&mut fragments).count().await, 10);
    assert_eq!(fragments.end_reason(), Some(StreamEnd::IdleTimeout));
    assert_eq!(before.elapsed().as_secs(), 60);

    for (bound, reason, expected) in [
        (Bound::Count(0), StreamEnd::Count, 0),
        (Bound::Count(3), StreamEnd::Count, 3),
        (Bound::Fragment(stamp(4).number), StreamEnd::Fragment, 4),
        (Bound::ServerTime(stamp(6).server_time), StreamEnd::Time, 5),
        (Bound::ProducerTime(stamp(6).producer_time), StreamEnd::Time, 5),
        // No fragment before the bound can follow.
        (Bound::ServerTime(Timestamp::from_millis(stamp(10).server_time.as_millis() + 5000)), StreamEnd::Time, 10),
    ] {
        let mut fragments = live().until(bound.clone()).fragments();
        let before = Instant::now();
        assert_eq!((&mut fragments).count().await, expected, "{bound:?}");
        assert_eq!(fragments.end_reason(), Some(reason), "{bound:?}");
        assert!(before.elapsed() <= Duration::from_secs(20), "{bound:?}");
        // The same in packets.
        let mut items = live().until(bound.clone()).packets();
        let ends = (&mut items).filter(|item| std::future::ready(matches!(item, Ok(PacketItem::End(_))))).count().await;
        assert_eq!((ends, items.end_reason()), (expected, Some(reason)), "{bound:?}");
    }

    let before = Instant::now();
    let mut fragments = live().until((before + Duration::from_secs(20)).into_std()).fragments();
    assert_eq!((&mut fragments).count().await, 10);
    assert_eq!((before.elapsed().as_secs(), fragments.end_reason()), (20, Some(StreamEnd::Deadline)));

    let mut fragments = live().reconnect(false).fragments();
    assert_eq!((&mut fragments).count().await, 10);
    assert_eq!(fragments.end_reason(), Some(StreamEnd::EndOfMedia));
    assert!(fragments.next().await.is_none());

    let mut fragments = kvs.live("nobody").fragments();
    assert!(fragments.next().await.unwrap().is_err());
    assert_eq!(fragments.end_reason(), Some(StreamEnd::Failed));
    assert!(fragments.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_stop_handle_lets_the_open_fragment_finish() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=5);
    // Each fragment takes some seconds to arrive.
    let trickle = InjectedFault::Trickle { bytes: 100, pause: Duration::from_millis(200) };
    endpoint.inject(Operation::GetMedia, None, trickle.clone());
    let mut fragments = kvs.live("door").start(Start::Earliest).fragments();
    let stop = fragments.stop_handle();
    assert_eq!(next(&mut fragments).await, 1);
    let later = async {
        sleep(Duration::from_millis(500)).await;
        stop.stop();
    };
    let (rest, ()) = tokio::join!(async { (&mut fragments).try_collect::<Vec<_>>().await.unwrap() }, later);
    assert_eq!(rest.iter().map(ordinal_of).collect::<Vec<_>>(), [2]);
    assert_eq!(fragments.end_reason(), Some(StreamEnd::Stopped));
    assert_eq!(door.open_connections(), 0);

    // A packet stream also ends after the fragment.
    endpoint.inject(Operation::GetMedia, None, trickle);
    let mut items = kvs.live("door").start(Start::Earliest).packets();
    let stop = items.stop_handle();
    let mut ends = 0;
    while let Some(item) = items.try_next().await.unwrap() {
        match item {
            PacketItem::Packet(_) => stop.stop(),
            PacketItem::End(end) => {
                assert_eq!(end.end_reason(), FragmentEnd::Trailer);
                ends += 1;
            }
            _ => {}
        }
    }
    assert_eq!((ends, items.end_reason()), (1, Some(StreamEnd::Stopped)));

    // Without an open fragment it ends at once, also during a pause before a call.
    for faults in [0, 5] {
        let mut fragments = kvs.live("door").start(Start::AfterFragment(stamp(5).number)).fragments();
        (0..faults).for_each(|_| {
            endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse("ServiceUnavailable".into()));
        });
        let stop = fragments.stop_handle();
        let before = Instant::now();
        let later = async {
            sleep(Duration::from_millis(1500)).await;
            stop.stop();
        };
        let (end, ()) = tokio::join!(fragments.next(), later);
        assert!(end.is_none());
        assert_eq!(before.elapsed().as_millis(), 1500);
        assert_eq!(fragments.end_reason(), Some(StreamEnd::Stopped));
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_socket() {
    let endpoint = LocalEndpoint::start_with(0, Quotas::default().idle(Duration::from_secs(60))).await.unwrap();
    let door = endpoint.create_stream("door");
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    push(&door, 1..=1);
    for packets in [false, true] {
        let live = kvs.live("door").start(Start::Earliest);
        if packets {
            let mut items = live.packets();
            assert!(items.next().await.unwrap().is_ok());
            assert_eq!(door.open_connections(), 1);
            drop(items);
        } else {
            let mut fragments = live.fragments();
            assert_eq!(next(&mut fragments).await, 1);
            // The stream holds the connection, not the future of `next()`.
            assert!(timeout(Duration::from_millis(20), fragments.next()).await.is_err());
            assert_eq!(door.open_connections(), 1);
            drop(fragments);
        }
        let closed = async {
            while door.open_connections() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), closed).await.expect("the endpoint sees the socket close");
    }
}

#[tokio::test(start_paused = true)]
async fn reading_resumes_after_a_saved_position() {
    let (_endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=6);
    let all: Vec<_> =
        kvs.live("door").start(Start::Earliest).until(Bound::Count(6)).fragments().try_collect().await.unwrap();
    let saved = serde_json::to_string(&all[2].position()).unwrap();
    assert!(saved.len() < 120, "{saved}");
    let position: Position = serde_json::from_str(&saved).unwrap();
    let from = |start: Start| ordinals(kvs.live("door").start(start).idle_timeout(Duration::from_secs(9)).fragments());
    assert_eq!(from(Start::AfterPosition(position.clone())).await, [4, 5, 6]);
    // A position without a token resumes by number. Without a number it resumes by time, with the fragment itself.
    let text = position.to_string();
    assert_eq!(from(Start::AfterPosition(text.trim_end_matches('=').parse().unwrap())).await, [4, 5, 6]);
    let time = position.server_time().unwrap().as_millis();
    assert_eq!(from(Start::AfterPosition(format!("kvs1::{time}::").parse().unwrap())).await, [3, 4, 5, 6]);
    // After a rejected token, reading resumes by number.
    let odd = format!("kvs1:{}:{time}::not-one-of-ours", position.number().unwrap());
    assert_eq!(from(Start::AfterPosition(odd.parse().unwrap())).await, [4, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_position_is_handled_as_configured() {
    let (_endpoint, door, kvs) = start(Quotas::default().aged_out(local::Expired::Fault)).await;
    push(&door, 1..=9);
    door.expire(5);
    let live = |what| {
        kvs.live("door")
            .start(Start::AfterFragment(stamp(2).number))
            .on_aged_out(what)
            .idle_timeout(Duration::from_secs(60))
    };

    let error = live(OnAgedOut::Fail).fragments().try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.code(), error.is_retryable()), (ErrorKind::NotFound, Some("4000"), false));
    for (what, expected) in [(OnAgedOut::Earliest, vec![6, 7, 8, 9]), (OnAgedOut::Now, vec![9])] {
        let fragments: Vec<_> = live(what).fragments().try_collect().await.unwrap();
        assert_eq!(fragments.iter().map(ordinal_of).collect::<Vec<_>>(), expected);
        let [Discontinuity::AgedOut { last: Some(last), .. }] = fragments[0].discontinuities() else {
            panic!("{:?}", fragments[0].discontinuities())
        };
        assert_eq!(last.number(), Some(&stamp(2).number));
    }
    // A reader that is slower than the retention gets the missing time as a gap.
    let live = kvs.live("door").start(Start::Earliest).idle_timeout(Duration::from_secs(60));
    let mut fragments = live.fragments();
    assert_eq!(next(&mut fragments).await, 6);
    push(&door, 10..=400);
    door.expire(390);
    let rest: Vec<_> = fragments.try_collect().await.unwrap();
    let at = rest.iter().position(|fragment| ordinal_of(fragment) > 100).expect("it has jumped");
    let before = at.checked_sub(1).map_or(6, |before| ordinal_of(&rest[before]));
    let distance = ordinal_of(&rest[at]) - before;
    let gap = |what: &Discontinuity| matches!(what, Discontinuity::Gap { duration, .. } if duration.as_secs() == u64::from(distance - 1));
    assert!(rest[at].discontinuities().iter().any(gap), "{distance}: {:?}", rest[at].discontinuities());
    assert!(rest[at].discontinuities().iter().any(Discontinuity::is_loss));
}

fn position_behind(ordinal: u32) -> Position {
    let Stamp { number, server_time, .. } = stamp(ordinal);
    format!("kvs1:{number}:{}::=", server_time.as_millis()).parse().unwrap()
}

/// The service rejects the position in every form, as it may do for an expired one.
#[tokio::test(start_paused = true)]
async fn a_refused_position_is_retried_by_other_means() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=9);
    let position = position_behind(2);
    for (what, expected) in [(OnAgedOut::Earliest, Some(vec![3, 4, 5, 6, 7, 8, 9])), (OnAgedOut::Fail, None)] {
        for _ in 0..3 {
            endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse("InvalidArgumentException".into()));
        }
        let live =
            kvs.live("door").start_after(position.clone()).on_aged_out(what).idle_timeout(Duration::from_secs(60));
        let result: Result<Vec<_>, _> = live.fragments().map_ok(|fragment| ordinal_of(&fragment)).try_collect().await;
        match expected {
            Some(expected) => assert_eq!(result.unwrap(), expected),
            None => assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument),
        }
    }
}

/// The service sends all retained fragments again, over several bodies. The reader skips them once.
#[tokio::test(start_paused = true)]
async fn reading_a_backlog_reaches_its_end() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=60);
    for _ in 0..30 {
        endpoint.inject(
            Operation::GetMedia,
            None,
            InjectedFault::FaultAfter { fragments: 0, id: 4000, message: "E".into() },
        );
    }
    let mut fragments = kvs.live("door").start_after(position_behind(50)).fragments();
    // The bodies of this attempt are short.
    let shorter = async {
        while endpoint.pending_faults() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        (0..200).for_each(|_| endpoint.inject(Operation::GetMedia, None, InjectedFault::EndAfter(7)));
    };
    let (first, ()) = tokio::join!(next(&mut fragments), shorter);
    assert_eq!(first, 51);
}

/// Time between two polls does not count as idle.
#[tokio::test(start_paused = true)]
async fn a_dropped_next_does_not_count_as_idle() {
    let (_endpoint, door, kvs) = start(Quotas::default().idle(Duration::from_secs(3600))).await;
    push(&door, 1..=1);
    let live = kvs.live("door").start(Start::Earliest).read_timeout(Duration::from_secs(3600));
    let mut fragments = live.idle_timeout(Duration::from_secs(10)).fragments();
    assert_eq!(next(&mut fragments).await, 1);
    for ordinal in 2..=5 {
        assert!(timeout(Duration::from_secs(1), fragments.next()).await.is_err());
        push(&door, ordinal..=ordinal);
        sleep(Duration::from_secs(100)).await;
        assert_eq!(next(&mut fragments).await, ordinal);
    }
}

/// The last fragment is yielded before the end, but not saved, because it may be complete later.
#[tokio::test(start_paused = true)]
async fn the_last_fragment_without_closing_tags_is_yielded() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=3);
    for _ in 0..50 {
        endpoint.inject(
            Operation::GetMedia,
            None,
            InjectedFault::EndBeforeTrailer(if endpoint.pending_faults() == 0 { 2 } else { 0 }),
        );
    }
    let store = kinesis_video::MemoryCheckpoint::default();
    let live = kvs.live("door").start(Start::Earliest).idle_timeout(Duration::from_secs(10));
    let (fragments, acks) = live.checkpointed(store.clone());
    let all: Vec<_> = fragments.inspect_ok(|fragment| acks.done(&fragment.position())).try_collect().await.unwrap();
    assert_eq!(all.iter().map(ordinal_of).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!((all[2].end_reason(), all[2].blocks().len()), (FragmentEnd::EndOfBody, 5));
    assert_eq!(acks.close().await.unwrap().unwrap().number(), Some(&stamp(2).number));
}

#[tokio::test(start_paused = true)]
async fn damage_is_skipped_or_an_error() {
    let (_endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=2);
    let mut damaged = producer_document(3).to_bytes(&stamp(3), 0).to_vec();
    // The last block, found by its id, the width of its size, and its track.
    let head = damaged.windows(10).rposition(|ten| ten.starts_with(&[0xA3, 0x01, 0, 0]) && ten[9] == 0x81).unwrap();
    damaged[head..head + 4].fill(0);
    door.push_bytes(damaged, stamp(3));
    push(&door, 4..=5);
    let live = |what| kvs.live("door").start(Start::Earliest).on_damage(what).until(Bound::Count(5));

    let mut fragments = live(OnDamage::Fail).fragments();
    assert_eq!([next(&mut fragments).await, next(&mut fragments).await], [1, 2]);
    let cut = fragments.try_next().await.unwrap().unwrap();
    assert_eq!((ordinal_of(&cut), cut.end_reason(), cut.blocks().len()), (3, FragmentEnd::Cut, 4));
    let error = fragments.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    assert_eq!((error.context().stream(), error.position().fragment()), (Some("door"), Some(stamp(3).number.as_str())));

    let fragments: Vec<_> = live(OnDamage::Skip).fragments().try_collect().await.unwrap();
    assert_eq!(fragments.iter().map(ordinal_of).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(fragments[2].end_reason(), FragmentEnd::Cut);
    let before = fragments[3].discontinuities();
    let is_it = |what: &Discontinuity| matches!(what, Discontinuity::SkippedFragment { number, .. } if *number == stamp(3).number);
    assert!(before.iter().any(is_it), "{before:?}");
    assert!(before.iter().any(|what| matches!(what, Discontinuity::Reconnected { .. })), "{before:?}");
    assert_eq!(before.iter().filter(|what| what.is_loss()).count(), 1, "{before:?}");

    // A fragment beyond the limits counts as damaged.
    let limits = Limits::default().fragment_bytes(1600);
    door.push_stamped(&connect_document(6), stamp(6));
    push(&door, 7..=7);
    let small =
        kvs.live("door").start(Start::AfterFragment(stamp(4).number)).limits(limits).until(Bound::Count(3)).fragments();
    assert_eq!(ordinals(small).await, [5, 6, 7]);
}

/// A fragment carries the discontinuities before it.
#[tokio::test(start_paused = true)]
async fn discontinuities_are_reported_on_fragments() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    let document = |seconds: u64| {
        let document = Document::new(Shape::Producer).video_track(1).cluster_time(seconds * 1000);
        (0..5).fold(document, |document, i| document.block(1, i * 200, i == 0, b"frame"))
    };
    let stamped = |ordinal: u32, seconds: i64| {
        let producer_time = Timestamp::from_millis(1_700_000_000_000 + seconds * 1000);
        Stamp { producer_time, ..stamp(ordinal) }
    };
    for (ordinal, seconds) in [(1, 0), (2, 1), (3, 2), (4, 9), (5, 10)] {
        door.push_stamped(&document(seconds), stamped(ordinal, seconds as i64));
    }
    // The producer's clock goes back, then a new session begins, then the tracks change.
    door.push_stamped(&document(0), stamped(6, 4));
    door.push_stamped(&document(1), stamped(7, 5));
    door.push_stamped(&document(0), stamped(8, 6));
    door.push_stamped(&document(1).audio_track(2, "sound", "A_AAC"), stamped(9, 7));
    endpoint.inject(Operation::GetMedia, None, InjectedFault::EndAfter(2));
    endpoint.inject(Operation::GetMedia, None, InjectedFault::Repeat(2));
    let live = kvs.live("door").start(Start::Earliest).until(Bound::Count(9));
    let fragments: Vec<_> = live.fragments().try_collect().await.unwrap();
    let said = |fragment: &Fragment| {
        let what = fragment.discontinuities().iter().map(ToString::to_string);
        what.map(|text| text.replace("0ns", "0s")).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        fragments.iter().map(said).collect::<Vec<_>>(),
        [
            "",
            "",
            "reconnected after 0s and 1 calls: the body had ended; 2 repeated fragments dropped",
            "gap of 6s",
            "",
            "the timeline went back by 6s",
            "",
            "the timeline went back by 1s",
            "the tracks changed; there were 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn packets_of_a_repeated_fragment_are_not_repeated() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=3);
    // Cuts the second fragment in its second block, and then a little later.
    let length = producer_document(1).to_bytes(&stamp(1), 2000).len() as u64;
    endpoint.inject(Operation::GetMedia, None, InjectedFault::CutAfter(length + 700));
    endpoint.inject(Operation::GetMedia, None, InjectedFault::BreakOff(800));
    let mut items = kvs.live("door").start(Start::Earliest).until(Bound::Count(3)).packets();
    let mut seen = Vec::new();
    while let Some(item) = items.try_next().await.unwrap() {
        seen.push(match item {
            PacketItem::Start(_) => "start".into(),
            PacketItem::Packet(packet) => packet.ordinal().to_string(),
            PacketItem::End(end) => end.end_reason().to_string(),
            PacketItem::Discontinuity(what) => format!("{what:?}").chars().take_while(|c| *c != ' ').collect(),
            other => format!("{other:?}"),
        });
    }
    let fragment = "start 0 1 2 3 4 trailer";
    assert_eq!(seen.join(" "), format!("{fragment} {fragment} Reconnected {fragment}"));

    // A repeated fragment with other content.
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=1);
    endpoint.inject(Operation::GetMedia, None, InjectedFault::CutAfter(800));
    let mut items = kvs.live("door").start(Start::Earliest).until(Bound::Count(1)).packets();
    let first = items.try_next().await.unwrap();
    assert!(matches!(first, Some(PacketItem::Start(_))), "{first:?}");
    assert!(matches!(items.try_next().await.unwrap(), Some(PacketItem::Packet(_))));
    door.expire(1);
    let other = (0..5).fold(Document::new(Shape::Producer).video_track(1).cluster_time(1000), |document, i| {
        document.block(1, i * 200, i == 0, b"other")
    });
    door.push_stamped(&other, stamp(1));
    let rest: Vec<_> = items.try_collect().await.unwrap();
    let differs = |item: &&PacketItem| matches!(item, PacketItem::Discontinuity(Discontinuity::PacketDiffers { .. }));
    assert_eq!(rest.iter().filter(differs).count(), 1, "{rest:?}");
    assert!(matches!(rest.last(), Some(PacketItem::End(end)) if end.end_reason() == FragmentEnd::Trailer));
}

/// The service never receives more calls than it allows, whatever fails and however many readers there are.
#[tokio::test(start_paused = true)]
async fn call_rate_limits_hold_under_the_worst_schedule() {
    let (endpoint, door, kvs) = start(Quotas::default().connections(None)).await;
    push(&door, 1..=3);
    door.finish();
    // Every body ends at once, and every data endpoint is stale.
    for n in 0..200 {
        endpoint.inject(
            Operation::GetMedia,
            None,
            if n % 3 == 0 { InjectedFault::StaleEndpoint } else { InjectedFault::EndAfter(0) },
        );
    }
    let readers = (0..4).map(|_| {
        let live = kvs.live("door").start(Start::Now).idle_timeout(Duration::from_secs(120));
        ordinals(live.fragments())
    });
    let by_arn = kvs.live(door.arn()).start(Start::Now).idle_timeout(Duration::from_secs(120)).fragments();
    tokio::join!(futures::future::join_all(readers), ordinals(by_arn));
    assert_eq!(endpoint.fault_counts().throttled, 0);
    for operation in [Operation::GetMedia, Operation::GetDataEndpoint] {
        let calls = endpoint.calls(operation, "door");
        let busiest = calls.windows(6).map(|six| six[5] - six[0]).min().expect("many calls");
        assert!(busiest > Duration::from_secs(1), "{operation:?}: 6 in {busiest:?}");
    }
    assert!(endpoint.calls(Operation::GetMedia, "door").len() > 200);
}

#[tokio::test(start_paused = true)]
async fn a_fourth_reader_waits_for_a_connection() {
    let (endpoint, door, kvs) =
        start(Quotas::default().idle(Duration::from_secs(600)).linger(Duration::from_secs(20))).await;
    push(&door, 1..=1);
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut fragments = kvs.live("door").start(Start::Earliest).fragments();
        assert_eq!(next(&mut fragments).await, 1);
        others.push(fragments);
    }
    let mut fourth = kvs.live("door").start(Start::Earliest).fragments();
    let (first, ()) = tokio::join!(next(&mut fourth), async {
        sleep(Duration::from_secs(60)).await;
        others.pop();
    });
    assert_eq!(first, 1);
    let refused = endpoint.fault_counts().connection_limit;
    // It backs off, instead of calling every 200 ms for 80 s.
    assert!((4..30).contains(&refused), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn the_status_follows_the_stream() {
    let (endpoint, door, kvs) = start(Quotas::default()).await;
    push(&door, 1..=4);
    endpoint.inject(Operation::GetMedia, None, InjectedFault::EndAfter(1));
    endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse("InternalFailure".into()));
    let mut fragments = kvs.live("door").start(Start::Earliest).fragments();
    let status = fragments.status();
    assert!(status.borrow().connected_since.is_none());
    assert_eq!(next(&mut fragments).await, 1);
    {
        let status = status.borrow();
        assert!(status.connected_since.is_some());
        assert_eq!((status.fragments, status.reconnects, status.behind_now), (1, 0, Some(Duration::from_secs(3))));
        assert_eq!(status.position.as_ref().and_then(Position::number), Some(&stamp(1).number));
    }
    let mut watched = status.clone();
    let seen = async {
        let failed = watched.wait_for(|status| status.error.is_some()).await.unwrap();
        assert!(failed.connected_since.is_none());
        assert_eq!(failed.error.as_ref().unwrap().code(), Some("InternalFailure"));
    };
    let mut other = kvs.live("door").start(Start::Earliest).fragments();
    let (second, ()) = tokio::join!(next(&mut fragments), seen);
    assert_eq!((second, next(&mut other).await), (2, 1));
    let after = status.borrow().clone();
    assert_eq!((after.fragments, after.reconnects, after.error.is_none()), (2, 1, true));
    assert!(after.bytes > 2000);
    drop(fragments);
    assert!(status.borrow().connected_since.is_none());
}

/// The time that a consumer takes does not count as idle.
#[tokio::test(start_paused = true)]
async fn a_slow_consumer_does_not_count_as_idle() {
    let (_endpoint, door, kvs) = start(Quotas::default().idle(Duration::from_secs(3600))).await;
    push(&door, 1..=4);
    let live = kvs.live("door").start(Start::Earliest);
    let live = live.idle_timeout(Duration::from_secs(10)).read_timeout(Duration::from_secs(10));
    let mut fragments = live.fragments();
    for expected in 1..=4 {
        assert_eq!(next(&mut fragments).await, expected);
        sleep(Duration::from_secs(100)).await;
    }
    assert_eq!(fragments.status().borrow().reconnects, 0);
    assert!(fragments.next().await.is_none());
    assert_eq!(fragments.end_reason(), Some(StreamEnd::IdleTimeout));
}

#[cfg(feature = "metrics")]
#[test]
fn metrics_are_recorded() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let numbers = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let (endpoint, door, kvs) = start(Quotas::default()).await;
            push(&door, 1..=4);
            endpoint.inject(Operation::GetMedia, None, InjectedFault::EndAfter(2));
            endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse("InternalFailure".into()));
            let live = kvs.live(door.arn()).start(Start::Earliest).until(Bound::Count(4));
            assert_eq!(ordinals(live.fragments()).await, [1, 2, 3, 4]);
        });
    });
    let told: Vec<_> = numbers
        .snapshot()
        .into_vec()
        .into_iter()
        .map(|(key, .., value)| {
            let labels: Vec<_> = key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            let value = match value {
                DebugValue::Counter(n) => n as f64,
                DebugValue::Gauge(n) => n.into_inner(),
                DebugValue::Histogram(_) => f64::NAN,
            };
            let name = key.key().name().trim_start_matches("kinesis_video_live_").to_owned();
            (format!("{name} {}", labels.join(" ")), value)
        })
        .collect();
    let value = |name: &str| told.iter().find(|(key, _)| key == name).unwrap_or_else(|| panic!("{name}: {told:?}")).1;
    assert_eq!(value("fragments_total stream=door"), 4.0);
    assert_eq!(value("reconnects_total stream=door"), 1.0);
    assert_eq!(value("errors_total stream=door kind=service error"), 1.0);
    assert_eq!(value("behind_seconds stream=door"), 0.0);
    assert!(value("bytes_total stream=door") > 4000.0);
}
