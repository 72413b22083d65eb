//! Recording loses nothing: other programs find in each file what the source has.

use std::path::{Path, PathBuf};

use kinesis_video::{Error, ErrorKind, FragmentStream, MkvFileSink, Mp4Sink, RecordExt, RecordedFile, Summary};

use super::corpus::{self, Film, START};
use super::judges::{
    Decoded, Verdict, decoded, decoded_somehow, hash_of, judge_by_mkvmerge, judge_by_pymp4, judge_decoded, judge_dts,
    judge_packets, judge_track, outline, probe,
};
use crate::support::containers::{matroska, mp4_samples};

/// The formats that are recorded. MOV and MP4 differ in what they have a place for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Mp4,
    Fragmented,
    Mov,
    FragmentedMov,
    Mkv,
}

pub const FORMS: [Form; 5] = [Form::Mp4, Form::Fragmented, Form::Mov, Form::FragmentedMov, Form::Mkv];

impl Form {
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 | Self::Fragmented => "mp4",
            Self::Mov | Self::FragmentedMov => "mov",
            Self::Mkv => "mkv",
        }
    }
}

/// Records a body into a folder.
pub async fn record(body: &[u8], form: Form, folder: &Path) -> Result<(Summary, Vec<RecordedFile>), Error> {
    let path = folder.join(format!("{form:?}.{}", form.extension()));
    let fragments = FragmentStream::new(body);
    if form == Form::Mkv {
        let mut sink = MkvFileSink::create(path);
        let summary = fragments.record(&mut sink).await?;
        return Ok((summary, sink.files().to_vec()));
    }
    let mut sink = Mp4Sink::create(path).fragmented(matches!(form, Form::Fragmented | Form::FragmentedMov));
    let summary = fragments.record(&mut sink).await?;
    Ok((summary, sink.files().to_vec()))
}

/// All judges on the files of a recording.
fn judge(film: &Film, original: &Decoded, form: Form, files: &[PathBuf]) -> Verdict {
    let paths: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    judge_packets(film, &paths)?;
    for path in &paths {
        judge_by_mkvmerge(film, path)?;
        if form == Form::Mkv {
            matroska(&std::fs::read(path).unwrap())?;
        } else {
            judge_by_pymp4(path)?;
            mp4_samples(&mut std::fs::File::open(path).unwrap())?;
        }
    }
    if let [path] = &paths[..] {
        return judge_decoded(film, original, path);
    }
    paths.iter().try_for_each(|path| decoded(path).map(drop))
}

