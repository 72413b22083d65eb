//! [`Sheet`]: a contact sheet.

use std::borrow::Cow;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use kinesis_video::frame::Frame;
use kinesis_video::{ImageFormat, Timestamp};

use crate::bitmap_text::{self, Size};
use crate::failure::{Failure, Result};
use crate::time;

/// An even number, so that thinning keeps the pictures evenly spaced.
const MAX_TILES: usize = 60;

/// The largest width and height of a picture on the sheet.
const TILE: u32 = 320;

/// The same for sheets with more pictures than this, which would be too large for most screens.
const SMALLER_TILES: [(usize, u32); 2] = [(30, 200), (12, 240)];

const MARGIN: u32 = 20;
const GAP: u32 = 12;

/// The distance between a picture and its time, and between lines.
const LEADING: u32 = 4;

/// Width by height that a sheet should have.
const SHAPE: f64 = 1.5;

/// The cost of an empty row at the end, for the choice of the number of columns.
const EMPTINESS: f64 = 0.8;

const BACKGROUND: Rgb<u8> = Rgb([30, 31, 34]);
const BRIGHT: Rgb<u8> = Rgb([232, 234, 237]);
const DIM: Rgb<u8> = Rgb([160, 165, 171]);

const TITLE_SIZE: Size = Size::Size24;
const TEXT_SIZE: Size = Size::Size16;

const JPEG_QUALITY: u8 = 88;

/// A picture, scaled for a sheet.
pub(crate) struct Tile {
    image: RgbImage,
    time: Option<Timestamp>,
    timecode_ns: i64,
}

impl Tile {
    /// Scales a picture, gives it square pixels, and turns it upright.
    pub(crate) fn of(frame: &Frame) -> kinesis_video::Result<Self> {
        let info = frame.info();
        let (wide, high) = info.sample_aspect_ratio().unwrap_or((1, 1));
        let image = if wide == high {
            frame.scale_within(TILE, TILE)?.to_rgb()?
        } else {
            // Pixels that are not square are stretched in a second step, from a picture with some detail to spare.
            let image = frame.scale_within(2 * TILE, 2 * TILE)?.to_rgb()?;
            let width = (f64::from(info.width()) * f64::from(wide) / f64::from(high)).max(1.0);
            let (width, height) = (width, f64::from(info.height()).max(1.0));
            let scale = (f64::from(TILE) / width.max(height)).min(1.0);
            let side = |length: f64| ((length * scale).round() as u32).max(1);
            imageops::resize(&image, side(width), side(height), FilterType::Triangle)
        };
        let image = upright(image, info.rotation().unwrap_or_default());
        Ok(Self { image, time: info.producer_time(), timecode_ns: info.timecode_ns() })
    }

    /// Returns the time in nanoseconds, for differences.
    fn nanos(&self) -> i64 {
        self.time.map_or(self.timecode_ns, Timestamp::as_nanos)
    }

    /// Returns the picture, not larger than a square.
    fn within(&self, side: u32) -> Cow<'_, RgbImage> {
        let (width, height) = self.image.dimensions();
        let longer = width.max(height);
        if longer <= side {
            return Cow::Borrowed(&self.image);
        }
        let scaled = |length: u32| ((length * side + longer / 2) / longer).max(1);
        Cow::Owned(imageops::resize(&self.image, scaled(width), scaled(height), FilterType::Triangle))
    }

    fn whole_time(&self) -> String {
        self.time.map_or_else(|| time::in_media(self.timecode_ns), time::local)
    }
}

/// Turns a picture counter-clockwise, by the nearest quarter.
fn upright(image: RgbImage, degrees: f64) -> RgbImage {
    // The functions turn clockwise.
    match ((degrees / 90.0).round() as i64).rem_euclid(4) {
        1 => imageops::rotate270(&image),
        2 => imageops::rotate180(&image),
        3 => imageops::rotate90(&image),
        _ => image,
    }
}

