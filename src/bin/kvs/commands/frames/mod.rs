//! `kvs frames`.

#[cfg(feature = "ffmpeg")]
mod run;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};
use kinesis_video::ImageFormat;

use crate::shards::ShardOption;
use crate::source::{Selection, Source};
use crate::{picture_options, time};

/// Save pictures of a SOURCE.
///
/// Without --ratio, --every and --keyframes, every picture is saved. Pictures that cannot be decoded are left out, with
/// a warning per fragment. This needs the feature "ffmpeg".
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per picture that is on disk:
  path, fragment_number, fragment_index, picture_index, producer_time, timecode_ns, width, height, key, bytes
and with --sheet one at the end:
  sheet, tiles, pictures, width, height, bytes

Examples:
  kvs frames front-door -o pictures --every 10s
  kvs frames recording.mkv -o pictures --keyframes --size 640x360 --png
  kvs frames front-door --start \"1h ago\" --end now --every 1m --sheet last-hour.jpg
  kvs frames front-door -o pictures --ratio 30 --name \"door-{time_ms}.{ext}\"")]
#[cfg_attr(not(feature = "ffmpeg"), command(about = "Save pictures of a SOURCE (this build lacks the feature ffmpeg)"))]
#[command(group(ArgGroup::new("outputs").args(["output", "sheet"]).required(true).multiple(true)))]
pub(crate) struct Frames {
    /// The stream or file to read.
    source: Source,
    /// The folder for the pictures. It is created if it does not exist.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Also write a contact sheet: up to 60 pictures, evenly chosen, with their times. FILE ends in .jpg or .png.
    #[arg(long, value_name = "FILE", value_parser = picture_options::file)]
    sheet: Option<(PathBuf, ImageFormat)>,
    /// Pictures 0, N, 2N, ... of each fragment.
    #[arg(long, value_name = "N", group = "sampling", value_parser = clap::value_parser!(u32).range(1..))]
    ratio: Option<u32>,
    /// The first picture of every interval, such as "10s" or "1m".
    #[arg(long, value_name = "DURATION", group = "sampling", value_parser = interval)]
    every: Option<Duration>,
    /// Only key frames.
    #[arg(long, group = "sampling")]
    keyframes: bool,
    /// Scale larger pictures down to fit: 640x360, or 640 for a width alone.
    #[arg(long, value_name = "WxH", value_parser = picture_options::size, requires = "output")]
    size: Option<(u32, u32)>,
    /// The quality of JPEG, from 1 to 100. Default: 80.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100), requires = "output")]
    quality: Option<u8>,
    /// Write PNG instead of JPEG.
    #[arg(long, conflicts_with = "quality", requires = "output")]
    png: bool,
    /// The names of the files. Placeholders: {fragment}, {i}, {picture}, {index}, {time_ms}, {ext}.
    ///
    /// {fragment} is the fragment's number, {i} counts the saved pictures of the fragment, {picture} is the index among
    /// all of them, {index} counts all saved pictures, {time_ms} is the producer's time in milliseconds since 1970.
    /// Default: "{fragment}-{i}.{ext}".
    #[arg(long, value_name = "PATTERN", requires = "output")]
    name: Option<String>,
    /// The number of fragments to decode at once. Default: the number of processors, at most 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    concurrency: Option<u32>,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    part: ShardOption,
}

#[cfg(not(feature = "ffmpeg"))]
impl Frames {
    pub(crate) async fn run(self, _: &crate::context::Context) -> crate::failure::Result<()> {
        let what = "this kvs was built without the feature \"ffmpeg\", which decodes pictures";
        Err(crate::failure::Failure::usage(what).hint("cargo install kinesis-video --features cli,ffmpeg"))
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    match time::parse_duration(text)? {
        Duration::ZERO => Err("an interval is longer than zero".into()),
        interval => Ok(interval),
    }
}
