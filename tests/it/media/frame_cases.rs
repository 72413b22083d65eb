//! Decoding unusual streams, each with the exact pictures and reports.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::frame::{FragmentReport, FrameItem, Frames, NoPicture, OnDecodeError};
use kinesis_video::local::{Document, Shape};
use kinesis_video::packet::ParameterSets;
use kinesis_video::{Error, ErrorKind, Fragment, FragmentStreamExt, Frame, Packet};

use crate::support::bodies::{connect_document, fragments, live_body, stamp};
use crate::support::footage::{
    Source, blocks, document, footage, fragment, groups, hash, judged_pictures, packets, source,
};

/// Reads all pictures and reports, and the error at the end.
async fn decode_all(frames: Frames<Source>) -> (Vec<Frame>, Vec<FragmentReport>, Option<Error>) {
    let (mut pictures, mut reports) = (Vec::new(), Vec::new());
    let mut items = frames.with_reports();
    while let Some(item) = items.next().await {
        match item {
            Ok(FrameItem::Frame(frame)) => pictures.push(frame),
            Ok(FrameItem::Report(report)) => reports.push(report),
            Err(error) => {
                assert!(items.next().await.is_none(), "an item after the error");
                return (pictures, reports, Some(error));
            }
        }
    }
    for report in &reports {
        assert_eq!(
            report.blocks() as usize,
            report.pictures() as usize + report.unsampled() as usize + report.skipped().len()
        );
    }
    (pictures, reports, None)
}

/// A line per report: the number of pictures and blocks, and the number of blocks for each reason.
fn report_lines(reports: &[FragmentReport]) -> Vec<String> {
    let one = |report: &FragmentReport| {
        let mut reasons: Vec<String> = report.skipped().iter().map(|block| block.reason().to_string()).collect();
        reasons.sort();
        let mut counted: Vec<(String, usize)> = Vec::new();
        for reason in reasons {
            match counted.last_mut() {
                Some((last, count)) if *last == reason => *count += 1,
                _ => counted.push((reason, 1)),
            }
        }
        let skipped = counted.iter().map(|(reason, count)| format!(", {count} {reason}"));
        format!("{} of {}{}", report.pictures(), report.blocks(), skipped.collect::<String>())
    };
    reports.iter().map(one).collect()
}

async fn made(documents: impl IntoIterator<Item = Document>) -> Vec<Fragment> {
    fragments(&live_body(documents)).await
}

fn hashes(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(hash).collect()
}

const SOURCE: &str = "testsrc2=size=320x180:rate=10:duration=3";

/// A file with groups of ten pictures, and further parameters of x264.
fn h264(parameters: &str) -> Bytes {
    footage(SOURCE, &["-c:v", "libx264", "-x264-params", &format!("keyint=10:min-keyint=10:scenecut=0:{parameters}")])
}

fn h265(parameters: &str) -> Bytes {
    let parameters = format!("log-level=none:keyint=10:min-keyint=10:scenecut=0:{parameters}");
    footage(SOURCE, &["-c:v", "libx265", "-x265-params", &parameters])
}

/// The places of a fragment's packets in the display order of the file.
fn places(file: &Fragment, of: &Fragment) -> Vec<usize> {
    let mut times: Vec<i64> = packets(file).iter().map(Packet::timecode_ns).collect();
    times.sort_unstable();
    let mut places: Vec<usize> =
        of.packets().map(|packet| times.binary_search(&packet.timecode_ns()).unwrap()).collect();
    places.sort_unstable();
    places
}

#[tokio::test]
async fn closed_groups_decode_completely_with_correct_info() {
    let file = h264("bframes=3:b-adapt=0");
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    let cut = made(groups(&file).into_iter().map(|document| document.tag("place", "hall"))).await;
    let (frames, reports, error) = decode_all(source(&cut).frames()).await;
    assert!(error.is_none());
    assert_eq!(hashes(&frames), judged);
    assert_eq!(report_lines(&reports), ["10 of 10"; 3]);
    for (at, frame) in frames.iter().enumerate() {
        let (info, fragment) = (frame.info(), &cut[at / 10]);
        assert_eq!((info.index(), info.fragment_index()), (at as u32 % 10, at as u64 / 10));
        assert_eq!(info.timecode_ns(), at as i64 * 100_000_000);
        let ahead = (at as i64 % 10) * 100;
        assert_eq!(info.producer_time().unwrap().as_millis(), fragment.producer_time().unwrap().as_millis() + ahead);
        assert_eq!(info.is_key(), at % 10 == 0);
        assert_eq!(info.fragment().number(), fragment.number());
        assert_eq!(info.tags().get("place").as_deref(), Some("hall"));
        assert_eq!((info.width(), info.height(), info.missing_before(), info.is_damaged()), (320, 180, 0, false));
        assert_eq!((info.sample_aspect_ratio(), info.rotation()), (Some((1, 1)), None));
    }
}

