//! The handle that everything below [`KinesisVideo`](super::KinesisVideo) shares.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideomedia::client::customize::CustomizableOperation;
use aws_sdk_kinesisvideomedia::config::{Config, StalledStreamProtectionConfig, retry::RetryConfig};
use aws_sdk_kinesisvideomedia::operation::get_media::builders::GetMediaFluentBuilder;
use aws_sdk_kinesisvideomedia::operation::get_media::{GetMediaError, GetMediaOutput};
use aws_sdk_kinesisvideomedia::types::StartSelector;

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

    /// Makes a request of GetMedia to a data endpoint, without the SDK's retries.
    pub(super) fn get_media(
        &self,
        stream: &StreamId,
        selector: StartSelector,
        endpoint: &str,
    ) -> CustomizableOperation<GetMediaOutput, GetMediaError, GetMediaFluentBuilder> {
        // A live body is silent between fragments, so the SDK's guard against stalled bodies would end it.
        let overrides = Config::builder()
            .endpoint_url(endpoint)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled());
        let (name, arn) = stream.name_and_arn();
        let call = self.media.get_media().set_stream_name(name).set_stream_arn(arn).start_selector(selector);
        call.customize().config_override(overrides)
    }
}
