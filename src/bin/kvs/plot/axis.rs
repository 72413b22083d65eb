//! The time axis of a picture.

use std::ops::Range;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{Area, Drawn, GREY, INK, SMALL, text_style};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The distances between ticks that people count in.
const STEPS: [i64; 34] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
    15 * SECOND,
    30 * SECOND,
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    6 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    56 * DAY,
    91 * DAY,
    182 * DAY,
];

/// Milliseconds from left to right: since 1970 in a time zone, or since the beginning.
#[derive(Clone, Debug)]
pub(super) struct TimeAxis {
    pub(super) start: f64,
    pub(super) end: f64,
    /// `None` if times count from the beginning.
    zone: Option<TimeZone>,
    ticks: Vec<Tick>,
}

#[derive(Clone, Debug)]
struct Tick {
    at: f64,
    label: String,
    /// The day, at the first tick of each.
    day: Option<String>,
}

impl TimeAxis {
    /// Creates an axis with at most `ticks` ticks.
    pub(super) fn new(start: f64, end: f64, zone: Option<TimeZone>, ticks: usize) -> Self {
        // A moment becomes a second.
        let end = if end - start < 1.0 { start + 1000.0 } else { end };
        let ticks = make_ticks(start, end, zone.as_ref(), ticks.max(1));
        Self { start, end, zone, ticks }
    }

    /// Returns the pixel of a time.
    pub(super) fn pixel(&self, time: f64, (left, right): (i32, i32)) -> i32 {
        let share = (time - self.start) / (self.end - self.start);
        left + (share.clamp(0.0, 1.0) * f64::from(right - left)).round() as i32
    }

    /// Draws the labels of the ticks, and below them the days and the time zone.
    pub(super) fn draw_labels<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        (left, right): (i32, i32),
        top: i32,
    ) -> Drawn<B> {
        let label = text_style(SMALL, INK, HPos::Center, VPos::Top);
        let day = text_style(SMALL, GREY, HPos::Center, VPos::Top);
        let end = text_style(SMALL, GREY, HPos::Right, VPos::Top);
        let zone = self.zone_name();
        let width = area.estimate_text_size(&zone, &end)?.0 as i32;
        let mut free_from = i32::MIN;
        for tick in &self.ticks {
            let x = self.pixel(tick.at, (left, right));
            area.draw(&PathElement::new(vec![(x, top), (x, top + 4)], GREY))?;
            area.draw_text(&tick.label, &label, (x, top + 7))?;
            if let Some(text) = &tick.day {
                let half = area.estimate_text_size(text, &day)?.0 as i32 / 2 + 4;
                if x - half >= free_from && x + half < right + 30 - width {
                    area.draw_text(text, &day, (x, top + 24))?;
                    free_from = x + half;
                }
            }
        }
        area.draw_text(&zone, &end, (right + 30, top + 24))
    }

    /// Returns the name of the time zone at both ends, such as "UTC" or "CEST/CET".
    fn zone_name(&self) -> String {
        let Some(zone) = &self.zone else { return "time from the beginning".into() };
        let name = |time: f64| match Timestamp::from_millisecond(time as i64) {
            Ok(time) => time.to_zoned(zone.clone()).strftime("%Z").to_string(),
            Err(_) => String::new(),
        };
        let (first, last) = (name(self.start), name(self.end));
        if first == last { first } else { format!("{first}/{last}") }
    }
}

fn make_ticks(start: f64, end: f64, zone: Option<&TimeZone>, most: usize) -> Vec<Tick> {
    let length = end - start;
    let years = (length / (364 * DAY) as f64 / most as f64).ceil() as i64;
    let step = STEPS.into_iter().find(|step| length / *step as f64 <= most as f64).unwrap_or(364 * DAY * years);
    let mut ticks: Vec<Tick> = Vec::new();
    // Ticks are at whole steps of local time, also after the clocks have changed.
    let mut at = aligned(start as i64, step, zone);
    let mut day_before = None;
    while (at as f64) <= end && ticks.len() < 2 * most + 2 {
        if at as f64 >= start && ticks.last().is_none_or(|last| at as f64 > last.at) {
            let (label, day) = match zone {
                Some(zone) => local_label(at, step, zone),
                None => (elapsed_label(at, step), None),
            };
            let is_new = day.is_some() && day != day_before;
            day_before = day.clone();
            ticks.push(Tick { at: at as f64, label, day: day.filter(|_| is_new) });
        }
        // Half a step more than one, so that an hour that the clocks skip or repeat does not matter.
        let next = aligned(at + step + step / 2, step, zone);
        at = if next > at { next } else { at + step };
    }
    ticks
}

