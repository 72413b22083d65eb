//! Under injected faults, every pushed fragment is yielded once and in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use futures::TryStreamExt;
use kinesis_video::demux::PacketItem;
use kinesis_video::local::{
    self, Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape, Stamp, fragment_number,
};
use kinesis_video::{
    Discontinuity, Fragment, FragmentEnd, FragmentHeader, KinesisVideo, Live, OnAgedOut, Start, Timestamp,
};
use tokio::time::{Instant, sleep};

use crate::support::bodies::stamp;
use crate::support::random_media::{Pushed, push, random_document};

/// The number of runs, and of fragments in each.
const RUNS: u64 = 500;
const FRAGMENTS: usize = 200;

/// A random fault of the service or the network that loses no media.
fn random_fault(rng: &mut Rng, scale: u32) -> (Operation, InjectedFault) {
    let refuse = |name: &str| InjectedFault::Refuse(name.into());
    let after = rng.u64(0..12_000);
    let fault = match rng.u32(0..14) {
        0 => InjectedFault::CutAfter(after),
        1 => InjectedFault::ResetAfter(after),
        2 | 3 => InjectedFault::BreakOff(after),
        4 => InjectedFault::EndAfter(rng.u64(0..8)),
        5 => InjectedFault::FaultAfter {
            fragments: rng.u64(0..6),
            id: *rng.choice(&[3002, 5000]).unwrap(),
            message: "E".into(),
        },
        6 => {
            let names = ["ClientLimitExceededException", "ThrottlingException", "ConnectionLimitExceededException"];
            refuse(rng.choice(&names).unwrap())
        }
        7 => refuse(rng.choice(&["InternalFailure", "ServiceUnavailable"]).unwrap()),
        8 => InjectedFault::Stall { after, pause: Duration::from_secs(rng.u64(1..60)) / scale },
        9 => InjectedFault::StaleEndpoint,
        10 => InjectedFault::Trickle { bytes: rng.usize(100..3000), pause: Duration::from_millis(rng.u64(1..20)) },
        11 => InjectedFault::UnknownOperation,
        12 => InjectedFault::EndBeforeTrailer(rng.u64(0..5)),
        _ => InjectedFault::Repeat(rng.u64(1..6)),
    };
    let of_calls = matches!(fault, InjectedFault::Refuse(_));
    (if of_calls && rng.bool() { Operation::GetDataEndpoint } else { Operation::GetMedia }, fault)
}

/// A stream, its producer and its faults.
struct World {
    endpoint: LocalEndpoint,
    stream: LocalStream,
    rng: Rng,
    start: Start,
}

impl World {
    /// Creates a world in which time is scaled down by this factor.
    async fn new(seed: u64, scale: u32) -> Self {
        let mut rng = Rng::with_seed(seed);
        // The library draws from the global generator, so that is seeded too.
        fastrand::seed(seed);
        let quotas = Quotas::default()
            .idle(Duration::from_millis(rng.u64(500..4000)) / scale)
            .session(Duration::from_secs(rng.u64(5..90)) / scale)
            .connections(Some(rng.u32(1..4)))
            .linger(Duration::from_millis(rng.u64(0..3000)) / scale);
        let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
        let stream = endpoint.create_stream("chaos");
        for _ in 0..rng.usize(5..40) {
            let (operation, fault) = random_fault(&mut rng, scale);
            endpoint.inject(operation, None, fault);
        }
        let start = if rng.bool() { Start::Now } else { Start::Earliest };
        Self { endpoint, stream, rng, start }
    }

    fn live(&self, kvs: &KinesisVideo) -> Live {
        kvs.live("chaos").start(self.start.clone()).idle_timeout(Duration::from_secs(600))
    }

