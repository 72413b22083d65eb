//! What all calls of archived media have in common.

use aws_sdk_kinesisvideoarchivedmedia::config::retry::RetryConfig;
use aws_sdk_kinesisvideoarchivedmedia::config::{Builder, Config, StalledStreamProtectionConfig};

/// The SDK's configuration for one call: its data endpoint; no retries, which nobody would count; no guard
/// against stalled bodies, which cannot tell one that nobody reads from one that is silent.
pub(crate) fn overrides(endpoint: &str) -> Builder {
    Config::builder()
        .endpoint_url(endpoint)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::disabled())
}
