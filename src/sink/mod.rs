//! Sinks that write media to files.
//!
//! All sinks fail with the crate's [`Error`], so they can be combined, and implement
//! [`MediaSink`].

mod files;
#[cfg(any(feature = "aws", feature = "ffmpeg"))]
mod image;
mod mkv;
mod pattern;
mod record;
mod wav;

use futures::Sink;
use futures::sink::Fanout;

use crate::error::Error;
use crate::summary::Summary;

#[cfg(any(feature = "aws", feature = "ffmpeg"))]
pub use image::ImageSink;
pub use mkv::MkvSink;
pub use record::Record;
pub use wav::WavSink;

/// A sink with a [`Summary`] of everything it has recorded.
///
/// A sink writes a file under a temporary name in the same folder. It finishes and renames the file when it
/// is flushed or closed, so a file under its final name is always whole. Dropping a sink without closing it
/// leaves an unfinished file under its temporary name.
///
/// The `fanout` of futures sends one stream to two sinks:
///
/// ```
/// use futures::SinkExt;
/// use kinesis_video::{Fragment, FragmentStream, MkvSink, RecordExt};
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let both = SinkExt::<Fragment>::fanout(MkvSink::to_dir("here"), MkvSink::to_dir("there"));
/// let summary = FragmentStream::new(body).record(both).await?;
/// # Ok(())
/// # }
/// ```
pub trait MediaSink<Item>: Sink<Item, Error = Error> {
    /// Returns the totals recorded so far.
    fn summary(&self) -> Summary;
}

impl<Item: Clone, A: MediaSink<Item>, B: MediaSink<Item>> MediaSink<Item> for Fanout<A, B> {
    fn summary(&self) -> Summary {
        let (a, b) = self.get_ref();
        a.summary().plus(b.summary())
    }
}
