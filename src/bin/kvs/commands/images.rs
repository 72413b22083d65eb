//! `kvs images`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures::{SinkExt, TryStreamExt};
use indicatif::{HumanBytes, ProgressBar};
use kinesis_video::{ArchivedImage, ImageFormat, ImageSink, MediaSink, NoImage, StreamId, Timestamp};
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::source::{Source, StoredRange};
use crate::{time, words};

/// Save pictures of a stored range, made by the service.
///
/// The service takes H.264 and H.265. It makes one picture at --start and one per interval after it. To decode on this
/// machine, which also takes files and other codecs, use `kvs frames`.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per picture that is on disk, and per picture that the service could not make:
  path, image_time, bytes, error
If a picture was made, error is null; if not, path and bytes are null.

Examples:
  kvs images front-door --start \"1h ago\" --every 1m -o pictures
  kvs images front-door --start \"yesterday 14:00\" --end \"yesterday 14:05\" --size 640x360 --png -o pictures")]
pub(crate) struct Images {
    /// The name or ARN of a stream.
    #[arg(value_name = "STREAM")]
    stream: Source,
    #[command(flatten)]
    range: StoredRange,
    /// The folder. It is created if it does not exist.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The time from one picture to the next, from 200ms. Default: 1s.
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    every: Option<Duration>,
    /// The size in pixels, up to 3840x2160, to which pictures are stretched. Default: that of the video.
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<(u32, u32)>,
    /// The quality of JPEG, from 1 to 100. Default: 80.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,
    /// Ask for PNG instead of JPEG.
    #[arg(long, conflicts_with = "quality")]
    png: bool,
    /// The names of the files: text with {time_ms}, {index} or {ext}. Default: "{time_ms}.{ext}".
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
}

const MIN_INTERVAL: Duration = Duration::from_millis(200);
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = time::parse_duration(text)?;
    match interval.subsec_nanos() % 1_000_000 {
        0 if interval >= MIN_INTERVAL => Ok(interval),
        _ => Err("the service makes a picture every 200ms at most, in whole milliseconds".into()),
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once(['x', 'X']);
    let sides = sides.and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    match sides {
        Some((width @ 1..=3840, height @ 1..=2160)) => Ok((width, height)),
        _ => Err(format!("\"{text}\" is not a size up to 3840x2160; write both, such as 640x360")),
    }
}

impl Images {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        let stream = self.stream.only_stream("`kvs frames FILE -o DIR` decodes pictures of a file")?;
        let range = self.range.range()?;
        let interval = self.every.unwrap_or(DEFAULT_INTERVAL);
        let mut images =
            cx.aws.kvs().await?.images(stream).range(range).clock(self.range.clock()).sample_every(interval);
        if let Some((width, height)) = self.size {
            images = images.size(width, height);
        }
        if let Some(quality) = self.quality {
            images = images.quality(quality);
        }
        if self.png {
            images = images.format(ImageFormat::Png);
        }
        let sink = ImageSink::to_dir(&self.output);
        let sink = match &self.name {
            Some(name) => sink.pattern(name).map_err(|error| Failure::of_argument(&error))?,
            None => sink,
        };
        let wanted = self.range.nanos() / (interval.as_nanos() as i64).max(1) + 1;
        let mut saver = Saver { cx, sink, saved: 0, missing: Missing::default(), bar: cx.screen.spinner(), wanted };
        let mut images = images.images();
        let result = loop {
            saver.show();
            let next = tokio::select! {
                next = images.try_next() => next,
                () = cx.signals.interrupted() => break Ok(()),
            };
            let saved = match next {
                Ok(Some(image)) => saver.save(image).await,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error).about(stream.name())),
            };
            if let Err(failure) = saved {
                break Err(failure);
            }
        };
        saver.bar.finish_and_clear();
        saver.missing.warn(cx);
        let (pictures, bytes) = (words::count(saver.saved, "picture"), HumanBytes(saver.bytes()));
        let missing = match saver.missing.count {
            0 => String::new(),
            n => format!(", {n} could not be made"),
        };
        if saver.saved > 0 {
            cx.screen.note(&format!("{pictures} to {}: {bytes}{missing}", self.output.display()));
        }
        result?;
        if saver.saved == 0 && !cx.signals.is_interrupted() {
            return Err(self.failure(stream, &saver.missing));
        }
        Ok(())
    }

    fn failure(&self, stream: &StreamId, missing: &Missing) -> Failure {
        let failure = Failure::nothing(format!("no picture of {} {}", stream.name(), self.range));
        match missing.last {
            Some(NoImage::NoMedia) => {
                failure.hint(format!("`kvs list {} --start TIME` lists what is stored", stream.name()))
            }
            _ => failure,
        }
    }
}

