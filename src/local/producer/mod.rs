//! Producers that feed a stream in real time.

pub(crate) mod connect_call;
pub(crate) mod looped_file;
