//! Players read the media of sessions: FFmpeg decodes the pictures that were sent.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use kinesis_video::local::{LocalEndpoint, LocalStream};
use kinesis_video::service::playback::Discontinuities;
use kinesis_video::{Clock, Fragment, KinesisVideo, Packet};

use crate::recordings::corpus::{self, document, groups, tracks_element};
use crate::support::bodies::stamp_at;
use crate::support::endpoint::{now_millis, time, unlimited};
use crate::support::footage::{fragment, judged_pictures};

/// Four seconds of moving pictures at 15 a second, with a key frame each second and with B-frames.
pub const PICTURES: &str = "-f lavfi -t 4 -i testsrc2=size=160x120:rate=15";
const TONE: &str = "-f lavfi -t 4 -i sine=frequency=440:sample_rate=44100";
const H264: &str = "-c:v libx264 -preset veryfast -crf 32 -g 15 -keyint_min 15 -sc_threshold 0 -bf 2";

/// A file that is cut into fragments of one second.
pub struct Footage {
    pub file: Bytes,
    whole: Fragment,
    packets: Vec<Packet>,
}

impl Footage {
    pub async fn new(arguments: &str) -> Self {
        let file = corpus::encode(arguments);
        let whole = fragment(&file).await;
        let packets = whole.packets().collect();
        Self { file, whole, packets }
    }

    pub async fn pictures() -> Self {
        Self::new(&format!("{PICTURES} {H264}")).await
    }

    pub async fn with_audio() -> Self {
        Self::new(&format!("{PICTURES} {TONE} {H264} -c:a aac")).await
    }

    /// The hashes of the pictures.
    pub fn shown(&self) -> Vec<String> {
        judged_pictures(&self.file)
    }

    /// The fragments, and when each begins, in milliseconds from the start of the file.
    fn documents(&self, ordinal: u32) -> Vec<(Vec<u8>, i64)> {
        let tracks = tracks_element(&self.file);
        let groups = groups(&self.whole, &self.packets);
        let document = |(group, ordinal): (&[Packet], u32)| {
            (document(&tracks, group, 0, ordinal), group[0].timecode_ns() / 1_000_000)
        };
        groups.into_iter().zip(ordinal..).map(document).collect()
    }

    /// Stores the fragments as if they had been sent from `start` on. Returns the number of the next fragment.
    pub fn store(&self, stream: &LocalStream, ordinal: u32, start: i64) -> u32 {
        let documents = self.documents(ordinal);
        let next = ordinal + documents.len() as u32;
        for ((bytes, millis), ordinal) in documents.into_iter().zip(ordinal..) {
            stream.push_bytes(bytes, stamp_at(ordinal, start + millis, start + millis));
        }
        next
    }
}

/// What FFmpeg decodes of a URL: a hash of each picture, or of each block of audio. It must report no error.
pub async fn decoded(url: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = tokio::process::Command::new("ffmpeg");
    command.args(["-v", "warning", "-xerror", "-threads", "1", "-i", url]).args(arguments);
    command.args(["-fps_mode", "passthrough", "-autoscale", "0", "-f", "framehash", "-hash", "sha256", "-"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(200), command.output());
    let output = output.await.expect("FFmpeg ends").expect("ffmpeg runs: `make test` installs it");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let listed = String::from_utf8(output.stdout).unwrap();
    let hashes = listed.lines().filter(|line| !line.starts_with('#'));
    hashes.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect()
}

const VIDEO: &[&str] = &["-map", "0:v:0"];

pub async fn start() -> (LocalEndpoint, KinesisVideo) {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    (endpoint, kvs)
}

#[tokio::test]
async fn ffmpeg_plays_stored_media_in_hls() {
    let (endpoint, kvs) = start().await;
    let start = now_millis() - 60_000;
    let range = || time(start - 1)..=time(start + 30_000);
    for footage in [Footage::pictures().await, Footage::with_audio().await] {
        footage.store(&endpoint.create_stream("door"), 1, start);
        for clock in [Clock::Producer, Clock::Server] {
            for mode in [Discontinuities::Always, Discontinuities::Never, Discontinuities::OnDiscontinuity] {
                let session = kvs.hls("door").on_demand(range()).clock(clock).discontinuities(mode);
                let url = session.url().await.unwrap();
                assert_eq!(decoded(url.as_str(), VIDEO).await, footage.shown(), "{clock:?} {mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn ffmpeg_plays_over_a_gap_and_a_change_of_codec() {
    let (endpoint, kvs) = start().await;
    let start = now_millis() - 60_000;
    let first = Footage::pictures().await;
    // Another profile without B-frames: other parameter sets.
    let second = Footage::new(&format!("{PICTURES} {H264} -bf 0 -profile:v baseline")).await;
    let door = endpoint.create_stream("door");
    let next = first.store(&door, 1, start);
    let next = first.store(&door, next, start + 10_000);
    second.store(&door, next, start + 14_000);
    let shown = [first.shown(), first.shown(), second.shown()].concat();
    for mode in [Discontinuities::Always, Discontinuities::OnDiscontinuity] {
        let session = kvs.hls("door").on_demand(time(start - 1)..=time(start + 30_000)).discontinuities(mode);
        let url = session.url().await.unwrap();
        assert_eq!(decoded(url.as_str(), VIDEO).await, shown, "{mode:?}");
    }
}
