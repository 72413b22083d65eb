//! `kvs serve`.

use std::f64::consts::{PI, TAU};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kinesis_video::KinesisVideo;
use kinesis_video::audio::SAMPLE_RATE;
use kinesis_video::local::{Access, ConnectCall, LocalEndpoint, Quotas};
use kinesis_video::viewer::Viewer;

use crate::context::Context;
use crate::failure::{Failure, Result};

/// Serve streams on this machine, for development without an AWS account.
///
/// The first line is "listening on http://127.0.0.1:PORT". Any AWS SDK reads from it. `kvs` needs no credentials for it.
/// A browser shows the streams at this address: live, stored and as sound. The endpoint ends with Ctrl-C.
///
/// Other machines reach it only with --listen, and then every request needs a token: AWS SDKs send it as access key
/// (AWS_ACCESS_KEY_ID), browsers open the printed address. The connection is not encrypted.
#[derive(Args)]
#[command(after_long_help = "\
Examples:
  kvs serve --demo
  kvs serve --port 8080 --loop camera=door.mkv
  kvs tail camera --endpoint-url http://127.0.0.1:8080
  AWS_ENDPOINT_URL=http://127.0.0.1:8080 aws kinesisvideo list-streams --region us-west-2
  kvs serve --demo --listen 0.0.0.0:8080 --host lab.local")]
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
    /// Serve a camera and a call for ever, to look around: the streams "demo-camera" and "demo-call".
    #[arg(long)]
    demo: bool,
    /// Listen at this address, such as 0.0.0.0:8080, for other machines too. Every request then needs the token.
    #[arg(long, value_name = "ADDR", conflicts_with = "port")]
    listen: Option<SocketAddr>,
    /// The token, of at least 16 letters and digits. Default with --listen: a random one, which is printed.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// A name by which clients call this machine. Requests for other names than this and localhost are refused.
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

/// Four seconds of a test picture with sound.
const CAMERA: &[u8] = include_bytes!("../../../../tests/data/camera.mkv");

/// The length of the calls of the demonstration.
const DEMO_CALL: Duration = Duration::from_secs(45);

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
    /// Returns who may call the endpoint.
    fn access(&self) -> Result<Access> {
        let access = self.host.iter().fold(Access::default(), Access::host);
        match (&self.token, &self.listen) {
            (Some(token), _) => access.token(token).map_err(|error| Failure::of_argument(&error)),
            (None, Some(address)) if !address.ip().is_loopback() => Ok(access.random_token()?),
            (None, _) => Ok(access),
        }
    }

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
        let address = self.listen.unwrap_or((Ipv4Addr::LOCALHOST, self.port).into());
        let access = self.access()?;
        let endpoint = LocalEndpoint::start_at(address, quotas, access.clone()).await?;
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
        if self.demo {
            endpoint.loop_media("demo-camera", CAMERA)?;
            endpoint.loop_call("demo-call", &ConnectCall::new("demo-contact").duration(DEMO_CALL).voice(voice));
        }
        Viewer::new(KinesisVideo::new(&endpoint.in_process_config())).attach(&endpoint);
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
        if self.demo {
            cx.screen.note("serving demo-camera and demo-call: a test picture and calls, for ever");
        }
        if self.stream.is_empty() && self.looped.is_empty() && self.call.is_empty() && !self.demo {
            cx.screen.warn("no stream is served; see --demo, --loop, --stream and --call");
        }
        cx.screen.note(&format!("to read from it: export AWS_ENDPOINT_URL={}", endpoint.url()));
        let token = access.token_text();
        if let Some(token) = token {
            cx.screen.note(&format!("                 export AWS_ACCESS_KEY_ID={token} AWS_SECRET_ACCESS_KEY=any"));
        }
        let query = token.map(|token| format!("?token={token}")).unwrap_or_default();
        cx.screen.note(&format!("to watch: open {}/{query} in a browser", endpoint.url()));
        cx.signals.interrupted().await;
        Ok(())
    }
}
