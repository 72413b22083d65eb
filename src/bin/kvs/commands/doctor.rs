//! `kvs doctor`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesisvideo::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideoarchivedmedia::types::{ClipFragmentSelector, ClipFragmentSelectorType, ClipTimestampRange};
use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use aws_smithy_types::DateTime;
use axum::http::Uri;
use clap::Args;
use futures::TryStreamExt;
use kinesis_video::{
    Error, ErrorKind, Fragment, FragmentInfo, FragmentStream, KinesisVideo, RetryConfig, StreamId, StreamInfo,
    StreamStatus, Timestamp, Track, TrackKind,
};

use crate::context::Context;
use crate::failure::{Failure, Result, causes, why_of};
use crate::report::{Finding, Report};
use crate::witness::Witness;
use crate::{time, version, words};

/// The time that each check may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The clock's offset from which AWS refuses signatures.
const MAX_OFFSET: Duration = Duration::from_secs(5 * 60);

/// The clock's offset that deserves a warning.
const NOTABLE_OFFSET: Duration = Duration::from_secs(30);

/// A number in the service's form that no fragment has.
const NO_FRAGMENT: &str = "91343852333181432392682062607743920146159169392";

/// The checks that need no stream.
const ACCOUNT: [&str; 7] = ["version", "region", "credentials", "DNS", "connection", "clock", "ListStreams"];

/// The checks of a stream.
const STREAM: [&str; 11] = [
    "DescribeStream",
    "retention",
    "GetDataEndpoint",
    "GetMedia",
    "ListFragments",
    "GetMediaForFragmentList",
    "codecs",
    "GetClip",
    "GetImages",
    HLS,
    DASH,
];

const HLS: &str = "GetHLSStreamingSessionURL";
const DASH: &str = "GetDASHStreamingSessionURL";

/// Check credentials, region, clock, network and each permission.
///
/// Each line begins with ok, ! (worth a look), !! (a problem, and what to do) or -- (not checked, and why). Every call
/// is really made; nothing is changed, and nothing secret is printed.
#[derive(Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Doctor {
    /// The stream on which to try each operation, by name or ARN.
    #[arg(value_name = "STREAM")]
    stream: Option<String>,
}

const AFTER_HELP: &str = "\
Examples:
  kvs doctor                                    what needs no stream
  kvs doctor front-door                         each permission, on this stream
  kvs doctor front-door --profile viewer        with the credentials of another profile
  kvs doctor front-door --json | jq -r 'select(.result == \"problem\").hint'

Exits with 1 if there is a problem.

With --json, one object per check:
  check: version, region, credentials, DNS, connection, clock, retention, codecs, or the name of an operation
  result: ok, warning, problem or skipped
  detail: what was found
  hint: what to do, or null";

impl Doctor {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let planned = if self.stream.is_some() { [&ACCOUNT[..], &STREAM].concat() } else { ACCOUNT.to_vec() };
        let mut report = Report::new(&cx.screen, &planned);
        tokio::select! {
            examined = self.examine(cx, &mut report) => examined?,
            () = cx.signals.interrupted() => return Ok(()),
        }
        cx.screen.note(&report.summary());
        if report.problems() > 0 { Err(Failure::Printed) } else { Ok(()) }
    }

    async fn examine(&self, cx: &Context, report: &mut Report<'_>) -> Result<()> {
        let Some(patient) = examine_account(cx, report).await? else { return Ok(()) };
        let Some(stream) = &self.stream else { return Ok(()) };
        let patient = Patient { stream: StreamId::from(stream), ..patient };
        patient.examine(report).await
    }
}

