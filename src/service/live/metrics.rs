//! The metrics of a live stream, recorded with the `metrics` facade if the feature `metrics` is enabled.

use std::time::Duration;

use crate::error::ErrorKind;
use crate::service::stream_id::StreamId;

/// The metrics of one stream. Each has the stream's name as the label `stream`.
#[derive(Debug)]
pub(super) struct Metrics {
    #[cfg(feature = "metrics")]
    stream: metrics::SharedString,
}

#[cfg(feature = "metrics")]
impl Metrics {
    pub(super) fn new(stream: &StreamId) -> Self {
        Self { stream: stream.name().to_owned().into() }
    }

    pub(super) fn yielded(&self, behind: Option<Duration>) {
        metrics::counter!("kinesis_video_live_fragments_total", "stream" => self.stream.clone()).increment(1);
        if let Some(behind) = behind {
            let gauge = metrics::gauge!("kinesis_video_live_behind_seconds", "stream" => self.stream.clone());
            gauge.set(behind.as_secs_f64());
        }
    }

    pub(super) fn received(&self, bytes: u64) {
        metrics::counter!("kinesis_video_live_bytes_total", "stream" => self.stream.clone()).increment(bytes);
    }

    pub(super) fn reconnected(&self) {
        metrics::counter!("kinesis_video_live_reconnects_total", "stream" => self.stream.clone()).increment(1);
    }

    pub(super) fn failed(&self, kind: ErrorKind) {
        let labels = [("stream", self.stream.clone()), ("kind", kind.to_string().into())];
        metrics::counter!("kinesis_video_live_errors_total", &labels).increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
#[expect(clippy::unused_self, reason = "the same as with the feature")]
impl Metrics {
    pub(super) fn new(_: &StreamId) -> Self {
        Self {}
    }

    pub(super) fn yielded(&self, _: Option<Duration>) {}

    pub(super) fn received(&self, _: u64) {}

    pub(super) fn reconnected(&self) {}

    pub(super) fn failed(&self, _: ErrorKind) {}
}
