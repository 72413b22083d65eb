//! A fragment is yielded as soon as its last byte has been received.

use bytes::BytesMut;
use kinesis_video::{BodyDecoder, BodyItem, FragmentEnd};
use tokio_util::codec::Decoder;

use crate::support::bodies::{
    CAPTURES, archive_body, capture, connect_document, ffmpeg_document, live_body, merged_body, producer_document,
    stamp,
};

/// For each item: the number of bytes received when it was yielded, and its length.
fn appearances(body: &[u8]) -> Vec<(usize, usize, BodyItem)> {
    let mut decoder = BodyDecoder::new();
    let mut received = BytesMut::new();
    let mut appearances = Vec::new();
    for (index, &byte) in body.iter().enumerate() {
        received.extend_from_slice(&[byte]);
        while let Some(item) = decoder.decode(&mut received).unwrap() {
            appearances.push((index + 1, item.raw().len(), item));
        }
    }
    while let Some(item) = decoder.decode_eof(&mut received).unwrap() {
        appearances.push((usize::MAX, item.raw().len(), item));
    }
    appearances
}

fn assert_each_at_its_last_byte(name: &str, body: &[u8], count: usize) {
    let appearances = appearances(body);
    assert_eq!(appearances.len(), count, "{name}");
    let mut end = 0;
    for (at, length, _) in appearances {
        end += length;
        assert_eq!(at, end, "{name}");
    }
    assert_eq!(end, body.len(), "{name}: the last is yielded before the body ends");
}

#[test]
fn fragments_with_closing_tags_are_yielded_at_their_last_byte() {
    for (name, body) in [
        ("producer", live_body((1..=3).map(producer_document))),
        ("ffmpeg", live_body((1..=3).map(ffmpeg_document))),
        ("connect", live_body((1..=3).map(connect_document))),
        ("merged", merged_body(false)),
        ("merged, known size", merged_body(true)),
    ] {
        assert_each_at_its_last_byte(name, &body, 3);
    }
}

#[test]
fn captured_fragments_are_yielded_at_their_last_byte() {
    for (name, count) in CAPTURES.into_iter().zip([8, 11, 5]) {
        let Some(body) = capture(name) else { continue };
        // The last document of one capture is cut.
        let whole = if name.contains("non-increasing") { 1_760_533 } else { body.len() };
        assert_each_at_its_last_byte(name, &body[..whole], count);
    }
}

#[test]
fn faults_are_yielded_at_their_last_byte() {
    let fault = kinesis_video::local::Document::fault(3000, "FRAGMENT_NOT_FOUND", Some(&stamp(1).number));
    assert_each_at_its_last_byte("fault", &fault, 1);
}

#[test]
fn fragments_without_closing_tags_are_yielded_at_the_next_header_or_the_end() {
    let body = archive_body();
    let appearances = appearances(&body);
    let first = appearances[0].1;
    let fault = appearances[1].1;
    // The next document's EBML header is recognized by its id and size, which are 5 bytes.
    assert_eq!(appearances[0].0, first + 5);
    assert_eq!(appearances[1].0, first + fault);
    assert_eq!(appearances[2].0, usize::MAX);
    let ends: Vec<_> = appearances
        .iter()
        .map(|(.., item)| match item {
            BodyItem::Fragment(fragment) => Some(fragment.end_reason()),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [Some(FragmentEnd::NextDocument), None, Some(FragmentEnd::EndOfBody)]);
}
