//! Metric queries: the lines of each stream are summed up window by window, and the series aggregated as they come. What
//! is held is the answer, the windows of a few streams, and of what they are made of a part of what each ingester sends and
//! the blocks of the parts of the query that are worked on. Streams that can be counted without it are not read. Of others,
//! what ingesters send is read stream by stream, together with what is stored of the same time; all that is older is read
//! in parts, at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::Direction;
use parking_lot::Mutex;

use super::aggregate::{Aggregation, Points};
use super::merge::{Merge, Want};
use super::reading::Reading;
use super::split::{self, Part, Split};
use super::stages::{self, Stages};
use super::steps::{Grid, Steps};
use super::tallied::{self, Counted};
use super::{Asked, ExecuteError, Located, Querier, What};
use crate::index::{ChunkRef, Span};
use crate::labels::Labels;
use crate::logql::{Metric, Operator, RangeAggregation, VectorAggregation};

/// Streams whose windows are filled at the same time.
const STREAMS: usize = 32;

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
    /// In what parts it is worked on.
    pub split: Split,
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
    /// The series that `query` asks for; what of its lines is damaged, the [holes](Stages::holes) say.
    ///
    /// # Errors
    /// [`ExecuteError`]; there are no other partial answers.
    pub async fn metric(&self, tenant: &str, query: &MetricQuery) -> Result<Series, ExecuteError> {
        let mut stages = Stages::default();
        let MetricQuery { metric, grid, max_series, .. } = query;
        let mut aggregations = aggregations(metric, *grid);
        let mut plain = Collected { series: BTreeMap::new(), max_series: *max_series };
        let mut take = |labels: Labels, points: Points| match aggregations.first_mut() {
            _ if points.is_empty() => Ok(()),
            Some(innermost) => innermost.add(&labels, &points),
            None => plain.add(labels, points),
        };
        match self.counted(tenant, query, &mut stages).await? {
            None => self.of_streams(tenant, query, None, &mut stages, take).await?,
            Some(Counted { tallies, rest }) => {
                let mut counted = tallies.into_iter().peekable();
                if !rest.is_empty() {
                    // All in the order of their labels, as if all were read: sums of fractions depend on it.
                    let rest = Arc::new(rest);
                    self.of_streams(tenant, query, Some(&rest), &mut stages, |labels, points| {
                        while let Some((before, known)) = counted.next_if(|(before, _)| *before < labels) {
                            take(before, tallied::points(query, &known))?;
                        }
                        take(labels, points)
                    })
                    .await?;
                }
                for (number, (labels, known)) in counted.enumerate() {
                    take(labels, tallied::points(query, &known))?;
                    if number % STREAMS == STREAMS - 1 {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
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

    /// Gives `take` the labels and points of each stream that is read, in the order of labels; with `only`, of these.
    async fn of_streams(
        &self,
        tenant: &str,
        query: &MetricQuery,
        only: Option<&Arc<BTreeSet<Labels>>>,
        stages: &mut Stages,
        mut take: impl FnMut(Labels, Points) -> Result<(), ExecuteError>,
    ) -> Result<(), ExecuteError> {
        let MetricQuery { span, split, max_bytes, .. } = *query;
        let RangeAggregation { function, logs, range_ns, .. } = query.metric.range();
        let (what, direction) = (What::Times { sized: function.is_of_bytes() }, Direction::Forward);
        let asked = Asked { logs, span, direction, what, max_bytes };
        let Located { mut heads, mut chunks } = self.locate(tenant, asked, only, stages).await?;
        let tenant: Arc<str> = tenant.into();
        loop {
            let (mut streams, mut parts) = (Vec::new(), Vec::new());
            while streams.len() < STREAMS {
                let started = monotonic_ns();
                let sent = heads.first().await?;
                stages.ingesters_ns += stages::since(started);
                let next = sent.into_iter().chain(chunks.keys().next().cloned()).min();
                let Some(labels) = next else { break };
                let stored: Vec<ChunkRef> = chunks.remove(&labels).unwrap_or_default();
                let sums = Arc::new(Sums::new(query));
                let (alone, mixed) = apart(span, heads.first_ns(&labels));
                if let Some(alone) = alone {
                    let stored: Vec<_> = stored.iter().map(|chunk| (0, chunk)).collect();
                    let own = split::parts(direction, alone, split.interval_ns, NonZeroUsize::MIN, &stored);
                    parts.extend(own.map(|part| (Arc::clone(&sums), part)));
                }
                if let Some(mixed) = mixed {
                    let merge = Merge::new(direction, Want::Times, logs.clone());
                    let mut reading = Reading::new(self, &tenant, merge, mixed);
                    reading.store(stored.into_iter().map(|chunk| (0, chunk)));
                    reading.follow(&mut heads, labels.clone());
                    sums.add_all(&mut reading, stages).await?;
                }
                streams.push((labels, sums));
            }
            if streams.is_empty() {
                return Ok(());
            }
            let read = |(sums, Part { span, chunks }): (Arc<Sums>, Part)| {
                let (querier, tenant, logs) = (self.clone(), Arc::clone(&tenant), logs.clone());
                async move {
                    let _turn = querier.turn().await;
                    let mut stages = Stages::default();
                    let merge = Merge::new(direction, Want::Times, logs);
                    let mut reading = Reading::new(&querier, &tenant, merge, span);
                    reading.store(chunks);
                    sums.add_all(&mut reading, &mut stages).await?;
                    Ok::<_, ExecuteError>(stages)
                }
            };
            stages.add(&split::run(split.parallelism, parts, read).await?);
            for (labels, sums) in streams {
                let steps = sums.steps.lock();
                let value = |(number, sum)| (number, function.value(sum, *range_ns));
                let points: Points = steps.sums().map(value).collect();
                take(labels, points)?;
            }
        }
    }
}

/// The part of `span` before the first entry that ingesters have, which the store has alone, and the rest.
fn apart(span: Span, first_ns: Option<i64>) -> (Option<Span>, Option<Span>) {
    let Some(first_ns) = first_ns else { return (Some(span), None) };
    let seam_ns = first_ns.clamp(span.from_ns, span.through_ns);
    let alone = (seam_ns > span.from_ns).then(|| Span { through_ns: seam_ns - 1, ..span });
    (alone, Some(Span { from_ns: seam_ns, ..span }))
}

/// The windows of a stream. Parts of the stream add to them in any order: what lies in a window is summed up, wherever
/// time was cut.
struct Sums {
    steps: Mutex<Steps>,
    offset_ns: i64,
    of_bytes: bool,
}

impl Sums {
    fn new(query: &MetricQuery) -> Self {
        let RangeAggregation { function, range_ns, offset_ns, .. } = query.metric.range();
        let steps = Mutex::new(Steps::new(query.grid, *range_ns));
        Self { steps, offset_ns: *offset_ns, of_bytes: function.is_of_bytes() }
    }

    async fn add_all(&self, reading: &mut Reading<'_>, stages: &mut Stages) -> Result<(), ExecuteError> {
        loop {
            let batch = reading.take(usize::MAX, stages).await?;
            if batch.is_empty() {
                return Ok(());
            }
            let mut steps = self.steps.lock();
            for found in batch {
                let value = if self.of_bytes { found.line_bytes } else { 1 };
                steps.add(found.timestamp_ns.saturating_add(self.offset_ns), value);
            }
        }
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
