//! Judges of recorded files: ffprobe, FFmpeg, mkvmerge and pymp4. Each returns what is wrong.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Output};

use kinesis_video::TrackKind;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::corpus::{Film, SourcePacket, SourceTrack};

/// What a judge returns. The text says what is wrong.
pub type Verdict<T = ()> = Result<T, String>;

/// The largest difference between a time in the file and in the source, in milliseconds.
///
/// A source's times are whole milliseconds, and so are those of Matroska; the rest is what printing rounds.
const TOLERANCE: f64 = 1.01;

/// A packet that ffprobe finds in a file.
#[derive(Clone, Debug)]
pub struct Probed {
    pub pts: f64,
    pub dts: Option<f64>,
    pub size: usize,
    pub hash: String,
}

/// What ffprobe finds in a file: for each stream, its kind and its packets.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    pub kinds: Vec<String>,
    pub packets: Vec<Vec<Probed>>,
}

pub fn run(program: &str, arguments: &[&str], path: &Path) -> Output {
    let output = Command::new(program).args(arguments).arg(path).output();
    output.unwrap_or_else(|error| panic!("{program} does not run: {error}: `make test` installs it"))
}

/// Reads a file with ffprobe, which must not warn.
pub fn probe(path: &Path) -> Verdict<Probe> {
    let entries = "stream=index,codec_type:packet=stream_index,pts_time,dts_time,size,data_hash";
    let arguments = ["-v", "warning", "-show_data_hash", "sha256", "-show_packets", "-show_streams"];
    let output = run("ffprobe", &[&arguments[..], &["-show_entries", entries, "-of", "json"]].concat(), path);
    let told = String::from_utf8_lossy(&output.stderr);
    if !told.is_empty() || !output.status.success() {
        return Err(format!("ffprobe warns: {told}"));
    }
    let json: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let streams = json["streams"].as_array().ok_or("ffprobe finds no streams")?;
    let mut probe = Probe {
        kinds: streams.iter().map(|stream| text(&stream["codec_type"])).collect(),
        packets: streams.iter().map(|_| Vec::new()).collect(),
    };
    for packet in json["packets"].as_array().ok_or("ffprobe finds no packets")? {
        let seconds = |name: &str| text(&packet[name]).parse::<f64>().ok();
        let stream = packet["stream_index"].as_u64().unwrap() as usize;
        probe.packets[stream].push(Probed {
            pts: seconds("pts_time").ok_or_else(|| format!("a packet has no time: {packet}"))?,
            dts: seconds("dts_time"),
            size: text(&packet["size"]).parse().unwrap(),
            hash: text(&packet["data_hash"]).trim_start_matches("SHA256:").to_lowercase(),
        });
    }
    Ok(probe)
}

/// Judges the packets of all files of a recording against the source: payloads, their order, and their times.
pub fn judge_packets(film: &Film, files: &[&Path]) -> Verdict {
    let probes: Vec<Probe> = files.iter().map(|path| probe(path)).collect::<Verdict<_>>()?;
    let mut consumed = vec![0; film.tracks.len()];
    for (probe, path) in probes.iter().zip(files) {
        let name = path.file_name().unwrap_or_default().display();
        let kinds: Vec<&str> = film.tracks.iter().map(|track| track.kind.name()).collect();
        if probe.kinds != kinds {
            return Err(format!("{name} has the streams {:?} and not {kinds:?}", probe.kinds));
        }
        let mut starts = Vec::new();
        let mut taken = Vec::new();
        for (index, track) in film.tracks.iter().enumerate() {
            let count = match track.sample_size {
                Some(_) => blocks_in(&track.packets[consumed[index]..], &payload_of(path, index)?)
                    .map_err(|why| format!("{name}, track {}: {why}", index + 1))?,
                None => probe.packets[index].len().min(track.packets.len() - consumed[index]),
            };
            let of_file = &track.packets[consumed[index]..consumed[index] + count];
            consumed[index] += count;
            starts.push(of_file.iter().map(|packet| packet.millis).fold(f64::INFINITY, f64::min));
            taken.push(of_file);
        }
        let start = starts.iter().copied().fold(f64::INFINITY, f64::min);
        let file_start = probe.packets.iter().flatten().map(|packet| packet.pts).fold(f64::INFINITY, f64::min);
        for (index, (track, source)) in film.tracks.iter().zip(&taken).enumerate() {
            let packets = &probe.packets[index];
            judge_track(track, source, start, packets, file_start)
                .map_err(|why| format!("{name}, track {}: {why}", index + 1))?;
        }
    }
    for (index, (track, consumed)) in film.tracks.iter().zip(&consumed).enumerate() {
        if track.packets.len() != *consumed {
            return Err(format!("track {} has {consumed} of {} packets", index + 1, track.packets.len()));
        }
    }
    Ok(())
}

