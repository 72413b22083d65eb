//! The picture that is shown at a time, against decoding the whole and choosing.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use kinesis_video::frame::OnDecodeError;
use kinesis_video::local::Document;
use kinesis_video::{Clock, Error, ErrorKind, Fragment, FragmentStream, FragmentStreamExt, Frame, Packet, Timestamp};

use crate::support::bodies::{CAMERA, Chunking, connect_document, fragments, live_body, pieces};
use crate::support::footage::{blocks, document, footage, fragment, groups, hash, packets, source};
use crate::support::rounds::rounds;
use crate::support::stills::{BASE, at, at_nanos, body_of, h264};

/// The identity of a picture, to compare.
fn identity(frame: &Frame) -> (u64, u32, i64, bool, String) {
    let info = frame.info();
    (info.fragment_index(), info.index(), info.timecode_ns(), info.is_key(), hash(frame))
}

/// Decodes everything and chooses the last picture at or before a time.
fn chosen(all: &[Frame], time: Timestamp) -> Option<&Frame> {
    all.iter()
        .filter(|frame| frame.info().producer_time().unwrap() <= time)
        .max_by_key(|frame| frame.info().producer_time())
}

async fn pictures(fragments: &[Fragment]) -> Vec<Frame> {
    source(fragments).frames().try_collect().await.unwrap()
}

/// Yields these fragments, and then nothing for ever.
fn then_pending(fragments: &[Fragment]) -> impl Stream<Item = kinesis_video::Result<Fragment>> + use<> {
    source(fragments).chain(stream::pending())
}

