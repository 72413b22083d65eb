//! Errors of the SDK as the crate's.

use std::error::Error as StdError;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::{Error, ErrorKind};

/// The SDK's error of calling `operation`. Judged by the name that the service gave it first: it
/// throttles with 400, as it refuses arguments.
pub(super) fn from_sdk<E>(error: SdkError<E, HttpResponse>, operation: &str) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let (kind, retryable, message) = match &error {
        SdkError::ServiceError(service) => {
            let (kind, retryable) = verdict(service.err().code(), service.raw().status().as_u16());
            (kind, retryable, hint(kind, service.err().code(), operation, service.err().message()))
        }
        SdkError::ConstructionFailure(_) => {
            (ErrorKind::InvalidArgument, false, format!("{operation}: the request could not be made"))
        }
        SdkError::DispatchFailure(failure) if !(failure.is_io() || failure.is_timeout()) => {
            let message = format!("{operation}: the request could not be sent; are there credentials and a region?");
            (ErrorKind::AccessDenied, false, message)
        }
        SdkError::ResponseError(_) => (ErrorKind::Service, true, format!("{operation}: the answer makes no sense")),
        _ => (ErrorKind::Io, true, format!("{operation}: the service could not be reached")),
    };
    let meta = error.meta();
    let code = meta.code().map(str::to_owned);
    let request_id = meta.extra("aws_request_id").map(str::to_owned);
    let ours = Error::new(kind, message).retryable(retryable).with_request_id(request_id.as_deref()).caused_by(error);
    match code {
        Some(code) => ours.with_code(code),
        None => ours,
    }
}

/// By name, and where the name says nothing, by HTTP status.
fn verdict(name: Option<&str>, status: u16) -> (ErrorKind, bool) {
    match (name.unwrap_or_default(), status) {
        ("ResourceNotFoundException", _) => (ErrorKind::NotFound, false),
        (
            "NotAuthorizedException"
            | "AccessDeniedException"
            | "AccessDenied"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "MissingAuthenticationToken"
            | "OptInRequired",
            _,
        ) => (ErrorKind::AccessDenied, false),
        ("ClientLimitExceededException" | "ThrottlingException" | "Throttling" | "TooManyRequestsException", _) => {
            (ErrorKind::Throttled, true)
        }
        ("ConnectionLimitExceededException", _) => (ErrorKind::ConnectionLimit, true),
        ("InvalidEndpointException", _) => (ErrorKind::WrongEndpoint, true),
        ("InvalidArgumentException" | "ValidationError" | "ValidationException", _) => {
            (ErrorKind::InvalidArgument, false)
        }
        (_, 401 | 403) => (ErrorKind::AccessDenied, false),
        (_, 429) => (ErrorKind::Throttled, true),
        (_, 500..) => (ErrorKind::Service, true),
        _ => (ErrorKind::Service, false),
    }
}

fn hint(kind: ErrorKind, code: Option<&str>, operation: &str, said: Option<&str>) -> String {
    let said = said.unwrap_or("the service gave no reason");
    match kind {
        ErrorKind::AccessDenied if code.is_some_and(|code| code.starts_with("ExpiredToken")) => {
            format!("{operation}: {said}; the credentials have expired")
        }
        ErrorKind::AccessDenied => {
            format!("{operation}: {said}; the caller needs kinesisvideo:{operation} on the stream")
        }
        ErrorKind::NotFound => format!("{operation}: {said}; are name and region right?"),
        _ => format!("{operation}: {said}"),
    }
}