async fn open_groups(file: Bytes) {
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    let cut = made(groups(&file)).await;
    assert_eq!(cut.len(), 3);
    let leading = |fragment: &Fragment| {
        let key = fragment.packets().next().unwrap().timecode_ns();
        fragment.packets().filter(|packet| packet.timecode_ns() < key).count()
    };
    assert!(leading(&cut[1]) > 0 && leading(&cut[2]) > 0, "the groups are open");
    for ratio in [1, 3, 1000] {
        let (frames, reports, error) = decode_all(source(&cut).frames().sample_ratio(ratio)).await;
        assert!(error.is_none());
        let expected = cut.iter().flat_map(|fragment| {
            let shown: Vec<usize> = places(&file, fragment).into_iter().skip(leading(fragment)).collect();
            shown.into_iter().step_by(ratio).map(|place| judged[place].clone())
        });
        assert_eq!(hashes(&frames), expected.collect::<Vec<_>>(), "ratio {ratio}");
        for (report, fragment) in reports.iter().zip(&cut) {
            assert_eq!(report.skipped().len(), leading(fragment));
            assert!(report.skipped().iter().all(|block| matches!(block.reason(), NoPicture::OpenGroup)));
            let first = frames.iter().find(|frame| frame.info().fragment_index() == report.fragment_index()).unwrap();
            assert_eq!((first.info().missing_before() as usize, first.info().index()), (leading(fragment), 0));
        }
    }
    let (frames, reports, error) = decode_all(source(&cut).frames().continuous()).await;
    assert!(error.is_none());
    assert_eq!(hashes(&frames), judged, "continuous");
    assert!(reports.iter().all(|report| report.skipped().is_empty()) && reports.len() == 3);
    // Decoding restarts after a missing fragment.
    let (frames, reports, _) =
        decode_all(source(&[cut[0].clone(), cut[2].clone(), cut[1].clone()]).frames().continuous()).await;
    assert_eq!(frames.last().unwrap().info().fragment_index(), 2);
    assert_eq!(reports[1].skipped().len(), leading(&cut[2]), "there is a hole");
    assert_eq!(reports[2].skipped().len(), leading(&cut[1]), "the timeline goes back");
}

#[tokio::test]
async fn open_groups_of_h264_skip_leading_pictures() {
    open_groups(h264("open-gop=1:bframes=3:b-adapt=0")).await;
}

#[tokio::test]
async fn open_groups_of_h265_skip_leading_pictures() {
    open_groups(h265("open-gop=1:bframes=3:b-adapt=0")).await;
}

#[tokio::test]
async fn odd_picture_sizes_decode() {
    for arguments in [
        &["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"][..],
        &["-c:v", "libvpx"],
        &["-c:v", "libx264", "-pix_fmt", "yuv444p"],
    ] {
        let file = footage("testsrc=size=641x361:rate=10:duration=1", arguments);
        let (frames, _, error) = decode_all(source(&[fragment(&file).await]).frames()).await;
        assert!(error.is_none());
        assert_eq!(hashes(&frames), judged_pictures(&file), "{arguments:?}");
        for frame in &frames[..2] {
            assert_eq!((frame.info().width(), frame.info().height()), (641, 361));
            assert_eq!(frame.to_rgb().unwrap().dimensions(), (641, 361));
            assert_eq!(frame.to_luma().unwrap().dimensions(), (641, 361));
            assert_eq!(frame.to_ndarray().unwrap().shape(), [361, 641, 3]);
            let small = frame.scale_within(100, 100).unwrap();
            assert_eq!((small.info().width(), small.info().height()), (100, 56));
            assert_eq!(small.to_rgb().unwrap().dimensions(), (100, 56));
        }
    }
}

