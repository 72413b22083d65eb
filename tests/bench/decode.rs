//! What decoding costs, against the floor of any decoder: copying the same chunks into a `BytesMut`
//! and splitting it where the fragments end. Ratios of one run; absolute figures move with the
//! machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a program")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream};
use kinesis_video::local::{Document, Shape, Stamp, fragment_number};
use kinesis_video::{FragmentStream, Timestamp};

const CHUNK: usize = 16 << 10;

fn main() {
    println!("{:<34} {:>9} {:>9}  {:>6}", "through the public stream", "GB/s", "floor", "ratio");
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, body) in bodies().into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let lengths = fragment_lengths(&body);
        let rounds = (256 << 20) / body.len() + 1;
        let floor = fastest(|| (0..rounds).for_each(|_| copy_and_split(&body, &lengths)));
        let ours = fastest(|| (0..rounds).for_each(|_| decode(&body, lengths.len())));
        let speed = |time: Duration| (rounds * body.len()) as f64 / time.as_secs_f64() / 1e9;
        println!("{name:<34} {:>9.2} {:>9.2}  {:>6.2}", speed(ours), speed(floor), speed(ours) / speed(floor));
    }
}

fn bodies() -> Vec<(String, Bytes)> {
    let mut bodies: Vec<(String, Bytes)> = Vec::new();
    if let Some(folder) = std::env::var_os("KVS_CAPTURES") {
        for name in ["output_get_media.mkv", "kinesis_video_renderer_example_output.mkv"] {
            let body = std::fs::read(std::path::Path::new(&folder).join(name)).unwrap();
            bodies.push((format!("capture {name}").chars().take(34).collect(), body.into()));
        }
    }
    for (name, shape, blocks, length) in [
        ("video, Cluster of known size", Shape::Ffmpeg, 30, 16_000),
        ("video, Cluster of unknown size", Shape::Producer, 30, 16_000),
        ("Connect, blocks of 1 KiB", Shape::Producer, 34, 1024),
    ] {
        bodies.push((name.into(), generated(shape, blocks, length)));
    }
    bodies
}

fn generated(shape: Shape, blocks: i16, length: usize) -> Bytes {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let documents = (0..20).map(|ordinal| {
        let stamp = Stamp { number: fragment_number(ordinal, 1), server_time: time, producer_time: time };
        let document = Document::new(shape).video_track(1).tag("ContactId", "4a573372");
        let document = (0..blocks).fold(document, |document, i| document.block(1, i * 33, i == 0, &vec![7; length]));
        document.to_bytes(&stamp, 0)
    });
    documents.collect::<Vec<_>>().concat().into()
}

fn fragment_lengths(body: &Bytes) -> Vec<usize> {
    let fragments = FragmentStream::new(&body[..]).map(|fragment| fragment.unwrap().raw().len());
    futures::executor::block_on(fragments.collect())
}

/// The best of several rounds: noise only adds.
fn fastest(mut work: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..7).map(once).min().unwrap()
}

fn copy_and_split(body: &Bytes, lengths: &[usize]) {
    let mut received = BytesMut::new();
    let mut lengths = lengths.iter();
    let mut next = lengths.next();
    for chunk in body.chunks(CHUNK) {
        received.extend_from_slice(chunk);
        while let Some(&length) = next.filter(|&&length| length <= received.len()) {
            black_box(received.split_to(length).freeze());
            next = lengths.next();
        }
    }
    assert!(received.is_empty() && next.is_none());
}

fn decode(body: &Bytes, count: usize) {
    let mut rest = body.clone();
    let chunks = std::iter::from_fn(move || {
        let length = rest.len().min(CHUNK);
        (length > 0).then(|| Ok::<_, std::io::Error>(rest.split_to(length)))
    });
    let fragments = FragmentStream::from_stream(stream::iter(chunks));
    let seen = futures::executor::block_on(fragments.fold(0, |seen, fragment| {
        black_box(fragment.unwrap());
        std::future::ready(seen + 1)
    }));
    assert_eq!(seen, count);
}
