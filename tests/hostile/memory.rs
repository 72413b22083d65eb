//! Memory use of the decoders, counted by the allocator.

use bytes::{Bytes, BytesMut};
use kinesis_video::local::{Document, Shape};
use kinesis_video::{BodyDecoder, BodyItem, Limits};
use tokio_util::codec::Decoder;

use crate::counting;
use crate::media::{live_body, stamp};

const CHUNK: usize = 1 << 10;

/// Decodes a body in chunks, drops the items, ignores the error, and returns the number of items.
fn read(body: &[u8], limits: Limits, resync: bool) -> usize {
    let mut decoder = BodyDecoder::new().limits(limits).resync(resync);
    let (mut received, mut items) = (BytesMut::new(), 0);
    for chunk in body.chunks(CHUNK) {
        received.extend_from_slice(chunk);
        while let Ok(Some(_)) = decoder.decode(&mut received) {
            items += 1;
        }
    }
    while let Ok(Some(_)) = decoder.decode_eof(&mut received) {
        items += 1;
    }
    items
}

#[test]
fn hostile_bodies_stay_within_limits() {
    let limit: u32 = 256 << 10;
    let limits = Limits::default().fragment_bytes(limit).metadata_bytes(64 << 10).blocks(1000).tags(100).tracks(10);
    let start = [0x1A, 0x45, 0xDF, 0xA3, 0x80, 0x18, 0x53, 0x80, 0x67, 0xFF];
    let cluster = [&start[..], &[0x1F, 0x43, 0xB6, 0x75, 0xFF]].concat();
    let after = |start: &[u8], rest: Vec<u8>| [start, &rest].concat();
    let simple_tag = [
        0x12, 0x54, 0xC3, 0x67, 0x8E, 0x73, 0x73, 0x8B, 0x67, 0xC8, 0x88, 0x45, 0xA3, 0x81, b'a', 0x44, 0x87, 0x81,
        b'b',
    ];
    let huge = |id: &[u8]| [id, &[0x08, 0, 0, 0, 0x7F][..]].concat();
    for (name, body) in [
        ("an endless block", after(&cluster, [&[0xA3, 0x10, 0xFF, 0xFF, 0xFF][..], &[7; 3 << 20]].concat())),
        ("endless empty blocks", after(&cluster, [0xA3, 0x84, 0x81, 0, 0, 0].repeat(500_000))),
        ("endless empty elements", after(&cluster, [0xEC, 0x80].repeat(1_000_000))),
        ("endless segments", after(&start[..5], [0x18, 0x53, 0x80, 0x67, 0x80].repeat(500_000))),
        ("endless clusters", after(&start, [0x1F, 0x43, 0xB6, 0x75, 0x80].repeat(500_000))),
        ("endless tags", after(&start, simple_tag.repeat(150_000))),
        ("endless documents", start[..5].repeat(500_000)),
        ("endless zeros", vec![0; 3 << 20]),
        ("tracks that declare a huge size", after(&start, huge(&[0x16, 0x54, 0xAE, 0x6B]))),
        ("a cluster that declares a huge size", after(&start, huge(&[0x1F, 0x43, 0xB6, 0x75]))),
    ] {
        for resync in [false, true] {
            let (items, usage) = counting::of(|| read(&body, limits, resync));
            // Twice the fragment while its buffer doubles, the index, the reserved memory, and the bytes searched.
            let most = 4 * i64::from(limit) + 32 * 1000 + (3 << 20);
            assert!(usage.peak <= most, "{name}, {resync}: {} bytes for {items} items", usage.peak);
            assert!(usage.current < 1024, "{name}, {resync}: {} bytes are still allocated", usage.current);
        }
    }
}

#[test]
fn a_fragment_takes_little_more_memory_than_its_bytes() {
    for (shape, blocks, length) in [(Shape::Ffmpeg, 60, 8000), (Shape::Producer, 60, 8000), (Shape::Producer, 34, 1024)]
    {
        let document = (0..blocks).fold(Document::new(shape).video_track(1).tag("a", "b"), |document, i| {
            document.block(1, i * 30, i == 0, &vec![i as u8; length])
        });
        let body: Bytes = (1..=50).flat_map(|n| document.to_bytes(&stamp(n), 0)).collect::<Vec<_>>().into();
        let size = body.len() / 50;
        let (items, usage) = counting::of(|| read(&body, Limits::default(), false));
        assert_eq!(items, 50);
        let each = usage.allocations as f64 / 50.0;
        eprintln!(
            "{shape:?}, {blocks} blocks of {length}: peak {:.2} times a fragment, {each:.1} allocations each",
            usage.peak as f64 / size as f64
        );
        assert!(usage.peak < 3 * size as i64 + (128 << 10), "{shape:?}: {} bytes for fragments of {size}", usage.peak);
        // The fragment's parts, plus the steps in which buffer and index grow.
        assert!(each <= 30.0, "{shape:?}: {each} allocations");
    }
}

#[test]
fn allocations_do_not_grow_with_the_packets() {
    let count = |blocks: i16| {
        let document =
            (0..blocks).fold(Document::new(Shape::Ffmpeg).video_track(1), |d, i| d.block(1, i, i == 0, &[7; 500]));
        let body = live_body([document]);
        let mut decoder = BodyDecoder::new();
        let mut received = BytesMut::from(&body[..]);
        let (_, usage) = counting::of(|| match decoder.decode(&mut received) {
            Ok(Some(BodyItem::Fragment(fragment))) => assert_eq!(fragment.packets().count(), blocks as usize),
            other => panic!("{other:?}"),
        });
        usage.allocations
    };
    let (few, many) = (count(10), count(10_000));
    assert!(many <= few + 14, "{few} for 10 packets, {many} for 10,000");
}