#[tokio::test]
async fn the_size_and_the_codec_may_change_between_fragments() {
    let files = [
        h264("bframes=2"),
        footage("testsrc2=size=200x100:rate=10:duration=1", &["-c:v", "libx264"]),
        h265("open-gop=0"),
    ];
    let mut documents = Vec::new();
    for file in &files {
        documents.push(groups(&fragment(file).await).remove(0));
    }
    let cut = made(documents).await;
    let expected: Vec<String> = files.iter().flat_map(|file| judged_pictures(file).into_iter().take(10)).collect();
    for frames in [source(&cut).frames(), source(&cut).frames().concurrency(3), source(&cut).frames().continuous()] {
        let (frames, reports, error) = decode_all(frames).await;
        assert!(error.is_none());
        assert_eq!(hashes(&frames), expected);
        assert_eq!(report_lines(&reports), ["10 of 10"; 3]);
        let sizes: Vec<u32> = frames.iter().step_by(10).map(|frame| frame.info().width()).collect();
        assert_eq!(sizes, [320, 200, 320]);
    }
}

#[tokio::test]
async fn a_fragment_that_begins_inside_a_group_starts_at_its_key_frame() {
    let file = h264("bframes=0");
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    let packets = packets(&file);
    let cut = made([document(&file, &packets[4..14]), document(&file, &packets[14..19])]).await;
    let (frames, reports, error) = decode_all(source(&cut).frames()).await;
    assert!(error.is_none());
    assert_eq!(hashes(&frames), judged[10..14]);
    assert_eq!(frames[0].info().missing_before(), 6);
    assert_eq!(
        report_lines(&reports),
        ["4 of 10, 6 before the first key frame", "0 of 5, 5 before the recovery point"]
    );
    // With the fragment before it, a fragment that begins inside a group decodes completely.
    let cut = made([document(&file, &packets[..4]), document(&file, &packets[4..14]), document(&file, &packets[14..])]);
    let (frames, _, _) = decode_all(source(&cut.await).frames().continuous()).await;
    assert_eq!(hashes(&frames), judged);
}

/// The packets of a file in another framing, optionally with parameter sets in band before key frames.
fn reframed(file: &Fragment, in_band: bool, lengths: bool) -> Vec<(Packet, Bytes)> {
    let sets = ParameterSets::of_track(file.track(1).unwrap()).unwrap().unwrap();
    let reframe = |packet: Packet| {
        let stream = match in_band {
            true => sets.packet_to_annex_b(&packet).unwrap(),
            false => sets.to_annex_b(packet.payload()).unwrap(),
        };
        let payload = if lengths { sets.from_annex_b(&stream).unwrap() } else { stream };
        (packet, payload)
    };
    packets(file).into_iter().map(reframe).collect()
}

fn with_payloads(empty: Document, packets: &[(Packet, Bytes)]) -> Document {
    packets.iter().fold(empty, |document, (packet, payload)| {
        document.block(1, i16::try_from(packet.timecode_ns() / 1_000_000).unwrap(), packet.is_key(), payload)
    })
}

#[tokio::test]
async fn undeclared_framings_decode() {
    for (codec_id, file) in [("V_MPEG4/ISO/AVC", h264("bframes=2")), ("V_MPEGH/ISO/HEVC", h265("open-gop=0"))] {
        let (file, judged) = (fragment(&file).await, judged_pictures(&file));
        let private = file.track(1).unwrap().codec_private().unwrap();
        let track =
            |private: &[u8]| Document::new(Shape::Producer).codec_private(private).picture_track(1, codec_id, 320, 180);
        let nothing: &[u8] = &[];
        let stream_of_sets: Vec<u8> = ParameterSets::of_track(file.track(1).unwrap())
            .unwrap()
            .unwrap()
            .iter()
            .flat_map(|set| [&[0, 0, 0, 1], set].concat())
            .collect();
        for (name, private, in_band, lengths) in [
            ("a byte stream under a record", &private[..], false, false),
            ("no private data, a byte stream", nothing, true, false),
            ("no private data, lengths", nothing, true, true),
            ("a byte stream of sets, a byte stream", &stream_of_sets, false, false),
            ("a byte stream of sets, lengths", &stream_of_sets, false, true),
            ("private data that is nothing", b"nonsense", true, false),
        ] {
            let cut = made([with_payloads(track(private), &reframed(&file, in_band, lengths))]).await;
            let (frames, reports, error) = decode_all(source(&cut).frames()).await;
            assert!(error.is_none(), "{name}");
            assert_eq!(hashes(&frames), judged, "{codec_id} {name}");
            assert_eq!(report_lines(&reports), ["30 of 30"], "{codec_id} {name}");
            let (frames, _, _) = decode_all(source(&cut).frames().sample_ratio(7)).await;
            assert_eq!(hashes(&frames), judged.iter().step_by(7).cloned().collect::<Vec<_>>(), "{codec_id} {name}");
        }
        // Without parameter sets, all blocks are reported as damaged.
        let cut = made([with_payloads(track(nothing), &reframed(&file, false, false))]).await;
        let (frames, reports, error) = decode_all(source(&cut).frames()).await;
        assert!(frames.is_empty() && error.is_none());
        assert_eq!(report_lines(&reports), ["0 of 30, 30 damaged"], "{codec_id}");
    }
}

