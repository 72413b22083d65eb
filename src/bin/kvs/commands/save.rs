//! `kvs save`.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use futures::TryStreamExt;
use indicatif::HumanBytes;
use kinesis_video::{Fragment, MediaSink, MkvSink, PayloadSink};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::recording::record;
use crate::saved_file::{object, text};
use crate::shards::{self, ShardOption};
use crate::source::{Selection, Source, save_position};
use crate::words;

/// Endings of names that are meant for files of another kind.
const OTHER_FORMATS: [&str; 8] = ["avi", "m4v", "mov", "mp4", "ts", "wav", "webm", "mpg"];

/// Save fragments as MKV files, live or a stored range.
///
/// With a folder, each fragment gets a file that players open, named by its number. With a name that ends in .mkv, all
/// fragments go to that file as the service sends them, for other kvs commands to read. A cut fragment is saved as
/// NAME.cut.mkv. With -, they go to standard output.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per fragment that is on disk, with a folder:
  path, fragment_number, producer_time, server_time, bytes, is_loss
and one at the end:
  output, fragments, bytes, files, gaps

Examples:
  kvs save front-door -o recordings
  kvs save front-door --start \"2h ago\" --end \"1h ago\" -o recordings
  kvs save front-door --until 10m -o front-door.mkv
  kvs save front-door --start 2026-11-20T00:00:00Z --end 2026-11-21T00:00:00Z --shard 0/8 -o recordings
  kvs save front-door --checkpoint door.checkpoint -o recordings --name \"{producer_ms}-{number}.mkv\"")]
pub(crate) struct Save {
    /// The stream or file to read.
    source: Source,
    /// The folder, the .mkv file, or - for standard output.
    #[arg(short, long, value_name = "DIR|FILE")]
    output: PathBuf,
    /// The names in the folder: text with {number}, {index}, {producer_ms} or {server_ms}.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    part: ShardOption,
}

impl Save {
    pub(crate) async fn run(mut self, cx: &Context) -> Result<()> {
        let is_file = self.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mkv"));
        if let Some(extension) = self.output.extension().and_then(OsStr::to_str)
            && OTHER_FORMATS.contains(&&extension.to_ascii_lowercase()[..])
            && !self.output.is_dir()
        {
            let what = format!("kvs save writes MKV, not {extension}");
            let hint = match extension {
                "m4v" | "mov" | "mp4" => {
                    format!("kvs record {} -o {}", self.source.as_argument(), self.output.display())
                }
                _ => format!("-o {}, or -o DIR", self.output.with_extension("mkv").display()),
            };
            return Err(Failure::usage(what).hint(hint));
        }
        if is_file && self.name.is_some() {
            return Err(Failure::usage("--name is for a folder, but -o is a file"));
        }
        if is_file && self.selection.has_checkpoint() {
            let what = "--checkpoint needs a folder, since each run replaces the file of -o";
            return Err(Failure::usage(what).hint("-o DIR"));
        }
        if let Some(shard) = self.part.shard {
            shards::check_names(self.name.as_deref(), "{number}", "{number}.mkv")?;
            self.selection = self.selection.of_shard(&self.source, shard)?;
            if is_file {
                self.output = shards::path_of(&self.output, shard);
            }
        }
        if self.output.as_os_str() == "-" {
            return self.print(cx).await;
        }
        if is_file {
            self.save(PayloadSink::create(&self.output), |_, _| None, cx).await
        } else {
            let sink = MkvSink::to_dir(&self.output);
            let sink = match &self.name {
                // Without the ending, players do not take them for media.
                Some(name) if !name.ends_with(".mkv") => {
                    let what = "the pattern of --name does not end in .mkv";
                    return Err(Failure::usage(what).hint(format!("--name \"{name}.mkv\"")));
                }
                Some(name) => sink.pattern(name).map_err(|error| Failure::of_argument(&error))?,
                None => sink,
            };
            self.save(sink, |sink, fragment| Some(sink.path_of(fragment)), cx).await
        }
    }

    /// Writes the fragments to standard output.
    async fn print(&self, cx: &Context) -> Result<()> {
        if cx.screen.is_json() || self.name.is_some() {
            return Err(Failure::usage("-o - leaves no room for --json and --name"));
        }
        let name = self.source.to_string();
        let mut input = self.selection.open(&self.source, cx).await?;
        let (mut fragments, mut bytes) = (0, 0);
        let result = loop {
            match input.items.try_next().await {
                Ok(Some(fragment)) => {
                    let document = fragment.to_mkv();
                    if let Err(failure) = cx.screen.raw(&document) {
                        break Err(failure);
                    }
                    (fragments, bytes) = (fragments + 1, bytes + document.len() as u64);
                    if let Some(acks) = &input.acks {
                        acks.done(&fragment.position());
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error).about(&name)),
            }
        };
        input.bar.finish_and_clear();
        let saved = save_position(input.acks, cx).await;
        result?;
        saved?;
        if fragments == 0 && !cx.signals.is_interrupted() {
            return self.selection.nothing(&self.source, "fragment", cx);
        }
        cx.screen.note(&format!("{}, {}", words::count(fragments, "fragment"), HumanBytes(bytes)));
        Ok(())
    }

    /// Records to a sink. `path_of` returns the file of a fragment, if it has one of its own.
    async fn save<S: MediaSink<Fragment> + Unpin>(
        &self,
        mut sink: S,
        path_of: impl Fn(&S, &Fragment) -> Option<PathBuf>,
        cx: &Context,
    ) -> Result<()> {
        let began = Instant::now();
        let input = self.selection.open(&self.source, cx).await?;
        let shows = |_: &S, fragment: &Fragment, path: Option<PathBuf>| {
            // Its file is complete. The one file will be complete when the sink is closed.
            let Some(path) = path else { return Ok(()) };
            match cx.screen.is_json() {
                true => cx.screen.object(&object(&path, fragment)),
                false => cx.screen.line(&text(&path, fragment)),
            }
        };
        let recorded = record(input, &mut sink, &self.source, path_of, shows, cx).await;
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
        if summary.items() > 0 && recorded.closed.is_ok() {
            let gaps = match summary.gaps() {
                0 => String::new(),
                gaps => format!(", {}", words::count(gaps, "gap")),
            };
            let reason = recorded.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            cx.screen.note(&format!(
                "{} to {}: {}, {}/s{gaps}{reason}",
                words::count(summary.items(), "fragment"),
                self.output.display(),
                HumanBytes(summary.bytes()),
                HumanBytes(per_second as u64),
            ));
        }
        recorded.result()?;
        if summary.items() == 0 && !cx.signals.is_interrupted() {
            return self.selection.nothing(&self.source, "fragment", cx);
        }
        Ok(())
    }
}
