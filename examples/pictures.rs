//! Saves pictures of a file as JPEG: `pictures [FILE [DIR]]`. Needs the feature `ffmpeg`.
#![allow(clippy::print_stdout, reason = "a program")]

use std::path::PathBuf;

use kinesis_video::{FragmentStream, FragmentStreamExt, FrameStreamExt, ImageSink, RecordExt, Result};
use tokio::fs::File;

const CAMERA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/camera.mkv");

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let file = arguments.next().unwrap_or_else(|| CAMERA.into());
    let dir = arguments.next().unwrap_or_else(|| "pictures".into());

    // Any stream of fragments has frames: a file's, a live stream's, an archive's.
    let fragments = FragmentStream::new(File::open(file).await?);
    let summary = fragments
        .frames()
        // One picture in ten. The others are decoded only if a selected picture refers to them.
        .sample_ratio(10)
        .scale_within(160, 120)
        .jpeg(80)
        // Decoding runs on threads of its own. The sink writes a file per picture.
        .record(ImageSink::to_dir(&dir))
        .await?;
    println!("{summary}, in {}", dir.display());
    Ok(())
}
