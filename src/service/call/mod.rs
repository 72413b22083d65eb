//! One API call: its endpoint, rate limit, retries, timeouts and errors.

mod api_call;
mod control_call;
mod endpoint;
mod interceptor;
mod overrides;
mod rate_limit;
mod retry;
mod sdk_body;
mod sdk_error;
mod sdk_time;
mod timeout_body;

pub use retry::RetryConfig;
pub use sdk_body::SdkBody;

pub(crate) use api_call::{Call, Origin, Reply, not_media, on_its_own};
pub(crate) use control_call::ControlCall;
pub(crate) use endpoint::EndpointCache;
pub(crate) use overrides::overrides;
pub(crate) use rate_limit::{Rate, Rates};
pub(crate) use retry::{Backoff, at, log_retry};
#[cfg(feature = "dynamodb")]
pub(crate) use sdk_error::timed_out;
pub(crate) use sdk_error::{from_sdk as sdk_failure, is_about_credentials};
pub(crate) use sdk_time::timestamp;
pub(crate) use timeout_body::TimeoutBody;
