//! How the service says things: names, errors, JSON.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::fragment::Timestamp;

/// The region that the endpoint claims to be in.
pub(crate) const REGION: &str = "us-west-2";

const ACCOUNT: &str = "111122223333";

pub(crate) fn arn(name: &str, created_millis: i64) -> String {
    format!("arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/{name}/{created_millis}")
}

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    name: String,
    message: String,
}

impl Refusal {
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new("ResourceNotFoundException", format!("The requested stream is not found or not active: {what}"))
    }

    /// With the HTTP status that goes with the name.
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
        Self { status, name: name.into(), message: message.into() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "Message": self.message });
        let mut response = (self.status, axum::Json(body)).into_response();
        let kind = format!("{}:https://kinesisvideo.amazonaws.com/doc/2017-09-30/", self.name);
        if let Ok(kind) = HeaderValue::from_str(&kind) {
            response.headers_mut().insert("x-amzn-errortype", kind);
        }
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// What the service says to a path that it does not know: success.
pub(crate) fn unknown_operation() -> Response {
    let kind = "com.amazon.coral.service#UnknownOperationException";
    axum::Json(serde_json::json!({ "Output": { "__type": kind }, "Version": "1.0" })).into_response()
}

/// Reads the body of a request, whatever its content type says.
pub(crate) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Refusal::invalid_argument(format!("the request is not understood: {error}")))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamRequest {
    pub(crate) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(crate) stream_arn: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GetDataEndpointRequest {
    #[serde(flatten)]
    pub(crate) stream: StreamRequest,
    #[serde(rename = "APIName")]
    pub(crate) api_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListStreamsRequest {
    pub(crate) max_results: Option<u32>,
    pub(crate) next_token: Option<String>,
    pub(crate) stream_name_condition: Option<StreamNameCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamNameCondition {
    pub(crate) comparison_operator: Option<String>,
    pub(crate) comparison_value: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GetMediaRequest {
    #[serde(flatten)]
    pub(crate) stream: StreamRequest,
    #[serde(rename = "StartSelector")]
    pub(crate) start_selector: Option<StartSelector>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StartSelector {
    pub(crate) start_selector_type: Option<String>,
    pub(crate) after_fragment_number: Option<String>,
    pub(crate) start_timestamp: Option<f64>,
    pub(crate) continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct ListFragmentsRequest {
    #[serde(flatten)]
    pub(crate) stream: StreamRequest,
    #[serde(rename = "MaxResults")]
    pub(crate) max_results: Option<u64>,
    #[serde(rename = "NextToken")]
    pub(crate) next_token: Option<String>,
    #[serde(rename = "FragmentSelector")]
    pub(crate) fragment_selector: Option<FragmentSelector>,
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

#[derive(Debug, Deserialize)]
pub(crate) struct GetMediaForFragmentListRequest {
    #[serde(flatten)]
    pub(crate) stream: StreamRequest,
    #[serde(rename = "Fragments")]
    pub(crate) fragments: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FragmentInfo {
    pub(crate) fragment_number: String,
    pub(crate) fragment_size_in_bytes: usize,
    pub(crate) producer_timestamp: f64,
    pub(crate) server_timestamp: f64,
    pub(crate) fragment_length_in_milliseconds: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamInfo {
    pub(crate) stream_name: String,
    #[serde(rename = "StreamARN")]
    pub(crate) stream_arn: String,
    pub(crate) media_type: &'static str,
    pub(crate) version: &'static str,
    pub(crate) status: &'static str,
    pub(crate) creation_time: f64,
    pub(crate) data_retention_in_hours: u64,
}

/// A time in JSON: a number of seconds.
pub(crate) fn to_seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1e3
}

pub(crate) fn from_seconds(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1e3).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_documented_statuses() {
        for (name, status) in [
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
            assert_eq!(Refusal::new(name, "").status.as_u16(), status, "{name}");
        }
    }
}
