//! [`ControlCall`]: one API call to the control plane.

use std::time::Duration;

use aws_sdk_kinesisvideo::config::retry::RetryConfig as SdkRetryConfig;
use aws_sdk_kinesisvideo::config::{Builder, Config};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::timeout;

use super::rate_limit::{Rate, Rates};
use super::retry::{RetryConfig, with_retries};
use super::sdk_error::{from_sdk, is_about_clock, timed_out};
use crate::error::{Error, Result};
use crate::service::stream_id::StreamId;

/// An API call to the control plane.
#[derive(Clone, Debug)]
pub(crate) struct ControlCall<'a> {
    pub(crate) rates: &'a Rates,
    /// The stream that the call names, if it names one. Such calls are limited to 5 per second and stream.
    pub(crate) stream: Option<&'a StreamId>,
    /// The operation's name in IAM and in the API reference.
    pub(crate) operation: &'static str,
    /// The timeout of the response.
    pub(crate) limit: Duration,
}

impl ControlCall<'_> {
    /// Makes the call once, when the rate limit allows it. Makes it twice if only the clock was wrong.
    ///
    /// `send` receives the SDK configuration to override. It disables the SDK's own retries, since the rate limits
    /// would not count them.
    pub(crate) async fn once<T, E, F>(&self, send: impl Fn(Builder) -> F) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let mut was_skewed = false;
        loop {
            if let Some(stream) = self.stream {
                self.rates.admit(stream, Rate::call(self.operation)).await;
            }
            let overrides = Config::builder().retry_config(SdkRetryConfig::disabled());
            let Ok(sent) = timeout(self.limit, send(overrides)).await else {
                return Err(self.name_in(timed_out(self.operation, self.limit)));
            };
            match sent {
                Ok(output) => return Ok(output),
                Err(error) => {
                    let error = self.name_in(from_sdk(error, self.operation));
                    // The SDK has corrected its clock by the response.
                    if !is_about_clock(&error) || std::mem::replace(&mut was_skewed, true) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Calls until the service answers, and retries what is [retryable](Error::is_retryable).
    pub(crate) async fn with_retries<T, E, F>(&self, retry: RetryConfig, send: impl Fn(Builder) -> F) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        with_retries(retry, self.stream, || self.once(&send)).await
    }

    /// Adds the stream to an error.
    pub(crate) fn name_in(&self, error: Error) -> Error {
        match self.stream {
            Some(stream) => error.of_stream(stream.as_str()),
            None => error,
        }
    }
}
