//! CreateStream, DeleteStream, UpdateDataRetention, and the tags of streams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::local::faults::operation::Operation;
use crate::local::operations::check::{one_of, within};
use crate::local::operations::page_token::{from_hex, to_hex};
use crate::local::server::state::Server;
use crate::local::server::wire::{self, Answer, ErrorResponse, StreamRequest};
use crate::local::store::streams::Stream;

/// The most streams of an account.
const MAX_STREAMS: usize = 10_000;

/// The greatest DataRetentionInHours: ten years.
const MAX_HOURS: i64 = 87_600;

/// The most tags of a stream.
const MAX_TAGS: usize = 50;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateStreamRequest {
    stream_name: Option<String>,
    device_name: Option<String>,
    media_type: Option<String>,
    kms_key_id: Option<String>,
    data_retention_in_hours: Option<i64>,
    tags: Option<BTreeMap<String, String>>,
    stream_storage_configuration: Option<StreamStorageConfiguration>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamStorageConfiguration {
    default_storage_tier: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteStreamRequest {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    current_version: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateDataRetentionRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    current_version: Option<String>,
    operation: Option<String>,
    data_retention_change_in_hours: Option<i64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct TagStreamRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    tags: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UntagStreamRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    tag_key_list: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListTagsForStreamRequest {
    #[serde(flatten)]
    stream: StreamRequest,
    next_token: Option<String>,
}

/// Answers with an empty object.
fn done() -> Answer {
    Ok(axum::Json(json!({})).into_response())
}

/// Returns a member that must be given.
fn required<T>(member: &str, value: Option<T>) -> Result<T, ErrorResponse> {
    value.ok_or_else(|| ErrorResponse::invalid_argument(format!("{member} is missing")))
}

/// Refuses a text outside of these lengths, in characters.
fn check_length(member: &str, text: &str, least: i64, most: i64) -> Result<(), ErrorResponse> {
    let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    within(&format!("the length of {member}"), length, least, most)
}

/// Refuses text with other characters than letters, digits and these.
fn check_characters(member: &str, text: &str, others: &str) -> Result<(), ErrorResponse> {
    if text.chars().all(|character| character.is_ascii_alphanumeric() || others.contains(character)) {
        return Ok(());
    }
    Err(ErrorResponse::invalid_argument(format!("{member} may have letters, digits and any of {others} only")))
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ErrorResponse> {
    for (key, value) in tags {
        check_length("a tag's key", key, 1, 128)?;
        check_length("a tag's value", value, 0, 256)?;
        let is_allowed = |character: char| {
            character.is_alphanumeric() || character.is_whitespace() || "_.:/=+-@".contains(character)
        };
        if !key.chars().chain(value.chars()).all(is_allowed) {
            let message = "Tags may have letters, digits, spaces and any of _.:/=+-@ only";
            return Err(ErrorResponse::invalid_argument(message));
        }
        if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
            return Err(ErrorResponse::invalid_argument("The key of a tag must not begin with aws:"));
        }
    }
    Ok(())
}

fn too_many_tags() -> ErrorResponse {
    let message = format!("A stream may have {MAX_TAGS} tags at most");
    ErrorResponse::new("TagsPerResourceExceededLimitException", message)
}

/// Refuses an update of another version than the current one.
fn check_version(stream: &Stream, version: &str) -> Result<(), ErrorResponse> {
    let current = stream.settings().version();
    if version == current {
        return Ok(());
    }
    let message = format!("The stream's version is {current}. Call DescribeStream to get it.");
    Err(ErrorResponse::new("VersionMismatchException", message))
}

fn hours(hours: i64) -> Duration {
    Duration::from_secs(u64::try_from(hours).unwrap_or(0) * 3600)
}

pub(crate) async fn create_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: CreateStreamRequest = wire::parse(&body)?;
    let name = required("StreamName", request.stream_name)?;
    check_length("StreamName", &name, 1, 256)?;
    check_characters("StreamName", &name, "_.-")?;
    if let Some(device) = &request.device_name {
        check_length("DeviceName", device, 1, 128)?;
        check_characters("DeviceName", device, "_.-")?;
    }
    if let Some(media_type) = &request.media_type {
        check_length("MediaType", media_type, 1, 128)?;
        let is_type = |part: &str| {
            let allowed = |word: &str| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte))
            };
            part.trim().split_once('/').is_some_and(|(kind, subtype)| allowed(kind) && allowed(subtype))
        };
        if !media_type.split(',').all(is_type) {
            let message = "MediaType must be types such as video/h264, separated by commas";
            return Err(ErrorResponse::invalid_argument(message));
        }
    }
    if let Some(key) = &request.kms_key_id {
        check_length("KmsKeyId", key, 1, 2048)?;
    }
    let retention = request.data_retention_in_hours.unwrap_or(0);
    within("DataRetentionInHours", retention, 0, MAX_HOURS)?;
    if let Some(storage) = &request.stream_storage_configuration {
        let tier = required("DefaultStorageTier", storage.default_storage_tier.as_deref())?;
        one_of("DefaultStorageTier", Some(tier), &["HOT", "WARM"])?;
    }
    let tags = request.tags.unwrap_or_default();
    if tags.len() > MAX_TAGS {
        return Err(too_many_tags());
    }
    check_tags(&tags)?;
    server.take_fault(Operation::CreateStream, None)?;
    let stream = Arc::new(Stream::new(&name, &server.clock));
    stream.set_retention(hours(retention));
    {
        let mut settings = stream.settings();
        settings.device_name = request.device_name;
        settings.media_type = request.media_type;
        settings.kms_key_id = request.kms_key_id;
        settings.tags = tags;
    }
    server.create(Arc::clone(&stream), MAX_STREAMS)?;
    Ok(axum::Json(json!({ "StreamARN": stream.arn() })).into_response())
}

