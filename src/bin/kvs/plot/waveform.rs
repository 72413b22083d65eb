//! [`Waveform`]: the audio of both parties of a call.

use kinesis_video::Party;
use kinesis_video::audio::SAMPLE_RATE;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::TimeAxis;
use super::{
    Area, Drawn, GREY, PANEL_TITLE, PLOT, Picture, SMALL, WIDTH, draw_legend, draw_mesh, draw_title, panel_area,
    panel_chart, text_style,
};

const HEIGHT: u32 = 420;
const LANES_TOP: i32 = 66;
const LANE_HEIGHT: i32 = 150;

/// The most columns of a lane: two for each pixel. When they are full, pairs become one.
const COLUMNS: usize = 2 * (PLOT.1 - PLOT.0).unsigned_abs() as usize;

/// The samples of a column at first: a millisecond.
const FINEST: u64 = SAMPLE_RATE as u64 / 1000;

/// The lowest loudest peak that fills a lane, so that noise does not look like speech.
const QUIET: i16 = 655;

const CUSTOMER: RGBColor = RGBColor(0x2B, 0x6C, 0xB0);
const AGENT: RGBColor = RGBColor(0x2C, 0x7A, 0x7B);
const FILLED: RGBColor = RGBColor(0xF6, 0xD8, 0xA8);

/// The peaks of both parties. They take the same memory for a call of any length.
#[derive(Clone, Debug)]
pub(crate) struct Peaks {
    lanes: [Vec<Column>; 2],
    samples_per_column: u64,
    /// The end of the audio, in samples.
    end: u64,
}

/// The audio of a moment: its lowest and highest sample, and whether it was filled in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Column {
    /// The lowest and the highest sample.
    peaks: Option<(i16, i16)>,
    is_filled: bool,
}

impl Column {
    fn merge(self, other: Self) -> Self {
        let peaks = match (self.peaks, other.peaks) {
            (Some((low, high)), Some((lower, higher))) => Some((low.min(lower), high.max(higher))),
            (one, another) => one.or(another),
        };
        Self { peaks, is_filled: self.is_filled || other.is_filled }
    }
}

impl Default for Peaks {
    fn default() -> Self {
        Self { lanes: [Vec::new(), Vec::new()], samples_per_column: FINEST, end: 0 }
    }
}

impl Peaks {
    /// Adds samples of a party that begin at a position.
    pub(crate) fn add(&mut self, party: Party, position: u64, samples: &[i16], is_filled: bool) {
        let end = position + samples.len() as u64;
        if samples.is_empty() {
            return;
        }
        self.end = self.end.max(end);
        while end.div_ceil(self.samples_per_column) > COLUMNS as u64 {
            self.halve();
        }
        let size = self.samples_per_column;
        let Some(lane) = self.lanes.get_mut(usize::from(party == Party::ToCustomer)) else { return };
        let (first, last) = ((position / size) as usize, ((end - 1) / size) as usize);
        if lane.len() <= last {
            lane.resize(last + 1, Column::default());
        }
        let mut rest = samples;
        for (at, column) in (first as u64..).zip(lane.iter_mut().take(last + 1).skip(first)) {
            let room = ((at + 1) * size).saturating_sub(position.max(at * size));
            let (part, after) = rest.split_at((room as usize).min(rest.len()));
            rest = after;
            let peaks = part.iter().min().zip(part.iter().max()).map(|(low, high)| (*low, *high));
            *column = column.merge(Column { peaks: peaks.filter(|_| !is_filled), is_filled });
        }
    }

    /// Makes one column of each pair.
    fn halve(&mut self) {
        for lane in &mut self.lanes {
            let pairs = lane.chunks(2).map(|pair| pair.iter().copied().fold(Column::default(), Column::merge));
            *lane = pairs.collect();
        }
        self.samples_per_column *= 2;
    }

    /// Returns the largest amplitude.
    fn loudest(&self) -> i16 {
        let peaks = self.lanes.iter().flatten().filter_map(|column| column.peaks);
        peaks.map(|(low, high)| low.saturating_neg().max(high)).max().unwrap_or_default()
    }
}

/// The picture of a call.
#[derive(Clone, Debug)]
pub(crate) struct Waveform {
    pub(crate) title: String,
    /// The facts below the title.
    pub(crate) facts: String,
    pub(crate) peaks: Peaks,
}

impl Picture for Waveform {
    fn size(&self) -> (u32, u32) {
        (WIDTH, HEIGHT)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<B>) -> Drawn<B> {
        let millis = self.peaks.end as f64 * 1000.0 / f64::from(SAMPLE_RATE);
        let axis = TimeAxis::new(0.0, millis, None, 10);
        area.fill(&WHITE)?;
        draw_title(area, &self.title, &self.facts)?;
        if self.peaks.lanes.iter().flatten().any(|column| column.is_filled) {
            draw_legend(area, LANES_TOP, &[(FILLED, "audio is missing: silence")])?;
        }
        let full = f64::from(self.peaks.loudest().max(QUIET)) / 32_768.0 * 110.0;
        let mut top = LANES_TOP;
        for ((name, color), lane) in [("Customer", CUSTOMER), ("Agent", AGENT)].into_iter().zip(&self.peaks.lanes) {
            self.draw_lane(area, &axis, top, full, (name, color), lane)?;
            top += LANE_HEIGHT;
        }
        axis.draw_labels(area, PLOT, top)
    }
}

