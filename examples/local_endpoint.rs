//! Runs a local endpoint for programs in any language: point their SDK at the address that it prints.
//!
//! ```text
//! local_endpoint [--port P] [--quotas] [--stream NAME=FILE]... [--loop NAME=FILE]... [--call NAME]...
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

mod shared;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kinesis_video::Result;
use kinesis_video::local::{ConnectCall, LocalEndpoint, Quotas};

use shared::exit_code;

/// Serves Kinesis Video Streams on 127.0.0.1 until interrupted.
#[derive(Parser)]
struct Options {
    /// The port. Default: a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Refuse calls and connections beyond the quotas of the service.
    #[arg(long)]
    quotas: bool,
    /// Serve a payload file as a stream, byte for byte.
    #[arg(long, value_name = "NAME=FILE", value_parser = name_and_file)]
    stream: Vec<(String, PathBuf)>,
    /// Serve a stream that plays a file in a loop, in real time.
    #[arg(long = "loop", value_name = "NAME=FILE", value_parser = name_and_file)]
    looped: Vec<(String, PathBuf)>,
    /// Serve a stream of Amazon Connect conversations of ten seconds each, in real time.
    #[arg(long, value_name = "NAME")]
    call: Vec<String>,
}

fn name_and_file(text: &str) -> std::result::Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.into(), file.into())),
        _ => Err("expected NAME=FILE".into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    exit_code(run(Options::parse()).await)
}

async fn run(options: Options) -> Result<()> {
    let quotas = match options.quotas {
        true => Quotas::default(),
        false => Quotas::default().calls_per_second(None).connections(None),
    };
    let endpoint = LocalEndpoint::start_with(options.port, quotas).await?;
    for (name, file) in &options.stream {
        endpoint.serve_file(name, file).await?;
    }
    for (name, file) in &options.looped {
        endpoint.loop_file(name, file).await?;
    }
    for name in &options.call {
        endpoint.loop_call(name, &ConnectCall::new("a-contact"));
    }
    println!("listening on {}", endpoint.url());
    tokio::signal::ctrl_c().await?;
    Ok(())
}
