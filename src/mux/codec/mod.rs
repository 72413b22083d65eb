//! Codecs as containers declare them.

mod adts_frame;
pub(crate) mod asc;
pub(crate) mod audio;
mod g711;
mod pcm;
pub(crate) mod video;

pub(crate) use video::located;
