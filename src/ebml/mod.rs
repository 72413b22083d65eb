//! EBML elements ([RFC 8794]) of Matroska documents ([RFC 9559]).
//!
//! - [`Elements`] iterates over the elements in a byte slice. It finds elements by path and prints the tree.
//! - [`Element`] is one element. [`Value`] is its decoded payload.
//! - [`id`] has the ids of all elements of both RFCs.
//!
//! The module does no I/O, reads no clock, and knows nothing about Kinesis Video Streams.
//!
//! [RFC 8794]: https://www.rfc-editor.org/rfc/rfc8794
//! [RFC 9559]: https://www.rfc-editor.org/rfc/rfc9559

mod cursor;
mod element_id;
pub(crate) mod header;
pub(crate) mod reader;
pub(crate) mod schema;
mod tree;
mod value;
pub(crate) mod vint;
pub(crate) mod writer;

pub use element_id::ElementId;
pub use schema::id;
pub use tree::{Element, Elements, Find};
pub use value::Value;

pub(crate) use cursor::{Cursor, Item};
pub(crate) use header::Header;
pub(crate) use reader::{Ending, Event, Reader};
pub(crate) use value::{uint, without_padding};
