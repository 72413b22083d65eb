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
    /// It yields pictures fragment by fragment, in presentation order within each fragment. Each fragment is decoded
    /// by itself, on tokio's threads for blocking work. The stream must be polled in a tokio runtime.
    ///
    /// # Errors
    /// - An error of the fragment stream, after the pictures of all fragments before it.
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) for a codec that the installed libavcodec cannot decode, and
    ///   outside a tokio runtime.
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an invalid option, as the first item.
    /// - [`Limit`](crate::ErrorKind::Limit) for more than 262,144 coded frames of the track in a fragment.
    /// - [`Malformed`](crate::ErrorKind::Malformed) for damage, only with [`OnDecodeError::Fail`].
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

    /// Selects pictures 0, n, 2n, … of each fragment in presentation order. Default: all pictures.
    ///
    /// With [`keyframes`](Frames::keyframes), only key frames are counted. Otherwise pictures are counted as in
    /// [`FrameInfo::index`](super::FrameInfo::index). If `n` is 0, the stream yields an
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error first. Replaces
    /// [`sample_every`](Frames::sample_every).
    pub fn sample_ratio(self, n: usize) -> Self {
        self.with(|options| options.sample_ratio(n))
    }

    /// Selects the first picture of each interval on the producer's clock. Default: all pictures.
    ///
    /// Intervals start at multiples of `interval` since 1970, and they span fragments. The first picture of the stream
    /// is always selected, wherever its interval started. In fragments without a producer time, intervals start at
    /// multiples of `interval` on the timeline of the timecodes. If `interval` is zero, the first item of the stream is
    /// an error. Replaces [`sample_ratio`](Frames::sample_ratio).
    pub fn sample_every(self, interval: Duration) -> Self {
        self.with(|options| options.sample_every(interval))
    }

    /// Selects only pictures whose blocks are flagged as key frames. Default: all pictures.
    ///
    /// Each key frame is decoded by itself. [`sample_ratio`](Frames::sample_ratio) and
    /// [`sample_every`](Frames::sample_every) then sample the key frames.
    pub fn keyframes(self) -> Self {
        self.with(FrameOptions::keyframes)
    }

    /// Sets the handling of damaged pictures. Default: [`OnDecodeError::Skip`].
    pub fn on_decode_error(self, on_decode_error: OnDecodeError) -> Self {
        self.with(|options| options.on_decode_error(on_decode_error))
    }

    /// Sets the number of the track to decode. Default: the first video track of each fragment.
    ///
    /// A fragment without this track yields no pictures and no error. A track without a video codec is an error.
    pub fn track(self, number: u64) -> Self {
        self.with(|options| options.track(number))
    }

    /// Sets the maximum number of pixels of a picture. Default: 8192 × 4352 = 35,651,584.
    ///
    /// A larger picture counts as damaged.
    pub fn max_pixels(self, pixels: u64) -> Self {
        self.with(|options| options.max_pixels(pixels))
    }

    /// Sets the number of fragments that are decoded at once. Default: 1.
    ///
    /// Pictures are yielded in the order of the fragments in any case. If the number is 0, the first item of the
    /// stream is an error.
    pub fn concurrency(mut self, fragments: usize) -> Self {
        self.items.work().concurrency = fragments;
        self
    }

    /// Decodes across fragments, for producers that split a group of pictures between fragments.
    ///
    /// Default: each fragment is decoded by itself. In continuous mode, the last pictures of a fragment are yielded
    /// after the next fragment has arrived. [`concurrency`](Frames::concurrency) has no effect. Decoding restarts at a
    /// fragment if
    ///
    /// - a picture seems to be missing: the time since the last picture of the previous fragment is more than twice the
    ///   longest interval between two pictures of that fragment,
    /// - the fragment has [discontinuities](Fragment::discontinuities), or the previous fragment was cut,
    /// - the track differs from that of the previous fragment, or the timecodes do not increase.
    pub fn continuous(mut self) -> Self {
        self.items.work().is_continuous = true;
        self
    }

    /// Returns a stream of the same pictures, with a report after each fragment's pictures.
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

    /// Returns the report on the fragment. `None` until the stream has ended.
    ///
    /// The report may be missing after an error.
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
