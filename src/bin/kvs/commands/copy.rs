//! `kvs copy`.

use clap::Args;
use futures::TryStreamExt;
use kinesis_video::{Discontinuity, StreamId};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::sending::{Creation, Sending};
use crate::source::{Selection, Source, save_position};
use crate::{time, words};

/// Copy a stream to another, live or a stored range.
///
/// The fragments keep their producer times and their tags; the service gives them new numbers and server times. With
/// --checkpoint, a fragment counts when the other stream has persisted it, so that the next run continues after it.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per persisted fragment:
  fragment_number, producer_time
and one at the end:
  stream, fragments, persisted, bytes, connections, repeated

Examples:
  kvs copy front-door front-door-copy --create
  kvs copy front-door archive --start \"2h ago\" --end \"1h ago\"
  kvs copy front-door front-door --to-region eu-west-1 --checkpoint copy.checkpoint
  kvs copy front-door door --to-endpoint-url http://127.0.0.1:8080 --start earliest")]
pub(crate) struct Copy {
    /// The stream to read.
    #[arg(value_name = "STREAM")]
    source: Source,
    /// The name or ARN of the stream to send to.
    #[arg(value_name = "STREAM2")]
    to: String,
    /// The region of STREAM2. Default: that of STREAM.
    #[arg(long, value_name = "REGION")]
    to_region: Option<String>,
    /// The profile for STREAM2. Default: that for STREAM.
    #[arg(long, value_name = "NAME")]
    to_profile: Option<String>,
    /// The endpoint of STREAM2. Default: that of STREAM.
    #[arg(long, value_name = "URL")]
    to_endpoint_url: Option<String>,
    #[command(flatten)]
    creation: Creation,
    #[command(flatten)]
    selection: Selection,
}

impl Copy {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let source = self.source.only_stream(&format!("kvs put {} {}", self.source.as_argument(), self.to))?;
        let to = StreamId::from(&self.to);
        let is_elsewhere = self.to_region.is_some() || self.to_profile.is_some() || self.to_endpoint_url.is_some();
        if source.name() == to.name() && !is_elsewhere {
            return Err(Failure::usage(format!("{to} would be copied to itself")).hint("name another stream"));
        }
        let kvs = cx.aws.elsewhere(self.to_region, self.to_profile, self.to_endpoint_url).kvs().await?;
        self.creation.ensure(&kvs, &to, cx).await?;
        let mut input = self.selection.open(&self.source, cx).await?;
        let mut sending = Sending::new(&kvs, &to, cx);
        let name = self.source.to_string();
        let sent = loop {
            let fragment = match input.items.try_next().await {
                Ok(Some(fragment)) => fragment,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error).about(&name)),
            };
            for discontinuity in fragment.discontinuities().iter().filter(|found| Discontinuity::is_loss(found)) {
                let begins = time::local_or_dash(fragment.producer_time().or(fragment.server_time()));
                cx.screen.note(&format!("{name}: {begins}: {}", words::discontinuity(discontinuity)));
            }
            let position = fragment.position();
            if let Err(failure) = sending.send(fragment, input.acks.is_some()).await {
                break Err(failure);
            }
            if let Some(acks) = &input.acks {
                acks.done(&position);
            }
            if sending.is_unwatched() {
                break Ok(());
            }
        };
        let count = sending.finish(cx).await;
        input.bar.finish_and_clear();
        let saved = save_position(input.acks, cx).await;
        sent?;
        let count = count?;
        saved?;
        if count == 0 && !cx.signals.is_interrupted() {
            return Err(self.source.nothing("fragment"));
        }
        Ok(())
    }
}
