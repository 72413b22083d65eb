//! Decodes mutated streams.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::frame::{FrameItem, Frames, OnDecodeError};
use kinesis_video::{FragmentStream, FragmentStreamExt, Frame};

use crate::footage::{footage, fragment, groups, hash};
use crate::media::{CAMERA, live_body};
use crate::mutation::{Random, mutated};
use crate::rounds::rounds;

type Source<'a> = FragmentStream<&'a [u8]>;

/// Returns the pictures, the number of skipped blocks, and `true` if the stream failed.
async fn decode_all(frames: Frames<Source<'_>>) -> (Vec<Frame>, usize, bool) {
    let (mut pictures, mut skipped) = (Vec::new(), 0);
    let mut items = frames.with_reports();
    while let Some(item) = items.next().await {
        match item {
            Ok(FrameItem::Frame(frame)) => pictures.push(frame),
            Ok(FrameItem::Report(report)) => {
                let counted = report.pictures() + report.unsampled() + report.skipped().len() as u32;
                assert_eq!(counted, report.blocks());
                skipped += report.skipped().len();
            }
            Err(_) => return (pictures, skipped, true),
        }
    }
    (pictures, skipped, false)
}

fn identities(pictures: &[Frame]) -> Vec<(u64, u32, String)> {
    pictures.iter().map(|frame| (frame.info().fragment_index(), frame.info().index(), hash(frame))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_blocks_decode_or_are_reported() {
    let source = "testsrc2=size=96x64:rate=10:duration=3";
    let mut bodies: Vec<Bytes> = Vec::new();
    let arguments = [
        &["-c:v", "libx264", "-g", "8", "-bf", "2"][..],
        &["-c:v", "libx265", "-x265-params", "log-level=none:keyint=8:bframes=2", "-s", "160x96"],
        &["-c:v", "mjpeg"],
        &["-c:v", "libvpx", "-g", "8"],
    ];
    for file in [Bytes::from_static(CAMERA)].into_iter().chain(arguments.map(|arguments| footage(source, arguments))) {
        bodies.push(live_body(groups(&fragment(&file).await).into_iter().take(3)));
    }
    let mut random = Random(0x5851_F42D_4C95_7F2D);
    let (mut pictures, mut skipped, mut failed) = (0, 0, 0);
    for round in 0..rounds(400) {
        let input = mutated(&bodies[random.next(bodies.len())], &bodies, &mut random);
        let frames = || FragmentStream::new(&input[..]).resync(true).frames();
        let once = decode_all(frames()).await;
        let again = decode_all(frames().concurrency(3)).await;
        assert_eq!((identities(&once.0), once.1, once.2), (identities(&again.0), again.1, again.2), "round {round}");
        let other = match random.next(5) {
            0 => frames().on_decode_error(OnDecodeError::Conceal),
            1 => frames().on_decode_error(OnDecodeError::Fail),
            2 => frames().continuous(),
            3 => frames().keyframes(),
            _ => frames().sample_every(Duration::from_millis(250)),
        };
        for frame in decode_all(other).await.0.iter().take(3) {
            // Every yielded picture can be converted.
            let rgb = frame.to_rgb().unwrap();
            assert_eq!(rgb.dimensions(), (frame.info().width(), frame.info().height()));
            frame.to_luma().unwrap();
            frame.scale_within(50, 50).unwrap().to_rgb().unwrap();
        }
        pictures += once.0.len();
        skipped += once.1;
        failed += usize::from(once.2);
    }
    println!("{pictures} pictures, {skipped} blocks without a picture, {failed} errors");
    assert!(pictures > 0 && skipped > 0);
    let whole: Vec<Frame> = FragmentStream::new(&bodies[0][..]).frames().try_collect().await.unwrap();
    assert_eq!(whole.len(), 45);
}
