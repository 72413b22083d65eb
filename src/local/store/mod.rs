//! Streams with their fragments, open connections, and playback sessions.

pub(crate) mod open_connections;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod streams;
