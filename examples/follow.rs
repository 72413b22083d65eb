//! `tail -f` of a stream: a line a fragment, for ever. With a checkpoint it goes on where it was, whatever
//! happened to it.
//!
//! ```text
//! follow --stream NAME|ARN [--start now|earliest] [--checkpoint FILE] [--out DIR] [--fragments N] [--idle SECONDS]
//! ```
//!
//! Ctrl-C and SIGTERM end it behind the fragment that is coming in.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use futures::{SinkExt, TryStreamExt};
use kinesis_video::{
    Acks, Bound, FileCheckpoint, Fragment, FragmentEnd, KinesisVideo, LiveFragments, MediaSink, MkvSink, Result, Start,
    StopHandle,
};

/// Follows a stream.
#[derive(Parser)]
struct Options {
    /// A stream, by name or ARN. Where it is comes from the environment: AWS_REGION, AWS_PROFILE,
    /// AWS_ENDPOINT_URL.
    #[arg(long)]
    stream: String,
    /// Where to begin, if there is no checkpoint.
    #[arg(long, value_enum, default_value_t = From::Now)]
    start: From,
    /// Where to remember how far it came.
    #[arg(long)]
    checkpoint: Option<PathBuf>,
    /// Where to save each fragment as a file; nowhere otherwise.
    #[arg(long)]
    out: Option<PathBuf>,
    /// End behind so many fragments.
    #[arg(long)]
    fragments: Option<u64>,
    /// End when so many seconds nothing has come.
    #[arg(long)]
    idle: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum From {
    Earliest,
    Now,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
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
            // What was done is saved, also if something went wrong then.
            let saved = acks.close().await;
            result?;
            if let Some(position) = saved? {
                eprintln!("to be continued at {position}");
            }
            Ok(())
        }
        None => follow(live.fragments(), None, &options).await,
    }
}

async fn follow(mut fragments: LiveFragments, acks: Option<&Acks>, options: &Options) -> Result<()> {
    tokio::spawn(stop_when_told(fragments.stop_handle()));
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
    let why = fragments.end_reason().map_or_else(String::new, |reason| reason.to_string());
    eprintln!("{why}: {} fragments, {} bytes, {} reconnects", status.fragments, status.bytes, status.reconnects);
    result
}

/// What happened before it, and the fragment.
fn print_line(fragment: &Fragment) {
    for what in fragment.discontinuities() {
        println!("-- {what}");
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

/// As containers are told to stop; at once when told again.
async fn stop_when_told(stop: StopHandle) {
    told().await;
    stop.stop();
    told().await;
    std::process::exit(1);
}

async fn told() {
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
