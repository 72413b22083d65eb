//! Bodies cut into fragments.

use bytes::BytesMut;
use kinesis_video::BodyItem;
use kinesis_video::demux::BodyDecoder;
use kinesis_video::ebml::id;
use kinesis_video::internals::{Cut, FragmentCutter, Width, Writer};
use proptest::prelude::*;
use tokio_util::codec::Decoder;

use super::producer::{block, cluster, end_of_fragment, head, tag};
use crate::support::bodies::CAMERA;
use crate::support::ffmpeg::our_packets;

/// One element of a random body.
#[derive(Clone, Debug)]
enum Part {
    /// A Cluster this much later than the one before, with a size or without, and its blocks: track, time, size.
    Cluster(u64, bool, Vec<(bool, u8, u8)>),
    Tag(u8),
    EndOfFragment,
    Void(u8),
}

fn part() -> impl Strategy<Value = Part> {
    let blocks = prop::collection::vec((any::<bool>(), any::<u8>(), any::<u8>()), 1..6);
    prop_oneof![
        4 => (1..3000u64, any::<bool>(), blocks).prop_map(|(later, sized, blocks)| Part::Cluster(later, sized, blocks)),
        2 => any::<u8>().prop_map(Part::Tag),
        1 => Just(Part::EndOfFragment),
        1 => any::<u8>().prop_map(Part::Void),
    ]
}

/// A BlockGroup with one Block.
fn block_group(track: u8, millis: i16, payload: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    let [high, low] = millis.to_be_bytes();
    out.master(id::BLOCK_GROUP, Width::Minimal, |group| {
        group.binary(id::BLOCK, &[&[0x80 | track, high, low, 0], payload].concat());
        group.uint(id::BLOCK_DURATION, 40);
    });
    out.into_bytes()
}

fn body_of(parts: &[Part]) -> Vec<u8> {
    let mut body = head(&[1]);
    let mut time = 0;
    for part in parts {
        match part {
            Part::Cluster(later, is_sized, blocks) => {
                time += later;
                let blocks = blocks.iter().flat_map(|(is_group, millis, size)| {
                    let payload = vec![*size; usize::from(*size)];
                    if *is_group {
                        block_group(1, i16::from(*millis), &payload)
                    } else {
                        block(1, i16::from(*millis), &payload)
                    }
                });
                let blocks: Vec<u8> = blocks.collect();
                if *is_sized {
                    let mut out = Writer::new();
                    out.master(id::CLUSTER, Width::Octets(8), |cluster| {
                        cluster.uint(id::TIMESTAMP, time);
                        cluster.raw(&blocks);
                    });
                    body.extend(out.into_bytes());
                } else {
                    body.extend(cluster(time));
                    body.extend(blocks);
                }
            }
            Part::Tag(value) => body.extend(tag("name", &value.to_string())),
            Part::EndOfFragment => body.extend(end_of_fragment()),
            Part::Void(size) => {
                let mut out = Writer::new();
                out.binary(id::VOID, &vec![0; usize::from(*size)]);
                body.extend(out.into_bytes());
            }
        }
    }
    body
}

/// All cuts of a body that comes in chunks of these sizes, with neighbouring media joined.
fn cuts(body: &[u8], sizes: &[usize]) -> Vec<Cut> {
    let mut cutter = FragmentCutter::new();
    let (mut rest, mut sizes) = (body, sizes.iter().cycle());
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
        rest = later;
        all.extend(cutter.push(chunk));
    }
    all.extend(cutter.finish());
    let mut joined: Vec<Cut> = Vec::new();
    for cut in all {
        match (joined.last_mut(), cut) {
            (Some(Cut::Media(bytes)), Cut::Media(more)) => bytes.extend(more),
            (_, cut) => joined.push(cut),
        }
    }
    joined
}

/// The documents of all complete fragments.
fn documents(cuts: &[Cut]) -> Vec<Vec<u8>> {
    let (mut documents, mut current) = (Vec::new(), Vec::new());
    for cut in cuts {
        match cut {
            Cut::Begun { before, .. } => current = before.clone(),
            Cut::Media(bytes) => current.extend_from_slice(bytes),
            Cut::Complete { .. } => documents.push(std::mem::take(&mut current)),
            Cut::Opened => {}
            Cut::Failed { error, reason } => panic!("{error:?}: {reason}"),
        }
    }
    documents
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_cuts(
        parts in prop::collection::vec(part(), 0..12),
        sizes in prop::collection::vec(1..200usize, 1..8),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut body = body_of(&parts);
        if let Some((index, value)) = damage {
            *index.get_mut(&mut body) = value;
        }
        let whole = cuts(&body, &[usize::MAX]);
        prop_assert_eq!(&whole, &cuts(&body, &sizes));
        prop_assert_eq!(&whole, &cuts(&body, &[1]));
    }

    #[test]
    fn every_block_is_in_one_document(parts in prop::collection::vec(part(), 0..12)) {
        // More tags than allowed are another test's.
        let tags = parts.iter().filter(|part| matches!(part, Part::Tag(_))).count();
        prop_assume!(tags <= 10);
        let blocks: usize = parts.iter().map(|part| if let Part::Cluster(.., blocks) = part { blocks.len() } else { 0 }).sum();
        let clusters = parts.iter().filter(|part| matches!(part, Part::Cluster(..))).count();
        let documents = documents(&cuts(&body_of(&parts), &[usize::MAX]));
        prop_assert_eq!(documents.len(), clusters);
        let mut seen = 0;
        for document in documents {
            let mut decoder = BodyDecoder::new();
            let item = decoder.decode_eof(&mut BytesMut::from(&document[..])).unwrap().unwrap();
            let BodyItem::Fragment(fragment) = item else { panic!("{item:?}") };
            prop_assert_eq!(fragment.tracks().len(), 1);
            seen += fragment.blocks().count();
        }
        prop_assert_eq!(seen, blocks);
    }
}

#[test]
fn a_file_of_ffmpeg_is_cut_at_its_clusters() {
    let mut decoder = BodyDecoder::new();
    let BodyItem::Fragment(file) = decoder.decode_eof(&mut BytesMut::from(CAMERA)).unwrap().unwrap() else { panic!() };
    let found = cuts(CAMERA, &[1_000]);
    let mut packets = Vec::new();
    for document in documents(&found) {
        let mut decoder = BodyDecoder::new();
        let item = decoder.decode_eof(&mut BytesMut::from(&document[..])).unwrap().unwrap();
        let BodyItem::Fragment(fragment) = item else { panic!("{item:?}") };
        // Complete names the same duration as the fragment itself.
        let listed = found.iter().any(|cut| *cut == Cut::Complete { duration: fragment.duration() });
        assert!(listed, "{:?}", fragment.duration());
        packets.extend(our_packets(&fragment));
    }
    assert_eq!(packets, our_packets(&file));
}
