//! The memory of reading the archive under faults, counted by the allocator.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use futures::TryStreamExt;
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, Operation, Quotas, Shape, Stamp};
use kinesis_video::{Archive, ArchiveFragments, FragmentEnd, KinesisVideo, RetryConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;

use crate::counting;
use crate::media::stamp;
use crate::rounds::rounds;

/// The blocks of a fragment, and the bytes of a block. A fragment is a little over 4 MiB, the size for which a
/// doubling buffer wastes most.
const BLOCKS: i16 = 68;
const BLOCK: usize = 64 << 10;
const FRAGMENT: u64 = BLOCKS as u64 * BLOCK as u64 + 4096;

/// The bytes that a connection reads ahead and reserves.
const READ_AHEAD: u64 = 3 << 19;

/// The number of fragments: a quarter of 1 GiB, and 1 GiB with more rounds. The endpoint keeps them in memory.
fn fragments() -> u32 {
    u32::try_from(rounds(64).min(256)).unwrap()
}

/// A random fault that loses no media. Most faults shuffle the fragments of an answer.
fn random_fault(rng: &mut Rng) -> InjectedFault {
    let fragment = rng.u64(0..4);
    let message = "FRAGMENT_NOT_FOUND".to_owned();
    match rng.u32(0..16) {
        0 => InjectedFault::CutAfter(rng.u64(0..4 * FRAGMENT)),
        1 => InjectedFault::ResetAfter(rng.u64(0..4 * FRAGMENT)),
        2 => InjectedFault::EndAfter(fragment),
        3 => InjectedFault::FaultAfter { fragments: fragment, id: 5000, message: "INTERNAL".into() },
        4 => InjectedFault::FaultAt { fragment, id: 3000, message },
        5 => InjectedFault::Omit(fragment),
        6 if rng.bool() => InjectedFault::Refuse("ClientLimitExceededException".into()),
        _ => InjectedFault::Shuffle(rng.u64(..)),
    }
}

/// An endpoint with all fragments. It stores them on this thread, whose memory is counted.
async fn endpoint(stamps: &[Stamp], faults: impl IntoIterator<Item = InjectedFault>) -> LocalEndpoint {
    let quotas = Quotas::default().calls_per_second(None).media_points(None);
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let stream = endpoint.create_stream("door");
    stream.set_retention(Duration::from_secs(100 * 365 * 86_400));
    for (n, stamp) in stamps.iter().enumerate() {
        // Clusters of known and of unknown size.
        let shape = if n % 2 == 0 { Shape::Ffmpeg } else { Shape::Producer };
        let payload = vec![n as u8; BLOCK];
        let document = (0..BLOCKS)
            .fold(Document::new(shape).video_track(1), |document, i| document.block(1, i * 15, i == 0, &payload));
        stream.push_stamped(&document, stamp.clone());
    }
    for fault in faults {
        endpoint.inject(Operation::GetMediaForFragmentList, None, fault);
    }
    endpoint
}

/// Reads all fragments with pauses, and asserts that each is whole and yielded once, in order.
async fn read(mut archive: ArchiveFragments, stamps: &[Stamp]) {
    let mut expected = vec![0; BLOCK];
    for (n, stamp) in stamps.iter().enumerate() {
        let fragment = archive.try_next().await.unwrap().unwrap_or_else(|| panic!("only {n}"));
        assert_eq!(fragment.number(), Some(&stamp.number));
        assert_ne!(fragment.end_reason(), FragmentEnd::Cut);
        expected.fill(n as u8);
        assert_eq!(fragment.packets().count(), BLOCKS as usize);
        assert!(fragment.packets().all(|packet| packet.payload()[..] == expected[..]), "fragment {n}");
        if n % 16 == 8 {
            sleep(Duration::from_millis(200)).await;
        }
    }
    assert!(archive.try_next().await.unwrap().is_none());
}

/// The upper bound of memory for `buffer` bytes. At least one fragment is buffered. A buffer may have twice the
/// capacity, and while it grows the old one is allocated too.
fn budget(buffer: u64, connections: u64) -> u64 {
    2 * (buffer + FRAGMENT) + FRAGMENT + connections * READ_AHEAD
}

/// Reads all fragments of an endpoint with some options, and asserts that the memory stays within `most` bytes and is
/// freed.
fn check(runtime: &Runtime, endpoint: &LocalEndpoint, stamps: &[Stamp], (name, options, most): (&str, Way<'_>, u64)) {
    let config = endpoint.sdk_config();
    let ((), usage) = counting::of(|| {
        runtime.block_on(async {
            let kvs = KinesisVideo::new(&config);
            read(options(kvs.archive("door").retry(RetryConfig::default().max_attempts(60))).fragments(), stamps).await;
            drop(kvs);
            // Waits until both sides have closed their connections.
            sleep(Duration::from_millis(200)).await;
        });
    });
    let most = most as i64;
    eprintln!("{name}: {} KiB of {}, {} KiB left", usage.peak >> 10, most >> 10, usage.current >> 10);
    assert!(usage.peak <= most, "{name}: {} bytes, not {most}", usage.peak);
    // A first run allocates what is allocated only once.
    assert!(usage.current < 1 << 20, "{name}: {} bytes are left", usage.current);
}

type Way<'a> = &'a dyn Fn(Archive) -> Archive;

#[test]
fn reading_a_large_archive_stays_within_its_memory_budget() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let stamps: Vec<_> = (1..=fragments()).map(stamp).collect();
    let mut rng = Rng::with_seed(7);
    let endpoint = runtime.block_on(endpoint(&stamps, (0..20 * fragments()).map(|_| random_fault(&mut rng))));
    let range = stamps[0].server_time..=stamps[stamps.len() - 1].server_time;
    let numbers: Vec<_> = stamps.iter().map(|stamp| stamp.number.clone()).collect();
    let ranged = |archive: Archive| archive.range(range.clone());
    let ways: [(&str, Way<'_>, u64); 4] = [
        ("by default", &|archive| ranged(archive), budget(64 << 20, 5)),
        ("one connection", &|archive| ranged(archive).connections(1), budget(64 << 20, 1)),
        ("little room", &|archive| ranged(archive).buffer_bytes(10 << 20), budget(10 << 20, 5)),
        // Without a useful buffer limit, each connection holds the fragment it receives and the one before, which is
        // not yet known to be whole.
        ("unknown sizes", &|archive| archive.numbers(numbers.clone()), budget((64 << 20) + 2 * 5 * FRAGMENT, 5)),
    ];
    for way in ways {
        check(&runtime, &endpoint, &stamps, way);
    }
    assert!(endpoint.pending_faults() > 0, "all that was to happen has happened: the rest went smoothly");
    let happened: BTreeMap<_, _> = endpoint.fault_counts().iter().collect();
    eprintln!("{happened:?}");
    for what in ["cut", "reset", "end", "fault", "fault at", "omit", "refuse", "shuffle"] {
        assert!(happened[what] > 0, "{what} never happened: {happened:?}");
    }
}

#[test]
fn buffered_fragments_of_cut_bodies_count_in_the_budget() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let stamps: Vec<_> = (1..=15).map(stamp).collect();
    // Each call requests one fragment, and receives most of it.
    let endpoint = runtime.block_on(endpoint(&stamps, vec![InjectedFault::CutAfter(FRAGMENT - 65_536); 10]));
    let range = stamps[0].server_time..=stamps[14].server_time;
    let way: Way<'_> = &|archive| archive.range(range.clone()).buffer_bytes(5 * FRAGMENT);
    check(&runtime, &endpoint, &stamps, ("cut bodies", way, budget(5 * FRAGMENT, 5)));
    assert_eq!(endpoint.fault_counts().cut, 10);
}

#[test]
fn fragments_still_to_fetch_take_little_memory() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let stamps: Vec<_> = (1..=5000).map(stamp).collect();
    let quotas = Quotas::default().calls_per_second(None).media_points(None).metadata_points(None);
    let endpoint = runtime.block_on(LocalEndpoint::start_with(0, quotas)).unwrap();
    let stream = endpoint.create_stream("door");
    stream.set_retention(Duration::from_secs(100 * 365 * 86_400));
    let document = Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"a frame");
    stamps.iter().for_each(|stamp| stream.push_stamped(&document, stamp.clone()));
    // The usage includes the connections. The difference of two runs is the memory per fragment.
    let read = |count: usize| {
        let range = stamps[0].server_time..=stamps[count - 1].server_time;
        let (archive, usage) = counting::of(|| {
            let kvs = KinesisVideo::new(&endpoint.sdk_config());
            let mut archive = kvs.archive("door").range(range).buffer_bytes(1).connections(1).fragments();
            let first = runtime.block_on(archive.try_next()).unwrap().unwrap();
            assert_eq!(first.number(), Some(&stamps[0].number));
            archive
        });
        assert_eq!(archive.progress().borrow().total_fragments, Some(count as u64));
        usage
    };
    // A first run allocates what is allocated only once.
    read(1);
    let (few, many) = (read(1000), read(5000));
    let (each, listing) = ((many.current - few.current) / 4000, (many.peak - few.peak) / 4000);
    eprintln!("{each} bytes for each that is to come, {listing} while they are listed");
    assert!(each <= 200, "{each} bytes");
    // This includes the endpoint's memory for a page.
    assert!(listing <= 600, "{listing} bytes");
}
