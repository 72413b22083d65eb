//! [`Request`]: the request for a session of either protocol.

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
use crate::service::archived::millis_range::{DAY, MillisRange, ceil_millis, date, invalid};
use crate::service::call::{Call, Rate, Reply, RetryConfig, overrides};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

/// The service's default lifetime of a session.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

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

/// The options of a session. The types of [`Session`](super::Session) exclude invalid combinations.
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
    pub(super) retry: RetryConfig,
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
            retry: RetryConfig::default(),
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

    /// Returns the lifetime of the session.
    pub(super) fn lifetime(&self) -> Duration {
        self.expires.unwrap_or(DEFAULT_LIFETIME)
    }

    /// Begins a session. The output is its URL.
    pub(super) async fn send(&self) -> Result<Reply<String>> {
        let Self { client, stream, retry, timeout, .. } = self;
        let of_stream = |error: Error| error.of_stream(stream.as_str());
        let expires = self.expires_seconds().map_err(of_stream)?;
        let max_fragments = self.max_results().map_err(of_stream)?;
        let range = self.range().map_err(of_stream)?;
        let cost = [Rate::session()];
        let call = Call { client, stream, api: self.api(), operation: self.operation(), cost: &cost, limit: *timeout };
        // The SDK has two sets of types with the same members. So both protocols share the code, not the types.
        macro_rules! send {
            (
                $request:ident($Output:ident) -> $url:ident,
                mode: $Mode:ident,
                selector: $set_selector:ident($Selector:ident, $SelectorType:ident, $Range:ident),
                timestamps: $Timestamps:ident,
                max_fragments: $set_max_fragments:ident,
                $($set_other:ident($other:expr)),+
            ) => {{
                let (name, arn) = stream.name_and_arn();
                let selector = self.selector_clock().map(|clock| {
                    let kind = match clock {
                        Clock::Producer => $SelectorType::ProducerTimestamp,
                        Clock::Server => $SelectorType::ServerTimestamp,
                    };
                    let range = range.map(|(start, end)| {
                        $Range::builder().start_timestamp(date(start)).set_end_timestamp(end.map(date)).build()
                    });
                    $Selector::builder().fragment_selector_type(kind).set_timestamp_range(range).build()
                });
                let request = client
                    .archived
                    .$request()
                    .set_stream_name(name)
                    .set_stream_arn(arn)
                    .playback_mode(match self.mode {
                        Mode::Live => $Mode::Live,
                        Mode::LiveReplay(_) => $Mode::LiveReplay,
                        Mode::OnDemand(_) => $Mode::OnDemand,
                    })
                    .$set_selector(selector)
                    .set_display_fragment_timestamp(self.display_timestamps.map(|display| match display {
                        true => $Timestamps::Always,
                        false => $Timestamps::Never,
                    }))
                    .set_expires(expires)
                    .$set_max_fragments(max_fragments)
                    $(.$set_other($other))+;
                let reply = call.with_retries(
                    *retry,
                    |output: &$Output| output.$url().is_some_and(|url| !url.is_empty()),
                    |endpoint, probe| {
                        request.clone().customize().config_override(overrides(endpoint)).interceptor(probe).send()
                    },
                );
                let Reply { output, origin, date } = reply.await?;
                Ok(Reply { output: output.$url.unwrap_or_default(), origin, date })
            }};
        }
        match self.protocol {
            Protocol::Hls => send!(
                get_hls_streaming_session_url(GetHlsStreamingSessionUrlOutput) -> hls_streaming_session_url,
                mode: HlsPlaybackMode,
                selector:
                    set_hls_fragment_selector(HlsFragmentSelector, HlsFragmentSelectorType, HlsTimestampRange),
                timestamps: HlsDisplayFragmentTimestamp,
                max_fragments: set_max_media_playlist_fragment_results,
                set_container_format(self.container.map(|container| match container {
                    Container::FragmentedMp4 => ContainerFormat::FragmentedMp4,
                    Container::MpegTs => ContainerFormat::MpegTs,
                })),
                set_discontinuity_mode(self.discontinuities.map(|mode| match mode {
                    Discontinuities::Always => HlsDiscontinuityMode::Always,
                    Discontinuities::Never => HlsDiscontinuityMode::Never,
                    Discontinuities::OnDiscontinuity => HlsDiscontinuityMode::OnDiscontinuity,
                }))
            ),
            Protocol::Dash => send!(
                get_dash_streaming_session_url(GetDashStreamingSessionUrlOutput) -> dash_streaming_session_url,
                mode: DashPlaybackMode,
                selector:
                    set_dash_fragment_selector(DashFragmentSelector, DashFragmentSelectorType, DashTimestampRange),
                timestamps: DashDisplayFragmentTimestamp,
                max_fragments: set_max_manifest_fragment_results,
                set_display_fragment_number(self.display_numbers.map(|display| match display {
                    true => DashDisplayFragmentNumber::Always,
                    false => DashDisplayFragmentNumber::Never,
                }))
            ),
        }
    }

    /// Returns the clock of the fragment selector.
    ///
    /// Stored media always have a selector. Live media have one only if a clock was set.
    fn selector_clock(&self) -> Option<Clock> {
        match self.mode {
            Mode::Live => self.clock,
            Mode::LiveReplay(_) | Mode::OnDemand(_) => Some(self.clock.unwrap_or_default()),
        }
    }

    fn expires_seconds(&self) -> Result<Option<i32>> {
        let Some(expires) = self.expires else { return Ok(None) };
        let seconds = i32::try_from(expires.as_secs()).unwrap_or(i32::MAX);
        if !(300..=43_200).contains(&seconds) || expires.subsec_nanos() > 0 {
            let value = format!("{expires:?}");
            return Err(invalid(self.operation(), "Expires", "300 to 43,200 whole seconds", value));
        }
        Ok(Some(seconds))
    }

    fn max_results(&self) -> Result<Option<i64>> {
        let member = match self.protocol {
            Protocol::Hls => "MaxMediaPlaylistFragmentResults",
            Protocol::Dash => "MaxManifestFragmentResults",
        };
        match self.max_fragments {
            Some(max) if !(1..=5000).contains(&max) => Err(invalid(self.operation(), member, "1 to 5000", max)),
            max => Ok(max.map(i64::from)),
        }
    }

    /// Returns start and end in milliseconds.
    fn range(&self) -> Result<Option<(i64, Option<i64>)>> {
        let invalid = |member: &str, rule: &str, value: String| Err(invalid(self.operation(), member, rule, value));
        let range = match &self.mode {
            Mode::Live => return Ok(None),
            Mode::LiveReplay(range) | Mode::OnDemand(range) => range,
        };
        let Some(end) = range.end else { return Ok(Some((ceil_millis(range.start), None))) };
        let millis = MillisRange::of(&(range.start..=end));
        match millis.millis() {
            ..=0 => invalid("EndTimestamp", &format!("later than StartTimestamp, {}", range.start), end.to_string()),
            1..=DAY => Ok(Some((millis.start, Some(millis.end)))),
            _ => {
                let rule = format!("within 24 hours of StartTimestamp, {}", range.start);
                invalid("EndTimestamp", &rule, end.to_string())
            }
        }
    }
}