#[tokio::test]
async fn video_for_windows_tracks_decode() {
    let header = |fourcc: &[u8; 4]| {
        let mut header = vec![40, 0, 0, 0, 64, 1, 0, 0, 180, 0, 0, 0, 1, 0, 24, 0];
        header.extend_from_slice(fourcc);
        header.resize(40, 0);
        header
    };
    let mjpeg = footage(SOURCE, &["-c:v", "mjpeg"]);
    let stream = h264("bframes=2");
    for (fourcc, file) in [(b"MJPG", mjpeg), (b"H264", stream)] {
        let (file, judged) = (fragment(&file).await, judged_pictures(&file));
        let track = |fourcc| {
            Document::new(Shape::Ffmpeg).codec_private(&header(fourcc)).picture_track(1, "V_MS/VFW/FOURCC", 320, 180)
        };
        let media = match fourcc {
            b"H264" => with_payloads(track(fourcc), &reframed(&file, true, false)),
            _ => blocks(track(fourcc), &packets(&file)),
        };
        let (frames, _, error) = decode_all(source(&made([media]).await).frames()).await;
        assert!(error.is_none());
        assert_eq!(hashes(&frames), judged, "{fourcc:?}");
        let unknown = blocks(track(b"????"), &packets(&file));
        let (_, _, error) = decode_all(source(&made([unknown]).await).frames()).await;
        assert!(error.unwrap().to_string().contains("\"V_MS/VFW/FOURCC\" \"????\""));
    }
}

/// The SPS of a main profile track without its VUI (ITU-T H.264 section 7.3.2.1.1), which is where the
/// bitstream restrictions are.
fn without_vui(avcc: &[u8]) -> Vec<u8> {
    let length = usize::from(u16::from_be_bytes([avcc[6], avcc[7]]));
    let sps = &avcc[8..8 + length];
    assert_eq!(sps[1], 77, "main profile");
    let mut bits: Vec<bool> = Vec::new();
    for (at, byte) in sps.iter().enumerate().skip(4) {
        let is_prevention = *byte == 3 && sps[at - 2..at] == [0, 0];
        bits.extend((0..8).rev().filter(|_| !is_prevention).map(|bit| byte >> bit & 1 == 1));
    }
    let mut at = 0;
    let golomb = |at: &mut usize| {
        let zeros = bits[*at..].iter().take_while(|bit| !**bit).count();
        let value =
            bits[*at + zeros..*at + 2 * zeros + 1].iter().fold(0, |value, bit| value << 1 | u32::from(*bit)) - 1;
        *at += 2 * zeros + 1;
        value
    };
    golomb(&mut at); // seq_parameter_set_id
    golomb(&mut at); // log2_max_frame_num_minus4
    if golomb(&mut at) == 0 {
        golomb(&mut at); // log2_max_pic_order_cnt_lsb_minus4
    }
    golomb(&mut at); // max_num_ref_frames
    at += 1;
    golomb(&mut at); // pic_width_in_mbs_minus1
    golomb(&mut at); // pic_height_in_map_units_minus1
    at += if bits[at] { 2 } else { 3 }; // frame_mbs_only_flag, direct_8x8_inference_flag
    let is_cropped = bits[at];
    at += 1;
    for _ in 0..if is_cropped { 4 } else { 0 } {
        golomb(&mut at);
    }
    assert!(bits[at], "there is a VUI");
    let mut kept = bits[..at].to_vec();
    kept.extend([false, true]);
    let mut sps = sps[..4].to_vec();
    sps.extend(
        kept.chunks(8).map(|bits| (0..8).fold(0, |byte, bit| byte << 1 | u8::from(bits.get(bit) == Some(&true)))),
    );
    assert!(!sps.windows(3).any(|three| three[..2] == [0, 0] && three[2] < 4), "no byte has to be prevented");
    [&avcc[..6], &(sps.len() as u16).to_be_bytes(), &sps, &avcc[8 + length..]].concat()
}

