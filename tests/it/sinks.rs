//! Files, and what `.record()` tells.

use futures::{SinkExt, StreamExt, stream};
use kinesis_video::{
    Error, ErrorKind, Fragment, FragmentStream, FragmentStreamExt, MkvSink, PacketStreamExt, RecordExt, Result,
};

use crate::media::{CAMERA, connect_document, ffmpeg_document, fragments, live_body, producer_document};

fn names(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_file_a_fragment() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("made/when/needed");
    let body = live_body((1..=3).map(producer_document));
    let summary = FragmentStream::new(&body[..]).record(MkvSink::to_dir(&out)).await.unwrap();
    assert_eq!((summary.items(), summary.files(), summary.bytes(), summary.gaps()), (3, 3, body.len() as u64, 0));
    for fragment in fragments(&body).await {
        let file = out.join(format!("{}.mkv", fragment.number().unwrap()));
        assert_eq!(std::fs::read(file).unwrap(), fragment.to_mkv());
    }
    assert_eq!(names(&out).len(), 3, "no temporary file is left");
}

#[tokio::test]
async fn names_follow_the_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let body = live_body((1..=2).map(producer_document));
    let sink = MkvSink::to_dir(dir.path()).pattern("a-{index}-{producer_ms}.mkv").unwrap();
    FragmentStream::new(&body[..]).record(sink).await.unwrap();
    assert_eq!(names(dir.path()), ["a-0-1511852109513.mkv", "a-1-1511852110513.mkv"]);
    // A file that did not come from the service has no number.
    let dir = tempfile::tempdir().unwrap();
    FragmentStream::new(CAMERA).record(MkvSink::to_dir(dir.path())).await.unwrap();
    assert_eq!(names(dir.path()), ["0.mkv"]);
    for pattern in ["same.mkv", "{index", "{what}.mkv", "../{index}.mkv", ""] {
        let error = MkvSink::to_dir("x").pattern(pattern).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{pattern}");
    }
}

#[tokio::test]
async fn a_failing_stream_still_closes_the_sink() {
    let dir = tempfile::tempdir().unwrap();
    let body = live_body((1..=2).map(ffmpeg_document));
    let mut items: Vec<Result<Fragment>> = FragmentStream::new(&body[..body.len() - 10]).collect().await;
    items.push(Err(Error::new(ErrorKind::Io, "gone")));
    let error = stream::iter(items).record(MkvSink::to_dir(dir.path())).await.unwrap_err();
    assert_eq!(error.to_string(), "I/O failed: gone");
    let summary = error.summary().unwrap();
    assert_eq!((summary.items(), summary.files(), summary.gaps()), (2, 2, 1));
    // The one that is cut has a name of its own, so that it replaces nothing whole.
    assert_eq!(names(dir.path()).iter().filter(|name| name.ends_with(".cut.mkv")).count(), 1);
    assert_eq!(names(dir.path()).len(), 2);
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    let body = live_body([producer_document(1)]);
    let error = FragmentStream::new(&body[..]).record(MkvSink::to_dir(file.join("dir"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains(&*file.to_string_lossy()), "{error}");
    assert_eq!(error.summary().unwrap().items(), 0);
}

#[tokio::test]
async fn two_sinks_take_one_stream() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let body = live_body((1..=3).map(connect_document));
    let both = SinkExt::<Fragment>::fanout(MkvSink::to_dir(one.path()), MkvSink::to_dir(two.path()));
    let summary = FragmentStream::new(&body[..]).record(both).await.unwrap();
    assert_eq!(summary.files(), 6);
    assert_eq!(names(one.path()), names(two.path()));
}

#[tokio::test]
async fn packets_and_keyframes() {
    let all: Vec<_> = FragmentStream::new(CAMERA).packets().map(|packet| packet.unwrap()).collect().await;
    assert_eq!(all.len(), 124);
    let keys: Vec<_> = FragmentStream::new(CAMERA).packets().keyframes().map(|packet| packet.unwrap()).collect().await;
    assert_eq!(keys.len(), 4, "one each second, and no audio");
    assert!(keys.iter().all(|packet| packet.track_number() == 1 && packet.is_key()));
    let detached = keys[0].detach();
    assert_eq!(detached.payload(), keys[0].payload());
    assert_ne!(detached.payload().as_ptr(), keys[0].payload().as_ptr());
    // An error passes through once, then nothing.
    let failing = stream::iter([Err(Error::new(ErrorKind::Io, "gone")), Err(Error::new(ErrorKind::Io, "never seen"))]);
    let mut packets = failing.packets().keyframes();
    assert!(packets.next().await.unwrap().is_err());
    for _ in 0..3 {
        assert!(packets.next().await.is_none());
    }
}
