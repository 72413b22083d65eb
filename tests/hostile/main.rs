//! Untrusted bytes end in a clear error, with bounded memory, in time linear in their length.
//!
//! `KVS_ROUNDS`, which `make proof` sets, multiplies the number of rounds.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    dead_code,
    reason = "tests fail by panicking, and share their helpers with another binary"
)]

mod archive;
#[path = "../it/support/containers.rs"]
mod containers;
mod counting;
#[cfg(feature = "ffmpeg")]
#[path = "../it/support/footage.rs"]
mod footage;
#[path = "../fuzz/bodies.rs"]
mod fuzz;
#[path = "../it/support/bodies.rs"]
mod media;
mod memory;
mod mutation;
#[cfg(feature = "ffmpeg")]
mod pictures;
mod put_media;
mod recordings;
#[path = "../it/support/rounds.rs"]
mod rounds;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;