/// Checks what needs no stream. Returns `None` if nothing else can be checked.
async fn examine_account(cx: &Context, report: &mut Report<'_>) -> Result<Option<Patient>> {
    report.add("version", Finding::ok(version::long().replace('\n', ", ")))?;
    let Ok(config) = tokio::time::timeout(LIMIT, cx.aws.load()).await else {
        report.add("region", Finding::problem(no_answer()).hint("pass --region, or set AWS_REGION"))?;
        report.skip_rest("needs a region")?;
        return Ok(None);
    };
    let region = config.region().map(ToString::to_string).filter(|region| !region.is_empty());
    report.add(
        "region",
        match &region {
            Some(region) => Finding::ok(format!("{region}, from {}", cx.aws.region_origin())),
            None => Finding::problem("none is set, neither with --region and AWS_REGION nor in the profile")
                .hint("pass --region us-west-2, or set AWS_REGION"),
        },
    )?;
    let has_credentials = examine_credentials(&config, cx, report).await?;
    let Some(region) = region else {
        report.skip_rest("needs a region")?;
        return Ok(None);
    };
    if !examine_dns(&config, report).await? {
        report.skip_rest("needs DNS")?;
        return Ok(None);
    }
    if !has_credentials {
        report.skip_rest("needs credentials")?;
        return Ok(None);
    }
    let witness = Witness::default();
    let kvs = witness.client(&config);
    let mut streams = kvs.list_streams().page_size(1).retry(once()).call_timeout(LIMIT).entries();
    let listed = limited("ListStreams", streams.try_next()).await;
    let seen = witness.seen();
    let Some(url) = seen.url else {
        let finding = match &listed {
            Err(error) => of_error(error, "ListStreams"),
            Ok(_) => Finding::problem("the call was answered, but not over the network"),
        };
        report.add("connection", finding.hint("check the network, proxies, firewalls and --endpoint-url"))?;
        report.skip_rest("needs a connection")?;
        return Ok(None);
    };
    let host = host_of(&url).map_or_else(|| url.clone(), |(host, _)| host);
    report.add(
        "connection",
        if url.starts_with("https:") {
            Finding::ok(format!("{host} answers over HTTPS"))
        } else {
            Finding::ok(format!("{host} answers over plain HTTP, without TLS"))
        },
    )?;
    report.add("clock", of_clock(seen.date))?;
    let patient = Patient { kvs, witness, stream: "".into(), resource: "*".into(), nothing: "nothing is stored" };
    let (finding, is_refused) = match &listed {
        Ok(Some(info)) => (Finding::ok(format!("allowed; there is {}, for example", info.name())), false),
        Ok(None) => (Finding::ok(format!("allowed; there is no stream in {region}")), false),
        Err(error) => (patient.judge(error, "ListStreams"), is_about_credentials(error)),
    };
    report.add("ListStreams", finding)?;
    if is_refused {
        report.skip_rest("needs valid credentials")?;
        return Ok(None);
    }
    Ok(Some(patient))
}

async fn examine_credentials(config: &SdkConfig, cx: &Context, report: &mut Report<'_>) -> Result<bool> {
    let advice = "log in with `aws sso login`, set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    let Some(provider) = config.credentials_provider() else {
        report.add("credentials", Finding::problem("there are none").hint(advice))?;
        return Ok(false);
    };
    let (finding, is_usable) = match tokio::time::timeout(LIMIT, provider.provide_credentials()).await {
        Err(_) => (Finding::problem(no_answer()).hint(advice), false),
        Ok(Err(CredentialsError::CredentialsNotLoaded(_))) => {
            let finding = match cx.aws.profile() {
                Some(profile) => Finding::problem(format!("there are none in the profile \"{profile}\""))
                    .hint("check --profile and ~/.aws, or log in with `aws sso login`"),
                None => {
                    Finding::problem("there are none in the environment, the profile, the container and the instance")
                        .hint(advice)
                }
            };
            (finding, false)
        }
        Ok(Err(error)) => {
            let mut text = error.to_string();
            for cause in causes(&error) {
                let cause = cause.to_string();
                if !text.contains(&cause) {
                    let _ = write!(text, ": {cause}");
                }
            }
            (Finding::problem(text).hint(advice), false)
        }
        Ok(Ok(_)) if cx.aws.has_local_credentials() => {
            (Finding::ok("made-up ones, for an endpoint on this machine"), true)
        }
        Ok(Ok(credentials)) => of_credentials(&credentials),
    };
    report.add("credentials", finding)?;
    Ok(is_usable)
}

