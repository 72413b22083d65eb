//! `kvs frames`.

#[cfg(feature = "ffmpeg")]
mod run;

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use kinesis_video::ImageFormat;

use crate::picture_options::{self, PictureOptions};
use crate::shards::ShardOption;
use crate::source::{Selection, Source};

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
    /// The names of the files. Placeholders: {fragment}, {i}, {picture}, {index}, {time_ms}, {ext}.
    ///
    /// {fragment} is the fragment's number, {i} counts the saved pictures of the fragment, {picture} is the index among
    /// all of them, {index} counts all saved pictures, {time_ms} is the producer's time in milliseconds since 1970.
    /// Default: "{fragment}-{i}.{ext}".
    #[arg(long, value_name = "PATTERN", requires = "output")]
    name: Option<String>,
    #[command(flatten)]
    options: PictureOptions,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    part: ShardOption,
}

#[cfg(not(feature = "ffmpeg"))]
impl Frames {
    pub(crate) async fn run(self, _: &crate::context::Context) -> crate::failure::Result<()> {
        Err(picture_options::needs_ffmpeg())
    }
}
