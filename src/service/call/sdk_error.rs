//! Conversion of the SDK's errors.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::error::{Error, ErrorKind};

const EXPIRED: &str = "renew the credentials, which have expired";

impl Error {
    /// Converts the error of an SDK call that this crate did not make.
    ///
    /// `operation` is the operation's name in IAM, such as `GetClip`. The [kind](Error::kind), the [code](Error::code),
    /// the request id and the [hint](Error::hint) are those of this crate's own calls. The SDK's error becomes the
    /// source.
    ///
    /// ```
    /// # #[cfg(feature = "local")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::local::LocalEndpoint;
    /// use kinesis_video::{Error, ErrorKind, KinesisVideo};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// let kvs = KinesisVideo::new(&endpoint.sdk_config());
    /// let failed = kvs.control().describe_stream().stream_name("nobody").send().await.unwrap_err();
    /// assert_eq!(Error::from_sdk(failed, "DescribeStream").kind(), ErrorKind::NotFound);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn from_sdk<E>(error: SdkError<E, HttpResponse>, operation: &str) -> Self
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        from_sdk(error, operation)
    }
}

/// Converts the SDK's error of a call of `operation`.
///
/// The service's error code decides before the HTTP status, because throttling and invalid arguments both have the
/// status 400.
pub(crate) fn from_sdk<E>(error: SdkError<E, HttpResponse>, operation: &str) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let raw = error.raw_response();
    // The SDK knows only one of the two header names of each.
    let header = |name: &str| raw.and_then(|response| response.headers().get(name)).map(str::to_owned);
    let code = error.meta().code().map(str::to_owned).or_else(|| header("x-amz-errortype"));
    let code = code.as_deref().map(bare);
    let request_id = error.meta().extra("aws_request_id").map(str::to_owned).or_else(|| header("x-amz-requestid"));
    let (kind, retryable, message, hint) = match &error {
        SdkError::ServiceError(service) => {
            let said = service.err().message().unwrap_or("the service gave no reason");
            let (kind, retryable) = classify(code, said, service.raw().status().as_u16());
            (kind, retryable, format!("{operation}: {said}"), advice(kind, code, said, operation))
        }
        SdkError::ConstructionFailure(_) => {
            (ErrorKind::InvalidArgument, false, format!("{operation}: the request could not be made"), None)
        }
        // The SDK calls a connection that breaks before the response transient, neither I/O nor timeout.
        SdkError::DispatchFailure(failure)
            if failure.is_user() || (failure.is_other() && failure.as_other().is_none()) =>
        {
            let message = format!("{operation}: the request could not be sent");
            (ErrorKind::AccessDenied, false, message, Some("check that credentials and a region are configured".into()))
        }
        SdkError::ResponseError(_) => (ErrorKind::Service, true, format!("{operation}: the response is invalid"), None),
        _ => (ErrorKind::Io, true, format!("{operation}: the service could not be reached"), None),
    };
    let ours = Error::new(kind, message).retryable(retryable).with_request_id(request_id.as_deref());
    let ours = code.map_or(ours.clone(), |code| ours.with_code(code));
    let ours = hint.map_or(ours.clone(), |hint| ours.with_hint(hint));
    ours.caused_by(error)
}

/// Returns the error of a call that timed out.
pub(crate) fn timed_out(operation: &str, limit: Duration) -> Error {
    Error::new(ErrorKind::Io, format!("{operation}: no response within {limit:?}"))
}

/// Returns the error name from any of its forms: `com.amazon#Name:https://...`.
fn bare(code: &str) -> &str {
    let code = code.split(':').next().unwrap_or(code);
    code.rsplit('#').next().unwrap_or(code).trim()
}

/// Returns whether the service rejected a request because the clock that signed it is wrong.
fn is_clock_skew(code: Option<&str>, said: &str) -> bool {
    matches!(code, Some("RequestExpired" | "RequestTimeTooSkewed"))
        || said.contains("Signature expired")
        || said.contains("Signature not yet current")
}

/// Returns whether a request was rejected because of its time.
pub(crate) fn is_about_clock(error: &Error) -> bool {
    is_clock_skew(error.code(), &error.to_string())
}

/// Returns whether the credentials are wrong or expired. They may be renewed while a program runs.
pub(crate) fn is_about_credentials(error: &Error) -> bool {
    let is_named = |code: &str| {
        ["ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient"].iter().any(|name| code.starts_with(name))
    };
    error.kind() == ErrorKind::AccessDenied
        && error.position().offset().is_none()
        && (error.code().is_none_or(is_named) || error.to_string().contains(EXPIRED))
}