/// Records a film in every form, and asks all judges. Forms in `without` have no place for its audio.
async fn assert_remuxed(film: &Film, files: usize, without: &[Form]) {
    let mut complaints = Vec::new();
    let original = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    std::fs::write(original.path(), &film.original).unwrap();
    // FFmpeg reads the documents of a body one after the other, and wonders about each.
    let (original, _) = decoded_somehow(original.path());
    for form in FORMS {
        let folder = tempfile::tempdir().unwrap();
        let recorded = record(&film.body, form, folder.path()).await;
        if without.contains(&form) {
            let error = recorded.expect_err("the container has no place for it");
            let told = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{told}");
            assert!(told.contains(".mov") || told.contains("MOV"), "{told}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{}, {form:?}", film.name);
            continue;
        }
        let (summary, recorded) = recorded.unwrap_or_else(|error| panic!("{}, {form:?}: {error}", film.name));
        assert_eq!((summary.files(), recorded.len()), (files as u64, files), "{}, {form:?}", film.name);
        assert_eq!(summary.bytes(), recorded.iter().map(RecordedFile::bytes).sum::<u64>(), "{}, {form:?}", film.name);
        let paths: Vec<PathBuf> = recorded.iter().map(|file| file.path().to_owned()).collect();
        for file in &recorded {
            assert_eq!(std::fs::metadata(file.path()).unwrap().len(), file.bytes(), "{}, {form:?}", film.name);
        }
        if let Err(why) = judge(film, &original, form, &paths) {
            complaints.push(format!("{}, {form:?}: {why}\n  {}", film.name, outline(&paths[0])));
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[tokio::test]
async fn the_camera() {
    assert_remuxed(&corpus::camera().await, 1, &[]).await;
}

#[tokio::test]
async fn the_captures() {
    for film in corpus::captured().await {
        // Another session of the producer is another file.
        let files = if film.name.contains("non-increasing") { 2 } else { 1 };
        assert_remuxed(&film, files, &[]).await;
    }
}

#[tokio::test]
async fn h264_without_b_frames() {
    assert_remuxed(&corpus::without_b_frames().await, 1, &[]).await;
}

#[tokio::test]
async fn h264_with_three_b_frames_and_aac() {
    assert_remuxed(&corpus::with_three_b_frames().await, 1, &[]).await;
}

#[tokio::test]
async fn open_groups() {
    assert_remuxed(&corpus::with_open_groups().await, 1, &[]).await;
}

#[tokio::test]
async fn h265() {
    assert_remuxed(&corpus::h265().await, 1, &[]).await;
}

#[tokio::test]
async fn aac_alone() {
    assert_remuxed(&corpus::aac_alone().await, 1, &[]).await;
}

#[tokio::test]
async fn g711() {
    assert_remuxed(&corpus::with_g711("pcm_alaw").await, 1, &[]).await;
    assert_remuxed(&corpus::with_g711("pcm_mulaw").await, 1, &[]).await;
}

#[tokio::test]
async fn pcm() {
    assert_remuxed(&corpus::with_pcm().await, 1, &[Form::Mp4, Form::Fragmented]).await;
}

#[tokio::test]
async fn connect() {
    assert_remuxed(&corpus::connect().await, 1, &[Form::Mp4, Form::Fragmented]).await;
}

#[tokio::test]
async fn two_video_tracks() {
    assert_remuxed(&corpus::with_two_cameras().await, 1, &[]).await;
}

#[tokio::test]
async fn the_rate_of_films() {
    assert_remuxed(&corpus::at_the_rate_of_films().await, 1, &[]).await;
}

#[tokio::test]
async fn audio_that_starts_late() {
    assert_remuxed(&corpus::with_late_audio().await, 1, &[]).await;
}

#[tokio::test]
async fn varying_rates() {
    assert_remuxed(&corpus::at_varying_rates().await, 1, &[]).await;
}

/// Copies a file with FFmpeg, without re-encoding.
fn copied(source: &[u8], name: &str, folder: &Path, arguments: &[&str]) -> PathBuf {
    let (from, to) = (folder.join("source.mkv"), folder.join(name));
    std::fs::write(&from, source).unwrap();
    let mut ffmpeg = std::process::Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y", "-i"]).arg(&from).args(["-map", "0", "-c", "copy"]).args(arguments).arg(&to);
    assert!(ffmpeg.status().unwrap().success(), "{arguments:?}");
    to
}

/// Overwrites bytes of a file, at a place that `find` returns.
fn damaged(path: &Path, find: impl Fn(&[u8]) -> usize, with: &[u8]) -> PathBuf {
    let mut bytes = std::fs::read(path).unwrap();
    let at = find(&bytes);
    assert_ne!(&bytes[at..at + with.len()], with);
    bytes[at..at + with.len()].copy_from_slice(with);
    let to = path.with_file_name(format!("damaged-{}", path.file_name().unwrap().to_str().unwrap()));
    std::fs::write(&to, bytes).unwrap();
    to
}

fn position(bytes: &[u8], of: &[u8]) -> usize {
    bytes.windows(of.len()).rposition(|window| window == of).unwrap()
}

/// A judge that accepts everything judges nothing: each accepts FFmpeg's own copies, and complains about damaged ones.
#[tokio::test]
async fn the_judges_complain_about_damage() {
    let film = corpus::with_three_b_frames().await;
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str, arguments: &[&str]| copied(&film.original, name, folder.path(), arguments);
    let original = decoded(&copy("original.mkv", &[])).unwrap();
    for (name, arguments) in [
        ("copy.mkv", &[][..]),
        ("copy.mp4", &[]),
        ("fragmented.mp4", &["-movflags", "+frag_keyframe+empty_moov+default_base_moof+delay_moov"]),
    ] {
        let path = copy(name, arguments);
        judge_packets(&film, &[&path]).unwrap_or_else(|why| panic!("{name}: {why}"));
        judge_decoded(&film, &original, &path).unwrap_or_else(|why| panic!("{name}: {why}"));
        judge_by_mkvmerge(&film, &path).unwrap_or_else(|why| panic!("{name}: {why}"));
        if name != "copy.mkv" {
            judge_by_pymp4(&path).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }
    let complaint = |verdict: Verdict, with: &str| {
        let why = verdict.expect_err(with);
        assert!(why.contains(with), "{why:?} and not {with:?}");
    };
    let mp4 = copy("copy.mp4", &[]);
    let mkv = copy("copy.mkv", &[]);
    // A picture with another byte.
    let payload = film.tracks[0].packets[20].payload.clone();
    let in_packet = |bytes: &[u8]| position(bytes, &payload) + payload.len() / 2;
    complaint(judge_packets(&film, &[&damaged(&mkv, in_packet, b"damage")]), "packet 20 has other bytes");
    complaint(judge_packets(&film, &[&damaged(&mp4, in_packet, b"damage")]), "packet 20 has other bytes");
    complaint(judge_decoded(&film, &original, &damaged(&mp4, in_packet, &[0xFF; 12])), "");
    // A picture that is missing, and one too many.
    let without = copy("without.mkv", &["-bsf:v", r"noise=drop=eq(n\,20)"]);
    complaint(judge_packets(&film, &[&without]), "packet 20 has other bytes");
    let mut fewer = probe(&mkv).unwrap().packets.remove(0);
    fewer.pop();
    let track = &film.tracks[0];
    complaint(judge_track(track, &track.packets, START as f64, &fewer, 0.0), "packets of");
    complaint(judge_decoded(&film, &original, &without), "");
    let shorter = copy("shorter.mkv", &["-t", "3"]);
    complaint(judge_decoded(&film, &original, &shorter), "pictures of");
    complaint(judge_packets(&film, &[&mkv, &mkv]), "");
    // Pictures 3 ms late, and all of them late against the sound.
    let late = copy("late.mkv", &["-bsf:v", r"setts=pts=PTS+if(gte(N\,20)\,3\,0):dts=DTS"]);
    complaint(judge_packets(&film, &[&late]), "packet 20 is at");
    let apart = copy("apart.mkv", &["-bsf:a", "setts=ts=TS+40"]);
    complaint(judge_packets(&film, &[&apart]), "track 1: packet 0 is at 24.000 ms and not at 64.000 ms");
    // A stream that is missing.
    complaint(judge_packets(&film, &[&copy("silent.mkv", &["-map", "-0:a"])]), "streams");
    // Decoding times that stand still, or come after the presentation.
    let packets = probe(&mp4).unwrap().packets.remove(0);
    judge_dts(&packets).unwrap();
    let mut still = packets.clone();
    still[7].dts = still[6].dts;
    complaint(judge_dts(&still), "decoded at");
    let mut after = packets.clone();
    after[7].dts = Some(after[7].pts + 0.001);
    complaint(judge_dts(&after), "presented at");
    // Boxes and elements that are cut, or claim what they do not have.
    let size_of_moov = |bytes: &[u8]| position(bytes, b"moov") - 4;
    complaint(judge_packets(&film, &[&damaged(&mp4, size_of_moov, &[0, 0, 1])]), "");
    let bytes = std::fs::read(&mkv).unwrap();
    let cut = folder.path().join("cut.mkv");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    complaint(judge_packets(&film, &[&cut]), "");
    let no_header = folder.path().join("no-header.mkv");
    std::fs::write(&no_header, &bytes[60..]).unwrap();
    if std::process::Command::new("mkvmerge").arg("--version").output().is_ok() {
        complaint(judge_by_mkvmerge(&film, &no_header), "mkvmerge");
    }
    if std::env::var_os("KVS_JUDGES").is_some() {
        let size_of_stts = |bytes: &[u8]| position(bytes, b"stts") - 1;
        complaint(judge_by_pymp4(&damaged(&mp4, size_of_stts, &[0xF7])), "");
        let count_of_stsz = |bytes: &[u8]| position(bytes, b"stsz") + 15;
        complaint(judge_by_pymp4(&damaged(&mp4, count_of_stsz, &[0x02])), "");
    }
    assert_eq!(hash_of(&payload), film.tracks[0].packets[20].hash);
}
