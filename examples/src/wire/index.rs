//! What the index is asked, what it answers, and what it stores.

use bytes::Bytes;
use prost::Message;

use super::{LabelMatcher, WireError, labels};
use crate::index::{ChunkRef, Span};
use crate::labels::Labels;
use crate::logql::Matcher;
use crate::tally;

/// Which chunks, streams or label values somebody looks for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Find {
    /// Whose.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// All must match the labels.
    #[prost(message, repeated, tag = "2")]
    pub matchers: Vec<LabelMatcher>,
    /// First nanosecond.
    #[prost(sint64, tag = "3")]
    pub from_ns: i64,
    /// Last nanosecond, inclusive.
    #[prost(sint64, tag = "4")]
    pub through_ns: i64,
    /// The label whose values are wanted; without it, the names.
    #[prost(string, optional, tag = "5")]
    pub label: Option<String>,
}

/// A page of a tenant's chunks.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Scan {
    /// Whose.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// Behind this key.
    #[prost(string, optional, tag = "2")]
    pub after: Option<String>,
    /// At most so many.
    #[prost(uint64, tag = "3")]
    pub limit: u64,
}

/// Chunks of a tenant, to add or as an answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Chunks {
    /// Whose.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// The chunks.
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<Chunk>,
}

/// Keys of a tenant's chunks.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Keys {
    /// Whose.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// The keys.
    #[prost(string, repeated, tag = "2")]
    pub keys: Vec<String>,
}

/// Text values.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Values {
    /// The values.
    #[prost(string, repeated, tag = "1")]
    pub values: Vec<String>,
}

/// Yes or no for each of what was asked.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Flags {
    /// In the order asked.
    #[prost(bool, repeated, tag = "1")]
    pub flags: Vec<bool>,
}

/// The labels of streams.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelSets {
    /// Canonical labels.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub labels: Vec<Bytes>,
}

/// One chunk, see [`ChunkRef`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Chunk {
    /// Object key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Canonical labels.
    #[prost(bytes = "bytes", tag = "2")]
    pub labels: Bytes,
    /// Loki's hash of the labels.
    #[prost(fixed64, tag = "3")]
    pub fingerprint: u64,
    /// First timestamp.
    #[prost(sint64, tag = "4")]
    pub from_ns: i64,
    /// Last timestamp.
    #[prost(sint64, tag = "5")]
    pub through_ns: i64,
    /// Number of entries.
    #[prost(uint64, tag = "6")]
    pub entries: u64,
    /// Bytes before compression.
    #[prost(uint64, tag = "7")]
    pub raw_bytes: u64,
    /// Bytes of the object.
    #[prost(uint64, tag = "8")]
    pub stored_bytes: u64,
    /// When it was written.
    #[prost(sint64, tag = "9")]
    pub ingested_at_ns: i64,
    /// Its lines by seconds, where it has none twice.
    #[prost(message, optional, tag = "10")]
    pub tally: Option<Tally>,
}

/// See [`tally::Tally`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Tally {
    /// Tells the chunk from every other one.
    #[prost(fixed64, tag = "1")]
    pub id: u64,
    /// As [`tally::encode`] writes them.
    #[prost(bytes = "bytes", tag = "2")]
    pub runs: Bytes,
}

impl<'a> FromIterator<&'a Labels> for LabelSets {
    fn from_iter<I: IntoIterator<Item = &'a Labels>>(all: I) -> Self {
        Self { labels: all.into_iter().map(|labels| Bytes::copy_from_slice(labels.as_bytes())).collect() }
    }
}

impl LabelSets {
    /// The labels.
    ///
    /// # Errors
    /// [`WireError`] where a set is not canonical.
    pub fn labels(&self) -> Result<Vec<Labels>, WireError> {
        self.labels.iter().map(|bytes| labels(bytes)).collect()
    }
}

impl From<&ChunkRef> for Chunk {
    fn from(chunk: &ChunkRef) -> Self {
        Self {
            key: chunk.key.clone(),
            labels: Bytes::copy_from_slice(chunk.labels.as_bytes()),
            fingerprint: chunk.fingerprint,
            from_ns: chunk.from_ns,
            through_ns: chunk.through_ns,
            entries: chunk.entries,
            raw_bytes: chunk.raw_bytes,
            stored_bytes: chunk.stored_bytes,
            ingested_at_ns: chunk.ingested_at_ns,
            tally: chunk.tally.as_ref().map(Tally::from),
        }
    }
}

impl TryFrom<Chunk> for ChunkRef {
    type Error = WireError;

    fn try_from(chunk: Chunk) -> Result<Self, WireError> {
        Ok(Self {
            labels: labels(&chunk.labels)?,
            key: chunk.key,
            fingerprint: chunk.fingerprint,
            from_ns: chunk.from_ns,
            through_ns: chunk.through_ns,
            entries: chunk.entries,
            raw_bytes: chunk.raw_bytes,
            stored_bytes: chunk.stored_bytes,
            ingested_at_ns: chunk.ingested_at_ns,
            tally: chunk.tally.map(tally::Tally::try_from).transpose()?,
        })
    }
}

impl From<&tally::Tally> for Tally {
    fn from(tally: &tally::Tally) -> Self {
        Self { id: tally.id, runs: tally::encode(&tally.runs) }
    }
}

impl TryFrom<Tally> for tally::Tally {
    type Error = WireError;

    fn try_from(tally: Tally) -> Result<Self, WireError> {
        let runs = tally::decode(&tally.runs).ok_or_else(|| WireError("a tally that is none".to_owned()))?;
        Ok(Self { id: tally.id, runs })
    }
}

impl Find {
    /// A search of `tenant` for streams with labels that match.
    pub fn new(tenant: &str, matchers: &[Matcher], span: Span) -> Self {
        Self {
            tenant: tenant.to_owned(),
            matchers: matchers.iter().map(LabelMatcher::from).collect(),
            from_ns: span.from_ns,
            through_ns: span.through_ns,
            label: None,
        }
    }

    /// The range it covers.
    pub fn span(&self) -> Span {
        Span { from_ns: self.from_ns, through_ns: self.through_ns }
    }
}
