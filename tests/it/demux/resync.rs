//! Reading continues after damage.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use kinesis_video::{
    BodyDecoder, BodyItem, BodyStream, Discontinuity, ErrorKind, FragmentEnd, FragmentStream, SkipReason,
};
use proptest::prelude::*;
use tokio_util::codec::Decoder;

use crate::support::bodies::{
    CAPTURES, Chunking, capture, connect_document, ffmpeg_document, fragments, live_body, pieces, producer_document,
    stamp,
};

async fn resynced(body: &Bytes, chunking: Chunking) -> Vec<BodyItem> {
    let mut items = BodyStream::from_stream(pieces(body, chunking)).resync(true);
    let mut all = Vec::new();
    while let Some(item) = items.next().await {
        all.push(item.unwrap());
    }
    let joined: Vec<u8> = all.iter().flat_map(|item| item.raw().to_vec()).collect();
    assert!(joined == *body, "every byte has a home");
    all
}

fn whole(items: &[BodyItem]) -> Vec<Bytes> {
    let whole = items.iter().filter_map(|item| match item {
        BodyItem::Fragment(fragment) if fragment.end_reason() != FragmentEnd::Cut => Some(fragment.raw().clone()),
        _ => None,
    });
    whole.collect()
}

/// The offsets of elements in a document. Damage there is always noticed.
async fn boundaries(document: &Bytes) -> Vec<usize> {
    let fragment = fragments(document).await.remove(0);
    let mut offsets = Vec::new();
    for top in fragment.elements().map(Result::unwrap) {
        offsets.push(top.offset());
        for child in top.children().map(Result::unwrap) {
            offsets.push(child.offset());
            if child.id().name() == Some("Cluster") {
                offsets.extend(child.children().map(|block| block.unwrap().offset()));
            }
        }
    }
    offsets.into_iter().map(|offset| offset as usize).collect()
}

#[tokio::test]
async fn damage_costs_only_the_document_it_is_in() {
    for (name, documents) in [
        ("producer", (1..=4).map(producer_document).collect::<Vec<_>>()),
        ("ffmpeg", (1..=4).map(ffmpeg_document).collect()),
        ("connect", (1..=3).map(connect_document).collect()),
    ] {
        let documents: Vec<Bytes> = documents.iter().zip(1..).map(|(d, n)| d.to_bytes(&stamp(n), 0)).collect();
        for damaged in 0..documents.len() {
            for at in boundaries(&documents[damaged]).await {
                let mut parts = documents.clone();
                let mut broken = parts[damaged].to_vec();
                broken[at..].iter_mut().take(12).for_each(|byte| *byte = 0);
                parts[damaged] = broken.into();
                let body = parts.concat().into();
                let items = resynced(&body, Chunking::Each(777)).await;
                let mut expected = documents.clone();
                expected.remove(damaged);
                assert_eq!(whole(&items).len(), expected.len(), "{name} {damaged} at {at}: {items:?}");
                assert!(whole(&items) == expected, "{name} {damaged} at {at}");
                assert!(items.iter().any(|item| matches!(item, BodyItem::Skipped(skipped)
                    if skipped.reason() == SkipReason::Damaged && skipped.cause().is_some())));
            }
        }
    }
}

