//! Each limit, at the limit and beyond it.

use bytes::Bytes;
use kinesis_video::ebml::id;
use kinesis_video::internals::{Width, Writer};
use kinesis_video::local::Document;
use kinesis_video::{ErrorKind, Limits};

use crate::support::bodies::{Chunking, items_within, live_body, producer_document, stamp};

/// Asserts that a body is read within one limit and refused with this message within another, for any chunking.
async fn refused(body: &Bytes, allowed: Limits, refused: Limits, text: &str) {
    let (_, error) = items_within(body, Chunking::Whole, allowed).await;
    assert!(error.is_none(), "{error:?}");
    for chunking in [Chunking::Whole, Chunking::Each(1), Chunking::Random(300, 1)] {
        let (_, error) = items_within(body, chunking, refused).await;
        let error = error.unwrap_or_else(|| panic!("not refused: {text}"));
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(error.to_string(), text, "{chunking:?}");
    }
}

#[tokio::test]
async fn fragment_bytes_are_limited() {
    let body = live_body([producer_document(1)]);
    let limits = Limits::default();
    let length = body.len() as u32;
    refused(
        &body,
        limits.fragment_bytes(length),
        limits.fragment_bytes(length - 1),
        &format!(
            "limit exceeded: a fragment of at least {length} bytes, more than the {} of Limits::fragment_bytes (at byte \
             {}, in Segment/Tags, fragment {})",
            length - 1,
            length - 167,
            stamp(1).number,
        ),
    )
    .await;
}

#[tokio::test]
async fn the_next_header_does_not_count_for_a_fragment() {
    let document = producer_document(1).to_bytes_without_trailer(&stamp(1));
    let body: Bytes = [&document[..], &document].concat().into();
    let limits = Limits::default().fragment_bytes(document.len() as u32);
    for chunking in [Chunking::Whole, Chunking::Each(1)] {
        let (items, error) = items_within(&body, chunking, limits).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(items.len(), 2);
    }
}

#[tokio::test]
async fn a_declared_size_is_refused_before_its_bytes_arrive() {
    let mut out = Writer::new();
    out.master(id::EBML, Width::Minimal, |_| {});
    out.unknown(id::SEGMENT, 8);
    let mut body = out.into_bytes();
    body.extend([0x1F, 0x43, 0xB6, 0x75, 0x01, 0, 0, 1, 0, 0, 0, 0]);
    let (_, error) = items_within(&body.into(), Chunking::Each(1), Limits::default()).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.position().offset()), (ErrorKind::Limit, Some(17)));
    assert_eq!(error.position().path(), Some("Segment/Cluster"));
}

#[tokio::test]
async fn metadata_bytes_are_limited() {
    let body = Document::of_tags(&[("name", &"x".repeat(1000))]);
    let limits = Limits::default();
    refused(
        &body,
        limits.metadata_bytes(1028),
        limits.metadata_bytes(1000),
        "limit exceeded: Tags of 1028 bytes, more than the 1000 of Limits::metadata_bytes (at byte 53, in Segment/Tags)",
    )
    .await;
}

#[tokio::test]
async fn blocks_are_limited() {
    let body = live_body([producer_document(1)]);
    let limits = Limits::default();
    let fragment = crate::support::bodies::fragments(&body).await.remove(0);
    let offset = fragment.elements().find("Segment/Cluster/SimpleBlock").last().unwrap().unwrap().offset();
    refused(
        &body,
        limits.blocks(5),
        limits.blocks(4),
        &format!(
            "limit exceeded: more than the 4 blocks of Limits::blocks in one fragment (at byte {offset}, in Segment/Cluster/SimpleBlock, \
             fragment {})",
            stamp(1).number
        ),
    )
    .await;
}

#[tokio::test]
async fn tags_are_limited() {
    let body = Document::of_tags(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let limits = Limits::default();
    refused(
        &body,
        limits.tags(3),
        limits.tags(2),
        "limit exceeded: more than the 2 tags of Limits::tags in one fragment (at byte 107, in Segment/Tags)",
    )
    .await;
}

#[tokio::test]
async fn tracks_are_limited() {
    let body = live_body([producer_document(1).audio_track(2, "b", "A_AAC")]);
    let limits = Limits::default();
    let (_, error) = items_within(&body, Chunking::Each(1), limits.tracks(1)).await;
    let error = error.unwrap();
    assert_eq!((error.kind(), error.position().path()), (ErrorKind::Limit, Some("Segment/Tracks")));
    assert!(items_within(&body, Chunking::Each(1), limits.tracks(2)).await.1.is_none());
}

#[tokio::test]
async fn nesting_depth_is_limited() {
    let mut inner = Writer::new();
    for _ in 0..20 {
        let mut outer = Writer::new();
        outer.element(id::SIMPLE_TAG, Width::Minimal, inner.as_bytes());
        inner = outer;
    }
    let mut out = Writer::new();
    out.master(id::EBML, Width::Minimal, |_| {});
    out.unknown(id::SEGMENT, 8);
    out.master(id::TAGS, Width::Minimal, |tags| tags.element(id::TAG, Width::Minimal, inner.as_bytes()));
    let body = out.into_bytes().into();
    let (_, error) = items_within(&body, Chunking::Whole, Limits::default()).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Limit);
    assert!(items_within(&body, Chunking::Whole, Limits::default().depth(20)).await.1.is_none());
}