fn of_credentials(credentials: &Credentials) -> (Finding, bool) {
    let id = credentials.access_key_id();
    // Less of a short one, which would be all of it.
    let shown =
        id.char_indices().rev().nth(3).map_or("", |(at, _)| if at < 4 { "" } else { id.get(at..).unwrap_or("") });
    let mut text = provider_of(credentials).to_owned();
    if !shown.is_empty() {
        let _ = write!(text, ", access key …{shown}");
    }
    if credentials.session_token().is_some() {
        text.push_str(", temporary");
    }
    let Some(expiry) = credentials.expiry() else { return (Finding::ok(text), true) };
    let local = time::local(expiry.into());
    match expiry.duration_since(SystemTime::now()) {
        Ok(left) => (Finding::ok(format!("{text}, valid until {local}, for {}", time::duration(left))), true),
        Err(_) => {
            let hint = "renew them, for example with `aws sso login`";
            (Finding::problem(format!("{text}, expired at {local}")).hint(hint), false)
        }
    }
}

/// Names where credentials come from. The SDK notes it with them, the outermost provider last.
fn provider_of(credentials: &Credentials) -> &'static str {
    use AwsCredentialFeature as From;

    let notes = credentials.get_property::<Vec<AwsCredentialFeature>>();
    let known = notes.into_iter().flatten().rev().find_map(|note| {
        Some(match note {
            From::CredentialsEnvVars => "from the environment",
            From::CredentialsProfile | From::CredentialsProfileSourceProfile => "from the profile",
            From::CredentialsProfileNamedProvider => "from the profile's named provider",
            From::CredentialsProfileProcess | From::CredentialsProcess => "from the profile's credential process",
            From::CredentialsProfileSso | From::CredentialsSso => "from IAM Identity Center (SSO)",
            From::CredentialsStsAssumeRole => "from an assumed role",
            From::CredentialsStsAssumeRoleWebId => "from a role assumed with a web identity",
            From::CredentialsEnvVarsStsWebIdToken => "from a role assumed with a web identity",
            From::CredentialsProfileStsWebIdToken => "from a role assumed with a web identity",
            From::CredentialsHttp => "from the container",
            From::CredentialsImds => "from the instance's role",
            _ => return None,
        })
    });
    known.unwrap_or("found")
}

/// Resolves the host that will be called.
async fn examine_dns(config: &SdkConfig, report: &mut Report<'_>) -> Result<bool> {
    let hint = "check --endpoint-url and the region";
    let url = match config.endpoint_url() {
        Some(url) => Ok(url.to_owned()),
        None => service_url(config).await,
    };
    let host = url.and_then(|url| host_of(&url).ok_or_else(|| format!("\"{url}\" is no URL of a host")));
    let (host, port) = match host {
        Ok(host) => host,
        Err(error) => {
            report.add("DNS", Finding::problem(error).hint(hint))?;
            return Ok(false);
        }
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() {
        report.add("DNS", Finding::ok(format!("{host} is an address")))?;
        return Ok(true);
    }
    let resolved = match tokio::time::timeout(LIMIT, tokio::net::lookup_host((bare, port))).await {
        Err(_) => Err(no_answer()),
        Ok(Err(error)) => {
            let text = error.to_string();
            Err(text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned())
        }
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).next().ok_or_else(|| "it has no address".into()),
    };
    let is_resolved = resolved.is_ok();
    report.add(
        "DNS",
        match resolved {
            Ok(address) => Finding::ok(format!("{host} is {address}")),
            Err(error) => Finding::problem(format!("{host} cannot be resolved: {error}"))
                .hint("check the network, the region's name and --endpoint-url"),
        },
    )?;
    Ok(is_resolved)
}