    /// Pushes all fragments with pauses. With `Start::Now` it begins when the reader is connected.
    async fn produce(mut self, mut connected: impl AsyncFnMut(), pace: u64) -> (LocalEndpoint, Vec<Pushed>) {
        if self.start == Start::Now {
            connected().await;
        }
        let mut all = Vec::new();
        for n in 0..FRAGMENTS {
            all.push(push(&self.stream, &random_document(&mut self.rng, n)));
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

/// Asserts that no loss is reported, except pauses of the producer.
fn said_no_loss(said: &[Discontinuity], seed: u64) {
    let is_loss = |what: &&Discontinuity| what.is_loss() && !matches!(what, Discontinuity::Gap { .. });
    assert!(said.iter().find(is_loss).is_none(), "run {seed}: {said:?}");
}

fn same(fragments: &[Fragment], all: &[Pushed], seed: u64) {
    let numbers = |fragments: &[Fragment]| fragments.iter().map(|f| f.number().cloned().unwrap()).collect::<Vec<_>>();
    let expected: Vec<_> = all.iter().map(|(number, _)| number.clone()).collect();
    assert!(numbers(fragments) == expected, "run {seed}: not the same fragments in the same order");
    for (fragment, (number, bytes)) in fragments.iter().zip(all) {
        said_no_loss(fragment.discontinuities(), seed);
        assert_eq!(fragment.end_reason(), FragmentEnd::Trailer, "run {seed}, fragment {number}");
        assert!(fragment.raw().starts_with(bytes), "run {seed}, fragment {number}: not the same bytes");
        let trailer = fragment.raw().len() - bytes.len();
        assert!((100..300).contains(&trailer), "run {seed}, fragment {number}: {trailer} bytes after it");
    }
}

/// One run with faults that lose nothing, through the real SDK, without sockets.
async fn recoverable(seed: u64, happened: &mut BTreeMap<&'static str, u64>) {
    let world = World::new(seed, 1).await;
    let kvs = KinesisVideo::new(&world.endpoint.in_process_config());
    let live = world.live(&kvs);
    let endpoint =
        if seed % 5 == 4 { packets(world, live, seed).await } else { fragments(world, live, 200, seed).await };
    for (what, times) in endpoint.fault_counts().iter() {
        *happened.entry(what).or_default() += times;
    }
    assert_eq!(endpoint.fault_counts().throttled, 0, "run {seed}: calls came too fast");
}

/// Reads fragment by fragment.
async fn fragments(world: World, live: Live, pace: u64, seed: u64) -> LocalEndpoint {
    let mut fragments = live.fragments();
    let mut status = fragments.status();
    let connected = async move || {
        status.wait_for(|status| status.connected_since.is_some()).await.unwrap();
    };
    let consume = async {
        let mut received = Vec::new();
        while received.len() < FRAGMENTS {
            received.push(fragments.try_next().await.unwrap().expect("it does not end"));
        }
        received
    };
    let ((endpoint, all), received) = tokio::join!(world.produce(connected, pace), consume);
    same(&received, &all, seed);
    endpoint
}

/// Reads packet by packet.
async fn packets(world: World, live: Live, seed: u64) -> LocalEndpoint {
    let mut items = live.packets();
    let mut status = items.status();
    let connected = async move || {
        status.wait_for(|status| status.connected_since.is_some()).await.unwrap();
    };
    let consume = async {
        let (mut received, mut open) = (Vec::new(), None);
        while received.len() < FRAGMENTS {
            match items.try_next().await.unwrap().expect("it does not end") {
                PacketItem::Start(header) => assert!(open.replace((header, Vec::new())).is_none(), "run {seed}"),
                PacketItem::Packet(packet) => {
                    let (_, packets) = open.as_mut().expect("a packet of an open fragment");
                    assert_eq!(packet.ordinal() as usize, packets.len(), "run {seed}");
                    packets.push(packet.payload().clone());
                }
                PacketItem::End(end) => {
                    let (header, packets) = open.take().expect("the end of an open fragment");
                    assert_eq!(end.end_reason(), FragmentEnd::Trailer, "run {seed}, {:?}", header.number());
                    received.push((header.number().cloned().unwrap(), packets));
                }
                PacketItem::Discontinuity(what) => {
                    assert!(!matches!(what, Discontinuity::PacketDiffers { .. }), "run {seed}: {what}");
                    said_no_loss(&[what], seed);
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
    endpoint
}

/// Prints the library's log, for one run.
fn log() {
    let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().with_test_writer();
    let _ = lines.with_env_filter("kinesis_video=debug").try_init();
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap()
}

/// The seeds of one quarter, so that the test uses several cores.
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
fn recoverable_faults_lose_nothing_1() {
    part(0);
}

#[test]
fn recoverable_faults_lose_nothing_2() {
    part(1);
}

#[test]
fn recoverable_faults_lose_nothing_3() {
    part(2);
}

#[test]
fn recoverable_faults_lose_nothing_4() {
    part(3);
}

/// The same over sockets, with fewer runs because they take real time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recoverable_faults_lose_nothing_over_sockets() {
    let runs = (1000..1020).map(|seed| {
        tokio::spawn(async move {
            let world = World::new(seed, 20).await;
            let kvs = KinesisVideo::new(&world.endpoint.sdk_config());
            let live = world.live(&kvs).read_timeout(Duration::from_millis(500));
            fragments(world, live, 10, seed).await.fault_counts()
        })
    });
    let mut happened = BTreeMap::<_, u64>::new();
    for run in runs.collect::<Vec<_>>() {
        for (what, times) in run.await.unwrap().iter() {
            *happened.entry(what).or_default() += times;
        }
    }
    eprintln!("over sockets: {happened:?}");
    for what in ["break off", "cut", "end before trailer", "idle end", "reset", "session end", "stall", "trickle"] {
        assert!(happened[what] > 0, "{what} never happened");
    }
}

/// A fragment of 1 s, in five blocks, received at this time.
fn second(ordinal: u32, server_millis: u64) -> (Document, Stamp) {
    let document = Document::new(Shape::Producer).video_track(1).cluster_time(u64::from(ordinal) * 1000);
    let block =
        |document: Document, i: i16| document.block(1, i * 200, i == 0, &crate::support::bodies::payload(300, i as u8));
    let server_time = Timestamp::from_millis(server_millis as i64);
    let number = fragment_number(ordinal, server_millis);
    ((0..5).fold(document, block), Stamp { number, server_time, ..stamp(ordinal) })
}

/// A fragment that was damaged when it was stored.
fn stored_damage(rng: &mut Rng, document: &Document, stamp: &Stamp) -> Vec<u8> {
    let mut bytes = document.to_bytes(stamp, 0).to_vec();
    let cluster = bytes.windows(4).position(|id| id == [0x1F, 0x43, 0xB6, 0x75]).unwrap();
    let heads: Vec<_> = (cluster..bytes.len() - 6).filter(|&i| bytes[i..].starts_with(&[0xA3, 0x01, 0, 0])).collect();
    let head = *rng.choice(&heads).unwrap();
    match rng.u32(0..3) {
        // The end is missing, from between two blocks. After a cut inside a block, the next bytes would belong to
        // that block, and could look like valid elements.
        0 => bytes.truncate(head),
        // The head of a block is damaged.
        1 => bytes[head..head + 4].fill(0),
        // It has no number, because the damage is before it.
        _ => bytes[36..60].fill(0),
    }
    bytes
}

/// A fragment as it was yielded.
struct Got {
    ordinal: u32,
    is_cut: bool,
    duration: Duration,
    before: Vec<Discontinuity>,
}

fn ordinal(header: &FragmentHeader) -> u32 {
    let millis = header.producer_time().expect("a time").as_millis() - stamp(0).producer_time.as_millis();
    (millis / 1000) as u32
}

async fn lossy_fragments(live: Live, last: u32) -> Vec<Got> {
    let (mut fragments, mut received) = (live.fragments(), Vec::<Got>::new());
    while received.last().is_none_or(|got| got.ordinal != last) {
        let Some(fragment) = fragments.try_next().await.unwrap() else { break };
        received.push(Got {
            ordinal: ordinal(fragment.header()),
            is_cut: fragment.end_reason() != FragmentEnd::Trailer,
            duration: fragment.duration(),
            before: fragment.discontinuities().to_vec(),
        });
    }
    received
}

async fn lossy_packets(live: Live, last: u32) -> Vec<Got> {
    let (mut items, mut received) = (live.packets(), Vec::<Got>::new());
    let (mut before, mut open) = (Vec::new(), None::<(Got, Vec<i64>)>);
    while received.last().is_none_or(|got| got.ordinal != last) {
        let Some(item) = items.try_next().await.unwrap() else { break };
        match item {
            PacketItem::Discontinuity(what) => before.push(what),
            PacketItem::Start(header) => {
                let before = std::mem::take(&mut before);
                let got = Got { ordinal: ordinal(&header), is_cut: false, duration: Duration::ZERO, before };
                assert!(open.replace((got, Vec::new())).is_none(), "a start before the end");
            }
            PacketItem::Packet(packet) => open.as_mut().expect("an open fragment").1.push(packet.timecode_ns()),
            PacketItem::End(end) => {
                let (mut got, times) = open.take().expect("an open fragment");
                got.is_cut = end.end_reason() != FragmentEnd::Trailer;
                let millis = if times.len() > 1 { times.len() as u64 * 200 } else { 0 };
                got.duration = Duration::from_millis(millis);
                received.push(got);
            }
            other => panic!("{other:?}"),
        }
    }
    received
}

/// One run in which media are lost. The reported gaps must equal the missing media.
async fn lossy(seed: u64, happened: &mut BTreeMap<&'static str, u64>, said: &mut BTreeMap<String, u64>) {
    let mut rng = Rng::with_seed(seed);
    fastrand::seed(seed);
    let aged_out = *rng.choice(&[local::Expired::Fault, local::Expired::Oldest]).unwrap();
    let idle = Duration::from_millis(rng.u64(500..4000));
    let endpoint = LocalEndpoint::start_with(0, Quotas::default().idle(idle).aged_out(aged_out)).await.unwrap();
    let stream = endpoint.create_stream("chaos");
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let policy = *rng.choice(&[OnAgedOut::Earliest, OnAgedOut::Now]).unwrap();
    let last = FRAGMENTS as u32;
    let (started, began) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis());
    let produce = async {
        let (mut damaged, mut kept, mut gone) = (BTreeSet::new(), VecDeque::new(), BTreeSet::new());
        for ordinal in 1..=last {
            kept.push_back(ordinal);
            if ordinal == last {
                // The last fragments are pushed after all faults, so the stream reaches them.
                sleep(Duration::from_secs(120)).await;
            }
            let millis = began + started.elapsed().as_millis();
            let (document, stamp) = second(ordinal, millis as u64);
            if ordinal > 1 && ordinal < last && rng.u32(0..12) == 0 {
                damaged.insert(ordinal);
                stream.push_bytes(stored_damage(&mut rng, &document, &stamp), stamp);
            } else {
                stream.push_stamped(&document, stamp);
            }
            match rng.u32(0..30) {
                // For a while all calls are refused, and fragments expire.
                0 => {
                    endpoint.inject(Operation::GetMedia, None, InjectedFault::EndAfter(0));
                    (0..rng.u32(2..8)).for_each(|_| {
                        endpoint.inject(Operation::GetMedia, None, InjectedFault::Refuse("ServiceUnavailable".into()));
                    });
                }
                1 | 2 => {
                    let fragments = rng.usize(1..30);
                    stream.expire(fragments);
                    gone.extend(kept.drain(..fragments.min(kept.len())));
                }
                3 => endpoint.inject(Operation::GetMedia, None, InjectedFault::BreakOff(rng.u64(0..9000))),
                _ => {}
            }
            sleep(Duration::from_millis(rng.u64(0..400))).await;
        }
        (damaged, gone)
    };
    let live = kvs.live("chaos").start(Start::Earliest).on_aged_out(policy);
    // A reader that continues with the newest may start after the last fragment.
    let live = live.idle_timeout(Duration::from_secs(1000));
    let consume = async {
        if seed.is_multiple_of(3) { lossy_packets(live, last).await } else { lossy_fragments(live, last).await }
    };
    let ((damaged, gone), received) = tokio::join!(produce, consume);
    let order: Vec<_> = received.iter().map(|got| got.ordinal).collect();
    let goes_to_now =
        received.iter().flat_map(|got| &got.before).any(|what| matches!(what, Discontinuity::AgedOut { .. }))
            && policy == OnAgedOut::Now;
    assert!(order.last() == Some(&last) || goes_to_now, "run {seed}: it ends at {:?}", order.last());
    assert!(order.len() > 10 || goes_to_now, "run {seed}: {order:?}");
    assert!(order.is_sorted_by(|a, b| a < b), "run {seed}: in order, and once: {order:?}");
    let names = |got: &Got| got.before.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    for two in received.windows(2) {
        let (before, next) = (&two[0], &two[1]);
        let (first, second) = (before.ordinal, next.ordinal);
        let has_reason = damaged.contains(&first) || gone.contains(&first);
        assert!(!before.is_cut || has_reason, "run {seed}: {first} is cut without a reason");
        // Each fragment is 1 s long, so the missing time is known to the millisecond. A single block is as long as
        // the blocks before it, and a cut fragment is no longer than its blocks.
        let second_or_less = before.duration.min(Duration::from_secs(1));
        let lasted = if second_or_less.is_zero() { Duration::from_secs(1) } else { second_or_less };
        let missing = Duration::from_secs(u64::from(second - first)) - lasted;
        let gaps = next.before.iter().filter_map(|what| match what {
            Discontinuity::Gap { duration, .. } => Some(*duration),
            _ => None,
        });
        let tolerated = if missing > Duration::from_millis(500) { missing } else { Duration::ZERO };
        assert_eq!(gaps.sum::<Duration>(), tolerated, "run {seed}: between {first} and {second}");
        // A cut fragment is itself marked as cut.
        let is_loss = next.before.iter().any(Discontinuity::is_loss);
        assert!(is_loss || second - first == 1, "run {seed}: {first}, {second}: {}", names(next));
        let has_loss = second - first > 1 || before.is_cut;
        assert!(!is_loss || has_loss, "run {seed}: {first}, {second}: {}", names(next));
    }
    for what in received.iter().flat_map(|got| &got.before) {
        let name = format!("{what:?}").chars().take_while(|c| c.is_alphanumeric()).collect();
        *said.entry(name).or_default() += 1;
    }
    let is_damaged = |got: &&Got| damaged.contains(&got.ordinal);
    assert!(received.iter().filter(is_damaged).all(|got| got.is_cut), "run {seed}: damaged, but marked as whole");
    for (what, times) in endpoint.fault_counts().iter() {
        *happened.entry(what).or_default() += times;
    }
}

#[test]
fn lossy_faults_are_reported() {
    let only = std::env::var("KVS_CHAOS").ok().map(|seed| seed.parse::<u64>().unwrap());
    let (mut happened, mut said) = (BTreeMap::new(), BTreeMap::new());
    if only.is_some() {
        log();
    }
    for seed in (2000..2100).filter(|seed| only.is_none_or(|only| *seed == only)) {
        paused().block_on(lossy(seed, &mut happened, &mut said));
    }
    eprintln!("lossy: {happened:?}; {said:?}");
    for what in ["AgedOut", "Gap", "SkippedFragment", "Reconnected", "SkippedBytes"] {
        assert!(only.is_some() || said.get(what).is_some_and(|&times| times > 0), "{what} was never reported");
    }
    assert!(only.is_some() || happened["aged out"] > 0);
}
