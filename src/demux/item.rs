//! The items of a body.

use bytes::Bytes;

use crate::fragment::{Fault, Fragment, Skipped};

/// One item of a body.
///
/// Every byte of a body is in exactly one item.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BodyItem {
    /// A fragment.
    Fragment(Fragment),
    /// An error that the service reported inside the media.
    Fault(Fault),
    /// Bytes that belong to no fragment.
    Skipped(Skipped),
}

impl BodyItem {
    /// Returns the bytes of the item, as they were received.
    pub fn raw(&self) -> &Bytes {
        match self {
            Self::Fragment(fragment) => fragment.raw(),
            Self::Fault(fault) => fault.raw(),
            Self::Skipped(skipped) => skipped.raw(),
        }
    }
}
