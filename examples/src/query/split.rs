//! A query in parts that are worked on at the same time. A part is of a few streams in a length of time, and no time is
//! in two of them: what repeats an entry is in the same part, and what parts find or count adds up to the answer.

use std::num::{NonZeroI64, NonZeroUsize};

use forebay_chunk::Direction;
use forebay_ring::quorum::{ErrorMode, JobError, for_each_bounded};
use forebay_tracing_ctx::TraceFutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use super::stages::Stages;
use super::{ExecuteError, Querier};
use crate::index::{ChunkRef, Span};

const PARALLELISM: NonZeroUsize = NonZeroUsize::new(32).expect("32 is above 0");

/// How a query is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Nanoseconds that no part is longer than; `None` where time does not split it.
    pub interval_ns: Option<NonZeroI64>,
    /// Most parts that are worked on at the same time.
    pub parallelism: NonZeroUsize,
}

impl Default for Split {
    /// As Loki's limits have it.
    fn default() -> Self {
        Self { interval_ns: NonZeroI64::new(3600 * 1_000_000_000), parallelism: PARALLELISM }
    }
}

/// The chunks of some streams, by the numbers of these, that have entries in a length of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) span: Span,
    pub(super) chunks: Vec<(u32, ChunkRef)>,
}

impl Part {
    /// What of it is in `span`.
    pub(super) fn within(mut self, span: Span) -> Option<Self> {
        self.chunks.retain(|(_, chunk)| span.overlaps(chunk));
        (!self.chunks.is_empty()).then_some(Self { span, ..self })
    }
}

/// The parts of `span` that have any of `chunks`, which are in the order of their streams: from the end on that comes
/// first, and for each length of time by `streams` streams. Time is cut at multiples of the interval since 1970, so that
/// a query that is made again a little later has most of its parts again.
pub(super) fn parts<'a>(
    direction: Direction,
    span: Span,
    interval_ns: Option<NonZeroI64>,
    streams: NonZeroUsize,
    chunks: &'a [(u32, &'a ChunkRef)],
) -> impl Iterator<Item = Part> + 'a {
    let mut rest = Some(span);
    let spans = std::iter::from_fn(move || {
        let left = rest.take()?;
        let within = chunks.iter().map(|(_, chunk)| *chunk).filter(|chunk| left.overlaps(chunk));
        // Where nothing is stored there is nothing to cut.
        let (part, behind) = match direction {
            Direction::Forward => {
                let from_ns = within.map(|chunk| chunk.from_ns.max(left.from_ns)).min()?;
                let (_, last_ns) = interval(from_ns, interval_ns);
                let through_ns = last_ns.min(left.through_ns);
                let behind = (through_ns < left.through_ns).then(|| Span { from_ns: through_ns + 1, ..left });
                (Span { from_ns, through_ns }, behind)
            }
            Direction::Backward => {
                let through_ns = within.map(|chunk| chunk.through_ns.min(left.through_ns)).max()?;
                let (first_ns, _) = interval(through_ns, interval_ns);
                let from_ns = first_ns.max(left.from_ns);
                let behind = (from_ns > left.from_ns).then(|| Span { through_ns: from_ns - 1, ..left });
                (Span { from_ns, through_ns }, behind)
            }
        };
        rest = behind;
        Some(part)
    });
    spans.flat_map(move |span| {
        let within: Vec<_> = chunks.iter().filter(|(_, chunk)| span.overlaps(chunk)).collect();
        let by_stream: Vec<_> = within.chunk_by(|a, b| a.0 == b.0).collect();
        let part = |group: &[&[&(u32, &ChunkRef)]]| {
            let own = group.iter().copied().flatten();
            Part { span, chunks: own.map(|(stream, chunk)| (*stream, (*chunk).clone())).collect() }
        };
        by_stream.chunks(streams.get()).map(part).collect::<Vec<_>>()
    })
}

/// The first and the last nanosecond of the interval that holds `at_ns`.
fn interval(at_ns: i64, interval_ns: Option<NonZeroI64>) -> (i64, i64) {
    let Some(length) = interval_ns else { return (i64::MIN, i64::MAX) };
    let length = i128::from(length.get());
    let first = i128::from(at_ns).div_euclid(length) * length;
    let within = |ns: i128| i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX });
    (within(first), within(first + length - 1))
}

/// Works on parts, so many at the same time, until one fails; what all of them cost.
pub(super) async fn run<J, F, Fut>(
    parallelism: NonZeroUsize,
    parts: impl IntoIterator<Item = J>,
    mut work: F,
) -> Result<Stages, ExecuteError>
where
    F: FnMut(J) -> Fut,
    Fut: Future<Output = Result<Stages, ExecuteError>> + Send + 'static,
{
    let work = |part| work(part).in_current_trace().in_current_span();
    let mut stages = Stages::default();
    let mut lost = None;
    for result in for_each_bounded(parts, parallelism, ErrorMode::FirstError, work).await {
        match result {
            Ok(own) => stages.add(&own),
            Err(JobError::Failed(error)) => return Err(error),
            // A failure has cancelled others, and says why.
            Err(other) => lost = lost.or(Some(other.to_string())),
        }
    }
    lost.map_or(Ok(stages), |why| Err(ExecuteError::Part { why }))
}

impl Querier {
    /// Waits until one more part may be worked on, of all queries of this process. A query waits for nothing else while
    /// it has its turn but for the store.
    pub(super) async fn turn(&self) -> OwnedSemaphorePermit {
        self.turns.clone().acquire_owned().await.expect("nobody closes it")
    }
}

#[cfg(test)]
mod tests;
