//! [`Coverage`]: what is stored over time, with its gaps, fragments and bit rate.

use std::time::Duration;

use indicatif::HumanBytes;
use jiff::tz::TimeZone;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::TimeAxis;
use super::columns::Columns;
use super::{
    Area, Drawn, INK, LEFT, PALE, PLOT, Picture, SMALL, WIDTH, draw_legend, draw_mesh, draw_title, panel_area,
    panel_chart, text_style,
};
use crate::{time, words};

const HEIGHT: u32 = 620;

const BAR_TOP: i32 = 104;
const BAR_BOTTOM: i32 = 136;
const PANELS_TOP: i32 = 154;
const PANEL_HEIGHT: i32 = 138;

/// The most labels of gaps. They are those of the longest ones.
const MOST_LABELS: usize = 24;

/// A bin of the bit rate has so many columns of pixels.
const BIN: usize = 4;

/// Each fragment gets a mark if they have so many pixels each.
const MARK_ROOM: i32 = 12;

const STORED: RGBColor = RGBColor(0x3A, 0x8F, 0x5C);
const GAP: RGBColor = RGBColor(0xD6, 0x3E, 0x4F);
const DURATION: RGBColor = RGBColor(0x2B, 0x6C, 0xB0);
const SIZE: RGBColor = RGBColor(0x80, 0x5A, 0xD5);
const RATE: RGBColor = RGBColor(0xB7, 0x79, 0x1F);

/// A stored fragment, as the picture shows it. Times are milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored {
    pub(crate) start: f64,
    /// The end, or the start of the next fragment if no gap is before it.
    pub(crate) end: f64,
    pub(crate) duration: Duration,
    pub(crate) bytes: u64,
    /// The gap after the fragment.
    pub(crate) gap: Option<Duration>,
}

/// The range and the totals of a picture.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) name: String,
    /// Milliseconds since 1970, or since the beginning of a file whose fragments have no time.
    pub(crate) start: f64,
    pub(crate) end: f64,
    /// `None` if times count from the beginning.
    pub(crate) zone: Option<TimeZone>,
    /// The facts below the title.
    pub(crate) facts: String,
}

/// The picture of stored fragments, which are ordered by time.
#[derive(Clone, Debug)]
pub(crate) struct Coverage<'a> {
    pub(crate) extent: Extent,
    pub(crate) fragments: &'a [Stored],
}

/// A panel with values over time.
struct Panel {
    title: String,
    color: RGBColor,
    unit: f64,
    /// The filled steps.
    fill: Vec<Option<f64>>,
    /// The line, if it is not the upper edge of the fill.
    line: Option<Vec<Option<f64>>>,
    columns: Columns,
    /// The marks of single fragments.
    marks: Vec<(f64, f64)>,
}

impl Picture for Coverage<'_> {
    fn size(&self) -> (u32, u32) {
        (WIDTH, HEIGHT)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let Extent { name, start, end, zone, facts } = &self.extent;
        let axis = TimeAxis::new(*start, *end, zone.clone(), 10);
        area.fill(&WHITE)?;
        draw_title(area, name, facts)?;
        self.draw_bar(area, &axis)?;
        let mut top = PANELS_TOP;
        for panel in [self.durations(&axis), self.sizes(&axis), self.bit_rate(&axis)] {
            panel.draw(area, &axis, top)?;
            top += PANEL_HEIGHT;
        }
        axis.draw_labels(area, PLOT, top)
    }
}

