//! Values in columns: many values become as many as a picture can show.

/// A number of equal parts of a time axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns {
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) count: usize,
}

impl Columns {
    pub(super) fn width(self) -> f64 {
        (self.end - self.start) / self.count.max(1) as f64
    }

    /// Returns the time at which a column begins.
    pub(super) fn time(self, column: usize) -> f64 {
        self.start + self.width() * column as f64
    }

    /// Calls `each` with the columns that a span of time touches, and how much of the span is in them.
    ///
    /// A span without a length touches one column.
    pub(super) fn touched(self, from: f64, to: f64, mut each: impl FnMut(usize, f64)) {
        let width = self.width();
        if self.count == 0 || width <= 0.0 || to < self.start || from > self.end {
            return;
        }
        let column = |time: f64| (((time - self.start) / width).max(0.0) as usize).min(self.count - 1);
        let (first, last) = (column(from), column(to.max(from)));
        // A span that ends where a column begins does not touch it.
        let last = if last > first && to <= self.time(last) { last - 1 } else { last };
        for at in first..=last {
            let share = to.min(self.time(at + 1)) - from.max(self.time(at));
            each(at, share.max(0.0));
        }
    }

    /// Returns the outlines of values as steps, one for each run of columns that have a value.
    ///
    /// Points are a time and a value.
    pub(super) fn steps(self, values: &[Option<f64>]) -> Vec<Vec<(f64, f64)>> {
        let mut outlines: Vec<Vec<(f64, f64)>> = Vec::new();
        let mut before: Option<f64> = None;
        for (at, value) in values.iter().enumerate() {
            let (begins, ends) = (self.time(at), self.time(at + 1));
            match (value, before, outlines.last_mut()) {
                (Some(value), Some(same), Some(outline)) => {
                    if *value == same {
                        // The step becomes longer.
                        outline.pop();
                    } else {
                        outline.push((begins, *value));
                    }
                    outline.push((ends, *value));
                }
                (Some(value), ..) => outlines.push(vec![(begins, *value), (ends, *value)]),
                (None, ..) => {}
            }
            before = *value;
        }
        outlines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Columns = Columns { start: 100.0, end: 200.0, count: 10 };

    fn touched(from: f64, to: f64) -> Vec<(usize, f64)> {
        let mut touched = Vec::new();
        TEN.touched(from, to, |at, share| touched.push((at, share)));
        touched
    }

    #[test]
    fn a_span_is_divided_among_columns() {
        assert_eq!(touched(105.0, 120.0), [(0, 5.0), (1, 10.0)]);
        assert_eq!(touched(150.0, 150.0), [(5, 0.0)]);
        assert_eq!(touched(90.0, 101.0), [(0, 1.0)]);
        assert_eq!(touched(195.0, 900.0), [(9, 5.0)]);
        assert_eq!(touched(200.0, 200.0), [(9, 0.0)]);
        assert_eq!((touched(10.0, 20.0), touched(210.0, 220.0)), (vec![], vec![]));
    }

    #[test]
    fn steps_join_equal_values_and_end_at_holes() {
        let steps = TEN.steps(&[Some(1.0), Some(1.0), Some(2.0), None, Some(2.0)]);
        let first = vec![(100.0, 1.0), (120.0, 1.0), (120.0, 2.0), (130.0, 2.0)];
        assert_eq!(steps, [first, vec![(140.0, 2.0), (150.0, 2.0)]]);
    }
}
