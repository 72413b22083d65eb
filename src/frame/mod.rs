//! Decodes video into pictures with libavcodec.
//!
//! [`frames`](crate::FragmentStreamExt::frames) decodes the pictures of a fragment stream.
//! [`Fragment::frames`] decodes the pictures of one fragment. [`frame_at`](crate::FragmentStreamExt::frame_at) decodes
//! the picture that is shown at a time. All run on tokio's threads for blocking work.
//! Each fragment is decoded independently of the others.
//!
//! [`FrameStreamExt`](crate::FrameStreamExt) has the adapters that scale, convert and encode pictures. The
//! guide is in `docs/pictures.md`.
//!
//! ```
//! use kinesis_video::{FragmentStream, FragmentStreamExt, FrameStreamExt, ImageSink, RecordExt};
//!
//! # async fn f() -> kinesis_video::Result<()> {
//! let file = tokio::fs::File::open("dump.mkv").await?;
//! let frames = FragmentStream::new(file).frames().sample_ratio(5).concurrency(2);
//! let summary = frames.scale_within(640, 640).jpeg(80).record(ImageSink::to_dir("pictures")).await?;
//! println!("{summary}");
//! # Ok(())
//! # }
//! ```
//!
//! # Sampling
//!
//! | option | yields |
//! |---|---|
//! | (none) | every picture, in presentation order |
//! | [`sample_ratio(n)`](Frames::sample_ratio) | pictures 0, n, 2n, … of each fragment |
//! | [`sample_every(d)`](Frames::sample_every) | the first picture of each interval `d` on the producer's clock |
//! | [`keyframes()`](Frames::keyframes) | key frames only; combines with the other two |
//!
//! The later of two calls of `sample_ratio` and `sample_every` applies.
//!
//! The choice is made from the blocks, before decoding. So no other picture replaces a sampled picture that is
//! damaged. A picture that is not sampled is decoded only if a sampled picture refers to it.
//!
//! The presentation order is taken from the timecodes of the blocks. Some producers number blocks in decoding
//! order instead. Their pictures are still yielded in presentation order, but indexed and sampled in decoding
//! order.
//!
//! # Blocks without a picture
//!
//! A block may yield no picture: because it is damaged, for example, or refers to a picture that is damaged or
//! belongs to an earlier fragment. [`NoPicture`] lists all reasons. Such blocks are skipped and counted in
//! [`FrameInfo::missing_before`]. For each fragment, [`FrameItem::Report`] lists the skipped blocks with their
//! reasons. [`OnDecodeError`] sets the handling of damage.

mod at;
mod codec;
mod convert;
mod decode;
mod encode;
mod items;
mod options;
mod picture;
mod pixels;
mod plan;
#[cfg(test)]
mod probe;
mod raw;
mod report;
mod resize;
mod rgb;
mod run;
mod stream;
mod thread;

use std::fmt;
use std::sync::Arc;

use image::{GrayImage, RgbImage};

use crate::error::Result;
#[cfg(feature = "ndarray")]
use crate::error::{Error, ErrorKind};
use crate::fragment::{Fragment, FragmentHeader, Tags, Timestamp};
use picture::Picture;

pub use at::FrameAt;
pub use convert::Convert;
pub use encode::{EncodedFrame, RgbFrame};
pub use items::FrameItems;
pub use options::{FrameOptions, OnDecodeError};
pub use picture::Plane;
pub use pixels::{ColorMatrix, ColorRange, PixelFormat};
pub use report::{FragmentReport, FrameItem, NoPicture, SkippedBlock};
pub use stream::{FragmentFrames, Frames};

/// The origin, time and size of a picture.
///
/// A converted picture keeps the `FrameInfo` of its source. Scaling changes the size only.
#[derive(Clone, Debug)]
pub struct FrameInfo {
    fragment: Arc<FragmentHeader>,
    tags: Tags,
    fragment_index: u64,
    index: u32,
    timecode_ns: i64,
    producer_time: Option<Timestamp>,
    is_key: bool,
    is_damaged: bool,
    missing_before: u32,
    width: u32,
    height: u32,
    sample_aspect_ratio: Option<(u32, u32)>,
    rotation: Option<f64>,
}

