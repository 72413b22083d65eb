//! What an hour of call costs, from the payload to a stereo WAV file, against reading it in the way of AWS's Python
//! library: a tree of ebmlite for each fragment, and a file for each of its tracks.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unused_crate_dependencies,
    reason = "a program"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kinesis_video::local::ConnectCall;
use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt, RecordExt, Timestamp, WavSink};
use tokio::fs::File;

fn main() {
    let executor = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (payload, wav) = (folder.path().join("call"), folder.path().join("call.wav"));
    // A counter, in which nothing looks like an EBML header.
    let call = ConnectCall::new("a contact").duration(Duration::from_secs(3600));
    let call = call.voice(|party, position| (position % 9_973) as i16 * 2 + party as i16);
    std::fs::write(&payload, call.to_payload(Timestamp::from_millis(1_700_000_000_000))).unwrap();
    drop(call);

    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default()
    };
    let source = async || FragmentStream::new(File::open(&payload).await.unwrap());
    // The least that anyone has to do: read the one, write the other.
    let copy = fastest(|| executor.block_on(async { assert!(tokio::fs::copy(&payload, &wav).await.unwrap() > 0) }));
    let read = fastest(|| executor.block_on(async { source().await.for_each(async |_| ()).await }));
    let placed = fastest(|| executor.block_on(async { source().await.connect_audio().for_each(async |_| ()).await }));
    let stereo =
        fastest(|| executor.block_on(async { source().await.connect_audio().stereo().for_each(async |_| ()).await }));
    let before = resident();
    let ours = fastest(|| {
        let audio = async { source().await.connect_audio().stereo().record(WavSink::create(&wav)).await };
        assert_eq!(executor.block_on(audio).unwrap().bytes(), 44 + 3600 * 8000 * 4);
    });
    println!(
        "an hour of call, {} MB: resident before and behind: {before} and {} KiB",
        std::fs::metadata(&payload).unwrap().len() >> 20,
        resident()
    );
    println!("copying the file {copy:.3} s, fragments {read:.3} s, placed {placed:.3} s, side by side {stereo:.3} s");
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