struct Saver<'a> {
    cx: &'a Context,
    sink: ImageSink,
    saved: u64,
    missing: Missing,
    bar: ProgressBar,
    /// The number of pictures of the range.
    wanted: i64,
}

impl Saver<'_> {
    async fn save(&mut self, image: ArchivedImage) -> Result<()> {
        let (path, image_time) = (self.sink.path_of_archived(&image), image.time());
        let bytes = match image.content() {
            Ok(bytes) => bytes.len(),
            Err(reason) => {
                self.missing.add(image_time, reason, self.cx);
                return match self.cx.screen.is_json() {
                    true => self.cx.screen.object(&object(None, image_time, None, Some(reason))),
                    false => Ok(()),
                };
            }
        };
        self.missing.warn(self.cx);
        self.sink.send(image).await?;
        SinkExt::<ArchivedImage>::flush(&mut self.sink).await?;
        self.saved += 1;
        let path = path.display().to_string();
        match self.cx.screen.is_json() {
            true => self.cx.screen.object(&object(Some(path), image_time, Some(bytes), None)),
            false => self.cx.screen.line(&format!("{path}  {}  {}", time::local(image_time), HumanBytes(bytes as u64))),
        }
    }

    fn show(&self) {
        self.bar.set_message(format!("{} of {} pictures", self.saved + self.missing.count, self.wanted));
    }

    fn bytes(&self) -> u64 {
        MediaSink::<ArchivedImage>::summary(&self.sink).bytes()
    }
}

fn object(path: Option<String>, image_time: Timestamp, bytes: Option<usize>, error: Option<&NoImage>) -> Value {
    json!({
        "path": path,
        "image_time": image_time.to_string(),
        "bytes": bytes,
        "error": error.map(ToString::to_string),
    })
}

/// The pictures that the service could not make. Those in a row get one warning.
#[derive(Default)]
struct Missing {
    count: u64,
    last: Option<NoImage>,
    row: Option<Row>,
}

struct Row {
    reason: NoImage,
    start: Timestamp,
    end: Timestamp,
    count: u64,
}

impl Missing {
    fn add(&mut self, time: Timestamp, reason: &NoImage, cx: &Context) {
        self.count += 1;
        self.last = Some(reason.clone());
        match &mut self.row {
            Some(row) if row.reason == *reason => (row.end, row.count) = (time, row.count + 1),
            _ => {
                self.warn(cx);
                self.row = Some(Row { reason: reason.clone(), start: time, end: time, count: 1 });
            }
        }
    }

    /// Warns about the row, which has ended.
    fn warn(&mut self, cx: &Context) {
        let Some(Row { reason, start, end, count }) = self.row.take() else { return };
        let start = time::local(start);
        cx.screen.warn(&match count {
            1 => format!("no picture for {start}: {reason}"),
            _ => format!("no picture from {start} to {}, {count} times: {reason}", time::local(end)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_intervals_are_those_of_the_service() {
        assert_eq!(size("640x360"), Ok((640, 360)));
        for text in ["640", "640x", "0x4", "4000x10", ""] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(interval("0.2"), Ok(MIN_INTERVAL));
        assert!(interval("100ms").is_err() && interval("1000.5ms").is_err());
    }
}
