//! Ranges of stored media: their limits, their fragments, and the names of their files.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::answer::{Answer, Failure};
use super::seats::Seat;
use super::state::State;
use super::stored::{checked, listed};
use crate::fragment::{Clock, Timestamp};
use crate::service::{ArchiveFragments, OnUnavailable, Order};

/// The longest range of media: an hour.
pub(super) const MOST_MILLIS: i64 = 3_600_000;

/// The bytes of fragments that are fetched ahead for one answer.
const AHEAD: u64 = 16 << 20;

#[derive(Deserialize)]
pub(super) struct Request {
    pub(super) stream: String,
    pub(super) start: i64,
    pub(super) end: i64,
}

/// The fragments of a range, and the place that reading them takes.
pub(super) struct Stored {
    pub(super) seat: Seat,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) fragments: ArchiveFragments,
}

impl Request {
    /// Lists the fragments of the range, and reads them as they are polled for.
    pub(super) async fn open(&self, state: &State) -> Answer<Stored> {
        state.check(&self.stream)?;
        let (start, end) = checked(self.start, self.end, MOST_MILLIS)?;
        let seat = state.seats.stored().await?;
        let listed = listed(state, &self.stream, start, end).await?;
        if listed.is_empty() {
            let message = "nothing is stored in this range";
            return Err(Failure::new(StatusCode::NOT_FOUND, message).hint("choose another one on the timeline"));
        }
        let archive = state.kvs.archive(self.stream.clone()).clock(Clock::Producer).order(Order::Time);
        let archive = archive.listed(listed).buffer_bytes(AHEAD).connections(1).on_unavailable(OnUnavailable::Skip);
        Ok(Stored { seat, start, end, fragments: archive.fragments() })
    }

    /// Returns the name of a file for the range.
    fn file_name(&self, extension: &str) -> String {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "_-.".contains(*c);
        // An ARN ends in the name and a number.
        let name = self.stream.rsplit("stream/").next().unwrap_or_default().split('/').next().unwrap_or_default();
        let name: String = name.chars().map(|c| if is_plain(&c) { c } else { '_' }).take(64).collect();
        let time = Timestamp::from_millis(self.start).to_string().replace(':', "-");
        format!("{}_{}.{extension}", name.trim_start_matches('.'), time.split('.').next().unwrap_or_default())
    }

    pub(super) fn attach(&self, extension: &str, kind: &'static str, body: Body) -> Response {
        let mut response = ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response();
        let disposition = format!("attachment; filename=\"{}\"", self.file_name(extension));
        if let Ok(disposition) = HeaderValue::from_str(&disposition) {
            response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
        }
        response
    }
}
