//! Benchmarks the start of `kvs`: the time of `kvs --help`.
//!
//! The floor is a bare clap program with as many commands: this one. With the feature `ffmpeg`, the dynamic linker loads
//! FFmpeg and all that FFmpeg uses; the second floor is the bare program with the same shared libraries preloaded.
#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs, unused_crate_dependencies, reason = "a program")]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A bare clap program.
#[derive(clap::Parser)]
struct Bare {
    #[command(subcommand)]
    command: BareCommand,
    /// An option
    #[arg(long, global = true)]
    region: Option<String>,
}

#[derive(clap::Subcommand)]
enum BareCommand {
    /// A command
    Clip,
    /// A command
    Completions,
    /// A command
    Doctor,
    /// A command
    Frames,
    /// A command
    Images,
    /// A command
    Inspect,
    /// A command
    List,
    /// A command
    Ls,
    /// A command
    Man,
    /// A command
    Save,
    /// A command
    Serve,
    /// A command
    Tail,
    /// A command
    Url,
    /// A command
    Wav,
}

/// Tells this program to be the bare one.
const BARE: &str = "KVS_BENCH_BARE";

fn main() {
    if std::env::var_os(BARE).is_some() {
        use clap::Parser;
        Bare::parse_from(["bare", "--help"]);
        return;
    }
    let kvs = env!("CARGO_BIN_EXE_kvs");
    let this = std::env::current_exe().unwrap();
    let libraries = shared_libraries(kvs);
    let mut command = Command::new(kvs);
    command.arg("--help");
    let mut bare = Command::new(&this);
    bare.env(BARE, "1");
    let mut loaded = Command::new(&this);
    loaded.env(BARE, "1").env("LD_PRELOAD", libraries.join(":"));

    let mut times = [Vec::new(), Vec::new(), Vec::new()];
    // In turn, so that all see the same load of the machine.
    for _ in 0..100 {
        for (times, command) in times.iter_mut().zip([&mut bare, &mut loaded, &mut command]) {
            times.push(time(command));
        }
    }
    let [bare, loaded, kvs] = times.map(|mut times| {
        times.sort();
        times.swap_remove(times.len() / 2)
    });
    let ratio = |floor: Duration| kvs.as_secs_f64() / floor.as_secs_f64();
    println!("kvs --help, median of 100 runs: {kvs:?}");
    println!("a bare clap program: {bare:?}; ratio {:.2}", ratio(bare));
    println!("the same with the {} shared libraries of kvs: {loaded:?}; ratio {:.2}", libraries.len(), ratio(loaded));
}

fn time(command: &mut Command) -> Duration {
    let began = Instant::now();
    let status = command.stdout(Stdio::null()).status().unwrap();
    let took = began.elapsed();
    assert!(status.success());
    took
}

/// Returns the paths of the shared libraries that the dynamic linker loads for a program.
fn shared_libraries(program: &str) -> Vec<String> {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let paths = listed.lines().filter_map(|line| line.split("=> ").nth(1));
    paths
        .filter_map(|path| path.split(' ').next())
        .filter(|path| path.starts_with('/'))
        .map(ToOwned::to_owned)
        .collect()
}
