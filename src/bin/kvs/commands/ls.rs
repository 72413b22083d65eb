//! `kvs ls`.

use std::time::{Duration, SystemTime};

use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use kinesis_video::{ErrorKind, FragmentInfo, KinesisVideo, RetryConfig, StreamInfo, StreamStatus, Timestamp};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::screen::{BOLD, DIM, WARNING};
use crate::time;

/// The number of streams whose newest fragment is looked for at the same time.
const CONCURRENCY: usize = 8;

/// List streams, with the age of the newest fragment of each.
///
/// The age is "-" if nothing is stored, and "?" if it could not be found out.
#[derive(Args)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct Ls {
    /// Only streams whose name begins with this.
    #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
}

const AFTER_HELP: &str = "\
Examples:
  kvs ls                                        all streams of the account in the region
  kvs ls door- --region eu-central-1            those whose name begins with door-
  kvs ls --json | jq -r 'select(.newest_fragment_age_ms > 60000).name'
                                                streams that have sent nothing for a minute

With --json, one object per stream:
  name, arn, status, media_type, device_name, kms_key_id, version: text, or null
  retention_hours: number, or null
  created_time: when the stream was created
  newest_fragment_number, newest_fragment_time: null if nothing is stored
  newest_fragment_age_ms: by the clocks of the service and of this machine
  error: why the newest fragment could not be found out, or null";

/// The newest fragment of a stream, if it has one, or the error of looking for it.
type Newest = Result<Option<FragmentInfo>, kinesis_video::Error>;

impl Ls {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let kvs = cx.aws.kvs().await?;
        tokio::select! {
            listed = self.list(&kvs, cx) => listed,
            () = cx.signals.interrupted() => Ok(()),
        }
    }

    async fn list(&self, kvs: &KinesisVideo, cx: &Context) -> Result<()> {
        let mut streams: Vec<_> = kvs.list_streams().name_prefix(&self.prefix).entries().try_collect().await?;
        if streams.is_empty() {
            let region = kvs.control().config().region().map_or_else(String::new, |region| format!(" in {region}"));
            let what = match &self.prefix[..] {
                "" => format!("there is no stream{region}"),
                prefix => format!("no stream{region} has a name that begins with \"{prefix}\""),
            };
            return Err(Failure::nothing(what).hint("check the region and the account"));
        }
        streams.sort_by(|a, b| a.name().cmp(b.name()));
        let find = |info: StreamInfo| async {
            let newest = newest(kvs, &info).await;
            (info, newest)
        };
        let mut found = stream::iter(streams).map(find).buffered(CONCURRENCY);
        let mut rows = Vec::new();
        while let Some((info, newest)) = found.next().await {
            if let Err(error) = &newest {
                let name = info.name();
                cx.screen.warn(&format!("{name}: the newest fragment is unknown: {}", error.message()));
            }
            if cx.screen.is_json() {
                cx.screen.object(&object(&info, &newest))?;
            } else {
                rows.push((info, newest));
            }
        }
        if !cx.screen.is_json() {
            for line in table(&rows) {
                cx.screen.line(&line)?;
            }
        }
        Ok(())
    }
}

async fn newest(kvs: &KinesisVideo, info: &StreamInfo) -> Newest {
    if info.retention() == Some(Duration::ZERO) {
        return Ok(None);
    }
    // A table is not worth to wait long for.
    let retry = RetryConfig::default().max_attempts(4);
    match kvs.list_fragments(info.name()).retry(retry).newest().await {
        // The retention has been set to zero since.
        Err(error) if error.kind() == ErrorKind::Retention => Ok(None),
        newest => newest,
    }
}

/// Returns the time since a fragment was received, in milliseconds. It is negative if a clock is wrong.
fn age(newest: &FragmentInfo) -> Option<i64> {
    let now = Timestamp::from(SystemTime::now());
    newest.server_time().map(|time| now.as_millis().saturating_sub(time.as_millis()))
}

fn object(info: &StreamInfo, newest: &Newest) -> serde_json::Value {
    let fragment = newest.as_ref().ok().and_then(Option::as_ref);
    json!({
        "name": info.name(),
        "arn": info.arn(),
        "status": info.status().as_str(),
        "retention_hours": info.retention().map(|retention| retention.as_secs() / 3600),
        "created_time": info.created().map(|time| time.to_string()),
        "newest_fragment_number": fragment.map(|fragment| fragment.number().as_str()),
        "newest_fragment_time": fragment.and_then(FragmentInfo::server_time).map(|time| time.to_string()),
        "newest_fragment_age_ms": fragment.and_then(age),
        "media_type": info.media_type(),
        "device_name": info.device_name(),
        "kms_key_id": info.kms_key_id(),
        "version": info.version(),
        "error": newest.as_ref().err().map(ToString::to_string),
    })
}

fn table(rows: &[(StreamInfo, Newest)]) -> Vec<String> {
    let heading = ["NAME", "STATUS", "RETENTION", "NEWEST FRAGMENT"].map(ToOwned::to_owned);
    let cells = rows.iter().map(|(info, newest)| {
        let retention = match info.retention() {
            Some(Duration::ZERO) => "0 h".into(),
            Some(retention) => hours(retention),
            None => "?".into(),
        };
        let newest = match newest {
            Ok(Some(fragment)) => age(fragment).map_or_else(|| "?".into(), ago),
            Ok(None) => "-".into(),
            Err(_) => "?".into(),
        };
        [info.name().to_owned(), info.status().to_string(), retention, newest]
    });
    let cells: Vec<_> = std::iter::once(heading).chain(cells).collect();
    let width = |column: fn(&[String; 4]) -> &String| {
        cells.iter().map(|row| column(row).chars().count()).max().unwrap_or_default()
    };
    let (name_width, status_width, retention_width) =
        (width(|row| &row[0]), width(|row| &row[1]), width(|row| &row[2]));
    let styles = std::iter::once(None).chain(rows.iter().map(Some));
    let line = |([name, status, retention, newest], row): (&[String; 4], Option<&(StreamInfo, Newest)>)| {
        let style = match row {
            None => BOLD,
            Some((_, Err(_))) => WARNING,
            Some((info, _)) if *info.status() != StreamStatus::Active => WARNING,
            Some((_, Ok(None))) => DIM,
            Some(_) => anstyle::Style::new(),
        };
        let text = format!("{name:name_width$}  {status:status_width$}  {retention:>retention_width$}  {newest}");
        format!("{style}{text}{style:#}")
    };
    cells.iter().zip(styles).map(line).collect()
}

/// Formats a retention with the unit in which people set it.
fn hours(retention: Duration) -> String {
    match retention.as_secs() / 3600 {
        hours if hours > 24 && hours % 24 == 0 => format!("{} d", hours / 24),
        hours => format!("{hours} h"),
    }
}

fn ago(millis: i64) -> String {
    // Clocks differ by a little.
    match u64::try_from(millis) {
        Ok(millis) => format!("{} ago", time::duration(Duration::from_millis(millis))),
        Err(_) if millis > -1000 => "now".into(),
        Err(_) => {
            format!("in {}, by this machine's clock", time::duration(Duration::from_millis(millis.unsigned_abs())))
        }
    }
}
