//! `kvs clip`.

use std::path::{Path, PathBuf};

use clap::Args;
use futures::TryStreamExt;
use indicatif::HumanBytes;
use kinesis_video::{Clip as MadeClip, FragmentInfo, StreamId};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::source::{Source, StoredRange};
use crate::{files, time, words};

/// Save a stored range as MP4, made by the service.
///
/// The service takes H.264 or H.265, with AAC or without sound. A clip has at most 200 fragments or 95 MB. A longer
/// range is saved as FILE.mp4, FILE-2.mp4, FILE-3.mp4, ... without a gap between them.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per clip that is on disk:
  path, start_time, end_time, fragments, left_out, bytes

Examples:
  kvs clip front-door --start \"10m ago\" -o door.mp4
  kvs clip front-door --start \"yesterday 14:00\" --end \"yesterday 14:05\" --clock producer -o visit.mp4")]
pub(crate) struct Clip {
    /// The name or ARN of a stream.
    #[arg(value_name = "STREAM")]
    stream: Source,
    #[command(flatten)]
    range: StoredRange,
    /// The file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Clip {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let stream = self.stream.only_stream("`ffmpeg -ss 10 -t 5 -i FILE -c copy clip.mp4` cuts a file")?;
        let range = self.range.range()?;
        let spinner = cx.screen.spinner();
        spinner.set_message("listing fragments");
        let mut clips = cx.aws.kvs().await?.clips(stream).range(range).clock(self.range.clock()).clips();
        let (mut count, mut bytes) = (0, 0);
        let result = loop {
            // A clip that has begun is finished.
            let next = tokio::select! {
                next = clips.try_next() => next,
                () = cx.signals.interrupted() => break Ok(()),
            };
            let clip = match next {
                Ok(Some(clip)) => clip,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error).about(stream.name())),
            };
            match self.save(clip, stream, count + 1, cx).await {
                Ok(saved) => (count, bytes) = (count + 1, bytes + saved),
                Err(failure) => break Err(failure),
            }
            spinner.set_message(format!("waiting for clip {}", count + 1));
        };
        spinner.finish_and_clear();
        if count > 0 {
            cx.screen.note(&format!("{}: {}", words::count(count, "clip"), HumanBytes(bytes)));
        }
        result?;
        if count == 0 && !cx.signals.is_interrupted() {
            return Err(Failure::nothing(format!("no fragment in {} {}", stream.name(), self.range)));
        }
        Ok(())
    }

    async fn save(&self, clip: MadeClip, stream: &StreamId, n: u64, cx: &Context) -> Result<u64> {
        for info in clip.left_out() {
            cx.screen.warn(&left_out(info));
        }
        let path = numbered(&self.output, n);
        let (range, fragments, left_out) = (clip.range(), clip.fragments().len() as u64, clip.left_out().len());
        let bar = cx.screen.bar(clip.listed_bytes());
        bar.set_message(format!("clip {n}"));
        let shown = bar.clone();
        let chunks = clip.inspect_ok(move |chunk| shown.inc(chunk.len() as u64));
        let saved = files::save_chunks(&path, chunks.map_err(|error| Failure::from(error).about(stream.name()))).await;
        bar.finish_and_clear();
        let bytes = saved?;
        if cx.screen.is_json() {
            cx.screen.object(&json!({
                "path": path.display().to_string(),
                "start_time": range.start().to_string(),
                "end_time": range.end().to_string(),
                "fragments": fragments,
                "left_out": left_out,
                "bytes": bytes,
            }))?;
        } else {
            let (start, end) = (time::local(*range.start()), time::local(*range.end()));
            let (fragments, bytes) = (words::count(fragments, "fragment"), HumanBytes(bytes));
            cx.screen.line(&format!("{}  {start}  {end}  {fragments}  {bytes}", path.display()))?;
        }
        Ok(bytes)
    }
}

fn left_out(info: &FragmentInfo) -> String {
    let begins = time::local_or_dash(info.producer_time().or(info.server_time()));
    format!("fragment {} of {begins} is in no clip: the same time was uploaded more than once", info.number())
}

/// Returns FILE.mp4 for the first clip, then FILE-2.mp4 and so on.
fn numbered(file: &Path, n: u64) -> PathBuf {
    if n == 1 { file.to_owned() } else { files::with_suffix(file, &n.to_string()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_numbered_before_the_extension() {
        let names = |n| [numbered(Path::new("a/b.c.mp4"), n), numbered(Path::new("clip"), n)];
        assert_eq!(names(1), [PathBuf::from("a/b.c.mp4"), "clip".into()]);
        assert_eq!(names(12), [PathBuf::from("a/b.c-12.mp4"), "clip-12".into()]);
    }
}
