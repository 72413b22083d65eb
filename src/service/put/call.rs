//! The PutMedia call.

use std::sync::Arc;

use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_sdk_kinesisvideomedia::types::{StartSelector, StartSelectorType};
use aws_sigv4::http_request::SignableBody;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::config_bag::ConfigBag;

use super::Options;
use super::body::PutBody;
use super::shared::Shared;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::call::{Call, Rate, Reply};
use crate::service::client::Client;

/// Calls PutMedia once, and returns the body with the acknowledgements while the request body is still sent.
///
/// No model of the SDK has PutMedia. It shares host, signature and errors with GetMedia, so the SDK makes a call of
/// GetMedia whose path, headers and body are replaced before it is signed.
pub(super) async fn put_media(client: &Client, options: &Options, shared: &Arc<Shared>) -> Result<Reply<ByteStream>> {
    let Options { stream, call_timeout, .. } = options;
    let cost = [Rate::call("PutMedia")];
    let (api, limit) = (ApiName::PutMedia, *call_timeout);
    let call = Call { client, stream, api: api.clone(), operation: "PutMedia", cost: &cost, limit };
    let selector = StartSelector::builder().start_selector_type(StartSelectorType::Now).build();
    let selector = selector.map_err(|error| Error::invalid_argument("PutMedia: no request").caused_by(error))?;
    let reply = call.once(|endpoint, interceptor| {
        let put = Put { options: options.clone(), shared: Arc::clone(shared) };
        client.get_media(stream, selector.clone(), endpoint).interceptor(interceptor).interceptor(put).send()
    });
    let reply = reply.await.inspect_err(|error| {
        if error.kind() == ErrorKind::WrongEndpoint {
            client.endpoints.forget(stream, &api);
        }
    });
    let Reply { output, origin, date } = reply?;
    Ok(Reply { output: output.payload, origin, date })
}

/// Makes a request of PutMedia from one of GetMedia.
#[derive(Debug)]
struct Put {
    options: Options,
    shared: Arc<Shared>,
}

impl Intercept for Put {
    fn name(&self) -> &'static str {
        "PutMedia"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Options { stream, relative, .. } = &self.options;
        let request = context.request_mut();
        let uri = request.uri().strip_suffix("/getMedia").map(|host| format!("{host}/putMedia"));
        request.set_uri(uri.ok_or("the path of GetMedia is unknown")?)?;
        let (kind, start) = match relative {
            Some(start) => ("RELATIVE", *start),
            None => ("ABSOLUTE", Timestamp::from_millis(self.shared.first_timecode().unwrap_or(0))),
        };
        let headers = request.headers_mut();
        headers.remove("content-length");
        let name = if stream.is_arn() { "x-amzn-stream-arn" } else { "x-amzn-stream-name" };
        headers.try_insert(name, stream.as_str().to_owned())?;
        headers.try_insert("x-amzn-fragment-timecode-type", kind)?;
        headers.try_insert("x-amzn-fragment-acknowledgment-required", "1")?;
        headers.try_insert("x-amzn-producer-start-timestamp", seconds(start))?;
        *request.body_mut() = SdkBody::from_body_1_x(PutBody::new(Arc::clone(&self.shared), self.shared.connect()));
        // The body is not known when the request is signed.
        let mut signing = config.load::<SigV4OperationSigningConfig>().cloned().unwrap_or_default();
        signing.signing_options.content_sha256_header = true;
        signing.signing_options.payload_override = Some(SignableBody::UnsignedPayload);
        config.interceptor_state().store_put(signing);
        Ok(())
    }
}

/// Returns seconds with three digits after the point. Without the zeros, 15 ms would be 150.
fn seconds(time: Timestamp) -> String {
    let millis = time.as_millis().max(0);
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_padded() {
        for (millis, expected) in [(1_795_534_218_015, "1795534218.015"), (0, "0.000"), (999, "0.999"), (-5, "0.000")] {
            assert_eq!(seconds(Timestamp::from_millis(millis)), expected);
        }
    }
}