/// Returns the kind of an error and whether it is retryable: by its name, else by the HTTP status.
fn classify(name: Option<&str>, said: &str, status: u16) -> (ErrorKind, bool) {
    match (name.unwrap_or_default(), status) {
        ("ResourceNotFoundException", _) => (ErrorKind::NotFound, false),
        // The control plane's response to a media request.
        _ if said.contains("Unable to determine service/operation name") => (ErrorKind::WrongEndpoint, true),
        (
            "NotAuthorizedException"
            | "AccessDeniedException"
            | "AccessDenied"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "RequestExpired"
            | "RequestTimeTooSkewed"
            | "OptInRequired",
            _,
        ) => (ErrorKind::AccessDenied, false),
        (
            "ClientLimitExceededException"
            | "FragmentLimitExceededException"
            | "StreamLimitExceededException"
            | "ThrottlingException"
            | "Throttling"
            | "TooManyRequestsException"
            // DynamoDB's.
            | "LimitExceededException"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded",
            _,
        ) => (ErrorKind::Throttled, true),
        ("ConnectionLimitExceededException", _) => (ErrorKind::ConnectionLimit, true),
        ("InvalidEndpointException" | "UnknownOperationException", _) => (ErrorKind::WrongEndpoint, true),
        ("NoDataRetentionException", _) => (ErrorKind::Retention, false),
        (
            "UnsupportedStreamMediaTypeException"
            | "MissingCodecPrivateDataException"
            | "InvalidCodecPrivateDataException"
            | "InvalidMediaFrameException",
            _,
        ) => (ErrorKind::Unsupported, false),
        ("InvalidArgumentException", _) if said.contains("outside of the stream retention period") => {
            (ErrorKind::Retention, false)
        }
        ("InvalidArgumentException" | "ValidationError" | "ValidationException", _) => {
            (ErrorKind::InvalidArgument, false)
        }
        // DynamoDB's: another write of the item is on its way, or the table is being created.
        ("ReplicatedWriteConflictException" | "ResourceInUseException" | "TransactionConflictException", _) => {
            (ErrorKind::Service, true)
        }
        ("InternalFailure" | "InternalServerError" | "ServiceUnavailable" | "ServiceUnavailableException", _) => {
            (ErrorKind::Service, true)
        }
        (_, 401 | 403) => (ErrorKind::AccessDenied, false),
        (_, 429) => (ErrorKind::Throttled, true),
        (_, 500..) => (ErrorKind::Service, true),
        _ => (ErrorKind::Service, false),
    }
}

/// Returns the formats that an operation supports.
fn unsupported(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "GetHLSStreamingSessionURL" => {
            "HLS supports H.264 or H.265 with AAC or no audio, or AAC alone; frames must be length-prefixed, and each \
             track of each fragment needs codec private data"
        }
        "GetDASHStreamingSessionURL" => {
            "DASH supports H.264 or H.265 with AAC or no audio, H.264 with G.711, or AAC alone; frames must be \
             length-prefixed, and each track needs codec private data that does not change"
        }
        "GetClip" => {
            "a clip supports H.264 or H.265 with AAC or no audio, or H.264 with G.711 A-law; frames must be \
             length-prefixed, and tracks and codec private data must not change"
        }
        _ => return None,
    })
}

/// Returns whether an operation is one of DynamoDB, which keeps leases and checkpoints.
fn is_dynamo(operation: &str) -> bool {
    operation.ends_with("Item")
        || operation.ends_with("Items")
        || operation.ends_with("Table")
        || operation.ends_with("TimeToLive")
        || matches!(operation, "Query" | "Scan")
}

