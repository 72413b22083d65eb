//! The service: where bytes come from when they come from AWS.

mod archived;
mod call;
mod client;
mod continuity;
mod live;
mod stream_id;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kinesisvideo::types::ApiName;

pub use archived::{
    Archive, ArchiveFragments, ArchiveProgress, ArchivedImage, Clip, ClipStream, Clips, Clock, DashSession,
    FragmentEntries, FragmentInfo, FragmentList, HlsSession, ImageStream, Images, NoImage, OnUnavailable, Order,
    PlaybackUrl, playback,
};
pub use call::{RetryConfig, SdkBody};
pub use live::{Live, LiveFragments, LivePackets, LiveStatus, LiveStream, OnAgedOut, OnDamage, Start, StopHandle};
pub use stream_id::StreamId;

use call::EndpointCache;
use client::Client;

use crate::error::Result;

/// How long an answer to GetDataEndpoint may take, where nobody says otherwise.
const ENDPOINT_LIMIT: Duration = Duration::from_secs(10);

/// A client of Kinesis Video Streams. Cheap to clone; clones share connections and the cache of
/// data endpoints, and keep within the rates at which the service takes calls for a stream together, so
/// one for a whole process is right.
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
    /// A client with this configuration: region, credentials, HTTP client.
    pub fn new(config: &SdkConfig) -> Self {
        let control = aws_sdk_kinesisvideo::Client::new(config);
        let media = aws_sdk_kinesisvideomedia::Client::new(config);
        Self::with_clients(control, media, aws_sdk_kinesisvideoarchivedmedia::Client::new(config))
    }

    /// A client configured from the environment, as the AWS command line tools are: variables,
    /// profiles, instance roles.
    pub async fn from_env() -> Self {
        Self::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
    }

    /// A client that calls through these SDK clients, however they were made: other credentials, a
    /// VPC endpoint, one's own HTTP stack.
    pub fn with_clients(
        control: aws_sdk_kinesisvideo::Client,
        media: aws_sdk_kinesisvideomedia::Client,
        archived: aws_sdk_kinesisvideoarchivedmedia::Client,
    ) -> Self {
        Self { client: Client { control, media, archived, endpoints: Arc::default(), rates: Arc::default() } }
    }

    /// The same client, but with this data endpoint for all streams and APIs: GetDataEndpoint is not called. For
    /// stand-ins of the service whose answer to that leads nowhere, and gateways of one's own.
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

    /// The SDK's client of the control plane, for what this crate does not do.
    pub fn control(&self) -> &aws_sdk_kinesisvideo::Client {
        &self.client.control
    }

    /// The SDK's client of GetMedia for a stream: one that talks to the data endpoint that serves it, over
    /// the same connections. An endpoint may change within the hour, so a client is not to be kept for longer.
    ///
    /// # Errors
    /// If the service does not tell the endpoint within 10 seconds.
    pub async fn media_client(&self, stream: impl Into<StreamId>) -> Result<aws_sdk_kinesisvideomedia::Client> {
        let endpoint =
            self.client.endpoints.get(&self.client, &stream.into(), ApiName::GetMedia, ENDPOINT_LIMIT).await?;
        let config = self.client.media.config().to_builder().endpoint_url(&*endpoint).build();
        Ok(aws_sdk_kinesisvideomedia::Client::from_conf(config))
    }

    /// The SDK's client of one API of the archive for a stream, as [`media_client`](Self::media_client)
    /// is of GetMedia. Each API may be served by another host: the client is good for that one only.
    ///
    /// The service model has no waiters, and the SDK signs no URLs for these APIs. Playback is what URLs can
    /// be had for without signing.
    ///
    /// # Errors
    /// If the service does not tell the endpoint within 10 seconds.
    pub async fn archived_client(
        &self,
        stream: impl Into<StreamId>,
        api: ApiName,
    ) -> Result<aws_sdk_kinesisvideoarchivedmedia::Client> {
        let endpoint = self.client.endpoints.get(&self.client, &stream.into(), api, ENDPOINT_LIMIT).await?;
        let config = self.client.archived.config().to_builder().endpoint_url(&*endpoint).build();
        Ok(aws_sdk_kinesisvideoarchivedmedia::Client::from_conf(config))
    }

    /// Reads a stream as it is produced, with GetMedia, over as many connections as it takes. A stream
    /// is named by name or ARN; nothing is sent before the first fragment is asked for.
    pub fn live(&self, stream: impl Into<StreamId>) -> Live {
        Live::new(self.client.clone(), stream.into())
    }

    /// Reads what is stored of a stream, with ListFragments and GetMediaForFragmentList, in as many calls as
    /// it takes. Nothing is sent before the first fragment is asked for.
    pub fn archive(&self, stream: impl Into<StreamId>) -> Archive {
        Archive::new(self.client.clone(), stream.into())
    }

    /// Lists what is stored of a stream, with ListFragments, over as many pages as it takes. Nothing is sent
    /// before the first is asked for.
    pub fn list_fragments(&self, stream: impl Into<StreamId>) -> FragmentList {
        FragmentList::new(self.client.clone(), stream.into())
    }

    /// Cuts what is stored of a stream into MP4 files, with GetClip, as many as it takes. Nothing is sent
    /// before the first is asked for.
    pub fn clips(&self, stream: impl Into<StreamId>) -> Clips {
        Clips::new(self.client.clone(), stream.into())
    }

    /// Has the service take pictures of what is stored of a stream, with GetImages, over as many pages as it
    /// takes. Nothing is sent before the first is asked for.
    pub fn images(&self, stream: impl Into<StreamId>) -> Images {
        Images::new(self.client.clone(), stream.into())
    }

    /// Asks for a URL with which a player plays a stream over HLS: what is produced now, unless told
    /// otherwise.
    pub fn hls(&self, stream: impl Into<StreamId>) -> HlsSession {
        HlsSession::new(self.client.clone(), stream.into())
    }

    /// Asks for a URL with which a player plays a stream over MPEG-DASH: what is produced now, unless told
    /// otherwise.
    pub fn dash(&self, stream: impl Into<StreamId>) -> DashSession {
        DashSession::new(self.client.clone(), stream.into())
    }
}

impl fmt::Debug for KinesisVideo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisVideo").finish_non_exhaustive()
    }
}
