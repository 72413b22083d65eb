//! Pictures, against FFmpeg's own.

use bytes::Bytes;
use futures::TryStreamExt;
use kinesis_video::{Fragment, FragmentStreamExt, Frame};

use crate::footage::{footage, hash, judged_pictures};
use crate::media::{CAMERA, CAPTURES, capture, fragments};

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
async fn captures_and_the_fixture_decode_bit_by_bit() {
    is_what_ffmpeg_decodes("camera", &Bytes::from_static(CAMERA)).await;
    for name in CAPTURES {
        if let Some(body) = capture(name) {
            is_what_ffmpeg_decodes(name, &body).await;
        }
    }
}

const H264: [&str; 4] = ["-c:v", "libx264", "-preset", "fast"];

#[tokio::test]
async fn codecs_decode_bit_by_bit() {
    let source = "testsrc2=size=320x180:rate=20:duration=3";
    let cases: [(&str, Vec<&str>); 9] = [
        ("B-frames", [&H264[..], &["-g", "20", "-bf", "3"]].concat()),
        ("no B-frames", [&H264[..], &["-g", "20", "-bf", "0"]].concat()),
        ("a pyramid", [&H264[..], &["-g", "20", "-bf", "6", "-x264-params", "b-pyramid=normal:b-adapt=0"]].concat()),
        ("H.265", vec!["-c:v", "libx265", "-x265-params", "log-level=none:keyint=20:open-gop=0:bframes=4"]),
        ("H.265, layers", vec!["-c:v", "libx265", "-x265-params", "log-level=none:keyint=20:open-gop=0:temporal-layers=3:bframes=7"]),
        ("MJPEG", vec!["-c:v", "mjpeg", "-q:v", "5", "-pix_fmt", "yuvj422p"]),
        ("10 bit", [&H264[..], &["-g", "20", "-pix_fmt", "yuv420p10le"]].concat()),
        ("MPEG-4", vec!["-c:v", "mpeg4", "-g", "20", "-bf", "2"]),
        ("VP8", vec!["-c:v", "libvpx", "-g", "20", "-b:v", "200k", "-auto-alt-ref", "1", "-lag-in-frames", "5"]),
    ];
    for (name, arguments) in cases {
        is_what_ffmpeg_decodes(name, &footage(source, &arguments)).await;
    }
}
