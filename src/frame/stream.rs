//! [`Frames`] and [`FragmentFrames`]: streams of pictures.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::future::{Ready, ready as ready_future};
use futures::stream::{self, FusedStream, Once};
use pin_project_lite::pin_project;

use super::Frame;
use super::items::FrameItems;
use super::options::{FrameOptions, OnDecodeError};
use super::report::{FragmentReport, FrameItem};
use crate::accessors::inner_accessors;
use crate::error::Result;
use crate::fragment::Fragment;

pin_project! {
    /// Stream of the pictures of a fragment stream, from
    /// [`frames`](crate::FragmentStreamExt::frames).
    ///
    /// Pictures come in the order in which they are shown, fragment by fragment. Each fragment is decoded
    /// by itself, on tokio's threads for blocking work; the stream only needs to be polled in a tokio
    /// runtime.
    ///
    /// # Errors
    /// Those of the fragment stream, behind the pictures of all fragments before; a codec that the
    /// installed libavcodec cannot decode; arguments that cannot be right; more than 262,144 coded frames in one
    /// fragment; damage with [`OnDecodeError::Fail`]. After an error the stream is at its end.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream ends the work on the picture that is
    /// being decoded, and with it all.
    ///
    /// # Memory
    /// For each of [`concurrency`](Frames::concurrency) fragments its buffer, the pictures that the decoder
    /// keeps (up to 16 and as many again that wait in their order, as the stream's level says), and up to 48
    /// MiB, or one, that wait to be taken.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Frames<S> {
        #[pin]
        items: FrameItems<S>,
    }
}

impl<S> Frames<S> {
    pub(crate) fn new(fragments: S) -> Self {
        Self { items: FrameItems::new(fragments) }
    }

    fn with(mut self, change: impl FnOnce(FrameOptions) -> FrameOptions) -> Self {
        let options = &mut self.items.work().options;
        *options = change(options.clone());
        self
    }

    #[cfg(test)]
    pub(super) fn with_options(self, options: FrameOptions) -> Self {
        self.with(|_| options)
    }

    /// Takes pictures 0, n, 2n, … of each fragment in the order in which they are shown, counting anew in
    /// each. 0 is an error, which the stream gives as its first item.
    pub fn sample_ratio(self, n: usize) -> Self {
        self.with(|options| options.sample_ratio(n))
    }

    /// Takes the first picture in each stretch of this length on the producer's clock, counting from the
    /// epoch and across fragments. Where fragments have no producer time, the clock is their timecode.
    /// Zero is an error, which the stream gives as its first item.
    pub fn sample_every(self, interval: Duration) -> Self {
        self.with(|options| options.sample_every(interval))
    }

    /// Takes only pictures whose blocks are flagged as decodable without others, each decoded by itself.
    /// [`sample_ratio`](Frames::sample_ratio) and [`sample_every`](Frames::sample_every) then count those.
    pub fn keyframes(self) -> Self {
        self.with(FrameOptions::keyframes)
    }

    /// What happens to damaged pictures. By default they are left out and reported.
    pub fn on_decode_error(self, on_decode_error: OnDecodeError) -> Self {
        self.with(|options| options.on_decode_error(on_decode_error))
    }

    /// The track to decode. By default the first of each fragment that is one of video.
    pub fn track(self, number: u64) -> Self {
        self.with(|options| options.track(number))
    }

    /// The most pixels a picture may have; a larger one is damage. By default 8192 x 4352.
    pub fn max_pixels(self, pixels: u64) -> Self {
        self.with(|options| options.max_pixels(pixels))
    }

    /// How many fragments are decoded at once. Their pictures come in order all the same. By default 1;
    /// 0 is an error, which the stream gives as its first item.
    pub fn concurrency(mut self, fragments: usize) -> Self {
        self.items.work().concurrency = fragments;
        self
    }

    /// Decodes across fragments, for producers that cut their groups of pictures in two. The last pictures
    /// of a fragment then wait for the next one, and there is no [`concurrency`](Frames::concurrency). Where
    /// there is a hole of more than two pictures between the timecodes of two fragments, where bytes were skipped or the
    /// fragment before was cut, where the track changes or the timeline starts anew, decoding starts anew too.
    pub fn continuous(mut self) -> Self {
        self.items.work().is_continuous = true;
        self
    }

    /// With a report behind the pictures of each fragment.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::frame::FrameItem;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut items = FragmentStream::new(body).frames().with_reports();
    /// while let Some(item) = items.try_next().await? {
    ///     match item {
    ///         FrameItem::Frame(frame) => println!("{frame:?}"),
    ///         FrameItem::Report(report) => {
    ///             for block in report.skipped() {
    ///                 println!("block at byte {}: {}", block.offset(), block.reason());
    ///             }
    ///         }
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_reports(self) -> FrameItems<S> {
        self.items
    }

    inner_accessors!(via items: S, "fragment stream", "Fragments that are being decoded are lost.");
}

impl<S: Stream<Item = Result<Fragment>>> Stream for Frames<S> {
    type Item = Result<Frame>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut items = self.project().items;
        loop {
            match ready!(items.as_mut().poll_next(cx)) {
                Some(Ok(FrameItem::Frame(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Ok(FrameItem::Report(_))) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl<S: Stream<Item = Result<Fragment>>> FusedStream for Frames<S> {
    fn is_terminated(&self) -> bool {
        self.items.is_terminated()
    }
}

/// Stream of the pictures of one fragment, from [`Fragment::frames`](crate::Fragment::frames).
///
/// # Errors, cancel safety, memory
/// As [`Frames`] with a concurrency of 1.
#[must_use = "streams do nothing unless polled"]
pub struct FragmentFrames {
    items: FrameItems<Once<Ready<Result<Fragment>>>>,
    report: Option<FragmentReport>,
}

impl FragmentFrames {
    pub(super) fn new(fragment: Fragment, options: &FrameOptions) -> Self {
        let mut items = FrameItems::new(stream::once(ready_future(Ok(fragment))));
        items.work().options = options.clone();
        Self { items, report: None }
    }

    /// What became of the blocks. `None` before the end.
    pub fn report(&self) -> Option<&FragmentReport> {
        self.report.as_ref()
    }
}

impl Stream for FragmentFrames {
    type Item = Result<Frame>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match ready!(Pin::new(&mut self.items).poll_next(cx)) {
                Some(Ok(FrameItem::Frame(frame))) => return Poll::Ready(Some(Ok(frame))),
                Some(Ok(FrameItem::Report(report))) => self.report = Some(report),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl FusedStream for FragmentFrames {
    fn is_terminated(&self) -> bool {
        self.items.is_terminated()
    }
}

impl fmt::Debug for FragmentFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FragmentFrames").field("report", &self.report).finish_non_exhaustive()
    }
}
