//! FFmpeg and ffprobe as independent judges.

use std::process::Command;

use kinesis_video::Fragment;
use sha2::{Digest, Sha256};

/// A packet: track, milliseconds, length and hash.
pub type Judged = (u64, i64, usize, String);

fn ffprobe(mkv: &[u8], arguments: &[&str]) -> (String, String) {
    let file = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    std::fs::write(file.path(), mkv).unwrap();
    let output = Command::new("ffprobe").args(["-v", "warning"]).args(arguments).arg(file.path()).output();
    let output = output.expect("ffprobe runs: `make test` installs it");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The warnings of ffprobe.
pub fn ffprobe_warnings(mkv: &[u8]) -> String {
    ffprobe(mkv, &["-show_entries", "packet=size"]).1
}

/// The packets that ffprobe finds.
pub fn ffprobe_packets(mkv: &[u8]) -> Vec<Judged> {
    let entries =
        ["-show_data_hash", "sha256", "-show_entries", "packet=stream_index,pts_time,size,data_hash", "-of", "json"];
    let json: serde_json::Value = serde_json::from_str(&ffprobe(mkv, &entries).0).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    json["packets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|packet| {
            let seconds: f64 = text(&packet["pts_time"]).parse().unwrap();
            let hash = text(&packet["data_hash"]).trim_start_matches("SHA256:").to_lowercase();
            let track = packet["stream_index"].as_u64().unwrap() + 1;
            (track, (seconds * 1000.0).round() as i64, text(&packet["size"]).parse().unwrap(), hash)
        })
        .collect()
}

/// The packets that this crate finds.
pub fn our_packets(fragment: &Fragment) -> Vec<Judged> {
    fragment
        .packets()
        .map(|packet| {
            let hash = Sha256::digest(packet.payload()).iter().map(|byte| format!("{byte:02x}")).collect();
            (packet.track_number(), packet.timecode_ns() / 1_000_000, packet.payload().len(), hash)
        })
        .collect()
}

/// The text that FFmpeg prints for a file of this kind.
pub fn ffmpeg(media: &[u8], kind: &str, arguments: &[&str]) -> String {
    let file = tempfile::NamedTempFile::with_suffix(format!(".{kind}")).unwrap();
    std::fs::write(file.path(), media).unwrap();
    let path = file.path().to_str().unwrap();
    String::from_utf8(ffmpeg_bytes(&["-i", path], arguments)).unwrap()
}

/// The bytes that FFmpeg prints for an input.
pub fn ffmpeg_bytes(input: &[&str], arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("ffmpeg").args(["-v", "error"]).args(input).args(arguments).arg("-").output();
    output.expect("ffmpeg runs: `make test` installs it").stdout
}