pub(crate) async fn delete_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: DeleteStreamRequest = wire::parse(&body)?;
    let named = StreamRequest { stream_name: None, stream_arn: Some(required("StreamARN", request.stream_arn)?) };
    let stream = server.find_for_call(Operation::DeleteStream, &named)?;
    if let Some(version) = &request.current_version {
        check_version(&stream, version)?;
    }
    server.take_fault(Operation::DeleteStream, Some(&stream))?;
    server.delete(&stream);
    done()
}

pub(crate) async fn update_data_retention(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: UpdateDataRetentionRequest = wire::parse(&body)?;
    let stream = server.find_for_call(Operation::UpdateDataRetention, &request.stream)?;
    let version = required("CurrentVersion", request.current_version)?;
    let operation = required("Operation", request.operation)?;
    let change = required("DataRetentionChangeInHours", request.data_retention_change_in_hours)?;
    one_of("Operation", Some(&operation), &["INCREASE_DATA_RETENTION", "DECREASE_DATA_RETENTION"])?;
    within("DataRetentionChangeInHours", change, 1, MAX_HOURS)?;
    check_version(&stream, &version)?;
    let before = i64::try_from(stream.retention().as_secs().div_ceil(3600)).unwrap_or(i64::MAX);
    let after = match operation.as_str() {
        "INCREASE_DATA_RETENTION" => before.saturating_add(change),
        _ => before.saturating_sub(change),
    };
    within("The resulting retention in hours", after, 0, MAX_HOURS)?;
    server.take_fault(Operation::UpdateDataRetention, Some(&stream))?;
    stream.set_retention(hours(after));
    stream.settings().updates += 1;
    done()
}

pub(crate) async fn tag_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: TagStreamRequest = wire::parse(&body)?;
    let stream = server.find_for_call(Operation::TagStream, &request.stream)?;
    let tags = required("Tags", request.tags)?;
    within("The number of Tags", i64::try_from(tags.len()).unwrap_or(i64::MAX), 1, MAX_TAGS as i64)?;
    check_tags(&tags)?;
    server.take_fault(Operation::TagStream, Some(&stream))?;
    let mut settings = stream.settings();
    let added = tags.keys().filter(|key| !settings.tags.contains_key(*key)).count();
    if settings.tags.len() + added > MAX_TAGS {
        return Err(too_many_tags());
    }
    settings.tags.extend(tags);
    drop(settings);
    done()
}

pub(crate) async fn untag_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: UntagStreamRequest = wire::parse(&body)?;
    let stream = server.find_for_call(Operation::UntagStream, &request.stream)?;
    let keys = required("TagKeyList", request.tag_key_list)?;
    within("The number of keys in TagKeyList", i64::try_from(keys.len()).unwrap_or(i64::MAX), 1, MAX_TAGS as i64)?;
    keys.iter().try_for_each(|key| check_length("a tag's key", key, 1, 128))?;
    server.take_fault(Operation::UntagStream, Some(&stream))?;
    stream.settings().tags.retain(|key, _| !keys.contains(key));
    done()
}

pub(crate) async fn list_tags_for_stream(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: ListTagsForStreamRequest = wire::parse(&body)?;
    let stream = server.find_for_call(Operation::ListTagsForStream, &request.stream)?;
    let invalid_token = || ErrorResponse::invalid_argument("NextToken was not issued by this endpoint");
    let after = request.next_token.map(|token| from_hex(&token).ok_or_else(invalid_token)).transpose()?;
    server.take_fault(Operation::ListTagsForStream, Some(&stream))?;
    let tags = stream.settings().tags.clone();
    let is_after = |key: &String| after.as_ref().is_none_or(|after| key > after);
    let mut page: Vec<_> = tags.into_iter().filter(|(key, _)| is_after(key)).collect();
    let has_more = page.len() > MAX_TAGS;
    page.truncate(MAX_TAGS);
    let token = page.last().filter(|_| has_more).map(|(key, _)| to_hex(key));
    let page: BTreeMap<_, _> = page.into_iter().collect();
    Ok(axum::Json(match token {
        Some(token) => json!({ "Tags": page, "NextToken": token }),
        None => json!({ "Tags": page }),
    })
    .into_response())
}