#[tokio::test]
async fn resync_does_not_depend_on_the_chunking() {
    let documents = live_body((1..=3).map(ffmpeg_document));
    for at in (0..documents.len()).step_by(61) {
        let mut body = documents.to_vec();
        body[at..].iter_mut().take(9).for_each(|byte| *byte = !*byte);
        let body = body.into();
        let describe = |items: Vec<BodyItem>| items.iter().map(crate::support::bodies::describe).collect::<Vec<_>>();
        let expected = describe(resynced(&body, Chunking::Whole).await);
        for chunking in [Chunking::Each(1), Chunking::Random(400, 7)] {
            assert_eq!(describe(resynced(&body, chunking).await), expected, "{at} {chunking:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_between_documents_is_skipped(
        garbage in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 4),
    ) {
        let documents: Vec<Bytes> = (1..=3).map(|n| ffmpeg_document(n).to_bytes(&stamp(n), 0)).collect();
        let mut body = BytesMut::new();
        for (garbage, document) in garbage.iter().zip(documents.iter().chain([&Bytes::new()])) {
            // Zeros are no element id, so the damage is not read as a long element.
            body.extend_from_slice(&[0; 8]);
            body.extend_from_slice(garbage);
            body.extend_from_slice(document);
        }
        let mut decoder = BodyDecoder::new().resync(true);
        let mut found = Vec::new();
        while let Some(item) = decoder.decode_eof(&mut body).unwrap() {
            found.push(item);
        }
        prop_assert_eq!(whole(&found), documents);
    }
}

#[tokio::test]
async fn a_document_inside_a_block_is_not_a_resync_point() {
    // A block whose payload is a whole document, and damage before it in the same Cluster of known size.
    let inner = live_body([producer_document(9)]);
    let document = ffmpeg_document(1).block(1, 100, false, &inner);
    let second = ffmpeg_document(2).to_bytes(&stamp(2), 0);
    let mut body = document.to_bytes(&stamp(1), 0).to_vec();
    let block = boundaries(&body.clone().into()).await;
    let before = block.into_iter().filter(|&at| body[at] == 0xA3).nth(1).unwrap();
    body[before..before + 3].fill(0);
    body.extend_from_slice(&second);
    let items = resynced(&body.into(), Chunking::Each(100)).await;
    assert_eq!(whole(&items), [second]);
    assert_eq!(items.len(), 3, "{items:?}");
}

#[tokio::test]
async fn skipped_bytes_are_a_discontinuity_of_the_next_fragment() {
    let body = [&live_body([producer_document(1)])[..], b"no element", &live_body([producer_document(2)])].concat();
    let stream = FragmentStream::new(&body[..]).resync(true);
    let fragments: Vec<_> = stream.map(|fragment| fragment.unwrap()).collect().await;
    assert_eq!(fragments.len(), 2);
    let [Discontinuity::SkippedBytes(skipped)] = fragments[1].discontinuities() else {
        panic!("{:?}", fragments[1].discontinuities())
    };
    let first = fragments[0].raw().len() as u64;
    assert_eq!((skipped.offset(), skipped.length()), (first, 10));
    assert_eq!(skipped.cause().unwrap().kind(), ErrorKind::Malformed);
    assert!(skipped.to_string().starts_with("damaged: malformed media: 0x6E6F directly inside a Segment"), "{skipped}");
}

#[tokio::test]
async fn a_long_search_is_reported_in_parts_and_buffers_little() {
    let garbage = vec![0; 5 << 20];
    let mut decoder = BodyDecoder::new().resync(true);
    let (mut received, mut skipped, mut most) = (BytesMut::new(), 0, 0);
    for chunk in garbage.chunks(10_000) {
        received.extend_from_slice(chunk);
        most = most.max(received.len());
        while let Some(item) = decoder.decode(&mut received).unwrap() {
            skipped += item.raw().len();
        }
    }
    while let Some(item) = decoder.decode_eof(&mut received).unwrap() {
        skipped += item.raw().len();
    }
    assert_eq!(skipped, garbage.len());
    assert!(most < 2 << 20, "{most}");
}

#[tokio::test]
async fn resync_does_not_change_undamaged_bodies() {
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        let (expected, _) = crate::support::bodies::items(&body, Chunking::Whole).await;
        let items = resynced(&body, Chunking::Each(5000)).await;
        let describe = |items: &[BodyItem]| items.iter().map(crate::support::bodies::describe).collect::<Vec<_>>();
        assert!(describe(&items) == describe(&expected), "{name}");
    }
}

#[tokio::test]
async fn damage_in_captures_costs_one_fragment() {
    let Some(body) = capture("output_get_media.mkv") else { return };
    let parts = fragments(&body).await;
    let mut body = body.to_vec();
    // The header of a block in the third document.
    let block = parts[2].elements().find("Segment/Cluster/SimpleBlock").nth(10).unwrap().unwrap().offset() as usize;
    body[block..block + 12].fill(0);
    let items = resynced(&body.into(), Chunking::Each(10_000)).await;
    let expected: Vec<_> = [0, 1, 3, 4].map(|index: usize| parts[index].raw().clone()).into();
    assert!(whole(&items) == expected);
    let BodyItem::Fragment(cut) = &items[2] else { panic!("{items:?}") };
    assert_eq!((cut.end_reason(), cut.blocks().len()), (FragmentEnd::Cut, 10));
}

#[tokio::test]
async fn a_cluster_with_a_wrong_size_does_not_delay_the_next_document() {
    // The damaged size of the Cluster reaches far into the next documents.
    let documents: Vec<Bytes> = (1..=20).map(|n| ffmpeg_document(n).to_bytes(&stamp(n), 0)).collect();
    let mut body = documents.concat();
    let cluster = body.windows(4).position(|four| four == [0x1F, 0x43, 0xB6, 0x75]).unwrap();
    body[cluster + 9..cluster + 12].copy_from_slice(&[0x3F, 0, 0]);
    let mut decoder = BodyDecoder::new().resync(true);
    let (mut received, mut found) = (BytesMut::new(), Vec::new());
    for chunk in body.chunks(500) {
        received.extend_from_slice(chunk);
        while let Some(item) = decoder.decode(&mut received).unwrap() {
            found.push(item);
        }
        assert!(received.len() < 4000, "{} bytes are buffered", received.len());
    }
    // The next document is yielded before the end of the body.
    assert_eq!(whole(&found), documents[1..]);
}

#[tokio::test]
async fn the_size_of_the_last_cluster_is_trusted() {
    let inner = live_body([producer_document(9)]);
    let document = ffmpeg_document(1).block(1, 100, false, &inner);
    let mut body = document.to_bytes_without_trailer(&stamp(1)).to_vec();
    let block = boundaries(&body.clone().into()).await.into_iter().filter(|&at| body[at] == 0xA3).nth(1).unwrap();
    body[block..block + 3].fill(0);
    let items = resynced(&body.into(), Chunking::Each(100)).await;
    assert_eq!(whole(&items), [] as [Bytes; 0]);
    assert_eq!(items.len(), 2, "{items:?}");
}
