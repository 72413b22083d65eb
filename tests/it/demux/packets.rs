//! Packets, yielded one by one.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use kinesis_video::demux::{PacketDecoder, PacketItem, PacketStream};
use kinesis_video::ebml::id;
use kinesis_video::internals::{Width, Writer};
use kinesis_video::{BodyItem, ErrorKind, FragmentEnd, Limits, Packet};
use tokio_util::codec::Decoder;

use crate::support::bodies::{
    CAPTURES, Chunking, bodies, capture, fragments, items, live_body, pieces, producer_document,
};

fn describe(packet: &Packet) -> String {
    let time = packet.producer_time();
    format!("{packet:?} {} {:?} {time:?} {:?}", packet.ordinal(), packet.duration_ns(), packet.payload())
}

/// Describes the items of whole fragments as a packet stream yields them.
async fn taken_apart(body: &Bytes) -> Vec<String> {
    let (items, error) = items(body, Chunking::Whole).await;
    let mut lines = Vec::new();
    for item in &items {
        match item {
            BodyItem::Fragment(fragment) => {
                lines.push(format!("start {:?} {:?}", fragment.header(), fragment.tracks()));
                lines.extend(fragment.packets().map(|packet| describe(&packet)));
                let trailing: Vec<_> = fragment.tags().iter().filter(kinesis_video::Tag::is_after_media).collect();
                let (behind, token) = (fragment.behind_now(), fragment.continuation_token());
                lines.push(format!("end {} {trailing:?} {behind:?} {token:?}", fragment.end_reason()));
            }
            BodyItem::Fault(fault) => lines.push(format!("fault {:?} {:?}", fault.id(), fault.message())),
            other => lines.push(format!("other {:?}", other.raw())),
        }
    }
    lines.extend(error.map(|error| format!("{error:?}")));
    lines
}

async fn one_by_one(body: &Bytes, chunking: Chunking) -> Vec<String> {
    let mut stream = PacketStream::from_stream(pieces(body, chunking));
    let mut lines = Vec::new();
    while let Some(item) = stream.next().await {
        lines.push(match item {
            Ok(PacketItem::Start(header)) => format!("start {header:?} {:?}", header.tracks()),
            Ok(PacketItem::Packet(packet)) => describe(&packet),
            Ok(PacketItem::End(end)) => {
                let (behind, token) = (end.behind_now(), end.continuation_token());
                let trailing: Vec<_> = end.tags().iter().filter(kinesis_video::Tag::is_after_media).collect();
                format!("end {} {trailing:?} {behind:?} {token:?}", end.end_reason())
            }
            Ok(PacketItem::Fault(fault)) => format!("fault {:?} {:?}", fault.id(), fault.message()),
            Ok(PacketItem::Skipped(skipped)) => format!("other {:?}", skipped.raw()),
            Ok(other) => panic!("{other:?}"),
            Err(error) => format!("{error:?}"),
        });
    }
    for _ in 0..3 {
        assert!(stream.next().await.is_none());
    }
    lines
}

#[tokio::test]
async fn packets_equal_those_of_whole_fragments_for_any_chunking() {
    for (name, body) in bodies() {
        let expected = taken_apart(&body).await;
        for chunking in [Chunking::Whole, Chunking::Each(1), Chunking::Random(500, 1), Chunking::Random(9000, 2)] {
            assert_eq!(one_by_one(&body, chunking).await, expected, "{name}, {chunking:?}");
        }
        if body.len() < 4000 {
            for length in (0..body.len()).step_by(7) {
                let body = body.slice(..length);
                assert_eq!(
                    one_by_one(&body, Chunking::Each(11)).await,
                    taken_apart(&body).await,
                    "{name} up to {length}"
                );
            }
        }
    }
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        assert!(one_by_one(&body, Chunking::Each(1000)).await == taken_apart(&body).await, "{name}");
    }
}

/// The number of bytes received when each packet, start and end was yielded.
fn appearances(body: &[u8]) -> Vec<(usize, &'static str)> {
    let (mut decoder, mut received, mut seen) = (PacketDecoder::new(), BytesMut::new(), Vec::new());
    for (index, &byte) in body.iter().enumerate() {
        received.extend_from_slice(&[byte]);
        while let Some(item) = decoder.decode(&mut received).unwrap() {
            let kind = match item {
                PacketItem::Start(_) => "start",
                PacketItem::Packet(_) => "packet",
                PacketItem::End(_) => "end",
                other => panic!("{other:?}"),
            };
            seen.push((index + 1, kind));
        }
        assert!(received.len() < 60_000, "more is kept than an element");
    }
    seen
}

