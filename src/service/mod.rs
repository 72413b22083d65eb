//! The service: where bytes come from when they come from AWS.

mod archive;
mod archived;
mod backoff;
mod body;
mod call;
mod clips;
mod clock;
mod endpoint;
mod failure;
mod images;
mod lazy;
mod live;
pub mod playback;
mod rates;
mod reply_probe;
mod span;
mod start;
mod stream_id;
mod watched_body;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_kinesisvideo::types::ApiName;

pub use archive::{Archive, ArchiveProgress, FragmentInfo, FragmentList, Order, Unavailable};
pub use body::SdkBody;
pub use clips::{Clip, Clips};
pub use clock::Clock;
pub use images::{ArchivedImage, Images, NoImage};
pub use live::{AgedOut, Damaged, Live, LiveFragments, LivePackets, LiveStatus, LiveStream, StopHandle};
pub use playback::{DashSession, HlsSession, PlaybackUrl};
pub use start::Start;
pub use stream_id::StreamId;

use endpoint::EndpointCache;
use rates::Rates;

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
///     println!("{:?} is {:?} behind", fragment.number(), fragment.behind());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KinesisVideo {
    control: aws_sdk_kinesisvideo::Client,
    media: aws_sdk_kinesisvideomedia::Client,
    archived: aws_sdk_kinesisvideoarchivedmedia::Client,
    endpoints: Arc<EndpointCache>,
    rates: Arc<Rates>,
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
        Self { control, media, archived, endpoints: Arc::default(), rates: Arc::default() }
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
    /// assert!(kvs.live("door").resume(false).fragments().reason().is_none());
    /// assert!(endpoint.calls(Operation::GetDataEndpoint, "door").is_empty());
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn with_data_endpoint(self, url: &str) -> Self {
        Self { endpoints: Arc::new(EndpointCache::fixed(url)), ..self }
    }

    /// The SDK's client of the control plane, for what this crate does not do.
    pub fn control(&self) -> &aws_sdk_kinesisvideo::Client {
        &self.control
    }

    /// The SDK's client of GetMedia for a stream: one that talks to the data endpoint that serves it, over
    /// the same connections. An endpoint may change within the hour, so a client is not to be kept for longer.
    ///
    /// # Errors
    /// If the service does not tell the endpoint within 10 seconds.
    pub async fn media_client(&self, stream: impl Into<StreamId>) -> Result<aws_sdk_kinesisvideomedia::Client> {
        let endpoint = self.endpoints.get(self, &stream.into(), ApiName::GetMedia, ENDPOINT_LIMIT).await?;
        let config = self.media.config().to_builder().endpoint_url(&*endpoint).build();
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
        let endpoint = self.endpoints.get(self, &stream.into(), api, ENDPOINT_LIMIT).await?;
        let config = self.archived.config().to_builder().endpoint_url(&*endpoint).build();
        Ok(aws_sdk_kinesisvideoarchivedmedia::Client::from_conf(config))
    }

    /// Reads a stream as it is produced, with GetMedia, over as many connections as it takes. A stream
    /// is named by name or ARN; nothing is sent before the first fragment is asked for.
    pub fn live(&self, stream: impl Into<StreamId>) -> Live {
        Live::new(self.clone(), stream.into())
    }

    /// Reads what is stored of a stream, with ListFragments and GetMediaForFragmentList, in as many calls as
    /// it takes. Nothing is sent before the first fragment is asked for.
    pub fn archive(&self, stream: impl Into<StreamId>) -> Archive {
        Archive::new(self.clone(), stream.into())
    }

    /// Lists what is stored of a stream, with ListFragments, over as many pages as it takes. Nothing is sent
    /// before the first is asked for.
    pub fn list_fragments(&self, stream: impl Into<StreamId>) -> FragmentList {
        FragmentList::new(self.clone(), stream.into())
    }

    /// Cuts what is stored of a stream into MP4 files, with GetClip, as many as it takes. Nothing is sent
    /// before the first is asked for.
    pub fn clips(&self, stream: impl Into<StreamId>) -> Clips {
        Clips::new(self.clone(), stream.into())
    }

    /// Has the service take pictures of what is stored of a stream, with GetImages, over as many pages as it
    /// takes. Nothing is sent before the first is asked for.
    pub fn images(&self, stream: impl Into<StreamId>) -> Images {
        Images::new(self.clone(), stream.into())
    }

    /// Asks for a URL with which a player plays a stream over HLS: what is produced now, unless told
    /// otherwise.
    pub fn hls(&self, stream: impl Into<StreamId>) -> HlsSession {
        HlsSession::new(self.clone(), stream.into())
    }

    /// Asks for a URL with which a player plays a stream over MPEG-DASH: what is produced now, unless told
    /// otherwise.
    pub fn dash(&self, stream: impl Into<StreamId>) -> DashSession {
        DashSession::new(self.clone(), stream.into())
    }
}

impl fmt::Debug for KinesisVideo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisVideo").finish_non_exhaustive()
    }
}
