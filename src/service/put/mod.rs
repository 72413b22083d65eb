//! Sending with PutMedia, over as many connections as it takes.

mod ack;
mod body;
mod call;
mod driver;
mod encode;
mod queue;
mod shared;
mod sink;

use std::time::Duration;

use crate::fragment::Timestamp;
use crate::service::call::RetryConfig;
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use ack::{PutAck, PutAckKind};
pub use shared::PutStatus;
pub use sink::{PutAcks, PutSink};

/// A builder for sending fragments to a stream with PutMedia, from
/// [`KinesisVideo::put_media`](crate::KinesisVideo::put_media).
///
/// ```
/// # #[cfg(feature = "local")]
/// # fn f(kvs: kinesis_video::KinesisVideo) -> impl Future<Output = kinesis_video::Result<()>> {
/// # async move {
/// use futures::{SinkExt, TryStreamExt};
///
/// let mut fragments = kvs.live("front-door").fragments();
/// let mut sink = kvs.put_media("front-door-copy").sink();
/// while let Some(fragment) = fragments.try_next().await? {
///     sink.feed(fragment).await?;
/// }
/// sink.close().await?; // every fragment is persisted
/// # Ok(())
/// # } }
/// ```
///
/// # Settings
///
/// | setting | default |
/// |---|---|
/// | [`relative`](Self::relative) | the fragments' own producer times |
/// | [`retry`](Self::retry) | [`RetryConfig::default`] |
/// | [`call_timeout`](Self::call_timeout) | 10 s |
/// | [`ack_timeout`](Self::ack_timeout) | 30 s |
/// | [`max_waiting_fragments`](Self::max_waiting_fragments) | 256 |
/// | [`max_waiting_bytes`](Self::max_waiting_bytes) | 64 MiB |
///
/// # What is sent
///
/// The blocks of a fragment are sent as they are, and so are the producer's tags before and after them. Tags of the
/// service, and tags whose names begin with `AWS`, which it reserves, are not sent. A fragment of several Clusters is
/// sent as several fragments. Of a [cut](crate::FragmentEnd::Cut) fragment, the complete blocks are sent. A fragment
/// without blocks is not sent.
///
/// Each fragment is followed by the tag `AWS_KINESISVIDEO_END_OF_FRAGMENT`, so that the service persists it at once. The
/// document's header is sent once per connection. A fragment with other tracks, or with a time that is not later than
/// the one before, begins a new connection when all before it is persisted.
///
/// The service allows a stream one producer. It refuses fragments that are longer than 20 s or larger than 50 MB, and
/// fragments that lack a block of a declared track.
///
/// # Broken connections
///
/// A fragment is kept until the service has reported it as persisted. When a connection breaks, everything that is kept
/// is sent again, in order, over a new one. No fragment is sent again after it was reported as persisted. If a
/// connection breaks between the service's storing a fragment and its report, the stream has the fragment twice.
#[derive(Clone, Debug)]
#[must_use = "nothing is sent before sink() is called"]
pub struct PutMedia {
    client: Client,
    options: Options,
}

#[derive(Clone, Debug)]
struct Options {
    stream: StreamId,
    /// The start on the producer's clock, if the fragments' times count from it.
    relative: Option<Timestamp>,
    retry: RetryConfig,
    call_timeout: Duration,
    ack_timeout: Duration,
    max_fragments: usize,
    max_bytes: usize,
}

impl PutMedia {
    pub(super) fn new(client: Client, stream: StreamId) -> Self {
        let options = Options {
            stream,
            relative: None,
            retry: RetryConfig::default(),
            call_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(30),
            max_fragments: 256,
            max_bytes: 64 << 20,
        };
        Self { client, options }
    }

    /// Sends the fragments' own times, which count from `start`. Default: their producer times.
    ///
    /// The producer time of a fragment is then `start` plus its [timecode](crate::FragmentHeader::timecode_ns). Use this
    /// for files, whose fragments have no producer time.
    pub fn relative(mut self, start: Timestamp) -> Self {
        self.options.relative = Some(start);
        self
    }

    /// Sets the retries of failed connections. Default: [`RetryConfig::default`].
    ///
    /// Connections count as failed in a row until one has persisted a fragment.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.options.retry = retry;
        self
    }

    /// Sets the timeout of the response to an API call. Default: 10 s.
    ///
    /// It applies to GetDataEndpoint, and to the beginning of PutMedia's response, each on its own.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = timeout;
        self
    }

    /// Sets how long a connection may make no progress before it counts as broken. Default: 30 s.
    ///
    /// The time runs while fragments wait to be persisted. It starts again with each acknowledgement, and with each
    /// part of a fragment that the connection takes.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.options.ack_timeout = timeout;
        self
    }

    /// Sets how many fragments may wait to be persisted. Default: 256.
    ///
    /// The sink takes no more fragments until some are persisted. 0 counts as 1.
    pub fn max_waiting_fragments(mut self, fragments: usize) -> Self {
        self.options.max_fragments = fragments.max(1);
        self
    }

    /// Sets how many bytes may wait to be persisted. Default: 64 MiB.
    ///
    /// The sink takes no more fragments until some are persisted. The last fragment that it took may exceed the number.
    pub fn max_waiting_bytes(mut self, bytes: usize) -> Self {
        self.options.max_bytes = bytes.max(1);
        self
    }

    /// Returns a sink of fragments. It connects when the first fragment is sent.
    ///
    /// # Panics
    /// Outside of a tokio runtime, whose task sends the fragments.
    pub fn sink(self) -> PutSink {
        PutSink::new(self)
    }
}
