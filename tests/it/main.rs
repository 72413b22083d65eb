//! The integration tests. They are one binary, because the SDK takes long to link.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests fail by panicking, and their helpers are shared between modules"
)]

mod archived;
mod auto_traits;
mod control;
mod demux;
mod endpoint;
mod errors;
mod fleet;
mod judges;
mod kvs;
mod lambda;
mod layering;
mod live;
mod media;
mod programs;
mod put;
mod recordings;
mod support;
mod viewer;
