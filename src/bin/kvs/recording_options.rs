//! Options of the commands that record files that players open.

use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use kinesis_video::sink::Format;
use kinesis_video::{Gaps, RecordedFile, RecordingSink};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::time;

/// The options that say when a file begins, and what is in it.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecordingOptions {
    /// Begin a new file when the current one is this long, such as "1h".
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    every: Option<Duration>,
    /// Begin new files when the clock says so: with --every 1h, at every full hour in UTC.
    #[arg(long, requires = "every")]
    aligned: bool,
    /// Begin a new file before the current one is larger than this many megabytes.
    #[arg(long, value_name = "MB")]
    max_size: Option<u64>,
    /// Keep or close the time without media.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    gaps: GapsName,
    /// Leave MP4 and MOV fragmented, as they are while they grow.
    #[arg(long)]
    pub(crate) fragmented: bool,
    /// Keep the tags of the producer, in MKV.
    #[arg(long)]
    pub(crate) tags: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum GapsName {
    /// Keep real time: the last picture stays.
    #[default]
    Keep,
    /// Leave the time out.
    Close,
}

impl RecordingOptions {
    /// Refuses what a file with this extension cannot have.
    pub(crate) fn check(&self, extension: &str) -> Result<()> {
        if self.tags && extension != "mkv" {
            return Err(Failure::usage("--tags is for MKV").hint("-o FILE.mkv"));
        }
        if self.fragmented && !matches!(extension, "m4v" | "mov" | "mp4") {
            return Err(Failure::usage("--fragmented is for MP4 and MOV").hint("-o FILE.mp4"));
        }
        Ok(())
    }

    pub(crate) fn gaps(&self) -> Gaps {
        match self.gaps {
            GapsName::Keep => Gaps::Keep,
            GapsName::Close => Gaps::Close,
        }
    }

    /// Sets what all formats have in common.
    pub(crate) fn apply<F: Format>(&self, sink: RecordingSink<F>) -> RecordingSink<F> {
        let mut sink = sink.aligned(self.aligned).gaps(self.gaps());
        if let Some(every) = self.every {
            sink = sink.every(every);
        }
        if let Some(megabytes) = self.max_size {
            sink = sink.max_bytes(megabytes.saturating_mul(1_000_000));
        }
        sink
    }
}

/// Prints a file that is complete.
pub(crate) fn show(file: &RecordedFile, cx: &Context) -> Result<()> {
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
