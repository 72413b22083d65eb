//! [`Call`]: one API call to a data endpoint.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideomedia::operation::RequestId;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::interceptor::ReplyInterceptor;
use super::rate_limit::Rate;
use super::retry::{RetryConfig, with_retries};
use super::sdk_error::{from_sdk, is_about_clock, timed_out};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

/// The origin of a response, to name it in errors.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    stream: StreamId,
    endpoint: Arc<str>,
    request_id: Option<Arc<str>>,
}

impl Origin {
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Adds the stream, the endpoint and the request id to an error.
    pub(crate) fn name_in(&self, error: Error) -> Error {
        error.of_stream(self.stream.as_str()).at_endpoint(&self.endpoint).with_request_id(self.request_id.as_deref())
    }
}

/// A response, or its beginning if it has a body.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    pub(crate) output: T,
    pub(crate) origin: Origin,
    /// The service's time, to the second.
    pub(crate) date: Option<Timestamp>,
}

/// An API call to make.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Client,
    pub(crate) stream: &'a StreamId,
    pub(crate) api: ApiName,
    /// The operation's name in IAM and in the API reference.
    pub(crate) operation: &'static str,
    /// The cost of the call under the service's limits for the stream.
    pub(crate) cost: &'a [Rate],
    /// The timeout of the response.
    pub(crate) limit: Duration,
}

impl Call<'_> {
    /// Makes the call once, when the rate limits allow it. Makes it twice if only the clock was wrong.
    ///
    /// `send` receives the data endpoint and the interceptor to install. It must disable the SDK's own retries, since
    /// the rate limits would not count them.
    pub(crate) async fn once<T, E, F>(&self, send: impl Fn(&str, ReplyInterceptor) -> F) -> Result<Reply<T>>
    where
        T: RequestId,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let Call { client, stream, operation, limit, .. } = *self;
        let endpoint = client.endpoint(stream, self.api.clone(), limit).await?;
        let mut was_skewed = false;
        loop {
            for rate in self.cost {
                client.rates.admit(stream, *rate).await;
            }
            let interceptor = ReplyInterceptor::default();
            let Ok(sent) = timeout(limit, send(&endpoint, interceptor.clone())).await else {
                client.endpoints.forget(stream, &self.api);
                return Err(timed_out(operation, limit).of_stream(stream.as_str()).at_endpoint(&endpoint));
            };
            match sent {
                Ok(output) => {
                    let request_id = output.request_id().map(Into::into);
                    let origin = Origin { stream: stream.clone(), endpoint, request_id };
                    if interceptor.is_unknown_operation() {
                        return Err(origin.name_in(unknown_operation(operation)));
                    }
                    return Ok(Reply { output, origin, date: interceptor.date() });
                }
                Err(error) => {
                    let error = from_sdk(error, operation).of_stream(stream.as_str()).at_endpoint(&endpoint);
                    // The SDK has corrected its clock by the response.
                    if is_about_clock(&error) && !std::mem::replace(&mut was_skewed, true) {
                        continue;
                    }
                    // The caller decides about a wrong endpoint.
                    if error.kind() == ErrorKind::Io {
                        client.endpoints.forget(stream, &self.api);
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Calls until the service answers, and retries what is [retryable](Error::is_retryable).
    ///
    /// An output for which `is_answer` is false comes from a host that does not know the operation.
    pub(crate) async fn with_retries<T, E, F>(
        &self,
        retry: RetryConfig,
        is_answer: impl Fn(&T) -> bool,
        send: impl Fn(&str, ReplyInterceptor) -> F,
    ) -> Result<Reply<T>>
    where
        T: RequestId,
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        let (send, is_answer) = (&send, &is_answer);
        with_retries(retry, Some(self.stream), || async move {
            let reply = self.once(send).await.and_then(|reply| match is_answer(&reply.output) {
                true => Ok(reply),
                false => Err(reply.origin.name_in(unknown_operation(self.operation))),
            });
            reply.inspect_err(|error| {
                if error.kind() == ErrorKind::WrongEndpoint {
                    self.client.endpoints.forget(self.stream, &self.api);
                }
            })
        })
        .await
    }
}

/// The error for a response that reports success but belongs to no known operation.
fn unknown_operation(operation: &str) -> Error {
    Error::new(ErrorKind::WrongEndpoint, format!("{operation}: the host does not know the operation"))
}

/// The error for a body that is not media.
pub(crate) fn not_media(operation: &str) -> Error {
    let message = format!("{operation}: the answer is not media; its host does not know the operation");
    Error::new(ErrorKind::WrongEndpoint, message)
}

/// Runs a call in its own task, so that its timeouts hold even if the caller rarely polls.
///
/// Dropping the future aborts the task.
pub(crate) fn on_its_own<T: Send + 'static>(
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send + 'static {
    let task = AbortOnDropHandle::new(tokio::spawn(call.in_current_span()));
    async { task.await.unwrap_or_else(|error| Err(Error::new(ErrorKind::Io, "a call did not end").caused_by(error))) }
}
