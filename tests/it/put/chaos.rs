//! Sending over connections that break, are slow, and lose acknowledgements.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use futures::{SinkExt, TryStreamExt};
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Fragment, KinesisVideo, Start};

use super::sending::quick;
use crate::support::bodies::{fragments, producer_document, stamp};
use crate::support::endpoint::ends_soon;
use crate::support::proxy::faulty_proxy;
use crate::support::put_server::{Plan, PutServer, error_ack, refusal};
use crate::support::rounds::rounds;

const FRAGMENTS: u32 = 40;

fn random_plan(rng: &mut Rng, happened: &mut BTreeMap<&'static str, u64>) -> Plan {
    let mut plan = Plan { pause: Duration::from_micros(rng.u64(0..3) * rng.u64(0..2000)), ..Plan::default() };
    let what = match rng.u32(0..8) {
        0 => {
            plan.refusal = Some(refusal(503, "ServiceUnavailable"));
            "refused"
        }
        1 => {
            plan.refusal = Some(refusal(400, "ConnectionLimitExceededException"));
            "too many connections"
        }
        2 | 3 => {
            plan.drop_after = Some(rng.usize(0..9000));
            "dropped"
        }
        4 => {
            plan.end = Some((rng.usize(1..9), String::new()));
            "ended"
        }
        5 => {
            (plan.end, plan.loses_ack) = (Some((rng.usize(1..9), String::new())), true);
            "lost the last acknowledgement"
        }
        6 => {
            (plan.is_silent, plan.end) = (true, Some((rng.usize(1..4), String::new())));
            "acknowledged nothing"
        }
        _ => {
            plan.end = Some((rng.usize(1..9), error_ack(5000, "INTERNAL_ERROR", 1)));
            "reported an error"
        }
    };
    *happened.entry(what).or_default() += 1;
    plan
}

async fn run(seed: u64, sent: &[Fragment]) -> BTreeMap<&'static str, u64> {
    let (mut rng, mut happened) = (Rng::with_seed(seed), BTreeMap::new());
    let plans: Vec<_> = (0..rng.u32(1..7)).map(|_| random_plan(&mut rng, &mut happened)).collect();
    let server = PutServer::start(plans).await;
    let most = rng.usize(1..12);
    // A silent server may wait for more fragments than may wait here.
    let put = server.client().put_media("door").retry(quick(20)).ack_timeout(Duration::from_millis(500));
    let mut sink = put.max_waiting_fragments(most).sink();
    for fragment in sent {
        sink.feed(fragment.clone()).await.unwrap_or_else(|error| panic!("run {seed}: {error}"));
        assert!(sink.status().waiting <= most as u64);
        match rng.u32(0..8) {
            0 => sink.flush().await.unwrap_or_else(|error| panic!("run {seed}: {error}")),
            1 => tokio::time::sleep(Duration::from_millis(rng.u64(0..4))).await,
            _ => {}
        }
    }
    let closed = tokio::time::timeout(Duration::from_secs(60), sink.close()).await;
    closed.expect("it ends").unwrap_or_else(|error| panic!("run {seed}: {error}"));
    let status = sink.status();
    assert_eq!((status.persisted, status.waiting), (u64::from(FRAGMENTS), 0), "run {seed}");
    let expected: Vec<i64> = (1..=FRAGMENTS).map(|ordinal| stamp(ordinal).producer_time.as_millis()).collect();
    let mut first = Vec::new();
    for put in server.puts() {
        let times: Vec<i64> = put.stored.iter().map(|(time, _)| *time).collect();
        assert!(times.is_sorted_by(|a, b| a < b), "run {seed}: in order within a connection: {times:?}");
        first.extend(times);
        for (time, stored) in &put.stored {
            let at = expected.iter().position(|known| known == time).unwrap();
            let payloads = |fragment: &Fragment| fragment.packets().map(|p| p.payload().clone()).collect::<Vec<_>>();
            assert_eq!(payloads(stored), payloads(&sent[at]), "run {seed}: fragment {at}");
        }
    }
    let all = first.len();
    let mut known = std::collections::BTreeSet::new();
    first.retain(|time| known.insert(*time));
    assert_eq!(first, expected, "run {seed}: all are stored, in order");
    // A fragment is stored again only if its acknowledgement did not arrive.
    assert!(all as u64 <= u64::from(FRAGMENTS) + status.repeated, "run {seed}: {all}, {status:?}");
    happened
}

