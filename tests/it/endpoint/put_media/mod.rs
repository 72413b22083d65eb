//! PutMedia over bare sockets: what is stored, acknowledged and refused.

mod producer;
mod sessions;
