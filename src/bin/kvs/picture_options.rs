//! Options of the commands that save pictures.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use kinesis_video::ImageFormat;

use crate::time;

/// The options that choose pictures, and say how they are encoded.
#[derive(Args, Clone, Debug)]
pub(crate) struct PictureOptions {
    /// Pictures 0, N, 2N, ... of each fragment.
    #[arg(long, value_name = "N", group = "sampling", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ratio: Option<u32>,
    /// The first picture of every interval, such as "10s" or "1m".
    #[arg(long, value_name = "DURATION", group = "sampling", value_parser = interval)]
    pub(crate) every: Option<Duration>,
    /// Only key frames.
    #[arg(long, group = "sampling")]
    pub(crate) keyframes: bool,
    /// Scale larger pictures down to fit: 640x360, or 640 for a width alone.
    #[arg(long, value_name = "WxH", value_parser = size)]
    pub(crate) size: Option<(u32, u32)>,
    /// The quality of JPEG, from 1 to 100. Default: 80.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) quality: Option<u8>,
    /// Write PNG instead of JPEG.
    #[arg(long, conflicts_with = "quality")]
    pub(crate) png: bool,
    /// The number of fragments to decode at once. Default: the number of processors, at most 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) concurrency: Option<u32>,
}

fn interval(text: &str) -> Result<Duration, String> {
    match time::parse_duration(text)? {
        Duration::ZERO => Err("an interval is longer than zero".into()),
        interval => Ok(interval),
    }
}

/// The failure of a command that decodes pictures, in a build that cannot.
#[cfg(not(feature = "ffmpeg"))]
pub(crate) fn needs_ffmpeg() -> crate::failure::Failure {
    let what = "this kvs was built without the feature \"ffmpeg\", which decodes pictures";
    crate::failure::Failure::usage(what).hint("cargo install kinesis-video --features cli,ffmpeg")
}

/// Parses the path of a picture. Its extension is the format.
pub(crate) fn file(text: &str) -> Result<(PathBuf, ImageFormat), String> {
    let path = PathBuf::from(text);
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    let format = match &extension[..] {
        "jpg" | "jpeg" => ImageFormat::Jpeg,
        "png" => ImageFormat::Png,
        _ => return Err("the name of the file must end in .jpg, .jpeg or .png".into()),
    };
    match path.file_stem() {
        Some(stem) if Path::new(stem) != Path::new("") => Ok((path, format)),
        _ => Err(format!("\"{text}\" is not the name of a file")),
    }
}

/// Parses the largest width and height: "640x360", "640x", "x360" or "640".
pub(crate) fn size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = text.split_once(['x', 'X']).unwrap_or((text, ""));
    let side = |side: &str| match side {
        "" => Some(u32::MAX),
        _ => side.parse().ok().filter(|&pixels| pixels > 0),
    };
    match (side(width), side(height)) {
        (Some(width), Some(height)) if width.min(height) < u32::MAX => Ok((width, height)),
        _ => Err(format!("\"{text}\" is not a size; write 640x360, or 640 for a width alone")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_files_are_read() {
        assert_eq!(size("640x360"), Ok((640, 360)));
        assert_eq!(
            [size("320"), size("320x"), size("x240")],
            [Ok((320, u32::MAX)), Ok((320, u32::MAX)), Ok((u32::MAX, 240))]
        );
        for text in ["", "x", "0x5", "axb", "1x2x3", "-4"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(file("a/b.JPEG"), Ok(("a/b.JPEG".into(), ImageFormat::Jpeg)));
        assert_eq!(file("b.png"), Ok(("b.png".into(), ImageFormat::Png)));
        for text in ["", "sheet", ".png", "sheet.gif"] {
            assert!(file(text).is_err(), "{text}");
        }
    }
}
