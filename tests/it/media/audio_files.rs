//! Audio files: ADTS and WAV.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use bytes::Bytes;
use futures::SinkExt;
use kinesis_video::local::{Document, Shape};
use kinesis_video::{AudioSink, ErrorKind, FragmentStream, Gaps, MediaSink, RecordExt, Result, Summary};
use proptest::prelude::*;

use crate::support::bodies::{CAMERA, connect_document, fragments, live_body, stamp_at};
use crate::support::ffmpeg::ffmpeg_bytes;
use crate::support::files::file_names;
use crate::support::footage::{footage, fragment};

const ALAW: &[u8] = &[6, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0, 0, 0];
const MULAW: &[u8] = &[7, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0];

/// The producer's clock at the start of its timeline.
const CLOCK: i64 = 1_700_000_000_000;

/// A block: milliseconds and payload.
type Block = (u64, Vec<u8>);

/// Fragments with a track of G.711.
fn telephone(private: &[u8], described: &[Vec<Block>]) -> Bytes {
    let documents = described.iter().zip(1..).map(|(blocks, ordinal)| {
        let start = blocks.iter().map(|(millis, _)| *millis).min().unwrap_or(0);
        let empty = Document::new(Shape::Producer).cluster_time(start).codec_private(private);
        let document =
            blocks.iter().fold(empty.audio_track(1, "telephone", "A_MS/ACM"), |document, (millis, payload)| {
                document.block(1, (millis - start) as i16, true, payload)
            });
        document.to_bytes(&stamp_at(ordinal, CLOCK + start as i64, CLOCK + start as i64), 0)
    });
    documents.collect::<Vec<_>>().concat().into()
}

async fn record(body: &[u8], sink: AudioSink) -> Result<Summary> {
    FragmentStream::new(body).record(sink).await
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}: `make test` installs it"))
}

/// The format tag and the bytes of the samples, and checks that every size in the file is right.
fn samples(path: &Path) -> (u16, Vec<u8>) {
    let file = std::fs::read(path).unwrap();
    let size = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((&file[..4], size(4), &file[8..16]), (&b"RIFF"[..], file.len() - 8, &b"WAVEfmt "[..]));
    let mut at = 20 + size(16);
    let frame = usize::from(u16::from_le_bytes(file[32..34].try_into().unwrap()));
    let mut fact = None;
    if &file[at..at + 4] == b"fact" {
        assert_eq!(size(at + 4), 4);
        fact = Some(size(at + 8));
        at += 12;
    }
    assert_eq!(&file[at..at + 4], b"data");
    let length = size(at + 4);
    assert_eq!(file.len(), at + 8 + length + length % 2);
    assert!(fact.is_none_or(|count| count == length / frame), "{fact:?}");
    (u16::from_le_bytes(file[20..22].try_into().unwrap()), file[at + 8..at + 8 + length].to_vec())
}

/// What FFmpeg and SoX decode of a file, which must be the same, without a warning.
fn judged(path: &Path) -> Vec<u8> {
    let text = path.to_str().unwrap();
    let kind = ["-t", "wav", text];
    let sox = run("sox", &[&kind[..], &["-t", "raw", "-e", "signed", "-b", "16", "-L", "-D", "-"]].concat());
    assert!(sox.status.success() && sox.stderr.is_empty(), "{}", String::from_utf8_lossy(&sox.stderr));
    let ffmpeg = run("ffmpeg", &["-v", "warning", "-xerror", "-f", "wav", "-i", text, "-f", "s16le", "-"]);
    // A file with two channels does not say which speakers they are for.
    let warnings = String::from_utf8_lossy(&ffmpeg.stderr);
    let is_usual = |line: &str| line.is_empty() || line.starts_with("Guessed Channel Layout");
    assert!(ffmpeg.status.success() && warnings.lines().all(is_usual), "{warnings}");
    assert!(sox.stdout == ffmpeg.stdout, "{} and {} bytes", sox.stdout.len(), ffmpeg.stdout.len());
    sox.stdout
}

/// Places blocks of A-law by the rules of the documentation: each sample at its time or at most 30 ms from it.
fn painted(described: &[Vec<Block>]) -> Vec<u8> {
    let blocks = || described.iter().flatten();
    let origin = blocks().map(|(millis, _)| *millis).min().unwrap_or(0);
    let mut line: Vec<u8> = Vec::new();
    for (millis, payload) in blocks() {
        let at = (millis - origin) as usize * 8;
        let start = if at.abs_diff(line.len()) <= 240 { line.len() } else { at };
        line.resize(line.len().max(start), 0xD5);
        let new = payload.iter().skip(line.len() - start).copied();
        line.extend(new.collect::<Vec<_>>());
    }
    line
}

