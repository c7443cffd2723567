//! Answers queries from the ingesters' memory and the store.
//!
//! Ingesters are asked before the index: a chunk leaves their memory only after the index has it, so an entry that
//! moves meanwhile is seen at least once, and the merge sees to it that it is seen no more than once.

mod aggregate;
pub mod answer;
mod ask;
pub mod best;
mod cache;
mod heads;
pub mod holes;
mod lines;
pub mod merge;
mod metric;
mod reading;
mod split;
pub mod stages;
mod steps;
mod tail;
mod tallied;
mod windows;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use forebay_agent::clock::monotonic_ns;
use forebay_chunk::Direction;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::client::IngesterClient;
use crate::distributor::Requirements;
use crate::index::{ChunkRef, IndexError, Span};
use crate::labels::Labels;
use crate::logql::{Logs, Matcher};
use crate::members::Members;
use crate::record::RecordError;
use crate::storage::{Storage, StorageError};
use crate::wire::{Filter, LabelMatcher, Select, StreamVolume, WireError};

use cache::Blocks;
use heads::{Allowance, Heads};
use merge::{Found, Holds, SourceError};
use stages::Stages;

pub use aggregate::Points;
pub use metric::{MetricQuery, Series, reads};
pub use split::Split;
pub use steps::{Grid, MAX_POINTS};
pub use tail::{Batch, Tail, TailQuery};

/// Why a query was not answered.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Ask again later: too few ingesters answered to know all recent lines.
    #[error("{failed} of {asked} ingesters did not answer, {tolerated} may fail: {first}")]
    Ingesters {
        /// How many failed.
        failed: usize,
        /// How many were asked.
        asked: usize,
        /// How many may fail, or how many zones where ingesters have one.
        tolerated: usize,
        /// What the first failure was.
        first: String,
    },
    /// Ask again later: the ring has too few ingesters to know all recent lines.
    #[error("recent lines are not to be had")]
    Ring(#[from] forebay_ring::Error),
    /// See [`StorageError`].
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// See [`IndexError`].
    #[error(transparent)]
    Index(#[from] IndexError),
    /// See [`SourceError`].
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An ingester of another version answered.
    #[error("ingester answered with no record")]
    Record(#[from] RecordError),
    /// An ingester or an index of another version answered.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An ingester of another version answered.
    #[error("ingester answered with streams out of order: is it of an older version?")]
    Order,
    /// A part of the query ended without an answer, as the process stops or by a mistake of it.
    #[error("a part of the query was not answered: {why}")]
    Part {
        /// What is known of it.
        why: String,
    },
    /// The lines among which the answer is looked for are more than a query may read.
    #[error(
        "the query would read too many bytes (query: {bytes}, limit: {limit}): select fewer streams or less time"
    )]
    TooManyBytes {
        /// What they hold, before compression.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The answer has more series than a query may have.
    #[error("maximum of series ({limit}) reached for a single query: aggregate, or select fewer streams")]
    TooManySeries {
        /// The limit.
        limit: usize,
    },
    /// An aggregation would hold more values than fit memory.
    #[error("aggregation holds more than {limit} values: ask for fewer groups, or a larger step")]
    TooManyValues {
        /// The limit.
        limit: usize,
    },
}

/// The lines of a query.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Which.
    pub logs: Logs,
    /// When, inclusive.
    pub span: Span,
    /// From which end.
    pub direction: Direction,
    /// How many at the most.
    pub limit: usize,
    /// Most bytes that may be read, of chunks before compression and of lines in memory.
    pub max_bytes: u64,
    /// In what parts it is worked on.
    pub split: Split,
}

/// An entry of an answer and the stream it belongs to.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Index into [`Lines::streams`].
    pub stream: usize,
    /// The entry.
    pub found: Found,
}

/// The answer to a [`LogQuery`].
#[derive(Debug)]
pub struct Lines {
    /// Labels of the streams.
    pub streams: Vec<Labels>,
    /// In the order asked for.
    pub entries: Vec<Answered>,
    /// What it cost.
    pub stages: Stages,
}

/// How much there is of some streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Streams.
    pub streams: u64,
    /// Chunks.
    pub chunks: u64,
    /// Entries of them.
    pub entries: u64,
    /// Bytes of their lines and metadata.
    pub bytes: u64,
}

impl Volume {
    fn add(&mut self, chunks: u64, entries: u64, bytes: u64) {
        self.chunks += chunks;
        self.entries += entries;
        self.bytes += bytes;
    }
}

/// Answers queries of any tenant.
#[derive(Debug, Clone)]
pub struct Querier {
    members: Members,
    storage: Storage,
    requirements: Arc<Requirements>,
    blocks: Blocks,
    turns: Arc<Semaphore>,
}

/// What all queries of a process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Parts of queries that read chunks at the same time.
    pub max_concurrent: NonZeroUsize,
    /// Bytes of decoded blocks that are kept.
    pub block_cache_bytes: u64,
}

/// What is looked for, and in what order.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    logs: &'a Logs,
    span: Span,
    direction: Direction,
    what: What,
    max_bytes: u64,
}

/// What is asked of the ingesters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// So many lines.
    Lines { limit: u64 },
    /// When each line was, and of how many bytes.
    Times { sized: bool },
    /// What is known of chunks without reading them.
    Tallies,
}

impl Asked<'_> {
    fn select(&self, tenant: &str) -> Select {
        let Self { logs, span, direction, what, .. } = *self;
        Select {
            tenant: tenant.to_owned(),
            matchers: logs.matchers.iter().map(LabelMatcher::from).collect(),
            filters: logs.filters.iter().map(Filter::from).collect(),
            from_ns: span.from_ns,
            through_ns: span.through_ns,
            backward: direction == Direction::Backward,
            limit: if let What::Lines { limit } = what { limit } else { 0 },
            identities: matches!(what, What::Times { .. }),
            sizes: what == What::Times { sized: true },
            tallies: what == What::Tallies,
            streams: Vec::new(),
        }
    }
}

