//! The interceptor that reads responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    AfterDeserializationInterceptorContextRef, BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};

use crate::fragment::Timestamp;

/// Reads the response to one call: its `Date` header, and whether the host knows the operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplyInterceptor {
    found: Arc<Found>,
}

#[derive(Debug, Default)]
struct Found {
    /// In milliseconds; 0 before there is one.
    date: AtomicI64,
    is_unknown_operation: AtomicBool,
}

impl ReplyInterceptor {
    /// Returns when the service replied, on its own clock, to the second.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        let date = self.found.date.load(Ordering::Relaxed);
        (date != 0).then(|| Timestamp::from_millis(date))
    }

    /// Returns whether the host does not know the operation.
    ///
    /// Its response reports success, and the SDK takes it for an empty output.
    pub(crate) fn is_unknown_operation(&self) -> bool {
        self.found.is_unknown_operation.load(Ordering::Relaxed)
    }
}

impl Intercept for ReplyInterceptor {
    fn name(&self) -> &'static str {
        "ReplyInterceptor"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()?.to_millis().ok()) {
            self.found.date.store(date, Ordering::Relaxed);
        }
        Ok(())
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // A streaming body has not been received yet.
        let body = context.response().body().bytes().unwrap_or_default();
        // The response of a host that does not know the operation is short.
        let head = body.get(..body.len().min(512)).unwrap_or_default();
        if head.windows(UNKNOWN.len()).any(|window| window == UNKNOWN) {
            self.found.is_unknown_operation.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

const UNKNOWN: &[u8] = b"UnknownOperationException";