impl Coverage<'_> {
    fn columns(axis: &TimeAxis, pixels: usize) -> Columns {
        let width = (PLOT.1 - PLOT.0).unsigned_abs() as usize;
        Columns { start: axis.start, end: axis.end, count: width / pixels }
    }

    /// Draws a bar of what is stored and what is missing, with the lengths of the gaps above it.
    fn draw_bar<B: DrawingBackend>(&self, area: &Area<B>, axis: &TimeAxis) -> Drawn<B> {
        area.draw_text("Coverage", &text_style(SMALL, INK, HPos::Left, VPos::Top), (LEFT, 62))?;
        let rectangle = |left: i32, right: i32, top: i32, color: RGBColor| {
            Rectangle::new([(left, top), (right, BAR_BOTTOM)], color.filled())
        };
        area.draw(&rectangle(PLOT.0, PLOT.1, BAR_TOP, PALE))?;
        let (Some(first), Some(last)) = (self.fragments.first(), self.fragments.last()) else { return Ok(()) };
        let left = axis.pixel(first.start, PLOT);
        let right = axis.pixel(last.end, PLOT).max(left + 1);
        area.draw(&rectangle(left, right, BAR_TOP, STORED))?;
        let mut legend = vec![(STORED, "stored")];
        if self.gaps().next().is_some() {
            legend.push((GAP, "gap"));
        }
        if left > PLOT.0 || right < PLOT.1 {
            legend.push((PALE, "nothing before or after"));
        }
        draw_legend(area, 62, &legend)?;

        // A column with part of a gap shows how much is missing, but a quarter at least.
        let columns = Self::columns(axis, 1);
        let mut missing = vec![None; columns.count];
        for (from, to, _) in self.gaps() {
            columns.touched(from, to, |at, share| {
                if let Some(missing) = missing.get_mut(at) {
                    *missing = Some(missing.unwrap_or_default() + share / columns.width());
                }
            });
        }
        // Eighths, so that many small gaps make few points. A column is full only if nothing of it is stored.
        let height = |share: f64| if share > 0.9999 { 1.0 } else { (share * 8.0).round().clamp(2.0, 7.0) / 8.0 };
        let missing: Vec<Option<f64>> = missing.into_iter().map(|share: Option<f64>| share.map(height)).collect();
        for outline in columns.steps(&missing) {
            let point = |&(at, share): &(f64, f64)| {
                (axis.pixel(at, PLOT), BAR_BOTTOM - (share * f64::from(BAR_BOTTOM - BAR_TOP)).round() as i32)
            };
            let mut points: Vec<(i32, i32)> = outline.iter().map(point).collect();
            let (from, to) = (points.first().map_or(0, |point| point.0), points.last().map_or(0, |point| point.0));
            points.extend([(to, BAR_BOTTOM), (from, BAR_BOTTOM)]);
            area.draw(&Polygon::new(points, GAP.filled()))?;
        }
        self.draw_gap_labels(area, axis)
    }

    /// Returns the gaps: from, to, and how long each is.
    fn gaps(&self) -> impl Iterator<Item = (f64, f64, Duration)> {
        let next = self.fragments.iter().skip(1);
        self.fragments.iter().zip(next).filter_map(|(before, after)| {
            let gap = before.gap?;
            Some((before.end, after.start.max(before.end), gap))
        })
    }

    /// Labels the longest gaps with their lengths, where there is room.
    fn draw_gap_labels<B: DrawingBackend>(&self, area: &Area<B>, axis: &TimeAxis) -> Drawn<B> {
        let style = text_style(SMALL, GAP, HPos::Center, VPos::Bottom);
        let mut gaps: Vec<_> = self.gaps().collect();
        gaps.sort_by_key(|(.., gap)| std::cmp::Reverse(*gap));
        let mut taken: Vec<(i32, i32)> = Vec::new();
        for (from, to, gap) in gaps.into_iter().take(MOST_LABELS) {
            let text = time::duration(gap);
            let half = area.estimate_text_size(&text, &style)?.0 as i32 / 2 + 4;
            let middle = axis.pixel(f64::midpoint(from, to), PLOT).clamp(PLOT.0 + half, PLOT.1 - half);
            let (left, right) = (middle - half, middle + half);
            if taken.iter().all(|(begin, end)| right < *begin || left > *end) {
                area.draw_text(&text, &style, (middle, BAR_TOP - 2))?;
                taken.push((left, right));
            }
        }
        Ok(())
    }

    fn durations(&self, axis: &TimeAxis) -> Panel {
        let longest = self.fragments.iter().map(|fragment| fragment.duration.as_secs_f64()).fold(0.0, f64::max);
        let (unit, name) = match longest {
            ..1.0 => (1e-3, "ms"),
            1.0..600.0 => (1.0, "s"),
            _ => (60.0, "min"),
        };
        self.each(axis, "Duration of the fragments", DURATION, (unit, name), |fragment| fragment.duration.as_secs_f64())
    }

    fn sizes(&self, axis: &TimeAxis) -> Panel {
        let largest = self.fragments.iter().map(|fragment| fragment.bytes).max().unwrap_or_default();
        let (unit, name) = match largest {
            ..1024 => (1.0, "B"),
            1024..1_048_576 => (1024.0, "KiB"),
            _ => (1_048_576.0, "MiB"),
        };
        self.each(axis, "Size of the fragments", SIZE, (unit, name), |fragment| fragment.bytes as f64)
    }

    /// Returns the panel of a value that each fragment has.
    fn each(
        &self,
        axis: &TimeAxis,
        title: &str,
        color: RGBColor,
        (unit, name): (f64, &str),
        value: impl Fn(&Stored) -> f64,
    ) -> Panel {
        let columns = Self::columns(axis, 1);
        let mut largest: Vec<Option<f64>> = vec![None; columns.count];
        let mut sums = vec![(0.0, 0u32); columns.count];
        for fragment in self.fragments {
            let value = value(fragment);
            columns.touched(fragment.start, fragment.end, |at, _| {
                if let (Some(largest), Some((sum, count))) = (largest.get_mut(at), sums.get_mut(at)) {
                    *largest = Some(largest.map_or(value, |largest: f64| largest.max(value)));
                    *sum += value;
                    *count += 1;
                }
            });
        }
        // Neighbours share a column. More in one are summed up.
        let is_dense = sums.iter().any(|(_, count)| *count > 2);
        let mean = |(sum, count): (f64, u32)| (count > 0).then(|| sum / f64::from(count));
        let line = is_dense.then(|| sums.into_iter().map(mean).collect());
        let detail = if is_dense { " (line: mean, area: largest)" } else { "" };
        let mark = |fragment: &Stored| (f64::midpoint(fragment.start, fragment.end), value(fragment));
        let marks = if self.has_room(axis) { self.fragments.iter().map(mark).collect() } else { Vec::new() };
        Panel { title: format!("{title}, {name}{detail}"), color, unit, fill: largest, line, columns, marks }
    }

    /// Returns whether single fragments can be told apart.
    fn has_room(&self, axis: &TimeAxis) -> bool {
        let (Some(first), Some(last)) = (self.fragments.first(), self.fragments.last()) else { return false };
        let pixels = axis.pixel(last.end, PLOT) - axis.pixel(first.start, PLOT);
        self.fragments.len() as i64 * i64::from(MARK_ROOM) <= i64::from(pixels)
    }

    fn bit_rate(&self, axis: &TimeAxis) -> Panel {
        if self.has_room(axis) {
            let rate = |fragment: &Stored| match fragment.end - fragment.start {
                length if length > 0.0 => fragment.bytes as f64 * 8000.0 / length,
                _ => 0.0,
            };
            let unit = rate_unit(self.fragments.iter().map(rate).fold(0.0, f64::max));
            return self.each(axis, "Bit rate", RATE, unit, rate);
        }
        let columns = Self::columns(axis, BIN);
        let mut bits = vec![0.0; columns.count];
        for fragment in self.fragments {
            let length = fragment.end - fragment.start;
            let rate = if length > 0.0 { fragment.bytes as f64 * 8.0 / length } else { 0.0 };
            columns.touched(fragment.start, fragment.end, |at, share| {
                if let Some(bits) = bits.get_mut(at) {
                    *bits += if length > 0.0 { rate * share } else { fragment.bytes as f64 * 8.0 };
                }
            });
        }
        let seconds = columns.width() / 1000.0;
        let rates: Vec<f64> = bits.into_iter().map(|bits| bits / seconds).collect();
        let highest = rates.iter().copied().fold(0.0, f64::max);
        let (unit, name) = rate_unit(highest);
        let bin = time::duration(Duration::from_secs_f64(seconds));
        let title = format!("Bit rate, {name}: mean of each {bin}");
        let fill = rates.into_iter().map(|rate| (rate > 0.0).then_some(rate)).collect();
        Panel { title, color: RATE, unit, fill, line: None, columns, marks: Vec::new() }
    }
}

