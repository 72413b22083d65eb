//! Where media goes. All sinks have the crate's error, so that they can be combined, and one
//! contract, [`MediaSink`].

mod files;
#[cfg(feature = "ffmpeg")]
mod image;
mod mkv;
mod pattern;
mod record;
mod wav;

use futures::Sink;
use futures::sink::Fanout;

use crate::error::Error;
use crate::summary::Summary;

#[cfg(feature = "ffmpeg")]
pub use image::ImageSink;
pub use mkv::MkvSink;
pub use record::Record;
pub use wav::WavSink;

/// A sink that can tell what it has recorded.
///
/// Files are written under a temporary name in the same folder, finished when the sink is flushed or
/// closed, and renamed then, so that a file under its final name is always whole. Dropping a sink
/// without closing it finishes nothing: what is unfinished stays under its temporary name.
///
/// Two sinks can take the same stream, through futures' `fanout`:
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
    /// What has been recorded so far.
    fn summary(&self) -> Summary;
}

impl<Item: Clone, A: MediaSink<Item>, B: MediaSink<Item>> MediaSink<Item> for Fanout<A, B> {
    fn summary(&self) -> Summary {
        let (a, b) = self.get_ref();
        a.summary().plus(b.summary())
    }
}
