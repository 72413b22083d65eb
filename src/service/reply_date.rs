//! What time it is for the service.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};

use crate::fragment::Timestamp;

/// Reads the `Date` of the reply to one call.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplyDate {
    /// In milliseconds; 0 before there is one.
    date: Arc<AtomicI64>,
}

impl ReplyDate {
    /// When the service replied, on its own clock, to the second.
    pub(super) fn get(&self) -> Option<Timestamp> {
        let date = self.date.load(Ordering::Relaxed);
        (date != 0).then(|| Timestamp::from_millis(date))
    }
}

impl Intercept for ReplyDate {
    fn name(&self) -> &'static str {
        "ReplyDate"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date");
        if let Some(date) = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok()?.to_millis().ok()) {
            self.date.store(date, Ordering::Relaxed);
        }
        Ok(())
    }
}