/// Pictures evenly chosen from any number of them. It holds at most 60.
#[derive(Default)]
pub(crate) struct Sheet {
    tiles: Vec<Tile>,
    /// All pictures, chosen or not.
    pictures: u64,
    /// The number of times that every second tile was dropped.
    halvings: u32,
}

impl Sheet {
    /// Counts a picture and returns whether it is to be [pushed](Sheet::push).
    pub(crate) fn wants_next(&mut self) -> bool {
        let index = self.pictures;
        self.pictures += 1;
        index.is_multiple_of(1 << self.halvings)
    }

    /// Adds a picture. If the sheet is full, every second one is dropped first.
    pub(crate) fn push(&mut self, tile: Tile) {
        if self.tiles.len() >= MAX_TILES {
            let mut is_kept = false;
            self.tiles.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.halvings += 1;
        }
        self.tiles.push(tile);
    }

    /// Returns the number of pictures on the sheet.
    pub(crate) fn tiles(&self) -> u64 {
        self.tiles.len() as u64
    }

    /// Returns the number of pictures from which they were chosen.
    pub(crate) fn pictures(&self) -> u64 {
        self.pictures
    }

    /// Draws the sheet.
    pub(crate) fn draw(&self, title: &str) -> RgbImage {
        let (labels, count) = (self.labels(), self.tiles.len());
        let side = SMALLER_TILES.iter().find(|(most, _)| count > *most).map_or(TILE, |(_, side)| *side);
        let pictures: Vec<_> = self.tiles.iter().map(|tile| tile.within(side)).collect();
        let line = |size: Size| size.val() as u32 + LEADING;
        let label_width = labels.iter().map(|label| bitmap_text::extent(label, TEXT_SIZE).0).max().unwrap_or_default();
        let cell_width = pictures.iter().map(|picture| picture.width()).max().unwrap_or_default().max(label_width);
        let picture_height = pictures.iter().map(|picture| picture.height()).max().unwrap_or_default();
        let cell_height = picture_height + line(TEXT_SIZE);
        let count = count.max(1) as u32;
        let columns = columns(count, cell_width + GAP, cell_height + GAP);
        let content_width = columns * (cell_width + GAP) - GAP;

        let title = wrap(title, TITLE_SIZE, content_width);
        let subtitle = wrap(&self.subtitle(), TEXT_SIZE, content_width);
        let header = title.len() as u32 * line(TITLE_SIZE) + subtitle.len() as u32 * line(TEXT_SIZE) + GAP;
        let rows = count.div_ceil(columns);
        let (width, height) = (content_width + 2 * MARGIN, 2 * MARGIN + header + rows * (cell_height + GAP) - GAP);
        let mut sheet = RgbImage::from_pixel(width, height, BACKGROUND);

        let mut y = MARGIN;
        for (lines, size, colour) in [(title, TITLE_SIZE, BRIGHT), (subtitle, TEXT_SIZE, DIM)] {
            for text in lines {
                write(&mut sheet, &text, size, (MARGIN, y), colour);
                y += line(size);
            }
        }
        for (index, (picture, label)) in (0..).zip(pictures.iter().zip(&labels)) {
            let left = MARGIN + index % columns * (cell_width + GAP);
            let top = MARGIN + header + index / columns * (cell_height + GAP);
            let (width, height) = picture.dimensions();
            // Pictures of other sizes stand on the same line, in the middle.
            let (x, y) = (left + (cell_width - width) / 2, top + picture_height - height);
            imageops::replace(&mut sheet, &**picture, x.into(), y.into());
            let (width, _) = bitmap_text::extent(label, TEXT_SIZE);
            let x = left + (cell_width - width) / 2;
            write(&mut sheet, label, TEXT_SIZE, (x, top + picture_height + LEADING), DIM);
        }
        sheet
    }