/// Returns the last whole step of local time at or before a time.
fn aligned(time: i64, step: i64, zone: Option<&TimeZone>) -> i64 {
    let offset = |time: i64| offset(time, zone);
    let local = time + offset(time);
    let whole = local.div_euclid(step) * step;
    // The clocks may have changed in between.
    let guess = whole - offset(time);
    whole - offset(guess)
}

/// Returns how far local time is ahead of UTC.
fn offset(time: i64, zone: Option<&TimeZone>) -> i64 {
    match (zone, Timestamp::from_millisecond(time)) {
        (Some(zone), Ok(time)) => i64::from(zone.to_offset(time).seconds()) * SECOND,
        _ => 0,
    }
}

/// Returns the label of a tick, and its day if the label has none.
fn local_label(at: i64, step: i64, zone: &TimeZone) -> (String, Option<String>) {
    let Ok(time) = Timestamp::from_millisecond(at) else { return (String::new(), None) };
    let zoned = time.to_zoned(zone.clone());
    let format = match step {
        ..SECOND => "%H:%M:%S%.3f",
        SECOND..MINUTE => "%H:%M:%S",
        MINUTE..DAY => "%H:%M",
        _ => return (zoned.strftime("%Y-%m-%d").to_string(), None),
    };
    (zoned.strftime(format).to_string(), Some(zoned.strftime("%Y-%m-%d").to_string()))
}

/// Returns minutes and seconds from the beginning, with hours if there are any.
fn elapsed_label(at: i64, step: i64) -> String {
    let (hours, minutes, seconds) = (at / HOUR, at / MINUTE % 60, at / SECOND % 60);
    let millis = if step < SECOND { format!(".{:03}", at % SECOND) } else { String::new() };
    match hours {
        0 => format!("{minutes}:{seconds:02}{millis}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}{millis}"),
    }
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.pixel(*value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.ticks.iter().map(|tick| tick.at).collect(),
        }
    }

    fn range(&self) -> Range<f64> {
        self.start..self.end
    }
}

impl ValueFormatter<f64> for TimeAxis {
    fn format_ext(&self, _: &f64) -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(start: &str, hours: f64, zone: &str, most: usize) -> Vec<String> {
        let start = start.parse::<Timestamp>().unwrap().as_millisecond() as f64;
        let zone = TimeZone::get(zone).unwrap();
        let axis = TimeAxis::new(start, start + hours * HOUR as f64, Some(zone), most);
        let text = |tick: &Tick| format!("{} {}", tick.day.as_deref().unwrap_or_default(), tick.label);
        axis.ticks.iter().map(|tick| text(tick).trim().to_owned()).collect()
    }

    #[test]
    fn ticks_are_at_whole_local_times() {
        let ticks = labels("2026-11-20T10:00:03Z", 0.01, "UTC", 5);
        assert_eq!(ticks, ["2026-11-20 10:00:10", "10:00:20", "10:00:30"]);
        let ticks = labels("2026-11-20T21:15:00Z", 4.0, "Europe/Berlin", 4);
        assert_eq!(ticks, ["2026-11-20 23:00", "2026-11-21 00:00", "01:00", "02:00"]);
        let ticks = labels("2026-11-20T12:00:00Z", 72.0, "Asia/Kolkata", 4);
        assert_eq!(ticks, ["2026-11-21", "2026-11-22", "2026-11-23"]);
    }

    #[test]
    fn ticks_stay_whole_when_the_clocks_change() {
        // Both days of 2026 in Berlin on which the clocks change.
        let ticks = labels("2026-03-28T17:00:00Z", 24.0, "Europe/Berlin", 4);
        assert_eq!(ticks, ["2026-03-28 18:00", "2026-03-29 00:00", "06:00", "12:00", "18:00"]);
        let ticks = labels("2026-10-24T16:00:00Z", 25.0, "Europe/Berlin", 5);
        assert_eq!(ticks, ["2026-10-24 18:00", "2026-10-25 00:00", "06:00", "12:00", "18:00"]);
    }

    #[test]
    fn elapsed_times_have_hours_if_needed() {
        let axis = TimeAxis::new(0.0, 2.0 * HOUR as f64, None, 4);
        let labels: Vec<_> = axis.ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["0:00", "30:00", "1:00:00", "1:30:00", "2:00:00"]);
        assert_eq!(elapsed_label(61_250, 50), "1:01.250");
    }

    #[test]
    fn any_range_has_few_ticks() {
        for length in [0.0, 1.0, 7.0, 999.0, 1e5, 3.7e7, 1e9, 1e11, 1e13] {
            for zone in [None, Some(TimeZone::get("America/St_Johns").unwrap())] {
                let axis = TimeAxis::new(1.79e12, 1.79e12 + length, zone, 10);
                assert!((1..=12).contains(&axis.ticks.len()), "{} of {length}", axis.ticks.len());
            }
        }
    }
}