#[tokio::test]
async fn nothing_is_lost_and_nothing_is_sent_after_it_was_persisted() {
    let documents = (1..=FRAGMENTS).map(|ordinal| producer_document(ordinal).to_bytes(&stamp(ordinal), 0));
    let sent = fragments(&documents.collect::<Vec<_>>().concat().into()).await;
    let only = std::env::var("KVS_CHAOS").ok().map(|seed| seed.parse::<u64>().unwrap());
    let mut happened = BTreeMap::<_, u64>::new();
    for seed in (0..rounds(10)).filter(|seed| only.is_none_or(|only| *seed == only)) {
        for (what, times) in run(seed, &sent).await {
            *happened.entry(what).or_default() += times;
        }
    }
    eprintln!("{happened:?}");
    assert!(only.is_some() || happened.len() == 7, "{happened:?}");
}

/// One run against the local endpoint, through a proxy that breaks connections. Returns how many were made.
async fn through_a_proxy(seed: u64, sent: &[Fragment]) -> u64 {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    drop(endpoint.create_stream("door"));
    let proxy = faulty_proxy(endpoint.port(), seed, 12_000).await;
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let mut sink = kvs.clone().with_data_endpoint(&proxy).put_media("door").retry(quick(50)).sink();
    for fragment in sent {
        sink.feed(fragment.clone()).await.unwrap_or_else(|error| panic!("run {seed}: {error}"));
    }
    let closed = tokio::time::timeout(Duration::from_secs(100), sink.close()).await;
    closed.expect("it ends").unwrap_or_else(|error| panic!("run {seed}: {error}"));
    let status = sink.status();
    assert_eq!(status.persisted, u64::from(FRAGMENTS), "run {seed}");
    let live = kvs.live("door").start(Start::Earliest).reconnect(false).fragments();
    let stored: Vec<Fragment> = live.try_collect().await.unwrap_or_else(|error| panic!("run {seed}: {error}"));
    assert!(stored.len() as u64 <= u64::from(FRAGMENTS) + status.repeated, "run {seed}: {status:?}");
    // A fragment whose acknowledgement was lost is there twice. In the order in which they first came, all are there.
    let mut known = std::collections::BTreeSet::new();
    let first: Vec<&Fragment> =
        stored.iter().filter(|fragment| known.insert(fragment.producer_time().unwrap())).collect();
    let packets = |fragment: &Fragment| {
        let of =
            |packet: kinesis_video::Packet| (packet.track_number(), packet.producer_time(), packet.payload().clone());
        fragment.packets().map(of).collect::<Vec<_>>()
    };
    assert_eq!(first.len(), sent.len(), "run {seed}");
    for (stored, sent) in first.into_iter().zip(sent) {
        assert_eq!(packets(stored), packets(sent), "run {seed}");
        assert_eq!(format!("{:?}", stored.tags()), format!("{:?}", sent.tags()), "run {seed}");
    }
    status.connections
}

#[tokio::test]
async fn nothing_is_lost_on_the_way_to_the_endpoint() {
    let documents = (1..=FRAGMENTS).map(|ordinal| producer_document(ordinal).to_bytes(&stamp(ordinal), 0));
    let sent = fragments(&documents.collect::<Vec<_>>().concat().into()).await;
    let only = std::env::var("KVS_CHAOS").ok().map(|seed| seed.parse::<u64>().unwrap());
    let (mut connections, mut runs) = (0, 0);
    for seed in (0..rounds(10)).filter(|seed| only.is_none_or(|only| *seed == only)) {
        connections += through_a_proxy(seed, &sent).await;
        runs += 1;
    }
    eprintln!("{connections} connections in {runs} runs");
    assert!(connections >= 2 * runs, "connections were broken");
}
