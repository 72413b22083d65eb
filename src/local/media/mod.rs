//! MKV documents as the service stores and sends them.

pub(crate) mod document;
pub(crate) mod fragment_number;
pub(crate) mod payload;
pub(crate) mod tag_names;