#[tokio::test]
async fn pictures_without_a_declared_reorder_depth_are_in_order() {
    let file = footage(
        SOURCE,
        &["-c:v", "libx264", "-profile:v", "main", "-x264-params", "keyint=30:bframes=7:b-adapt=0:b-pyramid=normal"],
    );
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    let private = without_vui(file.track(1).unwrap().codec_private().unwrap());
    let track = Document::new(Shape::Ffmpeg).codec_private(&private).picture_track(1, "V_MPEG4/ISO/AVC", 320, 180);
    let (frames, reports, error) = decode_all(source(&made([blocks(track, &packets(&file))]).await).frames()).await;
    assert!(error.is_none());
    assert_eq!(hashes(&frames), judged);
    assert_eq!(report_lines(&reports), ["30 of 30"]);
}

#[tokio::test]
async fn fragments_without_pictures_yield_none() {
    let file = h264("bframes=0");
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    let whole = groups(&file).remove(0);
    let empty = document(&file, &[]);
    let no_bytes = document(&file, &packets(&file)[..3]).block(1, 300, false, b"");
    let cut = made([connect_document(1), empty, no_bytes, whole]).await;
    let (frames, reports, error) = decode_all(source(&cut).frames()).await;
    assert!(error.is_none());
    assert_eq!(hashes(&frames), [&judged[..3], &judged[..10]].concat());
    assert_eq!(report_lines(&reports), ["0 of 0", "0 of 0", "3 of 4, 1 empty", "10 of 10"]);
    assert_eq!(frames[3].info().missing_before(), 1);
}

#[tokio::test]
async fn a_cut_fragment_yields_the_pictures_of_its_whole_blocks() {
    let file = h264("bframes=0");
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    let body = live_body([groups(&file).remove(0)]);
    let last = fragments(&body).await[0].packets().nth(8).unwrap().payload().len();
    let nine = document(&file, &packets(&file)[..9]).to_bytes_without_trailer(&stamp(1)).len();
    let cut = fragments(&body.slice(..nine - last / 2)).await;
    let (frames, reports, error) = decode_all(source(&cut).frames()).await;
    assert!(error.is_none());
    assert_eq!(hashes(&frames), judged[..8]);
    assert_eq!(report_lines(&reports), ["8 of 8"]);
}

/// A group with one damaged packet. Its slice ends early, or its lengths do not add up.
async fn damaged(file: &Fragment, at: usize, lengths: bool) -> Vec<Fragment> {
    let spoil = |(index, packet): (usize, Packet)| {
        let mut payload = packet.payload().to_vec();
        if index == at && lengths {
            payload[0] ^= 0x7F;
        } else if index == at {
            let slice = payload.len() - 4;
            assert_eq!(payload[..4], (slice as u32).to_be_bytes(), "there is one slice");
            payload.truncate(4 + slice / 2);
            payload[..4].copy_from_slice(&((slice / 2) as u32).to_be_bytes());
        }
        (packet, payload.into())
    };
    let packets: Vec<(Packet, Bytes)> = packets(file)[..10].iter().cloned().enumerate().map(spoil).collect();
    made([with_payloads(document(file, &[]), &packets), groups(file).remove(1)]).await
}

#[tokio::test]
async fn a_damaged_picture_also_costs_its_dependents() {
    let file = h264("bframes=0:cabac=0");
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    for lengths in [false, true] {
        let cut = damaged(&file, 4, lengths).await;
        let (frames, reports, error) = decode_all(source(&cut).frames()).await;
        assert!(error.is_none());
        // The yielded pictures equal those without damage.
        assert_eq!(hashes(&frames), [&judged[..4], &judged[10..20]].concat());
        assert_eq!(frames[4].info().missing_before(), 6);
        assert_eq!(report_lines(&reports), ["4 of 10, 1 damaged, 5 refers to a damaged picture", "10 of 10"]);
        let block = &reports[0].skipped()[0];
        assert_eq!((block.ordinal(), block.timecode_ns()), (4, 400_000_000));
        let raw = cut[0].raw();
        let payload = cut[0].packets().nth(4).unwrap();
        let at = (block.offset() - cut[0].offset()) as usize;
        assert_eq!(&raw[at..at + payload.payload().len()], &payload.payload()[..]);

        let (frames, reports, error) = decode_all(source(&cut).frames().on_decode_error(OnDecodeError::Conceal)).await;
        assert!(error.is_none());
        let expected = if lengths { 9 } else { 10 };
        assert_eq!(reports[0].pictures(), expected);
        let flags: Vec<bool> = frames[..expected as usize].iter().map(|frame| frame.info().is_damaged()).collect();
        assert_eq!(flags, (0..expected).map(|index| index >= 4).collect::<Vec<_>>());
        assert_eq!(hashes(&frames)[..4], judged[..4]);
        assert_eq!(hashes(&frames)[expected as usize..], judged[10..20]);

        let (frames, _, error) = decode_all(source(&cut).frames().on_decode_error(OnDecodeError::Fail)).await;
        assert_eq!(hashes(&frames), judged[..4]);
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Malformed);
        assert_eq!(error.position().offset(), Some(block.offset()));
        assert_eq!(error.position().fragment(), cut[0].number().map(kinesis_video::FragmentNumber::as_str));
        assert_eq!(error.position().track(), Some(1));

        // An unsampled damaged picture affects only those that refer to it.
        let (frames, reports, _) = decode_all(source(&cut).frames().sample_ratio(3)).await;
        assert_eq!(hashes(&frames), [0, 3, 10, 13, 16, 19].map(|place| judged[place].clone()));
        assert_eq!(report_lines(&reports), ["2 of 10, 2 refers to a damaged picture", "4 of 10"]);
    }
}

