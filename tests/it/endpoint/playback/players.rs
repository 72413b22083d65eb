//! Players read the media of sessions: FFmpeg decodes the pictures that were sent, and keeps audio in step.

use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use kinesis_video::local::{LocalEndpoint, LocalStream};
use kinesis_video::service::playback::{Container, Discontinuities};
use kinesis_video::{Clock, Fragment, KinesisVideo, Packet};

use crate::recordings::corpus::{self, document, groups, tracks_element};
use crate::support::bodies::stamp_at;
use crate::support::endpoint::{now_millis, time, unlimited};
use crate::support::footage::{fragment, judged_pictures};
use crate::support::rounds::rounds;

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

/// The times of the packets of each stream that ffprobe finds, in seconds after the first picture.
async fn times(input: &str) -> Vec<Vec<f64>> {
    let mut command = tokio::process::Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "packet=codec_type,pts_time", "-of", "csv=p=0", input]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), command.output()).await.expect("ffprobe ends").unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let of_kind = |kind: &str| {
        let lines = listed.lines().filter_map(|line| line.split_once(',')).filter(|(of, _)| *of == kind);
        let mut times: Vec<f64> = lines.map(|(_, time)| time.trim_end_matches(',').parse().unwrap()).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let (video, audio) = (of_kind("video"), of_kind("audio"));
    let first = video[0];
    [video, audio].map(|times| times.into_iter().map(|time| time - first).collect()).into()
}

#[tokio::test]
async fn audio_keeps_step_with_the_pictures() {
    let (endpoint, kvs) = start().await;
    let start = now_millis() - 60_000;
    let footage = Footage::with_audio().await;
    footage.store(&endpoint.create_stream("door"), 1, start);
    let range = || time(start - 1)..=time(start + 30_000);
    let file = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    std::fs::write(file.path(), &footage.file).unwrap();
    let wanted = times(file.path().to_str().unwrap()).await;
    assert!(wanted[0].len() == 60 && wanted[1].len() > 150);
    let mp4 = kvs.hls("door").on_demand(range()).clock(Clock::Producer).url().await.unwrap();
    let ts = kvs.hls("door").on_demand(range()).clock(Clock::Producer).container(Container::MpegTs);
    let ts = ts.url().await.unwrap();
    let dash = kvs.dash("door").on_demand(range()).url().await.unwrap();
    for url in [mp4.as_str(), ts.as_str(), dash.as_str()] {
        let shown = times(url).await;
        for (shown, wanted) in shown.iter().zip(&wanted) {
            // FFmpeg ends DASH with the first track that ends.
            let lost = if url == dash.as_str() { 2 } else { 0 };
            assert!(shown.len() + lost >= wanted.len(), "{} of {}, {url}", shown.len(), wanted.len());
            let apart = shown.iter().zip(wanted).map(|(shown, wanted)| (shown - wanted).abs()).fold(0.0, f64::max);
            assert!(apart < 0.03, "{apart} s, {url}");
        }
    }
}

#[tokio::test]
async fn ffmpeg_plays_stored_media_in_mpeg_ts() {
    let (endpoint, kvs) = start().await;
    let start = now_millis() - 60_000;
    let range = || time(start - 1)..=time(start + 30_000);
    let other = Footage::new(&format!("{PICTURES} {TONE} {H264} -bf 0 -profile:v baseline -c:a aac")).await;
    let footage = Footage::with_audio().await;
    let door = endpoint.create_stream("door");
    let next = footage.store(&door, 1, start);
    let next = footage.store(&door, next, start + 9_000);
    other.store(&door, next, start + 13_000);
    let shown = [footage.shown(), footage.shown(), other.shown()].concat();
    for mode in [Discontinuities::Always, Discontinuities::OnDiscontinuity] {
        let session = kvs.hls("door").on_demand(range()).container(Container::MpegTs).discontinuities(mode);
        let url = session.url().await.unwrap();
        assert_eq!(decoded(url.as_str(), VIDEO).await, shown, "{mode:?}");
        assert!(decoded(url.as_str(), &["-map", "0:a:0"]).await.len() > 450, "{mode:?}");
    }
}

#[tokio::test]
async fn ffmpeg_plays_stored_media_in_dash() {
    let (endpoint, kvs) = start().await;
    let start = now_millis() - 60_000;
    let range = || time(start - 1)..=time(start + 30_000);
    for footage in [Footage::pictures().await, Footage::with_audio().await] {
        let door = endpoint.create_stream("door");
        let next = footage.store(&door, 1, start);
        footage.store(&door, next, start + 9_000);
        for clock in [Clock::Producer, Clock::Server] {
            let url = kvs.dash("door").on_demand(range()).clock(clock).url().await.unwrap();
            let shown = [footage.shown(), footage.shown()].concat();
            assert_eq!(decoded(url.as_str(), VIDEO).await, shown, "{clock:?}");
        }
    }
}

/// A replay lists a fragment at a time, and ends.
#[tokio::test]
async fn ffmpeg_plays_a_replay() {
    let (endpoint, kvs) = start().await;
    let start = now_millis() - 60_000;
    let range = || time(start - 1)..=time(start + 30_000);
    let footage = Footage::with_audio().await;
    footage.store(&endpoint.create_stream("door"), 1, start);
    let mp4 = kvs.hls("door").live_replay(range()).clock(Clock::Producer).url().await.unwrap();
    let ts = kvs.hls("door").live_replay(range()).clock(Clock::Producer).container(Container::MpegTs);
    let ts = ts.url().await.unwrap();
    let [mp4, ts] = [mp4, ts].map(|url| async move { decoded(url.as_str(), VIDEO).await });
    let (mp4, ts) = tokio::join!(mp4, ts);
    // FFmpeg loses its place in a manifest that grows and numbers its segments. `browser.rs` judges that of DASH.
    for (name, decoded) in [("MP4", mp4), ("MPEG-TS", ts)] {
        assert_eq!(decoded, footage.shown(), "{name}");
    }
}

/// A camera in real time: what is shown is a run of what is sent.
#[tokio::test]
async fn ffmpeg_plays_live() {
    let (endpoint, kvs) = start().await;
    let footage = Footage::with_audio().await;
    endpoint.loop_media("door", footage.file.clone()).unwrap();
    // A session begins with a fragment.
    for _ in 0..100 {
        if kvs.hls("door").url().await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Some seconds in the suite, and two minutes in `make proof`.
    let pictures = (if rounds(1) > 1 { 1800 } else { 60 }).to_string();
    let arguments = [VIDEO, &["-frames:v", &pictures]].concat();
    let mp4 = kvs.hls("door").clock(Clock::Producer).url().await.unwrap();
    let always = kvs.hls("door").url().await.unwrap();
    let ts = kvs.hls("door").clock(Clock::Producer).container(Container::MpegTs).url().await.unwrap();
    let play = async |url: kinesis_video::service::playback::PlaybackUrl| decoded(url.as_str(), &arguments).await;
    let (mp4, always, ts) = tokio::join!(play(mp4), play(always), play(ts));
    let sent = footage.shown();
    for (name, shown) in [("MP4", mp4), ("MP4 with discontinuities", always), ("MPEG-TS", ts)] {
        assert_eq!(shown.len().to_string(), pictures, "{name}");
        let first = sent.iter().position(|picture| *picture == shown[0]).expect("a picture that was sent");
        let wanted: Vec<_> = sent.iter().cycle().skip(first).take(shown.len()).cloned().collect();
        assert_eq!(shown, wanted, "{name}");
    }
}
