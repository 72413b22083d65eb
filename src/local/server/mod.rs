//! The HTTP server: the router, its shared state, connections and response bodies.

pub(crate) mod access;
pub(crate) mod body;
pub(crate) mod connection;
#[cfg(feature = "aws")]
pub(crate) mod in_process;
pub(crate) mod router;
pub(crate) mod serve;
pub(crate) mod state;
pub(crate) mod wire;
