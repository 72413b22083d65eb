//! `kvs url`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use kinesis_video::service::playback::{Container, Discontinuities, Session};
use kinesis_video::{DashSession, HlsSession, KinesisVideo, PlaybackUrl, StreamId, Timestamp};
use serde_json::json;

use crate::begin::ClockName;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::source::{self, Source};
use crate::time;

/// Print a URL at which a player plays a stream.
///
/// Live without --start. With --start alone it plays from there as if it were live, and goes on with new fragments.
/// With --start and --end all of that range is there at once, to be sought in.
///
/// The URL is a secret: whoever has it can watch without credentials until it expires. Nothing but the URL is printed on
/// standard output. One player can use it at a time.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object:
  url, expires_time

Examples:
  ffplay \"$(kvs url hls front-door)\"
  kvs url dash front-door --start \"1h ago\" --end \"30m ago\" --expires 2h
  kvs url hls front-door --start \"10m ago\" --clock producer --timestamps")]
pub(crate) struct Url {
    /// The protocol.
    #[arg(value_enum)]
    protocol: Protocol,
    /// The name or ARN of a stream.
    #[arg(value_name = "STREAM")]
    stream: Source,
    /// Where to begin, such as "10m ago" or "2026-11-21 10:00". Default: live.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    start: Option<Timestamp>,
    /// The end of the range, at most 24 hours after --start.
    #[arg(long, value_name = "TIME", value_parser = time::parse, requires = "start")]
    end: Option<Timestamp>,
    /// The lifetime of the URL, from 5m to 12h. Default: 5m.
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    expires: Option<Duration>,
    /// The clock of --start, --end and --timestamps. Default: server.
    #[arg(long, value_enum)]
    clock: Option<ClockName>,
    /// The most fragments in a playlist, from 1 to 5000. Default: 1000 with --end, otherwise 5.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=5000))]
    max_fragments: Option<u32>,
    /// Show the time of each fragment in the playlist.
    #[arg(long)]
    timestamps: bool,
    /// The container of the media, for hls.
    #[arg(long, value_enum)]
    container: Option<ContainerName>,
    /// Where the playlist tells players to reset their decoders, for hls.
    #[arg(long, value_enum, value_name = "WHERE")]
    discontinuities: Option<DiscontinuitiesName>,
    /// Show the number of each fragment in the manifest, for dash.
    #[arg(long)]
    numbers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Protocol {
    /// HTTP Live Streaming.
    Hls,
    /// MPEG-DASH.
    Dash,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ContainerName {
    /// Fragmented MP4, the default.
    Mp4,
    /// MPEG transport stream.
    Ts,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DiscontinuitiesName {
    /// After every fragment, the default with the server's clock.
    Always,
    /// Nowhere, the default with the producer's clock.
    Never,
    /// At gaps and overlaps of more than 50 ms.
    Gaps,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = time::parse_duration(text)?;
    match lifetime.as_secs() {
        300..=43_200 if lifetime <= Duration::from_secs(43_200) && lifetime.subsec_nanos() == 0 => Ok(lifetime),
        _ => Err("a URL is valid from 5m to 12h, in whole seconds".into()),
    }
}

impl Url {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let stream = self.stream.only_stream("any player plays a file as it is")?;
        if let (Some(start), Some(end)) = (self.start, self.end) {
            source::range(start, end)?;
        }
        let hls_only =
            [("--container", self.container.is_some()), ("--discontinuities", self.discontinuities.is_some())];
        let wrong = match self.protocol {
            Protocol::Hls => self.numbers.then_some("--numbers"),
            Protocol::Dash => hls_only.iter().find(|(_, is_set)| *is_set).map(|(name, _)| *name),
        };
        if let Some(option) = wrong {
            let (this, other) = match self.protocol {
                Protocol::Hls => ("hls", "dash"),
                Protocol::Dash => ("dash", "hls"),
            };
            return Err(Failure::usage(format!("{option} is for {other}, not for {this}")));
        }
        let kvs = cx.aws.kvs().await?;
        let url = tokio::select! {
            url = self.request(&kvs, stream) => url.map_err(|error| Failure::from(error).about(stream.name()))?,
            () = cx.signals.interrupted() => return Ok(()),
        };
        if cx.screen.is_json() {
            return cx.screen.object(&json!({ "url": url.as_str(), "expires_time": url.expires().to_string() }));
        }
        cx.screen.line(url.as_str())?;
        cx.screen.note(&format!("valid until {}", time::local(url.expires())));
        Ok(())
    }

    async fn request(&self, kvs: &KinesisVideo, stream: &StreamId) -> kinesis_video::Result<PlaybackUrl> {
        match (self.protocol, self.start, self.end) {
            (Protocol::Hls, None, _) => self.hls(kvs.hls(stream)).url().await,
            (Protocol::Hls, Some(start), None) => self.hls(kvs.hls(stream).live_replay(start..)).url().await,
            (Protocol::Hls, Some(start), Some(end)) => self.hls(kvs.hls(stream).on_demand(start..=end)).url().await,
            (Protocol::Dash, None, _) => self.dash(kvs.dash(stream)).url().await,
            (Protocol::Dash, Some(start), None) => self.dash(kvs.dash(stream).live_replay(start..)).url().await,
            (Protocol::Dash, Some(start), Some(end)) => self.dash(kvs.dash(stream).on_demand(start..=end)).url().await,
        }
    }

    fn hls<M>(&self, session: HlsSession<M>) -> HlsSession<M> {
        let mut session = self.common(session);
        if let Some(container) = self.container {
            session = session.container(match container {
                ContainerName::Mp4 => Container::FragmentedMp4,
                ContainerName::Ts => Container::MpegTs,
            });
        }
        if let Some(discontinuities) = self.discontinuities {
            session = session.discontinuities(match discontinuities {
                DiscontinuitiesName::Always => Discontinuities::Always,
                DiscontinuitiesName::Never => Discontinuities::Never,
                DiscontinuitiesName::Gaps => Discontinuities::OnDiscontinuity,
            });
        }
        session
    }

    fn dash<M>(&self, session: DashSession<M>) -> DashSession<M> {
        let session = self.common(session);
        if self.numbers { session.display_numbers(true) } else { session }
    }

    fn common<P, M>(&self, mut session: Session<P, M>) -> Session<P, M> {
        if let Some(clock) = self.clock {
            session = session.clock(clock.into());
        }
        if let Some(expires) = self.expires {
            session = session.expires(expires);
        }
        if let Some(fragments) = self.max_fragments {
            session = session.max_fragments(fragments);
        }
        if self.timestamps {
            session = session.display_timestamps(true);
        }
        session
    }
}
