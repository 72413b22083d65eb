//! GetDataEndpoint, DescribeStream and ListStreams.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::local::faults::operation::Operation;
use crate::local::operations::page_token::{from_hex, to_hex};
use crate::local::server::state::Server;
use crate::local::server::wire::{self, Answer, ErrorResponse, StreamRequest};
use crate::local::store::streams::Stream;

/// The greatest MaxResults of ListStreams, and its default.
const MAX_STREAMS: u32 = 10_000;

#[derive(Debug, Deserialize)]
struct GetDataEndpointRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    #[serde(rename = "APIName")]
    api_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListStreamsRequest {
    max_results: Option<u32>,
    next_token: Option<String>,
    stream_name_condition: Option<StreamNameCondition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamNameCondition {
    comparison_operator: Option<String>,
    comparison_value: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StreamInfo {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_id: Option<String>,
    version: String,
    status: &'static str,
    creation_time: f64,
    data_retention_in_hours: u64,
}

impl StreamInfo {
    fn of(stream: &Stream) -> Self {
        let settings = stream.settings().clone();
        Self {
            version: settings.version(),
            device_name: settings.device_name,
            media_type: settings.media_type,
            kms_key_id: settings.kms_key_id,
            stream_name: stream.name().to_owned(),
            stream_arn: stream.arn().to_owned(),
            status: "ACTIVE",
            creation_time: wire::to_seconds(stream.created()),
            data_retention_in_hours: stream.retention().as_secs().div_ceil(3600),
        }
    }
}

pub(crate) async fn get_data_endpoint(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: GetDataEndpointRequest = wire::parse(&body)?;
    let stream = server.find_for_call(Operation::GetDataEndpoint, &request.stream)?;
    let api = request.api_name.as_deref().unwrap_or_default();
    let unknown = || ErrorResponse::invalid_argument("APIName must name an operation that has a data endpoint");
    let asked = Operation::of_api(api).ok_or_else(unknown)?;
    server.take_fault(Operation::GetDataEndpoint, Some(&stream))?;
    stream.set_stale(asked, false);
    Ok(axum::Json(json!({ "DataEndpoint": server.url() })).into_response())
}

pub(crate) async fn describe_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let stream = server.find_for_call(Operation::DescribeStream, &wire::parse(&body)?)?;
    server.take_fault(Operation::DescribeStream, Some(&stream))?;
    Ok(axum::Json(json!({ "StreamInfo": StreamInfo::of(&stream) })).into_response())
}

pub(crate) async fn list_streams(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: ListStreamsRequest = wire::parse(&body)?;
    server.take_fault(Operation::ListStreams, None)?;
    let max_results = request.max_results.unwrap_or(MAX_STREAMS);
    if !(1..=MAX_STREAMS).contains(&max_results) {
        return Err(ErrorResponse::invalid_argument("MaxResults must be 1 to 10000"));
    }
    let max_results = max_results as usize;
    let prefix = match request.stream_name_condition {
        Some(condition)
            if condition.comparison_operator.as_deref().is_some_and(|operator| operator != "BEGINS_WITH") =>
        {
            return Err(ErrorResponse::invalid_argument("ComparisonOperator must be BEGINS_WITH"));
        }
        Some(condition) => condition.comparison_value.unwrap_or_default(),
        None => String::new(),
    };
    // The token is the name of the previous page's last stream, in hexadecimal.
    let invalid_token = || ErrorResponse::invalid_argument("NextToken was not issued by this endpoint");
    let after = request.next_token.map(|token| from_hex(&token).ok_or_else(invalid_token)).transpose()?;
    let streams = server.streams();
    let is_after = |name: &String| after.as_ref().is_none_or(|after| name > after);
    let mut page: Vec<_> = streams.iter().filter(|(name, _)| name.starts_with(&prefix) && is_after(name)).collect();
    let has_more = page.len() > max_results;
    page.truncate(max_results);
    let next = page.last().filter(|_| has_more).map(|(name, _)| to_hex(name));
    let infos: Vec<_> = page.iter().map(|(_, stream)| StreamInfo::of(stream)).collect();
    Ok(axum::Json(match next {
        Some(token) => json!({ "StreamInfoList": infos, "NextToken": token }),
        None => json!({ "StreamInfoList": infos }),
    })
    .into_response())
}