impl Waveform {
    fn draw_lane<B: DrawingBackend>(
        &self,
        area: &Area<B>,
        axis: &TimeAxis,
        top: i32,
        full: f64,
        (name, color): (&str, RGBColor),
        lane: &[Column],
    ) -> Drawn<B> {
        let title = format!("{name}, % of full scale");
        let panel = panel_area(area, &title, (top, LANE_HEIGHT))?;
        let mut chart = panel_chart(&panel, axis, -full..full)?;
        let millis = self.peaks.samples_per_column as f64 * 1000.0 / f64::from(SAMPLE_RATE);
        let at = |column: usize| (column as f64 * millis).min(axis.end);
        // Below the lines of the mesh.
        let filled = runs(lane, |column| column.is_filled.then_some(()));
        let bands = filled
            .into_iter()
            .map(|(first, run)| Rectangle::new([(at(first), -full), (at(first + run.len()), full)], FILLED.filled()));
        chart.draw_series(bands)?;
        draw_mesh(&mut chart, 3, &|value| format!("{}", (value * 100.0).round() / 100.0))?;
        let percent = |sample: i16| f64::from(sample) / 32_768.0 * 100.0;
        for (first, run) in runs(lane, |column| column.peaks) {
            let points = (first..).zip(&run);
            let upper =
                points.clone().flat_map(|(n, (_, high))| [(at(n), percent(*high)), (at(n + 1), percent(*high))]);
            let lower = points.flat_map(|(n, (low, _))| [(at(n), percent(*low)), (at(n + 1), percent(*low))]);
            let mut shape: Vec<_> = upper.collect();
            let mut back: Vec<_> = lower.collect();
            // Silence is a line.
            let middle = PathElement::new(vec![(at(first), 0.0), (at(first + run.len()), 0.0)], color);
            back.reverse();
            shape.append(&mut back);
            chart.draw_series([Polygon::new(shape, color.filled())])?;
            chart.draw_series([middle])?;
        }
        if lane.iter().all(|column| column.peaks.is_none()) {
            let style = text_style(SMALL, GREY, HPos::Center, VPos::Center);
            let middle = top + PANEL_TITLE + (LANE_HEIGHT - PANEL_TITLE - 12) / 2;
            area.draw_text("no audio", &style, (i32::midpoint(PLOT.0, PLOT.1), middle))?;
        }
        Ok(())
    }
}

/// Returns the runs of columns that have a value: the first column of each, and its values.
fn runs<T>(lane: &[Column], value: impl Fn(&Column) -> Option<T>) -> Vec<(usize, Vec<T>)> {
    let mut runs: Vec<(usize, Vec<T>)> = Vec::new();
    let mut is_open = false;
    for (at, value) in lane.iter().map(value).enumerate() {
        match (value, runs.last_mut()) {
            (Some(value), Some((_, run))) if is_open => run.push(value),
            (Some(value), _) => {
                runs.push((at, vec![value]));
                is_open = true;
            }
            (None, _) => is_open = false,
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::Format;

    #[test]
    fn peaks_are_those_of_their_columns() {
        let mut peaks = Peaks::default();
        let samples: Vec<i16> = (0..24).collect();
        // Half a column in, so that four columns are touched.
        peaks.add(Party::ToCustomer, 4, &samples, false);
        let heard: Vec<_> = peaks.lanes[1].iter().map(|column| column.peaks).collect();
        assert_eq!(heard, [Some((0, 3)), Some((4, 11)), Some((12, 19)), Some((20, 23))]);
        assert!(peaks.lanes[0].is_empty());
    }

    #[test]
    fn a_long_call_takes_no_more_memory() {
        let mut peaks = Peaks::default();
        let hour = 3600 * u64::from(SAMPLE_RATE);
        let mut samples = vec![0; 8000];
        samples[4000] = 1000;
        samples[4001] = -900;
        for hours in 0..10 {
            peaks.add(Party::FromCustomer, hours * hour, &samples, false);
            peaks.add(Party::FromCustomer, hours * hour + 8000, &vec![0; 80_000], true);
        }
        assert!(peaks.lanes[0].len() <= COLUMNS && peaks.lanes[0].len() > COLUMNS / 2 - COLUMNS / 16);
        let heard: Vec<_> = peaks.lanes[0].iter().filter_map(|column| column.peaks).collect();
        assert_eq!(heard, [(-900, 1000); 10]);
        assert_eq!(peaks.loudest(), 1000);
        assert!(peaks.lanes[0].iter().filter(|column| column.is_filled).count() >= 10);
    }

    #[test]
    fn a_silent_party_is_named_so_and_missing_audio_has_its_color() {
        let mut peaks = Peaks::default();
        peaks.add(Party::FromCustomer, 0, &[500; 4000], false);
        peaks.add(Party::FromCustomer, 4000, &[0; 4000], true);
        let waveform = Waveform { title: "Contact <a>".into(), facts: "1.0 s".into(), peaks };
        let svg = String::from_utf8(Format::Svg.encode(&waveform).unwrap()).unwrap();
        assert!(svg.contains("Contact &lt;a&gt;") && svg.matches("no audio").count() == 1, "{svg}");
        // One in the legend, one in the lane.
        assert_eq!(svg.matches("#F6D8A8").count(), 2);
        assert!(Format::Png.encode(&waveform).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn a_picture_stays_small_for_a_call_of_any_length() {
        let mut peaks = Peaks::default();
        let mut rng = 1u32;
        for second in 0..7200 {
            for party in Party::ALL {
                let noise = |_| {
                    rng = rng.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (rng >> 17) as i16 - 16_384
                };
                peaks.add(party, second * 8000, &(0..8000).map(noise).collect::<Vec<_>>(), second % 3 == 2);
            }
        }
        let waveform = Waveform { title: "a".into(), facts: "2 h 0 min".into(), peaks };
        for format in [Format::Svg, Format::Png] {
            let size = format.encode(&waveform).unwrap().len();
            assert!(size < 200_000, "{format:?}: {size} bytes");
        }
    }
}
