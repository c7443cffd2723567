//! Which entries to read and in which order. A [`TimeRange`] is kept as its first and last nanosecond, so
//! that the whole of `i64` can be asked for.

use std::ops::{Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The order in which entries come out.
///
/// Entries of one timestamp keep the order they were appended in; backward is the exact reverse of forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Direction {
    /// Oldest first.
    #[default]
    Forward,
    /// Newest first.
    Backward,
}

/// A range of log time in nanoseconds since 1970.
///
/// Made from any range of `i64`: `a..b` (half open, as Loki's queries are), `a..=b`, `a..`, `..`.
///
/// ```
/// use forebay_chunk::TimeRange;
///
/// let range = TimeRange::from(10..20);
/// assert!(range.contains(10) && !range.contains(20));
/// assert!(TimeRange::ALL.contains(i64::MAX));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// Empty if `first > last`.
    first: i64,
    last: i64,
}

impl TimeRange {
    /// Every timestamp there is.
    pub const ALL: Self = Self { first: i64::MIN, last: i64::MAX };

    /// No timestamp at all.
    pub const EMPTY: Self = Self { first: i64::MAX, last: i64::MIN };

    /// The range that Loki means by `from` and `through`: `from..through`, but the single nanosecond `from`
    /// where the two are equal.
    pub fn loki(from_ns: i64, through_ns: i64) -> Self {
        if from_ns == through_ns { Self::from(from_ns..=through_ns) } else { Self::from(from_ns..through_ns) }
    }

    /// The first nanosecond of the range; `None` if it is empty.
    pub fn first(self) -> Option<i64> {
        (!self.is_empty()).then_some(self.first)
    }

    /// The last nanosecond of the range, inclusive; `None` if it is empty.
    pub fn last(self) -> Option<i64> {
        (!self.is_empty()).then_some(self.last)
    }

    /// The timestamps that are in both ranges.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Self::EMPTY } else { both }
    }

    /// Whether no timestamp is in the range.
    pub const fn is_empty(self) -> bool {
        self.first > self.last
    }

    /// Whether `timestamp_ns` is in the range.
    pub const fn contains(self, timestamp_ns: i64) -> bool {
        self.first <= timestamp_ns && timestamp_ns <= self.last
    }

    /// Whether some timestamp of `first_ns..=last_ns` is in the range.
    pub const fn overlaps(self, first_ns: i64, last_ns: i64) -> bool {
        !self.is_empty() && self.first <= last_ns && first_ns <= self.last
    }

    fn of(range: &impl RangeBounds<i64>) -> Self {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let first = match range.start_bound() {
            Included(&start) => Some(start),
            Excluded(&start) => start.checked_add(1),
            Unbounded => Some(i64::MIN),
        };
        let last = match range.end_bound() {
            Included(&end) => Some(end),
            Excluded(&end) => end.checked_sub(1),
            Unbounded => Some(i64::MAX),
        };
        match (first, last) {
            (Some(first), Some(last)) if first <= last => Self { first, last },
            _ => Self::EMPTY,
        }
    }
}

impl Default for TimeRange {
    fn default() -> Self {
        Self::ALL
    }
}

macro_rules! from_range {
    ($($range:ty),*) => {$(
        impl From<$range> for TimeRange {
            fn from(range: $range) -> Self {
                Self::of(&range)
            }
        }
    )*};
}

from_range!(Range<i64>, RangeInclusive<i64>, RangeFrom<i64>, RangeTo<i64>, RangeToInclusive<i64>, RangeFull);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_open_range_leaves_its_end_out() {
        let range = TimeRange::from(1..3);
        assert_eq!((range.first(), range.last()), (Some(1), Some(2)));
        assert!(TimeRange::from(3..3).is_empty());
        assert!(TimeRange::from(..i64::MIN).is_empty());
        assert_eq!(TimeRange::from(..), TimeRange::ALL);
    }

    #[test]
    fn an_intersection_has_what_both_have() {
        assert_eq!(TimeRange::from(1..5).intersection((3..9).into()), (3..5).into());
        assert_eq!(TimeRange::from(1..3).intersection((3..9).into()), TimeRange::EMPTY);
        assert_eq!(TimeRange::ALL.intersection(TimeRange::EMPTY), TimeRange::EMPTY);
    }

    #[test]
    fn lokis_range_of_no_length_is_one_nanosecond() {
        assert_eq!(TimeRange::loki(7, 7), TimeRange::from(7..=7));
        assert_eq!(TimeRange::loki(7, 9), TimeRange::from(7..9));
        assert!(TimeRange::loki(9, 7).is_empty());
    }

    #[test]
    fn an_empty_range_overlaps_nothing() {
        assert!(!TimeRange::EMPTY.overlaps(i64::MIN, i64::MAX));
        assert!(TimeRange::from(5..=5).overlaps(5, 9));
        assert!(!TimeRange::from(5..9).overlaps(9, 12));
    }
}
