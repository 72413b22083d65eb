//! [`FrameOptions`]: which pictures, and what of them.

use std::time::Duration;

use crate::error::{Error, Result};

/// Which pictures are decoded, and what happens to those that are damaged.
///
/// [`Frames`](super::Frames) has the same methods; this is for [`Fragment::frames`](crate::Fragment::frames).
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
    pub(super) most_pixels: u64,
    #[cfg(test)]
    pub(super) probe: super::probe::Probe,
}

/// Which of the pictures are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    All,
    Ratio(usize),
    Every(Duration),
}

/// What happens to pictures that are damaged, or refer to ones that are.
///
/// Damaged is what cannot be taken apart, what the decoder refuses, and what it says it had to mend. How much of it
/// libavcodec notices depends on the codec: H.264 and MPEG nearly all, of MJPEG what ends too early, of H.265, VP8 and VP9
/// little within a picture. That a whole block is missing, none notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDecodeError {
    /// They come as the decoder mended them, and say so: [`FrameInfo::is_damaged`](super::FrameInfo::is_damaged).
    Conceal,
    /// The first one is an error, and with it the stream ends.
    Fail,
    /// They are left out and reported. What comes is what would have come without the damage that was noticed.
    #[default]
    Skip,
}

impl FrameOptions {
    /// All pictures of the first video track, damaged ones left out.
    pub fn new() -> Self {
        Self {
            sampling: Sampling::All,
            only_keyframes: false,
            on_decode_error: OnDecodeError::default(),
            track: None,
            most_pixels: 8192 * 4352,
            #[cfg(test)]
            probe: super::probe::Probe::default(),
        }
    }

    /// Takes pictures 0, n, 2n, … in the order in which they are shown, counting anew in each fragment.
    /// 0 is an error, which the stream gives as its first item.
    #[must_use]
    pub fn sample_ratio(mut self, n: usize) -> Self {
        self.sampling = Sampling::Ratio(n);
        self
    }

    /// Takes the first picture in each stretch of this length on the producer's clock, counting from the
    /// epoch and across fragments. Where fragments have no producer time, the clock is their timecode.
    /// Zero is an error, which the stream gives as its first item.
    #[must_use]
    pub fn sample_every(mut self, interval: Duration) -> Self {
        self.sampling = Sampling::Every(interval);
        self
    }

    /// Takes only pictures whose blocks are flagged as decodable without others, each decoded by itself.
    /// [`sample_ratio`](FrameOptions::sample_ratio) and [`sample_every`](FrameOptions::sample_every) then count
    /// those.
    #[must_use]
    pub fn keyframes(mut self) -> Self {
        self.only_keyframes = true;
        self
    }

    /// What happens to damaged pictures. By default they are left out and reported.
    #[must_use]
    pub fn on_decode_error(mut self, on_decode_error: OnDecodeError) -> Self {
        self.on_decode_error = on_decode_error;
        self
    }

    /// The track to decode. By default the first that is one of video.
    #[must_use]
    pub fn track(mut self, number: u64) -> Self {
        self.track = Some(number);
        self
    }

    /// The most pixels a picture may have; a larger one is damage. By default 8192 x 4352, which is more
    /// than 8K. A decoder keeps up to 16 pictures, whatever a few bytes of a stream ask for.
    #[must_use]
    pub fn max_pixels(mut self, pixels: u64) -> Self {
        self.most_pixels = pixels;
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        let zero = match self.sampling {
            Sampling::Ratio(0) => {
                "a sample ratio of 0: the first picture of every so many is taken, at least of every 1"
            }
            Sampling::Every(Duration::ZERO) => "a sampling interval of zero",
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
