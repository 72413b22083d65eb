//! One call of GetMedia.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideomedia::config::{Config, StalledStreamProtectionConfig, retry::RetryConfig};
use aws_sdk_kinesisvideomedia::operation::RequestId;
use aws_smithy_types::byte_stream::ByteStream;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind, Result};
use crate::service::failure::{from_sdk, is_about_time, too_late};
use crate::service::reply_date::ReplyDate;
use crate::service::{KinesisVideo, Start, StreamId};

/// Where a body comes from, to name it in errors.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    stream: StreamId,
    endpoint: Arc<str>,
    request_id: Option<Arc<str>>,
}

/// A body that has begun.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: ByteStream,
    pub(super) origin: Origin,
}

impl Origin {
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    pub(super) fn name_in(&self, error: Error) -> Error {
        error.of_stream(self.stream.as_str()).at_endpoint(&self.endpoint).with_request_id(self.request_id.as_deref())
    }
}

/// Calls GetMedia once (twice, if only the clock was wrong), when that is allowed. An answer may take as
/// long as `limit`; `date` gets its time.
pub(super) async fn get_media(
    kvs: &KinesisVideo,
    stream: &StreamId,
    start: &Start,
    limit: Duration,
    date: &ReplyDate,
) -> Result<Reply> {
    let selector = start.to_selector().map_err(|error| error.of_stream(stream.as_str()))?;
    let endpoint = kvs.endpoints.get(kvs, stream, ApiName::GetMedia, limit).await?;
    let mut was_late = false;
    loop {
        kvs.rates.admit(stream, "GetMedia").await;
        // A live body is silent between fragments, so the guard against stalled bodies would kill
        // it, and a call that is tried again behind our back is one that nobody counts.
        let overrides = Config::builder()
            .endpoint_url(&*endpoint)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .retry_config(RetryConfig::disabled());
        let (name, arn) = stream.name_and_arn();
        let call = kvs.media.get_media().set_stream_name(name).set_stream_arn(arn).start_selector(selector.clone());
        let sent = call.customize().config_override(overrides).interceptor(date.clone()).send();
        let Ok(sent) = timeout(limit, sent).await else {
            kvs.endpoints.forget(stream, &ApiName::GetMedia);
            return Err(too_late("GetMedia", limit).of_stream(stream.as_str()).at_endpoint(&endpoint));
        };
        match sent {
            Ok(output) => {
                let request_id = output.request_id().map(Into::into);
                let origin = Origin { stream: stream.clone(), endpoint, request_id };
                return Ok(Reply { body: output.payload, origin });
            }
            Err(error) => {
                let error = from_sdk(error, "GetMedia").of_stream(stream.as_str()).at_endpoint(&endpoint);
                // The answer told the SDK what time it is.
                if is_about_time(&error) && !std::mem::replace(&mut was_late, true) {
                    continue;
                }
                // One that says it is the wrong host is judged with the bodies that show they are from one.
                if error.kind() == ErrorKind::Io {
                    kvs.endpoints.forget(stream, &ApiName::GetMedia);
                }
                return Err(error);
            }
        }
    }
}
