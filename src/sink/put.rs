//! The totals of a sink that sends to a stream.

use super::MediaSink;
use crate::fragment::Fragment;
use crate::service::PutSink;
use crate::summary::Summary;

/// The summary counts the fragments that the service has persisted, and their bytes.
impl MediaSink<Fragment> for PutSink {
    fn summary(&self) -> Summary {
        let status = self.status();
        Summary::default().plus_items(status.persisted).plus_bytes(status.persisted_bytes)
    }
}
