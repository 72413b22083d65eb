//! Bodies to test with, and readers of them.

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{LazyLock, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use kinesis_video::ebml::{ElementId, id};
use kinesis_video::internals::{Width, Writer};
use kinesis_video::local::{Document, Shape, Stamp, fragment_number};
use kinesis_video::{BodyItem, BodyStream, Error, Fragment, FragmentNumber, FragmentStream, Limits, Timestamp};

/// The plain MKV file of the repository.
pub const CAMERA: &[u8] = include_bytes!("../../data/camera.mkv");

/// An avcC record with one SPS and one PPS.
pub const AVCC: &[u8] = &[1, 0x64, 0, 12, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 1, 0, 2, 0x68, 0xEE];

/// A frame of H.264 whose NAL unit lengths add up.
pub const FRAME: &[u8] = &[0, 0, 0, 2, 0x65, 0x88];

/// A frame of H.264 that contains a fragment number, so that it can be found again in a file.
pub fn frame_of(number: &FragmentNumber) -> Vec<u8> {
    let unit = format!("{NUMBER_BEGINS}{number};");
    [&(unit.len() as u32 + 1).to_be_bytes()[..], &[0x65], unit.as_bytes()].concat()
}

/// The fragment numbers in the frames of a file, in their order.
pub fn numbers_in(file: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(file);
    let found = text.split(NUMBER_BEGINS).skip(1);
    found.map(|rest| rest.split(';').next().unwrap().to_owned()).collect()
}

const NUMBER_BEGINS: &str = "fragment ";

/// A captured payload. `None` and a message without `KVS_CAPTURES`.
pub fn capture(name: &str) -> Option<Bytes> {
    let Some(folder) = std::env::var_os("KVS_CAPTURES") else {
        eprintln!("KVS_CAPTURES is not set: {name} is not tested");
        return None;
    };
    let path = PathBuf::from(folder).join(name);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into())
}

pub const CAPTURES: [&str; 3] = [
    "kinesis_video_renderer_example_output.mkv",
    "output-get-media-non-increasing-timecode.mkv",
    "output_get_media.mkv",
];

/// The stamp of the `ordinal`th fragment of a stream.
pub fn stamp(ordinal: u32) -> Stamp {
    let millis = 1_511_852_109_126 + i64::from(ordinal) * 1000;
    Stamp {
        number: fragment_number(ordinal, millis as u64),
        server_time: Timestamp::from_millis(millis),
        producer_time: Timestamp::from_millis(millis - 613),
    }
}

/// The stamp of a fragment with these server and producer times.
pub fn stamp_at(ordinal: u32, server: i64, producer: i64) -> Stamp {
    Stamp {
        number: fragment_number(ordinal, server as u64),
        server_time: Timestamp::from_millis(server),
        producer_time: Timestamp::from_millis(producer),
    }
}

/// The ordinal of a fragment number that [`stamp`] made.
pub fn ordinal(number: &FragmentNumber) -> u32 {
    static NUMBERS: LazyLock<Vec<FragmentNumber>> = LazyLock::new(|| (0..=3000).map(|n| stamp(n).number).collect());
    NUMBERS.binary_search(number).unwrap_or_else(|_| panic!("{number} is not from a stamp")) as u32
}

/// The ordinal of a fragment that was stored with a [`stamp`].
pub fn ordinal_of(fragment: &Fragment) -> u32 {
    ordinal(fragment.number().unwrap())
}

/// The numbers of fragments that all have one.
pub fn numbers_of(fragments: &[Fragment]) -> Vec<FragmentNumber> {
    fragments.iter().map(|fragment| fragment.number().unwrap().clone()).collect()
}

/// Bytes that differ from place to place and hold what looks like an EBML header.
pub fn payload(length: usize, seed: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
    if let Some(middle) = bytes.get_mut(length / 2..length / 2 + 4) {
        middle.copy_from_slice(&[0x1A, 0x45, 0xDF, 0xA3]);
    }
    bytes
}

/// A fragment of a camera with the AWS producer SDK: five blocks and a tag.
pub fn producer_document(ordinal: u32) -> Document {
    let document = Document::new(Shape::Producer)
        .codec_private(&[1; 40])
        .video_track(1)
        .cluster_time(u64::from(ordinal) * 1000)
        .tag("ordinal", &ordinal.to_string());
    (0..5).fold(document, |document, i| {
        document.block(1, i16::from(i) * 200, i == 0, &payload(40 + usize::from(i) * 30, i))
    })
}

