//! [`PresignExt`]: signed requests for others to send.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_runtime::auth::{HttpSignatureType, SigV4OperationSigningConfig};
use aws_sdk_kinesisvideoarchivedmedia::operation as archived;
use aws_sdk_kinesisvideomedia::operation as media;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextMut, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use bytes::Bytes;

use super::call::sdk_failure;
use crate::error::{Error, ErrorKind, Result};

/// The longest lifetime that SigV4 allows.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Extension trait that signs a request of the SDK without sending it.
///
/// It is implemented for the requests of GetMedia and of the archived media operations. Whoever has the result can send
/// it with any HTTP client, without credentials, until it expires.
///
/// The request must come from a client of the stream's data endpoint:
/// [`media_client`](crate::KinesisVideo::media_client) or [`archived_client`](crate::KinesisVideo::archived_client).
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use kinesis_video::local::LocalEndpoint;
/// # let endpoint = LocalEndpoint::start().await?;
/// # endpoint.create_stream("front-door").finish();
/// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
/// use std::time::Duration;
/// use aws_sdk_kinesisvideo::types::ApiName;
/// use kinesis_video::PresignExt;
///
/// let client = kvs.archived_client("front-door", ApiName::ListFragments).await?;
/// let request = client.list_fragments().stream_name("front-door").presigned(Duration::from_secs(300)).await?;
/// println!("curl -X {} '{}' \\", request.method(), request.url());
/// for (name, value) in request.headers() {
///     println!("    -H '{name}: {value}' \\");
/// }
/// println!("    --data '{}'", String::from_utf8_lossy(request.body()));
/// # assert_eq!(&request.body()[..], br#"{"StreamName":"front-door"}"#);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
pub trait PresignExt: sealed::Sealed {
    /// Signs the request with a lifetime of whole seconds, from 1 s to 7 days.
    ///
    /// The signature covers the body, so the body must be sent byte for byte. Nothing is sent here, except by the
    /// provider of the credentials. Temporary credentials may expire earlier, and the signature with them.
    ///
    /// # Errors
    /// Fails with [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) if the lifetime is out of range or the
    /// request is incomplete. Fails with [`ErrorKind::AccessDenied`](crate::ErrorKind::AccessDenied) without credentials.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    fn presigned(self, expires: Duration) -> impl Future<Output = Result<PresignedRequest>> + Send;
}

mod sealed {
    pub trait Sealed {}
}

/// A signed request, from [`PresignExt::presigned`].
///
/// The URL is a secret: it works without credentials until it expires. So `Debug` shows only its host and path.
#[derive(Clone)]
pub struct PresignedRequest {
    method: Box<str>,
    url: Box<str>,
    headers: Vec<(Box<str>, Box<str>)>,
    body: Bytes,
}

impl PresignedRequest {
    /// Returns the HTTP method, which is `POST`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Returns the URL with its signature.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the names and values of the signed headers, without `host`.
    ///
    /// They must be sent. HTTP clients add `host` and `content-length` themselves.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns the body, a JSON object.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

impl fmt::Debug for PresignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.url.split('?').next().unwrap_or_default();
        f.debug_struct("PresignedRequest").field("method", &self.method).field("url", &shown).finish_non_exhaustive()
    }
}

/// Has the SDK sign the query, and keeps the request instead of sending it.
#[derive(Clone, Debug)]
struct Presigner {
    expires: Duration,
    signed: Arc<Mutex<Option<PresignedRequest>>>,
}

impl Presigner {
    fn new(expires: Duration, operation: &str) -> Result<Self> {
        if !(Duration::from_secs(1)..=LONGEST).contains(&expires) || expires.subsec_nanos() > 0 {
            let message = format!(
                "{operation}: a presigned request cannot expire after {expires:?}; the service allows 1 s to 7 days, in whole \
                 seconds"
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Self { expires, signed: Arc::default() })
    }

    fn take(&self) -> Option<PresignedRequest> {
        self.signed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for Presigner {
    fn name(&self) -> &'static str {
        "Presigner"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut signing = config.load::<SigV4OperationSigningConfig>().cloned().unwrap_or_default();
        signing.signing_options.signature_type = HttpSignatureType::HttpRequestQueryParams;
        signing.signing_options.expires_in = Some(self.expires);
        config.interceptor_state().store_put(signing);
        // Headers that are signed must be sent, so only what the service needs is left.
        let headers = context.request_mut().headers_mut();
        let names: Vec<String> = headers.iter().map(|(name, _)| name.to_owned()).collect();
        for name in names.into_iter().filter(|name| !name.eq_ignore_ascii_case("content-type")) {
            headers.remove(name);
        }
        Ok(())
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request();
        let headers = request.headers().iter();
        let headers = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let signed = PresignedRequest {
            method: request.method().into(),
            url: request.uri().into(),
            headers: headers.map(|(name, value)| (name.into(), value.into())).collect(),
            body: Bytes::copy_from_slice(request.body().bytes().unwrap_or_default()),
        };
        *self.signed.lock().unwrap_or_else(PoisonError::into_inner) = Some(signed);
        Err("the request is signed for others to send".into())
    }
}

macro_rules! presign {
    ($($module:ident::$operation:ident::$builder:ident in $sdk:ident = $name:literal)*) => {$(
        impl sealed::Sealed for $module::$operation::builders::$builder {}

        impl PresignExt for $module::$operation::builders::$builder {
            async fn presigned(self, expires: Duration) -> Result<PresignedRequest> {
                let presigner = Presigner::new(expires, $name)?;
                let once = $sdk::config::Config::builder().retry_config($sdk::config::retry::RetryConfig::disabled());
                let sent = self.customize().config_override(once).interceptor(presigner.clone()).send().await;
                match (presigner.take(), sent) {
                    (Some(request), _) => Ok(request),
                    (None, Err(error)) => Err(sdk_failure(error, $name)),
                    (None, Ok(_)) => {
                        Err(Error::new(ErrorKind::Service, concat!($name, ": the SDK did not sign the request")))
                    }
                }
            }
        }
    )*};
}

presign! {
    media::get_media::GetMediaFluentBuilder in aws_sdk_kinesisvideomedia = "GetMedia"
    archived::get_clip::GetClipFluentBuilder in aws_sdk_kinesisvideoarchivedmedia = "GetClip"
    archived::get_dash_streaming_session_url::GetDASHStreamingSessionURLFluentBuilder
        in aws_sdk_kinesisvideoarchivedmedia = "GetDASHStreamingSessionURL"
    archived::get_hls_streaming_session_url::GetHLSStreamingSessionURLFluentBuilder
        in aws_sdk_kinesisvideoarchivedmedia = "GetHLSStreamingSessionURL"
    archived::get_images::GetImagesFluentBuilder in aws_sdk_kinesisvideoarchivedmedia = "GetImages"
    archived::get_media_for_fragment_list::GetMediaForFragmentListFluentBuilder
        in aws_sdk_kinesisvideoarchivedmedia = "GetMediaForFragmentList"
    archived::list_fragments::ListFragmentsFluentBuilder in aws_sdk_kinesisvideoarchivedmedia = "ListFragments"
}