/// Judges the packets of a track of one file. Times are relative to the starts of source and file.
pub fn judge_track(
    track: &SourceTrack,
    source: &[SourcePacket],
    start: f64,
    packets: &[Probed],
    file_start: f64,
) -> Verdict {
    judge_dts(packets)?;
    let relative = |packet: &Probed| (packet.pts - file_start) * 1000.0;
    if let Some(size) = track.sample_size {
        // FFmpeg cuts such audio as it likes, so the time of a block is where its first byte is.
        let mut at = 0;
        let mut ends = packets.iter().map(|packet| {
            at += packet.size;
            (at, packet)
        });
        let mut current = ends.next();
        let mut offset = 0;
        for (index, block) in source.iter().enumerate() {
            while current.is_some_and(|(end, _)| end <= offset) {
                current = ends.next();
            }
            let (end, packet) = current.ok_or_else(|| format!("there is no audio for block {index}"))?;
            let into = (offset - (end - packet.size)) / size;
            let time = relative(packet) + into as f64 * 1000.0 / track.sample_rate;
            judge_time(index, time, block.millis - start)?;
            offset += block.payload.len();
        }
        return Ok(());
    }
    if packets.len() != source.len() {
        return Err(format!("it has {} packets of {}", packets.len(), source.len()));
    }
    for (index, (packet, source)) in packets.iter().zip(source).enumerate() {
        if packet.hash != source.hash {
            return Err(format!("packet {index} has other bytes: {} of {}", packet.size, source.payload.len()));
        }
        judge_time(index, relative(packet), source.millis - start)?;
    }
    Ok(())
}

fn judge_time(index: usize, got: f64, wanted: f64) -> Verdict {
    if (got - wanted).abs() > TOLERANCE {
        return Err(format!("packet {index} is at {got:.3} ms and not at {wanted:.3} ms"));
    }
    Ok(())
}

/// Judges that decoding times rise, where ffprobe knows them, and are not after the presentation.
pub fn judge_dts(packets: &[Probed]) -> Verdict {
    let known: Vec<(f64, f64)> = packets.iter().filter_map(|packet| Some((packet.dts?, packet.pts))).collect();
    if let Some(pair) = known.windows(2).find(|pair| pair[1].0 <= pair[0].0) {
        return Err(format!("a packet is decoded at {} after one at {}", pair[1].0, pair[0].0));
    }
    if let Some((dts, pts)) = known.iter().find(|(dts, pts)| dts > pts) {
        return Err(format!("a packet is decoded at {dts} and presented at {pts}"));
    }
    Ok(())
}

/// The bytes of all packets of a stream.
fn payload_of(path: &Path, stream: usize) -> Verdict<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", &format!("0:{stream}"), "-c", "copy", "-f", "data", "-"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    if told.is_empty() { Ok(output.stdout) } else { Err(format!("ffmpeg copies its bytes, and says: {told}")) }
}

/// The number of packets whose payloads, one after the other, are these bytes.
fn blocks_in(source: &[SourcePacket], bytes: &[u8]) -> Verdict<usize> {
    let mut at = 0;
    let mut count = 0;
    while at < bytes.len() {
        let next = source.get(count).ok_or_else(|| format!("{} bytes follow the last block", bytes.len() - at))?;
        if bytes[at..].get(..next.payload.len()) != Some(&next.payload[..]) {
            return Err(format!("block {count} has other bytes"));
        }
        at += next.payload.len();
        count += 1;
    }
    Ok(count)
}

/// The hashes of the pictures and frames of sound that FFmpeg decodes, by stream.
pub type Decoded = BTreeMap<String, Vec<String>>;

/// Decodes a file with FFmpeg, which must not complain.
pub fn decoded(path: &Path) -> Verdict<Decoded> {
    let (hashes, told) = decoded_somehow(path);
    if told.is_empty() { Ok(hashes) } else { Err(format!("ffmpeg says: {told}")) }
}

