//! PutMedia over bare sockets: what is stored, acknowledged, handed on and refused.

mod cutting;
mod limits;
mod live;
mod manage;
mod producer;
mod sessions;
