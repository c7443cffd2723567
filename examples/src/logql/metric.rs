//! Metric queries: a range aggregation of log lines, and aggregations over the series that come out of it.

use std::fmt;

use super::Logs;
use crate::labels::Labels;

/// A metric query.
#[derive(Debug, Clone)]
pub enum Metric {
    /// One series for each stream.
    Range(RangeAggregation),
    /// The series of a metric query, aggregated.
    Vector(VectorAggregation),
}

/// What the lines of each stream come to within a window that slides over time.
#[derive(Debug, Clone)]
pub struct RangeAggregation {
    /// What they come to.
    pub function: RangeFunction,
    /// Which lines.
    pub logs: Logs,
    /// Width of the window in nanoseconds.
    pub range_ns: i64,
    /// How far back the window lies, in nanoseconds.
    pub offset_ns: i64,
}

/// What the lines of a window come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeFunction {
    /// Lines.
    CountOverTime,
    /// Lines a second.
    Rate,
    /// Bytes of lines.
    BytesOverTime,
    /// Bytes of lines a second.
    BytesRate,
}

/// An aggregation over series, point by point.
#[derive(Debug, Clone)]
pub struct VectorAggregation {
    /// What the values of a group come to.
    pub operator: Operator,
    /// Which series are one group.
    pub grouping: Grouping,
    /// Whose series.
    pub inner: Box<Metric>,
}

/// What the values of a group at one point come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// How many there are.
    Count,
    /// The largest so many, each under its own labels.
    TopK(u32),
}

/// Which series are one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grouping {
    /// Those that are equal in these labels, which the group has. Without a name, all are one group.
    By(Vec<String>),
    /// Those that are equal in all labels but these.
    Without(Vec<String>),
}

impl Metric {
    /// The range aggregation at its bottom.
    pub fn range(&self) -> &RangeAggregation {
        let mut metric = self;
        loop {
            match metric {
                Self::Range(range) => return range,
                Self::Vector(aggregation) => metric = &aggregation.inner,
            }
        }
    }
}

impl RangeFunction {
    const ALL: [Self; 4] = [Self::CountOverTime, Self::Rate, Self::BytesOverTime, Self::BytesRate];

    /// The function called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|function| function.name() == name)
    }

    /// Its name in LogQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::CountOverTime => "count_over_time",
            Self::Rate => "rate",
            Self::BytesOverTime => "bytes_over_time",
            Self::BytesRate => "bytes_rate",
        }
    }

    /// Whether a line counts by its bytes.
    pub fn is_of_bytes(self) -> bool {
        matches!(self, Self::BytesOverTime | Self::BytesRate)
    }

    /// The value of a window of `range_ns` whose lines sum up to `sum`.
    pub fn value(self, sum: u64, range_ns: i64) -> f64 {
        match self {
            Self::CountOverTime | Self::BytesOverTime => sum as f64,
            Self::Rate | Self::BytesRate => sum as f64 / (range_ns as f64 / 1e9),
        }
    }
}

impl Grouping {
    /// The labels of the group that a series with the sorted `labels` belongs to.
    pub fn group(&self, labels: &[(&str, &str)]) -> Labels {
        let kept: Vec<(&str, &str)> = labels.iter().filter(|(name, _)| self.keeps(name)).copied().collect();
        Labels::from_sorted(&kept)
    }

    fn keeps(&self, label: &str) -> bool {
        match self {
            Self::By(names) => names.iter().any(|name| name == label),
            Self::Without(names) => names.iter().all(|name| name != label),
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Vector(VectorAggregation { operator, grouping, inner }) => {
                f.write_str(operator.name())?;
                match grouping {
                    Grouping::By(names) if names.is_empty() => {}
                    Grouping::By(names) => write!(f, " by ({}) ", names.join(", "))?,
                    Grouping::Without(names) => write!(f, " without ({}) ", names.join(", "))?,
                }
                match operator {
                    Operator::TopK(k) => write!(f, "({k}, {inner})"),
                    _ => write!(f, "({inner})"),
                }
            }
        }
    }
}

impl fmt::Display for RangeAggregation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { function, logs, range_ns, offset_ns } = self;
        write!(f, "{}({logs} [{}]", function.name(), Span(range_ns.unsigned_abs()))?;
        if *offset_ns != 0 {
            let sign = if *offset_ns < 0 { "-" } else { "" };
            write!(f, " offset {sign}{}", Span(offset_ns.unsigned_abs()))?;
        }
        f.write_str(")")
    }
}

/// Nanoseconds in the largest unit that holds them whole.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 4] =
            [(3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"), (1_000_000, "ms")];
        let (ns, unit) = UNITS.into_iter().find(|(ns, _)| self.0.is_multiple_of(*ns)).unwrap_or((1, "ns"));
        write!(f, "{}{unit}", self.0 / ns)
    }
}

impl Operator {
    /// Its name in LogQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Count => "count",
            Self::TopK(_) => "topk",
        }
    }
}
