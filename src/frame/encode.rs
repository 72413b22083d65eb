//! Pictures in RGB, and encoded as JPEG or PNG.

use bytes::Bytes;
use image::RgbImage;

use super::{Frame, FrameInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::image_format::ImageFormat;

/// A picture in 8-bit RGB, from [`rgb`](crate::FrameStreamExt::rgb).
#[derive(Clone, Debug)]
pub struct RgbFrame {
    info: FrameInfo,
    image: RgbImage,
}

impl RgbFrame {
    pub(crate) fn of(frame: &Frame) -> Result<Self> {
        Ok(Self { info: frame.info().clone(), image: frame.to_rgb()? })
    }

    /// Returns the picture's origin, time, width and height.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Returns the pixels.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// Returns the pixels and drops the [`FrameInfo`].
    pub fn into_image(self) -> RgbImage {
        self.image
    }
}

/// A picture encoded by [`jpeg`](crate::FrameStreamExt::jpeg) or [`png`](crate::FrameStreamExt::png).
#[derive(Clone, Debug)]
pub struct EncodedFrame {
    info: FrameInfo,
    format: ImageFormat,
    bytes: Bytes,
}

impl EncodedFrame {
    pub(crate) fn jpeg(frame: &Frame, quality: u8) -> Result<Self> {
        Ok(Self { info: frame.info().clone(), format: ImageFormat::Jpeg, bytes: to_jpeg(&frame.to_rgb()?, quality)? })
    }

    pub(crate) fn png(frame: &Frame) -> Result<Self> {
        Ok(Self { info: frame.info().clone(), format: ImageFormat::Png, bytes: to_png(&frame.to_rgb()?)? })
    }

    /// Returns the picture's origin, time, width and height.
    pub fn info(&self) -> &FrameInfo {
        &self.info
    }

    /// Returns the file format of the bytes.
    pub fn format(&self) -> ImageFormat {
        self.format
    }

    /// Returns the encoded picture: the content of a JPEG or PNG file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Lowest quality with full chroma resolution. Below it, chroma has half the width and height (4:2:0), as in
/// nearly all video.
const FULL_CHROMA: u8 = 90;

#[cfg(feature = "turbojpeg")]
fn to_jpeg(image: &RgbImage, quality: u8) -> Result<Bytes> {
    let compressed = turbojpeg::Compressor::new().and_then(|mut compressor| {
        compressor.set_quality(i32::from(quality))?;
        compressor.set_subsamp(match quality {
            FULL_CHROMA.. => turbojpeg::Subsamp::None,
            _ => turbojpeg::Subsamp::Sub2x2,
        })?;
        let (width, height) = (image.width() as usize, image.height() as usize);
        let format = turbojpeg::PixelFormat::RGB;
        compressor.compress_to_vec(turbojpeg::Image {
            pixels: &image.as_raw()[..],
            width,
            pitch: width * 3,
            height,
            format,
        })
    });
    compressed.map(Bytes::from).map_err(|error| failed("JPEG", error))
}

#[cfg(not(feature = "turbojpeg"))]
fn to_jpeg(image: &RgbImage, quality: u8) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(match quality {
        FULL_CHROMA.. => jpeg_encoder::SamplingFactor::F_1_1,
        _ => jpeg_encoder::SamplingFactor::F_2_2,
    });
    let size = u16::try_from(image.width()).ok().zip(u16::try_from(image.height()).ok());
    let Some((width, height)) = size else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the picture cannot be written as JPEG: a side has more than 65535 pixels",
        ));
    };
    let encoded = encoder.encode(image.as_raw(), width, height, jpeg_encoder::ColorType::Rgb);
    encoded.map(|()| bytes.into()).map_err(|error| failed("JPEG", error))
}

fn to_png(image: &RgbImage) -> Result<Bytes> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
    image.write_with_encoder(encoder).map(|()| bytes.into()).map_err(|error| failed("PNG", error))
}

fn failed(format: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the picture cannot be written as {format}")).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With and without the feature `turbojpeg`: see `.ci/run`.
    #[test]
    fn jpeg_has_the_requested_size_and_chroma() {
        let image = RgbImage::from_fn(67, 35, |x, y| image::Rgb([x as u8 * 3, y as u8 * 7, 90]));
        for (quality, luma_blocks) in [(1, 0x22), (80, 0x22), (90, 0x11), (100, 0x11)] {
            let file = to_jpeg(&image, quality).unwrap();
            assert!(file.starts_with(&[0xFF, 0xD8]) && file.ends_with(&[0xFF, 0xD9]));
            // ITU-T T.81 section B.2.2: precision, lines, samples per line, number of components. Each component
            // has its id, then its sampling factors.
            let frame = file.windows(2).position(|two| matches!(two, [0xFF, 0xC0 | 0xC2])).unwrap();
            assert_eq!(file[frame + 4..frame + 10], [8, 0, 35, 0, 67, 3], "quality {quality}");
            assert_eq!(file[frame + 11], luma_blocks, "quality {quality}");
        }
        assert!(to_jpeg(&image, 95).unwrap().len() > to_jpeg(&image, 40).unwrap().len());
        let wide = RgbImage::new(70_000, 1);
        assert_eq!(to_jpeg(&wide, 80).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
