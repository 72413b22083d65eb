//! [`Frames`] and [`FragmentFrames`]: streams of decoded pictures.

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
    /// Stream of the pictures of a fragment stream, from [`frames`](crate::FragmentStreamExt::frames).
    ///
    /// It yields pictures in presentation order, fragment by fragment. Each fragment is decoded by itself, on
    /// tokio's threads for blocking work. The stream must be polled in a tokio runtime.
    ///
    /// # Errors
    /// - An error of the fragment stream, after the pictures of all fragments before it.
    /// - A codec that the installed libavcodec cannot decode.
    /// - An invalid option, as the first item.
    /// - More than 262,144 coded frames of one track in a fragment.
    /// - Damage, with [`OnDecodeError::Fail`].
    ///
    /// After an error the stream ends.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream stops decoding after the picture that is
    /// being decoded.
    ///
    /// # Memory
    /// For each of [`concurrency`](Frames::concurrency) fragments:
    ///
    /// | buffer | size |
    /// |---|---|
    /// | the fragment | its bytes |
    /// | reference pictures of the decoder | up to 16 pictures, depending on the level of the stream |
    /// | pictures that wait for their order | up to 16 pictures |
    /// | decoded pictures not yet polled | up to 48 MiB, or one picture |
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

    /// Selects pictures 0, n, 2n, … of each fragment in presentation order.
    ///
    /// If `n` is 0, the first item of the stream is an error.
    pub fn sample_ratio(self, n: usize) -> Self {
        self.with(|options| options.sample_ratio(n))
    }

    /// Selects the first picture of each interval on the producer's clock.
    ///
    /// Intervals are aligned to the epoch and span fragments. Fragments without a producer time are sampled by
    /// their timecodes. If the interval is zero, the first item of the stream is an error.
    pub fn sample_every(self, interval: Duration) -> Self {
        self.with(|options| options.sample_every(interval))
    }

    /// Selects only pictures whose blocks are flagged as key frames. Each is decoded by itself.
    ///
    /// [`sample_ratio`](Frames::sample_ratio) and [`sample_every`](Frames::sample_every) then sample the key
    /// frames.
    pub fn keyframes(self) -> Self {
        self.with(FrameOptions::keyframes)
    }

    /// Sets the handling of damaged pictures. Default: [`OnDecodeError::Skip`].
    pub fn on_decode_error(self, on_decode_error: OnDecodeError) -> Self {
        self.with(|options| options.on_decode_error(on_decode_error))
    }

    /// Sets the number of the track to decode. Default: the first video track of each fragment.
    pub fn track(self, number: u64) -> Self {
        self.with(|options| options.track(number))
    }

    /// Sets the maximum number of pixels of a picture. A larger picture counts as damaged. Default: 8192 x 4352.
    pub fn max_pixels(self, pixels: u64) -> Self {
        self.with(|options| options.max_pixels(pixels))
    }

    /// Sets the number of fragments that are decoded at once. Default: 1.
    ///
    /// Pictures are yielded in order in any case. If the number is 0, the first item of the stream is an error.
    pub fn concurrency(mut self, fragments: usize) -> Self {
        self.items.work().concurrency = fragments;
        self
    }

    /// Decodes across fragments, for producers that split a group of pictures between fragments.
    ///
    /// The last pictures of a fragment are then yielded after the next fragment has arrived.
    /// [`concurrency`](Frames::concurrency) has no effect. Decoding restarts at a fragment if
    ///
    /// - its first timecode is more than two pictures after the end of the previous fragment,
    /// - bytes were skipped before it, or the previous fragment was cut,
    /// - its track differs, or its timeline restarts.
    pub fn continuous(mut self) -> Self {
        self.items.work().is_continuous = true;
        self
    }

    /// Also yields a report after the pictures of each fragment.
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
/// The same as for [`Frames`] with a concurrency of 1.
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

    /// Returns the report on the fragment. `None` before the last picture.
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