/// Returns advice to the user.
fn advice(kind: ErrorKind, code: Option<&str>, said: &str, operation: &str) -> Option<Cow<'static, str>> {
    let code = code.unwrap_or_default();
    Some(match kind {
        ErrorKind::AccessDenied if is_clock_skew(Some(code), said) => "check the clock of this machine".into(),
        ErrorKind::AccessDenied if code.starts_with("ExpiredToken") || said.contains("expired") => EXPIRED.into(),
        ErrorKind::AccessDenied if matches!(code, "InvalidClientTokenId" | "UnrecognizedClientException") => {
            "check the access key, which is unknown in this region".into()
        }
        ErrorKind::AccessDenied if code.contains("Signature") => "check the secret access key".into(),
        ErrorKind::AccessDenied if code.starts_with("MissingAuthenticationToken") => {
            "check that credentials are configured; the request was not signed".into()
        }
        ErrorKind::AccessDenied if code == "OptInRequired" => "enable the region for the account".into(),
        ErrorKind::AccessDenied if is_dynamo(operation) => {
            format!("allow the caller dynamodb:{operation} on the table").into()
        }
        ErrorKind::NotFound if is_dynamo(operation) => "check the table's name and the region".into(),
        ErrorKind::Throttled if is_dynamo(operation) => "call less often, or raise the table's capacity".into(),
        ErrorKind::AccessDenied if operation == "ListStreams" => "allow the caller kinesisvideo:ListStreams".into(),
        ErrorKind::AccessDenied => format!("allow the caller kinesisvideo:{operation} on the stream").into(),
        ErrorKind::NotFound if operation.ends_with("StreamingSessionURL") => {
            "check the stream name, the region and the range; live playback needs a fragment of the last 30 seconds"
                .into()
        }
        ErrorKind::NotFound if matches!(operation, "GetClip" | "GetImages") => {
            "check the stream name, the region and the range".into()
        }
        ErrorKind::NotFound => "check the stream name and the region".into(),
        ErrorKind::ConnectionLimit if operation == "GetMedia" => {
            "close another reader; a stream allows 3 connections, and all are in use".into()
        }
        ErrorKind::ConnectionLimit if operation == "PutMedia" => {
            "stop the other producer, or wait until its connection has ended; a stream allows one".into()
        }
        ErrorKind::ConnectionLimit => "close another reader; a stream allows 5 connections, and all are in use".into(),
        ErrorKind::Throttled if matches!(operation, "GetMedia" | "GetDataEndpoint") => {
            "call less often; a stream allows 5 calls per second, for all its readers together".into()
        }
        ErrorKind::Throttled if operation == "PutMedia" => {
            "connect less often; a stream allows 5 calls per second".into()
        }
        ErrorKind::Throttled => {
            "call less often; a stream allows 10,000 points of metadata and 500 points of media per second, and 5 connections, for all \
             its readers together"
                .into()
        }
        ErrorKind::Retention if code == "NoDataRetentionException" => {
            "set a data retention, or read the stream live; it retains nothing (0 hours)".into()
        }
        ErrorKind::Unsupported => unsupported(operation)?.into(),
        ErrorKind::WrongEndpoint => "request the data endpoint again".into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_names_are_read_in_every_form() {
        for code in [
            "InvalidArgumentException",
            "InvalidArgumentException:https://kinesisvideo.amazonaws.com/doc/2017-09-30/",
            "com.amazonaws.kinesisvideo#InvalidArgumentException",
            "com.amazonaws#InvalidArgumentException:http://internal",
        ] {
            assert_eq!(bare(code), "InvalidArgumentException");
        }
    }

    #[test]
    fn the_name_decides_before_the_status() {
        let cases = [
            (Some("ClientLimitExceededException"), 400, ErrorKind::Throttled, true),
            (Some("ThrottlingException"), 400, ErrorKind::Throttled, true),
            (Some("NotAuthorizedException"), 401, ErrorKind::AccessDenied, false),
            (Some("NotAuthorizedException"), 403, ErrorKind::AccessDenied, false),
            (Some("AccessDeniedException"), 400, ErrorKind::AccessDenied, false),
            (Some("ProvisionedThroughputExceededException"), 400, ErrorKind::Throttled, true),
            (Some("RequestLimitExceeded"), 400, ErrorKind::Throttled, true),
            (Some("TransactionConflictException"), 400, ErrorKind::Service, true),
            (Some("ValidationException"), 400, ErrorKind::InvalidArgument, false),
            (Some("InternalServerError"), 500, ErrorKind::Service, true),
            (Some("SomethingNew"), 403, ErrorKind::AccessDenied, false),
            (Some("SomethingNew"), 400, ErrorKind::Service, false),
            (None, 429, ErrorKind::Throttled, true),
            (None, 503, ErrorKind::Service, true),
        ];
        for (name, status, kind, retryable) in cases {
            assert_eq!(classify(name, "", status), (kind, retryable), "{name:?} {status}");
        }
    }
}