async fn is_what_choosing_from_all_gives(name: &str, body: &Bytes, seed: u64) {
    let fragments = fragments(body).await;
    let all = pictures(&fragments).await;
    assert!(all.len() > 20, "{name}: {} pictures", all.len());
    let times: Vec<i64> = all.iter().map(|frame| frame.info().producer_time().unwrap().as_nanos()).collect();
    let (first, last) = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
    let mut rng = Rng::with_seed(seed);
    for round in 0..rounds(100) {
        // Half of the times are exactly those of pictures.
        let nanos = match round % 2 {
            0 => rng.i64(first - 50_000_000..last + 300_000_000),
            _ => times[rng.usize(..times.len())],
        };
        let time = at_nanos(nanos);
        let expected = chosen(&all, time).map(identity);
        let found = source(&fragments).frame_at(time).await.unwrap();
        assert_eq!(found.as_ref().map(identity), expected, "{name} at {nanos}");
        // Of the fragment alone.
        if let Some(expected) = expected {
            let fragment = &fragments[expected.0 as usize];
            let found = fragment.frame_at(time).await.unwrap().unwrap();
            assert_eq!(identity(&found), (0, expected.1, expected.2, expected.3, expected.4), "{name} at {nanos}");
        }
    }
    // Whatever the chunks.
    let time = at_nanos(times[times.len() / 2]);
    for chunking in [Chunking::Each(100), Chunking::Random(5000, seed)] {
        let found = FragmentStream::from_stream(pieces(body, chunking)).frame_at(time).await.unwrap();
        assert_eq!(found.as_ref().map(identity), chosen(&all, time).map(identity), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_is_that_of_decoding_the_whole() {
    let source = "testsrc2=size=160x96:rate=25:duration=6";
    let h265 = |parameters: &'static str| vec!["-c:v", "libx265", "-preset", "fast", "-x265-params", parameters];
    let cases = [
        ("no B-frames", h264("keyint=25:bframes=0")),
        ("B-frames", h264("keyint=50:bframes=3:b-adapt=0")),
        ("a pyramid, several groups", h264("keyint=20:bframes=7:b-adapt=0:b-pyramid=normal:ref=4")),
        ("open groups", h264("keyint=40:bframes=3:b-adapt=0:open-gop=1")),
        ("gradual refresh", h264("keyint=30:bframes=0:intra-refresh=1:ref=1")),
        ("H.265, layers, open groups", h265("log-level=none:keyint=40:open-gop=1:bframes=7:temporal-layers=3")),
        ("H.265, decodable leading pictures", h265("log-level=none:keyint=40:open-gop=0:bframes=4:radl=2")),
        ("MJPEG", vec!["-c:v", "mjpeg"]),
        ("MPEG-4", vec!["-c:v", "mpeg4", "-g", "30", "-bf", "2"]),
        ("MPEG-2, open groups", vec!["-c:v", "mpeg2video", "-g", "30", "-bf", "2"]),
        ("VP8", vec!["-c:v", "libvpx", "-g", "30", "-b:v", "200k", "-auto-alt-ref", "1", "-lag-in-frames", "5"]),
    ];
    for ((name, arguments), seed) in cases.into_iter().zip(1..) {
        let file = fragment(&footage(source, &arguments)).await;
        // A fragment for each group, and all groups in one fragment.
        is_what_choosing_from_all_gives(name, &body_of(groups(&file)).await, seed).await;
        let whole = body_of([document(&file, &packets(&file))]).await;
        is_what_choosing_from_all_gives(&format!("{name}, in one fragment"), &whole, seed).await;
    }
}

/// Three groups of a second, of 25 pictures each.
async fn three_seconds() -> Vec<Document> {
    let file =
        footage("testsrc2=size=160x96:rate=25:duration=3", &h264("keyint=25:min-keyint=25:scenecut=0:bframes=2"));
    groups(&fragment(&file).await)
}

#[tokio::test]
async fn before_the_first_picture_there_is_none() {
    let three = fragments(&body_of(three_seconds().await).await).await;
    assert!(source(&three).frame_at(at_nanos(at(0).as_nanos() - 1)).await.unwrap().is_none());
    assert!(three[1].frame_at(at_nanos(at(1000).as_nanos() - 1)).await.unwrap().is_none());
    assert_eq!(three[1].frame_at(at(1000)).await.unwrap().unwrap().info().index(), 0);
    // It is known from the first fragment.
    let found = tokio::time::timeout(Duration::from_secs(60), then_pending(&three[..1]).frame_at(at(-5))).await;
    assert!(found.expect("no second fragment is needed").unwrap().is_none());
    assert!(source(&[]).frame_at(at(0)).await.unwrap().is_none());
}

#[tokio::test]
async fn the_picture_is_known_with_the_first_later_one() {
    let three = fragments(&body_of(three_seconds().await).await).await;
    let found = |count: usize, millis: i64| {
        let future = then_pending(&three[..count]).frame_at(at(millis));
        async move { tokio::time::timeout(Duration::from_secs(60), future).await.expect("it is known").unwrap().unwrap() }
    };
    assert_eq!(found(2, 1459).await.info().index(), 11);
    // At the last picture of a fragment, the next fragment decides.
    assert_eq!(found(3, 1970).await.info().fragment_index(), 1);
    let mut unknown = Box::pin(then_pending(&three[..2]).frame_at(at(1970)));
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut unknown).await.is_err());
    // Errors after the picture is known do not matter, those before it do.
    let gone = || stream::iter([Err(Error::new(ErrorKind::Io, "gone"))]);
    assert!(source(&three[..1]).chain(gone()).frame_at(at(500)).await.unwrap().is_some());
    assert_eq!(source(&three[..1]).chain(gone()).frame_at(at(970)).await.unwrap_err().kind(), ErrorKind::Io);
}

/// Groups that begin at these times, in milliseconds.
async fn groups_at(starts: &[i64]) -> Vec<Fragment> {
    use crate::support::bodies::stamp_at;
    let documents = three_seconds().await;
    let mut body = Vec::new();
    for ((document, start), ordinal) in documents.iter().zip(starts).zip(1..) {
        // The server's clock is three seconds ahead.
        body.extend_from_slice(&document.to_bytes(&stamp_at(ordinal, BASE + start + 3000, BASE + start), 0));
    }
    fragments(&body.into()).await
}

#[tokio::test]
async fn in_a_gap_the_last_picture_stays_for_twenty_seconds_after_the_start() {
    let fragments = groups_at(&[0, 60_000, 61_000]).await;
    for (millis, expected) in
        [(960, true), (1500, true), (20_000, true), (20_001, false), (59_999, false), (60_000, true)]
    {
        let found = source(&fragments).frame_at(at(millis)).await.unwrap();
        assert_eq!(found.is_some(), expected, "{millis}");
        if let Some(frame) = found {
            assert_eq!(frame.info().index(), if millis < 60_000 { 24 } else { 0 }, "{millis}");
        }
    }
    // The same at the end.
    for (millis, expected) in [(81_000, true), (81_001, false)] {
        assert_eq!(source(&fragments).frame_at(at(millis)).await.unwrap().is_some(), expected, "{millis}");
    }
    // Of a fragment alone, the last picture stays for ever.
    assert_eq!(fragments[0].frame_at(at(90_000_000)).await.unwrap().unwrap().info().index(), 24);
    // A fragment that lasts longer has its picture at any time.
    let file = fragment(&footage("testsrc2=size=64x48:rate=1:duration=30", &h264("keyint=30:bframes=0"))).await;
    let long = crate::support::bodies::fragments(&body_of([document(&file, &packets(&file))]).await).await;
    let frame = source(&long).frame_at(at(25_500)).await.unwrap().unwrap();
    assert_eq!(frame.info().index(), 25);
    assert!(source(&long).frame_at(at(40_000)).await.unwrap().is_none());
}

#[tokio::test]
async fn times_on_the_servers_clock_count_from_the_start_of_the_fragment() {
    let fragments = groups_at(&[0, 1000, 2000]).await;
    for millis in [0, 1, 39, 40, 999, 1000, 1530, 2960] {
        let producer = source(&fragments).frame_at(at(millis)).await.unwrap().unwrap();
        let server = source(&fragments).frame_at(at(millis + 3000)).clock(Clock::Server).await.unwrap().unwrap();
        assert_eq!(identity(&server), identity(&producer), "{millis}");
    }
    assert!(source(&fragments).frame_at(at(2999)).clock(Clock::Server).await.unwrap().is_none());
}

#[tokio::test]
async fn a_fragment_that_begins_without_pictures_shows_the_one_before() {
    let file =
        footage("testsrc2=size=160x96:rate=25:duration=2", &h264("keyint=25:min-keyint=25:scenecut=0:bframes=0"));
    let file = fragment(&file).await;
    let all = packets(&file);
    // The second fragment starts 200 ms before its first picture, as one that begins with audio.
    let second = all[25..].iter().fold(document(&file, &[]).cluster_time(800), |document, packet| {
        document.block(
            1,
            i16::try_from(packet.timecode_ns() / 1_000_000 - 800).unwrap(),
            packet.is_key(),
            packet.payload(),
        )
    });
    let cut = fragments(&body_of([document(&file, &all[..20]), second]).await).await;
    let whole = pictures(&cut).await;
    for millis in [700, 790, 800, 900, 999, 1000, 1100] {
        let found = source(&cut).frame_at(at(millis)).await.unwrap().unwrap();
        assert_eq!(identity(&found), identity(chosen(&whole, at(millis)).unwrap()), "{millis}");
    }
    assert_eq!(source(&cut).frame_at(at(900)).await.unwrap().unwrap().info().fragment_index(), 0);
}

#[tokio::test]
async fn a_damaged_picture_is_replaced_as_the_option_says() {
    let file = footage(
        "testsrc2=size=320x180:rate=10:duration=2",
        &h264("keyint=20:min-keyint=20:scenecut=0:bframes=0:cabac=0:ref=1"),
    );
    let file = fragment(&file).await;
    let damaged = |place: usize| {
        let mut media = document(&file, &[]);
        for (at, packet) in packets(&file).iter().enumerate() {
            let mut payload = packet.payload().to_vec();
            if at == place {
                // Half of the only slice.
                let slice = (payload.len() - 4) / 2;
                payload.truncate(4 + slice);
                payload[..4].copy_from_slice(&(slice as u32).to_be_bytes());
            }
            media = media.block(1, i16::try_from(packet.timecode_ns() / 1_000_000).unwrap(), packet.is_key(), &payload);
        }
        media
    };
    let cut = fragments(&body_of([damaged(5)]).await).await;
    let whole = pictures(&cut).await;
    assert_eq!(whole.len(), 5);
    for (millis, index) in [(400, 4), (500, 4), (900, 4)] {
        let found = source(&cut).frame_at(at(millis)).await.unwrap().unwrap();
        assert_eq!(identity(&found), identity(&whole[index]), "{millis}");
    }
    let concealed = source(&cut).frame_at(at(700)).on_decode_error(OnDecodeError::Conceal).await.unwrap().unwrap();
    assert_eq!((concealed.info().index(), concealed.info().is_damaged()), (7, true));
    let error = cut[0].frame_at(at(700)).on_decode_error(OnDecodeError::Fail).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Malformed);
    // With its key frame, the group is lost.
    let lost = fragments(&body_of([damaged(0)]).await).await;
    assert!(source(&lost).frame_at(at(700)).await.unwrap().is_none());
    assert!(source(&cut).frame_at(at(700)).max_pixels(100).await.unwrap().is_none());
}