impl FrameInfo {
    /// Returns the header of the picture's fragment: number, times, tracks.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.fragment
    }

    /// Returns the producer's tags of the picture's fragment, from before and after the media.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Returns the index of the picture's fragment in the stream, from 0.
    ///
    /// Pictures of [`Fragment::frames`] always have 0.
    pub fn fragment_index(&self) -> u64 {
        self.fragment_index
    }

    /// Returns the index of the picture in its fragment in presentation order, from 0.
    ///
    /// The index counts all blocks that can be decoded, ordered by timecode, sampled or not. A damaged block counts.
    /// A block that is skipped before decoding does not: see [`NoPicture::BeforeKeyFrame`],
    /// [`OpenGroup`](NoPicture::OpenGroup), [`Empty`](NoPicture::Empty) and [`Parameters`](NoPicture::Parameters).
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the timecode of the picture in nanoseconds.
    ///
    /// The timecode counts on the timeline of the producer session. The timeline restarts with each session. Use
    /// [`producer_time`](FrameInfo::producer_time) to compare pictures of different fragments.
    pub fn timecode_ns(&self) -> i64 {
        self.timecode_ns
    }

    /// Returns the time of the picture on the producer's clock. `None` if the fragment has no producer time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// Returns `true` if the key-frame flag of the picture's block is set.
    pub fn is_key(&self) -> bool {
        self.is_key
    }

    /// Returns `true` if the picture is damaged or not whole.
    ///
    /// A picture that refers to a damaged picture counts as damaged. A picture before a recovery point is not whole:
    /// see [`NoPicture::NotRecovered`]. Only [`OnDecodeError::Conceal`] yields such pictures.
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// Returns the number of blocks without a picture since the previously yielded picture.
    ///
    /// Blocks that sampling left out and blocks with [parameters](NoPicture::Parameters) only do not count.
    pub fn missing_before(&self) -> u32 {
        self.missing_before
    }

    /// Returns the width of this picture in pixels, after any scaling.
    ///
    /// Rotation and pixel aspect ratio are not applied.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Returns the height of this picture in pixels, after any scaling.
    ///
    /// Rotation and pixel aspect ratio are not applied.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Returns the width and height of a pixel as a ratio. The ratio is not applied to the picture.
    ///
    /// The ratio is taken from the coded picture, or else from the track. `None` if neither has one.
    pub fn sample_aspect_ratio(&self) -> Option<(u32, u32)> {
        self.sample_aspect_ratio
    }

    /// Returns the counter-clockwise rotation for display, in degrees. The rotation is not applied to the picture.
    ///
    /// The rotation is taken from the coded picture, or else from the track. `None` if neither has one.
    pub fn rotation(&self) -> Option<f64> {
        self.rotation
    }

    fn resized(&self, width: u32, height: u32) -> Self {
        Self { width, height, ..self.clone() }
    }
}

/// A decoded picture.
///
/// A `Frame` is cheap to clone, `Send` and `'static`. It holds the decoder's own buffer and converts on request. A
/// conversion takes a few milliseconds for a large picture and blocks the thread. In async code, use the adapters of
/// [`FrameStreamExt`](crate::FrameStreamExt), which convert on threads for blocking work.
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::{FragmentStream, FragmentStreamExt};
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// # let body = include_bytes!("../../tests/data/camera.mkv");
/// let mut frames = FragmentStream::new(&body[..]).frames().sample_ratio(15);
/// while let Some(frame) = frames.try_next().await? {
///     assert_eq!((frame.info().width(), frame.info().height()), (320, 240));
///     assert_eq!(frame.format().name(), "yuv420p");
///     let brightest = frame.plane(0).unwrap().iter().flatten().max();
///     println!("{} {:?} {brightest:?}", frame.info().index(), frame.to_rgb()?.get_pixel(160, 120));
/// }
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Frame {
    inner: Arc<Inner>,
}

struct Inner {
    info: FrameInfo,
    picture: Picture,
}

impl Frame {
    fn new(info: FrameInfo, picture: Picture) -> Self {
        Self { inner: Arc::new(Inner { info, picture }) }
    }

    /// Returns the origin, time and size of the picture.
    pub fn info(&self) -> &FrameInfo {
        &self.inner.info
    }

    /// Returns the layout of the picture in memory.
    pub fn format(&self) -> PixelFormat {
        self.inner.picture.format
    }

    /// Returns the range of the sample values.
    pub fn range(&self) -> ColorRange {
        self.inner.picture.range
    }

    /// Returns the matrix that converted RGB to luma and chroma.
    pub fn matrix(&self) -> ColorMatrix {
        self.inner.picture.matrix
    }

