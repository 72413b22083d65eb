//! The handle that everything below [`KinesisVideo`](super::KinesisVideo) shares.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;

use super::call::{EndpointCache, Rates};
use super::stream_id::StreamId;
use crate::error::Result;

/// The SDK's clients, the cache of data endpoints and the rate limits. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) control: aws_sdk_kinesisvideo::Client,
    pub(super) media: aws_sdk_kinesisvideomedia::Client,
    pub(super) archived: aws_sdk_kinesisvideoarchivedmedia::Client,
    pub(super) endpoints: Arc<EndpointCache>,
    pub(super) rates: Arc<Rates>,
}

impl Client {
    /// Returns the data endpoint of a stream and API, and requests it if it is unknown.
    pub(super) async fn endpoint(&self, stream: &StreamId, api: ApiName, limit: Duration) -> Result<Arc<str>> {
        self.endpoints.get(&self.control, &self.rates, stream, api, limit).await
    }
}
