//! Access to Kinesis Video Streams in AWS.

mod archived;
mod call;
mod client;
mod control;
pub mod fleet;
mod live;
mod presign;
mod put;
mod stream_id;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kinesisvideo::types::ApiName;

pub use archived::{
    Archive, ArchiveFragments, ArchiveProgress, ArchivedImage, ArchivedStream, Clip, ClipStream, Clips, Clock,
    DashSession, FragmentEntries, FragmentInfo, FragmentList, HlsSession, ImageStream, Images, NoImage, OnUnavailable,
    Order, PlaybackUrl, Shard, playback,
};
pub use call::{RetryConfig, SdkBody};
pub use control::{StreamEntries, StreamInfo, StreamList, StreamStatus};
pub use live::{Live, LiveFragments, LivePackets, LiveStatus, LiveStream, OnAgedOut, OnDamage, Start, StopHandle};
pub use presign::{PresignExt, PresignedRequest};
pub use put::{PutAck, PutAckKind, PutAcks, PutMedia, PutSink, PutStatus};
pub use stream_id::StreamId;

use call::EndpointCache;
use client::Client;
use fleet::{Fleet, LeaseStore};

use crate::error::Result;

/// The timeout of GetDataEndpoint for [`KinesisVideo::media_client`] and [`KinesisVideo::archived_client`].
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(10);

/// The timeout of each attempt of [`KinesisVideo::describe`].
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of Kinesis Video Streams. Cheap to clone.
///
/// Clones share HTTP connections, the cache of data endpoints and the rate limits that the service sets for each
/// stream. Use one client and its clones in the whole process.
///
/// ```no_run
/// use futures::TryStreamExt;
/// use kinesis_video::{KinesisVideo, Start};
///
/// # async fn f() -> kinesis_video::Result<()> {
/// let kvs = KinesisVideo::from_env().await;
/// let mut fragments = kvs.live("front-door").start(Start::Now).fragments();
/// while let Some(fragment) = fragments.try_next().await? {
///     println!("{:?} is {:?} behind", fragment.number(), fragment.behind_now());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KinesisVideo {
    client: Client,
}

impl KinesisVideo {
    /// Creates a client from an SDK configuration: region, credentials, HTTP client.
    pub fn new(config: &SdkConfig) -> Self {
        let control = aws_sdk_kinesisvideo::Client::new(config);
        let media = aws_sdk_kinesisvideomedia::Client::new(config);
        Self::with_clients(control, media, aws_sdk_kinesisvideoarchivedmedia::Client::new(config))
    }

    /// Creates a client from the environment: variables, profiles, instance roles.
    ///
    /// The AWS command line tools are configured in the same way.
    pub async fn from_env() -> Self {
        Self::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
    }

    /// Creates a client from SDK clients, for other credentials or another HTTP stack.
    ///
    /// The endpoints of `media` and `archived` are ignored: this crate uses the stream's data endpoint. `control` keeps
    /// its endpoint. To replace the data endpoint, use [`with_data_endpoint`](Self::with_data_endpoint).
    ///
    /// For its own calls, this crate turns off the SDK's retries, and stalled-stream protection on data endpoints.
    pub fn with_clients(
        control: aws_sdk_kinesisvideo::Client,
        media: aws_sdk_kinesisvideomedia::Client,
        archived: aws_sdk_kinesisvideoarchivedmedia::Client,
    ) -> Self {
        Self { client: Client { control, media, archived, endpoints: Arc::default(), rates: Arc::default() } }
    }

    /// Sets one data endpoint for all streams and APIs, so that GetDataEndpoint is not called.
    ///
    /// Use this for a gateway, or for a local service whose GetDataEndpoint returns an unreachable host. The URL is not
    /// checked; calls to an invalid URL fail. Earlier clones keep their endpoints.
    ///
    /// ```
    /// # #[cfg(feature = "local")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::KinesisVideo;
    /// use kinesis_video::local::{LocalEndpoint, Operation};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// endpoint.create_stream("door").finish();
    /// let kvs = KinesisVideo::new(&endpoint.sdk_config()).with_data_endpoint(endpoint.url());
    /// assert!(kvs.live("door").reconnect(false).fragments().end_reason().is_none());
    /// assert!(endpoint.calls(Operation::GetDataEndpoint, "door").is_empty());
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_data_endpoint(self, url: &str) -> Self {
        let endpoints = Arc::new(EndpointCache::fixed(url));
        Self { client: Client { endpoints, ..self.client } }
    }

    /// Returns the SDK's client of the control plane, for calls that this crate does not make.
    pub fn control(&self) -> &aws_sdk_kinesisvideo::Client {
        &self.client.control
    }