#[tokio::test]
async fn packets_are_yielded_at_their_last_byte() {
    let mut media = vec![
        live_body((1..=3).map(producer_document)),
        live_body((1..=3).map(crate::support::bodies::ffmpeg_document)),
        live_body((1..=2).map(crate::support::bodies::connect_document)),
        crate::support::bodies::merged_body(true),
    ];
    media.extend(capture("kinesis_video_renderer_example_output.mkv"));
    for body in media {
        let mut expected = Vec::new();
        for fragment in fragments(&body).await {
            let clusters = |child: &str| {
                let path = [&format!("Segment/Cluster/{child}"), &format!("Cluster/{child}")].map(String::clone);
                let ends = path.iter().flat_map(|path| fragment.elements().find(path).collect::<Vec<_>>());
                ends.map(|element| element.unwrap().header().end().unwrap() as usize).collect::<Vec<_>>()
            };
            expected.push((clusters("Timestamp")[0], "start"));
            expected.extend(clusters("SimpleBlock").into_iter().map(|end| (end, "packet")));
            expected.push((fragment.offset() as usize + fragment.raw().len(), "end"));
        }
        assert!(appearances(&body) == expected);
    }
}

#[tokio::test]
async fn a_failing_transport_ends_the_open_fragment() {
    let body = live_body([producer_document(1)]);
    let reader = tokio_test::io::Builder::new().read(&body[..800]).read_error(std::io::Error::other("gone")).build();
    let items: Vec<_> = PacketStream::new(reader).collect().await;
    let [Ok(PacketItem::Start(_)), packets @ .., Ok(PacketItem::End(end)), Err(error)] = &items[..] else {
        panic!("{items:?}")
    };
    assert!(!packets.is_empty() && packets.iter().all(|item| matches!(item, Ok(PacketItem::Packet(_)))));
    assert_eq!((end.end_reason(), error.kind()), (FragmentEnd::Cut, ErrorKind::Io));
}

#[tokio::test]
async fn memory_does_not_grow_with_the_fragment() {
    // One fragment of 60 MB. At most a block and a read are buffered.
    let block = vec![7; 60_000];
    let document = (0..1000)
        .fold(kinesis_video::local::Document::new(kinesis_video::local::Shape::Ffmpeg).video_track(1), |d, i| {
            d.block(1, i, i == 0, &block)
        });
    let body = live_body([document]);
    let mut decoder = PacketDecoder::new().limits(Limits::default().fragment_bytes(100 << 20));
    let (mut received, mut packets, mut most) = (BytesMut::new(), 0, 0);
    for chunk in body.chunks(16 << 10) {
        received.extend_from_slice(chunk);
        while let Some(item) = decoder.decode(&mut received).unwrap() {
            packets += usize::from(matches!(item, PacketItem::Packet(_)));
        }
        most = most.max(received.capacity());
    }
    assert_eq!(packets, 1000);
    assert!(most < 300_000, "{most} bytes were kept");
}

/// A document with one track that has these ContentEncodings.
fn encoded(encodings: impl Fn(&mut Writer)) -> Bytes {
    let mut out = Writer::new();
    out.master(id::EBML, Width::Minimal, |_| {});
    out.unknown(id::SEGMENT, 8);
    out.master(id::TRACKS, Width::Minimal, |tracks| {
        tracks.master(id::TRACK_ENTRY, Width::Minimal, |entry| {
            entry.uint(id::TRACK_NUMBER, 1);
            entry.master(id::CONTENT_ENCODINGS, Width::Minimal, |inner| encodings(inner));
        });
    });
    out.unknown(id::CLUSTER, 8);
    out.uint(id::TIMESTAMP, 0);
    out.binary(id::SIMPLE_BLOCK, b"\x81\0\0\x80rest");
    // Xiph lacing: two frames of one and two bytes.
    out.binary(id::SIMPLE_BLOCK, b"\x81\0\0\x02\x01\x01abb");
    out.into_bytes().into()
}

fn stripping(order: u64, bytes: &'static [u8]) -> impl Fn(&mut Writer) {
    move |encodings| {
        encodings.master(id::CONTENT_ENCODING, Width::Minimal, |encoding| {
            encoding.uint(id::CONTENT_ENCODING_ORDER, order);
            encoding.master(id::CONTENT_COMPRESSION, Width::Minimal, |compression| {
                compression.uint(id::CONTENT_COMP_ALGO, 3);
                compression.binary(id::CONTENT_COMP_SETTINGS, bytes);
            });
        });
    }
}

