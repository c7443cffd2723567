//! Counts without reading: what chunks have in each second is added up, where that is the same as to read them.
//!
//! It is where windows end with whole seconds, every line counts, no chunk has a line twice, and no two chunks of a
//! stream, in memory or stored, have a time in common: lines that repeat another one have its time. A chunk that is in
//! memory and stored is one and the same by its number. All other streams are read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::Direction;
use futures_util::{StreamExt, stream};

use super::aggregate::Points;
use super::metric::{MetricQuery, reads};
use super::stages::{self, Stages};
use super::steps::Steps;
use super::{Asked, ExecuteError, Querier, What};
use crate::client::{IngesterClient, ReadFailed};
use crate::labels::Labels;
use crate::logql::RangeAggregation;
use crate::tally::{Tally, is_whole};
use crate::wire::{self, Piece};

/// What is known without reading.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Of the streams that can be counted, the tallies of their chunks.
    pub(super) tallies: BTreeMap<Labels, Vec<Tally>>,
    /// The streams that have to be read.
    pub(super) rest: BTreeSet<Labels>,
}

/// A chunk, wherever it is.
#[derive(Debug, Clone)]
struct Known {
    from_ns: i64,
    through_ns: i64,
    tally: Option<Tally>,
}

/// Whether seconds are enough for the windows of `query`, and all of their lines count.
fn is_by_seconds(query: &MetricQuery) -> bool {
    let RangeAggregation { logs, range_ns, offset_ns, .. } = query.metric.range();
    let grid = query.grid;
    let steps = grid.len() == 1 || is_whole(grid.step_ns);
    let windows = is_whole(*range_ns) && is_whole(*offset_ns) && is_whole(grid.start_ns);
    steps && windows && logs.filters.is_empty() && query.span == reads(&query.metric, grid)
}

impl Querier {
    /// What of `query` is known without reading; `None` where nothing can be.
    pub(super) async fn counted(
        &self,
        tenant: &str,
        query: &MetricQuery,
        stages: &mut Stages,
    ) -> Result<Option<Counted>, ExecuteError> {
        if !is_by_seconds(query) {
            return Ok(None);
        }
        let RangeAggregation { logs, .. } = query.metric.range();
        let MetricQuery { span, max_bytes, .. } = *query;
        let (what, direction) = (What::Tallies, Direction::Forward);
        let asked = Asked { logs, span, direction, what, max_bytes };
        // Ingesters first, as everywhere: what is stored meanwhile is found in the index.
        let started = monotonic_ns();
        let Some(mut known) = self.held_pieces(tenant, asked).await? else { return Ok(None) };
        stages.ingesters_ns += stages::since(started);
        let started = monotonic_ns();
        let stored = self.storage.index().chunks(tenant, &logs.matchers, span).await?;
        stages.index_lookup_ns += stages::since(started);
        stages.chunks += stored.len() as u64;
        for chunk in stored {
            let own = Known { from_ns: chunk.from_ns, through_ns: chunk.through_ns, tally: chunk.tally };
            known.entry(chunk.labels).or_default().push(own);
        }
        let mut counted = Counted::default();
        for (labels, chunks) in known {
            match apart(chunks) {
                Some(tallies) => drop(counted.tallies.insert(labels, tallies)),
                None => drop(counted.rest.insert(labels)),
            }
        }
        Ok(Some(counted))
    }