/// Returns the URL of the service in the region.
async fn service_url(config: &SdkConfig) -> Result<String, String> {
    let mut params = Params::builder();
    if let Some(region) = config.region() {
        params = params.region(region.as_ref());
    }
    params = params.use_fips(config.use_fips().unwrap_or_default());
    params = params.use_dual_stack(config.use_dual_stack().unwrap_or_default());
    let params = params.build().map_err(|error| error.to_string())?;
    let endpoint = DefaultResolver::new().resolve_endpoint(&params).await.map_err(|error| error.to_string())?;
    Ok(endpoint.url().to_owned())
}

/// Returns the host and the port of a URL.
fn host_of(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    Some((uri.host()?.to_owned(), port))
}

/// Compares this machine's clock with the service's, which has whole seconds.
fn of_clock(date: Option<(Timestamp, Timestamp)>) -> Finding {
    let Some((service, machine)) = date else { return Finding::skipped("the answer has no date") };
    let behind = service.as_millis().saturating_add(500).saturating_sub(machine.as_millis());
    let offset = Duration::from_millis(behind.unsigned_abs());
    let side = if behind > 0 { "behind" } else { "ahead of" };
    let text = format!("{} {side} the service's", time::duration(offset));
    let hint = "set this machine's clock, and keep it right with NTP";
    if offset > MAX_OFFSET {
        Finding::problem(format!("{text}; AWS refuses signatures with such a time")).hint(hint)
    } else if offset > NOTABLE_OFFSET {
        Finding::warning(text).hint(hint)
    } else if offset > Duration::from_secs(2) {
        Finding::ok(text)
    } else {
        Finding::ok("agrees with the service's")
    }
}

/// A stream, and a client to examine it with.
struct Patient {
    kvs: KinesisVideo,
    witness: Witness,
    stream: StreamId,
    /// The resource of the permissions, as IAM or a person names it.
    resource: String,
    /// The reason that an operation was tried without a fragment.
    nothing: &'static str,
}

impl Patient {
    async fn examine(mut self, report: &mut Report<'_>) -> Result<()> {
        self.resource = if self.stream.is_arn() { self.stream.to_string() } else { format!("stream {}", self.stream) };
        let described = limited("DescribeStream", self.kvs.describe(&self.stream)).await;
        match &described {
            Ok(info) => {
                self.resource = info.arn().to_owned();
                report.add("DescribeStream", of_status(info))?;
                report.add("retention", of_retention(info))?;
            }
            Err(error) => {
                report.add("DescribeStream", self.judge(error, "DescribeStream"))?;
                if error.kind() == ErrorKind::NotFound {
                    return report.skip_rest("needs a stream that exists");
                }
                report.add("retention", Finding::skipped("needs DescribeStream"))?;
            }
        }
        let media = match limited("GetDataEndpoint", self.kvs.media_client(&self.stream)).await {
            Ok(media) => media,
            Err(error) => {
                report.add("GetDataEndpoint", self.judge(&error, "GetDataEndpoint"))?;
                return report.skip_rest("needs GetDataEndpoint");
            }
        };
        let host = self.witness.seen().data_endpoint.and_then(|url| host_of(&url));
        let host = host.map_or_else(String::new, |(host, _)| format!("; media come from {host}"));
        report.add("GetDataEndpoint", Finding::ok(format!("allowed{host}")))?;
        report.add("GetMedia", self.get_media(&media).await)?;
        let newest = match self.list_fragments(report).await? {
            Ok(newest) => newest,
            Err(_) => {
                self.nothing = "it was tried without a fragment, since ListFragments failed";
                None
            }
        };
        let fragment = self.get_fragment(newest.as_ref(), report).await?;
        report.add(
            "codecs",
            match &fragment {
                Some(fragment) => of_codecs(fragment.tracks()),
                None => Finding::skipped("needs a stored fragment"),
            },
        )?;
        let time = newest.as_ref().and_then(FragmentInfo::server_time);
        report.add("GetClip", self.get_clip(time).await)?;
        report.add("GetImages", self.get_images(time).await)?;
        let url = match time {
            Some(time) => limited(HLS, self.kvs.hls(&self.stream).retry(once()).on_demand(moment(time)).url()).await,
            None => limited(HLS, self.kvs.hls(&self.stream).retry(once()).url()).await,
        };
        report.add(HLS, self.of_session(url.err().as_ref(), HLS))?;
        let url = match time {
            Some(time) => limited(DASH, self.kvs.dash(&self.stream).retry(once()).on_demand(moment(time)).url()).await,
            None => limited(DASH, self.kvs.dash(&self.stream).retry(once()).url()).await,
        };
        report.add(DASH, self.of_session(url.err().as_ref(), DASH))
    }

