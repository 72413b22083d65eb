//! Records a day of a 1 Mbit/s stream, in simulated time, into one MP4 file of more than 10 GB.
//!
//! Checks the memory of recording, the tables at the end of the file, and that FFmpeg seeks to its last minute.
//! `KVS_HOURS` records another number of hours. The file is written to the folder for temporary files.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "a program"
)]
#![allow(unsafe_code, reason = "implementing GlobalAlloc needs unsafe; this one only counts and forwards")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

use futures::{SinkExt, TryStreamExt};
use kinesis_video::local::{Document, Shape, Stamp, fragment_number};
use kinesis_video::{Fragment, FragmentStream, MediaSink, Mp4Sink, Packet, Timestamp};

#[path = "../it/support/containers.rs"]
mod containers;

/// Counts the bytes that all threads have allocated: the sink writes on another thread than it is fed on.
struct Counting;

static CURRENT: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

fn count(bytes: i64) {
    let now = CURRENT.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: forwards every call to the system allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller upholds the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller upholds the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The start of the media, in milliseconds since 1970.
const START: i64 = 1_764_028_800_000;

/// The fragments after which memory is measured for the first time.
const SETTLED: u32 = 200;

/// A second of pictures, and what a decoder needs first.
struct Group {
    private: Vec<u8>,
    packets: Vec<Packet>,
}

fn main() {
    let hours: u32 = std::env::var("KVS_HOURS").map_or(24, |hours| hours.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let groups = runtime.block_on(groups());
    let folder = tempfile::tempdir().unwrap();
    println!(
        "{:<16} {:>8} {:>10} {:>12} {:>16} {:>16}",
        "", "GB", "samples", "media, s", "grown, bytes", "bytes a sample"
    );
    for is_fragmented in [true, false] {
        let path = folder.path().join(if is_fragmented { "fragmented.mp4" } else { "day.mp4" });
        let (grown, limit) = runtime.block_on(record(&groups, hours * 1800, is_fragmented, &path));
        check(&path, hours);
        assert!(grown <= limit, "memory grew by {grown} bytes of {limit}");
        std::fs::remove_file(&path).unwrap();
    }
}

/// Encodes 28 s of moving pictures at 1 Mbit/s, and 2 s of red, as groups of 2 s.
async fn groups() -> Vec<Group> {
    let file = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    let graph =
        "testsrc2=size=640x360:rate=15:duration=28[a];color=red:size=640x360:rate=15:duration=2[b];[a][b]concat";
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", graph, "-c:v", "libx264", "-pix_fmt", "yuv420p"])
        .args(["-preset", "veryfast", "-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-bf", "2"])
        .args([
            "-b:v",
            "1M",
            "-minrate",
            "1M",
            "-maxrate",
            "1M",
            "-bufsize",
            "1M",
            "-x264-params",
            "nal-hrd=cbr:b-adapt=0",
        ])
        .arg(file.path())
        .status();
    assert!(status.unwrap().success());
    let bytes = std::fs::read(file.path()).unwrap();
    let fragments: Vec<Fragment> = FragmentStream::new(&bytes[..]).try_collect().await.unwrap();
    let private = fragments[0].track(1).unwrap().codec_private().unwrap().to_vec();
    let packets: Vec<Packet> = fragments.iter().flat_map(Fragment::packets).collect();
    let mut starts: Vec<usize> = (0..packets.len()).filter(|at| packets[*at].is_key()).collect();
    starts.push(packets.len());
    let group = |ends: &[usize]| Group { private: private.clone(), packets: packets[ends[0]..ends[1]].to_vec() };
    let groups: Vec<Group> = starts.windows(2).map(group).collect();
    assert_eq!(groups.len(), 15);
    groups
}

/// The fragment at this place of the day.
async fn fragment(group: &Group, ordinal: u32) -> Fragment {
    let millis = START + i64::from(ordinal) * 2000;
    let time = Timestamp::from_millis(millis);
    let stamp = Stamp { number: fragment_number(ordinal + 1, millis as u64), server_time: time, producer_time: time };
    let document = Document::new(Shape::Ffmpeg).codec_private(&group.private).cluster_time(millis as u64);
    let document = document.picture_track(1, "V_MPEG4/ISO/AVC", 640, 360);
    let start = group.packets[0].timecode_ns();
    let document = group.packets.iter().fold(document, |document, packet| {
        let relative = i16::try_from((packet.timecode_ns() - start) / 1_000_000).unwrap();
        document.block(1, relative, packet.is_key(), packet.payload())
    });
    let bytes = document.to_bytes(&stamp, 0);
    FragmentStream::new(&bytes[..]).try_next().await.unwrap().unwrap()
}

/// Records the day. Returns the bytes by which memory grew, and the limit.
async fn record(groups: &[Group], fragments: u32, is_fragmented: bool, path: &Path) -> (i64, i64) {
    let mut sink = Mp4Sink::create(path).fragmented(is_fragmented);
    let mut samples = 0;
    let mut settled = (0, 0);
    for ordinal in 0..fragments {
        // The last minute is red, the rest is moving pictures.
        let group = if ordinal + 30 >= fragments { &groups[14] } else { &groups[ordinal as usize % 14] };
        samples += group.packets.len();
        sink.send(fragment(group, ordinal).await).await.unwrap();
        if ordinal == SETTLED {
            sink.flush().await.unwrap();
            settled = (CURRENT.load(Ordering::Relaxed), samples);
        }
        if ordinal % 5000 == 0 {
            // Peaks of fragments do not count, only what stays.
            sink.flush().await.unwrap();
        }
    }
    sink.flush().await.unwrap();
    let grown = CURRENT.load(Ordering::Relaxed) - settled.0;
    PEAK.store(CURRENT.load(Ordering::Relaxed), Ordering::Relaxed);
    sink.close().await.unwrap();
    let at_close = PEAK.load(Ordering::Relaxed) - settled.0;
    let summary = sink.summary();
    assert_eq!((summary.files(), summary.items(), summary.gaps()), (1, u64::from(fragments), 0));
    let counted = (samples - settled.1) as f64;
    let name = if is_fragmented { "fragmented" } else { "finalised" };
    println!(
        "{name:<16} {:>8.2} {samples:>10} {:>12} {grown:>16} {:>16.2}",
        summary.bytes() as f64 / 1e9,
        fragments * 2,
        at_close as f64 / counted
    );
    // Without tables, memory is flat. With them, it is within 16 bytes a sample, also while they are written.
    let limit = if is_fragmented { 64 << 10 } else { 16 * counted as i64 + (64 << 10) };
    (grown.max(at_close), limit)
}

/// Checks a file with our own reader of its tables, ffprobe and FFmpeg.
fn check(path: &Path, hours: u32) {
    let mut file = std::fs::File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    assert!(hours < 24 || size > 10 << 30, "{size} bytes");
    let tracks = containers::mp4_samples(&mut file).unwrap();
    assert_eq!(tracks[&1].len(), hours as usize * 3600 * 15);
    let media: u64 = tracks[&1].iter().map(|(_, length)| length).sum();
    assert!(media < size && size - media < size / 50, "{media} of {size} bytes are media");

    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "warning", "-show_entries", "format=duration", "-of", "csv=p=0"]);
    let duration: f64 = String::from_utf8(output_of(ffprobe.arg(path))).unwrap().trim().parse().unwrap();
    assert!((duration - f64::from(hours) * 3600.0).abs() < 0.2, "it lasts {duration} s");
    for (time, is_red) in [(0, false), (hours * 1800 + 1, false), (hours * 3600 - 61, false), (hours * 3600 - 31, true)]
    {
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-v", "error", "-ss", &time.to_string(), "-i"]).arg(path);
        let picture = output_of(ffmpeg.args("-frames:v 1 -vf scale=1:1 -pix_fmt rgb24 -f rawvideo -".split(' ')));
        let [red, green, blue] = picture[..] else { panic!("no picture at {time} s") };
        assert_eq!(red > 200 && green < 50 && blue < 50, is_red, "at {time} s: {red} {green} {blue}");
    }
    println!("  FFmpeg seeks to the last minute of {duration} s");
}

fn output_of(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
