//! Files of sinks, and the summary of `.record()`.

use std::time::Duration;

use futures::future::FusedFuture;
use futures::{FutureExt, SinkExt, StreamExt, TryStreamExt, stream};
use kinesis_video::local::{Document, LocalEndpoint};
use kinesis_video::{
    EncodedFrame, Error, ErrorKind, Fragment, FragmentStream, FragmentStreamExt, FrameStreamExt, ImageFormat,
    ImageSink, KinesisVideo, MediaSink, MkvSink, PacketStreamExt, PayloadSink, RecordExt, Result, Timestamp,
};

use crate::support::bodies::{
    CAMERA, connect_document, ffmpeg_document, fragments, live_body, producer_document, stamp_at,
};
use crate::support::endpoint::{now_millis, unlimited};
use crate::support::files::file_names;
use crate::support::footage::{document, fragment, groups, packets, red_and_green};

#[tokio::test]
async fn mkv_sinks_write_a_file_per_fragment() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("made/when/needed");
    let body = live_body((1..=3).map(producer_document));
    let summary = FragmentStream::new(&body[..]).record(MkvSink::to_dir(&out)).await.unwrap();
    assert_eq!((summary.items(), summary.files(), summary.bytes(), summary.gaps()), (3, 3, body.len() as u64, 0));
    for fragment in fragments(&body).await {
        let file = out.join(format!("{}.mkv", fragment.number().unwrap()));
        assert_eq!(std::fs::read(file).unwrap(), fragment.to_mkv());
    }
    assert_eq!(file_names(&out).len(), 3, "no temporary file is left");
}

#[tokio::test]
async fn a_payload_sink_writes_what_the_service_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/when/needed/door.mkv");
    let body = live_body((1..=3).map(producer_document));
    let mut sink = PayloadSink::create(&path);
    for fragment in fragments(&body).await {
        sink.send(fragment).await.unwrap();
    }
    // Until it is complete, the file has another name.
    assert!(!path.exists());
    assert_eq!(std::fs::read(path.with_file_name("door.mkv.part")).unwrap(), body);
    assert_eq!(sink.summary().files(), 0);
    sink.close().await.unwrap();
    sink.close().await.unwrap();
    assert_eq!(file_names(path.parent().unwrap()), ["door.mkv"]);
    assert_eq!(std::fs::read(&path).unwrap(), body);
    let summary = sink.summary();
    assert_eq!((summary.items(), summary.files(), summary.bytes(), summary.gaps()), (3, 1, body.len() as u64, 0));

    // What was read before an error is kept.
    let cut = FragmentStream::new(&body[..body.len() - 10]);
    let items = cut.chain(stream::iter([Err(Error::new(ErrorKind::Io, "gone"))]));
    let error = items.record(PayloadSink::create(&path)).await.unwrap_err();
    assert_eq!((error.summary().unwrap().items(), error.summary().unwrap().files()), (3, 1));
    assert_eq!(fragments(&std::fs::read(&path).unwrap().into()).await.len(), 3);

    let nothing = dir.path().join("nothing.mkv");
    let summary = FragmentStream::new(&b""[..]).record(PayloadSink::create(&nothing)).await.unwrap();
    assert!(summary.files() == 0 && !nothing.exists());

    let error = FragmentStream::new(&body[..]).record(PayloadSink::create(path.join("below"))).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("door.mkv"), "{error}");
}

#[tokio::test]
async fn file_names_follow_the_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let body = live_body((1..=2).map(producer_document));
    let sink = MkvSink::to_dir(dir.path()).pattern("a-{index}-{producer_ms}.mkv").unwrap();
    FragmentStream::new(&body[..]).record(sink).await.unwrap();
    assert_eq!(file_names(dir.path()), ["a-0-1511852109513.mkv", "a-1-1511852110513.mkv"]);
    // A fragment of a plain file has no number.
    let dir = tempfile::tempdir().unwrap();
    FragmentStream::new(CAMERA).record(MkvSink::to_dir(dir.path())).await.unwrap();
    assert_eq!(file_names(dir.path()), ["0.mkv"]);
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
    // A cut fragment has its own file name, so that it does not replace a whole one.
    assert_eq!(file_names(dir.path()).iter().filter(|name| name.ends_with(".cut.mkv")).count(), 1);
    assert_eq!(file_names(dir.path()).len(), 2);
}

#[tokio::test]
async fn an_error_names_the_folder_that_cannot_be_created() {
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
async fn two_sinks_record_one_stream() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let body = live_body((1..=3).map(connect_document));
    let both = SinkExt::<Fragment>::fanout(MkvSink::to_dir(one.path()), MkvSink::to_dir(two.path()));
    let summary = FragmentStream::new(&body[..]).record(both).await.unwrap();
    assert_eq!(summary.files(), 6);
    assert_eq!(file_names(one.path()), file_names(two.path()));
}

