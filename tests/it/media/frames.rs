//! Decoded pictures, against FFmpeg's.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use kinesis_video::frame::{FrameOptions, Frames};
use kinesis_video::{Fragment, FragmentStreamExt, Frame};

use crate::support::bodies::{CAMERA, CAPTURES, capture, fragments, live_body};
use crate::support::footage::{Source, footage, fragment, groups, hash, judged_pictures, source};

async fn decoded(fragment: &Fragment, ratio: usize) -> Vec<Frame> {
    let one = futures::stream::iter([Ok(fragment.clone())]);
    one.frames().sample_ratio(ratio).try_collect().await.unwrap()
}

async fn is_what_ffmpeg_decodes(name: &str, body: &Bytes) {
    let fragments = fragments(body).await;
    assert!(!fragments.is_empty(), "{name}");
    for fragment in &fragments {
        let judged = judged_pictures(&fragment.to_mkv());
        assert!(!judged.is_empty(), "{name}");
        for ratio in [1, 2, 5, 7, 1000] {
            let ours: Vec<_> = decoded(fragment, ratio).await.iter().map(hash).collect();
            let chosen: Vec<_> = judged.iter().step_by(ratio).cloned().collect();
            assert!(ours == chosen, "{name} {fragment:?} ratio {ratio}: {} pictures for {}", ours.len(), chosen.len());
        }
    }
}

#[tokio::test]
async fn captures_and_the_fixture_decode_like_ffmpeg() {
    is_what_ffmpeg_decodes("camera", &Bytes::from_static(CAMERA)).await;
    for name in CAPTURES {
        if let Some(body) = capture(name) {
            is_what_ffmpeg_decodes(name, &body).await;
        }
    }
}

const H264: [&str; 4] = ["-c:v", "libx264", "-preset", "fast"];

#[tokio::test]
async fn codecs_decode_like_ffmpeg() {
    let source = "testsrc2=size=320x180:rate=20:duration=3";
    let cases: [(&str, Vec<&str>); 9] = [
        ("B-frames", [&H264[..], &["-g", "20", "-bf", "3"]].concat()),
        ("no B-frames", [&H264[..], &["-g", "20", "-bf", "0"]].concat()),
        ("a pyramid", [&H264[..], &["-g", "20", "-bf", "6", "-x264-params", "b-pyramid=normal:b-adapt=0"]].concat()),
        ("H.265", vec!["-c:v", "libx265", "-x265-params", "log-level=none:keyint=20:open-gop=0:bframes=4"]),
        (
            "H.265, layers",
            vec!["-c:v", "libx265", "-x265-params", "log-level=none:keyint=20:open-gop=0:temporal-layers=3:bframes=7"],
        ),
        ("MJPEG", vec!["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj422p"]),
        ("10 bit", [&H264[..], &["-g", "20", "-pix_fmt", "yuv420p10le"]].concat()),
        ("MPEG-4", vec!["-c:v", "mpeg4", "-g", "20", "-bf", "2"]),
        ("VP8", vec!["-c:v", "libvpx", "-g", "20", "-b:v", "200k", "-auto-alt-ref", "1", "-lag-in-frames", "5"]),
    ];
    for (name, arguments) in cases {
        is_what_ffmpeg_decodes(name, &footage(source, &arguments)).await;
    }
}

/// Streams of three or four fragments, of different kinds.
async fn streams() -> Vec<(&'static str, Vec<Fragment>)> {
    let source = "testsrc2=size=160x96:rate=25:duration=6";
    let h264 = |parameters: &'static str| vec!["-c:v", "libx264", "-preset", "ultrafast", "-x264-params", parameters];
    let h265 = |parameters: &'static str| vec!["-c:v", "libx265", "-preset", "fast", "-x265-params", parameters];
    let cases = [
        ("B-frames", h264("keyint=75:bframes=3:b-adapt=0")),
        ("a pyramid, several groups", h264("keyint=20:bframes=7:b-adapt=0:b-pyramid=normal:ref=4")),
        ("open groups", h264("keyint=40:bframes=3:b-adapt=0:open-gop=1")),
        ("H.265, layers, open groups", h265("log-level=none:keyint=40:open-gop=1:bframes=7:temporal-layers=3")),
        ("MJPEG", vec!["-c:v", "mjpeg"]),
        ("MPEG-4", vec!["-c:v", "mpeg4", "-g", "30", "-bf", "2"]),
        ("MPEG-2, open groups", vec!["-c:v", "mpeg2video", "-g", "30", "-bf", "2"]),
        (
            "MPEG-2, closed groups",
            vec!["-c:v", "mpeg2video", "-g", "30", "-bf", "2", "-flags", "+cgop", "-sc_threshold", "1000000000"],
        ),
        ("VP8", vec!["-c:v", "libvpx", "-g", "30", "-b:v", "100k"]),
    ];
    let mut streams = Vec::new();
    for (name, arguments) in cases {
        let documents = groups(&fragment(&footage(source, &arguments)).await);
        // Every n-th fragment of a stream of independent pictures, and all groups of the others.
        let documents = documents.into_iter().take(if name == "MJPEG" { 40 } else { 8 });
        streams.push((name, fragments(&live_body(documents)).await));
    }
    // A fragment with several groups.
    let several = fragment(&footage(source, &h264("keyint=20:bframes=3"))).await;
    streams.push(("groups in one fragment", vec![several]));
    streams
}

