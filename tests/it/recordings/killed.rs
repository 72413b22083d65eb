//! `kvs record`, killed at random moments: what is left plays, and the next run goes on from the checkpoint.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kinesis_video::local::{Document, LocalStream, Shape};
use kinesis_video::{Fragment, Packet};
use serde_json::Value;

use super::corpus::encode;
use super::judges::{hash_of, run};
use crate::kvs::Lab;
use crate::support::bodies::stamp_at;
use crate::support::files::file_names;
use crate::support::footage::fragment;

/// The pictures of one group. Each fragment has them, and a number in its first picture.
struct Group {
    private: Bytes,
    packets: Vec<Packet>,
}

/// The time of the first fragment, in milliseconds.
const START: i64 = 1_764_061_000_000;

impl Group {
    async fn new() -> Self {
        let file = encode("-f lavfi -t 1 -i testsrc2=size=160x120:rate=10 -c:v libx264 -preset veryfast -crf 34 -bf 2");
        let file: Fragment = fragment(&file).await;
        let private = file.track(1).unwrap().codec_private().unwrap().clone();
        Self { private, packets: file.packets().collect() }
    }

    /// The payload of a picture of a fragment.
    fn payload(&self, index: usize, ordinal: u32) -> Vec<u8> {
        let picture = &self.packets[index].payload()[..];
        if index > 0 {
            return picture.to_vec();
        }
        // A message in front (SEI: user data, which decoders skip) makes the picture of each fragment another one.
        let number = format!("{ordinal:016}{ordinal:016}");
        let message = [&[6, 5, number.len() as u8][..], number.as_bytes(), &[0x80]].concat();
        [&(message.len() as u32).to_be_bytes()[..], &message, picture].concat()
    }

    fn push(&self, stream: &LocalStream, ordinal: u32) {
        let time = START + i64::from(ordinal) * 1000;
        let document = Document::new(Shape::Ffmpeg).codec_private(&self.private);
        let document = document.picture_track(1, "V_MPEG4/ISO/AVC", 160, 120).cluster_time(time as u64);
        let document = self.packets.iter().enumerate().fold(document, |document, (index, packet)| {
            let millis = i16::try_from(packet.timecode_ns() / 1_000_000).unwrap();
            document.block(1, millis, packet.is_key(), &self.payload(index, ordinal))
        });
        stream.push_stamped(&document, stamp_at(ordinal, time + 300, time));
    }

    /// The hashes of what each fragment begins with, and of the other pictures.
    fn hashes(&self, count: u32) -> (HashMap<String, u32>, Vec<String>) {
        let firsts = (1..=count).map(|ordinal| (hash_of(&self.payload(0, ordinal)), ordinal));
        (firsts.collect(), (1..self.packets.len()).map(|index| hash_of(&self.payload(index, 0))).collect())
    }
}

/// The hashes of the packets that ffprobe finds in a file that may be cut.
fn packets_left(path: &Path) -> Vec<String> {
    let arguments = ["-v", "quiet", "-show_data_hash", "sha256", "-show_entries", "packet=data_hash", "-of", "json"];
    let output = run("ffprobe", &arguments, path);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let packets = json["packets"].as_array().cloned().unwrap_or_default();
    let hash =
        |packet: &Value| packet["data_hash"].as_str().unwrap_or_default().trim_start_matches("SHA256:").to_lowercase();
    packets.iter().map(hash).collect()
}

/// The ordinals of the whole fragments in a file that may be cut, in their order. What follows them is less than a fragment.
fn whole_fragments(path: &Path, firsts: &HashMap<String, u32>, others: &[String]) -> Vec<u32> {
    let packets = packets_left(path);
    let mut found = Vec::new();
    let mut rest = &packets[..];
    while rest.len() > others.len() && rest[1..=others.len()] == *others {
        let Some(ordinal) = firsts.get(&rest[0]) else { break };
        found.push(*ordinal);
        rest = &rest[others.len() + 1..];
    }
    let name = path.display();
    // ffprobe also lists a packet that the end of the file cuts. It may be the last one of a fragment.
    let has_cut_last = rest.len() == others.len() + 1
        && firsts.contains_key(&rest[0])
        && rest[1..others.len()] == others[..others.len() - 1];
    assert!(
        rest.len() <= others.len() || has_cut_last,
        "{name}: {} packets follow the last whole fragment {:?}",
        rest.len(),
        found.last()
    );
    assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{name}: {found:?}");
    found
}

