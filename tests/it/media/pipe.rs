//! Fragments to the standard input of a program.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt, stream};
use kinesis_video::local::{Document, Shape};
use kinesis_video::{
    Error, ErrorKind, Fragment, MediaSink, MkvFileSink, PipeEnd, PipeSink, RecordExt, Result, Summary,
};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::support::bodies::{CAMERA, fragments, live_body, payload, stamp_at};
use crate::support::footage::{fragment, groups, source};

/// Far longer than anything here takes, so that a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    // A program that outlives its test holds no output of it.
    command.args(["-c", script]).stdout(Stdio::null());
    command
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it ends")
}

/// The camera's recording, one fragment for each second.
async fn camera() -> Vec<Fragment> {
    fragments(&live_body(groups(&fragment(&CAMERA.into()).await))).await
}

/// A fragment of one second that no pipe has room for.
fn large(ordinal: u32) -> Document {
    let document = Document::new(Shape::Ffmpeg).audio_track(1, "sound", "A_FLAC");
    document.cluster_time(u64::from(ordinal) * 1000).block(1, 0, true, &payload(1 << 20, ordinal as u8))
}

/// An endless stream of large fragments, and how many were taken.
fn endless() -> (impl Stream<Item = Result<Fragment>> + Unpin, Arc<AtomicUsize>) {
    let taken = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&taken);
    let fragments = stream::unfold(1, move |ordinal| {
        let count = Arc::clone(&count);
        async move {
            let millis = 1_700_000_000_000 + i64::from(ordinal) * 1000;
            let body = large(ordinal).to_bytes(&stamp_at(ordinal, millis, millis), 0);
            count.fetch_add(1, Ordering::SeqCst);
            Some((Ok(fragments(&body).await[0].clone()), ordinal + 1))
        }
    });
    (Box::pin(fragments), taken)
}

async fn record(fragments: impl Stream<Item = Result<Fragment>>, sink: &mut PipeSink) -> Result<Summary> {
    within(fragments.record(sink)).await
}

/// What the MKV writer writes, without the index at the end.
async fn muxed(fragments: &[Fragment], dir: &Path) -> Vec<u8> {
    let mut sink = MkvFileSink::create(dir.join("expected.mkv")).keep_tags(true);
    for fragment in fragments {
        sink.send(fragment.clone()).await.unwrap();
    }
    sink.flush().await.unwrap();
    std::fs::read(dir.join("expected.mkv.part")).unwrap()
}

#[cfg(target_os = "linux")]
async fn until_gone(id: u32) {
    let process = PathBuf::from(format!("/proc/{id}"));
    within(async {
        while process.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_program_reads_what_the_muxer_writes() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.mkv");
    let camera = camera().await;
    let script = format!("cat > '{}'; echo copied >&2", copy.display());
    let mut sink = PipeSink::spawn(shell(&script)).unwrap().keep_tags(true);
    assert!(sink.id().is_some() && sink.end_reason().is_none() && !sink.is_done());
    let summary = record(source(&camera), &mut sink).await.unwrap();
    // The program had the time to finish.
    let expected = muxed(&camera, dir.path()).await;
    assert!(std::fs::read(&copy).unwrap() == expected);
    assert_eq!((summary.items(), summary.bytes(), summary.files()), (4, expected.len() as u64, 0));
    assert!(matches!(sink.end_reason(), Some(PipeEnd::Closed(status)) if status.success()));
    assert_eq!((sink.stderr().as_str(), sink.id()), ("copied\n", None));
    within(sink.close()).await.unwrap();
    let error = within(sink.send(camera[0].clone())).await.unwrap_err();
    assert!(error.to_string().contains("\"sh\" has ended and takes no more input"), "{error}");
}

#[tokio::test]
async fn ffmpeg_decodes_every_picture() {
    let camera = camera().await;
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "warning", "-xerror", "-i", "-", "-f", "framehash", "-hash", "sha256", "-"]);
    ffmpeg.stdout(Stdio::piped());
    let mut sink = PipeSink::spawn(ffmpeg).unwrap();
    let mut stdout = sink.take_stdout().unwrap();
    let (mut listed, recording) = (String::new(), record(source(&camera), &mut sink));
    let (summary, read) = futures::join!(recording, within(stdout.read_to_string(&mut listed)));
    summary.unwrap();
    read.unwrap();
    let pictures = camera.iter().flat_map(Fragment::packets).count();
    assert_eq!(listed.lines().filter(|line| !line.starts_with('#')).count(), pictures);
    assert_eq!(sink.stderr(), "");
}

