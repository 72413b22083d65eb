//! GetImages.

mod page;
#[cfg(feature = "ffmpeg")]
mod pictures;
mod request;

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use bytes::Bytes;
use serde_json::json;

use crate::local::faults::operation::Operation;
use crate::local::faults::quotas::Points;
use crate::local::operations::check::needs_retention;
use crate::local::server::state::Server;
use crate::local::server::wire::{self, Answer};
use page::{MAX_PAGE_BYTES, page};
#[cfg(feature = "ffmpeg")]
use pictures::take;
use request::GetImagesRequest;

pub(crate) async fn get_images(State(server): State<Arc<Server>>, body: Bytes) -> Answer {
    let request: GetImagesRequest = wire::parse(&body)?;
    let stream = server.find_for_archive_call(Operation::GetImages, &request.stream)?;
    let asked = request.check()?;
    needs_retention(&stream)?;
    server.spend(&stream, Points::Metadata, 400 + asked.max_results)?;
    server.spend(&stream, Points::Media, asked.max_results)?;
    server.take_fault(Operation::GetImages, Some(&stream))?;
    let times = asked.times();
    let page = page(&times, take(&stream, &times, &asked).await?, MAX_PAGE_BYTES);
    let next = asked.first + page.len() as u64;
    Ok(axum::Json(match next < asked.count {
        true => json!({ "Images": page, "NextToken": asked.token(next) }),
        false => json!({ "Images": page }),
    })
    .into_response())
}

/// Refuses every request, for lack of a decoder.
#[cfg(not(feature = "ffmpeg"))]
async fn take(
    _: &Arc<crate::local::store::streams::Stream>,
    _: &[crate::fragment::Timestamp],
    _: &request::Asked,
) -> Result<Vec<page::Image>, wire::ErrorResponse> {
    let message = "This local endpoint was built without the feature `ffmpeg`, and so has no images";
    Err(wire::ErrorResponse::new("NotImplementedException", message))
}

#[cfg(all(test, not(feature = "ffmpeg")))]
mod tests {
    use super::*;
    use crate::local::clock::Clock;
    use crate::local::store::streams::Stream;

    #[tokio::test]
    async fn without_a_decoder_images_are_refused() {
        let request = br#"{"StreamName":"door","ImageSelectorType":"SERVER_TIMESTAMP","StartTimestamp":1,"EndTimestamp":2,"Format":"PNG"}"#;
        let asked = wire::parse::<GetImagesRequest>(request).unwrap().check().unwrap();
        let stream = Arc::new(Stream::new("door", &Arc::new(Clock::new())));
        let refusal = take(&stream, &asked.times(), &asked).await.unwrap_err();
        assert!(format!("{refusal:?}").contains("without the feature `ffmpeg`"));
        assert_eq!(refusal.into_response().status(), 501);
    }
}
