//! File formats of encoded pictures.

/// The file format of an encoded picture. Default: JPEG.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImageFormat {
    /// JPEG (ITU-T T.81).
    #[default]
    Jpeg,
    /// PNG (ISO/IEC 15948).
    Png,
}

impl ImageFormat {
    /// Returns the usual extension of a file of this format: `jpg` or `png`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }
}
