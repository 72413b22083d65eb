//! Helpers of the tests: media, endpoints and judges.

pub mod bodies;
pub mod containers;
pub mod conversation;
pub mod dynamo;
pub mod endpoint;
pub mod faulty_leases;
pub mod ffmpeg;
pub mod files;
pub mod footage;
pub mod imports;
#[cfg(unix)]
pub mod postgres;
pub mod proxy;
pub mod put_server;
pub mod random_media;
pub mod rounds;
pub mod stand_in;
pub mod stills;
pub mod store_proxy;
