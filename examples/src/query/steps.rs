//! Sums of windows that slide over time, each entry in constant time whatever the number of windows it lies in.

/// Most points of one series in an answer, as Loki has it.
pub const MAX_POINTS: i64 = 11_000;

/// The points in time of an answer: from the start on, a step apart, up to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// The first point, in nanoseconds since 1970.
    pub start_ns: i64,
    /// The last point is at or before this.
    pub end_ns: i64,
    /// Distance of points, above 0.
    pub step_ns: i64,
}

impl Grid {
    /// One point.
    pub fn instant(at_ns: i64) -> Self {
        Self { start_ns: at_ns, end_ns: at_ns, step_ns: 1 }
    }

    /// How many points there are; no more than [`MAX_POINTS`] and one are counted.
    pub fn len(&self) -> usize {
        let last = (i128::from(self.end_ns) - i128::from(self.start_ns)) / i128::from(self.step_ns);
        usize::try_from(last.clamp(-1, i128::from(MAX_POINTS)) + 1).expect("bounded here")
    }

    /// Whether the end is before the start.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// When point `number` is.
    pub fn at(&self, number: u32) -> i64 {
        // No further than the end that was asked for, so it fits.
        self.start_ns.wrapping_add(self.step_ns.wrapping_mul(i64::from(number)))
    }
}

/// Sums of the windows of a query, each entry in constant time.
pub(super) struct Steps {
    grid: Grid,
    range_ns: i64,
    /// Differences of the lines and sums of neighbouring points.
    changes: Vec<(i64, i64)>,
}

impl Steps {
    pub(super) fn new(grid: Grid, range_ns: i64) -> Self {
        Self { grid, range_ns, changes: vec![(0, 0); grid.len() + 1] }
    }

    /// Adds `value` to every window `(t - range, t]` that holds the time.
    pub(super) fn add(&mut self, timestamp_ns: i64, value: u64) {
        let after = i128::from(timestamp_ns) - i128::from(self.grid.start_ns);
        let step = i128::from(self.grid.step_ns);
        let points = self.changes.len() as i128 - 1;
        let first = (after + step - 1).div_euclid(step).max(0);
        let end = ((after + i128::from(self.range_ns) - 1).div_euclid(step) + 1).min(points);
        if let (Ok(first), Ok(end)) = (usize::try_from(first), usize::try_from(end))
            && first < end
        {
            // Bytes that were read do not reach 2^63.
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            self.changes[first].0 += 1;
            self.changes[first].1 = self.changes[first].1.wrapping_add(value);
            self.changes[end].0 -= 1;
            self.changes[end].1 = self.changes[end].1.wrapping_sub(value);
        }
    }

    /// The sums of the windows with lines, by the number of their point: a line may be empty, and then its bytes are 0.
    pub(super) fn sums(&self) -> impl Iterator<Item = (u32, u64)> {
        let (mut lines, mut sum) = (0_i64, 0_i64);
        let steps = (0_u32..).zip(self.changes.iter().take(self.changes.len() - 1));
        steps.filter_map(move |(number, change)| {
            lines += change.0;
            sum = sum.wrapping_add(change.1);
            (lines > 0).then(|| (number, sum.unsigned_abs()))
        })
    }
}

#[cfg(test)]
mod tests;
