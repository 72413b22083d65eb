//! Pixel formats, colour ranges and colour matrices.

use ffmpeg_next::format::Pixel;

/// The layout of a picture in memory: one of FFmpeg's pixel formats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat(pub(super) Pixel);

impl PixelFormat {
    /// Returns FFmpeg's name of the format, such as `yuv420p`, `yuv420p10le`, `nv12` or `rgb24`.
    pub fn name(self) -> &'static str {
        self.0.descriptor().map_or("none", |descriptor| descriptor.name())
    }

    /// Returns its layout. `None` if this crate does not know the format.
    pub(super) fn layout(self) -> Option<Layout> {
        let yuv = |across, down, bits| Some(Layout::Yuv { across, down, bits });
        match self.0 {
            Pixel::YUV420P | Pixel::YUVJ420P | Pixel::YUVA420P => yuv(1, 1, 8),
            Pixel::YUV422P | Pixel::YUVJ422P | Pixel::YUVA422P => yuv(1, 0, 8),
            Pixel::YUV444P | Pixel::YUVJ444P | Pixel::YUVA444P => yuv(0, 0, 8),
            Pixel::YUV440P | Pixel::YUVJ440P => yuv(0, 1, 8),
            Pixel::YUV411P | Pixel::YUVJ411P => yuv(2, 0, 8),
            Pixel::YUV410P => yuv(2, 2, 8),
            Pixel::YUV420P10LE => yuv(1, 1, 10),
            Pixel::YUV422P10LE => yuv(1, 0, 10),
            Pixel::YUV444P10LE => yuv(0, 0, 10),
            Pixel::YUV420P12LE => yuv(1, 1, 12),
            Pixel::YUV422P12LE => yuv(1, 0, 12),
            Pixel::YUV444P12LE => yuv(0, 0, 12),
            Pixel::GRAY8 => Some(Layout::Gray { bits: 8 }),
            Pixel::GRAY10LE => Some(Layout::Gray { bits: 10 }),
            Pixel::GRAY12LE => Some(Layout::Gray { bits: 12 }),
            Pixel::GBRP => Some(Layout::Gbr { bits: 8 }),
            Pixel::GBRP10LE => Some(Layout::Gbr { bits: 10 }),
            Pixel::GBRP12LE => Some(Layout::Gbr { bits: 12 }),
            Pixel::NV12 => Some(Layout::Nv12),
            Pixel::YUYV422 => Some(Layout::Packed422 { luma_first: true }),
            Pixel::UYVY422 => Some(Layout::Packed422 { luma_first: false }),
            Pixel::RGB24 => Some(Layout::Rgb { bytes: 3, places: [0, 1, 2] }),
            Pixel::BGR24 => Some(Layout::Rgb { bytes: 3, places: [2, 1, 0] }),
            Pixel::RGBA | Pixel::RGBZ => Some(Layout::Rgb { bytes: 4, places: [0, 1, 2] }),
            Pixel::BGRA | Pixel::BGRZ => Some(Layout::Rgb { bytes: 4, places: [2, 1, 0] }),
            Pixel::ARGB | Pixel::ZRGB => Some(Layout::Rgb { bytes: 4, places: [1, 2, 3] }),
            Pixel::ABGR | Pixel::ZBGR => Some(Layout::Rgb { bytes: 4, places: [3, 2, 1] }),
            _ => None,
        }
    }
}

impl std::fmt::Debug for PixelFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The planes of a picture and the samples in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Three planes. Those of chroma are smaller by these powers of two. Samples of more than 8 bits are
    /// little-endian, two bytes each.
    Yuv { across: u8, down: u8, bits: u8 },
    /// One plane of luma.
    Gray { bits: u8 },
    /// Planes of green, blue and red.
    Gbr { bits: u8 },
    /// A plane of luma and a plane of interleaved chroma, half as wide and half as high.
    Nv12,
    /// Two pixels in four bytes.
    Packed422 { luma_first: bool },
    /// One plane of pixels of `bytes` bytes. `places` are the offsets of red, green and blue in a pixel.
    Rgb { bytes: u8, places: [u8; 3] },
}

impl Layout {
    pub(super) fn planes(self) -> usize {
        match self {
            Self::Yuv { .. } | Self::Gbr { .. } => 3,
            Self::Nv12 => 2,
            Self::Gray { .. } | Self::Packed422 { .. } | Self::Rgb { .. } => 1,
        }
    }

    /// Returns the bytes of a row and the number of rows of a plane.
    pub(super) fn plane_size(self, plane: usize, width: u32, height: u32) -> (usize, usize) {
        let (width, height) = (width as usize, height as usize);
        let bytes = |bits: u8| usize::from(bits.div_ceil(8));
        match self {
            Self::Yuv { across, down, bits } if plane > 0 => {
                (width.div_ceil(1 << across) * bytes(bits), height.div_ceil(1 << down))
            }
            Self::Yuv { bits, .. } | Self::Gray { bits } | Self::Gbr { bits } => (width * bytes(bits), height),
            Self::Nv12 if plane > 0 => (width.div_ceil(2) * 2, height.div_ceil(2)),
            Self::Nv12 => (width, height),
            Self::Packed422 { .. } => (width.div_ceil(2) * 4, height),
            Self::Rgb { bytes, .. } => (width * usize::from(bytes), height),
        }
    }
}

/// The range of sample values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColorRange {
    /// All values: at 8 bits, black is 0 and white is 255.
    ///
    /// RGB, grey and FFmpeg's `yuvj` formats (JPEG) have this range if the stream does not specify one.
    Full,
    /// The range of television: at 8 bits, luma from 16 to 235, chroma from 16 to 240.
    ///
    /// All other formats have this range if the stream does not specify one.
    Limited,
}

impl ColorRange {
    /// Returns the range for a value of AVColorRange.
    pub(super) fn of(range: i32, format: PixelFormat) -> Self {
        let full_by_format =
            matches!(format.0, Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P);
        // FFmpeg assumes the full range for these formats if the stream does not specify one.
        let has_no_chroma =
            matches!(format.layout(), Some(Layout::Gbr { .. } | Layout::Gray { .. } | Layout::Rgb { .. }));
        match range {
            2 => Self::Full,
            1 => Self::Limited,
            _ if full_by_format || has_no_chroma => Self::Full,
            _ => Self::Limited,
        }
    }
}

/// The matrix that converted RGB to luma and chroma (ITU-T H.273 section 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColorMatrix {
    /// BT.601: standard definition and JPEG. Also assumed if the stream does not specify a matrix.
    Bt601,
    /// BT.709: high definition.
    Bt709,
    /// BT.2020: ultra high definition.
    Bt2020,
    /// SMPTE 240M: early high definition.
    Smpte240,
    /// FCC: American television of 1953.
    Fcc,
    /// No matrix: the pixel format is an RGB format.
    Rgb,
    /// Another matrix, which this crate cannot convert.
    Other,
}

impl ColorMatrix {
    /// Returns the matrix for a value of ITU-T H.273 table 4, which AVColorSpace uses.
    pub(super) fn of(matrix: i32, format: PixelFormat) -> Self {
        if matches!(format.layout(), Some(Layout::Gbr { .. } | Layout::Rgb { .. })) {
            return Self::Rgb;
        }
        match matrix {
            1 => Self::Bt709,
            // 2 means unspecified, 3 is reserved.
            2 | 3 | 5 | 6 => Self::Bt601,
            4 => Self::Fcc,
            7 => Self::Smpte240,
            9 => Self::Bt2020,
            _ => Self::Other,
        }
    }
}
