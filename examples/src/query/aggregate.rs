//! Aggregation of series point by point. Series come one by one and are not kept; what is kept is a value for each
//! group and point, or for `topk` the largest few.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::ExecuteError;
use crate::labels::Labels;
use crate::logql::{Grouping, Operator};

/// Values of a series by the number of their point, ascending; a point without one is not there.
pub type Points = Vec<(u32, f64)>;

/// Most values that one aggregation holds: of 16 bytes each, those of `topk` of 24 for each point and 24 to 48 for each
/// that is kept.
const MAX_VALUES: usize = 4 << 20;

/// An aggregation under way.
pub(super) struct Aggregation {
    operator: Operator,
    grouping: Grouping,
    points: usize,
    values: usize,
    groups: BTreeMap<Labels, Group>,
}

/// What is known of a group at each point.
enum Group {
    Folded(Vec<Folded>),
    Largest(Vec<BinaryHeap<Reverse<Ranked>>>),
}

/// The values that one point has had so far.
#[derive(Debug, Clone, Copy, Default)]
struct Folded {
    value: f64,
    count: u32,
}

/// A value and whose it is; of equal ones the one with the smaller labels is larger.
#[derive(Debug, Clone, PartialEq)]
struct Ranked {
    value: f64,
    labels: Labels,
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.value.total_cmp(&other.value).then_with(|| other.labels.cmp(&self.labels))
    }
}

impl Aggregation {
    /// An aggregation of series with up to `points` points.
    pub(super) fn new(operator: Operator, grouping: Grouping, points: usize) -> Self {
        Self { operator, grouping, points, values: 0, groups: BTreeMap::new() }
    }

    /// Takes a series in.
    ///
    /// # Errors
    /// [`ExecuteError::TooManyValues`]
    pub(super) fn add(&mut self, labels: &Labels, points: &Points) -> Result<(), ExecuteError> {
        let key = self.grouping.group(&labels.pairs());
        let ranked = match self.operator {
            Operator::TopK(k) => Some(k),
            _ => None,
        };
        if !self.groups.contains_key(&key) {
            self.take(self.points)?;
        }
        let group = self.groups.entry(key).or_insert_with(|| match ranked {
            Some(_) => Group::Largest(vec![BinaryHeap::new(); self.points]),
            None => Group::Folded(vec![Folded::default(); self.points]),
        });
        let mut kept = 0;
        match group {
            Group::Folded(all) => {
                for (number, value) in points {
                    if let Some(folded) = all.get_mut(*number as usize) {
                        folded.add(self.operator, *value);
                    }
                }
            }
            Group::Largest(all) => {
                let most = ranked.unwrap_or_default() as usize;
                for (number, value) in points {
                    let Some(heap) = all.get_mut(*number as usize) else { continue };
                    let ranked = Ranked { value: *value, labels: labels.clone() };
                    if heap.len() < most {
                        if heap.len() == heap.capacity() {
                            // Not four at once, where one is wanted at each of a million points.
                            heap.reserve_exact(heap.len().max(1));
                        }
                        heap.push(Reverse(ranked));
                        kept += 1;
                    } else if let Some(mut smallest) = heap.peek_mut()
                        && smallest.0 < ranked
                    {
                        smallest.0 = ranked;
                    }
                }
            }
        }
        self.take(kept)
    }

    fn take(&mut self, values: usize) -> Result<(), ExecuteError> {
        self.values = self.values.saturating_add(values);
        if self.values > MAX_VALUES {
            return Err(ExecuteError::TooManyValues { limit: MAX_VALUES });
        }
        Ok(())
    }

    /// The series that come out.
    pub(super) fn finish(self) -> Vec<(Labels, Points)> {
        let mut series: BTreeMap<Labels, Points> = BTreeMap::new();
        for (labels, group) in self.groups {
            match group {
                Group::Folded(all) => {
                    let values = (0_u32..).zip(all).filter(|(_, folded)| folded.count > 0);
                    series
                        .insert(labels, values.map(|(n, folded)| (n, folded.value(self.operator))).collect());
                }
                Group::Largest(all) => {
                    for (number, heap) in (0_u32..).zip(all) {
                        for Reverse(Ranked { value, labels }) in heap {
                            series.entry(labels).or_default().push((number, value));
                        }
                    }
                }
            }
        }
        series.into_iter().collect()
    }
}

impl Folded {
    fn add(&mut self, operator: Operator, value: f64) {
        self.value = match operator {
            _ if self.count == 0 => value,
            Operator::Min => self.value.min(value),
            Operator::Max => self.value.max(value),
            _ => self.value + value,
        };
        self.count += 1;
    }

    fn value(self, operator: Operator) -> f64 {
        match operator {
            Operator::Avg => self.value / f64::from(self.count),
            Operator::Count => f64::from(self.count),
            _ => self.value,
        }
    }
}

#[cfg(test)]
mod tests;