    /// The chunks that ingesters have, by stream; `None` where one of them is of a version that does not say.
    async fn held_pieces(
        &self,
        tenant: &str,
        asked: Asked<'_>,
    ) -> Result<Option<BTreeMap<Labels, Vec<Known>>>, ExecuteError> {
        let select = asked.select(tenant);
        let ask = |client: Arc<dyn IngesterClient>| {
            let select = select.clone();
            async move { client.select(select).await }
        };
        let (answers, mut patience) = self.begin(tenant, ask).await?;
        let numbered = answers.into_iter().map(|(id, parts)| parts.map(move |part| (Arc::clone(&id), part)));
        let mut read = stream::select_all(numbered);
        let mut known: BTreeMap<Labels, Vec<Known>> = BTreeMap::new();
        while let Some((id, part)) = read.next().await {
            let part = match part {
                Ok(part) => part,
                Err(ReadFailed(why)) => {
                    patience.fail(&id, why)?;
                    continue;
                }
            };
            if !part.record.is_empty() {
                return Ok(None);
            }
            for tallied in part.tallied {
                let own = known.entry(wire::labels(&tallied.labels)?).or_default();
                for piece in tallied.pieces {
                    own.push(piece.try_into()?);
                }
            }
        }
        Ok(Some(known))
    }
}

impl TryFrom<Piece> for Known {
    type Error = wire::WireError;

    fn try_from(piece: Piece) -> Result<Self, wire::WireError> {
        let Piece { from_ns, through_ns, tally } = piece;
        Ok(Self { from_ns, through_ns, tally: tally.map(Tally::try_from).transpose()? })
    }
}

/// The tallies of chunks, each once; `None` where two of them may have the same line, or one has it twice.
fn apart(mut chunks: Vec<Known>) -> Option<Vec<Tally>> {
    chunks.sort_by_key(|chunk| (chunk.from_ns, chunk.through_ns));
    let mut tallies: Vec<Tally> = Vec::with_capacity(chunks.len());
    let mut last_ns = None;
    for chunk in chunks {
        let tally = chunk.tally?;
        let is_apart = last_ns.is_none_or(|last_ns| chunk.from_ns > last_ns);
        if is_apart {
            last_ns = Some(chunk.through_ns);
            tallies.push(tally);
        } else if tallies.last() != Some(&tally) || last_ns != Some(chunk.through_ns) {
            return None;
        }
    }
    Some(tallies)
}

/// The points of a stream by its tallies.
pub(super) fn points(query: &MetricQuery, tallies: &[Tally]) -> Points {
    let RangeAggregation { function, range_ns, offset_ns, .. } = query.metric.range();
    let mut steps = Steps::new(query.grid, *range_ns);
    for run in tallies.iter().flat_map(|tally| &tally.runs) {
        let value = if function.is_of_bytes() { run.bytes } else { run.lines };
        steps.add(run.at_ns().saturating_add(*offset_ns), value);
    }
    steps.sums().map(|(number, sum)| (number, function.value(sum, *range_ns))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Run;

    fn known(id: u64, from_ns: i64, through_ns: i64) -> Known {
        let runs = vec![Run { second: through_ns, lines: 1, bytes: 1 }];
        Known { from_ns, through_ns, tally: Some(Tally { id, runs }) }
    }

    fn ids(chunks: Vec<Known>) -> Option<Vec<u64>> {
        apart(chunks).map(|tallies| tallies.iter().map(|tally| tally.id).collect())
    }

    #[test]
    fn chunks_are_counted_where_none_may_have_a_line_of_another() {
        assert_eq!(ids(vec![]), Some(vec![]));
        assert_eq!(ids(vec![known(2, 5, 9), known(1, 0, 4)]), Some(vec![1, 2]));
        assert_eq!(ids(vec![known(1, 0, 4), known(2, 4, 9)]), None, "both may have a line of time 4");
        assert_eq!(ids(vec![known(1, 0, 9), known(2, 3, 4), known(3, 10, 11)]), None);
        assert_eq!(ids(vec![known(1, 0, 4), Known { tally: None, ..known(2, 5, 9) }]), None);
        // In memory still, and stored.
        assert_eq!(ids(vec![known(1, 0, 4), known(2, 5, 9), known(2, 5, 9)]), Some(vec![1, 2]));
        assert_eq!(ids(vec![known(1, 5, 9), known(2, 5, 9)]), None, "two replicas may have the same");
    }
}