#[tokio::test]
async fn damage_to_an_unreferenced_picture_costs_only_that_one() {
    let file = h264("bframes=2:b-adapt=0:b-pyramid=none:cabac=0");
    let (file, judged) = (fragment(&file).await, judged_pictures(&file));
    // Decoding order: I P B B P B B P B B (the last P may differ).
    let order: Vec<i64> = packets(&file)[..10].iter().map(|packet| packet.timecode_ns() / 100_000_000).collect();
    assert_eq!(order[..4], [0, 3, 1, 2]);
    let (frames, reports, _) = decode_all(source(&damaged(&file, 2, false).await).frames()).await;
    let mut expected = judged[..20].to_vec();
    expected.remove(1);
    assert_eq!(hashes(&frames), expected);
    assert_eq!(report_lines(&reports), ["9 of 10, 1 damaged", "10 of 10"]);
    // Damage to a reference also costs the pictures shown before it.
    let (frames, reports, _) = decode_all(source(&damaged(&file, 1, false).await).frames()).await;
    assert_eq!(hashes(&frames), [&judged[..1], &judged[10..20]].concat());
    assert_eq!(report_lines(&reports), ["1 of 10, 1 damaged, 8 refers to a damaged picture", "10 of 10"]);
    let (frames, _, error) =
        decode_all(source(&damaged(&file, 2, true).await).frames().on_decode_error(OnDecodeError::Fail)).await;
    assert_eq!(hashes(&frames), judged[..1]);
    assert!(error.is_some());
}

#[tokio::test]
async fn the_error_for_an_unknown_codec_names_it() {
    let file = h264("bframes=0");
    let file = fragment(&file).await;
    let track = Document::new(Shape::Ffmpeg).picture_track(1, "V_FROM/TOMORROW", 320, 180);
    let unknown = blocks(track, &packets(&file)[..2]);
    let cut = made([groups(&file).remove(0), unknown, groups(&file).remove(1)]).await;
    for concurrency in [1, 3] {
        let (frames, _, error) = decode_all(source(&cut).frames().concurrency(concurrency)).await;
        assert_eq!(frames.len(), 10, "fragments before it are not lost");
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("V_FROM/TOMORROW"), "{error}");
        assert_eq!(error.position().fragment(), Some(stamp(2).number.as_str()));
    }
}

