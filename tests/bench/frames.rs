//! Compares decoding with a bare loop around libavcodec, and with AWS's Python library.
//!
//! The figures are ratios within one run, because absolute times depend on the machine.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unused_crate_dependencies,
    reason = "a program"
)]

#[path = "../it/support/footage.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests")]
mod footage;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ffmpeg_next::codec::threading;
use futures::{StreamExt, TryStreamExt, stream};
use kinesis_video::frame::Frames;
use kinesis_video::local::{Document, LocalEndpoint, Quotas, Stamp, fragment_number};
use kinesis_video::{
    Clock, Fragment, FragmentStream, FragmentStreamExt, Frame, FrameStreamExt, ImageSink, KinesisVideo, RecordExt,
    Timestamp,
};

const SIZE: &str = "1920x1080";

fn main() {
    // A process of its own measures the memory of one case.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let [mode, path] = &arguments[..]
        && (mode == "whole" || mode == "seconds")
    {
        return executor.block_on(to_files(path, mode == "whole"));
    }
    println!(
        "Ten seconds of {SIZE} at 30 pictures per second, in fragments of one second; times relative to the bare loop"
    );
    println!(
        "{:<18} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "bare ms", "all", "5 to RGB", "2 at once", "key", "5 to JPEG", "1 to JPEG"
    );
    for (name, b_frames) in [("without B-frames", "0"), ("with B-frames", "3")] {
        let path = make(b_frames, "30");
        let fragments = executor.block_on(async { seconds(&whole(&path).await).await });
        assert_eq!(fragments.len(), 10);
        let packets = packets(&path);
        let bare = fastest(|| assert_eq!(bare_loop(&path, &packets), 300));
        let run = |work: &dyn Fn(Frames<Source>) -> usize, expected: usize| {
            let time = fastest(|| assert_eq!(work(source(&fragments).frames()), expected));
            format!("{:.2}", time.as_secs_f64() / bare.as_secs_f64())
        };
        let count = |frames| executor.block_on(count(frames));
        println!(
            "{name:<18} {:>9.2} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}",
            bare.as_secs_f64() * 1e3 / 300.0,
            run(&|frames| count(frames.boxed()), 300),
            run(&|frames| executor.block_on(count_all(frames.sample_ratio(5).rgb())), 60),
            run(&|frames| count(frames.concurrency(2).boxed()), 300),
            run(&|frames| count(frames.keyframes().boxed()), 10),
            run(&|frames| executor.block_on(count_all(frames.sample_ratio(5).jpeg(80))), 60),
            run(&|frames| executor.block_on(count_all(frames.jpeg(80))), 300),
        );
    }
    stills(&executor);
    against_python(&executor);
}

/// Compares the picture at a time with decoding the whole range and choosing, at ten times.
fn stills(executor: &tokio::runtime::Runtime) {
    println!("\nThe picture at a time, on average of ten times; relative to decoding all ten seconds and choosing");
    println!("{:<18} {:>9} {:>14} {:>14} {:>9}", "", "whole ms", "ten fragments", "one fragment", "archive");
    let at = |tenth: i64| Timestamp::from_millis(START + tenth * 1000 + 100 * tenth + 50);
    let shown = |frames: &[Frame], time: Timestamp| {
        let is_shown = |frame: &&Frame| frame.info().producer_time().unwrap() <= time;
        let last = frames.iter().filter(is_shown).max_by_key(|frame| frame.info().producer_time());
        last.unwrap().info().timecode_ns()
    };
    for (name, b_frames) in [("without B-frames", "0"), ("with B-frames", "3")] {
        let file = executor.block_on(whole(&make(b_frames, "30")));
        let documents = footage::groups(&file);
        let ten = executor.block_on(fragments_of(&documents));
        let one = executor.block_on(fragments_of(&[footage::document(&file, &footage::packets(&file))]));
        let endpoint =
            executor.block_on(LocalEndpoint::start_with(0, Quotas::default().calls_per_second(None))).unwrap();
        let stream = endpoint.create_stream("door");
        documents.iter().zip(&ten).for_each(|(document, fragment)| stream.push_stamped(document, stamp_of(fragment)));
        let kvs = KinesisVideo::new(&endpoint.sdk_config());
        let archive = || kvs.archive("door").clock(Clock::Producer);
        let all = executor.block_on(source(&ten).frames().try_collect::<Vec<Frame>>()).unwrap();
        assert_eq!(all.len(), 300);
        // Each of the three has its own floor: the same source, read and decoded as a whole.
        let whole_of = |fragments: &[Fragment]| {
            fastest(|| assert_eq!(executor.block_on(count_all(source(fragments).frames())), 300))
        };
        let (whole_ten, whole_one) = (whole_of(&ten), whole_of(&one));
        let range = Timestamp::from_millis(START)..=Timestamp::from_millis(START + 20_000);
        let whole_archive = fastest(|| {
            let frames = archive().range(range.clone()).fragments().frames();
            assert_eq!(executor.block_on(count_all(frames)), 300);
        });
        let ratio = |find: &dyn Fn(Timestamp) -> Option<Frame>, whole: Duration| {
            let times = (0..10).map(|tenth| {
                let time = at(tenth);
                let expected = shown(&all, time);
                fastest(|| assert_eq!(find(time).unwrap().info().timecode_ns(), expected))
            });
            format!("{:.3}", times.sum::<Duration>().as_secs_f64() / 10.0 / whole.as_secs_f64())
        };
        println!(
            "{name:<18} {:>9.0} {:>14} {:>14} {:>9}",
            whole_ten.as_secs_f64() * 1e3,
            ratio(&|time| executor.block_on(source(&ten).frame_at(time)).unwrap(), whole_ten),
            ratio(&|time| executor.block_on(source(&one).frame_at(time)).unwrap(), whole_one),
            ratio(&|time| executor.block_on(archive().frame_at(time)).unwrap(), whole_archive),
        );
    }
}