/// `ffmpeg -t 10` and `head` end when they have enough, whether or not more comes.
#[tokio::test]
async fn a_program_that_has_enough_ends_the_recording() {
    for script in ["true", "head -c 100000 > /dev/null", "exec 0<&-; sleep 0.1"] {
        let (fragments, taken) = endless();
        let mut sink = PipeSink::spawn(shell(script)).unwrap();
        let summary = record(fragments, &mut sink).await.unwrap();
        assert!(matches!(sink.end_reason(), Some(PipeEnd::Early(status)) if status.success()), "{script}");
        assert_eq!(summary.items(), 0, "{script}: no fragment was read whole");
        assert!(taken.load(Ordering::SeqCst) <= 3, "{script}");
        let (fragments, _) = endless();
        let error = within(async { fragments.take(1).next().await.unwrap() }).await.map(|fragment| sink.send(fragment));
        let error = within(error.unwrap()).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Io && !error.is_retryable(), "{error}");
    }
    // The source waits for ever, and the program ends on its own.
    let first = camera().await.remove(0);
    let idle = stream::iter([Ok(first)]).chain(stream::pending());
    let mut sink = PipeSink::spawn(shell("head -c 10 > /dev/null; sleep 0.1")).unwrap();
    record(idle, &mut sink).await.unwrap();
    assert!(matches!(sink.end_reason(), Some(PipeEnd::Early(_))) && sink.is_done());
    // An error of the source is not lost to it.
    let failing = stream::iter([Err(Error::new(ErrorKind::Io, "gone"))]);
    assert_eq!(record(failing, &mut sink).await.unwrap_err().message(), "gone");
}

#[tokio::test]
async fn a_program_that_fails_says_why() {
    for (script, expected) in [
        (
            "echo starting >&2; echo 'cannot open the device' >&2; exit 3",
            "the program \"sh\" failed (exit status: 3): starting / cannot open the device",
        ),
        ("exit 1", "failed (exit status: 1): it wrote no message"),
        ("cat > /dev/null; echo 'too short' >&2; exit 7", "failed (exit status: 7): too short"),
        ("kill -9 $$", "failed (signal: 9 (SIGKILL))"),
    ] {
        let mut sink = PipeSink::spawn(shell(script)).unwrap();
        let error = record(source(&camera().await), &mut sink).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Io, false));
        assert!(sink.end_reason().is_some_and(|end| !end.status().success()));
        assert!(!sink.is_done(), "a failure is no end");
        assert!(within(sink.close()).await.is_err(), "it is returned until the end");
    }
}

/// A program that never reads holds the source back: one fragment is in the sink, and one waits.
#[tokio::test]
async fn backpressure_reaches_the_source() {
    let (fragments, taken) = endless();
    let mut sink = PipeSink::spawn(shell("exec sleep 300")).unwrap();
    let id = sink.id().unwrap();
    let recording = tokio::time::timeout(Duration::from_secs(1), fragments.record(&mut sink)).await;
    assert!(recording.is_err(), "it waits");
    assert_eq!(taken.load(Ordering::SeqCst), 2);
    assert_eq!(sink.summary().items(), 0);
    assert!(sink.summary().bytes() < 1 << 20, "a pipe has little room");
    drop(sink);
    #[cfg(target_os = "linux")]
    until_gone(id).await;
    let _ = id;
}

