//! Captured payloads, against their README and ffprobe.

use kinesis_video::{Fragment, FragmentEnd};

use crate::support::bodies::{CAMERA, CAPTURES, capture, fragments};
use crate::support::ffmpeg::{ffprobe_packets, ffprobe_warnings, our_packets};

#[tokio::test]
async fn output_get_media_is_read_as_documented() {
    let Some(body) = capture("output_get_media.mkv") else { return };
    let fragments = fragments(&body).await;
    let numbers: Vec<_> = fragments.iter().map(|fragment| fragment.number().unwrap().to_string()).collect();
    assert_eq!(
        numbers,
        [
            "91343852333181432392682062607743920146159169392",
            "91343852333181432397633822764885441725874549018",
            "91343852333181432402585582922026963247510532162",
            "91343852333181432407537343079168484595829378270",
            "91343852333181432412489103236310005892133364608",
        ]
    );
    let lengths: Vec<_> = fragments.iter().map(|fragment| fragment.raw().len()).collect();
    assert_eq!(lengths, [547_925, 492_514, 482_934, 489_206, 490_906]);
    for fragment in &fragments {
        assert_eq!(fragment.continuation_token(), fragment.number().map(kinesis_video::FragmentNumber::as_str));
        assert_eq!(fragment.end_reason(), FragmentEnd::Trailer);
        assert_eq!(
            (fragment.blocks().len(), fragment.packets().filter(kinesis_video::Packet::is_key).count()),
            (60, 1)
        );
        assert_eq!(fragment.tags().len(), 7);
        assert_eq!(fragment.tags().get("MAJOR_BRAND").as_deref(), Some("M4V "));
        let track = fragment.track(1).unwrap();
        assert_eq!((track.width(), track.height(), track.codec_id()), (Some(640), Some(360), "V_MPEG4/ISO/AVC"));
    }
    let first = &fragments[0];
    assert_eq!(first.server_time().unwrap().as_millis(), 1_511_852_109_126);
    assert_eq!(first.producer_time().unwrap().as_millis(), 1_511_852_108_513);
    assert_eq!(first.behind_now().unwrap().as_millis(), 15_858);
    assert_eq!(first.packets().map(|packet| packet.payload().len()).sum::<usize>(), 546_152);
    assert_eq!(first.packets().next().unwrap().producer_time(), first.producer_time());
}

#[tokio::test]
async fn renderer_example_is_read_as_documented() {
    let Some(body) = capture("kinesis_video_renderer_example_output.mkv") else { return };
    let fragments = fragments(&body).await;
    let blocks: Vec<_> = fragments.iter().map(|fragment| fragment.blocks().len()).collect();
    assert_eq!(blocks, [59, 59, 59, 59, 59, 59, 59, 31]);
    for fragment in &fragments {
        assert_eq!(fragment.end_reason(), FragmentEnd::Trailer);
        assert!(fragment.tags().is_empty());
        let track = fragment.track(1).unwrap();
        assert_eq!((track.name(), track.width(), track.height()), (Some("kinesis_video"), Some(640), Some(480)));
    }
    // All documents declare their tracks in the same bytes, so the tracks are parsed once.
    assert!(fragments.windows(2).all(|two| std::sync::Arc::ptr_eq(two[0].tracks(), two[1].tracks())));
}

#[tokio::test]
async fn non_increasing_timecode_is_read_as_documented() {
    let Some(body) = capture("output-get-media-non-increasing-timecode.mkv") else { return };
    let fragments = fragments(&body).await;
    let blocks: Vec<_> = fragments.iter().map(|fragment| fragment.blocks().len()).collect();
    assert_eq!(blocks, [30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 28]);
    let ends: Vec<_> = fragments.iter().map(Fragment::end_reason).collect();
    assert_eq!(ends[..11], [FragmentEnd::Trailer; 11]);
    assert_eq!(ends[11], FragmentEnd::Cut);
    assert_eq!(fragments[11].behind_now(), None);
    let timecodes: Vec<_> =
        fragments.iter().take(4).map(|fragment| fragment.header().timecode_ns() / 1_000_000).collect();
    assert_eq!(timecodes, [10_014, 0, 1_001, 2_003]);
    assert_eq!(fragments[0].tags().len(), 54);
    assert_eq!(fragments[0].elements().find("Segment/Cues").count(), 1);
    assert_eq!(fragments[1].elements().find("Segment/Cues").count(), 0);
}

#[tokio::test]
async fn no_byte_is_lost_and_ffprobe_finds_the_same_packets() {
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        let fragments = fragments(&body).await;
        let joined: Vec<u8> = fragments.iter().flat_map(|fragment| fragment.raw().to_vec()).collect();
        assert!(joined == body, "{name}: not the bytes of the body");
        for fragment in fragments.iter().filter(|fragment| fragment.end_reason() == FragmentEnd::Trailer) {
            let mkv = fragment.to_mkv();
            assert_eq!(ffprobe_warnings(&mkv), "", "{name}, {:?}", fragment.number());
            assert_eq!(ffprobe_packets(&mkv), our_packets(fragment), "{name}, {:?}", fragment.number());
        }
    }
}

#[tokio::test]
async fn fragments_of_a_merged_capture_are_playable_files() {
    // Fragments of one session in one Segment, as a tool that joins them writes.
    let Some(body) = capture("output_get_media.mkv") else { return };
    let parts = fragments(&body).await;
    let mut merged = parts[0].raw().to_vec();
    for part in &parts[1..] {
        let tags = part.elements().find("Segment/Tags").map(Result::unwrap).find(|tags| {
            tags.children().find("Tag/SimpleTag/TagName").any(|name| name.unwrap().payload().starts_with(b"AWS_"))
        });
        merged.extend_from_slice(&part.raw()[(tags.unwrap().offset() - part.offset()) as usize..]);
    }
    let split = fragments(&merged.into()).await;
    assert_eq!(split.len(), parts.len());
    for (fragment, part) in split.iter().zip(&parts) {
        assert_eq!(fragment.number(), part.number());
        assert_eq!(fragment.end_reason(), FragmentEnd::Trailer);
        assert_eq!(our_packets(fragment), our_packets(part));
        let mkv = fragment.to_mkv();
        assert_eq!(ffprobe_warnings(&mkv), "");
        assert_eq!(ffprobe_packets(&mkv), our_packets(fragment));
    }
}

#[tokio::test]
async fn ffprobe_finds_the_same_packets_in_a_plain_file() {
    let fragments = fragments(&CAMERA.into()).await;
    assert_eq!(fragments.len(), 1);
    assert_eq!(fragments[0].to_mkv(), CAMERA);
    assert_eq!(ffprobe_packets(CAMERA), our_packets(&fragments[0]));
}