    async fn get_media(&self, media: &aws_sdk_kinesisvideomedia::Client) -> Finding {
        let (name, arn) = self.stream.name_and_arn();
        let called = limited("GetMedia", async {
            let now = StartSelector::builder().start_selector_type(StartSelectorType::Now).build();
            let now = now.map_err(|error| Error::new(ErrorKind::InvalidArgument, error.to_string()))?;
            let call = media.get_media().set_stream_name(name).set_stream_arn(arn).start_selector(now).send();
            call.await.map_err(|error| Error::from_sdk(error, "GetMedia"))
        });
        match called.await {
            Ok(_) => Finding::ok("allowed"),
            Err(error) => self.judge(&error, "GetMedia"),
        }
    }

    async fn list_fragments(&self, report: &mut Report<'_>) -> Result<kinesis_video::Result<Option<FragmentInfo>>> {
        let newest = self.kvs.list_fragments(&self.stream).retry(once()).call_timeout(LIMIT).newest();
        let newest = limited("ListFragments", newest).await;
        report.add(
            "ListFragments",
            match &newest {
                Ok(Some(newest)) => {
                    let time = newest.server_time().map_or_else(|| "unknown".into(), time::local);
                    Finding::ok(format!("allowed; the newest fragment is of {time}"))
                }
                Ok(None) => Finding::ok("allowed; nothing is stored"),
                Err(error) => self.judge(error, "ListFragments"),
            },
        )?;
        match newest {
            Err(error) if error.kind() == ErrorKind::Retention => Ok(Ok(None)),
            newest => Ok(newest),
        }
    }

    /// Tries GetMediaForFragmentList, and returns the fragment.
    async fn get_fragment(&self, newest: Option<&FragmentInfo>, report: &mut Report<'_>) -> Result<Option<Fragment>> {
        const OPERATION: &str = "GetMediaForFragmentList";

        let number = newest.map_or(NO_FRAGMENT, |newest| newest.number().as_str());
        let (name, arn) = self.stream.name_and_arn();
        let called = limited(OPERATION, async {
            let archive = self.kvs.archived_client(&self.stream, ApiName::GetMediaForFragmentList).await?;
            let call = archive.get_media_for_fragment_list().set_stream_name(name).set_stream_arn(arn);
            let output = call.fragments(number).send().await.map_err(|error| Error::from_sdk(error, OPERATION))?;
            if newest.is_none() {
                return Ok(None);
            }
            FragmentStream::from_byte_stream(output.payload).try_next().await
        });
        let (finding, fragment) = match called.await {
            Ok(Some(fragment)) => (Finding::ok("allowed"), Some(fragment)),
            Ok(None) if newest.is_none() => (Finding::ok(format!("allowed; {}", self.nothing)), None),
            Ok(None) => (Finding::warning("allowed, but the newest fragment did not come"), None),
            Err(error) => (self.judge(&error, OPERATION), None),
        };
        report.add(OPERATION, finding)?;
        Ok(fragment)
    }