    /// Returns the time under each tile: as short as tells them apart, and the day where it changes.
    fn labels(&self) -> Vec<String> {
        let is_close = |two: &[Tile]| match two {
            [one, other] => (other.nanos() - one.nanos()).abs() < 1_000_000_000,
            _ => false,
        };
        let has_millis = self.tiles.windows(2).any(is_close);
        let mut day = None;
        let label = |tile: &Tile| match tile.time {
            None => time::in_media(tile.timecode_ns),
            Some(time) => {
                let today = time::local_day(time);
                let of_day = time::local_time_of_day(time, has_millis);
                match day.replace(today.clone()) {
                    Some(before) if before != today => format!("{today} {of_day}"),
                    _ => of_day,
                }
            }
        };
        self.tiles.iter().map(label).collect()
    }

    fn subtitle(&self) -> String {
        let count = match self.tiles.len() as u64 {
            tiles if tiles < self.pictures => format!("{tiles} of {} pictures", self.pictures),
            1 => "1 picture".into(),
            tiles => format!("{tiles} pictures"),
        };
        match (self.tiles.first(), self.tiles.last()) {
            (Some(first), Some(last)) if self.tiles.len() > 1 => {
                format!("{} to {}, {count}", first.whole_time(), last.whole_time())
            }
            (Some(only), _) => format!("{}, {count}", only.whole_time()),
            _ => count,
        }
    }
}

/// Returns the number of columns that comes nearest to the shape of a sheet.
fn columns(count: u32, cell_width: u32, cell_height: u32) -> u32 {
    let distance = |columns: u32| {
        let rows = count.div_ceil(columns);
        let shape = f64::from(columns * cell_width) / f64::from(rows * cell_height);
        let empty = f64::from(rows * columns - count) / f64::from(columns);
        (shape / SHAPE).ln().abs() + EMPTINESS * empty
    };
    (1..=count).min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap_or(1)
}

/// Breaks text into lines, at spaces where that is possible.
fn wrap(text: &str, size: Size, width: u32) -> Vec<String> {
    let (letter, _) = bitmap_text::extent("x", size);
    let most = (width / letter.max(1)).max(1) as usize;
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let Some(line) = lines.last_mut() else { break };
            let used = line.chars().count();
            let space = usize::from(used > 0);
            if used + space + word.len() <= most {
                line.extend([' '].iter().take(space).chain(&word));
                break;
            }
            if used == 0 {
                line.extend(word.drain(..most));
            }
            lines.push(String::new());
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}

fn write(sheet: &mut RgbImage, text: &str, size: Size, (left, top): (u32, u32), colour: Rgb<u8>) {
    bitmap_text::draw(text, size, |x, y, coverage| {
        if let Some(pixel) = sheet.get_pixel_mut_checked(left + x, top + y) {
            for (channel, ink) in pixel.0.iter_mut().zip(colour.0) {
                let (paper, ink, coverage) = (u32::from(*channel), u32::from(ink), u32::from(coverage));
                *channel = ((paper * (255 - coverage) + ink * coverage + 127) / 255) as u8;
            }
        }
    });
}

