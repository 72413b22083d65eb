//! DescribeStream.

use std::time::Duration;

use super::StreamInfo;
use crate::error::{Error, ErrorKind, Result};
use crate::service::call::{ControlCall, RetryConfig};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

/// Describes a stream. Each attempt of the call may take as long as `limit`.
pub(in crate::service) async fn describe(
    client: &Client,
    stream: &StreamId,
    retry: RetryConfig,
    limit: Duration,
) -> Result<StreamInfo> {
    let call = ControlCall { rates: &client.rates, stream: Some(stream), operation: "DescribeStream", limit };
    let output = call.with_retries(retry, |overrides| {
        let (name, arn) = stream.name_and_arn();
        let request = client.control.describe_stream().set_stream_name(name).set_stream_arn(arn);
        request.customize().config_override(overrides).send()
    });
    // A host that does not know the operation reports success with another response.
    let no_answer = || Error::new(ErrorKind::WrongEndpoint, "DescribeStream: the answer describes no stream");
    let info = output.await?.stream_info.ok_or_else(|| no_answer().retryable(false));
    info.and_then(|info| StreamInfo::read(info, call.operation)).map_err(|error| call.name_in(error))
}
