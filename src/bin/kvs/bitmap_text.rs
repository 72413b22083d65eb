//! Text as pixels, for pictures that need no font of the system.

use noto_sans_mono_bitmap::{FontWeight, RasterizedChar, get_raster, get_raster_width};

/// The height of a line in pixels.
pub(crate) use noto_sans_mono_bitmap::RasterHeight as Size;

const WEIGHT: FontWeight = FontWeight::Regular;

/// Returns the width and height of one line of text.
pub(crate) fn extent(text: &str, size: Size) -> (u32, u32) {
    let width = text.chars().count() * get_raster_width(WEIGHT, size);
    (u32::try_from(width).unwrap_or(u32::MAX), size.val() as u32)
}

/// Calls `pixel` with x, y and coverage, 1 to 255, of every pixel that the text touches.
///
/// The top left corner of the text is 0, 0.
pub(crate) fn draw(text: &str, size: Size, mut pixel: impl FnMut(u32, u32, u8)) {
    let mut left = 0;
    for c in text.chars() {
        let Some(glyph) = glyph(c, size) else { continue };
        for (y, row) in (0..).zip(glyph.rows()) {
            for (x, &coverage) in (left..).zip(row) {
                if coverage > 0 {
                    pixel(x, y, coverage);
                }
            }
        }
        left += glyph.width() as u32;
    }
}

/// Returns the glyph of a character, or that of a question mark if the font has none.
fn glyph(c: char, size: Size) -> Option<RasterizedChar> {
    get_raster(c, WEIGHT, size).or_else(|| get_raster('?', WEIGHT, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_inside_of_its_extent() {
        for size in [Size::Size16, Size::Size20, Size::Size24] {
            let text = "10:00:01 µ×\u{6F22}";
            let (width, height) = extent(text, size);
            let (mut pixels, mut right) = (0, 0);
            draw(text, size, |x, y, coverage| {
                assert!(x < width && y < height && coverage > 0);
                (pixels, right) = (pixels + 1, right.max(x));
            });
            // The last character is not in the font, but is drawn.
            assert!(pixels > 100 && right > width - width / 11, "{pixels} {right} of {width}");
        }
        draw("", Size::Size16, |_, _, _| panic!("nothing has no pixels"));
    }
}
