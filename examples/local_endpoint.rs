//! A local endpoint for programs in any language: point their SDK at the address it prints.
//!
//! ```text
//! local_endpoint [--port P] [--quotas] [--stream NAME=FILE]... [--loop NAME=FILE]... [--call NAME]...
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::path::PathBuf;

use clap::Parser;
use kinesis_video::Result;
use kinesis_video::local::{ConnectCall, LocalEndpoint, Quotas};

/// Serves Kinesis Video Streams on 127.0.0.1 until interrupted.
#[derive(Parser)]
struct Options {
    /// The port; a free one unless given.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Refuse more calls a second and more connections than the service allows.
    #[arg(long)]
    quotas: bool,
    /// A stream of a payload file, byte for byte.
    #[arg(long, value_name = "NAME=FILE", value_parser = name_and_file)]
    stream: Vec<(String, PathBuf)>,
    /// A stream that plays a file over and over in real time.
    #[arg(long = "loop", value_name = "NAME=FILE", value_parser = name_and_file)]
    looped: Vec<(String, PathBuf)>,
    /// A stream of calls of Amazon Connect, one after the other, ten seconds each, in real time.
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
async fn main() -> Result<()> {
    let options = Options::parse();
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
