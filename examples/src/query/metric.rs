//! Metric queries: the lines of each stream are summed up window by window, and the series aggregated as they come. What
//! is held is the answer, and of what it is made of the blocks of one stream and a part of what each ingester sends.

use std::collections::BTreeMap;

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::Direction;

use super::aggregate::{Aggregation, Points};
use super::merge::{Merge, Want};
use super::reading::Reading;
use super::stages::{self, Stages};
use super::steps::{Grid, Steps};
use super::{Asked, ExecuteError, Located, Querier, What};
use crate::index::Span;
use crate::labels::Labels;
use crate::logql::{Metric, Operator, RangeAggregation, VectorAggregation};

/// The points of a metric query.
#[derive(Debug, Clone)]
pub struct MetricQuery {
    /// What.
    pub metric: Metric,
    /// When.
    pub grid: Grid,
    /// What is read: all that [`reads`] names, or the part of it that may be looked at.
    pub span: Span,
    /// Most series in the answer.
    pub max_series: usize,
    /// Most bytes that may be read, of chunks before compression and of lines in memory.
    pub max_bytes: u64,
}

/// The answer to a [`MetricQuery`].
#[derive(Debug)]
pub struct Series {
    /// When its points are.
    pub grid: Grid,
    /// The labels of each series and its points, in the order of labels.
    pub series: Vec<(Labels, Points)>,
    /// What it cost.
    pub stages: Stages,
}

/// What the points of `metric` on `grid` are made of: a window lies before its point, and an offset further back.
pub fn reads(metric: &Metric, grid: Grid) -> Span {
    let RangeAggregation { range_ns, offset_ns, .. } = metric.range();
    let from_ns = grid.start_ns.saturating_sub(*range_ns).saturating_add(1).saturating_sub(*offset_ns);
    Span { from_ns, through_ns: grid.end_ns.saturating_sub(*offset_ns) }
}

impl Querier {
    /// The series that `query` asks for.
    ///
    /// # Errors
    /// [`ExecuteError`]; there are no partial answers.
    pub async fn metric(&self, tenant: &str, query: &MetricQuery) -> Result<Series, ExecuteError> {
        let mut stages = Stages::default();
        let MetricQuery { metric, grid, max_series, .. } = query;
        let mut aggregations = aggregations(metric, *grid);
        let mut plain = Collected { series: BTreeMap::new(), max_series: *max_series };
        self.of_streams(tenant, query, &mut stages, |labels, points| match aggregations.first_mut() {
            Some(innermost) => innermost.add(&labels, &points),
            None => plain.add(labels, points),
        })
        .await?;
        let mut aggregations = aggregations.into_iter().peekable();
        while let Some(aggregation) = aggregations.next() {
            for (labels, points) in aggregation.finish() {
                match aggregations.peek_mut() {
                    Some(outer) => outer.add(&labels, &points)?,
                    None => plain.add(labels, points)?,
                }
            }
        }
        Ok(Series { grid: *grid, series: plain.series.into_iter().collect(), stages })
    }

    /// Gives `take` the labels and points of each stream that has any.
    async fn of_streams(
        &self,
        tenant: &str,
        query: &MetricQuery,
        stages: &mut Stages,
        mut take: impl FnMut(Labels, Points) -> Result<(), ExecuteError>,
    ) -> Result<(), ExecuteError> {
        let grid = query.grid;
        let RangeAggregation { function, logs, range_ns, offset_ns } = query.metric.range();
        let span = query.span;
        let what = What::Times { sized: function.is_of_bytes() };
        let (direction, max_bytes) = (Direction::Forward, query.max_bytes);
        let asked = Asked { logs, span, direction, what, max_bytes };
        let Located { mut heads, mut chunks } = self.locate(tenant, asked, stages).await?;
        loop {
            let started = monotonic_ns();
            let sent = heads.first().await?;
            stages.ingesters_ns += stages::since(started);
            let Some(labels) = sent.into_iter().chain(chunks.keys().next().cloned()).min() else { break };
            let merge = Merge::new(direction, Want::Times, logs.clone());
            let mut reading = Reading::new(self, tenant, merge, span);
            reading.store(chunks.remove(&labels).into_iter().flatten().map(|chunk| (0, chunk)));
            reading.follow(&mut heads, labels.clone());
            let mut steps = Steps::new(grid, *range_ns);
            loop {
                let batch = reading.take(usize::MAX, stages).await?;
                if batch.is_empty() {
                    break;
                }
                for found in batch {
                    let value = if function.is_of_bytes() { found.line_bytes } else { 1 };
                    steps.add(found.timestamp_ns.saturating_add(*offset_ns), value);
                }
            }
            let points: Points =
                steps.sums().map(|(number, sum)| (number, function.value(sum, *range_ns))).collect();
            if !points.is_empty() {
                take(labels, points)?;
            }
        }
        Ok(())
    }
}

/// The aggregations of `metric`, the innermost first.
fn aggregations(mut metric: &Metric, grid: Grid) -> Vec<Aggregation> {
    let mut found = Vec::new();
    while let Metric::Vector(VectorAggregation { operator, grouping, inner }) = metric {
        found.push(Aggregation::new(*operator, grouping.clone(), grid.len()));
        metric = inner;
    }
    found.reverse();
    found
}

/// The series of the answer.
struct Collected {
    series: BTreeMap<Labels, Points>,
    max_series: usize,
}

impl Collected {
    fn add(&mut self, labels: Labels, points: Points) -> Result<(), ExecuteError> {
        if self.series.len() >= self.max_series {
            return Err(ExecuteError::TooManySeries { limit: self.max_series });
        }
        self.series.insert(labels, points);
        Ok(())
    }
}

impl Series {
    /// Orders the series of one point as Loki does: those of a `topk` from the largest to the smallest.
    #[must_use]
    pub fn ranked(mut self, metric: &Metric) -> Self {
        if let Metric::Vector(VectorAggregation { operator: Operator::TopK(_), .. }) = metric {
            let value = |points: &Points| points.first().map_or(f64::NEG_INFINITY, |(_, value)| *value);
            self.series.sort_by(|(_, a), (_, b)| value(b).total_cmp(&value(a)));
        }
        self
    }
}