/// The identity of each picture, to compare.
fn picture_identities(frames: &[Frame]) -> Vec<(u64, u32, i64, bool, String)> {
    let one = |frame: &Frame| {
        let info = frame.info();
        (info.fragment_index(), info.index(), info.timecode_ns(), info.is_key(), hash(frame))
    };
    frames.iter().map(one).collect()
}

async fn pictures(frames: Frames<Source>) -> Vec<Frame> {
    frames.try_collect().await.unwrap()
}

#[tokio::test]
async fn sampling_by_count_yields_a_subset_of_all_pictures() {
    for (name, fragments) in streams().await {
        let all = picture_identities(&pictures(source(&fragments).frames()).await);
        assert!(all.len() > 30, "{name}");
        for ratio in 1..=70 {
            let sampled = picture_identities(&pictures(source(&fragments).frames().sample_ratio(ratio)).await);
            let chosen: Vec<_> =
                all.iter().filter(|picture| (picture.1 as usize).is_multiple_of(ratio)).cloned().collect();
            assert!(sampled == chosen, "{name}, ratio {ratio}: {} for {}", sampled.len(), chosen.len());
        }
        let keys: Vec<_> = all.iter().filter(|picture| picture.3).cloned().collect();
        assert_eq!(picture_identities(&pictures(source(&fragments).frames().keyframes()).await), keys, "{name}");
        for fragment in 0..fragments.len() as u64 {
            let indices = all.iter().filter(|picture| picture.0 == fragment).map(|picture| picture.1);
            assert!(indices.eq(0..all.iter().filter(|picture| picture.0 == fragment).count() as u32), "{name}");
        }
    }
}

#[tokio::test]
async fn sampling_by_time_follows_its_definition() {
    for (name, fragments) in streams().await {
        let all = pictures(source(&fragments).frames()).await;
        for millis in [1, 39, 40, 41, 100, 333, 1000, 1700, 60_000] {
            for only_keys in [false, true] {
                // The first picture of each interval of the producer's clock, from the times of the blocks.
                let mut stretch = None;
                let mut chosen = Vec::new();
                for frame in all.iter().filter(|frame| !only_keys || frame.info().is_key()) {
                    let time = frame.info().producer_time().map(kinesis_video::Timestamp::as_millis);
                    let of_this = Some(time.unwrap_or(frame.info().timecode_ns() / 1_000_000).div_euclid(millis));
                    if std::mem::replace(&mut stretch, of_this) != of_this {
                        chosen.push(frame.clone());
                    }
                }
                let frames = source(&fragments).frames().sample_every(Duration::from_millis(millis as u64));
                let frames = if only_keys { frames.keyframes() } else { frames };
                assert_eq!(
                    picture_identities(&pictures(frames).await),
                    picture_identities(&chosen),
                    "{name}, {millis} ms, keys {only_keys}"
                );
            }
        }
    }
}

#[tokio::test]
async fn concurrent_decoding_keeps_the_order() {
    for (name, fragments) in streams().await {
        let all = picture_identities(&pictures(source(&fragments).frames()).await);
        for concurrency in [2, 3, 100] {
            let frames = source(&fragments).frames().concurrency(concurrency);
            assert!(picture_identities(&pictures(frames).await) == all, "{name}, {concurrency} at once");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_decode_within_the_callers_own_bounds() {
    let (_, fragments) = streams().await.remove(0);
    let all = picture_identities(&pictures(source(&fragments).frames().sample_ratio(4)).await);
    let options = FrameOptions::new().sample_ratio(4);
    let (in_work, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (in_work, most) = (&in_work, &most);
    let decode = |(index, fragment): (u64, Fragment)| {
        let frames = fragment.frames(&options);
        async move {
            most.fetch_max(in_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let frames: Vec<Frame> = frames.try_collect().await.unwrap();
            in_work.fetch_sub(1, Ordering::SeqCst);
            (index, picture_identities(&frames))
        }
    };
    let repeated = (0..).zip(fragments.iter().cycle().take(12).cloned());
    let mut decoded: Vec<_> = stream::iter(repeated).map(decode).buffer_unordered(3).collect().await;
    assert_eq!(most.load(Ordering::SeqCst), 3);
    decoded.sort_by_key(|(index, _)| *index);
    for (index, frames) in decoded {
        let of_this = all.iter().filter(|picture| picture.0 == index % fragments.len() as u64);
        let of_this: Vec<_> = of_this.cloned().map(|(_, a, b, c, d)| (0, a, b, c, d)).collect();
        assert_eq!(frames, of_this);
    }
    let mut frames = fragments[0].frames(&options);
    assert!(frames.report().is_none());
    while frames.try_next().await.unwrap().is_some() {}
    let report = frames.report().unwrap();
    assert_eq!((report.blocks(), report.pictures(), report.unsampled()), (75, 19, 56));
}