    async fn get_clip(&self, newest: Option<Timestamp>) -> Finding {
        let (name, arn) = self.stream.name_and_arn();
        let called = limited("GetClip", async {
            let archive = self.kvs.archived_client(&self.stream, ApiName::GetClip).await?;
            let range = moment(newest.unwrap_or_else(a_minute_ago));
            let date = |time: &Timestamp| DateTime::from_millis(time.as_millis());
            let range =
                ClipTimestampRange::builder().start_timestamp(date(range.start())).end_timestamp(date(range.end()));
            let incomplete = |error: &dyn std::error::Error| Error::new(ErrorKind::InvalidArgument, error.to_string());
            let selector = ClipFragmentSelector::builder()
                .fragment_selector_type(ClipFragmentSelectorType::ServerTimestamp)
                .timestamp_range(range.build().map_err(|error| incomplete(&error))?)
                .build()
                .map_err(|error| incomplete(&error))?;
            let call = archive.get_clip().set_stream_name(name).set_stream_arn(arn).clip_fragment_selector(selector);
            call.send().await.map_err(|error| Error::from_sdk(error, "GetClip"))
        });
        match called.await {
            Ok(_) => Finding::ok("allowed"),
            Err(error) => self.judge(&error, "GetClip"),
        }
    }

    async fn get_images(&self, newest: Option<Timestamp>) -> Finding {
        let time = newest.unwrap_or_else(a_minute_ago);
        let images = self.kvs.images(&self.stream).retry(once()).call_timeout(LIMIT).range(time..=time);
        match limited("GetImages", images.images().try_next()).await {
            Ok(Some(image)) => match image.content() {
                Ok(_) => Finding::ok("allowed"),
                Err(_) if newest.is_none() => Finding::ok(format!("allowed; {}", self.nothing)),
                Err(reason) => Finding::ok(format!("allowed; {reason} of the newest fragment")),
            },
            Ok(None) => Finding::ok(format!("allowed; {}", self.nothing)),
            Err(error) => self.judge(&error, "GetImages"),
        }
    }

    fn of_session(&self, error: Option<&Error>, operation: &str) -> Finding {
        error.map_or_else(|| Finding::ok("allowed"), |error| self.judge(error, operation))
    }

    /// Tells a missing permission from a stream that has nothing for the operation.
    fn judge(&self, error: &Error, operation: &str) -> Finding {
        let said = said(error, operation);
        let is_about_media = !matches!(operation, "ListStreams" | "DescribeStream" | "GetDataEndpoint" | "GetMedia");
        match error.kind() {
            ErrorKind::AccessDenied if !is_about_credentials(error) => Finding::problem(format!("not allowed: {said}"))
                .hint(format!("allow kinesisvideo:{operation} on {}", self.resource)),
            ErrorKind::NotFound if is_about_media => Finding::ok(format!("allowed; {}", self.nothing)),
            ErrorKind::Retention if is_about_media => Finding::ok("allowed; the stream retains nothing"),
            ErrorKind::Unsupported => {
                let reason = error.hint().unwrap_or(said);
                Finding::ok(format!("allowed, but not for the stream's media: {reason}"))
            }
            _ if error.code() == Some("NotImplementedException") => {
                Finding::skipped("this endpoint does not implement it")
            }
            ErrorKind::InvalidArgument if is_about_media => {
                Finding::warning(format!("allowed, but the service refuses the request: {said}"))
            }
            ErrorKind::Throttled => Finding::warning(format!("throttled: {said}")).hint("try again in a moment"),
            ErrorKind::ConnectionLimit => Finding::warning(format!("allowed, but there are too many readers: {said}"))
                .hint("close other readers of the stream"),
            _ => of_error(error, operation),
        }
    }
}

/// Returns the problem that any error is.
fn of_error(error: &Error, operation: &str) -> Finding {
    let why = why_of(error).map_or_else(String::new, |why| format!(" ({why})"));
    let finding = Finding::problem(format!("{}{why}", said(error, operation)));
    match error.hint() {
        Some(hint) => finding.hint(hint),
        None => finding,
    }
}