/// The number of pictures that FFmpeg decodes of a file that may be cut.
fn pictures_left(path: &Path) -> usize {
    let output = Command::new("ffmpeg")
        .args(["-v", "quiet", "-threads", "1", "-i"])
        .arg(path)
        .args(["-fps_mode", "passthrough", "-f", "framecrc", "-"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.starts_with('#')).count()
}

fn kill_after(mut child: Child, pause: Duration) {
    std::thread::sleep(pause);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Kills the program at random moments, and records what follows, until all is recorded.
async fn assert_resumes(rounds: usize, extension: &str) {
    let lab = Lab::new().await;
    let stream = lab.endpoint.create_stream("killed");
    let group = Arc::new(Group::new().await);
    let (checkpoint, folder) = (lab.path("record.checkpoint"), lab.path("recordings"));
    let output = folder.join(format!("door.{extension}"));
    let start = |more: &[&str]| {
        let mut record = lab.kvs();
        record.args(["record", "killed", "--start", "earliest", "-q", "--checkpoint"]).arg(&checkpoint);
        record.arg("-o").arg(&output).args(more);
        record.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Fragments arrive all the time, so that the program is always in the middle of one.
    let pushed = Arc::new(AtomicU32::new(0));
    let producer = tokio::spawn({
        let (group, pushed, stream) = (Arc::clone(&group), Arc::clone(&pushed), stream.clone());
        async move {
            loop {
                group.push(&stream, pushed.load(Ordering::SeqCst) + 1);
                pushed.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let mut rng = fastrand::Rng::with_seed(11);
    let mut left = BTreeSet::<PathBuf>::new();
    let mut recorded = BTreeSet::new();
    let mut seen = 0;
    for round in 0..rounds {
        let child = start(&[]);
        let pause = Duration::from_millis(rng.u64(30..600));
        tokio::task::spawn_blocking(move || kill_after(child, pause)).await.unwrap();
        let names = if folder.exists() { file_names(&folder) } else { Vec::new() };
        // An unfinished file is never under a final name.
        assert!(names.iter().all(|name| name.ends_with(".part")), "{round}: {names:?}");
        let (firsts, others) = group.hashes(pushed.load(Ordering::SeqCst));
        for path in names.iter().map(|name| folder.join(name)).filter(|path| left.insert(path.clone())) {
            let whole = whole_fragments(&path, &firsts, &others);
            seen += usize::from(!whole.is_empty());
            assert!(pictures_left(&path) >= whole.len() * group.packets.len(), "{round}: {}", path.display());
            recorded.extend(whole);
        }
        // What the checkpoint says is recorded is in a file.
        let saved = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        if let Some(number) = saved.strip_prefix("kvs1:").and_then(|rest| rest.split(':').next()) {
            let ordinal = (1..=pushed.load(Ordering::SeqCst))
                .find(|ordinal| {
                    let time = START + i64::from(*ordinal) * 1000;
                    stamp_at(*ordinal, time + 300, time).number.as_str() == number
                })
                .expect("the checkpoint names a fragment that was pushed");
            let missing: Vec<u32> = (1..=ordinal).filter(|ordinal| !recorded.contains(ordinal)).collect();
            assert!(
                missing.is_empty(),
                "{round}: the checkpoint is after {ordinal}, but these are in no file: {missing:?}"
            );
        }
    }
    producer.abort();
    assert!(seen > rounds / 3, "only {seen} files of {rounds} runs have a fragment");
    let rest = start(&["--idle", "3s"]);
    let ended = tokio::task::spawn_blocking(move || rest.wait_with_output().unwrap()).await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let names = file_names(&folder);
    let complete: Vec<_> = names.iter().filter(|name| !name.ends_with(".part")).collect();
    assert_eq!(complete.len(), 1, "{names:?}");
    let count = pushed.load(Ordering::SeqCst);
    let (firsts, others) = group.hashes(count);
    let last = folder.join(complete[0]);
    recorded.extend(whole_fragments(&last, &firsts, &others));
    assert_eq!(
        recorded.len(),
        count as usize,
        "{:?}",
        (1..=count).filter(|n| !recorded.contains(n)).collect::<Vec<_>>()
    );
    super::judges::decoded(&last).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_mp4_file_goes_on_after_fifty_kills() {
    assert_resumes(50, "mp4").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_mkv_file_goes_on_after_ten_kills() {
    assert_resumes(10, "mkv").await;
}