impl Panel {
    fn draw<B: DrawingBackend>(&self, area: &Area<B>, axis: &TimeAxis, top: i32) -> Drawn<B> {
        let highest = self.fill.iter().flatten().copied().fold(0.0, f64::max) / self.unit;
        let highest = if highest > 0.0 { highest * 1.15 } else { 1.0 };
        let panel = panel_area(area, &self.title, (top, PANEL_HEIGHT))?;
        let mut chart = panel_chart(&panel, axis, 0.0..highest)?;
        draw_mesh(&mut chart, 4, &|value| number(*value))?;
        let scaled = |outline: Vec<(f64, f64)>| -> Vec<(f64, f64)> {
            outline.into_iter().map(|(at, value)| (at, value / self.unit)).collect()
        };
        for outline in self.columns.steps(&self.fill) {
            let line = scaled(outline);
            let mut shape = line.clone();
            let (from, to) = (line.first().map_or(0.0, |point| point.0), line.last().map_or(0.0, |point| point.0));
            shape.extend([(to, 0.0), (from, 0.0)]);
            chart.draw_series([Polygon::new(shape, self.color.mix(0.3))])?;
            if self.line.is_none() {
                chart.draw_series([PathElement::new(line, self.color)])?;
            }
        }
        for outline in self.line.iter().flat_map(|line| self.columns.steps(line)) {
            chart.draw_series([PathElement::new(scaled(outline), self.color)])?;
        }
        let marks = self.marks.iter().map(|(at, value)| Circle::new((*at, value / self.unit), 3, self.color.filled()));
        chart.draw_series(marks)?;
        Ok(())
    }
}

