//! What retention knows about a chunk: who owns it, its labels, the time it covers and its size.
//! Chunks are immutable: one id always means the same bytes, so metadata remembered with a mark stays true.

use std::fmt;

/// A closed range of log time, nanoseconds since 1970; never ends before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "(i64, i64)", into = "(i64, i64)"))]
pub struct TimeRange {
    min_ns: i64,
    max_ns: i64,
}

/// The end of a range lies before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("range ends at {max_ns} ns, before its start at {min_ns} ns")]
pub struct InvertedRange {
    min_ns: i64,
    max_ns: i64,
}

impl TimeRange {
    /// From `min_ns` to `max_ns`, both included.
    ///
    /// # Errors
    /// [`InvertedRange`] when `max_ns < min_ns`.
    pub const fn new(min_ns: i64, max_ns: i64) -> Result<Self, InvertedRange> {
        if max_ns < min_ns { Err(InvertedRange { min_ns, max_ns }) } else { Ok(Self { min_ns, max_ns }) }
    }

    /// The smallest range holding both instants, in whichever order they come. For bounds that were read
    /// from elsewhere and may be inverted: the later one decides when data may go, so nothing goes early.
    pub const fn covering(a_ns: i64, b_ns: i64) -> Self {
        if a_ns <= b_ns { Self { min_ns: a_ns, max_ns: b_ns } } else { Self { min_ns: b_ns, max_ns: a_ns } }
    }

    /// The first instant of the range.
    pub const fn min_ns(self) -> i64 {
        self.min_ns
    }

    /// The last instant of the range, still part of it.
    pub const fn max_ns(self) -> i64 {
        self.max_ns
    }

    /// Whether the two share at least one instant.
    pub const fn overlaps(self, other: Self) -> bool {
        self.min_ns <= other.max_ns && other.min_ns <= self.max_ns
    }
}

impl TryFrom<(i64, i64)> for TimeRange {
    type Error = InvertedRange;

    fn try_from((min_ns, max_ns): (i64, i64)) -> Result<Self, InvertedRange> {
        Self::new(min_ns, max_ns)
    }
}

impl From<TimeRange> for (i64, i64) {
    fn from(range: TimeRange) -> Self {
        (range.min_ns, range.max_ns)
    }
}

impl fmt::Display for TimeRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} ns, {} ns]", self.min_ns, self.max_ns)
    }
}

/// A chunk's metadata in borrowed words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkMeta<'a> {
    /// Whose data it is.
    pub tenant: &'a str,
    /// The store's name for the chunk, unique within its tenant.
    pub id: &'a str,
    /// The stream's labels, sorted by name, each name once.
    pub labels: &'a [(&'a str, &'a str)],
    /// From the first to the last entry.
    pub range: TimeRange,
    /// What deleting it frees.
    pub size_bytes: u64,
}

impl ChunkMeta<'_> {
    /// Whether the metadata can be judged at all: a tenant, an id, and labels sorted by name without repeats.
    /// What cannot be judged is kept.
    pub fn is_readable(&self) -> bool {
        !self.tenant.is_empty()
            && !self.id.is_empty()
            && self.labels.windows(2).all(|pair| matches!(pair, [a, b] if a.0 < b.0))
    }

    /// The same in owned words.
    pub fn to_chunk(&self) -> Chunk {
        Chunk {
            tenant: self.tenant.to_owned(),
            id: self.id.to_owned(),
            labels: self.labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            range: self.range,
            size_bytes: self.size_bytes,
        }
    }
}

/// A chunk's metadata in owned words: what stores list, and what marks and intents remember.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Chunk {
    /// Whose data it is.
    pub tenant: String,
    /// The store's name for the chunk, unique within its tenant.
    pub id: String,
    /// The stream's labels, sorted by name, each name once.
    pub labels: Vec<(String, String)>,
    /// From the first to the last entry.
    pub range: TimeRange,
    /// What deleting it frees.
    pub size_bytes: u64,
}

impl Chunk {
    /// Lends the metadata to `f`.
    pub fn with_meta<R>(&self, f: impl FnOnce(&ChunkMeta<'_>) -> R) -> R {
        let labels: Vec<_> =
            self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        f(&ChunkMeta {
            tenant: &self.tenant,
            id: &self.id,
            labels: &labels,
            range: self.range,
            size_bytes: self.size_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_touching_in_one_instant_overlap() {
        let a = TimeRange::new(0, 10).unwrap();
        assert!(a.overlaps(TimeRange::new(10, 20).unwrap()));
        assert!(TimeRange::new(-5, 0).unwrap().overlaps(a));
        assert!(!a.overlaps(TimeRange::new(11, 20).unwrap()));
    }

    #[test]
    fn an_inverted_range_is_refused_or_turned_round() {
        let refused = TimeRange::new(2, 1).unwrap_err();
        assert_eq!(refused.to_string(), "range ends at 1 ns, before its start at 2 ns");
        assert_eq!(TimeRange::covering(2, 1), TimeRange::new(1, 2).unwrap());
    }

    #[test]
    fn unsorted_or_repeated_labels_are_not_readable() {
        let range = TimeRange::covering(0, 1);
        let of = |labels| ChunkMeta { tenant: "t", id: "c", labels, range, size_bytes: 1 }.is_readable();
        assert!(of(&[]));
        assert!(of(&[("a", "1"), ("b", "1")]));
        assert!(!of(&[("b", "1"), ("a", "1")]));
        assert!(!of(&[("a", "1"), ("a", "2")]));
    }
}