#[tokio::test]
async fn invalid_arguments_are_refused() {
    use kinesis_video::FrameStreamExt;
    let nothing = || source(&[]).frames();
    for (frames, word) in [
        (nothing().sample_ratio(0), "ratio"),
        (nothing().sample_every(std::time::Duration::ZERO), "interval"),
        (nothing().concurrency(0), "concurrency"),
    ] {
        let (_, _, error) = decode_all(frames).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(word), "{error}");
    }
    for quality in [0, 101] {
        let error = nothing().jpeg(quality).try_next().await.unwrap_err();
        assert!(error.to_string().contains("quality"));
    }
    assert!(nothing().scale_within(0, 10).try_next().await.is_err());
    assert!(nothing().jpeg(1).try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_picture_beyond_the_limit_is_not_decoded() {
    let file = h264("bframes=0");
    let cut = made(groups(&fragment(&file).await)).await;
    let (frames, reports, error) = decode_all(source(&cut[..1]).frames().max_pixels(320 * 180 - 1)).await;
    assert!(frames.is_empty() && error.is_none());
    assert_eq!(report_lines(&reports), ["0 of 10, 10 damaged"]);
    let (frames, _, _) = decode_all(source(&cut[..1]).frames().max_pixels(320 * 192)).await;
    assert_eq!(frames.len(), 10);
}

#[tokio::test]
async fn blocks_without_a_picture_are_reported() {
    for (codec_id, file) in [("V_MPEG4/ISO/AVC", h264("bframes=0")), ("V_MPEGH/ISO/HEVC", h265("open-gop=0"))] {
        let (file, judged) = (fragment(&file).await, judged_pictures(&file));
        let sets = ParameterSets::of_track(file.track(1).unwrap()).unwrap().unwrap();
        let sets_alone: Vec<u8> = sets.iter().flat_map(|set| [&[0, 0, 0, 1], set].concat()).collect();
        let delimiter: &[u8] =
            if codec_id.ends_with("AVC") { &[0, 0, 0, 1, 9, 0xF0] } else { &[0, 0, 0, 1, 70, 1, 0x50] };
        // Parameter sets in a block of their own before the key frame, a delimiter in the middle of the group.
        let mut media =
            Document::new(Shape::Producer).picture_track(1, codec_id, 320, 180).block(1, 0, false, &sets_alone);
        for (at, packet) in packets(&file)[..20].iter().enumerate() {
            let time = (packet.timecode_ns() / 1_000_000) as i16;
            media = media.block(1, time, packet.is_key(), &sets.to_annex_b(packet.payload()).unwrap());
            if at == 4 {
                media = media.block(1, time + 1, false, delimiter);
            }
        }
        let cut = made([media]).await;
        let (frames, reports, error) = decode_all(source(&cut).frames().on_decode_error(OnDecodeError::Fail)).await;
        assert!(error.is_none());
        assert_eq!(hashes(&frames), judged[..20], "{codec_id}");
        assert_eq!(report_lines(&reports), ["20 of 22, 2 no picture in it"]);
        assert!(frames.iter().all(|frame| frame.info().missing_before() == 0));
        for ratio in [3, 7] {
            let (frames, _, _) = decode_all(source(&cut).frames().sample_ratio(ratio)).await;
            assert_eq!(hashes(&frames), judged[..20].iter().step_by(ratio).cloned().collect::<Vec<_>>());
        }
        let (frames, _, _) = decode_all(source(&cut).frames().keyframes()).await;
        let keys = packets(&file)[..20].iter().filter(|packet| packet.is_key()).count();
        assert_eq!(frames.len(), keys, "{codec_id}");
    }
}

#[tokio::test]
async fn intra_refresh_pictures_are_yielded_after_recovery() {
    let parameters = "keyint=30:min-keyint=30:scenecut=0:bframes=0:intra-refresh=1:ref=1";
    let file = footage("testsrc2=size=320x180:rate=10:duration=9", &["-c:v", "libx264", "-x264-params", parameters]);
    let mut recovered = 0;
    for fragment in made(groups(&fragment(&file).await)).await {
        let (frames, reports, error) = decode_all(source(std::slice::from_ref(&fragment)).frames()).await;
        assert!(error.is_none());
        assert_eq!(hashes(&frames), judged_pictures(&fragment.to_mkv()), "{:?}", report_lines(&reports));
        recovered += reports[0].skipped().iter().filter(|b| matches!(b.reason(), NoPicture::NotRecovered)).count();
    }
    assert!(recovered > 0, "some pictures were before a recovery point");
}

#[tokio::test]
async fn false_key_frame_flags_do_not_hide_damage() {
    let file = fragment(&h264("bframes=0:cabac=0")).await;
    let cut = damaged(&file, 4, false).await;
    // All blocks are flagged as key frames, and one picture is damaged. Pictures that refer to it are not yielded as
    // whole.
    let flagged = cut[0].packets().fold(document(&file, &[]), |document, packet| {
        document.block(1, (packet.timecode_ns() / 1_000_000) as i16, true, packet.payload())
    });
    let (frames, reports, _) = decode_all(source(&made([flagged]).await).frames()).await;
    assert_eq!(frames.len(), 4);
    assert_eq!(report_lines(&reports), ["4 of 10, 1 damaged, 5 refers to a damaged picture"]);
}

#[tokio::test]
async fn damage_in_mjpeg_is_reported() {
    // FFmpeg notices an early end in MJPEG.
    let file = fragment(&footage(SOURCE, &["-c:v", "mjpeg"])).await;
    let judged = judged_pictures(&file.to_mkv());
    let short: Vec<(Packet, Bytes)> = packets(&file)[..10]
        .iter()
        .map(|packet| {
            let length = packet.payload().len() / if packet.ordinal() == 4 { 2 } else { 1 };
            (packet.clone(), packet.payload().slice(..length))
        })
        .collect();
    let (frames, reports, _) =
        decode_all(source(&made([with_payloads(document(&file, &[]), &short)]).await).frames()).await;
    assert_eq!(hashes(&frames), [&judged[..4], &judged[5..10]].concat());
    assert_eq!(report_lines(&reports), ["9 of 10, 1 damaged"]);
}

#[tokio::test]
async fn an_unknown_color_matrix_is_unsupported() {
    let filter = "mpeg2_metadata=matrix_coefficients=200:colour_primaries=1:transfer_characteristics=1";
    let file = footage(SOURCE, &["-c:v", "mpeg2video", "-bsf:v", filter]);
    let (frames, _, error) = decode_all(source(&[fragment(&file).await]).frames()).await;
    assert!(error.is_none());
    assert_eq!(hashes(&frames), judged_pictures(&file));
    assert_eq!(frames[0].matrix(), kinesis_video::frame::ColorMatrix::Other);
    assert_eq!(frames[0].to_rgb().unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(frames[0].to_luma().is_ok());
}

#[tokio::test]
async fn cropped_pictures_decode() {
    let source_of = "testsrc2=size=1024x64:rate=5:duration=1";
    for crop in ["crop_left=512", "crop_left=64:crop_top=16", "crop_right=500:crop_bottom=30"] {
        let filter = format!("hevc_metadata={crop}");
        let file = footage(source_of, &["-c:v", "libx265", "-x265-params", "log-level=none", "-bsf:v", &filter]);
        let (frames, _, error) = decode_all(source(&[fragment(&file).await]).frames()).await;
        assert!(error.is_none());
        assert_eq!(hashes(&frames), judged_pictures(&file), "{crop}");
        for index in 0..3 {
            let plane = frames[0].plane(index).unwrap();
            assert!(plane.data().len() >= (plane.rows() - 1) * plane.stride() + plane.row_bytes());
            std::hint::black_box(plane.data().iter().map(|sample| u64::from(*sample)).sum::<u64>());
        }
        let (rgb, small) = (frames[0].to_rgb().unwrap(), frames[0].scale_within(100, 100).unwrap());
        assert_eq!(rgb.dimensions(), (frames[0].info().width(), frames[0].info().height()));
        small.to_rgb().unwrap();
    }
}

#[tokio::test]
async fn few_bytes_do_not_take_much_memory_or_time() {
    let file = fragment(&h264("bframes=0")).await;
    // A million units of one byte in one block; and blocks of seven bytes with 256 frames each.
    let units: Vec<u8> = [0, 0, 1, 0x65].repeat(1 << 20);
    let many_units = document(&file, &packets(&file)[..2]).block(1, 500, false, &units);
    let laced = [0xA3, 0x85, 0x81, 0, 0, 0x04, 0xFF].repeat(600);
    let many_frames = document(&file, &packets(&file)[..1]).cluster_element(&laced);
    let (frames, reports, error) = decode_all(source(&made([many_units, many_frames]).await).frames()).await;
    assert!(error.is_none());
    assert_eq!(frames.len(), 3);
    assert_eq!(
        report_lines(&reports),
        ["2 of 3, 1 damaged".to_owned(), format!("1 of {0}, {1} empty", 600 * 256 + 1, 600 * 256)]
    );
    let too_many = document(&file, &[]).cluster_element(&laced.repeat(3));
    let (_, _, error) = decode_all(source(&made([too_many]).await).frames()).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn raw_pictures_of_video_for_windows_decode() {
    for height in [180i32, -180] {
        let mut header = vec![40, 0, 0, 0, 64, 1, 0, 0];
        header.extend(height.to_le_bytes());
        header.extend([1, 0, 12, 0]);
        header.extend(b"I420");
        header.resize(40, 0);
        let track = Document::new(Shape::Ffmpeg).codec_private(&header).picture_track(1, "V_MS/VFW/FOURCC", 320, 180);
        let samples: Vec<u8> = (0..320 * 180 * 3 / 2).map(|at| (at / 320) as u8).collect();
        let cut = made([track.block(1, 0, true, &samples)]).await;
        let (frames, _, error) = decode_all(source(&cut).frames()).await;
        assert!(error.is_none());
        assert_eq!(hashes(&frames), judged_pictures(&cut[0].to_mkv()), "{height}");
    }
}
