//! [`FrameOptions`]: sampling and the handling of damage.

use std::time::Duration;

use crate::error::{Error, Result};

/// Options of [`Fragment::frames`](crate::Fragment::frames): sampling, damage handling, track.
///
/// [`Frames`](super::Frames) has the same setters. Each setter replaces the earlier value.
///
/// ```
/// use kinesis_video::frame::FrameOptions;
/// use std::time::Duration;
///
/// let stills = FrameOptions::new().keyframes().sample_every(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
pub struct FrameOptions {
    pub(super) sampling: Sampling,
    pub(super) only_keyframes: bool,
    pub(super) on_decode_error: OnDecodeError,
    pub(super) track: Option<u64>,
    pub(super) max_pixels: u64,
    #[cfg(test)]
    pub(super) probe: super::probe::Probe,
}

/// The sampling of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    All,
    Ratio(usize),
    Every(Duration),
    /// The last picture at or before a time in nanoseconds, on the timeline of the timecodes.
    UpTo(i64, Reach),
}

/// The pictures that are decoded to find the last one at or before a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The picture itself, and the pictures that its decoding needs.
    Picture,
    /// All pictures before it in its group.
    Group,
    /// All pictures before it.
    Fragment,
}

/// The handling of pictures that are damaged, or refer to damaged pictures.
///
/// A picture is damaged if its block cannot be parsed, the decoder rejects its block, or the decoder reports
/// concealed errors. Detection depends on the codec:
///
/// | codec | damage that libavcodec detects |
/// |---|---|
/// | H.264, MPEG | nearly all |
/// | MJPEG | a picture that ends early |
/// | H.265, VP8, VP9 | little within a picture |
/// | all | not a missing block |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDecodeError {
    /// Yields damaged pictures as the decoder concealed them, marked by
    /// [`FrameInfo::is_damaged`](super::FrameInfo::is_damaged).
    ///
    /// A block for which the decoder returns no picture at all is still skipped.
    Conceal,
    /// Ends the stream with an error at the first selected picture that is damaged.
    ///
    /// The pictures shown before it are yielded. The error has the kind
    /// [`Malformed`](crate::ErrorKind::Malformed). Blocks skipped for a reason other than damage are no failure.
    Fail,
    /// Skips damaged pictures and lists them in the [report](super::FragmentReport::skipped).
    ///
    /// Each yielded picture is the same as without the detected damage.
    #[default]
    Skip,
}

impl FrameOptions {
    /// Creates options that select all pictures of the first video track. Damaged ones are skipped.
    pub fn new() -> Self {
        Self {
            sampling: Sampling::All,
            only_keyframes: false,
            on_decode_error: OnDecodeError::default(),
            track: None,
            max_pixels: 8192 * 4352,
            #[cfg(test)]
            probe: super::probe::Probe::default(),
        }
    }

    /// Selects pictures 0, n, 2n, … of the fragment in presentation order. Default: all pictures.
    ///
    /// With [`keyframes`](FrameOptions::keyframes), only key frames are counted. Otherwise pictures are counted as in
    /// [`FrameInfo::index`](super::FrameInfo::index). If `n` is 0, the stream yields an
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) error first. Replaces
    /// [`sample_every`](FrameOptions::sample_every).
    #[must_use]
    pub fn sample_ratio(mut self, n: usize) -> Self {
        self.sampling = Sampling::Ratio(n);
        self
    }

    /// Selects the first picture of each interval on the producer's clock. Default: all pictures.
    ///
    /// Intervals start at multiples of `interval` since 1970, not at the first picture. In a fragment without a
    /// producer time they start at multiples of `interval` on the timeline of the timecodes. If `interval` is zero, the
    /// first item of the stream is an error. Replaces [`sample_ratio`](FrameOptions::sample_ratio).
    ///
    /// Each fragment is sampled by itself, so the first picture of every fragment is selected. To sample across
    /// fragments, use [`Frames::sample_every`](super::Frames::sample_every).
    #[must_use]
    pub fn sample_every(mut self, interval: Duration) -> Self {
        self.sampling = Sampling::Every(interval);
        self
    }

    /// Selects only pictures whose blocks are flagged as key frames. Default: all pictures.
    ///
    /// Each key frame is decoded by itself. [`sample_ratio`](FrameOptions::sample_ratio) and
    /// [`sample_every`](FrameOptions::sample_every) then sample the key frames.
    #[must_use]
    pub fn keyframes(mut self) -> Self {
        self.only_keyframes = true;
        self
    }

    /// Sets the handling of damaged pictures. Default: [`OnDecodeError::Skip`].
    #[must_use]
    pub fn on_decode_error(mut self, on_decode_error: OnDecodeError) -> Self {
        self.on_decode_error = on_decode_error;
        self
    }

    /// Sets the number of the track to decode. Default: the first video track of the fragment.
    ///
    /// A fragment without this track yields no pictures and no error. A track without a video codec is an error.
    #[must_use]
    pub fn track(mut self, number: u64) -> Self {
        self.track = Some(number);
        self
    }

    /// Sets the maximum number of pixels of a picture. Default: 8192 × 4352 = 35,651,584.
    ///
    /// A larger picture counts as damaged. The stream declares the picture size, and a decoder keeps up to 16
    /// pictures. So this maximum bounds the memory of a decoder.
    #[must_use]
    pub fn max_pixels(mut self, pixels: u64) -> Self {
        self.max_pixels = pixels;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let zero = match self.sampling {
            Sampling::Ratio(0) => "a sample ratio of 0: it must be 1 or more",
            Sampling::Every(Duration::ZERO) => "a sampling interval of zero: it must be longer",
            _ => return Ok(()),
        };
        Err(Error::invalid_argument(zero))
    }
}

impl Default for FrameOptions {
    fn default() -> Self {
        Self::new()
    }
}
