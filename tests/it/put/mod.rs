//! Sending with PutMedia.

mod chaos;
mod sending;
