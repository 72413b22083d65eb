//! `kvs record`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use kinesis_video::{Gaps, MkvFileSink, Mp4Sink, RecordedFile, RecordingSink, sink::Format};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::recording::record;
use crate::source::{Selection, Source};
use crate::{time, words};

/// Record one file that players open, live or a stored range, without re-encoding.
///
/// The ending of FILE chooses the format. MP4 holds H.264, H.265, AAC, Opus and G.711. MOV also holds PCM, such as that of
/// Amazon Connect. MKV holds everything. While a file grows it is FILE.part, and plays; when it is complete, it is renamed.
/// Existing files are kept: the next free one of FILE, FILE-2, FILE-3, ... is written. A new file also begins when the codec
/// changes or the time of the producer starts anew.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per file that is complete:
  path, start_time, duration_ms, fragments, bytes, gaps

Examples:
  kvs record front-door --start \"1h ago\" --end now -o front-door.mp4
  kvs record front-door --every 1h --aligned --name \"door-{time}.mp4\" -o recordings/door.mp4
  kvs record front-door --checkpoint door.checkpoint --every 1h -o door.mp4
  kvs record recordings/ -o all.mkv --tags")]
pub(crate) struct Record {
    /// The stream or file to read.
    source: Source,
    /// The file: .mp4, .mov or .mkv.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Begin a new file when the current one is this long, such as "1h".
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    every: Option<Duration>,
    /// Begin new files when the clock says so: with --every 1h, at every full hour in UTC.
    #[arg(long, requires = "every")]
    aligned: bool,
    /// Begin a new file before the current one is larger than this many megabytes.
    #[arg(long, value_name = "MB")]
    max_size: Option<u64>,
    /// The names of the files: text with {time}, {index}, {number}, {producer_ms} or {server_ms}.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// What becomes of time without media.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    gaps: GapsName,
    /// Leave MP4 and MOV fragmented, as they are while they grow.
    #[arg(long)]
    fragmented: bool,
    /// Keep the tags of the producer, in MKV.
    #[arg(long)]
    tags: bool,
    #[command(flatten)]
    selection: Selection,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum GapsName {
    /// Keep real time: the last picture stays.
    #[default]
    Keep,
    /// Leave the time out.
    Close,
}

impl Record {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let extension = self.output.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let is_mkv = extension.as_deref() == Some("mkv");
        if self.tags && !is_mkv {
            return Err(Failure::usage("--tags is for MKV").hint("-o FILE.mkv"));
        }
        if self.fragmented && is_mkv {
            return Err(Failure::usage("--fragmented is for MP4 and MOV, but -o is an MKV file"));
        }
        match extension.as_deref() {
            Some("mkv") => self.record(MkvFileSink::create(&self.output).keep_tags(self.tags), cx).await,
            Some("m4v" | "mov" | "mp4") => {
                self.record(Mp4Sink::create(&self.output).fragmented(self.fragmented), cx).await
            }
            _ => {
                let what = format!("{} has no ending that says how to record it", self.output.display());
                Err(Failure::usage(what).hint(format!("-o {}", self.output.with_extension("mp4").display())))
            }
        }
    }

    async fn record<F: Format>(&self, sink: RecordingSink<F>, cx: &Context) -> Result<()> {
        let mut sink = sink.aligned(self.aligned).gaps(match self.gaps {
            GapsName::Keep => Gaps::Keep,
            GapsName::Close => Gaps::Close,
        });
        if let Some(every) = self.every {
            sink = sink.every(every);
        }
        if let Some(megabytes) = self.max_size {
            sink = sink.max_bytes(megabytes.saturating_mul(1_000_000));
        }
        if let Some(name) = &self.name {
            sink = sink.pattern(name).map_err(|error| Failure::of_argument(&error))?;
        }
        let input = self.selection.open(&self.source, cx).await?;
        let mut shown = 0;
        let shows = |sink: &RecordingSink<F>, shown: &mut usize| {
            let new = sink.files().iter().skip(*shown);
            *shown = sink.files().len();
            new.into_iter().try_for_each(|file| show(file, cx))
        };
        let recorded =
            record(input, &mut sink, &self.source, |_, _| (), |sink, _, ()| shows(sink, &mut shown), cx).await;
        let printed = shows(&sink, &mut shown);
        let summary = kinesis_video::MediaSink::summary(&sink);
        if summary.files() > 0 {
            let gaps = match summary.gaps() {
                0 => String::new(),
                gaps => format!(", {}", words::count(gaps, "gap")),
            };
            let reason = recorded.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let (fragments, files) = (words::count(summary.items(), "fragment"), words::count(summary.files(), "file"));
            cx.screen.note(&format!("{fragments} in {files}: {}{gaps}{reason}", HumanBytes(summary.bytes())));
        }
        recorded.result()?;
        printed?;
        if summary.items() == 0 && !cx.signals.is_interrupted() {
            return Err(self.source.nothing("fragment"));
        }
        Ok(())
    }
}

/// Prints a file that is complete.
fn show(file: &RecordedFile, cx: &Context) -> Result<()> {
    if cx.screen.is_json() {
        return cx.screen.object(&json!({
            "path": file.path().display().to_string(),
            "start_time": file.start().map(|time| time.to_string()),
            "duration_ms": u64::try_from(file.duration().as_millis()).unwrap_or(u64::MAX),
            "fragments": file.fragments(),
            "bytes": file.bytes(),
            "gaps": file.gaps(),
        }));
    }
    let begins = time::local_or_dash(file.start());
    let (duration, bytes) = (time::duration(file.duration()), HumanBytes(file.bytes()));
    cx.screen.line(&format!("{}  {begins}  {duration}  {bytes}", file.path().display()))
}