#[tokio::test]
async fn keyframes_yields_key_frames_of_video_only() {
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

#[tokio::test]
async fn image_sinks_write_a_file_per_picture() {
    let camera = fragment(&CAMERA.into()).await;
    let cut = fragments(&live_body(groups(&camera))).await;
    let of = |ratio: usize| stream::iter(cut.clone().into_iter().map(Ok)).frames().sample_ratio(ratio);
    let number = |at: usize| cut[at].number().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();

    // Names as in AWS's Python library: the fragment, and the index of the saved picture.
    let out = dir.path().join("jpeg");
    let summary = of(6).jpeg(80).record(ImageSink::to_dir(&out)).await.unwrap();
    let expected: Vec<String> =
        (0..4).flat_map(|at| (0..3).map(move |i| (at, i))).map(|(at, i)| format!("{}-{i}.jpg", number(at))).collect();
    assert_eq!(file_names(&out), expected);
    let sizes = expected.iter().map(|name| std::fs::metadata(out.join(name)).unwrap().len());
    assert_eq!((summary.items(), summary.files(), summary.gaps(), summary.bytes()), (12, 12, 0, sizes.sum()));

    let out = dir.path().join("png");
    let sink = ImageSink::to_dir(&out).pattern("{index}-{picture}-{i}-{producer_ms}.{ext}").unwrap();
    of(10).scale_within(32, 32).png().record(sink).await.unwrap();
    let millis = |at: usize, picture: i64| cut[at].producer_time().unwrap().as_millis() + (picture * 1000 + 7) / 15;
    let expected = [0, 1, 2, 3, 4, 5, 6, 7].map(|at| {
        let picture = at as i64 % 2 * 10;
        format!("{at}-{picture}-{}-{}.png", at % 2, millis(at / 2, picture))
    });
    assert_eq!(file_names(&out), expected);
    let small = image::load_from_memory(&std::fs::read(out.join(&expected[3])).unwrap()).unwrap();
    assert_eq!((small.width(), small.height()), (32, 24));

    // Missing pictures before a picture count as a gap.
    let packets = packets(&camera);
    let documents: Vec<Document> = vec![document(&camera, &packets[3..20])];
    let late = fragments(&live_body(documents)).await;
    let out = dir.path().join("late");
    let late = stream::iter(late.into_iter().map(Ok));
    let summary = late.frames().jpeg(50).record(ImageSink::to_dir(&out)).await.unwrap();
    assert_eq!((summary.files(), summary.gaps()), (5, 1));

    // Interleaved pictures of several fragments have distinct names.
    let out = dir.path().join("turns");
    let options = kinesis_video::frame::FrameOptions::new().sample_ratio(3);
    let fragments = stream::iter(cut.clone()).map(|fragment| Ok::<_, Error>(fragment.frames(&options)));
    let summary = fragments.try_flatten_unordered(4).jpeg(50).record(ImageSink::to_dir(&out)).await.unwrap();
    assert_eq!((summary.files(), file_names(&out).len()), (20, 20));

    for pattern in ["{number}.jpg", "picture.jpg", "a/{i}", "door.{ext}", "{time}.{ext}"] {
        assert_eq!(ImageSink::to_dir("x").pattern(pattern).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let mut pictures = of(1000).jpeg(80);
    let mut sink = ImageSink::to_dir(dir.path().join("path"));
    while let Some(picture) = pictures.try_next().await.unwrap() {
        let path = sink.path_of(&picture);
        sink.send(picture).await.unwrap();
        SinkExt::<EncodedFrame>::flush(&mut sink).await.unwrap();
        assert!(path.exists());
    }
    SinkExt::<EncodedFrame>::close(&mut sink).await.unwrap();
    assert_eq!(MediaSink::<EncodedFrame>::summary(&sink).files(), 4);
}

#[tokio::test]
async fn archived_images_become_files_and_missing_ones_gaps() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let base = now_millis() - 60_000;
    let door = endpoint.create_stream("door");
    let picture = red_and_green().await;
    for (ordinal, millis) in [(1, 0), (2, 20_000)] {
        door.push_stamped(&picture, stamp_at(ordinal, base + millis, base + millis));
    }
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let images = |format: ImageFormat| {
        let (start, end) = (Timestamp::from_millis(base), Timestamp::from_millis(base + 20_000));
        kvs.images("door").range(start..=end).sample_every(Duration::from_secs(10)).size(64, 48).format(format).images()
    };
    let dir = tempfile::tempdir().unwrap();

    let out = dir.path().join("jpeg");
    let summary = images(ImageFormat::Jpeg).record(ImageSink::to_dir(&out)).await.unwrap();
    let expected = [format!("{base}.jpg"), format!("{}.jpg", base + 20_000)];
    assert_eq!(file_names(&out), expected);
    let sizes = expected.iter().map(|name| std::fs::metadata(out.join(name)).unwrap().len());
    assert_eq!((summary.items(), summary.files(), summary.gaps(), summary.bytes()), (2, 2, 1, sizes.sum()));

    let out = dir.path().join("png");
    let sink = ImageSink::to_dir(&out).pattern("{index}-{fragment}-{time_ms}.{ext}").unwrap();
    images(ImageFormat::Png).record(sink).await.unwrap();
    let expected = [format!("0-0-{base}.png"), format!("1-1-{}.png", base + 20_000)];
    assert_eq!(file_names(&out), expected);
    let small = image::load_from_memory(&std::fs::read(out.join(&expected[1])).unwrap()).unwrap();
    assert_eq!((small.width(), small.height()), (64, 48));
}

#[tokio::test]
async fn a_recording_polled_after_its_end_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let body = live_body([producer_document(1)]);
    let mut recording = FragmentStream::new(&body[..]).record(MkvSink::to_dir(dir.path()));
    let summary = (&mut recording).await.unwrap();
    assert!(recording.is_terminated());
    for _ in 0..2 {
        let error = (&mut recording).now_or_never().expect("it does not wait").unwrap_err();
        assert_eq!((error.kind(), error.summary()), (ErrorKind::InvalidArgument, Some(&summary)));
    }
}
