//! `kvs serve`.

use std::f64::consts::{PI, TAU};
use std::path::PathBuf;

use clap::Args;
use kinesis_video::audio::SAMPLE_RATE;
use kinesis_video::local::{ConnectCall, LocalEndpoint, Quotas};

use crate::context::Context;
use crate::failure::{Failure, Result};

/// Serve streams on this machine, for development without an AWS account.
///
/// The first line is "listening on http://127.0.0.1:PORT". Any AWS SDK reads from it. `kvs` needs no credentials for it.
/// The endpoint ends with Ctrl-C.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  kvs serve --port 8080 --loop camera=door.mkv
  kvs tail camera --endpoint-url http://127.0.0.1:8080
  AWS_ENDPOINT_URL=http://127.0.0.1:8080 aws kinesisvideo list-streams --region us-west-2")]
pub(crate) struct Serve {
    /// The port. Default: a free one.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
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

/// Returns a sample of two parties that talk in turns of two and a half seconds, three syllables per second.
fn voice(party: usize, position: u64) -> i16 {
    const TURN: u64 = 5 * SAMPLE_RATE as u64 / 2;
    if position / TURN % 2 != party as u64 {
        return 0;
    }
    let seconds = position as f64 / f64::from(SAMPLE_RATE);
    let pitch = if party == 0 { 220.0 } else { 165.0 };
    let loudness = (seconds * 3.0 * PI).sin().abs() * (seconds * 0.4 * PI).sin().abs();
    (loudness * (seconds * pitch * TAU).sin() * 9_000.0) as i16
}

impl Serve {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let quotas = match self.quotas {
            true => Quotas::default(),
            false => Quotas::default()
                .calls_per_second(None)
                .connections(None)
                .list_connections(None)
                .metadata_points(None)
                .media_points(None)
                .sessions_per_second(None)
                .playlists_per_second(None)
                .segments_per_second(None),
        };
        let endpoint = LocalEndpoint::start_with(self.port, quotas).await?;
        for (_, file) in self.stream.iter().chain(&self.looped) {
            tokio::fs::File::open(file).await.map_err(|error| Failure::of_file("open", file, &error))?;
        }
        for (name, file) in &self.stream {
            endpoint
                .serve_file(name, file)
                .await
                .map_err(|error| Failure::from(error).about(file.display().to_string()))?;
        }
        for (name, file) in &self.looped {
            endpoint
                .loop_file(name, file)
                .await
                .map_err(|error| Failure::from(error).about(file.display().to_string()))?;
        }
        for name in &self.call {
            endpoint.loop_call(name, &ConnectCall::new("a-contact").voice(voice));
        }
        cx.screen.line(&format!("listening on {}", endpoint.url()))?;
        let served = [(&self.stream, "as it is"), (&self.looped, "in a loop")];
        for (name, file, how) in
            served.into_iter().flat_map(|(all, how)| all.iter().map(move |(name, file)| (name, file, how)))
        {
            cx.screen.note(&format!("serving {name}: {}, {how}", file.display()));
        }
        for name in &self.call {
            cx.screen.note(&format!("serving {name}: calls of ten seconds"));
        }
        if self.stream.is_empty() && self.looped.is_empty() && self.call.is_empty() {
            cx.screen.warn("no stream is served; see --loop, --stream and --call");
        }
        cx.screen.note(&format!("to read from it: export AWS_ENDPOINT_URL={}", endpoint.url()));
        cx.signals.interrupted().await;
        Ok(())
    }
}