/// A fragment as FFmpeg writes it, with its tag before the media.
pub fn ffmpeg_document(ordinal: u32) -> Document {
    let document = Document::new(Shape::Ffmpeg).video_track(1).audio_track(2, "sound", "A_AAC").leading_tag("a", "b");
    (0..4).fold(document, |document, i| {
        document.block(u64::from(i % 2) + 1, i16::from(i) * 20, i < 2, &payload(300, ordinal as u8 + i))
    })
}

/// A fragment of Amazon Connect: two tracks of PCM with different lengths, and its tags after the media.
pub fn connect_document(ordinal: u32) -> Document {
    let document = Document::new(Shape::Producer)
        .titled("Kinesis Video SDK", "Kinesis Video SDK 1.1.0 JNI 2.0")
        .codec_private(&[0x11, 0x90])
        .audio_track(1, "AUDIO_FROM_CUSTOMER", "A_AAC")
        .audio_track(2, "AUDIO_TO_CUSTOMER", "A_AAC")
        .cluster_time(1_700_000_000_000 + u64::from(ordinal) * 1088);
    let document = (0..17u8).fold(document, |document, i| {
        let length = if i == 16 { 192 } else { 1024 };
        document.block(1, i16::from(i) * 64, true, &payload(length, i)).block(
            2,
            i16::from(i) * 64,
            true,
            &payload(1024, i + 1),
        )
    });
    document
        .tag("ContactId", "4a573372-1f28-4e26-b97b-XXXXXXXXXXX")
        .tag("InstanceId", "bf2d6c88-XXXX")
        .tag("MimeType", "audio/L16;rate=8000;channels=1;")
        .tag("AUDIO_FROM_CUSTOMER", "1")
        .tag("AUDIO_TO_CUSTOMER", "2")
        .tag("Events", "[]")
}

/// A body of GetMedia with these documents.
pub fn live_body(documents: impl IntoIterator<Item = Document>) -> Bytes {
    let documents = documents.into_iter().zip(1..).map(|(document, ordinal)| document.to_bytes(&stamp(ordinal), 5));
    documents.collect::<Vec<_>>().concat().into()
}

/// A body of the archive: no closing tags, the documented names, and a fault between two fragments.
pub fn archive_body() -> Bytes {
    let mut body = Vec::new();
    body.extend_from_slice(&producer_document(1).to_bytes_without_trailer(&stamp(1)));
    body.extend_from_slice(&Document::of_tags(&[
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", stamp(2).number.as_str()),
        ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", "4000"),
        ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", "not there"),
    ]));
    body.extend_from_slice(&ffmpeg_document(3).to_bytes_without_trailer(&stamp(3)));
    body.into()
}

/// Three fragments in one Segment, of unknown size or of the right one: one header, then for each
/// the service's tags, a Cluster, a tag of the producer, the closing tags.
pub fn merged_body(known_size: bool) -> Bytes {
    let parts: Vec<Bytes> = (1..=3).map(|ordinal| producer_document(ordinal).to_bytes(&stamp(ordinal), 0)).collect();
    let header = parts[0].windows(4).position(|four| four == id::TAGS.0.to_be_bytes()).unwrap();
    let fragments: Vec<u8> = parts.iter().flat_map(|part| part[header..].to_vec()).collect();
    let mut out = parts[0][..header].to_vec();
    if known_size {
        let segment = out.windows(4).position(|four| four == id::SEGMENT.0.to_be_bytes()).unwrap();
        let size = (out.len() - segment - 12 + fragments.len()) as u64;
        out[segment + 4..segment + 12].copy_from_slice(&(size | 1 << 56).to_be_bytes());
    }
    [out, fragments].concat().into()
}

