//! Answers queries from the ingesters' memory and the store.
//!
//! Ingesters are asked before the index: a chunk leaves their memory only after the index has it, so an entry that
//! moves meanwhile is seen at least once, and the merge sees to it that it is seen no more than once.

mod aggregate;
pub mod answer;
pub mod merge;
mod metric;
mod reading;
pub mod stages;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::Direction;
use futures_util::future::join_all;

use crate::distributor::Requirements;
use crate::index::{ChunkRef, IndexError, Span};
use crate::labels::Labels;
use crate::logql::{Logs, Matcher};
use crate::members::Members;
use crate::record::{Record, RecordError};
use crate::storage::{Storage, StorageError};
use crate::wire::{Filter, LabelMatcher, Select};

use merge::{Found, Merge, Section, Source, SourceError, Want};
use reading::Reading;
use stages::Stages;

pub use aggregate::Points;
pub use metric::{MetricQuery, Series, reads};
pub use steps::{Grid, MAX_POINTS};

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
        /// How many may fail.
        tolerated: usize,
        /// What the first failure was.
        first: String,
    },
    /// See [`StorageError`].
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// See [`IndexError`].
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A block does not decode.
    #[error("chunk does not decode")]
    Chunk(#[from] SourceError),
    /// An ingester of another version answered.
    #[error("ingester answered with no record")]
    Record(#[from] RecordError),
    /// An ingester of another version answered.
    #[error("ingester answered with no identities: is it of an older version?")]
    Identities,
    /// The chunks that hold the answer are more than a query may read.
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
    /// Most bytes of chunks that may be read, before compression.
    pub max_bytes: u64,
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

/// Answers queries of any tenant.
#[derive(Debug, Clone)]
pub struct Querier {
    members: Members,
    storage: Storage,
    requirements: Requirements,
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
}

/// Where the entries of one query are.
struct Located {
    streams: Vec<Labels>,
    chunks: Vec<(u32, ChunkRef)>,
    heads: Vec<(u32, Source)>,
}

impl Querier {
    /// A querier over the ingesters in `members` and `storage`. What a push required decides how many ingesters may
    /// stay silent.
    pub fn new(members: Members, storage: Storage, requirements: Requirements) -> Self {
        Self { members, storage, requirements }
    }

    /// The lines that `query` asks for.
    ///
    /// # Errors
    /// [`ExecuteError`]; there are no partial answers.
    pub async fn lines(&self, tenant: &str, query: LogQuery) -> Result<Lines, ExecuteError> {
        let mut stages = Stages::default();
        let limit = query.limit as u64;
        let LogQuery { ref logs, span, direction, max_bytes, .. } = query;
        let asked = Asked { logs, span, direction, what: What::Lines { limit }, max_bytes };
        let located = self.locate(tenant, asked, &mut stages).await?;
        let merge = Merge::new(query.direction, Want::Lines, query.logs);
        let mut reading =
            Reading::new(self.clone(), tenant, merge, query.span, located.chunks, located.heads)?;
        let mut entries = Vec::new();
        while entries.len() < query.limit {
            let room = query.limit - entries.len();
            let batch = reading.take(room, &mut stages).await?;
            if batch.is_empty() {
                break;
            }
            entries.extend(batch.into_iter().map(|found| Answered { stream: found.stream as usize, found }));
        }
        stages.lines_answered = entries.len() as u64;
        Ok(Lines { streams: located.streams, entries, stages })
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
            let asked = self.members.clients().into_iter().map(|client| async move {
                client.series(tenant, matchers, span).await.map_err(|e| e.to_string())
            });
            found.extend(self.enough(tenant, join_all(asked).await)?.into_iter().flatten());
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
        let asked = self.members.clients().into_iter().map(|client| async move {
            client.series(tenant, matchers, span).await.map_err(|e| e.to_string())
        });
        let mut streams: Vec<Labels> =
            self.enough(tenant, join_all(asked).await)?.into_iter().flatten().collect();
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

    async fn locate(
        &self,
        tenant: &str,
        Asked { logs, span, direction, what, max_bytes }: Asked<'_>,
        stages: &mut Stages,
    ) -> Result<Located, ExecuteError> {
        let select = Select {
            tenant: tenant.to_owned(),
            matchers: logs.matchers.iter().map(LabelMatcher::from).collect(),
            filters: logs.filters.iter().map(Filter::from).collect(),
            from_ns: span.from_ns,
            through_ns: span.through_ns,
            backward: direction == Direction::Backward,
            limit: if let What::Lines { limit } = what { limit } else { 0 },
            identities: matches!(what, What::Times { .. }),
            sizes: what == What::Times { sized: true },
        };
        let started = monotonic_ns();
        let asked = self.members.clients().into_iter().map(|client| {
            let select = select.clone();
            async move { client.select(select).await.map_err(|e| e.to_string()) }
        });
        let heads = self.enough(tenant, join_all(asked).await)?;
        stages.ingesters_ns += stages::since(started);
        let started = monotonic_ns();
        let chunks = self.storage.index().chunks(tenant, &logs.matchers, span).await?;
        stages.index_lookup_ns += stages::since(started);
        stages.chunks += chunks.len() as u64;
        let bytes = chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(chunk.raw_bytes));
        if bytes > max_bytes {
            return Err(ExecuteError::TooManyBytes { bytes, limit: max_bytes });
        }

        let mut numbers: BTreeMap<Labels, u32> = BTreeMap::new();
        let mut number = |labels: Labels| {
            let next = u32::try_from(numbers.len()).expect("fewer than 2^32 streams fit memory");
            *numbers.entry(labels).or_insert(next)
        };
        let chunks = chunks.into_iter().map(|chunk| (number(chunk.labels.clone()), chunk)).collect();
        let mut sources = Vec::new();
        for answer in heads {
            let mut parts: BTreeMap<u32, Vec<Section>> = BTreeMap::new();
            for bytes in answer {
                let record = Record::parse(bytes)?;
                for section in record.sections() {
                    let labels = Labels::from_canonical(section.labels).expect("checked when it was parsed");
                    let part = match what {
                        What::Lines { .. } => Section::lines(section.entries(), &record),
                        What::Times { sized } => {
                            Section::identities(section.entries(), sized).ok_or(ExecuteError::Identities)?
                        }
                    };
                    parts.entry(number(labels)).or_default().push(part);
                }
            }
            sources.extend(parts.into_iter().map(|(stream, parts)| {
                (stream, Source::Selected { parts: parts.into_iter(), current: None })
            }));
        }
        let mut streams: Vec<(u32, Labels)> =
            numbers.into_iter().map(|(labels, number)| (number, labels)).collect();
        streams.sort_by_key(|(number, _)| *number);
        Ok(Located {
            streams: streams.into_iter().map(|(_, labels)| labels).collect(),
            chunks,
            heads: sources,
        })
    }

    /// The answers, if no more ingesters failed than may without a line being missed.
    fn enough<T>(&self, tenant: &str, answers: Vec<Result<T, String>>) -> Result<Vec<T>, ExecuteError> {
        let (asked, tolerated) =
            (self.members.len(), self.members.tolerated_reads(self.requirements.of(tenant)));
        let missing = asked.saturating_sub(answers.len());
        let mut first = (missing > 0).then(|| format!("{missing} are not in the ring"));
        let mut good = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(answer) => good.push(answer),
                Err(e) => {
                    first.get_or_insert(e);
                }
            }
        }
        let failed = asked - good.len().min(asked);
        if failed > tolerated {
            let first = first.unwrap_or_default();
            return Err(ExecuteError::Ingesters { failed, asked, tolerated, first });
        }
        Ok(good)
    }
}