    /// Returns the SDK's client of GetMedia for a stream, set to the stream's data endpoint.
    ///
    /// The returned client shares the HTTP connections. It keeps the SDK's retries and stalled-stream protection, and
    /// ignores this crate's rate limits. Do not keep the client for more than an hour, because the endpoint may change.
    ///
    /// # Errors
    /// Fails if GetDataEndpoint fails or does not respond within 10 s. The call is not retried. If an
    /// earlier endpoint is cached, a retryable failure returns a client for that endpoint instead.
    pub async fn media_client(&self, stream: impl Into<StreamId>) -> Result<aws_sdk_kinesisvideomedia::Client> {
        let endpoint = self.client.endpoint(&stream.into(), ApiName::GetMedia, ENDPOINT_TIMEOUT).await?;
        let config = self.client.media.config().to_builder().endpoint_url(&*endpoint).build();
        Ok(aws_sdk_kinesisvideomedia::Client::from_conf(config))
    }

    /// Returns the SDK's client of one archived media API for a stream, set to the API's data endpoint.
    ///
    /// Each API may have another host, so use the client for this API only. Do not keep it for more than an hour.
    ///
    /// The service model has no waiters. [`PresignExt`] presigns the client's requests. Playback URLs, from
    /// [`hls`](Self::hls) and [`dash`](Self::dash), need no signature.
    ///
    /// # Errors
    /// Fails if GetDataEndpoint fails or does not respond within 10 s. The call is not retried. If an
    /// earlier endpoint is cached, a retryable failure returns a client for that endpoint instead.
    pub async fn archived_client(
        &self,
        stream: impl Into<StreamId>,
        api: ApiName,
    ) -> Result<aws_sdk_kinesisvideoarchivedmedia::Client> {
        let endpoint = self.client.endpoint(&stream.into(), api, ENDPOINT_TIMEOUT).await?;
        let config = self.client.archived.config().to_builder().endpoint_url(&*endpoint).build();
        Ok(aws_sdk_kinesisvideoarchivedmedia::Client::from_conf(config))
    }

    /// Returns a builder for listing the streams of the account and region with ListStreams.
    ///
    /// All pages are read. Nothing is sent before the first poll.
    pub fn list_streams(&self) -> StreamList {
        StreamList::new(self.client.clone())
    }

    /// Describes a stream with DescribeStream: its status, its retention, its media type.
    ///
    /// # Errors
    /// Fails with [`NotFound`](crate::ErrorKind::NotFound) if there is no such stream in the region. Retryable failures
    /// are retried as [`RetryConfig::default`] says. Each attempt may take 10 s.
    pub async fn describe(&self, stream: impl Into<StreamId>) -> Result<StreamInfo> {
        control::describe(&self.client, &stream.into(), RetryConfig::default(), DESCRIBE_TIMEOUT).await
    }

    /// Returns a builder for reading a stream live with GetMedia, over several connections.
    ///
    /// The stream is given by name or ARN. Nothing is sent before the first poll.
    pub fn live(&self, stream: impl Into<StreamId>) -> Live {
        Live::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for reading stored fragments with ListFragments and GetMediaForFragmentList.
    ///
    /// Several calls are made if needed. Nothing is sent before the first poll.
    pub fn archive(&self, stream: impl Into<StreamId>) -> Archive {
        Archive::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for listing stored fragments with ListFragments.
    ///
    /// All pages are read. Nothing is sent before the first poll.
    pub fn list_fragments(&self, stream: impl Into<StreamId>) -> FragmentList {
        FragmentList::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for exporting stored media as MP4 files with GetClip.
    ///
    /// Several calls are made if needed. Nothing is sent before the first poll.
    pub fn clips(&self, stream: impl Into<StreamId>) -> Clips {
        Clips::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for extracting images from stored media with GetImages.
    ///
    /// All pages are read. Nothing is sent before the first poll.
    pub fn images(&self, stream: impl Into<StreamId>) -> Images {
        Images::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for the URL at which a player plays a stream over HLS.
    ///
    /// Default: live playback. Nothing is sent before the future of `url()` is polled.
    pub fn hls(&self, stream: impl Into<StreamId>) -> HlsSession {
        HlsSession::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for the URL at which a player plays a stream over MPEG-DASH.
    ///
    /// Default: live playback. Nothing is sent before the future of `url()` is polled.
    pub fn dash(&self, stream: impl Into<StreamId>) -> DashSession {
        DashSession::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for sending fragments to a stream with PutMedia.
    ///
    /// The fragments come from another stream, from a file, or from
    /// [`FragmentStream::per_cluster`](crate::FragmentStream::per_cluster). Nothing is sent before the first fragment.
    pub fn put_media(&self, stream: impl Into<StreamId>) -> PutMedia {
        PutMedia::new(self.client.clone(), stream.into())
    }

    /// Returns a builder for one worker of a fleet, which shares the streams of a table with other workers.
    ///
    /// Each stream is read by one worker at a time. If a worker dies, others continue at its checkpoints. Nothing is
    /// sent before the first poll.
    pub fn fleet(&self, leases: impl LeaseStore) -> Fleet {
        Fleet::new(leases)
    }
}

impl fmt::Debug for KinesisVideo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisVideo").finish_non_exhaustive()
    }
}
