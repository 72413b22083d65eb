//! Which host serves which stream and API.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_kinesisvideo::types::ApiName;
use tokio::sync::OnceCell;

use super::failure::from_sdk;
use super::{KinesisVideo, StreamId};
use crate::error::{Error, ErrorKind, Result};

/// Data endpoints by stream and API. Each is asked for once, however many ask at the same time.
#[derive(Debug, Default)]
pub(super) struct EndpointCache {
    known: Mutex<HashMap<(StreamId, ApiName), Endpoint>>,
}

/// An endpoint that is known, or being asked for.
type Endpoint = Arc<OnceCell<Arc<str>>>;

impl EndpointCache {
    pub(super) async fn get(&self, kvs: &KinesisVideo, stream: &StreamId, api: ApiName) -> Result<Arc<str>> {
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry((stream.clone(), api.clone())).or_default())
        };
        let asked = cell.get_or_try_init(|| ask(kvs, stream, api.clone())).await.cloned();
        if asked.is_err() {
            self.forget(stream, api);
        }
        asked
    }

    /// Forgets an endpoint, so that the next call asks again.
    pub(super) fn forget(&self, stream: &StreamId, api: ApiName) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&(stream.clone(), api));
    }
}

async fn ask(kvs: &KinesisVideo, stream: &StreamId, api: ApiName) -> Result<Arc<str>> {
    let (name, arn) = stream.name_and_arn();
    let call = kvs.control.get_data_endpoint().set_stream_name(name).set_stream_arn(arn).api_name(api);
    let output = call.send().await.map_err(|error| from_sdk(error, "GetDataEndpoint").of_stream(stream.as_str()))?;
    match output.data_endpoint {
        Some(endpoint) => {
            tracing::debug!(%stream, endpoint, "data endpoint");
            Ok(endpoint.into())
        }
        // A host that does not know the operation answers with success and something else.
        None => {
            let error = Error::new(ErrorKind::WrongEndpoint, "GetDataEndpoint: the answer names no endpoint");
            Err(error.retryable(false).of_stream(stream.as_str()))
        }
    }
}
