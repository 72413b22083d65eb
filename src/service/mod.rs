//! The service: where bytes come from when they come from AWS.

mod body;
mod call_rates;
mod endpoint;
mod failure;
mod live;
mod reply_date;
mod start;
mod stream_id;

use std::fmt;
use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};

pub use body::SdkBody;
pub use live::{AgedOut, Damaged, Live, LiveFragments, LivePackets, LiveStatus, LiveStream, StopHandle};
pub use start::Start;
pub use stream_id::StreamId;

use call_rates::CallRates;
use endpoint::EndpointCache;

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
    endpoints: Arc<EndpointCache>,
    rates: Arc<CallRates>,
}

impl KinesisVideo {
    /// A client with this configuration: region, credentials, HTTP client.
    pub fn new(config: &SdkConfig) -> Self {
        let control = aws_sdk_kinesisvideo::Client::new(config);
        Self::with_clients(control, aws_sdk_kinesisvideomedia::Client::new(config))
    }

    /// A client configured from the environment, as the AWS command line tools are: variables,
    /// profiles, instance roles.
    pub async fn from_env() -> Self {
        Self::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
    }

    /// A client that calls through these SDK clients, however they were made: other credentials, a
    /// VPC endpoint, one's own HTTP stack.
    pub fn with_clients(control: aws_sdk_kinesisvideo::Client, media: aws_sdk_kinesisvideomedia::Client) -> Self {
        Self { control, media, endpoints: Arc::default(), rates: Arc::default() }
    }

    /// The SDK's client of the control plane, for what this crate does not do.
    pub fn control(&self) -> &aws_sdk_kinesisvideo::Client {
        &self.control
    }

    /// Reads a stream as it is produced, with GetMedia, over as many connections as it takes. A stream
    /// is named by name or ARN; nothing is sent before the first fragment is asked for.
    pub fn live(&self, stream: impl Into<StreamId>) -> Live {
        Live::new(self.clone(), stream.into())
    }
}

impl fmt::Debug for KinesisVideo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisVideo").finish_non_exhaustive()
    }
}
