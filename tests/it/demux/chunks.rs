//! The chunking of a body does not change the items.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use kinesis_video::local::Document;
use kinesis_video::{BodyDecoder, FragmentDecoder};
use proptest::prelude::*;
use tokio_util::codec::{Decoder, FramedRead};

use crate::support::bodies::{
    CAPTURES, Chunking, bodies, capture, connect_document, describe, ffmpeg_document, items, producer_document, stamp,
};
use crate::support::rounds::rounds;

async fn described(body: &Bytes, chunking: Chunking) -> Vec<String> {
    let (items, error) = items(body, chunking).await;
    let received: usize = items.iter().map(|item| item.raw().len()).sum();
    match &error {
        None => assert_eq!(received, body.len(), "{chunking:?}: some bytes are in no item"),
        Some(error) => assert_eq!(error.position().offset(), Some(received as u64), "{chunking:?}: {error}"),
    }
    let joined: Vec<u8> = items.iter().flat_map(|item| item.raw().to_vec()).collect();
    assert!(body.starts_with(&joined), "{chunking:?}: not the bytes of the body");
    let mut described: Vec<String> = items.iter().map(describe).collect();
    described.extend(error.map(|error| format!("{error:?}")));
    described
}

fn chunkings() -> impl Iterator<Item = Chunking> {
    let random = (0..rounds(20)).map(|seed| {
        let most = [3, 40, 700, 5000, 20_000, 100_000][seed as usize % 6];
        Chunking::Random(most, seed)
    });
    [1, 2, 7, 1000].map(Chunking::Each).into_iter().chain(random)
}

#[tokio::test]
async fn chunking_does_not_change_generated_bodies() {
    for (name, body) in bodies() {
        let whole = described(&body, Chunking::Whole).await;
        for chunking in chunkings() {
            assert_eq!(described(&body, chunking).await, whole, "{name}, {chunking:?}");
        }
    }
}

#[tokio::test]
async fn chunking_does_not_change_truncated_bodies() {
    for (name, body) in bodies() {
        if body.len() > 4000 {
            continue;
        }
        for length in 0..body.len() {
            let body = body.slice(..length);
            let whole = described(&body, Chunking::Whole).await;
            assert_eq!(described(&body, Chunking::Each(1)).await, whole, "{name} up to {length}");
        }
    }
}

#[tokio::test]
async fn chunking_does_not_change_captures() {
    for name in CAPTURES {
        let Some(body) = capture(name) else { continue };
        let whole = described(&body, Chunking::Whole).await;
        for chunking in chunkings() {
            assert!(described(&body, chunking).await == whole, "{name}, {chunking:?}");
        }
    }
}

#[tokio::test]
async fn decoders_and_streams_yield_the_same_items() {
    for (name, body) in bodies() {
        let (expected, error) = items(&body, Chunking::Whole).await;
        let mut framed = FramedRead::new(&body[..], BodyDecoder::new());
        for item in &expected {
            let decoded = framed.next().await.unwrap().unwrap();
            assert_eq!(decoded.raw(), item.raw(), "{name}");
        }
        assert_eq!(framed.next().await.map(|item| item.unwrap_err().to_string()), error.map(|error| error.to_string()));
        assert!(framed.next().await.is_none(), "{name}");
        assert!(framed.next().await.is_none(), "{name}");
    }
}

#[test]
fn a_failed_decoder_yields_nothing_more() {
    let mut decoder = FragmentDecoder::new();
    let mut received = BytesMut::from(&b"{\"Output\":{}}"[..]);
    assert!(decoder.decode(&mut received).is_err());
    let good = crate::support::bodies::live_body([crate::support::bodies::producer_document(1)]);
    received.extend_from_slice(&good);
    assert!(decoder.decode(&mut received).unwrap().is_none());
    assert!(decoder.decode_eof(&mut received).unwrap().is_none());
    assert!(received.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any documents in sequence are split into exactly those documents.
    #[test]
    fn concatenated_documents_are_split_again(kinds in proptest::collection::vec(0u8..6, 1..8), step in 1usize..3000) {
        let documents: Vec<Bytes> = kinds
            .iter()
            .zip(1..)
            .map(|(kind, n)| match kind {
                0 => producer_document(n).to_bytes(&stamp(n), 0),
                1 => ffmpeg_document(n).to_bytes(&stamp(n), 7),
                2 => connect_document(n).to_bytes(&stamp(n), 0),
                3 => producer_document(n).to_bytes_without_trailer(&stamp(n)),
                4 => ffmpeg_document(n).to_bytes_without_trailer(&stamp(n)),
                _ => Document::fault(3000, "FRAGMENT_NOT_FOUND", Some(&stamp(n).number)),
            })
            .collect();
        let body = documents.concat().into();
        let (found, error) = futures::executor::block_on(items(&body, Chunking::Each(step)));
        prop_assert!(error.is_none());
        let raws: Vec<Bytes> = found.iter().map(|item| item.raw().clone()).collect();
        prop_assert_eq!(raws, documents);
    }
}
