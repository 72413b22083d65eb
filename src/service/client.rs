//! The handle that everything below [`KinesisVideo`](super::KinesisVideo) shares.

use std::sync::Arc;

use super::call::{EndpointCache, Rates};

/// The SDK's clients, the cache of data endpoints and the rate limits. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) control: aws_sdk_kinesisvideo::Client,
    pub(super) media: aws_sdk_kinesisvideomedia::Client,
    pub(super) archived: aws_sdk_kinesisvideoarchivedmedia::Client,
    pub(super) endpoints: Arc<EndpointCache>,
    pub(super) rates: Arc<Rates>,
}