/// Returns the message without the operation, which the line names already.
fn said<'a>(error: &'a Error, operation: &str) -> &'a str {
    let message = error.message();
    message.strip_prefix(operation).and_then(|said| said.strip_prefix(": ")).unwrap_or(message)
}

/// Returns whether the service does not accept the credentials, so that no call is possible.
fn is_about_credentials(error: &Error) -> bool {
    let is_permission =
        |code: &str| matches!(code, "AccessDenied" | "AccessDeniedException" | "NotAuthorizedException");
    error.kind() == ErrorKind::AccessDenied && !error.code().is_some_and(is_permission)
}

fn of_status(info: &StreamInfo) -> Finding {
    let created = info.created().map_or_else(String::new, |time| format!(", created {}", time::local(time)));
    let text = format!("allowed; the stream is {}{created}", info.status());
    match info.status() {
        StreamStatus::Active | StreamStatus::Updating => Finding::ok(text),
        _ => Finding::warning(text).hint("wait until it is ACTIVE"),
    }
}

fn of_retention(info: &StreamInfo) -> Finding {
    match info.retention() {
        Some(Duration::ZERO) => Finding::warning("0 hours: the stream can be read live, and nothing is stored")
            .hint("`aws kinesisvideo update-data-retention` sets it"),
        Some(retention) => Finding::ok(format!("{} hours", retention.as_secs() / 3600)),
        None => Finding::skipped("the service does not say"),
    }
}

/// Names the codecs, and what the service can make of them.
fn of_codecs(tracks: &[Track]) -> Finding {
    let codecs: Vec<_> = tracks.iter().map(|track| words::codec(track.codec_id())).collect();
    let players = match codecs[..] {
        ["H.264" | "H.265"] | ["H.264" | "H.265", "AAC"] => "HLS, DASH and clips",
        ["H.264", "G.711"] => "DASH and clips",
        ["AAC"] => "HLS and DASH",
        _ => "",
    };
    let names: Vec<_> = tracks.iter().map(track_text).collect();
    let names = if names.is_empty() { "no track".into() } else { names.join(", ") };
    match (players, tracks.iter().find(|track| track.codec_private().is_none_or(bytes::Bytes::is_empty))) {
        ("", _) => Finding::ok(format!("{names}: neither HLS, DASH nor clips can play it; kvs can read it")),
        (players, Some(track)) if words::codec(track.codec_id()) != "G.711" => Finding::warning(format!(
            "{names}: {players} need codec private data, which track {} does not have",
            track.number()
        ))
        .hint("let the producer send it"),
        (players, _) => Finding::ok(format!("{names}: {players} can play it")),
    }
}

fn track_text(track: &Track) -> String {
    let name = words::codec(track.codec_id());
    match (track.kind(), track.width(), track.height(), track.sampling_frequency()) {
        (TrackKind::Video, Some(width), Some(height), _) => format!("{name} {width}x{height}"),
        (TrackKind::Audio, _, _, Some(frequency)) => format!("{name} {frequency} Hz"),
        _ => name.to_owned(),
    }
}

/// Returns the shortest range from a time on that every operation accepts.
fn moment(time: Timestamp) -> std::ops::RangeInclusive<Timestamp> {
    time..=Timestamp::from_millis(time.as_millis().saturating_add(1))
}

fn a_minute_ago() -> Timestamp {
    Timestamp::from_millis(Timestamp::from(SystemTime::now()).as_millis().saturating_sub(60_000))
}

fn once() -> RetryConfig {
    RetryConfig::default().max_attempts(1)
}

fn no_answer() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

/// Ends a call that takes too long.
async fn limited<T>(operation: &str, call: impl Future<Output = kinesis_video::Result<T>>) -> kinesis_video::Result<T> {
    let late = || Err(Error::new(ErrorKind::Io, format!("{operation}: {}", no_answer())));
    tokio::time::timeout(LIMIT, call).await.unwrap_or_else(|_| late())
}
