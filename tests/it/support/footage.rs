//! Video that FFmpeg encodes, and the pictures that it decodes.

use std::process::Command;

use bytes::Bytes;
use futures::TryStreamExt;
use kinesis_video::local::{Document, Shape};
use kinesis_video::{Fragment, FragmentStream, Frame, Packet};
use sha2::{Digest, Sha256};

/// Encodes one of FFmpeg's test sources as an MKV file.
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

/// Reads a plain file as one fragment.
pub async fn fragment(file: &Bytes) -> Fragment {
    let fragments: Vec<_> = FragmentStream::new(&file[..]).try_collect().await.unwrap();
    let [fragment] = &fragments[..] else { panic!("{} fragments", fragments.len()) };
    fragment.clone()
}

/// A stream of fragments that is always ready.
pub type Source = futures::stream::Iter<std::vec::IntoIter<kinesis_video::Result<Fragment>>>;

pub fn source(fragments: &[Fragment]) -> Source {
    futures::stream::iter(fragments.iter().cloned().map(Ok).collect::<Vec<_>>())
}

/// A fragment of 64 by 48 pixels: 1 s of red, then 1 s of green.
pub async fn red_and_green() -> Document {
    let source = "color=red:size=64x48:rate=10:duration=1[r];color=lime:size=64x48:rate=10:duration=1[g];[r][g]concat";
    let file = fragment(&footage(source, &["-c:v", "libx264", "-pix_fmt", "yuv420p"])).await;
    document(&file, &packets(&file))
}

/// The packets of a file's first track.
pub fn packets(file: &Fragment) -> Vec<Packet> {
    file.packets().filter(|packet| packet.track_number() == 1).collect()
}

/// A document with a file's track and these packets of it.
pub fn document(file: &Fragment, packets: &[Packet]) -> Document {
    let track = file.track(1).unwrap();
    let private = track.codec_private().map(|private| &private[..]).unwrap_or_default();
    let (width, height) = (track.width().unwrap(), track.height().unwrap());
    let empty = Document::new(Shape::Ffmpeg).codec_private(private);
    blocks(empty.picture_track(1, track.codec_id(), width, height), packets)
}

/// A document with these packets in it.
pub fn blocks(document: Document, packets: &[Packet]) -> Document {
    let millis = |packet: &Packet| packet.timecode_ns() / 1_000_000;
    let start = packets.first().map_or(0, millis);
    packets.iter().fold(document.cluster_time(start as u64), |document, packet| {
        let relative = i16::try_from(millis(packet) - start).unwrap();
        document.block(1, relative, packet.is_key(), packet.payload())
    })
}

/// Cuts a file into documents before each key frame.
pub fn groups(file: &Fragment) -> Vec<Document> {
    let packets = packets(file);
    let mut starts: Vec<usize> = (0..packets.len()).filter(|&at| packets[at].is_key()).collect();
    starts.push(packets.len());
    starts.windows(2).map(|ends| document(file, &packets[ends[0]..ends[1]])).collect()
}

/// The hash of each picture that FFmpeg decodes of a file.
pub fn judged_pictures(media: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), media).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-threads", "1", "-i"])
        .arg(file.path())
        .args(["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "sha256", "-"])
        .output();
    let listed = String::from_utf8(output.expect("ffmpeg runs: `make test` installs it").stdout).unwrap();
    let pictures = listed.lines().filter(|line| !line.starts_with('#'));
    pictures.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

/// The hash of a picture as FFmpeg computes it: all planes, without the padding of rows.
pub fn hash(frame: &Frame) -> String {
    let mut hasher = Sha256::new();
    for plane in (0..).map_while(|index| frame.plane(index)) {
        plane.iter().for_each(|row| hasher.update(row));
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
