//! Fragments of random media, to compare with what a reader yields.

use bytes::Bytes;
use fastrand::Rng;
use kinesis_video::FragmentNumber;
use kinesis_video::local::{Document, LocalStream, Shape, Stamp};

/// The number of a stored fragment, and the bytes it begins with. Its closing tags depend on when it is sent.
pub type Pushed = (FragmentNumber, Bytes);

/// A fragment of random media.
pub fn random_document(rng: &mut Rng, ordinal: usize) -> Document {
    let shape = if rng.bool() { Shape::Producer } else { Shape::Ffmpeg };
    let document =
        Document::new(shape).video_track(1).cluster_time(ordinal as u64 * 1000).tag("n", &ordinal.to_string());
    (0..rng.i16(1..6)).fold(document, |document, i| {
        let mut payload = vec![0; rng.usize(1..1500)];
        rng.fill(&mut payload);
        document.block(1, i * 200, i == 0, &payload)
    })
}

/// Pushes a document, and returns what a reader has to yield.
pub fn push(stream: &LocalStream, document: &Document) -> Pushed {
    let stamp: Stamp = stream.push(document);
    (stamp.number.clone(), document.to_bytes_without_trailer(&stamp))
}
