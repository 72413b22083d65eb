//! One test binary, since the SDK takes long to link; its modules are named for what they test.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests fail by panicking, and their helpers are shared between modules"
)]

mod archive;
mod archive_chaos;
mod archive_model;
mod auto_traits;
mod calls;
mod captures;
mod chaos;
mod checkpoint;
mod chunks;
mod clips;
mod colors;
mod concurrency;
mod endpoint;
mod endpoint_archive;
mod endpoint_images;
mod endpoint_media;
mod endpoint_playback;
mod endpoint_time;
mod errors;
mod footage;
mod frame_cases;
mod frames;
mod images;
mod judge;
mod judges;
mod latency;
mod layering;
mod limits;
mod live;
mod media;
mod packets;
mod playback;
mod programs;
mod resync;
mod shapes;
mod share;
mod sinks;
mod stand_in;
mod transport;
mod tree;
mod typed_modes;
mod until;
mod wav;