#[tokio::test]
async fn messages_are_read_and_bounded() {
    // More than a pipe holds, before the program reads at all.
    let script = "yes 'a line of text' | head -c 500000 >&2; cat > /dev/null; printf 'the last line' >&2";
    let mut sink = PipeSink::spawn(shell(script)).unwrap();
    let (fragments, _) = endless();
    record(fragments.take(3), &mut sink).await.unwrap();
    assert_eq!(sink.stderr().len(), 8 << 10);
    assert!(sink.stderr().ends_with("the last line"));
    // A process that outlives the program keeps its messages open.
    let mut sink = PipeSink::spawn(shell("sleep 60 & cat > /dev/null; echo done >&2")).unwrap();
    let summary = tokio::time::timeout(Duration::from_secs(50), source(&camera().await).record(&mut sink)).await;
    summary.expect("it does not wait for the other process").unwrap();
    assert_eq!(sink.stderr(), "done\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let error = PipeSink::spawn(Command::new("kinesis-video-no-such-program")).unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Io, false));
    assert!(error.to_string().contains("\"kinesis-video-no-such-program\" failed: it was not found"), "{error}");
    let outside = std::thread::spawn(|| PipeSink::spawn(shell("true")).unwrap_err()).join().unwrap();
    assert!(outside.to_string().contains("needs a tokio runtime"), "{outside}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn dropping_the_sink_kills_the_program() {
    for sent in [false, true] {
        let mut sink = PipeSink::spawn(shell("exec sleep 300")).unwrap();
        let id = sink.id().unwrap();
        assert!(PathBuf::from(format!("/proc/{id}")).exists());
        if sent {
            sink.send(camera().await.remove(0)).await.unwrap_or_default();
        }
        drop(sink);
        until_gone(id).await;
    }
}

/// One MKV goes on through a restarted timeline, and not through other tracks.
#[tokio::test]
async fn timelines_restart_and_tracks_do_not() {
    let at = |ordinal: u32, cluster: u64, producer: i64, salt: u8| {
        let document = Document::new(Shape::Ffmpeg).audio_track(1, "sound", "A_FLAC").cluster_time(cluster);
        let document = (0..5).fold(document, |document, i| document.block(1, i * 200, true, &[salt, i as u8]));
        document.to_bytes(&stamp_at(ordinal, producer, producer), 0)
    };
    const BASE: i64 = 1_700_000_000_000;
    // The producer restarts 10 s after its second fragment.
    let bodies = [
        at(1, 50_000, BASE, 1),
        at(2, 51_000, BASE + 1000, 2),
        at(3, 0, BASE + 11_000, 3),
        at(4, 1000, BASE + 12_000, 4),
    ];
    let all = fragments(&Bytes::from(bodies.concat())).await;
    let mut copy = shell("cat");
    copy.stdout(Stdio::piped());
    let mut sink = PipeSink::spawn(copy).unwrap();
    let mut stdout = sink.take_stdout().unwrap();
    let mut read = Vec::new();
    let (summary, _) = futures::join!(record(source(&all), &mut sink), within(stdout.read_to_end(&mut read)));
    let summary = summary.unwrap();
    assert_eq!((summary.items(), summary.gaps()), (4, 1));
    let again = fragment(&read.into()).await;
    let times: Vec<(i64, u8)> =
        again.packets().map(|packet| (packet.timecode_ns() / 1_000_000, packet.payload()[0])).collect();
    let expected: Vec<(i64, u8)> = [(0, 1), (1000, 2), (11_000, 3), (12_000, 4)]
        .iter()
        .flat_map(|(at, salt)| (0..5).map(move |i| (at + i * 200, *salt)))
        .collect();
    assert_eq!(times, expected);

    let of = |codec| Document::new(Shape::Ffmpeg).audio_track(1, "sound", codec).block(1, 0, true, &[9]);
    let changed = fragments(&live_body([of("A_FLAC"), of("A_VORBIS")])).await;
    let mut sink = PipeSink::spawn(shell("cat > /dev/null")).unwrap();
    let error = record(source(&changed), &mut sink).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("the tracks differ") && error.position().fragment().is_some(), "{error}");
    assert_eq!(error.summary().unwrap().items(), 1);
    assert!(matches!(sink.end_reason(), Some(PipeEnd::Closed(_))), "the program could finish");
}