#[test]
fn every_sample_of_a_wav_file_is_at_its_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("call.wav");
    // Milliseconds from the end of the audio before: jitter, gaps and overlaps.
    let step = prop_oneof![4 => Just(0i64), 3 => -30i64..=30, 2 => -200i64..200, 1 => 200i64..20_000];
    let block = (step, 1usize..900);
    let fragments = proptest::collection::vec(proptest::collection::vec(block, 1..6), 1..6);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(120));
    let property = |described: Vec<Vec<(i64, usize)>>| {
        let (mut end, mut salt) = (1000u64, 0u8);
        let described: Vec<Vec<Block>> = described
            .into_iter()
            .map(|blocks| {
                let place = |(step, length): (i64, usize)| {
                    let millis = end.saturating_add_signed(step).max(1000);
                    end = end.max(millis + length as u64 / 8);
                    salt = salt.wrapping_add(37);
                    (millis, (0..length).map(|at| (at as u8).wrapping_mul(7).wrapping_add(salt)).collect())
                };
                blocks.into_iter().map(place).collect()
            })
            .collect();
        // Times go back within a fragment only, and a fragment has at most 32 s.
        let starts: Vec<u64> =
            described.iter().map(|blocks| blocks.iter().map(|block| block.0).min().unwrap()).collect();
        let lasts = described.iter().map(|blocks| blocks.iter().map(|block| block.0).max().unwrap());
        prop_assume!(starts.is_sorted() && starts.iter().zip(lasts).all(|(start, last)| last - start < 32_000));
        let body = telephone(ALAW, &described);
        let sink = AudioSink::create(&path).keep_existing(false);
        let summary = runtime.block_on(record(&body, sink)).unwrap();
        prop_assert_eq!((summary.items(), summary.files()), (described.len() as u64, 1));
        prop_assert_eq!(summary.bytes(), std::fs::metadata(&path).unwrap().len());
        prop_assert!(samples(&path) == (6, painted(&described)));
        Ok(())
    };
    runner.run(&fragments, property).unwrap();
}

#[tokio::test]
async fn wav_files_decode_to_what_the_source_does() {
    let dir = tempfile::tempdir().unwrap();
    let sound = "sine=frequency=440:duration=3:sample_rate=16000[a];anoisesrc=duration=3:sample_rate=16000:seed=3[b];[a][b]amerge";
    let codecs = [
        ("pcm_alaw", 6),
        ("pcm_mulaw", 7),
        ("pcm_u8", 1),
        ("pcm_s16le", 1),
        ("pcm_s16be", 1),
        ("pcm_s24be", 0xFFFE),
        ("pcm_s32le", 0xFFFE),
    ];
    for (codec, tag) in codecs {
        let file = footage(sound, &["-c:a", codec]);
        let path = dir.path().join(format!("made/{codec}.wav"));
        let summary = record(&file, AudioSink::create(&path)).await.unwrap();
        assert_eq!((summary.files(), summary.gaps()), (1, 0));
        let source = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
        std::fs::write(source.path(), &file).unwrap();
        let expected = ffmpeg_bytes(&["-i", source.path().to_str().unwrap()], &["-f", "s16le"]);
        assert_eq!((samples(&path).0, expected.len()), (tag, 3 * 16_000 * 4), "{codec}");
        if codec.contains("24") || codec.contains("32") {
            // SoX rounds where FFmpeg truncates.
            assert!(ffmpeg_bytes(&["-i", path.to_str().unwrap()], &["-f", "s16le"]) == expected, "{codec}");
            assert_eq!(String::from_utf8_lossy(&run("soxi", &["-s", path.to_str().unwrap()]).stdout).trim(), "48000");
        } else {
            assert!(judged(&path) == expected, "{codec}");
        }
        if tag == 1 {
            let script =
                "import sys, wave; w = wave.open(sys.argv[1]); print(w.getparams()[:4], len(w.readframes(10**9)))";
            let output = run("python3", &["-c", script, path.to_str().unwrap()]);
            let width = if codec == "pcm_u8" { 1 } else { 2 };
            let told = format!("(2, {width}, 16000, 48000) {}\n", 48_000 * 2 * width);
            assert_eq!(String::from_utf8_lossy(&output.stdout), told, "{}", String::from_utf8_lossy(&output.stderr));
        }
    }
    assert!(
        file_names(&dir.path().join("made")).iter().all(|name| name.ends_with(".wav")),
        "no temporary file is left"
    );
}

