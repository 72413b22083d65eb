//! Codecs as containers declare them.

pub(crate) mod asc;
pub(crate) mod audio;
pub(crate) mod video;

pub(crate) use video::located;
