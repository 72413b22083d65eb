//! What is asked of the service for a session, either protocol's.

use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::operation::get_dash_streaming_session_url::GetDashStreamingSessionUrlOutput;
use aws_sdk_kinesisvideoarchivedmedia::operation::get_hls_streaming_session_url::GetHlsStreamingSessionUrlOutput;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    ContainerFormat, DashDisplayFragmentNumber, DashDisplayFragmentTimestamp, DashFragmentSelector,
    DashFragmentSelectorType, DashPlaybackMode, DashTimestampRange, HlsDiscontinuityMode, HlsDisplayFragmentTimestamp,
    HlsFragmentSelector, HlsFragmentSelectorType, HlsPlaybackMode, HlsTimestampRange,
};

use super::{Container, Discontinuities, ReplayRange};
use crate::error::{Error, Result};
use crate::service::archived::Clock;
use crate::service::archived::millis_range::{DAY, Span, date, first_millis, refused};
use crate::service::call::{Call, Rate, Reply, overrides};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

/// How long the service keeps a session for if it is not told.
const EXPIRES: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
pub(super) enum Protocol {
    Hls,
    Dash,
}

#[derive(Clone, Debug)]
pub(super) enum Mode {
    Live,
    LiveReplay(ReplayRange),
    OnDemand(ReplayRange),
}

/// All that a session can be told; the types of [`Session`](super::Session) see to it that what is here
/// goes together.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) client: Client,
    pub(super) stream: StreamId,
    pub(super) protocol: Protocol,
    pub(super) mode: Mode,
    pub(super) clock: Option<Clock>,
    pub(super) expires: Option<Duration>,
    pub(super) max_fragments: Option<u32>,
    pub(super) display_timestamps: Option<bool>,
    pub(super) container: Option<Container>,
    pub(super) discontinuities: Option<Discontinuities>,
    pub(super) display_numbers: Option<bool>,
    pub(super) attempts: u32,
    pub(super) timeout: Duration,
}

impl Request {
    pub(super) fn new(client: Client, stream: StreamId, protocol: Protocol) -> Self {
        Self {
            client,
            stream,
            protocol,
            mode: Mode::Live,
            clock: None,
            expires: None,
            max_fragments: None,
            display_timestamps: None,
            container: None,
            discontinuities: None,
            display_numbers: None,
            attempts: 8,
            timeout: Duration::from_secs(30),
        }
    }

