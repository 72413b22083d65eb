//! What the endpoint keeps: streams with their fragments, open connections, playback sessions.

pub(crate) mod open_connections;
pub(crate) mod sessions;
pub(crate) mod streams;
