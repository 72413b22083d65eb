//! The cache of data endpoints by stream and API.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_kinesisvideo::Client;
use aws_sdk_kinesisvideo::types::ApiName;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::control_call::ControlCall;
use super::rate_limit::Rates;
use crate::error::{Error, ErrorKind, Result};
use crate::service::stream_id::StreamId;

/// The age at which an endpoint is requested again. AWS advises 45 minutes.
const MAX_AGE: Duration = Duration::from_secs(40 * 60);

/// The time until the next request after a failed one.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The data endpoints by stream and API. Concurrent callers share one request.
#[derive(Debug, Default)]
pub(crate) struct EndpointCache {
    known: Mutex<Known>,
    /// The endpoint for everything, which is never requested.
    fixed: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: HashMap<(StreamId, ApiName), Arc<Endpoint>>,
    swept: Option<Instant>,
}

/// An endpoint that is known or being requested.
#[derive(Debug)]
struct Endpoint {
    url: OnceCell<Arc<str>>,
    requested_at: Instant,
    /// The previous endpoint, which may still work.
    before: Option<Arc<str>>,
}

impl EndpointCache {
    /// Creates a cache that returns one endpoint for everything.
    pub(crate) fn fixed(url: &str) -> Self {
        Self { fixed: Some(url.into()), ..Self::default() }
    }

    /// Returns the endpoint, and requests it if it is unknown. The response may take as long as `limit`.
    pub(crate) async fn get(
        &self,
        control: &Client,
        rates: &Rates,
        stream: &StreamId,
        api: ApiName,
        limit: Duration,
    ) -> Result<Arc<str>> {
        if let Some(fixed) = &self.fixed {
            return Ok(Arc::clone(fixed));
        }
        let endpoint = self.entry(stream, &api);
        match endpoint.url.get_or_try_init(|| request(control, rates, stream, api.clone(), limit)).await {
            Ok(url) => Ok(Arc::clone(url)),
            Err(error) => {
                let mut known = self.lock();
                let key = (stream.clone(), api);
                // Another caller may have succeeded meanwhile.
                if known.endpoints.get(&key).is_some_and(|known| Arc::ptr_eq(known, &endpoint)) {
                    known.endpoints.remove(&key);
                }
                let Some(before) = endpoint.before.as_ref().filter(|_| error.is_retryable()) else {
                    return Err(error);
                };
                // An old endpoint is used for a while rather than none.
                let requested_at = Instant::now().checked_sub(MAX_AGE - RETRY_AFTER).unwrap_or(endpoint.requested_at);
                let url = OnceCell::new_with(Some(Arc::clone(before)));
                known.endpoints.entry(key).or_insert_with(|| Arc::new(Endpoint { url, requested_at, before: None }));
                Ok(Arc::clone(before))
            }
        }
    }

    /// Returns the entry of an endpoint. The first caller requests it.
    fn entry(&self, stream: &StreamId, api: &ApiName) -> Arc<Endpoint> {
        let now = Instant::now();
        let mut known = self.lock();
        let before = match known.endpoints.get(&(stream.clone(), api.clone())) {
            Some(endpoint) if now.duration_since(endpoint.requested_at) < MAX_AGE => return Arc::clone(endpoint),
            old => old.and_then(|endpoint| endpoint.url.get().cloned()),
        };
        // Unused endpoints are removed, so that the cache does not grow with each stream that ever existed.
        if known.swept.is_none_or(|swept| now.duration_since(swept) > MAX_AGE) {
            known.endpoints.retain(|_, endpoint| now.duration_since(endpoint.requested_at) < 2 * MAX_AGE);
            known.swept = Some(now);
        }
        let endpoint = Arc::new(Endpoint { url: OnceCell::new(), requested_at: now, before });
        known.endpoints.insert((stream.clone(), api.clone()), Arc::clone(&endpoint));
        endpoint
    }

    /// Forgets an endpoint, so that the next call requests it again.
    pub(crate) fn forget(&self, stream: &StreamId, api: &ApiName) {
        self.lock().endpoints.remove(&(stream.clone(), api.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn request(
    control: &Client,
    rates: &Rates,
    stream: &StreamId,
    api: ApiName,
    limit: Duration,
) -> Result<Arc<str>> {
    let call = ControlCall { rates, stream: Some(stream), operation: "GetDataEndpoint", limit };
    let output = call.once(|overrides| {
        let (name, arn) = stream.name_and_arn();
        let request = control.get_data_endpoint().set_stream_name(name).set_stream_arn(arn).api_name(api.clone());
        request.customize().config_override(overrides).send()
    });
    let output = output.await?;
    match output.data_endpoint {
        Some(endpoint) => {
            tracing::debug!(%stream, endpoint, "data endpoint");
            Ok(endpoint.into())
        }
        // A host that does not know the operation reports success with another response.
        None => {
            let message = "GetDataEndpoint: the answer names no endpoint; is this the address of a data endpoint?";
            Err(call.name_in(Error::new(ErrorKind::WrongEndpoint, message).retryable(false)))
        }
    }
}