/// A valid document with unusual elements: BlockGroups, negative times, wide track numbers, another TimestampScale,
/// unknown elements, Void and CRC-32 everywhere, nested tags, binary tags, Cues after the Cluster.
pub fn odd_body() -> Bytes {
    let mut out = Writer::new();
    out.master(id::EBML, Width::Octets(3), |ebml| {
        ebml.binary(id::CRC_32, &[1, 2, 3, 4]);
        ebml.text(id::DOC_TYPE, "webm");
    });
    out.binary(id::VOID, &[0; 3]);
    out.unknown(id::SEGMENT, 1);
    out.binary(id::CRC_32, &[0; 4]);
    out.master(id::INFO, Width::Octets(2), |info| info.uint(id::TIMESTAMP_SCALE, 100_000));
    out.master(id::TRACKS, Width::Octets(5), |tracks| {
        tracks.binary(id::VOID, &[]);
        tracks.master(id::TRACK_ENTRY, Width::Minimal, |entry| {
            entry.uint(id::TRACK_NUMBER, 300);
            entry.uint(id::TRACK_TYPE, 17);
            entry.uint(id::DEFAULT_DURATION, 20_000_000);
            entry.binary(ElementId(0x4D4D), b"?");
        });
    });
    out.master(id::TAGS, Width::Minimal, |tags| {
        tags.master(id::TAG, Width::Minimal, |tag| {
            tag.master(id::TARGETS, Width::Minimal, |targets| targets.uint(id::TAG_TRACK_UID, 7));
            tag.master(id::SIMPLE_TAG, Width::Minimal, |simple| {
                simple.text(id::TAG_STRING, "value first \0\0");
                simple.text(id::TAG_NAME, "same\0");
                simple.master(id::SIMPLE_TAG, Width::Minimal, |inner| {
                    inner.text(id::TAG_NAME, "inner");
                    inner.binary(id::TAG_BINARY, &[0, 0xFF]);
                });
            });
            tag.master(id::SIMPLE_TAG, Width::Minimal, |simple| {
                simple.text(id::TAG_NAME, "same");
                simple.text(id::TAG_STRING, "again");
            });
        });
    });
    out.binary(ElementId(0x1A2B_3C4D), &[9; 20]);
    out.unknown(id::CLUSTER, 4);
    out.uint(id::TIMESTAMP, 1000);
    out.binary(ElementId(0x4D4D), &[0x1F, 0x43, 0xB6, 0x75]);
    let block = |track: u64, relative: i16, flags: u8, payload: &[u8]| {
        let track = [0x40 | (track >> 8) as u8, track as u8];
        [&track[..], &relative.to_be_bytes(), &[flags], payload].concat()
    };
    out.element(id::SIMPLE_BLOCK, Width::Octets(8), &block(300, -500, 0x80, b"early"));
    out.master(id::BLOCK_GROUP, Width::Minimal, |group| {
        group.binary(id::BLOCK, &block(300, 10, 0x80, b"refers"));
        group.uint(id::BLOCK_DURATION, 25);
        group.int(id::REFERENCE_BLOCK, -5);
    });
    out.master(id::BLOCK_GROUP, Width::Octets(8), |group| {
        group.binary(id::BLOCK, &block(300, 20, 0, b"alone"));
        group.binary(id::VOID, &[0; 5]);
    });
    out.element(id::SIMPLE_BLOCK, Width::Minimal, &block(300, 30, 0x06, b"\x02\x81\xC0abbc"));
    out.binary(id::VOID, &[1; 2]);
    out.master(id::CUES, Width::Minimal, |cues| cues.binary(id::CUE_POINT, &[]));
    out.into_bytes().into()
}

/// All bodies of this module, each with a name.
pub fn bodies() -> Vec<(&'static str, Bytes)> {
    let whole = live_body([producer_document(1), producer_document(2)]);
    let cut = whole.slice(..whole.len() - 700);
    let behind =
        [&live_body([producer_document(1)])[..], &[0xEC, 0x82, 0, 0], &live_body([ffmpeg_document(2)])].concat();
    let fault_inside = {
        let document = producer_document(1).to_bytes_without_trailer(&stamp(1));
        let fault = Document::fault(5000, "INTERNAL", None);
        let tags = fault.windows(4).position(|four| four == id::TAGS.0.to_be_bytes()).unwrap();
        [&document[..], &fault[tags..]].concat()
    };
    let damaged = [&whole[..], b"no element begins so", &whole[..]].concat();
    let mut lying = live_body([ffmpeg_document(1)]).to_vec();
    let block = lying.windows(2).rposition(|two| two == [0xA3, 0x41]).unwrap();
    lying[block + 1] = 0x7F;
    let odd = odd_body();
    let no_header = odd.slice(odd.windows(4).position(|four| four == id::SEGMENT.0.to_be_bytes()).unwrap()..);
    vec![
        ("empty", Bytes::new()),
        ("producer", live_body((1..=3).map(producer_document))),
        ("ffmpeg", live_body((1..=3).map(ffmpeg_document))),
        ("connect", live_body((1..=2).map(connect_document))),
        ("archive", archive_body()),
        ("fault", Document::fault(3000, "FRAGMENT_NOT_FOUND", Some(&stamp(1).number))),
        ("fault inside", fault_inside.into()),
        ("merged", merged_body(false)),
        ("merged, known size", merged_body(true)),
        ("odd", odd_body()),
        ("plain file", Bytes::from_static(CAMERA)),
        ("two files", [CAMERA, CAMERA].concat().into()),
        ("cut", cut),
        ("behind the end", behind.into()),
        ("damaged", damaged.into()),
        ("lying size", lying.into()),
        ("no media at all", Bytes::from_static(b"{\"Output\":{}}")),
        ("no header", no_header),
    ]
}

