//! Seeking in a recording shows the picture that the source has at that time.

use std::path::Path;
use std::process::Command;

use super::corpus::{Film, START};
use super::remux::{Form, record};
use crate::support::rounds::rounds;

/// A picture of the source: its time in seconds from the start, and its hash.
struct Shown {
    time: f64,
    hash: String,
}

/// Runs FFmpeg on a file and returns the time and the hash of each picture.
fn shown(before: &[&str], path: &Path, after: &[&str]) -> Vec<Shown> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-threads", "1"]).args(before).arg("-i").arg(path);
    ffmpeg.args(["-map", "0:v", "-fps_mode", "passthrough", "-enc_time_base", "1:1000000"]).args(after);
    let output = ffmpeg.args(["-f", "framehash", "-hash", "sha256", "-"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{}", path.display());
    let listed = String::from_utf8(output.stdout).unwrap();
    let pictures = listed.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        Shown { time: fields[2].parse::<f64>().unwrap() / 1e6, hash: fields[5].to_owned() }
    });
    pictures.collect()
}

/// The picture that FFmpeg shows first after an accurate seek.
fn sought(path: &Path, time: f64) -> String {
    let pictures = shown(&["-ss", &format!("{time:.6}")], path, &["-frames:v", "1"]);
    pictures.into_iter().next().map_or_else(|| "no picture".into(), |picture| picture.hash)
}

#[tokio::test]
async fn a_hundred_random_times_show_the_pictures_of_the_source() {
    let film = "-f lavfi -t 20 -i testsrc2=size=160x120:rate=15 \
        -c:v libx264 -preset veryfast -crf 32 -g 15 -keyint_min 15 -sc_threshold 0 -bf 3 -x264-params b-pyramid=normal:b-adapt=0";
    let film = Film::encoded("seek", START, film).await;
    let folder = tempfile::tempdir().unwrap();
    let original = folder.path().join("original.mkv");
    std::fs::write(&original, &film.original).unwrap();
    let pictures = shown(&[], &original, &[]);
    assert_eq!(pictures.len(), 300);
    let start = pictures[0].time;
    let forms = [Form::Mp4, Form::Fragmented, Form::Mov, Form::Mkv];
    let mut paths = Vec::new();
    for form in forms {
        paths.push(record(&film.body, form, folder.path()).await.unwrap().1[0].path().to_owned());
    }
    let mut rng = fastrand::Rng::with_seed(4);
    for round in 0..rounds(100) as usize {
        let index = rng.usize(1..pictures.len());
        // FFmpeg shows the first picture from a time on. Times are at least 5 ms from each picture.
        let time = pictures[index].time - start - 0.005 - rng.f64() * 0.05;
        let form = round % forms.len();
        assert_eq!(sought(&paths[form], time), pictures[index].hash, "{:?} at {time:.6} s", forms[form]);
        // The expectation is what FFmpeg shows of the source.
        if round % 10 == 0 {
            assert_eq!(sought(&original, time), pictures[index].hash, "the source at {time:.6} s");
        }
    }
}
