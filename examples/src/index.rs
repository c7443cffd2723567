//! Which chunks hold the lines of which streams: the trait, and what passes through it.
//!
//! The index names objects that are already durable. An entry is durable when `append` returns; only then may
//! the log forget the lines. Nothing outside this module knows what keeps it.

mod memory;
mod redb;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;

use crate::labels::Labels;
use crate::logql::Matcher;
use crate::tally::Tally;

pub use self::memory::MemoryIndex;
pub use self::redb::RedbIndex;

/// One chunk, as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkRef {
    /// Object key in the store; unique.
    pub key: String,
    /// Labels of the stream.
    pub labels: Labels,
    /// Hash of the labels by Loki's rule, as in the key.
    pub fingerprint: u64,
    /// Timestamp of the first entry, nanoseconds since 1970.
    pub from_ns: i64,
    /// Timestamp of the last entry, nanoseconds since 1970, inclusive.
    pub through_ns: i64,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of lines before compression, and 8 for each metadata pair.
    pub raw_bytes: u64,
    /// Bytes of the object.
    pub stored_bytes: u64,
    /// When it was written, nanoseconds since 1970.
    pub ingested_at_ns: i64,
    /// Its lines by seconds, where it has none twice.
    pub tally: Option<Tally>,
}

/// A closed range of nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first nanosecond.
    pub from_ns: i64,
    /// The last nanosecond, inclusive.
    pub through_ns: i64,
}

impl Span {
    /// Everything.
    pub const ALL: Self = Self { from_ns: i64::MIN, through_ns: i64::MAX };

    /// Whether `chunk` may hold entries in the range.
    pub fn overlaps(&self, chunk: &ChunkRef) -> bool {
        chunk.from_ns <= self.through_ns && chunk.through_ns >= self.from_ns
    }
}

/// Why the index did not answer.
#[non_exhaustive]
#[derive(Debug, Clone, thiserror::Error)]
pub enum IndexError {
    /// Try again later: the disk or the process behind the index failed. Nothing of the call was done, or all.
    #[error("index is unavailable: {0}")]
    Unavailable(Arc<str>),
    /// Restore the index from a copy: what is stored cannot be read.
    #[error("index is damaged: {0}")]
    Damaged(Arc<str>),
}

/// Where chunks are found. Every call is atomic; an appended entry is durable when the call returns.
#[async_trait]
pub trait Index: Send + Sync + 'static {
    /// Adds `chunks` of `tenant`; one that is there already is replaced.
    async fn append(&self, tenant: &str, chunks: &[ChunkRef]) -> Result<(), IndexError>;

    /// The chunks of `tenant` that overlap `span` and whose labels match, each once, in no particular order.
    async fn chunks(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<ChunkRef>, IndexError>;

    /// The labels of the streams of `tenant` with chunks that overlap `span` and whose labels match, each once.
    async fn series(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<Labels>, IndexError> {
        let chunks = self.chunks(tenant, matchers, span).await?;
        let distinct: BTreeSet<Labels> = chunks.into_iter().map(|chunk| chunk.labels).collect();
        Ok(distinct.into_iter().collect())
    }

    /// The values of label `name` (with `None`: the names of all labels) in use within `span`, by whole days.
    async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        span: Span,
    ) -> Result<BTreeSet<String>, IndexError>;

    /// Up to `limit` chunks of `tenant` in order of their keys, those behind `after`.
    async fn scan(
        &self,
        tenant: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ChunkRef>, IndexError>;

    /// Which of `keys` the index refers to.
    async fn contains(&self, tenant: &str, keys: &[String]) -> Result<Vec<bool>, IndexError>;

    /// Forgets the chunks of `tenant` with `keys`; one that is not there is no error.
    async fn drop_refs(&self, tenant: &str, keys: &[String]) -> Result<(), IndexError>;

    /// Every tenant that has chunks.
    async fn tenants(&self) -> Result<Vec<String>, IndexError>;
}

#[cfg(test)]
mod conformance;
