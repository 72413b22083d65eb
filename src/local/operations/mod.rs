//! The service's operations, one handler each, and the checks they share.

pub(crate) mod archived_media;
pub(crate) mod check;
pub(crate) mod clip;
pub(crate) mod codecs;
pub(crate) mod control;
pub(crate) mod get_media;
pub(crate) mod images;
pub(crate) mod manage;
pub(crate) mod page_token;
pub(crate) mod playback;
pub(crate) mod put_media;
pub(crate) mod selection;