/// Where the entries of one query are.
struct Located {
    heads: Heads,
    chunks: BTreeMap<Labels, Vec<ChunkRef>>,
}

impl Querier {
    /// A querier over the ingesters in `members` and `storage`. What a push required decides how many ingesters may
    /// stay silent.
    pub fn new(members: Members, storage: Storage, requirements: Requirements, options: Options) -> Self {
        let Options { max_concurrent, block_cache_bytes } = options;
        Self {
            members,
            storage,
            requirements: Arc::new(requirements),
            blocks: Blocks::new(block_cache_bytes),
            turns: Arc::new(Semaphore::new(max_concurrent.get().min(Semaphore::MAX_PERMITS))),
        }
    }

    /// The labels of the streams that match any of `selectors`; all streams where there is none.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn series(
        &self,
        tenant: &str,
        selectors: &[Vec<Matcher>],
        span: Span,
    ) -> Result<BTreeSet<Labels>, ExecuteError> {
        let all = [Vec::new()];
        let selectors = if selectors.is_empty() { &all[..] } else { selectors };
        let mut found = BTreeSet::new();
        for matchers in selectors {
            found.extend(self.held(tenant, matchers, span).await?);
            found.extend(self.storage.index().series(tenant, matchers, span).await?);
        }
        Ok(found)
    }

    /// The names of labels, or the values of label `name`.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<BTreeSet<String>, ExecuteError> {
        // Memory first, as everywhere: what is stored meanwhile is found in the index. Streams in memory are few, so
        // their labels are asked for whole; the index has a short cut.
        let mut streams = self.held(tenant, matchers, span).await?;
        let index = self.storage.index();
        let mut values = if matchers.is_empty() {
            index.label_values(tenant, name, span).await?
        } else {
            streams.extend(index.series(tenant, matchers, span).await?);
            BTreeSet::new()
        };
        for labels in streams {
            for (label, value) in labels.pairs() {
                match name {
                    None => values.insert(label.to_owned()),
                    Some(name) => name == label && values.insert(value.to_owned()),
                };
            }
        }
        Ok(values)
    }

    /// How much there is of the streams that match, by whole chunks. Replicas of what is in memory count once, those of
    /// stored chunks each, and a chunk that was stored a moment ago may still be in memory and count twice.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn volume(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Volume, ExecuteError> {
        let (whose, which) = (tenant.to_owned(), matchers.to_vec());
        let ask = |client: Arc<dyn IngesterClient>| {
            let (whose, which) = (whose.clone(), which.clone());
            async move { client.volume(&whose, &which, span).await }
        };
        let answers = self.ask(tenant, ask).await?;
        let mut held: BTreeMap<Bytes, StreamVolume> = BTreeMap::new();
        for stream in answers.into_iter().flatten() {
            let most = held.entry(stream.labels.clone()).or_default();
            if stream.entries > most.entries {
                *most = stream;
            }
        }
        let stored = self.storage.index().chunks(tenant, matchers, span).await?;
        let mut volume = Volume::default();
        for StreamVolume { chunks, entries, bytes, .. } in held.values() {
            volume.add(*chunks, *entries, *bytes);
        }
        for chunk in &stored {
            volume.add(1, chunk.entries, chunk.raw_bytes);
        }
        let streams = stored.iter().map(|chunk| chunk.labels.as_bytes());
        volume.streams =
            streams.chain(held.keys().map(|labels| &labels[..])).collect::<BTreeSet<_>>().len() as u64;
        Ok(volume)
    }

    /// Where the entries are that are asked for; with `only`, those of these streams.
    async fn locate(
        &self,
        tenant: &str,
        asked: Asked<'_>,
        only: Option<&Arc<BTreeSet<Labels>>>,
        stages: &mut Stages,
    ) -> Result<Located, ExecuteError> {
        let Asked { logs, span, what, max_bytes, .. } = asked;
        let named = only.into_iter().flat_map(|only| only.iter());
        let streams = named.map(|labels| Bytes::copy_from_slice(labels.as_bytes())).collect();
        let select = Select { streams, ..asked.select(tenant) };
        // Each has taken hold of what it will send when it answers, so that the index may be asked.
        let started = monotonic_ns();
        let ask = |client: Arc<dyn IngesterClient>| {
            let select = select.clone();
            async move { client.select(select).await }
        };
        let (answers, patience) = self.begin(tenant, ask).await?;
        stages.ingesters_ns += stages::since(started);
        let started = monotonic_ns();
        let mut found = self.storage.index().chunks(tenant, &logs.matchers, span).await?;
        found.retain(|chunk| only.is_none_or(|only| only.contains(&chunk.labels)));
        stages.index_lookup_ns += stages::since(started);
        stages.chunks += found.len() as u64;
        let mut allowance = Allowance { bytes: 0, limit: max_bytes };
        allowance.spend(found.iter().fold(0, |sum, chunk| chunk.raw_bytes.saturating_add(sum)))?;
        let mut chunks: BTreeMap<Labels, Vec<ChunkRef>> = BTreeMap::new();
        for chunk in found {
            chunks.entry(chunk.labels.clone()).or_default().push(chunk);
        }
        let holds = match what {
            What::Lines { .. } => Holds::Lines,
            What::Times { sized } => Holds::Identities { sized },
            What::Tallies => unreachable!("nothing is located to be counted by tallies"),
        };
        let heads = Heads::new(answers, holds, only.cloned(), patience, allowance);
        Ok(Located { heads, chunks })
    }
}

#[cfg(test)]
mod tests;
