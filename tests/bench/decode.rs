//! Measures decoding against a floor: copying the chunks into a `BytesMut` and splitting it at fragment ends.
//!
//! Compare ratios of one run. Absolute figures depend on the machine.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, unused_crate_dependencies, reason = "a program")]

use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use kinesis_video::local::{Document, Shape, Stamp, fragment_number};
use kinesis_video::{Fragment, FragmentStream, Timestamp};
use tokio::io::{AsyncRead, ReadBuf};

const CHUNK: usize = 16 << 10;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let bodies = || bodies().into_iter().filter(|(name, _)| name.contains(&wanted));

    println!(
        "Decoding from memory in chunks of 16 KiB, with this crate and two others (GB/s; n/a: cannot read the body)"
    );
    println!(
        "{:<32} {:>7} {:>7} {:>6}  {:>13} {:>6}  {:>16}",
        "", "ours", "floor", "ratio", "webm-iterable", "times", "matroska-demuxer"
    );
    for (name, body) in bodies() {
        let fragments = fragments(&body);
        let lengths: Vec<usize> = fragments.iter().map(|fragment| fragment.raw().len()).collect();
        let rounds = (256 << 20) / body.len() + 1;
        let speed = |rounds: usize, time: Duration| (rounds * body.len()) as f64 / time.as_secs_f64() / 1e9;
        let floor = speed(rounds, fastest(|| (0..rounds).for_each(|_| copy_and_split(&body, &lengths, CHUNK))));
        let ours = speed(rounds, fastest(|| (0..rounds).for_each(|_| decode(&body, lengths.len(), CHUNK))));
        let fewer = rounds / 8 + 1;
        let blocks: usize = fragments.iter().map(|fragment| fragment.blocks().len()).sum();
        let webm = (webm_iterable(&body) == Some(blocks)).then(|| {
            speed(
                fewer,
                fastest(|| {
                    (0..fewer).for_each(|_| {
                        black_box(webm_iterable(&body));
                    });
                }),
            )
        });
        let documents: Vec<Bytes> = fragments.iter().map(Fragment::to_mkv).collect();
        let demux = || documents.iter().map(matroska_demuxer).sum::<Option<usize>>();
        let demuxer = (demux() == Some(blocks)).then(|| {
            speed(
                fewer,
                fastest(|| {
                    (0..fewer).for_each(|_| {
                        black_box(demux());
                    });
                }),
            )
        });
        let shown = |speed: Option<f64>| speed.map_or("n/a".into(), |speed| format!("{speed:.2}"));
        println!(
            "{name:<32} {ours:>7.2} {floor:>7.2} {:>6.2}  {:>13} {:>6}  {:>16}",
            ours / floor,
            shown(webm),
            shown(webm.map(|webm| ours / webm)),
            shown(demuxer)
        );
    }

    println!("\nDecoding one fragment in chunks of 1 KiB: time as a multiple of the floor's");
    println!("{:<12} {:>14} {:>16}", "", "known Cluster", "unknown Cluster");
    for (name, blocks) in [("500 KB", 31), ("5 MB", 312), ("50 MB", 3125)] {
        let times = [Shape::Ffmpeg, Shape::Producer].map(|shape| {
            let body = documents(1, shape, blocks, 16_000);
            let rounds = (64 << 20) / body.len() + 1;
            let lengths = [body.len()];
            let floor = fastest(|| (0..rounds).for_each(|_| copy_and_split(&body, &lengths, 1 << 10)));
            let ours = fastest(|| (0..rounds).for_each(|_| decode(&body, 1, 1 << 10)));
            ours.as_secs_f64() / floor.as_secs_f64()
        });
        println!("{name:<12} {:>14.2} {:>16.2}", times[0], times[1]);
    }
    python_library();
}

/// Counts the blocks of a body with webm-iterable. Returns `None` if it cannot read the body.
fn webm_iterable(body: &[u8]) -> Option<usize> {
    use webm_iterable::WebmIterator;
    use webm_iterable::matroska_spec::MatroskaSpec;
    let mut source = std::io::Cursor::new(body);
    let mut blocks = 0;
    for tag in WebmIterator::new(&mut source, &[]) {
        blocks += usize::from(matches!(tag.ok()?, MatroskaSpec::SimpleBlock(_)));
    }
    Some(blocks)
}

