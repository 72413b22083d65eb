//! Follows a stream, as `tail -f` follows a file: prints a line per fragment until it is stopped.
//!
//! With a checkpoint, it resumes where its last run ended, even after a crash.
//!
//! ```text
//! follow --stream NAME|ARN [--start now|earliest] [--checkpoint FILE] [--out DIR] [--fragments N] [--idle SECONDS]
//! ```
//!
//! Ctrl-C and SIGTERM end it after the fragment that is arriving.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::{SinkExt, TryStreamExt};
use kinesis_video::{
    Acks, Bound, FileCheckpoint, Fragment, FragmentEnd, KinesisVideo, LiveFragments, MediaSink, MkvSink, Result, Start,
    StopHandle,
};

use shared::exit_code;

/// Follows a stream and prints a line per fragment.
#[derive(Parser)]
struct Options {
    /// The name or ARN of a stream. AWS_REGION, AWS_PROFILE and AWS_ENDPOINT_URL apply.
    #[arg(long)]
    stream: String,
    /// The place to start at, if there is no checkpoint.
    #[arg(long, value_enum, default_value_t = From::Now)]
    start: From,
    /// The file that keeps the position, to resume from.
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Save each fragment as a file in this folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// End after this many fragments.
    #[arg(long)]
    fragments: Option<u64>,
    /// End when no fragment has arrived for this many seconds.
    #[arg(long)]
    idle: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Earliest,
    Now,
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let mut live = KinesisVideo::from_env().await.live(&options.stream).start(match options.start {
        From::Earliest => Start::Earliest,
        From::Now => Start::Now,
    });
    if let Some(fragments) = options.fragments {
        live = live.until(Bound::Count(fragments));
    }
    if let Some(seconds) = options.idle {
        live = live.idle_timeout(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    }
    match &options.checkpoint {
        Some(file) => {
            let (fragments, acks) = live.checkpointed(FileCheckpoint::new(file));
            let result = follow(fragments, Some(&acks), &options).await;
            // Save the position even after an error.
            let saved = acks.close().await;
            result?;
            if let Some(position) = saved? {
                eprintln!("the next run resumes after {position}");
            }
            Ok(())
        }
        None => follow(live.fragments(), None, &options).await,
    }
}

async fn follow(mut fragments: LiveFragments, acks: Option<&Acks>, options: &Options) -> Result<()> {
    tokio::spawn(stop_on_signal(fragments.stop_handle()));
    let mut files = options.out.as_ref().map(MkvSink::to_dir);
    let result = loop {
        let fragment = match fragments.try_next().await {
            Ok(Some(fragment)) => fragment,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        print_line(&fragment);
        if let Some(files) = &mut files {
            files.send(fragment.clone()).await?;
        }
        if let Some(acks) = acks {
            acks.done(&fragment.position());
        }
    };
    if let Some(mut files) = files {
        files.close().await?;
        eprintln!("{}, in {}", files.summary(), options.out.clone().unwrap_or_default().display());
    }
    let status = fragments.status().borrow().clone();
    let reason = fragments.end_reason().map_or_else(String::new, |reason| reason.to_string());
    eprintln!("{reason}: {} fragments, {} bytes, {} reconnects", status.fragments, status.bytes, status.reconnects);
    result
}

/// Prints the discontinuities before a fragment, then the fragment.
fn print_line(fragment: &Fragment) {
    for discontinuity in fragment.discontinuities() {
        println!("-- {discontinuity}");
    }
    let number = fragment.number().map_or_else(|| "-".into(), ToString::to_string);
    let time = fragment.producer_time().map_or_else(|| "-".into(), |time| time.to_string());
    let behind = fragment.behind_now().map_or_else(|| "-".into(), |behind| format!("{:.1} s", behind.as_secs_f64()));
    let cut = if fragment.end_reason() == FragmentEnd::Cut { ", cut" } else { "" };
    let (packets, bytes) = (fragment.packets().count(), fragment.raw().len());
    println!("{number} {time} {:.3} s, {behind} behind, {packets} packets, {bytes} bytes{cut}", seconds(fragment));
}

fn seconds(fragment: &Fragment) -> f64 {
    fragment.duration().as_secs_f64()
}

/// Stops the stream at the first signal, and the process at the second.
async fn stop_on_signal(stop: StopHandle) {
    signal().await;
    stop.stop();
    signal().await;
    std::process::exit(1);
}

/// Waits for Ctrl-C or SIGTERM, with which containers are stopped.
async fn signal() {
    #[cfg(unix)]
    if let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = term.recv() => {}
        }
        return;
    }
    let _ = tokio::signal::ctrl_c().await;
}
