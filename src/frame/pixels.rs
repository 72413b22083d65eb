//! What the numbers of a picture mean.

use ffmpeg_next::format::Pixel;

/// How a picture lies in memory: FFmpeg's pixel formats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat(pub(super) Pixel);

impl PixelFormat {
    /// FFmpeg's name for it: `yuv420p`, `yuv420p10le`, `nv12`, `rgb24`.
    pub fn name(self) -> &'static str {
        self.0.descriptor().map_or("none", |descriptor| descriptor.name())
    }

    /// What is known of it here. `None` if that is nothing.
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

/// Which samples a picture has, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Three planes; the chroma's are smaller by these powers of two. More than 8 bits take two bytes,
    /// the lower first.
    Yuv { across: u8, down: u8, bits: u8 },
    /// One plane of luma.
    Gray { bits: u8 },
    /// Planes of green, blue and red.
    Gbr { bits: u8 },
    /// Luma, and a plane of chroma in pairs, half as wide and half as high.
    Nv12,
    /// Two pixels in four bytes.
    Packed422 { luma_first: bool },
    /// A pixel behind the other, so many bytes each; where red, green and blue are in them.
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

    /// How many bytes of a row, and how many rows, a plane has.
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

/// Which of the numbers are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColorRange {
    /// All: black is 0, white 255 at 8 bits.
    Full,
    /// Luma from 16 to 235, chroma from 16 to 240 at 8 bits, as in television. Also what is taken for
    /// granted of luma and chroma where a stream does not say.
    Limited,
}

impl ColorRange {
    /// By its number: AVColorRange.
    pub(super) fn of(range: i32, format: PixelFormat) -> Self {
        let full_by_format =
            matches!(format.0, Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P | Pixel::YUVJ440P | Pixel::YUVJ411P);
        // As FFmpeg does where nothing is said.
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

/// How red, green and blue became luma and chroma (ITU-T H.273 section 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ColorMatrix {
    /// Standard definition, JPEG, and what is taken for granted where a stream does not say.
    Bt601,
    /// High definition.
    Bt709,
    /// Ultra high definition.
    Bt2020,
    /// An early form of high definition.
    Smpte240,
    /// American television of 1953.
    Fcc,
    /// They did not: the samples are green, blue and red.
    Rgb,
    /// Something that cannot be converted here.
    Other,
}

impl ColorMatrix {
    /// By its number: ITU-T H.273 table 4, as AVColorSpace has it.
    pub(super) fn of(matrix: i32, format: PixelFormat) -> Self {
        if matches!(format.layout(), Some(Layout::Gbr { .. } | Layout::Rgb { .. })) {
            return Self::Rgb;
        }
        match matrix {
            1 => Self::Bt709,
            // 2 says that it is not known, 3 is reserved.
            2 | 3 | 5 | 6 => Self::Bt601,
            4 => Self::Fcc,
            7 => Self::Smpte240,
            9 => Self::Bt2020,
            _ => Self::Other,
        }
    }
}