    pub(super) fn operation(&self) -> &'static str {
        match self.protocol {
            Protocol::Hls => "GetHLSStreamingSessionURL",
            Protocol::Dash => "GetDASHStreamingSessionURL",
        }
    }

    pub(super) fn api(&self) -> ApiName {
        match self.protocol {
            Protocol::Hls => ApiName::GetHlsStreamingSessionUrl,
            Protocol::Dash => ApiName::GetDashStreamingSessionUrl,
        }
    }

    /// How long the session is kept for.
    pub(super) fn lasts(&self) -> Duration {
        self.expires.unwrap_or(EXPIRES)
    }

    /// Begins a session. The answer is its URL.
    pub(super) async fn send(&self) -> Result<Reply<String>> {
        let Self { client, stream, attempts, timeout, .. } = self;
        let wrong = |error: Error| error.of_stream(stream.as_str());
        let (seconds, most) = (self.seconds().map_err(wrong)?, self.most().map_err(wrong)?);
        let range = self.range().map_err(wrong)?;
        let cost = [Rate::session()];
        let call = Call { client, stream, api: self.api(), operation: self.operation(), cost: &cost, limit: *timeout };
        let (name, arn) = stream.name_and_arn();
        match self.protocol {
            Protocol::Hls => {
                let request = client.archived.get_hls_streaming_session_url().set_stream_name(name).set_stream_arn(arn);
                let request = request
                    .playback_mode(match self.mode {
                        Mode::Live => HlsPlaybackMode::Live,
                        Mode::LiveReplay(_) => HlsPlaybackMode::LiveReplay,
                        Mode::OnDemand(_) => HlsPlaybackMode::OnDemand,
                    })
                    .set_hls_fragment_selector(self.selecting_clock().map(|clock| {
                        let kind = match clock {
                            Clock::Producer => HlsFragmentSelectorType::ProducerTimestamp,
                            Clock::Server => HlsFragmentSelectorType::ServerTimestamp,
                        };
                        let range = range.map(|(start, end)| {
                            let range = HlsTimestampRange::builder().start_timestamp(date(start));
                            range.set_end_timestamp(end.map(date)).build()
                        });
                        HlsFragmentSelector::builder().fragment_selector_type(kind).set_timestamp_range(range).build()
                    }))
                    .set_container_format(self.container.map(|container| match container {
                        Container::FragmentedMp4 => ContainerFormat::FragmentedMp4,
                        Container::MpegTs => ContainerFormat::MpegTs,
                    }))
                    .set_discontinuity_mode(self.discontinuities.map(|which| match which {
                        Discontinuities::Always => HlsDiscontinuityMode::Always,
                        Discontinuities::Never => HlsDiscontinuityMode::Never,
                        Discontinuities::OnDiscontinuity => HlsDiscontinuityMode::OnDiscontinuity,
                    }))
                    .set_display_fragment_timestamp(self.display_timestamps.map(|display| match display {
                        true => HlsDisplayFragmentTimestamp::Always,
                        false => HlsDisplayFragmentTimestamp::Never,
                    }))
                    .set_expires(seconds)
                    .set_max_media_playlist_fragment_results(most);
                let is_answer = |output: &GetHlsStreamingSessionUrlOutput| is_url(output.hls_streaming_session_url());
                let reply = call.patiently(*attempts, is_answer, |endpoint, probe| {
                    request.clone().customize().config_override(overrides(endpoint)).interceptor(probe).send()
                });
                let Reply { output, origin, date } = reply.await?;
                Ok(Reply { output: output.hls_streaming_session_url.unwrap_or_default(), origin, date })
            }
            Protocol::Dash => {
                let request =
                    client.archived.get_dash_streaming_session_url().set_stream_name(name).set_stream_arn(arn);
                let request = request
                    .playback_mode(match self.mode {
                        Mode::Live => DashPlaybackMode::Live,
                        Mode::LiveReplay(_) => DashPlaybackMode::LiveReplay,
                        Mode::OnDemand(_) => DashPlaybackMode::OnDemand,
                    })
                    .set_dash_fragment_selector(self.selecting_clock().map(|clock| {
                        let kind = match clock {
                            Clock::Producer => DashFragmentSelectorType::ProducerTimestamp,
                            Clock::Server => DashFragmentSelectorType::ServerTimestamp,
                        };
                        let range = range.map(|(start, end)| {
                            let range = DashTimestampRange::builder().start_timestamp(date(start));
                            range.set_end_timestamp(end.map(date)).build()
                        });
                        DashFragmentSelector::builder().fragment_selector_type(kind).set_timestamp_range(range).build()
                    }))
                    .set_display_fragment_number(self.display_numbers.map(|display| match display {
                        true => DashDisplayFragmentNumber::Always,
                        false => DashDisplayFragmentNumber::Never,
                    }))
                    .set_display_fragment_timestamp(self.display_timestamps.map(|display| match display {
                        true => DashDisplayFragmentTimestamp::Always,
                        false => DashDisplayFragmentTimestamp::Never,
                    }))
                    .set_expires(seconds)
                    .set_max_manifest_fragment_results(most);
                let is_answer = |output: &GetDashStreamingSessionUrlOutput| is_url(output.dash_streaming_session_url());
                let reply = call.patiently(*attempts, is_answer, |endpoint, probe| {
                    request.clone().customize().config_override(overrides(endpoint)).interceptor(probe).send()
                });
                let Reply { output, origin, date } = reply.await?;
                Ok(Reply { output: output.dash_streaming_session_url.unwrap_or_default(), origin, date })
            }
        }
    }

    /// The clock to be named: what is live has no selector unless somebody chose one, what is stored always
    /// does.
    fn selecting_clock(&self) -> Option<Clock> {
        match self.mode {
            Mode::Live => self.clock,
            Mode::LiveReplay(_) | Mode::OnDemand(_) => Some(self.clock.unwrap_or_default()),
        }
    }

    fn seconds(&self) -> Result<Option<i32>> {
        let Some(expires) = self.expires else { return Ok(None) };
        let seconds = i32::try_from(expires.as_secs()).unwrap_or(i32::MAX);
        if !(300..=43_200).contains(&seconds) || expires.subsec_nanos() > 0 {
            let was = format!("{expires:?}");
            return Err(refused(self.operation(), "Expires", "300 to 43,200 whole seconds", was));
        }
        Ok(Some(seconds))
    }

    fn most(&self) -> Result<Option<i64>> {
        let member = match self.protocol {
            Protocol::Hls => "MaxMediaPlaylistFragmentResults",
            Protocol::Dash => "MaxManifestFragmentResults",
        };
        match self.max_fragments {
            Some(most) if !(1..=5000).contains(&most) => Err(refused(self.operation(), member, "1 to 5000", most)),
            most => Ok(most.map(i64::from)),
        }
    }

    /// Start and end, in milliseconds.
    fn range(&self) -> Result<Option<(i64, Option<i64>)>> {
        let refused = |member: &str, rule: &str, was: String| Err(refused(self.operation(), member, rule, was));
        let range = match &self.mode {
            Mode::Live => return Ok(None),
            Mode::LiveReplay(range) | Mode::OnDemand(range) => range,
        };
        let Some(end) = range.end else { return Ok(Some((first_millis(range.start), None))) };
        let span = Span::of(&(range.start..=end));
        match span.millis() {
            ..=0 => refused("EndTimestamp", &format!("later than StartTimestamp, {}", range.start), end.to_string()),
            1..=DAY => Ok(Some((span.start, Some(span.end)))),
            _ => {
                let rule = format!("within 24 hours of StartTimestamp, {}", range.start);
                refused("EndTimestamp", &rule, end.to_string())
            }
        }
    }
}

fn is_url(url: Option<&str>) -> bool {
    url.is_some_and(|url| !url.is_empty())
}
