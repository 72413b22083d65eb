//! Scales pictures.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use ffmpeg_next::format::Pixel;

use super::picture::{OwnedPlane, Picture, Plane};
use super::pixels::{ColorMatrix, ColorRange, Layout, PixelFormat};
use crate::error::{Error, ErrorKind, Result};

impl Picture {
    /// Returns the largest size within the bounds that keeps the proportions and does not enlarge the picture.
    pub(super) fn size_within(&self, width: u32, height: u32) -> Result<(u32, u32)> {
        if width == 0 || height == 0 {
            return Err(Error::invalid_argument("a width or height of 0: a picture needs at least 1 pixel"));
        }
        let (wide, high) = (u64::from(self.width), u64::from(self.height));
        let (width, height) = (u64::from(width).min(wide), u64::from(height).min(high));
        let part = |length: u64, of: u64, by: u64| (length * of + by / 2).checked_div(by).unwrap_or(1).max(1);
        let (width, height) = match wide * height > high * width {
            true => (width, part(high, width, wide)),
            false => (part(wide, height, high), height),
        };
        Ok((width as u32, height as u32))
    }

    pub(super) fn scaled_to(&self, (width, height): (u32, u32)) -> Result<Self> {
        let (layout, planes) = self.planes()?;
        let samples = match layout {
            Layout::Yuv { bits: 8, .. } | Layout::Gray { bits: 8 } | Layout::Gbr { bits: 8 } => {
                Some([PixelType::U8; 3])
            }
            Layout::Yuv { .. } | Layout::Gray { .. } | Layout::Gbr { .. } => Some([PixelType::U16; 3]),
            Layout::Nv12 => Some([PixelType::U8, PixelType::U8x2, PixelType::U8x2]),
            Layout::Rgb { bytes: 3, .. } => Some([PixelType::U8x3; 3]),
            Layout::Rgb { .. } | Layout::Packed422 { .. } => None,
        };
        let Some(samples) = samples else {
            let rgb = self.to_rgb()?;
            let row_bytes = rgb.width() as usize * 3;
            let plane = OwnedPlane { data: rgb.into_raw(), row_bytes };
            let format = PixelFormat(Pixel::RGB24);
            let rgb = Self::owned((self.width, self.height), format, ColorRange::Full, ColorMatrix::Rgb, vec![plane]);
            return rgb.scaled_to((width, height));
        };
        let scaled: Result<Vec<_>> = (0..)
            .zip(planes.iter().zip(samples))
            .map(|(index, (plane, pixel))| {
                let (row_bytes, rows) = layout.plane_size(index, width, height);
                scale(plane, pixel, row_bytes, rows)
            })
            .collect();
        Ok(Self::owned((width, height), self.format, self.range, self.matrix, scaled?))
    }
}

fn scale(plane: &Plane<'_>, pixel: PixelType, row_bytes: usize, rows: usize) -> Result<OwnedPlane> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Unsupported, format!("the picture cannot be scaled: {error}"))
    };
    let size = pixel.size();
    let packed: Vec<u8>;
    let source = if plane.stride() == plane.row_bytes() {
        plane.data().get(..plane.stride() * plane.rows()).unwrap_or_default()
    } else {
        packed = plane.iter().flatten().copied().collect();
        &packed
    };
    let (from_width, from_height) = ((plane.row_bytes() / size) as u32, plane.rows() as u32);
    let mut target = Image::new((row_bytes / size) as u32, rows as u32, pixel);
    // A convolution uses every source sample, so fine detail does not cause moiré patterns.
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
    let resized = match ImageRef::new(from_width, from_height, source, pixel) {
        Ok(source) => Resizer::new().resize(&source, &mut target, &options).map_err(|error| failed(&error)),
        // Samples of two bytes must be aligned.
        Err(_) => {
            let source = Image::from_vec_u8(from_width, from_height, source.to_vec(), pixel);
            let source = source.map_err(|error| failed(&error))?;
            Resizer::new().resize(&source, &mut target, &options).map_err(|error| failed(&error))
        }
    };
    resized.map(|()| OwnedPlane { data: target.into_vec(), row_bytes })
}