/// A file that was never closed, as after a crash.
#[tokio::test]
async fn unfinished_files_play() {
    let dir = tempfile::tempdir().unwrap();
    let noise =
        |length: usize, salt: u8| (0..length).map(|at| (at as u8).wrapping_mul(salt) ^ 0x55).collect::<Vec<u8>>();
    let described: Vec<Vec<Block>> = (0..3).map(|at| vec![(at * 1000, noise(8000, at as u8 * 2 + 3))]).collect();
    for private in [ALAW, MULAW] {
        let path = dir.path().join("call.wav");
        let mut sink = AudioSink::create(&path);
        for fragment in fragments(&telephone(private, &described)).await {
            sink.send(fragment).await.unwrap();
        }
        sink.flush().await.unwrap();
        assert_eq!(sink.summary().items(), 3);
        drop(sink);
        let part = dir.path().join("call.wav.part");
        let kind = if private == ALAW { "alaw" } else { "mulaw" };
        let raw = described.concat().into_iter().flat_map(|(_, payload)| payload).collect::<Vec<u8>>();
        let source = dir.path().join("source");
        std::fs::write(&source, raw).unwrap();
        let input = ["-f", kind, "-ar", "8000", "-ac", "1", "-i", source.to_str().unwrap()];
        let expected = ffmpeg_bytes(&input, &["-f", "s16le"]);
        assert_eq!(expected.len(), 48_000);
        let part = part.to_str().unwrap();
        let ffmpeg = run("ffmpeg", &["-v", "error", "-f", "wav", "-i", part, "-f", "s16le", "-"]);
        assert!(ffmpeg.stdout == expected, "{}", String::from_utf8_lossy(&ffmpeg.stderr));
        let sox = run("sox", &["-t", "wav", part, "-t", "raw", "-e", "signed", "-b", "16", "-L", "-"]);
        assert!(sox.stdout == expected, "{}", String::from_utf8_lossy(&sox.stderr));
        std::fs::remove_file(part).unwrap();
    }
    let path = dir.path().join("call.aac");
    let mut sink = AudioSink::create(&path);
    sink.send(fragment(&CAMERA.into()).await).await.unwrap();
    sink.flush().await.unwrap();
    drop(sink);
    let part = dir.path().join("call.aac.part");
    assert!(!ffmpeg_bytes(&["-xerror", "-i", part.to_str().unwrap()], &["-f", "s16le"]).is_empty());
}

#[tokio::test]
async fn aac_becomes_adts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("door.aac");
    let summary = record(CAMERA, AudioSink::create(&path)).await.unwrap();
    assert_eq!((summary.files(), summary.bytes()), (1, std::fs::metadata(&path).unwrap().len()));
    let entries =
        ["-v", "warning", "-show_entries", "packet=size:stream=codec_name,sample_rate,channels", "-of", "csv"];
    let output = run("ffprobe", &[&entries[..], &[path.to_str().unwrap()]].concat());
    let listed = String::from_utf8_lossy(&output.stdout);
    let sizes: Vec<usize> =
        listed.lines().filter_map(|line| line.strip_prefix("packet,")?.trim_end_matches(',').parse().ok()).collect();
    let camera = fragment(&CAMERA.into()).await;
    let frames: Vec<usize> =
        camera.packets().filter(|packet| packet.track_number() == 2).map(|packet| packet.payload().len() + 7).collect();
    assert_eq!(sizes, frames);
    assert!(listed.contains("stream,aac,"), "{listed}");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(warnings.lines().all(|line| line.contains("Estimating duration")), "{warnings}");
}

/// An hour without audio is an hour of silence, and takes no memory. Closed, it takes no time either.
#[tokio::test]
async fn gaps_are_kept_or_closed() {
    let dir = tempfile::tempdir().unwrap();
    let described = [vec![(0, vec![1; 800])], vec![(3_600_000, vec![2; 800])]];
    let body = telephone(MULAW, &described);
    let kept = dir.path().join("kept.wav");
    let summary = record(&body, AudioSink::create(&kept)).await.unwrap();
    assert_eq!((summary.files(), summary.gaps()), (1, 1));
    let (tag, bytes) = samples(&kept);
    assert_eq!((tag, bytes.len()), (7, 3_600_000 * 8 + 800));
    assert!(bytes[..800].iter().all(|byte| *byte == 1) && bytes[800..28_800_000].iter().all(|byte| *byte == 0xFF));
    assert!(bytes[28_800_000..].iter().all(|byte| *byte == 2));

    let closed = dir.path().join("closed.wav");
    let sink = AudioSink::create(&closed).gaps(Gaps::Close).every(Duration::from_secs(60));
    let summary = record(&body, sink).await.unwrap();
    assert_eq!((summary.files(), summary.gaps()), (1, 1), "the closed gap does not count for the length");
    assert!(samples(&closed).1 == [vec![1; 800], vec![2; 800]].concat());

    // A gap that does not fit begins another file.
    let mut sink = AudioSink::create(dir.path().join("small.wav")).max_bytes(1 << 20);
    let summary = FragmentStream::new(&body[..]).record(&mut sink).await.unwrap();
    assert_eq!(summary.files(), 2);
    let names: Vec<PathBuf> = sink.files().iter().map(|file| file.path().to_owned()).collect();
    assert_eq!(names, [dir.path().join("small.wav"), dir.path().join("small-2.wav")]);
    assert!(samples(&names[1]).1 == vec![2; 800]);
}

