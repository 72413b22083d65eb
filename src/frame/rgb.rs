//! Converts pictures to RGB and grey.

use image::{GrayImage, RgbImage};
use yuv::{YuvBiPlanarImage, YuvError, YuvPackedImage, YuvPlanarImage, YuvRange, YuvStandardMatrix};

use super::picture::{Picture, Plane};
use super::pixels::{ColorMatrix, ColorRange, Layout};
use crate::error::{Error, ErrorKind, Result};

impl Picture {
    pub(super) fn to_rgb(&self) -> Result<RgbImage> {
        let (layout, planes) = self.planes()?;
        // The converters require whole rows with padding, also for the last row.
        let whole: Vec<Option<Vec<u8>>> = planes.iter().map(Plane::packed_if_short).collect();
        let planes: Vec<Plane<'_>> = planes.iter().zip(&whole).map(|(plane, whole)| plane.or_packed(whole)).collect();
        let (width, height) = (self.width, self.height);
        let mut image = RgbImage::new(width, height);
        let rgb: &mut [u8] = &mut image;
        match (layout, &planes[..]) {
            (Layout::Yuv { across, down, bits }, [y, u, v]) => self.yuv_to_rgb((across, down, bits), [y, u, v], rgb)?,
            (Layout::Gray { bits }, [y]) => {
                let levels = self.grey_levels();
                let luma = y.iter().flat_map(|row| samples(row, bits));
                for (pixel, luma) in rgb.chunks_exact_mut(3).zip(luma) {
                    pixel.fill(levels(luma));
                }
            }
            (Layout::Gbr { bits }, [green, blue, red]) => {
                let rows = green.iter().zip(blue.iter()).zip(red.iter());
                let pixels = rows.flat_map(|((green, blue), red)| {
                    samples(red, bits).zip(samples(green, bits)).zip(samples(blue, bits))
                });
                let levels = self.grey_levels();
                for (pixel, ((red, green), blue)) in rgb.chunks_exact_mut(3).zip(pixels) {
                    pixel.copy_from_slice(&[red, green, blue].map(&levels));
                }
            }
            (Layout::Nv12, [y, uv]) => {
                let image = YuvBiPlanarImage {
                    y_plane: y.data,
                    y_stride: y.stride as u32,
                    uv_plane: uv.data,
                    uv_stride: uv.stride as u32,
                    width,
                    height,
                };
                let (range, matrix) = self.coefficients()?;
                yuv::yuv_nv12_to_rgb(&image, rgb, width * 3, range, matrix, yuv::YuvConversionMode::Balanced)
                    .map_err(failed)?;
            }
            (Layout::Packed422 { luma_first }, [packed]) => {
                let image = YuvPackedImage { yuy: packed.data, yuy_stride: packed.stride as u32, width, height };
                let (range, matrix) = self.coefficients()?;
                let convert = if luma_first { yuv::yuyv422_to_rgb } else { yuv::uyvy422_to_rgb };
                convert(&image, rgb, width * 3, range, matrix).map_err(failed)?;
            }
            (Layout::Rgb { bytes, places }, [packed]) => {
                let pixels = packed.iter().flat_map(|row| row.chunks_exact(usize::from(bytes)));
                let levels = self.grey_levels();
                for (to, from) in rgb.chunks_exact_mut(3).zip(pixels) {
                    for (to, place) in to.iter_mut().zip(places) {
                        *to = levels(from.get(usize::from(place)).copied().unwrap_or_default());
                    }
                }
            }
            _ => {}
        }
        Ok(image)
    }

