//! Sinks that write media to files.
//!
//! All sinks implement [`MediaSink`]. They fail with the crate's [`Error`], so they can be combined.

mod background;
mod files;
#[cfg(any(feature = "aws", feature = "ffmpeg"))]
mod image;
mod mkv;
mod pattern;
mod payload;
mod pipe;
#[cfg(feature = "aws")]
mod put;
mod record;
mod recording;
mod wav;

use futures::Sink;
use futures::sink::Fanout;

use crate::error::Error;
use crate::summary::Summary;

#[cfg(any(feature = "aws", feature = "ffmpeg"))]
pub use image::ImageSink;
pub use mkv::MkvSink;
pub use payload::PayloadSink;
pub use pipe::{PipeEnd, PipeSink};
pub use record::Record;
pub use recording::{
    AudioFormat, AudioSink, Format, MkvFileSink, MkvFormat, Mp4Format, Mp4Sink, RecordedFile, RecordingSink,
};
pub use wav::{WavFile, WavSink};

/// A sink with a [`Summary`] of everything it has recorded.
///
/// The sinks of this crate write a file under a temporary name in the same folder and rename the file when it is
/// complete. So a file under its final name is always whole. If a sink is dropped before it is
/// closed, the file that is being written is not completed. Its bytes so far may remain under the temporary name.
///
/// | sink | a file is complete |
/// |---|---|
/// | [`MkvSink`], `ImageSink` | at the next item, flush or close |
/// | [`WavSink::per_fragment`] | when the next fragment begins, at the latest on close |
/// | [`WavSink::per_contact`] | when the next contact begins, at the latest on close |
/// | [`Mp4Sink`], [`MkvFileSink`], [`AudioSink`] | when the next file begins, at the latest on close |
/// | [`PayloadSink`], other [`WavSink`]s | on close |
///
/// The `fanout` of futures sends one stream to two sinks. The summary of the fanout adds up both sinks, so each item
/// counts twice:
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
    /// Returns the totals of everything written so far. Items that wait in a buffer are not included.
    fn summary(&self) -> Summary;

    /// Returns true if the sink takes no more items, although nothing has failed. Default: false.
    ///
    /// [`record`](crate::RecordExt::record) then closes the sink and returns its summary, as at the end of the stream. A
    /// sink for a program that has read all it wants is an example. The sink wakes the task of its last poll when this
    /// becomes true.
    fn is_done(&self) -> bool {
        false
    }
}

/// A borrowed sink can be asked for more than its summary after a recording.
impl<Item, S: MediaSink<Item> + Unpin + ?Sized> MediaSink<Item> for &mut S {
    fn summary(&self) -> Summary {
        (**self).summary()
    }

    fn is_done(&self) -> bool {
        (**self).is_done()
    }
}

impl<Item: Clone, A: MediaSink<Item>, B: MediaSink<Item>> MediaSink<Item> for Fanout<A, B> {
    fn summary(&self) -> Summary {
        let (a, b) = self.get_ref();
        a.summary().plus(b.summary())
    }

    fn is_done(&self) -> bool {
        let (a, b) = self.get_ref();
        a.is_done() || b.is_done()
    }
}