/// A way to cut a body into pieces.
#[derive(Clone, Copy, Debug)]
pub enum Chunking {
    Whole,
    Each(usize),
    /// Pieces of 0 to this many bytes, from this seed, with `Pending` between them.
    Random(usize, u64),
}

/// A body in pieces.
pub struct Pieces {
    body: Bytes,
    chunking: Chunking,
    state: u64,
    pending: bool,
}

pub fn pieces(body: &Bytes, chunking: Chunking) -> Pieces {
    let state = if let Chunking::Random(_, seed) = chunking { seed } else { 0 };
    Pieces { body: body.clone(), chunking, state, pending: false }
}

impl Stream for Pieces {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.body.is_empty() {
            return Poll::Ready(None);
        }
        let length = match self.chunking {
            Chunking::Whole => self.body.len(),
            Chunking::Each(length) => length,
            Chunking::Random(most, _) => {
                self.pending = !self.pending;
                if self.pending {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                // A multiplicative generator is random enough here.
                self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (self.state >> 33) as usize % (most + 1)
            }
        };
        let length = length.min(self.body.len());
        Poll::Ready(Some(Ok(self.body.split_to(length))))
    }
}

pub async fn items(body: &Bytes, chunking: Chunking) -> (Vec<BodyItem>, Option<Error>) {
    items_within(body, chunking, Limits::default()).await
}

pub async fn items_within(body: &Bytes, chunking: Chunking, limits: Limits) -> (Vec<BodyItem>, Option<Error>) {
    let mut stream = BodyStream::from_stream(pieces(body, chunking)).limits(limits);
    let mut items = Vec::new();
    while let Some(item) = stream.next().await {
        match item {
            Ok(item) => items.push(item),
            Err(error) => {
                for _ in 0..3 {
                    assert!(stream.next().await.is_none(), "an item after the error {error}");
                }
                return (items, Some(error));
            }
        }
    }
    (items, None)
}

/// The fragments of a body without other items.
pub async fn fragments(body: &Bytes) -> Vec<Fragment> {
    let stream = FragmentStream::from_stream(pieces(body, Chunking::Each(1000)));
    stream.map(|fragment| fragment.unwrap()).collect().await
}

/// The first `count` fragments of one long stream, at most 3000.
pub fn first_fragments(count: usize) -> Vec<Fragment> {
    static ALL: OnceLock<Vec<Fragment>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let body = live_body((1..=3000).map(producer_document));
        futures::executor::block_on(FragmentStream::new(&body[..]).map(|fragment| fragment.unwrap()).collect())
    });
    all[..count].to_vec()
}

/// Describes all properties of an item, to compare. Bytes are hashed, so that the text stays readable.
pub fn describe(item: &BodyItem) -> String {
    let hash = |bytes: &[u8]| {
        let mut hasher = std::hash::DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish()
    };
    match item {
        BodyItem::Fragment(fragment) => {
            let packets: Vec<_> = fragment
                .packets()
                .map(|p| (p.track_number(), p.timecode_ns(), p.is_key(), p.duration_ns(), hash(p.payload())))
                .collect();
            format!(
                "{fragment:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {packets:?}",
                fragment.server_time(),
                fragment.behind_now(),
                fragment.continuation_token(),
                fragment.tags(),
                fragment.header().tags(),
                fragment.tracks(),
                hash(fragment.raw()),
            )
        }
        other => format!("{other:?}"),
    }
}
