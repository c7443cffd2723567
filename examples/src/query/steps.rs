//! Counts of windows that slide over time, each entry in constant time whatever the number of windows it lies in.

use super::{CountQuery, MAX_POINTS};

/// Counts of the windows of a query, each entry in constant time.
pub(super) struct Steps {
    start_ns: i64,
    step_ns: i64,
    range_ns: i64,
    /// Differences of the counts of neighbouring points.
    changes: Vec<i64>,
}

impl Steps {
    pub(super) fn new(query: &CountQuery) -> Self {
        let last = (i128::from(query.end_ns) - i128::from(query.start_ns)) / i128::from(query.step_ns);
        let points = usize::try_from(last.clamp(-1, i128::from(MAX_POINTS)) + 1).expect("bounded here");
        Self {
            start_ns: query.start_ns,
            step_ns: query.step_ns,
            range_ns: query.range_ns,
            changes: vec![0; points + 1],
        }
    }

    /// Counts an entry in every window `(t - range, t]` that holds it.
    pub(super) fn add(&mut self, timestamp_ns: i64) {
        let after = i128::from(timestamp_ns) - i128::from(self.start_ns);
        let step = i128::from(self.step_ns);
        let points = self.changes.len() as i128 - 1;
        let first = (after + step - 1).div_euclid(step).max(0);
        let end = ((after + i128::from(self.range_ns) - 1).div_euclid(step) + 1).min(points);
        if let (Ok(first), Ok(end)) = (usize::try_from(first), usize::try_from(end))
            && first < end
        {
            self.changes[first] += 1;
            self.changes[end] -= 1;
        }
    }

    /// The points that are not 0.
    pub(super) fn points(&self) -> Vec<(i64, u64)> {
        let mut count = 0;
        let steps = self.changes.iter().take(self.changes.len() - 1).zip(0_i64..);
        steps
            .filter_map(|(change, i)| {
                count += change;
                // No further than the end that was asked for, so it fits.
                let after = self.step_ns.wrapping_mul(i);
                (count > 0).then(|| (self.start_ns.wrapping_add(after), count.unsigned_abs()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
