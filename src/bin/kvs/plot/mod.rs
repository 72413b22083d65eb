//! Pictures: what is stored over time, and the audio of a call.

mod axis;
mod columns;
mod coverage;
mod png;
mod waveform;

use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::failure::{Failure, Result};
use crate::files;
use crate::screen::Screen;

use axis::TimeAxis;

pub(crate) use coverage::{Coverage, Extent, Stored};
pub(crate) use waveform::{Peaks, Waveform};

/// The size of small text, of which SVG makes 12 pixels.
const SMALL: f64 = 15.0;

/// The size of titles, of which SVG makes 16 pixels.
const LARGE: f64 = 20.0;

/// The columns of pixels left of the plots, for the labels of their axes.
const LEFT: i32 = 70;

/// The columns of pixels right of the plots, for half a label of the time axis.
const RIGHT: i32 = 40;

/// The width of a picture.
const WIDTH: u32 = 1200;

/// The left and right end of the plots.
const PLOT: (i32, i32) = (LEFT, WIDTH as i32 - RIGHT);

/// The height of the title above a panel.
const PANEL_TITLE: i32 = 22;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GREY: RGBColor = RGBColor(0x6B, 0x6B, 0x6B);
const PALE: RGBColor = RGBColor(0xDC, 0xDC, 0xDC);

/// A part of a picture, in pixels.
type Area<B> = DrawingArea<B, Shift>;

/// A chart over time.
type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<TimeAxis, RangedCoordf64>>;

type Drawn<B> = std::result::Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// The file of a picture. The end of its name decides the format.
#[derive(Clone, Debug)]
pub(crate) struct PictureFile {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Png,
    Svg,
}

impl FromStr for PictureFile {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let path = PathBuf::from(text);
        let is = |name: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(name));
        let format = match (is("svg"), is("png")) {
            (true, _) => Format::Svg,
            (_, true) => Format::Png,
            _ => return Err("the name of a picture has to end in .svg or .png".into()),
        };
        Ok(Self { path, format })
    }
}

/// A picture that can be drawn in every format.
pub(crate) trait Picture {
    /// Returns the width and height in pixels.
    fn size(&self) -> (u32, u32);

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B>;
}

impl PictureFile {
    /// Returns the file of the same folder and format whose name has `-TEXT` at its end.
    pub(crate) fn with_suffix(&self, text: &str) -> Self {
        Self { path: files::with_suffix(&self.path, text), format: self.format }
    }

    /// Returns the file, or one with a number at the end of its name if it exists.
    pub(crate) fn unused(self) -> Self {
        let numbered = (2u64..).map(|number| self.with_suffix(&number.to_string()));
        let mut names = std::iter::once(self.clone()).chain(numbered);
        names.find(|file| !file.path.exists()).unwrap_or_else(|| self.clone())
    }

    /// Draws a picture, saves it and tells where it is.
    pub(crate) async fn save(&self, picture: &impl Picture, screen: &Screen) -> Result<()> {
        let drawn = self.format.encode(picture);
        let bytes = drawn.map_err(|why| Failure::other(format!("cannot draw {}", self.path.display())).why(why))?;
        files::save(&self.path, bytes).await?;
        screen.note(&format!("drawn in {}", self.path.display()));
        Ok(())
    }
}

impl Format {
    fn encode(self, picture: &impl Picture) -> std::result::Result<Vec<u8>, String> {
        match self {
            Self::Png => png::encode(picture),
            Self::Svg => {
                let mut text = String::new();
                let area = SVGBackend::with_string(&mut text, picture.size()).into_drawing_area();
                picture.draw(&area).and_then(|()| area.present()).map_err(|error| error.to_string())?;
                drop(area);
                Ok(text.into_bytes())
            }
        }
    }
}

/// Draws the title of a panel, and returns the area below it.
fn panel_area<B: DrawingBackend>(
    area: &Area<B>,
    title: &str,
    (top, height): (i32, i32),
) -> std::result::Result<Area<B>, DrawingAreaErrorKind<B::ErrorType>> {
    area.draw_text(title, &text_style(SMALL, INK, HPos::Left, VPos::Top), (LEFT, top))?;
    Ok(area.clone().shrink((0, top + PANEL_TITLE), (WIDTH, height - PANEL_TITLE)))
}

/// Begins the chart of a panel, whose values are in the range `vertical`.
fn panel_chart<'a, B: DrawingBackend>(
    panel: &'a Area<B>,
    axis: &TimeAxis,
    vertical: Range<f64>,
) -> std::result::Result<Chart<'a, B>, DrawingAreaErrorKind<B::ErrorType>> {
    ChartBuilder::on(panel)
        .set_left_and_bottom_label_area_size(0)
        .y_label_area_size(LEFT)
        .margin_right(RIGHT)
        .margin_bottom(12)
        .build_cartesian_2d(axis.clone(), vertical)
}