    fn yuv_to_rgb(&self, (across, down, bits): (u8, u8, u8), planes: [&Plane<'_>; 3], rgb: &mut [u8]) -> Result<()> {
        let (width, height) = (self.width, self.height);
        let (range, matrix) = self.coefficients()?;
        let stride = width * 3;
        if bits == 8 {
            // There is no converter for other chroma layouts, so chroma is upsampled first.
            let upsampled = match (across, down) {
                (1, 1) | (1, 0) | (0, 0) => None,
                _ => Some([planes[1], planes[2]].map(|plane| upsample(plane, across, down, width, height))),
            };
            let [y, u, v] = planes.map(|plane| (plane.data, plane.stride as u32));
            let [u, v] = match &upsampled {
                Some([u, v]) => [(&u[..], width), (&v[..], width)],
                None => [u, v],
            };
            let image = planar(y, u, v, width, height);
            let convert = match (across, down) {
                (1, 1) => yuv::yuv420_to_rgb,
                (1, 0) => yuv::yuv422_to_rgb,
                _ => yuv::yuv444_to_rgb,
            };
            return convert(&image, rgb, stride, range, matrix).map_err(failed);
        }
        let wide = planes.map(|plane| {
            let numbers = |row: &'_ [u8]| row.as_chunks().0.iter().copied().map(u16::from_le_bytes).collect::<Vec<_>>();
            (plane.iter().flat_map(numbers).collect::<Vec<_>>(), (plane.row_bytes / 2) as u32)
        });
        let [y, u, v] = wide.each_ref().map(|(numbers, stride)| (&numbers[..], *stride));
        let image = planar(y, u, v, width, height);
        match (across, down, bits) {
            (1, 1, 10) => yuv::i010_to_rgb(&image, rgb, stride, range, matrix),
            (1, 0, 10) => yuv::i210_to_rgb(&image, rgb, stride, range, matrix),
            (1, 1, _) => yuv::i012_to_rgb(&image, rgb, stride, range, matrix),
            (1, 0, _) => yuv::i212_to_rgb(&image, rgb, stride, range, matrix),
            (_, _, 10) => {
                // The converter for this format exists only with alpha.
                let mut rgba = vec![0; width as usize * height as usize * 4];
                let converted = yuv::i410_to_rgba(&image, &mut rgba, width * 4, range, matrix);
                for (to, from) in rgb.chunks_exact_mut(3).zip(rgba.chunks_exact(4)) {
                    to.copy_from_slice(from.get(..3).unwrap_or_default());
                }
                converted
            }
            _ => yuv::i412_to_rgb(&image, rgb, stride, range, matrix),
        }
        .map_err(failed)
    }

    pub(super) fn to_luma(&self) -> Result<GrayImage> {
        let (layout, planes) = self.planes()?;
        let (Layout::Yuv { bits, .. } | Layout::Gray { bits }) = layout else {
            return Ok(match (layout, planes.first()) {
                (Layout::Nv12, Some(y)) => self.grey(y.iter().flatten().copied()),
                (Layout::Packed422 { luma_first }, Some(packed)) => {
                    let luma = move |row: &[u8]| {
                        row.iter()
                            .copied()
                            .skip(usize::from(!luma_first))
                            .step_by(2)
                            .take(self.width as usize)
                            .collect::<Vec<_>>()
                    };
                    self.grey(packed.iter().flat_map(luma))
                }
                _ => image::DynamicImage::ImageRgb8(self.to_rgb()?).into_luma8(),
            });
        };
        let luma = planes.first().into_iter().flat_map(Plane::iter);
        Ok(self.grey(luma.flat_map(|row| samples(row, bits))))
    }

    fn grey(&self, luma: impl Iterator<Item = u8>) -> GrayImage {
        let levels = self.grey_levels();
        let mut image = GrayImage::new(self.width, self.height);
        for (to, from) in image.iter_mut().zip(luma) {
            *to = levels(from);
        }
        image
    }

    /// Returns the map from a sample value to the full range.
    fn grey_levels(&self) -> impl Fn(u8) -> u8 + use<> {
        let mut levels: [u8; 256] = std::array::from_fn(|luma| luma as u8);
        if self.range == ColorRange::Limited {
            levels = levels.map(|luma| ((f32::from(luma) - 16.0) * 255.0 / 219.0).round().clamp(0.0, 255.0) as u8);
        }
        move |luma| levels.get(usize::from(luma)).copied().unwrap_or_default()
    }

    fn coefficients(&self) -> Result<(YuvRange, YuvStandardMatrix)> {
        let range = match self.range {
            ColorRange::Full => YuvRange::Full,
            ColorRange::Limited => YuvRange::Limited,
        };
        let matrix = match self.matrix {
            ColorMatrix::Bt601 => YuvStandardMatrix::Bt601,
            ColorMatrix::Bt709 => YuvStandardMatrix::Bt709,
            ColorMatrix::Bt2020 => YuvStandardMatrix::Bt2020,
            ColorMatrix::Smpte240 => YuvStandardMatrix::Smpte240,
            ColorMatrix::Fcc => YuvStandardMatrix::Fcc,
            ColorMatrix::Rgb | ColorMatrix::Other => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("pictures with the colour matrix {:?} cannot be converted", self.matrix),
                ));
            }
        };
        Ok((range, matrix))
    }
}

fn planar<'a, T: Copy + std::fmt::Debug>(
    y: (&'a [T], u32),
    u: (&'a [T], u32),
    v: (&'a [T], u32),
    width: u32,
    height: u32,
) -> YuvPlanarImage<'a, T> {
    YuvPlanarImage {
        y_plane: y.0,
        y_stride: y.1,
        u_plane: u.0,
        u_stride: u.1,
        v_plane: v.0,
        v_stride: v.1,
        width,
        height,
    }
}

/// Iterates over the samples of a row, converted to 8 bits.
fn samples(row: &[u8], bits: u8) -> impl Iterator<Item = u8> {
    let (step, shift) = if bits == 8 { (1, 0) } else { (2, bits - 8) };
    row.chunks_exact(step).map(move |bytes| match *bytes {
        [low, high] => {
            let sample = u32::from(low) | u32::from(high) << 8;
            ((sample + (1 << shift >> 1)) >> shift).min(255) as u8
        }
        [sample] => sample,
        _ => 0,
    })
}

/// Returns a plane of chroma in the size of the luma.
fn upsample(plane: &Plane<'_>, across: u8, down: u8, width: u32, height: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(width as usize * height as usize);
    let rows: Vec<&[u8]> = plane.iter().collect();
    for y in 0..height as usize {
        let row = rows.get(y >> down).copied().unwrap_or_default();
        out.extend((0..width as usize).map(|x| row.get(x >> across).copied().unwrap_or(128)));
    }
    out
}

fn failed(error: YuvError) -> Error {
    Error::new(ErrorKind::Unsupported, "the picture cannot be converted").caused_by(error)
}