#[tokio::test]
async fn stripped_headers_are_put_back() {
    let payloads = |body: Bytes| async move {
        let fragment = fragments(&body).await.remove(0);
        fragment.packets().map(|packet| String::from_utf8(packet.payload().to_vec()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(payloads(encoded(stripping(0, b"he"))).await, ["herest", "hea", "hebb"]);
    let twice = encoded(|encodings| {
        stripping(1, b"B")(encodings);
        stripping(0, b"A")(encodings);
    });
    assert_eq!(payloads(twice.clone()).await, ["ABrest", "ABa", "ABbb"]);
    assert_eq!(one_by_one(&twice, Chunking::Each(3)).await, taken_apart(&twice).await);
}

#[tokio::test]
async fn unsupported_encodings_are_an_error() {
    let zlib = encoded(|encodings| {
        encodings.master(id::CONTENT_ENCODING, Width::Minimal, |encoding| {
            encoding.master(id::CONTENT_COMPRESSION, Width::Minimal, |compression| {
                compression.uint(id::CONTENT_COMP_ALGO, 0);
            });
        });
    });
    let encrypted = encoded(|encodings| {
        encodings.master(id::CONTENT_ENCODING, Width::Minimal, |encoding| encoding.uint(id::CONTENT_ENCODING_TYPE, 1));
    });
    for (body, what) in [(zlib, "compressed with zlib"), (encrypted, "encrypted")] {
        let (_, error) = items(&body, Chunking::Each(10)).await;
        let error = error.unwrap();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().starts_with(&format!("unsupported: a track whose frames are {what} (at byte ")),
            "{error}"
        );
        assert_eq!((error.position().path(), error.position().track()), (Some("Segment/Cluster/SimpleBlock"), Some(1)));
    }
}

#[tokio::test]
async fn annex_b_output_decodes_to_the_same_pictures() {
    // FFmpeg decodes the same pictures from our byte stream as from the file.
    let mut media: Vec<(Bytes, &str)> = vec![(crate::support::bodies::CAMERA.into(), "h264")];
    media.extend(CAPTURES.into_iter().filter_map(capture).map(|body| (body, "h264")));
    if let Some(hevc) = hevc() {
        media.push((hevc, "hevc"));
    }
    for (body, format) in media {
        for fragment in fragments(&body).await.into_iter().filter(|fragment| fragment.end_reason() != FragmentEnd::Cut)
        {
            let track = fragment.tracks().iter().find(|track| track.width().is_some()).unwrap();
            let sets = kinesis_video::packet::ParameterSets::of_track(track).unwrap().unwrap();
            assert!(sets.iter().count() >= 2);
            let mut ours = Vec::new();
            for packet in fragment.packets().filter(|packet| packet.track_number() == track.number()) {
                let stream = sets.packet_to_annex_b(&packet).unwrap();
                assert_eq!(sets.from_annex_b(&sets.to_annex_b(packet.payload()).unwrap()).unwrap(), packet.payload());
                ours.extend_from_slice(&stream);
            }
            let pictures = ["-map", "0:v:0", "-f", "framemd5", "-fps_mode", "passthrough"];
            let hashes = |text: String| {
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                lines.map(|line| line.rsplit(',').next().unwrap().trim().to_owned()).collect::<Vec<_>>()
            };
            let from_ours = hashes(crate::support::ffmpeg::ffmpeg(&ours, format, &pictures));
            let from_mkv = hashes(crate::support::ffmpeg::ffmpeg(&fragment.to_mkv(), "mkv", &pictures));
            assert!(!from_ours.is_empty() && from_ours == from_mkv);
        }
    }
}

/// One second of H.265, if this FFmpeg can encode it.
fn hevc() -> Option<Bytes> {
    let arguments = ["-c:v", "libx265", "-x265-params", "log-level=error", "-f", "matroska"];
    let made = crate::support::ffmpeg::ffmpeg_bytes(
        &["-f", "lavfi", "-i", "testsrc2=size=192x128:rate=10:duration=1"],
        &arguments,
    );
    (!made.is_empty()).then(|| made.into())
}

fn hex(text: &str) -> Bytes {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect::<Vec<_>>()
        .into()
}

#[tokio::test]
async fn misplaced_master_elements_are_an_error() {
    let cluster_in_group =
        hex("1A45DFA3 80 18538067 FF 1F43B675 FF E78101 A096 A188 81000000 09090909 1F43B675 87 A385 81000080 01");
    let group_in_header = hex("1A45DFA3 82 A0 80");
    let group_in_header_twice =
        [&hex("1A45DFA3 96 4282 88 6D6174726F736B61 A0 88 A186 81 0000 00 01 01")[..]; 2].concat();
    let segment_in_header = hex("1A45DFA3 85 18538067 80");
    for (body, text) in [
        (cluster_in_group, "Cluster directly inside a BlockGroup"),
        (group_in_header, "BlockGroup directly inside a EBML"),
        (group_in_header_twice.into(), "BlockGroup directly inside a EBML"),
        (segment_in_header, "Segment directly inside a EBML"),
    ] {
        for chunking in [Chunking::Whole, Chunking::Each(1)] {
            let (_, error) = items(&body, chunking).await;
            let error = error.unwrap().to_string();
            assert!(error.contains(text), "{error}");
            assert_eq!(one_by_one(&body, chunking).await, taken_apart(&body).await);
        }
    }
}

#[tokio::test]
async fn many_stripped_headers_take_little_memory() {
    let body = encoded(|encodings| {
        encodings.master(id::CONTENT_ENCODING, Width::Minimal, |encoding| {
            encoding.master(id::CONTENT_COMPRESSION, Width::Minimal, |compression| {
                compression.uint(id::CONTENT_COMP_ALGO, 3);
                compression.binary(id::CONTENT_COMP_SETTINGS, &vec![7; 5000]);
            });
        });
    });
    let (_, error) = items(&body, Chunking::Whole).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Unsupported);
}
