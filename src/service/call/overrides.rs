//! The SDK configuration of archived media calls.

use aws_sdk_kinesisvideoarchivedmedia::config::retry::RetryConfig;
use aws_sdk_kinesisvideoarchivedmedia::config::{Builder, Config, StalledStreamProtectionConfig};

/// Returns the SDK configuration of one call to a data endpoint.
///
/// The SDK's retries are disabled, since the rate limits would not count them. Its stalled stream protection is
/// disabled, since it cannot tell a body that is not read from a silent one.
pub(crate) fn overrides(endpoint: &str) -> Builder {
    Config::builder()
        .endpoint_url(endpoint)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .retry_config(RetryConfig::disabled())
}
