//! Speed of recording fragments as one file, compared with copying the same bytes, and with `ffmpeg -c copy`.
//!
//! The floor reads the body in pieces of 64 KiB and writes them to a file. The peer reads one MKV file of the same media.
//! All read from memory or the page cache, and write into one folder, one after the other.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs, reason = "a program")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use futures::TryStreamExt;
use kinesis_video::local::{Document, Shape, Stamp, fragment_number};
use kinesis_video::{FragmentStream, MkvFileSink, Mp4Sink, RecordExt, Timestamp};

/// The number of measurements. The median counts.
const ROUNDS: usize = 5;

/// The size of the media in bytes.
const SIZE: usize = 256 << 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // A camera's 4 Mbit/s and 1 Mbit/s: fragments of 2 s at 15 pictures a second.
    for (name, length) in [("4 Mbit/s, fragments of 1 MB", 33_333), ("1 Mbit/s, fragments of 250 KB", 8_333)] {
        let input = folder.path().join("input.mkv");
        std::fs::write(&input, media(length)).unwrap();
        println!("{name:<32} {:>8} {:>12} {:>14}", "GB/s", "of copying", "of ffmpeg");
        let copied = speed(&mut || runtime.block_on(copy(&input, &folder.path().join("copied.mkv"))));
        row("copying", copied, None, None);
        // One MKV file, as ffmpeg wants it: its own demuxer warns at each document of the service.
        let one = folder.path().join("one.mkv");
        runtime.block_on(remux(&input, MkvFileSink::create(&one).keep_existing(false)));
        for (name, file, options) in [
            ("MP4", "out.mp4", &[][..]),
            ("fragmented MP4", "fragmented.mp4", &["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]),
            ("MKV", "out.mkv", &[]),
        ] {
            let path = folder.path().join(file);
            let ours = speed(&mut || {
                runtime.block_on(async {
                    if name == "MKV" {
                        remux(&input, MkvFileSink::create(&path).keep_existing(false)).await;
                    } else {
                        let is_fragmented = !options.is_empty();
                        remux(&input, Mp4Sink::create(&path).fragmented(is_fragmented).keep_existing(false)).await;
                    }
                });
            });
            let theirs = speed(&mut || ffmpeg(&one, &folder.path().join(format!("ffmpeg-{file}")), options));
            row(name, ours, Some(ours / copied), Some(ours / theirs));
        }
    }
}

fn row(name: &str, speed: f64, of_copying: Option<f64>, of_ffmpeg: Option<f64>) {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    println!("  {name:<30} {speed:>8.2} {:>12} {:>14}", ratio(of_copying), ratio(of_ffmpeg));
}

/// The median speed of a piece of work on [`SIZE`] bytes, in GB/s. What is written reaches the disk before the next round.
fn speed(work: &mut dyn FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            Command::new("sync").status().unwrap();
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    SIZE as f64 / seconds[ROUNDS / 2] / 1e9
}

/// A body of H.264 in fragments of 30 pictures, each picture of `length` bytes.
fn media(length: usize) -> Vec<u8> {
    const AVCC: &[u8] = &[
        1, 0x64, 0, 12, 0xFF, 0xE1, 0, 25, 0x67, 0x64, 0, 12, 0xAC, 0xD9, 0x41, 0x41, 0xFB, 0x01, 0x10, 0, 0, 3, 0,
        0x10, 0, 0, 3, 1, 0xE0, 0xF1, 0x42, 0x99, 0x60, 1, 0, 6, 0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0,
    ];
    let mut body = Vec::with_capacity(SIZE + (2 << 20));
    let mut ordinal = 0u32;
    while body.len() < SIZE {
        let millis = 1_700_000_000_000 + i64::from(ordinal) * 2000;
        ordinal += 1;
        let time = Timestamp::from_millis(millis);
        let stamp = Stamp { number: fragment_number(ordinal, millis as u64), server_time: time, producer_time: time };
        let document = Document::new(Shape::Ffmpeg).codec_private(AVCC).video_track(1).cluster_time(millis as u64);
        let document = (0..30i16).fold(document, |document, index| {
            let is_key = index == 0;
            let mut picture = vec![7; length];
            picture[..4].copy_from_slice(&(length as u32 - 4).to_be_bytes());
            picture[4] = if is_key { 0x65 } else { 0x41 };
            document.block(1, index * 1000 / 15, is_key, &picture)
        });
        body.extend_from_slice(&document.to_bytes(&stamp, 0));
    }
    body
}

async fn copy(input: &Path, output: &Path) {
    // The operating system copies without a detour through this process.
    let (input, output) = (input.to_owned(), output.to_owned());
    tokio::task::spawn_blocking(move || std::fs::copy(input, output).unwrap()).await.unwrap();
}

async fn remux(input: &Path, sink: impl kinesis_video::MediaSink<kinesis_video::Fragment> + Unpin) {
    let file = tokio::fs::File::open(input).await.unwrap();
    let fragments = FragmentStream::new(file).map_err(kinesis_video::Error::from);
    let summary = fragments.record(sink).await.unwrap();
    assert_eq!(summary.files(), 1);
}

fn ffmpeg(input: &Path, output: &Path, options: &[&str]) {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "fatal", "-y", "-i"]).arg(input).args(["-c", "copy"]).args(options).arg(output);
    assert!(ffmpeg.status().unwrap().success());
}