/// Draws the lines of a chart, and about so many labels of its values.
fn draw_mesh<B: DrawingBackend>(chart: &mut Chart<'_, B>, labels: usize, format: &dyn Fn(&f64) -> String) -> Drawn<B> {
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(PALE)
        .max_light_lines(0)
        .y_labels(labels)
        .y_label_style(text_style(SMALL, GREY, HPos::Right, VPos::Center))
        .y_label_formatter(format)
        .axis_style(GREY)
        .set_all_tick_mark_size(4)
        .draw()
}

/// Returns the style of text.
fn text_style(size: f64, color: RGBColor, h_pos: HPos, v_pos: VPos) -> TextStyle<'static> {
    let font = FontDesc::new(FontFamily::SansSerif, size, FontStyle::Normal);
    TextStyle { font, color: color.to_backend_color(), pos: Pos::new(h_pos, v_pos) }
}

/// Draws the first two lines of a picture: its title, and a line of facts.
fn draw_title<B: DrawingBackend>(area: &Area<B>, title: &str, facts: &str) -> Drawn<B> {
    // The widths of SVG text are estimates, as the font is that of whoever looks at it.
    let width = area.dim_in_pixel().0 * 4 / 5;
    for (text, size, color, top) in [(title, LARGE, INK, 10), (facts, SMALL, GREY, 36)] {
        let style = text_style(size, color, HPos::Left, VPos::Top);
        area.draw_text(&fitting(area, &printable(text), &style, width)?, &style, (LEFT / 3, top))?;
    }
    Ok(())
}

/// Draws what colours mean, each as a square with a word, up to the right end of the plots.
fn draw_legend<B: DrawingBackend>(area: &Area<B>, top: i32, entries: &[(RGBColor, &str)]) -> Drawn<B> {
    let style = text_style(SMALL, GREY, HPos::Left, VPos::Center);
    let mut right = area.dim_in_pixel().0 as i32 - RIGHT;
    for (color, word) in entries.iter().rev() {
        let left = right - area.estimate_text_size(word, &style)?.0 as i32;
        area.draw_text(word, &style, (left, top + 6))?;
        area.draw(&Rectangle::new([(left - 18, top), (left - 6, top + 12)], color.filled()))?;
        right = left - 36;
    }
    Ok(())
}

/// Shortens text in its middle until it fits.
fn fitting<B: DrawingBackend>(
    area: &Area<B>,
    text: &str,
    style: &TextStyle<'_>,
    width: u32,
) -> std::result::Result<String, DrawingAreaErrorKind<B::ErrorType>> {
    let needed = area.estimate_text_size(text, style)?.0;
    if needed <= width {
        return Ok(text.to_owned());
    }
    let count = text.chars().count();
    let kept = (count as u64 * u64::from(width) / u64::from(needed.max(1))) as usize;
    let side = kept.saturating_sub(3) / 2;
    let begin: String = text.chars().take(side).collect();
    let end: String = text.chars().skip(count - side).collect();
    Ok(format!("{begin}...{end}"))
}

/// Replaces the characters that XML does not allow.
fn printable(text: &str) -> String {
    let is_allowed = |c: char| !c.is_control() && !matches!(c, '\u{FFFE}' | '\u{FFFF}');
    text.chars().map(|c| if is_allowed(c) { c } else { '\u{FFFD}' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing but a title.
    struct Title(String);

    impl Picture for Title {
        fn size(&self) -> (u32, u32) {
            (400, 60)
        }

        fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
            area.fill(&WHITE)?;
            draw_title(area, &self.0, "facts")
        }
    }

    #[test]
    fn the_name_decides_the_format() {
        let format = |name: &str| name.parse::<PictureFile>().map(|file| file.format);
        assert_eq!((format("a/b.svg"), format("B.PNG")), (Ok(Format::Svg), Ok(Format::Png)));
        assert!(format("a.jpg").is_err() && format("svg").is_err());
        let file: PictureFile = "a.b/c.d.svg".parse().unwrap();
        assert_eq!(file.with_suffix("x").path, PathBuf::from("a.b/c.d-x.svg"));
    }

    #[test]
    fn names_are_escaped_and_shortened() {
        let svg = String::from_utf8(Format::Svg.encode(&Title("<a> & \"b\"\u{1}'".into())).unwrap()).unwrap();
        assert!(svg.contains("&lt;a&gt; &amp; &quot;b&quot;\u{FFFD}&apos;") && svg.ends_with("</svg>\n"), "{svg}");
        let svg = String::from_utf8(Format::Svg.encode(&Title("long".repeat(100))).unwrap()).unwrap();
        let title = svg.lines().find(|line| line.starts_with("long")).unwrap();
        assert!(title.len() < 50 && title.contains("...") && title.ends_with("long"), "{title}");
    }
}
