//! The control plane: ListStreams and DescribeStream.

mod describe;
mod list;
mod stream_info;

pub use list::{StreamEntries, StreamList};
pub use stream_info::{StreamInfo, StreamStatus};

pub(in crate::service) use describe::describe;
