//! Errors of the SDK as the crate's.

use std::error::Error as StdError;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::{Error, ErrorKind};

/// The SDK's error of calling `operation`. Judged by the name that the service gave it first: it
/// throttles with 400, as it refuses arguments.
pub(super) fn from_sdk<E, R>(error: SdkError<E, R>, operation: &str) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let (kind, retryable, message) = match &error {
        SdkError::ServiceError(service) => {
            let (kind, retryable) = verdict(service.err().code());
            (kind, retryable, hint(kind, operation, service.err().message()))
        }
        SdkError::ConstructionFailure(_) => {
            (ErrorKind::InvalidArgument, false, format!("{operation}: the request could not be made"))
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

fn verdict(name: Option<&str>) -> (ErrorKind, bool) {
    match name.unwrap_or_default() {
        "ResourceNotFoundException" => (ErrorKind::NotFound, false),
        "NotAuthorizedException"
        | "AccessDeniedException"
        | "AccessDenied"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "OptInRequired" => (ErrorKind::AccessDenied, false),
        "ClientLimitExceededException" | "ThrottlingException" | "Throttling" | "TooManyRequestsException" => {
            (ErrorKind::Throttled, true)
        }
        "ConnectionLimitExceededException" => (ErrorKind::ConnectionLimit, true),
        "InvalidEndpointException" => (ErrorKind::WrongEndpoint, true),
        "InvalidArgumentException" | "ValidationError" | "ValidationException" => (ErrorKind::InvalidArgument, false),
        "InternalFailure" | "InternalServerError" | "ServiceUnavailable" => (ErrorKind::Service, true),
        _ => (ErrorKind::Service, false),
    }
}

fn hint(kind: ErrorKind, operation: &str, said: Option<&str>) -> String {
    let said = said.unwrap_or("the service gave no reason");
    match kind {
        ErrorKind::AccessDenied => {
            format!("{operation}: {said}; the caller needs kinesisvideo:{operation} on the stream")
        }
        ErrorKind::NotFound => format!("{operation}: {said}; are name and region right?"),
        _ => format!("{operation}: {said}"),
    }
}