/// Returns the content of an image file.
pub(crate) fn encode(image: &RgbImage, format: ImageFormat) -> Result<Vec<u8>> {
    let failed = |error: String| Failure::other("cannot encode the sheet").why(error);
    let mut bytes = Vec::new();
    match format {
        ImageFormat::Png => {
            let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
            image.write_with_encoder(encoder).map_err(|error| failed(error.to_string()))?;
        }
        _ => {
            let side = |pixels: u32| u16::try_from(pixels).map_err(|error| failed(error.to_string()));
            let (width, height) = (side(image.width())?, side(image.height())?);
            let encoder = jpeg_encoder::Encoder::new(&mut bytes, JPEG_QUALITY);
            let encoded = encoder.encode(image.as_raw(), width, height, jpeg_encoder::ColorType::Rgb);
            encoded.map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(index: u64, width: u32, height: u32) -> Tile {
        let image = RgbImage::from_pixel(width, height, Rgb([200, 60, 20]));
        Tile { image, time: None, timecode_ns: index as i64 * 1_000_000_000 }
    }

    fn sheet(pictures: u64, width: u32, height: u32) -> Sheet {
        let mut sheet = Sheet::default();
        for index in 0..pictures {
            if sheet.wants_next() {
                sheet.push(tile(index, width, height));
            }
        }
        sheet
    }

    #[test]
    fn tiles_are_evenly_spaced_and_few() {
        for pictures in [1, 2, 59, 60, 61, 62, 119, 120, 121, 1000, 12_345] {
            let sheet = sheet(pictures, 4, 4);
            assert_eq!(sheet.pictures(), pictures);
            assert!(sheet.tiles.len() <= MAX_TILES && sheet.tiles.len() as u64 >= pictures.min(30), "{pictures}");
            let times: Vec<_> = sheet.tiles.iter().map(Tile::nanos).collect();
            assert_eq!(times[0], 0);
            let step = 1_000_000_000 << sheet.halvings;
            assert!(times.windows(2).all(|two| two[1] - two[0] == step), "{pictures}: {times:?}");
            // Nothing is left out at the end.
            assert!(times.last().unwrap() + step >= pictures as i64 * 1_000_000_000, "{pictures}");
        }
    }

    #[test]
    fn every_tile_is_drawn_inside_of_the_sheet() {
        for (pictures, width, height) in [(1, 320, 240), (1, 3, 2), (7, 320, 180), (60, 180, 320), (5, 1, 320)] {
            let image = sheet(pictures, width, height).draw("a-stream-with-a-name that-is-rather-long-for-one-tile");
            let painted = image.pixels().filter(|pixel| **pixel == Rgb([200, 60, 20])).count();
            let (width, height) = (u64::from(width), u64::from(height));
            let expected = if pictures > 30 { pictures * 113 * 200 } else { pictures * width * height };
            assert_eq!(painted as u64, expected, "{pictures}x{width}x{height}");
            let edge = image.enumerate_pixels().filter(|(x, y, _)| {
                *x < MARGIN || *y < MARGIN || *x >= image.width() - MARGIN || *y >= image.height() - MARGIN
            });
            assert!(edge.map(|(_, _, pixel)| *pixel).all(|pixel| pixel == BACKGROUND), "{pictures}");
        }
    }

    #[test]
    fn pictures_are_turned_counter_clockwise() {
        let [left, right] = [Rgb([1, 1, 1]), Rgb([2, 2, 2])];
        let image = RgbImage::from_fn(2, 1, |x, _| if x == 0 { left } else { right });
        let turned = |degrees: f64| upright(image.clone(), degrees).pixels().copied().collect::<Vec<_>>();
        // What is on the right goes up.
        assert_eq!(upright(image.clone(), 90.0).dimensions(), (1, 2));
        assert_eq!(turned(90.0), [right, left]);
        assert_eq!([turned(-90.0), turned(180.0), turned(0.0)], [[left, right], [right, left], [left, right]]);
    }

    #[test]
    fn labels_are_short_and_tell_a_change_of_day() {
        let at = |seconds: i64| Tile { time: Some(Timestamp::from_millis(seconds * 1000)), ..tile(0, 4, 4) };
        let labels = |seconds: [i64; 3]| {
            let sheet = Sheet { tiles: seconds.into_iter().map(at).collect(), pictures: 3, halvings: 0 };
            sheet.labels().iter().map(String::len).collect::<Vec<_>>()
        };
        let (short, long) = ("10:00:00".len(), "2026-11-20 10:00:00".len());
        assert_eq!(labels([0, 86_400, 86_401]), [short, long, short]);
        let close = Sheet { tiles: vec![tile(0, 4, 4), at(0), at(0)], pictures: 3, halvings: 0 };
        assert_eq!(close.labels()[1].len(), "10:00:00.000".len());
    }

    #[test]
    fn lines_break_at_spaces() {
        let (letter, _) = bitmap_text::extent("x", TEXT_SIZE);
        assert_eq!(wrap("one two three", TEXT_SIZE, 8 * letter), ["one two", "three"]);
        assert_eq!(wrap("a abcdefgh", TEXT_SIZE, 3 * letter), ["a", "abc", "def", "gh"]);
        assert_eq!(wrap("", TEXT_SIZE, 8 * letter), Vec::<String>::new());
    }
}
