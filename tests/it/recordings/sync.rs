//! Clicks and flashes that were made together stay together.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use kinesis_video::{Fragment, Gaps, MkvFileSink, Mp4Sink, RecordExt, RecordingSink};

use super::corpus::{START, cut, encode};
use super::remux::Form;
use crate::support::bodies::fragments;
use crate::support::footage::source;

/// Samples per second of the sound. A frame of AAC has 1,024 samples: 64 ms.
const RATE: f64 = 16_000.0;
const AUDIO_FRAME: f64 = 1024.0 / RATE;

/// The longest time between two pictures that counts as the rhythm of the source, in seconds.
const LONG: f64 = 0.5;

/// A film with a flash and a click each second, both 80 ms long, with B-frames and AAC.
fn film(seconds: u32) -> Bytes {
    encode(&format!(
        "-f lavfi -t {seconds} -i color=black:size=64x48:rate=25,drawbox=color=white:t=fill:enable='lt(mod(t,1),0.08)' \
         -f lavfi -t {seconds} -i aevalsrc='0.9*lt(mod(t,1),0.08)*sin(2*PI*1000*t)':s=16000 \
         -c:v libx264 -preset veryfast -g 25 -keyint_min 25 -sc_threshold 0 -bf 3 -x264-params b-adapt=0 -c:a aac"
    ))
}

/// The times at which the picture turns white, and those of all pictures, in seconds.
fn flashes(path: &Path) -> (Vec<f64>, Vec<f64>) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-threads", "1", "-i"])
        .arg(path)
        .args(["-map", "0:v", "-fps_mode", "passthrough"])
        .args(["-vf", "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-", "-f", "null", "/dev/null"])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (mut times, mut found) = (Vec::new(), Vec::new());
    let (mut time, mut was_white) = (0.0, false);
    for line in printed.lines() {
        if let Some((_, at)) = line.split_once("pts_time:") {
            time = at.trim().parse().unwrap();
            times.push(time);
        } else if let Some((_, luma)) = line.split_once("YAVG=") {
            let is_white = luma.parse::<f64>().unwrap() > 120.0;
            if is_white && !was_white {
                found.push(time);
            }
            was_white = is_white;
        }
    }
    (found, times)
}

/// The times at which the sound becomes loud, in seconds. Time without sound is silence.
fn clicks(path: &Path) -> Vec<f64> {
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:a",
            "-af",
            "aresample=async=1:min_hard_comp=0.02:first_pts=0",
            "-ac",
            "1",
            "-f",
            "s16le",
            "-",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sound = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut sound).unwrap();
    assert!(child.wait().unwrap().success());
    let mut found = Vec::new();
    let mut last_loud = None::<usize>;
    for (index, sample) in sound.chunks_exact(2).enumerate() {
        if i16::from_le_bytes([sample[0], sample[1]]).unsigned_abs() > 12_000 {
            if last_loud.is_none_or(|last| index - last > RATE as usize / 2) {
                found.push(index as f64 / RATE);
            }
            last_loud = Some(index);
        }
    }
    found
}

/// How much later each click is than its flash, and the times of the pictures.
fn measured(path: &Path) -> (Vec<f64>, Vec<f64>) {
    let (flashes, pictures) = flashes(path);
    let clicks = clicks(path);
    assert_eq!(flashes.len(), clicks.len(), "{}: {flashes:?} {clicks:?}", path.display());
    (flashes.iter().zip(&clicks).map(|(flash, click)| click - flash).collect(), pictures)
}

async fn record(fragments: &[Fragment], form: Form, gaps: Gaps, folder: &Path) -> std::path::PathBuf {
    async fn to<F: kinesis_video::sink::Format>(fragments: &[Fragment], sink: RecordingSink<F>) {
        let summary = source(fragments).record(sink).await.unwrap();
        assert_eq!(summary.files(), 1);
    }
    let path = folder.join(format!("{form:?}-{gaps:?}.{}", form.extension()));
    match form {
        Form::Mkv => to(fragments, MkvFileSink::create(&path).gaps(gaps)).await,
        _ => to(fragments, Mp4Sink::create(&path).fragmented(form == Form::Fragmented).gaps(gaps)).await,
    }
    path
}

/// Records a film whole, and without some seconds in its middle, and measures every click against its flash.
async fn assert_together(seconds: u32) {
    let file = film(seconds);
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original.mkv");
    std::fs::write(&original, &file).unwrap();
    let (wanted, _) = measured(&original);
    assert_eq!(wanted.len(), seconds as usize);
    assert!(wanted.iter().all(|late| late.abs() < AUDIO_FRAME), "the source is not together: {wanted:?}");

    let whole = fragments(&cut(&file, START).await).await;
    assert_eq!(whole.len(), seconds as usize);
    let (from, to) = (whole.len() / 3, whole.len() / 3 + 3);
    let with_gap = [&whole[..from], &whole[to..]].concat();
    for form in [Form::Mp4, Form::Fragmented, Form::Mov, Form::Mkv] {
        for (fragments, gaps) in [(&whole, Gaps::Keep), (&with_gap, Gaps::Keep), (&with_gap, Gaps::Close)] {
            let path = record(fragments, form, gaps, folder.path()).await;
            let (late, pictures) = measured(&path);
            assert_eq!(late.len(), fragments.len(), "{form:?}");
            let worst = late.iter().copied().fold(0.0, |worst: f64, late| worst.max(late.abs()));
            assert!(worst < AUDIO_FRAME, "{form:?}, {gaps:?}: a click is {worst:.3} s away from its flash: {late:?}");
            // The gap is where the gap of the source is, or is closed.
            let long: Vec<_> = pictures.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > LONG).collect();
            let is_kept = fragments.len() < whole.len() && gaps == Gaps::Keep;
            assert_eq!(long.len(), usize::from(is_kept), "{form:?}, {gaps:?}: {long:?}");
            assert!(long.iter().all(|step| (step - 3.04).abs() < 0.002), "{form:?}: {long:?}");
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[tokio::test]
async fn clicks_and_flashes_stay_together() {
    assert_together(12).await;
}

/// For an hour. Runs with `KVS_ROUNDS`.
#[tokio::test]
async fn clicks_and_flashes_stay_together_for_an_hour() {
    if std::env::var_os("KVS_ROUNDS").is_none() {
        eprintln!("KVS_ROUNDS is not set: an hour is not recorded");
        return;
    }
    assert_together(3600).await;
}

/// The measurement itself: sound that is 100 ms late is found to be.
#[tokio::test]
async fn late_clicks_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let (original, late) = (folder.path().join("original.mkv"), folder.path().join("late.mkv"));
    std::fs::write(&original, film(4)).unwrap();
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(&original).args(["-map", "0", "-c", "copy", "-bsf:a", "setts=ts=TS+100"]);
    assert!(ffmpeg.arg(&late).status().unwrap().success());
    let (before, _) = measured(&original);
    let (after, _) = measured(&late);
    assert!(
        before.iter().zip(&after).all(|(before, after)| (after - before - 0.1).abs() < 0.005),
        "{before:?} {after:?}"
    );
}
