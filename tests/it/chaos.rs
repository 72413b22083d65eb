//! Everything that goes in comes out once, in order, whatever goes wrong on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::TryStreamExt;
use kinesis_video::local::{Document, LocalEndpoint, LocalStream, Mishap, Operation, Quotas, Shape, Stamp};
use kinesis_video::packet::PacketItem;
use kinesis_video::{Discontinuity, End, Fragment, FragmentNumber, KinesisVideo, Live, Start};
use tokio::time::sleep;

/// How many runs, of which each reads so many fragments.
const RUNS: u64 = 500;
const FRAGMENTS: usize = 200;

/// A fragment that was put in: its number, and what its bytes begin with. The closing tags behind them
/// differ with when it was sent.
type Put = (FragmentNumber, Bytes);

/// A fragment of random media.
pub fn document(rng: &mut Rng, ordinal: usize) -> Document {
    let shape = if rng.bool() { Shape::Producer } else { Shape::Ffmpeg };
    let document =
        Document::new(shape).video_track(1).cluster_time(ordinal as u64 * 1000).tag("n", &ordinal.to_string());
    (0..rng.i16(1..6)).fold(document, |document, i| {
        let mut payload = vec![0; rng.usize(1..1500)];
        rng.fill(&mut payload);
        document.block(1, i * 200, i == 0, &payload)
    })
}

/// Puts a fragment in.
pub fn put(stream: &LocalStream, document: &Document) -> Put {
    let stamp: Stamp = stream.push(document);
    (stamp.number.clone(), document.to_bytes_without_trailer(&stamp))
}

/// Something that the service or the network does, and from which nothing is lost.
fn mishap(rng: &mut Rng) -> (Operation, Mishap) {
    let refuse = |name: &str| Mishap::Refuse(name.into());
    let after = rng.u64(0..12_000);
    let mishap = match rng.u32(0..14) {
        0 => Mishap::CutAfter(after),
        1 => Mishap::ResetAfter(after),
        2 | 3 => Mishap::BreakOff(after),
        4 => Mishap::EndAfter(rng.u64(0..8)),
        5 => Mishap::FaultAfter {
            fragments: rng.u64(0..6),
            id: *rng.choice(&[3002, 5000]).unwrap(),
            message: "E".into(),
        },
        6 => {
            let names = ["ClientLimitExceededException", "ThrottlingException", "ConnectionLimitExceededException"];
            refuse(rng.choice(&names).unwrap())
        }
        7 => refuse(rng.choice(&["InternalFailure", "ServiceUnavailable"]).unwrap()),
        8 => Mishap::Stall { after, pause: Duration::from_secs(rng.u64(1..60)) },
        9 => Mishap::StaleEndpoint,
        10 => Mishap::Trickle { bytes: rng.usize(100..3000), pause: Duration::from_millis(rng.u64(1..20)) },
        11 => Mishap::UnknownOperation,
        12 => Mishap::EndBeforeTrailer(rng.u64(0..5)),
        _ => Mishap::Repeat(rng.u64(1..6)),
    };
    let of_calls = matches!(mishap, Mishap::Refuse(_));
    (if of_calls && rng.bool() { Operation::GetDataEndpoint } else { Operation::GetMedia }, mishap)
}

/// A stream, what is put into it as time goes by, and what goes wrong with it.
struct World {
    endpoint: LocalEndpoint,
    stream: LocalStream,
    rng: Rng,
    start: Start,
}

impl World {
    async fn new(seed: u64, quotas: impl FnOnce(&mut Rng) -> Quotas) -> Self {
        let mut rng = Rng::with_seed(seed);
        // Of the library, too: what it does at random.
        fastrand::seed(seed);
        let endpoint = LocalEndpoint::start_with(0, quotas(&mut rng)).await.unwrap();
        let stream = endpoint.create_stream("chaos");
        let mut is_without_trailer = false;
        for _ in 0..rng.usize(5..40) {
            let (operation, mishap) = mishap(&mut rng);
            // A fragment that ends so twice is passed over, and that is not recoverable.
            if matches!(mishap, Mishap::EndBeforeTrailer(_)) && std::mem::replace(&mut is_without_trailer, true) {
                continue;
            }
            endpoint.script(operation, None, mishap);
        }
        let start = if rng.bool() { Start::Now } else { Start::Earliest };
        Self { endpoint, stream, rng, start }
    }

    fn live(&self, kvs: &KinesisVideo) -> Live {
        kvs.live("chaos").start(self.start.clone()).idle_timeout(Duration::from_secs(600))
    }

    /// Puts all fragments in, one after the other; from now on, or from when they would be noticed.
    async fn produce(mut self, mut connected: impl AsyncFnMut(), pace: u64) -> (LocalEndpoint, Vec<Put>) {
        if self.start == Start::Now {
            connected().await;
        }
        let mut all = Vec::new();
        for n in 0..FRAGMENTS {
            all.push(put(&self.stream, &document(&mut self.rng, n)));
            let pause = match self.rng.u32(0..40) {
                0 => pace * self.rng.u64(10..60),
                1..10 => 0,
                _ => self.rng.u64(1..=pace * 2),
            };
            sleep(Duration::from_millis(pause)).await;
        }
        (self.endpoint, all)
    }
}

