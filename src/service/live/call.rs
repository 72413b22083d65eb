//! The GetMedia call.

use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideomedia::config::{Config, StalledStreamProtectionConfig, retry::RetryConfig};
use aws_smithy_types::byte_stream::ByteStream;

use super::start::Start;
use crate::error::Result;
use crate::service::call::{Call, Rate, Reply};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

/// Calls GetMedia once, when the rate limit allows it. The response may take as long as `timeout`.
pub(super) async fn get_media(
    client: &Client,
    stream: &StreamId,
    start: &Start,
    timeout: Duration,
) -> Result<Reply<ByteStream>> {
    let selector = start.to_selector().map_err(|error| error.of_stream(stream.as_str()))?;
    let cost = [Rate::call("GetMedia")];
    let call = Call { client, stream, api: ApiName::GetMedia, operation: "GetMedia", cost: &cost, limit: timeout };
    let reply = call.once(|endpoint, interceptor| {
        // A live body is silent between fragments, so the SDK's guard against stalled bodies would end it.
        let overrides = Config::builder()
            .endpoint_url(endpoint)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled());
        let (name, arn) = stream.name_and_arn();
        let call = client.media.get_media().set_stream_name(name).set_stream_arn(arn).start_selector(selector.clone());
        call.customize().config_override(overrides).interceptor(interceptor).send()
    });
    let Reply { output, origin, date } = reply.await?;
    Ok(Reply { output: output.payload, origin, date })
}