/// Counts the blocks of a document with matroska-demuxer. Returns `None` if it cannot read the document.
fn matroska_demuxer(document: &Bytes) -> Option<usize> {
    let mut file = matroska_demuxer::MatroskaFile::open(std::io::Cursor::new(document)).ok()?;
    let mut frame = matroska_demuxer::Frame::default();
    let mut blocks = 0;
    while file.next_frame(&mut frame).ok()? {
        blocks += 1;
    }
    Some(blocks)
}

/// Measures AWS's Python library, if `make judges` has installed it.
fn python_library() {
    let Some(python) = std::env::var_os("KVS_JUDGES") else {
        println!("\nAWS's Python library is not measured: KVS_JUDGES is not set (see `make bench`)");
        return;
    };
    let body = documents(3, Shape::Ffmpeg, 60, 8_000);
    let path = std::env::temp_dir().join("kinesis-video-bench.mkv");
    std::fs::write(&path, &body).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/python_library.py");
    let said = std::process::Command::new(python).arg(script).arg(&path).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let theirs: f64 = String::from_utf8(said.stdout).unwrap().trim().parse().unwrap();
    let rounds = 200;
    let ours = fastest(|| (0..rounds).for_each(|_| decode(&body, 3, 1 << 10))).as_secs_f64() / f64::from(rounds);
    let speed = |seconds: f64| body.len() as f64 / seconds / 1e6;
    println!(
        "\nThree fragments of 480 KB in chunks of 1 KiB: AWS's Python library {:.1} MB/s, ours {:.0} MB/s",
        speed(theirs),
        speed(ours)
    );
    std::fs::remove_file(&path).unwrap();
}

fn bodies() -> Vec<(String, Bytes)> {
    let mut bodies: Vec<(String, Bytes)> = Vec::new();
    if let Some(folder) = std::env::var_os("KVS_CAPTURES") {
        for name in ["output_get_media.mkv", "kinesis_video_renderer_example_output.mkv"] {
            let body = std::fs::read(std::path::Path::new(&folder).join(name)).unwrap();
            bodies.push((format!("capture {name}").chars().take(32).collect(), body.into()));
        }
    }
    for (name, shape, blocks, length) in [
        ("video, Cluster of known size", Shape::Ffmpeg, 30, 16_000),
        ("video, Cluster of unknown size", Shape::Producer, 30, 16_000),
        ("Connect, blocks of 1 KiB", Shape::Producer, 34, 1024),
    ] {
        bodies.push((name.into(), documents(20, shape, blocks, length)));
    }
    bodies
}

fn documents(count: u32, shape: Shape, blocks: i16, length: usize) -> Bytes {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let documents = (0..count).map(|ordinal| {
        let stamp = Stamp { number: fragment_number(ordinal, 1), server_time: time, producer_time: time };
        let document = Document::new(shape).video_track(1).tag("ContactId", "4a573372");
        let document = (0..blocks).fold(document, |document, i| document.block(1, i, i == 0, &vec![7; length]));
        document.to_bytes(&stamp, 0)
    });
    documents.collect::<Vec<_>>().concat().into()
}

fn fragments(body: &Bytes) -> Vec<Fragment> {
    let fragments = FragmentStream::new(&body[..]).map(|fragment| fragment.unwrap());
    futures::executor::block_on(fragments.collect())
}

/// Returns the shortest time of seven rounds. Noise only adds time.
fn fastest(mut work: impl FnMut()) -> Duration {
    let once = |_| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    (0..7).map(once).min().unwrap()
}

fn copy_and_split(body: &Bytes, lengths: &[usize], chunk: usize) {
    let mut received = BytesMut::new();
    let mut lengths = lengths.iter();
    let mut next = lengths.next();
    for chunk in body.chunks(chunk) {
        received.extend_from_slice(chunk);
        while let Some(&length) = next.filter(|&&length| length <= received.len()) {
            black_box(received.split_to(length).freeze());
            next = lengths.next();
        }
    }
    assert!(received.is_empty() && next.is_none());
}

/// A reader that is always ready and returns at most `chunk` bytes per read.
struct Feed<'a> {
    rest: &'a [u8],
    chunk: usize,
}

impl AsyncRead for Feed<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let length = self.rest.len().min(self.chunk).min(out.remaining());
        let (now, rest) = self.rest.split_at(length);
        out.put_slice(now);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

fn decode(body: &Bytes, count: usize, chunk: usize) {
    let mut fragments = FragmentStream::new(Feed { rest: body, chunk });
    let mut seen = 0;
    futures::executor::block_on(async {
        while let Some(fragment) = fragments.next().await {
            black_box(fragment.unwrap());
            seen += 1;
        }
    });
    assert_eq!(seen, count);
}
