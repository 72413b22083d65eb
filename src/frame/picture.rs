//! Pictures in memory: planes and samples.

use ffmpeg_next::frame;

use super::pixels::{ColorMatrix, ColorRange, Layout, PixelFormat};
use super::raw::{colors_of, plane_of};
use crate::error::{Error, ErrorKind, Result};

/// One plane of a picture in memory.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub(super) data: &'a [u8],
    pub(super) stride: usize,
    pub(super) row_bytes: usize,
    pub(super) rows: usize,
}

impl<'a> Plane<'a> {
    /// Returns all bytes of the plane. Row `n` starts at byte `n` x [`stride`](Plane::stride).
    ///
    /// Each row has [`row_bytes`](Plane::row_bytes) bytes of the picture, then unused bytes up to the stride. The
    /// unused bytes after the last row may be missing.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Returns the number of bytes from one row's start to the next row's start.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Returns the number of bytes at the start of a row that belong to the picture.
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Iterates over the rows from the top. Each row has [`row_bytes`](Plane::row_bytes) bytes.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let Self { data, stride, row_bytes, rows } = *self;
        (0..rows).map(move |row| data.get(row * stride..row * stride + row_bytes).unwrap_or_default())
    }
}

impl<'a> Plane<'a> {
    /// Returns a copy of its rows without padding, if the padding after the last row is missing.
    pub(super) fn packed_if_short(&self) -> Option<Vec<u8>> {
        (self.data.len() < self.stride * self.rows).then(|| self.iter().flatten().copied().collect())
    }

    pub(super) fn or_packed(&self, packed: &'a Option<Vec<u8>>) -> Self {
        match packed {
            Some(packed) => Self { data: packed, stride: self.row_bytes, ..*self },
            None => *self,
        }
    }
}

impl std::fmt::Debug for Plane<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane")
            .field("stride", &self.stride)
            .field("row_bytes", &self.row_bytes)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

/// Samples, with the format, range and matrix that give them meaning.
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: PixelFormat,
    pub(super) range: ColorRange,
    pub(super) matrix: ColorMatrix,
    samples: Samples,
}

enum Samples {
    /// The decoder's own buffers.
    Decoded(frame::Video),
    Owned(Vec<OwnedPlane>),
}

/// Rows without padding.
pub(super) struct OwnedPlane {
    pub(super) data: Vec<u8>,
    pub(super) row_bytes: usize,
}

impl Picture {
    pub(super) fn decoded(video: frame::Video) -> Self {
        let format = PixelFormat(video.format());
        let (range, matrix) = colors_of(&video);
        Self {
            width: video.width(),
            height: video.height(),
            format,
            range: ColorRange::of(range, format),
            matrix: ColorMatrix::of(matrix, format),
            samples: Samples::Decoded(video),
        }
    }

    pub(super) fn owned(
        (width, height): (u32, u32),
        format: PixelFormat,
        range: ColorRange,
        matrix: ColorMatrix,
        planes: Vec<OwnedPlane>,
    ) -> Self {
        Self { width, height, format, range, matrix, samples: Samples::Owned(planes) }
    }

    /// Returns a plane. `None` if there is none of this index, or the format's layout is unknown.
    pub(super) fn plane(&self, index: usize) -> Option<Plane<'_>> {
        let layout = self.format.layout().filter(|layout| index < layout.planes())?;
        let (row_bytes, rows) = layout.plane_size(index, self.width, self.height);
        let (data, stride) = match &self.samples {
            Samples::Decoded(video) => plane_of(video, index, row_bytes, rows)?,
            Samples::Owned(planes) => planes.get(index).map(|plane| (&plane.data[..], plane.row_bytes))?,
        };
        let end = rows.checked_sub(1).map_or(0, |before| before * stride + row_bytes);
        (end <= data.len()).then_some(Plane { data, stride, row_bytes, rows })
    }

    /// Returns the layout and all planes.
    ///
    /// # Errors
    /// If the format's layout is unknown.
    pub(super) fn planes(&self) -> Result<(Layout, Vec<Plane<'_>>)> {
        let layout = self.format.layout();
        let planes = layout.and_then(|layout| (0..layout.planes()).map(|index| self.plane(index)).collect());
        layout.zip(planes).ok_or_else(|| {
            let message = format!("pictures in the pixel format {} cannot be converted", self.format.name());
            Error::new(ErrorKind::Unsupported, message)
        })
    }

    /// Returns its approximate size in memory.
    pub(super) fn bytes(&self) -> usize {
        match self.format.layout() {
            Some(layout) => (0..layout.planes())
                .map(|plane| layout.plane_size(plane, self.width, self.height))
                .map(|(bytes, rows)| bytes * rows)
                .sum(),
            None => self.width as usize * self.height as usize * 4,
        }
    }
}
