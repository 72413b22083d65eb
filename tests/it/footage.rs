//! Pictures that FFmpeg encodes, and what it decodes of them.

use std::process::Command;

use bytes::Bytes;
use kinesis_video::Frame;
use sha2::{Digest, Sha256};

/// FFmpeg's moving test picture, as an MKV file whose Clusters begin at key frames.
pub fn footage(source: &str, arguments: &[&str]) -> Bytes {
    let file = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", source])
        .args(arguments)
        .args(["-fflags", "+bitexact", "-f", "matroska"])
        .arg(file.path())
        .status();
    assert!(status.expect("ffmpeg runs: `make test` installs it").success(), "{source} {arguments:?}");
    std::fs::read(file.path()).unwrap().into()
}

/// The hash of each picture that FFmpeg decodes of a file.
pub fn judged_pictures(mkv: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    std::fs::write(file.path(), mkv).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-threads", "1", "-i"])
        .arg(file.path())
        .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "sha256", "-"])
        .output();
    let listed = String::from_utf8(output.expect("ffmpeg runs: `make test` installs it").stdout).unwrap();
    let pictures = listed.lines().filter(|line| !line.starts_with('#'));
    pictures.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// The hash of a picture as FFmpeg makes it: all planes, without what lies between the rows.
pub fn hash(frame: &Frame) -> String {
    let mut hasher = Sha256::new();
    for plane in (0..).map_while(|index| frame.plane(index)) {
        plane.iter().for_each(|row| hasher.update(row));
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
