//! The service's wire format: error responses, and the JSON that several requests share.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::fragment::Timestamp;

/// A response other than the one asked for.
#[derive(Clone, Debug)]
pub(crate) enum ErrorResponse {
    /// One of the service's exceptions.
    Exception { status: StatusCode, name: String, message: String },
    /// The answer of a host that does not know the operation: HTTP status 200 and an error in JSON.
    UnknownOperation,
}

/// The result of an operation's handler.
pub(crate) type Answer = Result<Response, ErrorResponse>;

impl ErrorResponse {
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    /// Makes the error for a stream that does not exist.
    pub(crate) fn not_found(stream: &str) -> Self {
        Self::new("ResourceNotFoundException", format!("The requested stream is not found or not active: {stream}"))
    }

    /// Makes the exception with this name, and the HTTP status documented for it.
    pub(crate) fn new(name: &str, message: impl Into<String>) -> Self {
        let status = match name {
            "NotAuthorizedException" => StatusCode::UNAUTHORIZED,
            "AccessDeniedException"
            | "ExpiredTokenException"
            | "InvalidClientTokenId"
            | "MissingAuthenticationToken"
            | "OptInRequired" => StatusCode::FORBIDDEN,
            "NotImplementedException" => StatusCode::NOT_IMPLEMENTED,
            "ResourceNotFoundException" => StatusCode::NOT_FOUND,
            "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
            "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::Exception { status, name: name.into(), message: message.into() }
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let Self::Exception { status, name, message } = self else {
            let kind = "com.amazon.coral.service#UnknownOperationException";
            return axum::Json(serde_json::json!({ "Output": { "__type": kind }, "Version": "1.0" })).into_response();
        };
        let mut response = (status, axum::Json(serde_json::json!({ "Message": message }))).into_response();
        let kind = format!("{name}:https://kinesisvideo.amazonaws.com/doc/2017-09-30/");
        if let Ok(kind) = HeaderValue::from_str(&kind) {
            response.headers_mut().insert("x-amzn-errortype", kind);
        }
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// Parses the body of a request, whatever its content type.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ErrorResponse> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| ErrorResponse::invalid_argument(format!("the request cannot be parsed: {error}")))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamRequest {
    pub(crate) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(crate) stream_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FragmentSelector {
    pub(crate) fragment_selector_type: Option<String>,
    pub(crate) timestamp_range: Option<TimestampRange>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TimestampRange {
    pub(crate) start_timestamp: Option<f64>,
    pub(crate) end_timestamp: Option<f64>,
}

/// Converts a time to JSON's form: seconds, as a number.
pub(crate) fn to_seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1e3
}

/// Converts a time from JSON's form.
pub(crate) fn from_seconds(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1e3).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_documented_statuses() {
        for (name, expected) in [
            ("AccessDeniedException", 403),
            ("ClientLimitExceededException", 400),
            ("ConnectionLimitExceededException", 400),
            ("ExpiredTokenException", 403),
            ("IncompleteSignature", 400),
            ("InternalFailure", 500),
            ("InvalidArgumentException", 400),
            ("InvalidClientTokenId", 403),
            ("InvalidEndpointException", 400),
            ("NotAuthorizedException", 401),
            ("RequestExpired", 400),
            ("ResourceNotFoundException", 404),
            ("ServiceUnavailable", 503),
            ("ThrottlingException", 400),
        ] {
            assert_eq!(ErrorResponse::new(name, "").into_response().status(), expected, "{name}");
        }
    }
}