/// The producer's time at which the footage begins.
const START: i64 = 1_700_000_000_000;

/// Reads documents as fragments whose times follow their pictures.
async fn fragments_of(documents: &[Document]) -> Vec<Fragment> {
    let mut body = Vec::new();
    for document in documents {
        let time = Timestamp::from_millis(START);
        let stamp = Stamp { number: fragment_number(1, 0), server_time: time, producer_time: time };
        let bytes = document.to_bytes(&stamp, 0);
        let fragment = FragmentStream::new(&bytes[..]).try_next().await.unwrap().unwrap();
        body.extend_from_slice(&document.to_bytes(&stamp_of(&fragment), 0));
    }
    FragmentStream::new(&body[..]).try_collect().await.unwrap()
}

/// Returns the stamp for the time of a fragment's Cluster.
fn stamp_of(fragment: &Fragment) -> Stamp {
    let millis = fragment.header().timecode_ns() / 1_000_000;
    let time = Timestamp::from_millis(START + millis);
    let number = fragment_number(1 + u32::try_from(millis / 100).unwrap(), time.as_millis() as u64);
    Stamp { number, server_time: time, producer_time: time }
}

type Source = stream::Iter<std::vec::IntoIter<kinesis_video::Result<Fragment>>>;

fn source(fragments: &[Fragment]) -> Source {
    stream::iter(fragments.iter().cloned().map(Ok).collect::<Vec<_>>())
}

async fn count(mut frames: stream::BoxStream<'_, kinesis_video::Result<kinesis_video::Frame>>) -> usize {
    let mut count = 0;
    while frames.try_next().await.unwrap().is_some() {
        count += 1;
    }
    count
}

async fn count_all<T>(pictures: impl futures::Stream<Item = kinesis_video::Result<T>>) -> usize {
    pictures.try_fold(0, |count, _| async move { Ok(count + 1) }).await.unwrap()
}

fn fastest(mut work: impl FnMut()) -> Duration {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    times.min().unwrap()
}

/// Creates the footage if it does not exist.
fn make(b_frames: &str, group: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/footage");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{SIZE}-{b_frames}-{group}.mkv"));
    if !path.exists() {
        let part = path.with_extension("part");
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-y", "-f", "lavfi"])
            .args(["-i", &format!("testsrc2=size={SIZE}:rate=30:duration=10,noise=alls=4:allf=t")])
            .args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "24", "-pix_fmt", "yuv420p"])
            .args(["-g", group, "-keyint_min", group, "-sc_threshold", "0", "-bf", b_frames])
            .args(["-x264-params", "b-adapt=0"])
            .args(["-f", "matroska"])
            .arg(&part)
            .status();
        assert!(made.expect("ffmpeg runs: `make setup` installs it").success());
        std::fs::rename(part, &path).unwrap();
    }
    path
}

async fn whole(path: &Path) -> Fragment {
    footage::fragment(&Bytes::from(std::fs::read(path).unwrap())).await
}

/// Splits the footage into fragments of one second, as a camera does.
async fn seconds(file: &Fragment) -> Vec<Fragment> {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let stamp = Stamp { number: fragment_number(1, 0), server_time: time, producer_time: time };
    let documents: Vec<_> = footage::groups(file).iter().map(|document| document.to_bytes(&stamp, 0)).collect();
    FragmentStream::new(&documents.concat()[..]).try_collect().await.unwrap()
}

