//! The GetMedia call.

use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
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
        client.get_media(stream, selector.clone(), endpoint).interceptor(interceptor).send()
    });
    let Reply { output, origin, date } = reply.await?;
    Ok(Reply { output: output.payload, origin, date })
}