    /// Returns a plane of the picture, from index 0, without copying.
    ///
    /// Most formats have a plane of luma and two of chroma. Samples of more than 8 bits are little-endian, two
    /// bytes each. `None` if the picture has no plane of this index, or this crate does not know the layout of the
    /// pixel format.
    pub fn plane(&self, index: usize) -> Option<Plane<'_>> {
        self.inner.picture.plane(index)
    }

    /// Converts the picture to 8-bit RGB.
    ///
    /// # Errors
    /// If the pixel format or the colour matrix cannot be converted. The error names the format or matrix.
    pub fn to_rgb(&self) -> Result<RgbImage> {
        self.inner.picture.to_rgb()
    }

    /// Converts the picture to 8-bit grey: the luma, scaled to the full range.
    ///
    /// For pixel formats without luma, such as RGB, the luma is computed from the colours.
    ///
    /// # Errors
    /// If the pixel format cannot be converted. The error names the format.
    pub fn to_luma(&self) -> Result<GrayImage> {
        self.inner.picture.to_luma()
    }

    /// Converts the picture to 8-bit RGB in an array of height x width x 3.
    ///
    /// # Errors
    /// If the pixel format or the colour matrix cannot be converted. The error names the format or matrix.
    ///
    /// ```
    /// # fn f(frame: &kinesis_video::Frame) -> kinesis_video::Result<()> {
    /// let pixels = frame.to_ndarray()?;
    /// assert_eq!(pixels.shape(), [frame.info().height() as usize, frame.info().width() as usize, 3]);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "ndarray")]
    pub fn to_ndarray(&self) -> Result<ndarray::Array3<u8>> {
        let image = self.to_rgb()?;
        let shape = (image.height() as usize, image.width() as usize, 3);
        ndarray::Array3::from_shape_vec(shape, image.into_raw()).map_err(|error| {
            Error::new(ErrorKind::Unsupported, "the picture does not fit into an array").caused_by(error)
        })
    }

    /// Scales the picture down to fit into `width` x `height` pixels, with the same proportions.
    ///
    /// A picture that fits already is returned as it is. Scaling keeps the pixel format, except for packed
    /// formats of 2 or 4 bytes per pixel, which become 8-bit RGB.
    ///
    /// # Errors
    /// If the width or height is 0, or the pixel format cannot be converted.
    pub fn scale_within(&self, width: u32, height: u32) -> Result<Self> {
        let picture = &self.inner.picture;
        match picture.size_within(width, height)? {
            size if size == (picture.width, picture.height) => Ok(self.clone()),
            size => Ok(Self::new(self.inner.info.resized(size.0, size.1), picture.scaled_to(size)?)),
        }
    }

    /// Scales it to exactly this size and ignores its proportions.
    #[cfg(feature = "local")]
    pub(crate) fn stretched(&self, width: u32, height: u32) -> Result<Self> {
        let scaled = self.inner.picture.scaled_to((width, height))?;
        Ok(Self::new(self.inner.info.resized(width, height), scaled))
    }

    /// Adds to the blocks missing before it. Works only before the frame is cloned.
    fn add_missing(&mut self, blocks: u32) {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.info.missing_before += blocks;
        }
    }

    /// Returns its approximate size in memory.
    fn bytes(&self) -> usize {
        self.inner.picture.bytes()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.info();
        f.debug_struct("Frame")
            .field("fragment", &info.fragment.number())
            .field("index", &info.index)
            .field("timecode_ns", &info.timecode_ns)
            .field("width", &info.width)
            .field("height", &info.height)
            .field("format", &self.format())
            .finish_non_exhaustive()
    }
}

impl Fragment {
    /// Decodes the pictures of the fragment, in presentation order.
    ///
    /// See [`FragmentFrames`] for errors and memory. The stream is `Send` and `'static`, so `try_buffer_unordered(n)`
    /// decodes up to `n` fragments at once.
    ///
    /// ```
    /// use futures::{StreamExt, TryStreamExt};
    /// use kinesis_video::frame::FrameOptions;
    /// use kinesis_video::FragmentStream;
    ///
    /// # async fn f(body: &'static [u8]) -> kinesis_video::Result<()> {
    /// let options = FrameOptions::new().sample_ratio(10);
    /// let brightness: Vec<u64> = FragmentStream::new(body)
    ///     .map_ok(|fragment| fragment.frames(&options).try_fold(0, |sum, frame| async move {
    ///         Ok(sum + frame.to_luma()?.iter().map(|&luma| u64::from(luma)).sum::<u64>())
    ///     }))
    ///     .try_buffer_unordered(4)
    ///     .try_collect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn frames(&self, options: &FrameOptions) -> FragmentFrames {
        FragmentFrames::new(self.clone(), options)
    }
}