/// Returns the unit of bit rates up to the highest, and its name.
fn rate_unit(highest: f64) -> (f64, &'static str) {
    match highest {
        ..1e4 => (1.0, "bit/s"),
        1e4..1e6 => (1e3, "kbit/s"),
        _ => (1e6, "Mbit/s"),
    }
}

/// Formats the number of a tick, without the noise of binary fractions.
fn number(value: f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6)
}

impl Extent {
    /// Returns the facts: the range, the number of fragments, their size, and what is covered.
    pub(crate) fn facts(range: &str, fragments: u64, bytes: u64, percent: f64, gaps: u64) -> String {
        let (fragments, gaps) = (words::count(fragments, "fragment"), words::count(gaps, "gap"));
        format!("{range}: {fragments}, {}, {percent:.1} % covered, {gaps}", HumanBytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::Format;

    const BEGIN: f64 = 1_795_168_800_000.0;

    /// Fragments of two seconds each. After every so many 90 s are missing.
    fn stored(count: u32, between_gaps: u32) -> Vec<Stored> {
        let mut start = BEGIN;
        let fragment = |n: u32| {
            let gap = ((n + 1).is_multiple_of(between_gaps) && n + 1 < count).then_some(Duration::from_secs(90));
            let end = start + 2000.0;
            let bytes = 200_000 + u64::from(n * 7919 % 1000) * 300;
            let stored = Stored { start, end, duration: Duration::from_millis(2000), bytes, gap };
            start = end + gap.map_or(0.0, |gap| gap.as_secs_f64() * 1000.0);
            stored
        };
        (0..count).map(fragment).collect()
    }

    fn draw(name: &str, fragments: &[Stored], format: Format) -> Vec<u8> {
        let end = fragments.last().map_or(BEGIN, |last| last.end);
        let gaps = fragments.iter().filter(|fragment| fragment.gap.is_some()).count() as u64;
        let bytes = fragments.iter().map(|fragment| fragment.bytes).sum();
        let range = format!("2026-11-20 10:00:00.000 UTC to {end}");
        let facts = Extent::facts(&range, fragments.len() as u64, bytes, 95.0, gaps);
        let extent =
            Extent { name: name.into(), start: BEGIN - 2000.0, end: end + 1000.0, zone: Some(TimeZone::UTC), facts };
        let drawn = format.encode(&Coverage { extent, fragments });
        drawn.unwrap_or_else(String::into_bytes)
    }

    #[test]
    fn a_picture_stays_small_for_any_number_of_fragments() {
        for (count, between_gaps) in [(1, 9), (3, 2), (50, 7), (50_000, 4000), (50_000, 3)] {
            let fragments = stored(count, between_gaps);
            let svg = draw("front-door", &fragments, Format::Svg);
            let png = draw("front-door", &fragments, Format::Png);
            let text = String::from_utf8_lossy(&svg);
            assert_eq!(text.contains(">\ngap\n<"), count > 1);
            assert!(svg.starts_with(b"<svg") && svg.len() < 150_000, "{count}: {} bytes", svg.len());
            assert!(png.starts_with(b"\x89PNG") && png.len() < 150_000, "{count}: {} bytes", png.len());
        }
    }
}
