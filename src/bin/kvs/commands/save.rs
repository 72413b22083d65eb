//! `kvs save`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use futures::{SinkExt, TryStreamExt};
use indicatif::HumanBytes;
use kinesis_video::{Discontinuity, Fragment, MediaSink, MkvSink, PayloadSink};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::source::{Selection, Source, save_position};
use crate::{time, words};

/// Save fragments as MKV files, live or a stored range.
///
/// With a folder, each fragment gets a file that players open, named by its number. With a name that ends in .mkv, all
/// fragments go to that file as the service sends them, for other kvs commands to read. A cut fragment is saved as
/// NAME.cut.mkv.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per fragment that is on disk, with a folder:
  fragment_number, producer_time, server_time, bytes, is_loss
and one at the end:
  output, fragments, bytes, files, gaps

Examples:
  kvs save front-door -o recordings
  kvs save front-door --start \"2h ago\" --end \"1h ago\" -o recordings
  kvs save front-door --until 10m -o front-door.mkv
  kvs save front-door --checkpoint door.checkpoint -o recordings --name \"{producer_ms}-{number}.mkv\"")]
pub(crate) struct Save {
    /// The stream or file to read.
    source: Source,
    /// The folder, or the .mkv file.
    #[arg(short, long, value_name = "DIR|FILE")]
    output: PathBuf,
    /// The names in the folder: text with {number}, {index}, {producer_ms} or {server_ms}.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    #[command(flatten)]
    selection: Selection,
}

impl Save {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let is_file = self.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mkv"));
        if is_file && self.name.is_some() {
            return Err(Failure::usage("--name is for a folder, but -o is a file"));
        }
        if is_file && self.selection.has_checkpoint() {
            let what = "--checkpoint needs a folder, since each run replaces the file of -o";
            return Err(Failure::usage(what).hint("-o DIR"));
        }
        if is_file {
            self.save(PayloadSink::create(&self.output), false, cx).await
        } else {
            let sink = MkvSink::to_dir(&self.output);
            let sink = match &self.name {
                Some(name) => sink.pattern(name).map_err(|error| Failure::usage(error.message().to_owned()))?,
                None => sink,
            };
            self.save(sink, true, cx).await
        }
    }

    async fn save(&self, mut sink: impl MediaSink<Fragment> + Unpin, is_dir: bool, cx: &Context) -> Result<()> {
        let (began, name) = (Instant::now(), self.source.to_string());
        let mut input = self.selection.open(&self.source, cx).await?;
        let result = loop {
            let fragment = match input.items.try_next().await {
                Ok(Some(fragment)) => fragment,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error).about(&name)),
            };
            for discontinuity in fragment.discontinuities().iter().filter(|found| is_worth_telling(found)) {
                let begins = time::local_or_dash(fragment.producer_time().or(fragment.server_time()));
                cx.screen.note(&format!("{name}: {begins}: {}", words::discontinuity(discontinuity)));
            }
            let (info, position) = (object(&fragment), fragment.position());
            let written = async {
                sink.send(fragment).await?;
                sink.flush().await
            };
            if let Err(error) = written.await {
                break Err(error.into());
            }
            // Its file is complete. The one file will be complete when the sink is closed.
            if cx.screen.is_json()
                && is_dir
                && let Err(failure) = cx.screen.object(&info)
            {
                break Err(failure);
            }
            if let Some(acks) = &input.acks {
                acks.done(&position);
            }
        };
        let closed = sink.close().await.map_err(Failure::from);
        input.bar.finish_and_clear();
        let reason = input.end_reason();
        let saved = save_position(input.acks, cx).await;
        let summary = sink.summary();
        let per_second = summary.bytes() as f64 / began.elapsed().as_secs_f64().max(0.001);
        if cx.screen.is_json() {
            cx.screen.object(&json!({
                "output": self.output.display().to_string(),
                "fragments": summary.items(),
                "bytes": summary.bytes(),
                "files": summary.files(),
                "gaps": summary.gaps(),
            }))?;
        }
        if summary.items() > 0 {
            let gaps = match summary.gaps() {
                0 => String::new(),
                gaps => format!(", {}", words::count(gaps, "gap")),
            };
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            cx.screen.note(&format!(
                "{} to {}: {}, {}/s{gaps}{reason}",
                words::count(summary.items(), "fragment"),
                self.output.display(),
                HumanBytes(summary.bytes()),
                HumanBytes(per_second as u64),
            ));
        }
        result?;
        closed?;
        saved?;
        if summary.items() == 0 && !cx.signals.is_interrupted() {
            return Err(self.source.nothing("fragment"));
        }
        Ok(())
    }
}

fn is_worth_telling(found: &Discontinuity) -> bool {
    found.is_loss() || matches!(found, Discontinuity::TimelineReset { .. } | Discontinuity::TracksChanged { .. })
}

fn object(fragment: &Fragment) -> Value {
    json!({
        "fragment_number": fragment.number().map(ToString::to_string),
        "producer_time": fragment.producer_time().map(|time| time.to_string()),
        "server_time": fragment.server_time().map(|time| time.to_string()),
        "bytes": fragment.raw().len(),
        "is_loss": fragment.discontinuities().iter().any(Discontinuity::is_loss),
    })
}