/// The audio tells when it begins, and not the picture that its fragment begins with.
#[tokio::test]
async fn audio_between_pictures_is_at_its_own_time() {
    let dir = tempfile::tempdir().unwrap();
    let described = [(0u64, 0i16, 15_680usize), (2000, 20, 800), (60_000, 120, 800)];
    let documents = described.into_iter().zip(1..).map(|((start, sound, length), ordinal)| {
        let empty = Document::new(Shape::Producer).cluster_time(start).codec_private(ALAW);
        let document = empty.audio_track(2, "telephone", "A_MS/ACM").codec_private(&[]).video_track(1);
        let document =
            document.block(1, 0, true, &[0, 0, 0, 1, 0x65]).block(2, sound, true, &vec![ordinal as u8; length]);
        document.to_bytes(&stamp_at(ordinal, CLOCK + start as i64, CLOCK + start as i64), 0)
    });
    let body: Vec<u8> = documents.collect::<Vec<_>>().concat();
    let path = dir.path().join("door.wav");
    record(&body, AudioSink::create(&path)).await.unwrap();
    let mut expected = vec![0xD5; 60_120 * 8 + 800];
    expected[..15_680].fill(1);
    expected[2020 * 8..2120 * 8].fill(2);
    expected[60_120 * 8..].fill(3);
    assert!(samples(&path).1 == expected);
}

#[tokio::test]
async fn what_has_no_place_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let opus = footage("sine=duration=1", &["-c:a", "libopus"]);
    let vorbis = footage("sine=duration=1", &["-c:a", "libvorbis"]);
    let video = footage("testsrc=duration=1", &["-c:v", "libx264"]);
    let call = live_body([connect_document(1)]);
    for (body, name, track, text) in [
        (&Bytes::from(CAMERA), "a.wav", None, "WAV has no place for AAC: ADTS (.aac), MP4, MOV and MKV have"),
        (&call, "a.aac", None, "ADTS has a place for AAC only, and the audio is PCM: WAV has"),
        (&opus, "a.wav", None, "WAV has no place for Opus: MP4, MOV and MKV have"),
        (&opus, "a.aac", None, "the audio is Opus: MP4, MOV and MKV have"),
        (&vorbis, "a.wav", None, "the audio codec \"A_VORBIS\" is not known"),
        (&video, "a.wav", None, "the fragment has no audio track; its tracks: 1 (V_MPEG4/ISO/AVC)"),
        (&Bytes::from(CAMERA), "a.aac", Some(1), "the fragment has no audio track 1"),
        (&Bytes::from(CAMERA), "a.mp3", None, "ends in .wav for PCM and G.711, or in .aac for AAC"),
    ] {
        let sink = AudioSink::create(dir.path().join(name));
        let sink = if let Some(number) = track { sink.track(number) } else { sink };
        let error = record(body, sink).await.unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidArgument), "{error}");
        assert_eq!(file_names(dir.path()), [""; 0], "no file is begun");
    }
    // Both tracks of a call, chosen by number.
    for track in [1, 2] {
        let path = dir.path().join(format!("{track}.wav"));
        record(&call, AudioSink::create(&path).track(track)).await.unwrap();
        let expected: Vec<u8> = fragments(&call).await[0]
            .packets()
            .filter(|packet| packet.track_number() == track)
            .flat_map(|packet| packet.payload().to_vec())
            .collect();
        assert!(samples(&path) == (1, expected), "track {track}");
    }
}

/// Blocks of one fragment that are so far apart that silence between them does not fit into memory.
#[tokio::test]
async fn an_absurd_hole_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("call.wav");
    // 192 kHz and 16 channels.
    let private = &[6, 0, 16, 0, 0x00, 0xEE, 2, 0, 0, 0, 0, 0, 16, 0, 8, 0, 0, 0];
    let body = telephone(private, &[vec![(0, vec![1; 160])], vec![(100, vec![2; 160]), (32_100, vec![3; 160])]]);
    let error = record(&body, AudioSink::create(&path)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    assert!(error.to_string().contains("leave 31 s out") && error.to_string().contains("track 1"), "{error}");
    assert_eq!(error.summary().unwrap().files(), 1, "what came before is kept");
    assert!(samples(&path).1 == vec![1; 160]);
}
