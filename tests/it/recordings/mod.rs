//! Recordings as files that players open: judged by other programs.

mod browser;
pub mod corpus;
mod judges;
mod killed;
mod remux;
mod seek;
mod sync;
