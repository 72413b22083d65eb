//! Benchmarks converting an hour of conversation from its payload to a stereo WAV file.
//!
//! The comparison reads it like AWS's Python library: an ebmlite tree per fragment, and a file per track.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unused_crate_dependencies,
    reason = "a program"
)]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::{ConnectCall, Stamp, fragment_number};
use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, RecordExt, Timestamp, WavSink};
use tokio::fs::File;

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (payload, wav) = (folder.path().join("call"), folder.path().join("call.wav"));
    // A counter has no bytes that look like an EBML header.
    let call = ConnectCall::new("a contact").duration(Duration::from_secs(3600));
    let call = call.voice(|party, position| (position % 9_973) as i16 * 2 + party as i16);
    let mut file = BufWriter::new(std::fs::File::create(&payload).unwrap());
    for ((document, time), ordinal) in call.documents(Timestamp::from_millis(1_700_000_000_000)).zip(1..) {
        let stamp = Stamp { number: fragment_number(ordinal, 0), server_time: time, producer_time: time };
        file.write_all(&document.to_bytes(&stamp, 0)).unwrap();
    }
    drop(file);

    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default()
    };
    // This runs first, so that memory of other runs does not count.
    print!("resident, KiB, every ten minutes of an hour of conversation to a stereo WAV file: {}", resident());
    executor.block_on(async {
        let audio = FragmentStream::new(File::open(&payload).await.unwrap()).connect_audio().stereo();
        let reported = audio.inspect_ok(|chunk| {
            if chunk.position() % (600 * 8000) == 0 {
                print!(" {}", resident());
            }
        });
        reported.record(WavSink::create(&wav)).await.unwrap()
    });
    println!(" {}", resident());
    let source = async || FragmentStream::new(File::open(&payload).await.unwrap());
    // Copying the file is the lower bound: it reads and writes as many bytes.
    let copy = fastest(|| executor.block_on(async { assert!(tokio::fs::copy(&payload, &wav).await.unwrap() > 0) }));
    let read = fastest(|| executor.block_on(async { source().await.for_each(async |_| ()).await }));
    let placed = fastest(|| executor.block_on(async { source().await.connect_audio().for_each(async |_| ()).await }));
    let stereo =
        fastest(|| executor.block_on(async { source().await.connect_audio().stereo().for_each(async |_| ()).await }));
    let ours = fastest(|| {
        let audio = async { source().await.connect_audio().stereo().record(WavSink::create(&wav)).await };
        assert_eq!(executor.block_on(audio).unwrap().bytes(), 44 + 3600 * 8000 * 4);
    });
    println!("copying the file {copy:.3} s, fragments {read:.3} s, placed {placed:.3} s, stereo {stereo:.3} s");
    print!("to a stereo WAV file: ours {ours:.3} s, {:.1} times copying the file", ours / copy);
    let python = std::env::var_os("KVS_JUDGES").map(|python| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/connect_wav.py");
        let output =
            Command::new(python).arg(script).arg(&payload).arg(folder.path().join("x")).output().expect("Python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse::<f64>().unwrap()
    });
    match python {
        Some(python) => println!(", Python {python:.2} s: {:.0} times", python / ours),
        None => println!("; Python: KVS_JUDGES does not name one with ebmlite"),
    }
}

fn fastest(mut work: impl FnMut()) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::MAX, f64::min)
}
