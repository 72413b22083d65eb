//! `kvs record`.

use std::path::PathBuf;
use std::process::Stdio;

use clap::Args;
use indicatif::HumanBytes;
use kinesis_video::sink::Format;
use kinesis_video::{AudioSink, MediaSink, MkvFileSink, Mp4Sink, PipeSink, RecordingSink};
use tokio::process::Command;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::recording::record;
use crate::recording_options::{self, RecordingOptions};
use crate::shards::{self, ShardOption};
use crate::source::{Selection, Source};
use crate::words;

/// Record one file that players open, live or a stored range, without re-encoding.
///
/// The ending of FILE chooses the format. MP4 holds H.264, H.265, AAC, Opus and G.711. MOV also holds PCM, such as that of
/// Amazon Connect. MKV holds everything. AAC and WAV hold one audio track: AAC, and PCM or G.711. While a file grows it is FILE.part, and plays; when it is complete, it is renamed.
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
  kvs record front-door --start 2026-11-20T00:00:00Z --end 2026-11-21T00:00:00Z --shard env -o door.mp4
  kvs record recordings/ -o all.mkv --tags
  kvs record front-door --until 1h --pipe \"ffmpeg -i - -vf scale=640:-2 small.mp4\"")]
pub(crate) struct Record {
    /// The stream or file to read.
    source: Source,
    /// The file: .mp4, .mov, .mkv, .aac or .wav.
    #[arg(short, long, value_name = "FILE", required_unless_present = "pipe")]
    output: Option<PathBuf>,
    /// Send an MKV file to the standard input of this shell command, instead of writing a file.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["output", "every", "max_size", "name", "fragmented"])]
    pipe: Option<String>,
    /// The names of the files: text with {time}, {index}, {number}, {producer_ms} or {server_ms}.
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    #[command(flatten)]
    options: RecordingOptions,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    part: ShardOption,
}

impl Record {
    pub(crate) async fn run(mut self, cx: &Context) -> Result<()> {
        if let Some(shard) = self.part.shard {
            self.selection = self.selection.of_shard(&self.source, shard)?;
            self.output = self.output.map(|file| shards::path_of(&file, shard));
            self.name = self.name.map(|pattern| shards::name_of(&pattern, shard));
        }
        if let Some(command) = &self.pipe {
            return self.send(command, cx).await;
        }
        let output = self.output.clone().unwrap_or_default();
        let extension = output.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        let extension = extension.as_deref().unwrap_or_default();
        self.options.check(extension)?;
        match extension {
            "mkv" => self.record(MkvFileSink::create(output).keep_tags(self.options.tags), cx).await,
            "m4v" | "mov" | "mp4" => self.record(Mp4Sink::create(output).fragmented(self.options.fragmented), cx).await,
            "aac" | "wav" => self.record(AudioSink::create(output), cx).await,
            _ => {
                let what = format!("{} has no ending that says how to record it", output.display());
                Err(Failure::usage(what).hint(format!("-o {}", output.with_extension("mp4").display())))
            }
        }
    }

    /// Sends everything to a program.
    async fn send(&self, command: &str, cx: &Context) -> Result<()> {
        let input = self.selection.open(&self.source, cx).await?;
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdout(Stdio::inherit());
        // Ctrl-C is for kvs, which then ends the input of the program.
        #[cfg(unix)]
        shell.process_group(0);
        let mut sink = PipeSink::spawn(shell)?.keep_tags(self.options.tags).gaps(self.options.gaps());
        let recorded = record(input, &mut sink, &self.source, |_, _| (), |_, _, ()| Ok(()), cx).await;
        let summary = sink.summary();
        let (fragments, bytes) = (words::count(summary.items(), "fragment"), HumanBytes(summary.bytes()));
        let is_empty = recorded.is_empty;
        recorded.result()?;
        if is_empty && !cx.signals.is_interrupted() {
            return self.selection.nothing(&self.source, "fragment", cx);
        }
        cx.screen.note(&format!("{fragments} sent, {bytes}"));
        Ok(())
    }

    async fn record<F: Format>(&self, sink: RecordingSink<F>, cx: &Context) -> Result<()> {
        let mut sink = self.options.apply(sink);
        if let Some(name) = &self.name {
            sink = sink.pattern(name).map_err(|error| Failure::of_argument(&error))?;
        }
        let input = self.selection.open(&self.source, cx).await?;
        let mut shown = 0;
        let shows = |sink: &RecordingSink<F>, shown: &mut usize| {
            let new = sink.files().iter().skip(*shown);
            *shown = sink.files().len();
            new.into_iter().try_for_each(|file| recording_options::show(file, cx))
        };
        let recorded =
            record(input, &mut sink, &self.source, |_, _| (), |sink, _, ()| shows(sink, &mut shown), cx).await;
        let printed = shows(&sink, &mut shown);
        let summary = sink.summary();
        if summary.files() > 0 {
            let gaps = match summary.gaps() {
                0 => String::new(),
                gaps => format!(", {}", words::count(gaps, "gap")),
            };
            let reason = recorded.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let (fragments, files) = (words::count(summary.items(), "fragment"), words::count(summary.files(), "file"));
            cx.screen.note(&format!("{fragments} in {files}: {}{gaps}{reason}", HumanBytes(summary.bytes())));
        }
        let is_empty = recorded.is_empty;
        recorded.result()?;
        printed?;
        if is_empty && !cx.signals.is_interrupted() {
            return self.selection.nothing(&self.source, "fragment", cx);
        }
        Ok(())
    }
}
