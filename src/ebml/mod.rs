//! Bytes to elements and back: EBML ([RFC 8794]) with the Matroska elements ([RFC 9559]).
//!
//! No I/O, no async, no clock, and nothing of Kinesis Video Streams.
//!
//! - [`Reader`] is a push parser for a body that arrives in pieces. It walks elements, keeps its
//!   place, and never looks at payload bytes.
//! - [`Elements`] is the lazy, searchable tree of bytes that are all there.
//! - [`Writer`] makes elements, with every width of size field.
//! - [`schema`] is the table of element names, parents and types; [`id`] has their ids.
//!
//! [RFC 8794]: https://www.rfc-editor.org/rfc/rfc8794
//! [RFC 9559]: https://www.rfc-editor.org/rfc/rfc9559

mod cursor;
mod header;
mod reader;
pub mod schema;
mod tree;
pub mod vint;
mod writer;

#[cfg(test)]
pub(crate) use header::work;
pub use header::{ElementId, Header};
pub use reader::{Ending, Event, Reader};
pub use schema::id;
pub use tree::{Element, Elements, Find, Value};
pub use writer::{Width, Writer};

pub(crate) use cursor::{Cursor, Item};
pub(crate) use tree::{uint, without_padding};