#[tokio::test]
async fn what_has_no_picture_or_no_time_is_told() {
    let three = fragments(&body_of(three_seconds().await).await).await;
    let plain = fragment(&Bytes::from_static(CAMERA)).await;
    let error = plain.frame_at(at(0)).await.unwrap_err();
    assert_eq!((error.kind(), error.position().offset()), (ErrorKind::InvalidArgument, Some(0)));
    assert!(error.to_string().contains("no time of day"), "{error}");
    assert!(source(&[plain]).frame_at(at(0)).clock(Clock::Server).await.is_err());
    // Without the tag of the producer's time.
    let mut body = body_of(three_seconds().await).await.to_vec();
    for tag in memchr::memmem::find_iter(&body.clone(), "PRODUCER_TIMESTAMP") {
        body[tag] = b'X';
    }
    let only_server = fragments(&body.into()).await;
    let error = only_server[0].frame_at(at(0)).await.unwrap_err();
    assert!(error.to_string().contains("choose the picture by that of the service"), "{error}");
    // Other tracks, and no video at all.
    assert!(source(&three).frame_at(at(500)).track(9).await.unwrap().is_none());
    assert!(source(&three).frame_at(at(500)).track(1).await.unwrap().is_some());
    let call = fragments(&live_body([connect_document(1)])).await;
    let time = Timestamp::from_millis(call[0].producer_time().unwrap().as_millis() + 500);
    assert!(source(&call).frame_at(time).await.unwrap().is_none());
    // An unknown codec matters only if the picture would be in its fragment.
    let file = fragment(&footage("testsrc2=size=160x96:rate=25:duration=2", &h264("keyint=25:min-keyint=25"))).await;
    let unknown = |packets: &[Packet]| {
        let track = Document::new(kinesis_video::local::Shape::Ffmpeg);
        blocks(track.picture_track(1, "V_FROM/TOMORROW", 160, 96), packets)
    };
    let all = packets(&file);
    let mixed = fragments(&body_of([unknown(&all[..25]), document(&file, &all[25..])]).await).await;
    let error = source(&mixed).frame_at(at(500)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("V_FROM/TOMORROW"), "{error}");
    assert!(source(&mixed).frame_at(at(1500)).await.unwrap().is_some());
}

#[test]
fn without_a_runtime_it_fails() {
    let three = futures::executor::block_on(async { fragments(&body_of(three_seconds().await).await).await });
    let error = futures::executor::block_on(source(&three).frame_at(at(500))).unwrap_err();
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}