fn packets(path: &Path) -> Vec<ffmpeg_next::Packet> {
    let mut input = ffmpeg_next::format::input(path).unwrap();
    input.packets().map(|(_, packet)| packet).collect()
}

/// Decodes the packets with libavcodec and nothing else, on one thread like this crate.
fn bare_loop(path: &Path, packets: &[ffmpeg_next::Packet]) -> usize {
    let input = ffmpeg_next::format::input(path).unwrap();
    let parameters = input.stream(0).unwrap().parameters();
    let mut context = ffmpeg_next::codec::Context::from_parameters(parameters).unwrap();
    context.set_threading(threading::Config::count(1));
    let mut decoder = context.decoder().video().unwrap();
    let mut pictures = 0;
    let mut take = |decoder: &mut ffmpeg_next::decoder::Video| {
        let mut picture = ffmpeg_next::frame::Video::empty();
        while decoder.receive_frame(&mut picture).is_ok() {
            pictures += 1;
        }
    };
    for packet in packets {
        decoder.send_packet(packet).unwrap();
        take(&mut decoder);
    }
    decoder.send_eof().unwrap();
    take(&mut decoder);
    pictures
}

/// Writes one picture in five to JPEG files.
///
/// Prints the time in seconds, the peak memory of the process in KiB, and its increase during the run in KiB.
async fn to_files(path: &str, is_whole: bool) {
    let most = |status: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let file = whole(Path::new(path)).await;
    let fragments = if is_whole { vec![file] } else { seconds(&file).await };
    let before = most(&std::fs::read_to_string("/proc/self/status").unwrap());
    let out = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let frames = source(&fragments).frames().sample_ratio(5).concurrency(if is_whole { 1 } else { 2 });
    let sink = ImageSink::to_dir(out.path()).pattern("{index}.{ext}").unwrap();
    let summary = frames.jpeg(80).record(sink).await.unwrap();
    let time = start.elapsed().as_secs_f64();
    assert_eq!(summary.files(), 60);
    let after = most(&std::fs::read_to_string("/proc/self/status").unwrap());
    println!("{time} {after} {}", after - before);
}

fn against_python(executor: &tokio::runtime::Runtime) {
    println!(
        "\nTen seconds, one picture in five to JPEG files of quality 80. With several fragments, ours decodes two at once."
    );
    println!(
        "Memory: ours is the increase after the fragments are loaded (target 150 MB), Python's is the whole process."
    );
    let cases = [
        ("without B-frames", "0", "30"),
        ("with B-frames", "3", "30"),
        ("without B-frames", "0", "300"),
        ("with B-frames", "3", "300"),
    ];
    for (name, b_frames, group) in cases {
        let path = make(b_frames, group);
        let numbers = |mut command: Command| -> Option<Vec<f64>> {
            let output = command.output().ok().filter(|output| output.status.success())?;
            String::from_utf8(output.stdout).ok()?.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let fastest = |command: &dyn Fn() -> Command| {
            (0..3).filter_map(|_| numbers(command())).min_by(|a, b| a[0].total_cmp(&b[0]))
        };
        let (mode, fragments) = if group == "30" { ("seconds", "ten fragments") } else { ("whole", "one fragment") };
        let ours = fastest(&|| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([mode.as_ref(), path.as_os_str()]);
            command
        });
        let ours = ours.expect("we run");
        print!("{name:<17} {fragments:<13} ours {:.2} s, {:.0} MB above", ours[0], ours[2] / 1e3);
        let folder = tempfile::tempdir().unwrap();
        let fragments: Vec<PathBuf> = executor.block_on(async {
            let file = whole(&path).await;
            let parts = if group == "30" { seconds(&file).await } else { vec![file] };
            let save = |(index, part): (usize, &Fragment)| {
                let path = folder.path().join(format!("{index}.mkv"));
                std::fs::write(&path, part.to_mkv()).unwrap();
                path
            };
            parts.iter().enumerate().map(save).collect()
        });
        let python = std::env::var_os("KVS_JUDGES").and_then(|python| {
            fastest(&|| {
                let mut command = Command::new(&python);
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/pictures.py"));
                command.arg("5").arg(folder.path()).args(&fragments);
                command
            })
        });
        match python {
            Some(python) => {
                println!("; Python {:.2} s, {:.0} MB: {:.1} times", python[0], python[1] / 1e3, python[0] / ours[0]);
            }
            None => println!("; Python: set KVS_JUDGES to a Python with av, imageio and pillow"),
        }
    }
}
