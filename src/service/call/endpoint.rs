//! Which host serves which stream and API.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_kinesisvideo::config::Config;
use aws_sdk_kinesisvideo::config::retry::RetryConfig;
use aws_sdk_kinesisvideo::types::ApiName;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use super::rate_limit::Rate;
use super::sdk_error::{from_sdk, is_about_time, too_late};
use crate::error::{Error, ErrorKind, Result};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

/// An endpoint is asked for again when it is so old. The service advises 45 minutes.
const MOST_AGE: Duration = Duration::from_secs(40 * 60);

/// When it is asked for again if it could not be asked for then.
const AGAIN: Duration = Duration::from_secs(60);

/// Data endpoints by stream and API. Each is asked for once, however many ask at the same time.
#[derive(Debug, Default)]
pub(crate) struct EndpointCache {
    known: Mutex<Known>,
    /// The one for everything, about which nobody is asked.
    fixed: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Known {
    endpoints: HashMap<(StreamId, ApiName), Arc<Endpoint>>,
    swept: Option<Instant>,
}

/// An endpoint that is known, or being asked for.
#[derive(Debug)]
struct Endpoint {
    url: OnceCell<Arc<str>>,
    asked: Instant,
    /// The one before it, which may still do.
    before: Option<Arc<str>>,
}

impl EndpointCache {
    /// One that says the same for everything.
    pub(crate) fn fixed(url: &str) -> Self {
        Self { fixed: Some(url.into()), ..Self::default() }
    }

    /// The endpoint, which is asked for if it is not known. An answer may take as long as `limit`.
    pub(crate) async fn get(
        &self,
        client: &Client,
        stream: &StreamId,
        api: ApiName,
        limit: Duration,
    ) -> Result<Arc<str>> {
        if let Some(fixed) = &self.fixed {
            return Ok(Arc::clone(fixed));
        }
        let endpoint = self.entry(stream, &api);
        match endpoint.url.get_or_try_init(|| ask(client, stream, api.clone(), limit)).await {
            Ok(url) => Ok(Arc::clone(url)),
            Err(error) => {
                let mut known = self.lock();
                let key = (stream.clone(), api);
                // Somebody else may have been luckier meanwhile.
                if known.endpoints.get(&key).is_some_and(|known| Arc::ptr_eq(known, &endpoint)) {
                    known.endpoints.remove(&key);
                }
                let Some(before) = endpoint.before.as_ref().filter(|_| error.is_retryable()) else {
                    return Err(error);
                };
                // Too old is better than none, for a while.
                let asked = Instant::now().checked_sub(MOST_AGE - AGAIN).unwrap_or(endpoint.asked);
                let url = OnceCell::new_with(Some(Arc::clone(before)));
                known.endpoints.entry(key).or_insert_with(|| Arc::new(Endpoint { url, asked, before: None }));
                Ok(Arc::clone(before))
            }
        }
    }

    /// What is known, or to be asked for, by whoever comes first.
    fn entry(&self, stream: &StreamId, api: &ApiName) -> Arc<Endpoint> {
        let now = Instant::now();
        let mut known = self.lock();
        let before = match known.endpoints.get(&(stream.clone(), api.clone())) {
            Some(endpoint) if now.duration_since(endpoint.asked) < MOST_AGE => return Arc::clone(endpoint),
            old => old.and_then(|endpoint| endpoint.url.get().cloned()),
        };
        // Streams come and go: those that nobody has asked for in a long time are forgotten.
        if known.swept.is_none_or(|swept| now.duration_since(swept) > MOST_AGE) {
            known.endpoints.retain(|_, endpoint| now.duration_since(endpoint.asked) < 2 * MOST_AGE);
            known.swept = Some(now);
        }
        let endpoint = Arc::new(Endpoint { url: OnceCell::new(), asked: now, before });
        known.endpoints.insert((stream.clone(), api.clone()), Arc::clone(&endpoint));
        endpoint
    }

    /// Forgets an endpoint, so that the next call asks again.
    pub(crate) fn forget(&self, stream: &StreamId, api: &ApiName) {
        self.lock().endpoints.remove(&(stream.clone(), api.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ask(client: &Client, stream: &StreamId, api: ApiName, limit: Duration) -> Result<Arc<str>> {
    let mut was_late = false;
    let output = loop {
        client.rates.admit(stream, Rate::call("GetDataEndpoint")).await;
        // The SDK's own retries would be calls that nobody counts.
        let overrides = Config::builder().retry_config(RetryConfig::disabled());
        let (name, arn) = stream.name_and_arn();
        let call = client.control.get_data_endpoint().set_stream_name(name).set_stream_arn(arn).api_name(api.clone());
        let sent = call.customize().config_override(overrides).send();
        let Ok(sent) = timeout(limit, sent).await else {
            return Err(too_late("GetDataEndpoint", limit).of_stream(stream.as_str()));
        };
        match sent {
            Ok(output) => break output,
            Err(error) => {
                let error = from_sdk(error, "GetDataEndpoint").of_stream(stream.as_str());
                // The answer told the SDK what time it is.
                if !is_about_time(&error) || std::mem::replace(&mut was_late, true) {
                    return Err(error);
                }
            }
        }
    };
    match output.data_endpoint {
        Some(endpoint) => {
            tracing::debug!(%stream, endpoint, "data endpoint");
            Ok(endpoint.into())
        }
        // A host that does not know the operation answers with success and something else.
        None => {
            let message = "GetDataEndpoint: the answer names no endpoint; is this the address of a data endpoint?";
            let error = Error::new(ErrorKind::WrongEndpoint, message);
            Err(error.retryable(false).of_stream(stream.as_str()))
        }
    }
}