fn same(fragments: &[Fragment], all: &[Put], seed: u64) {
    let numbers = |fragments: &[Fragment]| fragments.iter().map(|f| f.number().cloned().unwrap()).collect::<Vec<_>>();
    let expected: Vec<_> = all.iter().map(|(number, _)| number.clone()).collect();
    assert!(numbers(fragments) == expected, "run {seed}: not the same fragments in the same order");
    for (fragment, (number, bytes)) in fragments.iter().zip(all) {
        assert_eq!(fragment.end(), End::Trailer, "run {seed}, fragment {number}");
        assert!(fragment.raw().starts_with(bytes), "run {seed}, fragment {number}: not the same bytes");
        let trailer = fragment.raw().len() - bytes.len();
        assert!((100..300).contains(&trailer), "run {seed}, fragment {number}: {trailer} bytes behind it");
    }
}

/// One run in which everything can be recovered, through the real SDK, without sockets.
async fn recoverable(seed: u64, happened: &mut BTreeMap<&'static str, u64>) {
    let world = World::new(seed, |rng| {
        Quotas::default()
            .idle(Duration::from_millis(rng.u64(500..4000)))
            .session(Duration::from_secs(rng.u64(5..90)))
            .connections(Some(rng.u32(1..4)))
            .linger(Duration::from_millis(rng.u64(0..3000)))
    })
    .await;
    let kvs = KinesisVideo::new(&world.endpoint.in_process_config());
    let as_packets = seed % 5 == 4;
    if as_packets {
        return packets(world, &kvs, seed, happened).await;
    }
    let mut fragments = world.live(&kvs).fragments();
    let mut status = fragments.status();
    let connected = async move || {
        status.wait_for(|status| status.connected_since.is_some()).await.unwrap();
    };
    let consume = async {
        let mut received = Vec::new();
        while received.len() < FRAGMENTS {
            received.push(fragments.try_next().await.unwrap().expect("it goes on for ever"));
        }
        received
    };
    let ((endpoint, all), received) = tokio::join!(world.produce(connected, 200), consume);
    same(&received, &all, seed);
    for (what, times) in endpoint.happened() {
        *happened.entry(what).or_default() += times;
    }
    assert_eq!(endpoint.happened()["throttled"], 0, "run {seed}: calls came too fast");
}

/// The same, packet by packet.
async fn packets(world: World, kvs: &KinesisVideo, seed: u64, happened: &mut BTreeMap<&'static str, u64>) {
    let mut items = world.live(kvs).packets();
    let mut status = items.status();
    let connected = async move || {
        status.wait_for(|status| status.connected_since.is_some()).await.unwrap();
    };
    let consume = async {
        let (mut received, mut open) = (Vec::new(), None);
        while received.len() < FRAGMENTS {
            match items.try_next().await.unwrap().expect("it goes on for ever") {
                PacketItem::Start(header) => assert!(open.replace((header, Vec::new())).is_none(), "run {seed}"),
                PacketItem::Packet(packet) => {
                    let (_, packets) = open.as_mut().expect("a packet of an open fragment");
                    assert_eq!(packet.ordinal() as usize, packets.len(), "run {seed}");
                    packets.push(packet.payload().clone());
                }
                PacketItem::End(end) => {
                    let (header, packets) = open.take().expect("the end of an open fragment");
                    assert_eq!(end.end(), End::Trailer, "run {seed}, {:?}", header.number());
                    received.push((header.number().cloned().unwrap(), packets));
                }
                PacketItem::Discontinuity(what) => {
                    assert!(!matches!(what, Discontinuity::PacketDiffers { .. }), "run {seed}: {what}");
                }
                other => panic!("run {seed}: {other:?}"),
            }
        }
        received
    };
    let ((endpoint, all), received) = tokio::join!(world.produce(connected, 200), consume);
    let mut expected = Vec::new();
    for (number, bytes) in all {
        let fragment = kinesis_video::FragmentStream::new(&bytes[..]).try_next().await.unwrap().unwrap();
        expected.push((number, fragment.packets().map(|packet| packet.payload().clone()).collect::<Vec<_>>()));
    }
    assert!(received == expected, "run {seed}: not the same packets in the same order");
    for (what, times) in endpoint.happened() {
        *happened.entry(what).or_default() += times;
    }
}

/// Shows what the library says, of one run.
fn log() {
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().with_test_writer();
    let _ = lines.with_env_filter("kinesis_video=debug").try_init();
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// The seeds of one part in four, so that the test makes use of several cores.
fn part(quarter: u64) {
    let (from, to) = (RUNS / 4 * quarter, RUNS / 4 * (quarter + 1));
    let only = std::env::var("KVS_CHAOS").ok().map(|seed| seed.parse::<u64>().unwrap());
    let mut happened = BTreeMap::new();
    if only.is_some() {
        log();
    }
    for seed in (from..to).filter(|seed| only.is_none_or(|only| *seed == only)) {
        paused().block_on(recoverable(seed, &mut happened));
    }
    eprintln!("runs {from} to {to}: {happened:?}");
    for what in [
        "break off",
        "connection limit",
        "cut",
        "end",
        "fault",
        "idle end",
        "refuse",
        "repeat",
        "reset",
        "session end",
        "stall",
        "stale endpoint",
        "trickle",
        "unknown operation",
    ] {
        assert!(only.is_some() || happened[what] > 0, "{what} never happened");
    }
}

#[test]
fn recoverable_faults_1() {
    part(0);
}

#[test]
fn recoverable_faults_2() {
    part(1);
}

#[test]
fn recoverable_faults_3() {
    part(2);
}

#[test]
fn recoverable_faults_4() {
    part(3);
}
