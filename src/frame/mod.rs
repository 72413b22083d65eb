//! Frames: decoded pictures.
//!
//! [`frames`](crate::FragmentStreamExt::frames) decodes the pictures of a fragment stream with
//! libavcodec, away from the threads of the executor, and [`Fragment::frames`] those of one fragment.
//! Each fragment is decoded by itself, as if there were no other. What follows, conversion and
//! writing, is in [`FrameStreamExt`](crate::FrameStreamExt).
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
//! # Which pictures
//!
//! | option | gives |
//! |---|---|
//! | (none) | every picture, in the order in which they are shown |
//! | [`sample_ratio(n)`](Frames::sample_ratio) | pictures 0, n, 2n, … of each fragment |
//! | [`sample_every(d)`](Frames::sample_every) | the first picture in each stretch of `d` on the producer's clock |
//! | [`keyframes()`](Frames::keyframes) | those that can be decoded without others; goes with either of the two |
//!
//! Which those are is read from the blocks beforehand, so that what is not asked for costs little:
//! it is not converted, and not decoded either if no other picture needs it. In what order pictures are shown is read from
//! the timecodes of their blocks; where a producer gives them in the order of decoding instead, pictures still come in the
//! right order, but are numbered and sampled in that one.
//!
//! # Blocks without a picture
//!
//! A picture needs its block, and often others. Where a stream of cameras is cut into fragments inside a group
//! of pictures, where blocks are damaged, some give none. They are left out and counted
//! ([`FrameInfo::missing_before`]), and [`FrameItem::Report`] says for each fragment which they were and why.
//! [`OnDecodeError`] chooses what to do with damage.

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

pub use convert::Convert;
pub use encode::{EncodedFrame, RgbFrame};
pub use items::FrameItems;
pub use options::{FrameOptions, OnDecodeError};
pub use picture::Plane;
pub use pixels::{ColorMatrix, ColorRange, PixelFormat};
pub use report::{FragmentReport, FrameItem, NoPicture, SkippedBlock};
pub use stream::{FragmentFrames, Frames};

/// Where a picture comes from, and when it was taken: what stays with it through conversions.
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
    /// What its fragment says of itself: number, times, tracks.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.fragment
    }

    /// The producer's tags of its fragment, those before and those after the media.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Which fragment of the stream it is in, from 0.
    pub fn fragment_index(&self) -> u64 {
        self.fragment_index
    }

    /// Its place among the pictures of its fragment in the order in which they are shown, from 0.
    /// Counted are the blocks from which a picture is to be expected, by their timecodes: damage to
    /// one does not move the others.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The time of its block in nanoseconds on the timeline of the producer session. Starts anew with
    /// each session, so compare [`producer_time`](FrameInfo::producer_time) across fragments.
    pub fn timecode_ns(&self) -> i64 {
        self.timecode_ns
    }

    /// Its time on the producer's clock. `None` if the fragment has no producer time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// Whether its block is flagged as decodable without others.
    pub fn is_key(&self) -> bool {
        self.is_key
    }

    /// Whether something in it is damaged, or in a picture that it refers to. Only with
    /// [`OnDecodeError::Conceal`].
    pub fn is_damaged(&self) -> bool {
        self.is_damaged
    }

    /// How many blocks since the picture before it in the stream gave none, although they were to be
    /// decoded.
    pub fn missing_before(&self) -> u32 {
        self.missing_before
    }

    /// Pixels a line.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Lines.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How wide a pixel is to how high, if the coded picture or else its track says so. It is not
    /// applied.
    pub fn sample_aspect_ratio(&self) -> Option<(u32, u32)> {
        self.sample_aspect_ratio
    }

    /// By how many degrees, counter-clockwise, the picture is to be turned before it is shown, if the
    /// coded picture or else its track says so. It is not applied.
    pub fn rotation(&self) -> Option<f64> {
        self.rotation
    }

    fn resized(&self, width: u32, height: u32) -> Self {
        Self { width, height, ..self.clone() }
    }
}

/// A decoded picture.
///
/// Cheap to clone, `Send` and `'static`. It holds the decoder's own buffer, and converts when it is
/// asked to. That takes a few milliseconds for a large one: on an executor, leave it to the adapters of
/// [`FrameStreamExt`](crate::FrameStreamExt).
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

    /// Where it comes from, and when it was taken.
    pub fn info(&self) -> &FrameInfo {
        &self.inner.info
    }

    /// How it lies in memory.
    pub fn format(&self) -> PixelFormat {
        self.inner.picture.format
    }

    /// Which of the numbers it uses.
    pub fn range(&self) -> ColorRange {
        self.inner.picture.range
    }

    /// How red, green and blue became luma and chroma.
    pub fn matrix(&self) -> ColorMatrix {
        self.inner.picture.matrix
    }

    /// One of its planes, without a copy: of luma and two of chroma for most formats. More than 8 bits a
    /// sample take two bytes, the lower first. `None` if it has no such plane, or lies in memory in a way
    /// that this crate does not know.
    pub fn plane(&self, index: usize) -> Option<Plane<'_>> {
        self.inner.picture.plane(index)
    }

    /// It in red, green and blue of 8 bits.
    ///
    /// # Errors
    /// If its pixel format or colour matrix cannot be converted; the error names it.
    pub fn to_rgb(&self) -> Result<RgbImage> {
        self.inner.picture.to_rgb()
    }

    /// It in grey of 8 bits: its luma, spread to the full range.
    ///
    /// # Errors
    /// If its pixel format cannot be converted; the error names it.
    pub fn to_luma(&self) -> Result<GrayImage> {
        self.inner.picture.to_luma()
    }

    /// It as an array of height x width x 3 numbers: red, green and blue of 8 bits.
    ///
    /// # Errors
    /// If its pixel format or colour matrix cannot be converted; the error names it.
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
        ndarray::Array3::from_shape_vec(shape, image.into_raw())
            .map_err(|error| Error::new(ErrorKind::Unsupported, "a picture that is no array").caused_by(error))
    }

    /// It made smaller, so that it is at most so wide and so high, in the same proportions and in the same
    /// pixel format where that can be; itself if it is small enough.
    ///
    /// # Errors
    /// If the width or height is 0, or its pixel format cannot be converted.
    pub fn scale_within(&self, width: u32, height: u32) -> Result<Self> {
        let picture = &self.inner.picture;
        match picture.size_within(width, height)? {
            size if size == (picture.width, picture.height) => Ok(self.clone()),
            size => Ok(Self::new(self.inner.info.resized(size.0, size.1), picture.scaled_to(size)?)),
        }
    }

    /// It in exactly this size, whatever becomes of its proportions.
    #[cfg(feature = "local")]
    pub(crate) fn stretched(&self, width: u32, height: u32) -> Result<Self> {
        let scaled = self.inner.picture.scaled_to((width, height))?;
        Ok(Self::new(self.inner.info.resized(width, height), scaled))
    }

    /// Adds blocks that gave no picture before it, while nobody else has it.
    fn add_missing(&mut self, blocks: u32) {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.info.missing_before += blocks;
        }
    }

    /// How much memory it takes, about.
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
    /// Decodes its pictures. To be combined at will: the stream is `Send` and `'static` and needs no other,
    /// so that `buffer_unordered` bounds how many are worked on at once.
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
