//! Streams of pictures whose times on the producer's clock follow those of their blocks.

use bytes::Bytes;
use kinesis_video::Timestamp;
use kinesis_video::local::{Document, LocalStream, Stamp};

use super::bodies::{fragments, stamp, stamp_at};

/// The producer's time at which the timeline of the media is at 0.
pub const BASE: i64 = 1_700_000_000_000;

/// The service's clock is ahead by this.
pub const AHEAD: i64 = 700;

/// A time of this many milliseconds after [`BASE`].
pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(BASE + millis)
}

/// A time of this many nanoseconds since 1970.
pub fn at_nanos(nanos: i64) -> Timestamp {
    Timestamp::from(std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanos.unsigned_abs()))
}

/// Arguments of FFmpeg for H.264.
pub fn h264(parameters: &'static str) -> Vec<&'static str> {
    vec!["-c:v", "libx264", "-preset", "ultrafast", "-x264-params", parameters]
}

/// Returns the stamps of documents whose times follow their Clusters.
async fn stamps(documents: &[Document]) -> Vec<Stamp> {
    let mut stamps = Vec::new();
    for (document, ordinal) in documents.iter().zip(1..) {
        let read = fragments(&document.to_bytes(&stamp(ordinal), 0)).await;
        let start = BASE + read[0].header().timecode_ns() / 1_000_000;
        stamps.push(stamp_at(ordinal, start + AHEAD, start));
    }
    stamps
}

/// A body of documents whose times follow their Clusters.
pub async fn body_of(documents: impl IntoIterator<Item = Document>) -> Bytes {
    let documents: Vec<Document> = documents.into_iter().collect();
    let stamps = stamps(&documents).await;
    let parts = documents.iter().zip(stamps).map(|(document, stamp)| document.to_bytes(&stamp, 0));
    parts.collect::<Vec<_>>().concat().into()
}

/// Stores documents whose times follow their Clusters.
pub async fn store(stream: &LocalStream, documents: &[Document]) {
    for (document, stamp) in documents.iter().zip(stamps(documents).await) {
        stream.push_stamped(document, stamp);
    }
}
