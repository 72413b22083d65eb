//! [`Witness`]: what happens on the wire while the SDK makes its calls.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_sdk_kinesisvideo::config::interceptors::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
    BeforeTransmitInterceptorContextRef,
};
use aws_sdk_kinesisvideo::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesisvideo::error::BoxError;
use aws_sdk_kinesisvideo::operation::get_data_endpoint::GetDataEndpointOutput;
use aws_smithy_types::date_time::{DateTime, Format};
use kinesis_video::{KinesisVideo, Timestamp};

/// Notes the responses to the calls of a client. Clones share the notes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Mutex<Seen>>);

/// The notes of a witness.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The URL of the last call.
    sent: Option<String>,
    /// The URL of the last call that was answered.
    pub(crate) url: Option<String>,
    /// The `Date` header of the last response, and the time of this machine when it arrived.
    pub(crate) date: Option<(Timestamp, Timestamp)>,
    /// The last data endpoint.
    pub(crate) data_endpoint: Option<String>,
}

impl Witness {
    /// Creates a client whose calls are noted.
    pub(crate) fn client(&self, config: &SdkConfig) -> KinesisVideo {
        let control = aws_sdk_kinesisvideo::config::Builder::from(config).interceptor(self.clone()).build();
        let media = aws_sdk_kinesisvideomedia::config::Builder::from(config).interceptor(self.clone()).build();
        let archived = aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(config);
        KinesisVideo::with_clients(
            aws_sdk_kinesisvideo::Client::from_conf(control),
            aws_sdk_kinesisvideomedia::Client::from_conf(media),
            aws_sdk_kinesisvideoarchivedmedia::Client::from_conf(archived.interceptor(self.clone()).build()),
        )
    }

    pub(crate) fn seen(&self) -> Seen {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sent = Some(context.request().uri().to_owned());
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()?.to_millis().ok());
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.url = seen.sent.clone();
        seen.date = date.map(|date| (Timestamp::from_millis(date), SystemTime::now().into()));
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let output = context.output_or_error().ok().and_then(|output| output.downcast_ref::<GetDataEndpointOutput>());
        if let Some(endpoint) = output.and_then(GetDataEndpointOutput::data_endpoint) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).data_endpoint = Some(endpoint.to_owned());
        }
        Ok(())
    }
}