/// Decodes a file with FFmpeg. Returns what it says too.
pub fn decoded_somehow(path: &Path) -> (Decoded, String) {
    let mut hashes = BTreeMap::new();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-threads", "1", "-i"])
        .arg(path)
        .args(["-map", "0", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "sha256", "-"])
        .output()
        .unwrap();
    let mut told = String::from_utf8_lossy(&output.stderr).into_owned();
    if told.is_empty() && !output.status.success() {
        told = output.status.to_string();
    }
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        hashes.entry(fields[0].to_owned()).or_insert_with(Vec::new).push(fields[5].to_owned());
    }
    (hashes, told)
}

/// Judges that a file decodes without an error to the pictures and sounds of the source.
///
/// Audio that is not coded in frames is judged by its bytes.
pub fn judge_decoded(film: &Film, original: &Decoded, path: &Path) -> Verdict {
    let decoded = decoded(path)?;
    for (index, track) in film.tracks.iter().enumerate() {
        let of = |hashes: &Decoded| hashes.get(&index.to_string()).cloned().unwrap_or_default();
        let (got, wanted) = (of(&decoded), of(original));
        if track.kind == TrackKind::Video && got.len() != track.packets.len() {
            return Err(format!("track {} shows {} pictures of {}", index + 1, got.len(), track.packets.len()));
        }
        if track.sample_size.is_none() && got != wanted {
            let differ = got.iter().zip(&wanted).filter(|(got, wanted)| got != wanted).count();
            let (got, wanted) = (got.len(), wanted.len());
            return Err(format!("track {}: {differ} of {got} differ from the {wanted} of the source", index + 1));
        }
        if got.is_empty() {
            return Err(format!("nothing of track {} is decoded", index + 1));
        }
    }
    Ok(())
}

/// Judges a file with mkvmerge: it is recognised, and remuxed without a warning. Says nothing if mkvmerge is missing.
pub fn judge_by_mkvmerge(film: &Film, path: &Path) -> Verdict {
    if Command::new("mkvmerge").arg("--version").output().is_err() {
        eprintln!("mkvmerge is not installed: it is not asked. `make judges` installs it");
        return Ok(());
    }
    let output = run("mkvmerge", &["-J"], path);
    let json: Value = serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let is_empty = |name: &str| json[name].as_array().is_some_and(Vec::is_empty);
    let tracks = json["tracks"].as_array().map_or(0, Vec::len);
    if !is_empty("warnings") || !is_empty("errors") || json["container"]["supported"] != true {
        return Err(format!("mkvmerge says: {}, {}, {}", json["container"], json["warnings"], json["errors"]));
    }
    if tracks != film.tracks.len() {
        return Err(format!("mkvmerge finds {tracks} tracks of {}", film.tracks.len()));
    }
    // It copies two bytes for each of G.711 in MP4, also from a file of FFmpeg's: the format declares samples of 16 bits.
    let is_mp4 = path.extension().is_some_and(|extension| extension != "mkv");
    if is_mp4 && film.tracks.iter().any(|track| track.sample_size == Some(1)) {
        return Ok(());
    }
    let copy = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    let output = run("mkvmerge", &["-q", "-o", copy.path().to_str().unwrap()], path);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("mkvmerge copies it, and says: {}", String::from_utf8_lossy(&output.stdout)))
    }
}

/// Judges every box of an MP4 file with pymp4. Says nothing without `KVS_JUDGES`.
pub fn judge_by_pymp4(path: &Path) -> Verdict {
    let Some(python) = std::env::var_os("KVS_JUDGES") else {
        eprintln!("KVS_JUDGES is not set: mp4_boxes.py is not asked");
        return Ok(());
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges/mp4_boxes.py");
    let output = Command::new(python).arg(script).arg(path).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// A few words on the streams of a file, for a failure.
pub fn outline(path: &Path) -> String {
    let mut out = String::new();
    let output =
        run("ffprobe", &["-v", "error", "-show_entries", "stream=codec_name,start_time,duration,nb_frames"], path);
    let _ = write!(out, "{}", String::from_utf8_lossy(&output.stdout).replace('\n', " "));
    out
}

/// The hash that ffprobe prints of bytes.
pub fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
