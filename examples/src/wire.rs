//! The messages that parts send each other over gRPC, and that the index stores; written with prost's derive, so
//! that the build needs no `protoc`. Fields may be added, numbers are never used twice.

use bytes::Bytes;
use prost::Message;

use crate::index::{ChunkRef, Span};
use crate::labels::Labels;
use crate::logql::{LineFilter, Logs, MatchOp, Matcher};
use crate::tally;

/// A message that decodes but makes no sense.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message holds {0}")]
pub struct WireError(pub String);

/// Nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Empty {}

/// A record to keep.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Push {
    /// See `FORMAT.md`.
    #[prost(bytes = "bytes", tag = "1")]
    pub record: Bytes,
}

/// What became of a record: all of it is durable but the sections named here.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Pushed {
    /// Sections that were refused.
    #[prost(message, repeated, tag = "1")]
    pub refused: Vec<Refused>,
}

/// A section that was not stored.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Refused {
    /// Its place in the record, from 0.
    #[prost(uint32, tag = "1")]
    pub section: u32,
    /// Active streams of the tenant on the ingester.
    #[prost(uint64, tag = "2")]
    pub active: u64,
    /// The limit it has there.
    #[prost(uint64, tag = "3")]
    pub limit: u64,
}

/// A condition on one label.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelMatcher {
    /// The label.
    #[prost(string, tag = "1")]
    pub name: String,
    /// 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
    #[prost(uint32, tag = "2")]
    pub op: u32,
    /// The value or expression.
    #[prost(string, tag = "3")]
    pub value: String,
}

/// A condition on the line.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Filter {
    /// Lines that match are left out.
    #[prost(bool, tag = "1")]
    pub negated: bool,
    /// The patterns are expressions.
    #[prost(bool, tag = "2")]
    pub regex: bool,
    /// Any of them.
    #[prost(string, repeated, tag = "3")]
    pub patterns: Vec<String>,
}

/// Which entries somebody wants to read from memory.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Select {
    /// Whose.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// All must match the labels.
    #[prost(message, repeated, tag = "2")]
    pub matchers: Vec<LabelMatcher>,
    /// All must match the line.
    #[prost(message, repeated, tag = "3")]
    pub filters: Vec<Filter>,
    /// First nanosecond.
    #[prost(sint64, tag = "4")]
    pub from_ns: i64,
    /// Last nanosecond, inclusive.
    #[prost(sint64, tag = "5")]
    pub through_ns: i64,
    /// From the newest entry to the oldest.
    #[prost(bool, tag = "6")]
    pub backward: bool,
    /// At most this many entries in all; 0 is no limit.
    #[prost(uint64, tag = "7")]
    pub limit: u64,
    /// Send in place of each line its 16-byte identity, and no metadata.
    #[prost(bool, tag = "8")]
    pub identities: bool,
    /// Send behind each identity the bytes of the line, in 8 bytes, little-endian.
    #[prost(bool, tag = "9")]
    pub sizes: bool,
    /// Send what is known of the chunks of each stream without reading them, and no entries.
    #[prost(bool, tag = "10")]
    pub tallies: bool,
    /// Of the streams that match, only those with these canonical labels; all where there are none.
    #[prost(bytes = "bytes", repeated, tag = "11")]
    pub streams: Vec<Bytes>,
}

/// A part of the answer to [`Select`]: a record with sections in time order, the streams of all parts in the order of
/// their labels.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Selected {
    /// See `FORMAT.md`; empty where so much was read without anything being found.
    #[prost(bytes = "bytes", tag = "1")]
    pub record: Bytes,
    /// Bytes of lines that were read for it.
    #[prost(uint64, tag = "2")]
    pub read_bytes: u64,
    /// What was asked for in place of entries.
    #[prost(message, repeated, tag = "3")]
    pub tallied: Vec<Tallied>,
}

/// What is known of the chunks of a stream.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Tallied {
    /// Canonical labels.
    #[prost(bytes = "bytes", tag = "1")]
    pub labels: Bytes,
    /// The chunks.
    #[prost(message, repeated, tag = "2")]
    pub pieces: Vec<Piece>,
}

/// A chunk in memory.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Piece {
    /// First timestamp.
    #[prost(sint64, tag = "1")]
    pub from_ns: i64,
    /// Last timestamp.
    #[prost(sint64, tag = "2")]
    pub through_ns: i64,
    /// Its lines by seconds, where it has none twice.
    #[prost(message, optional, tag = "3")]
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

/// Which lines somebody wants to see as they come.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Tail {
    /// Whose.
    #[prost(string, tag = "1")]
    pub tenant: String,
    /// All must match the labels.
    #[prost(message, repeated, tag = "2")]
    pub matchers: Vec<LabelMatcher>,
    /// All must match the line.
    #[prost(message, repeated, tag = "3")]
    pub filters: Vec<Filter>,
}

/// What came since the last of these, or since [`Tail`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Tailed {
    /// See `FORMAT.md`; empty where there is none.
    #[prost(bytes = "bytes", tag = "1")]
    pub record: Bytes,
    /// Lines that came faster than they were read.
    #[prost(message, repeated, tag = "2")]
    pub dropped: Vec<Dropped>,
}

/// A line that is not sent.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Dropped {
    /// Canonical labels.
    #[prost(bytes = "bytes", tag = "1")]
    pub labels: Bytes,
    /// Its time.
    #[prost(sint64, tag = "2")]
    pub timestamp_ns: i64,
}

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

/// How much an ingester holds, by stream.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Volume {
    /// The streams.
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<StreamVolume>,
}

/// How much an ingester holds of a stream.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamVolume {
    /// Canonical labels.
    #[prost(bytes = "bytes", tag = "1")]
    pub labels: Bytes,
    /// Chunks, the open one included.
    #[prost(uint64, tag = "2")]
    pub chunks: u64,
    /// Entries of them.
    #[prost(uint64, tag = "3")]
    pub entries: u64,
    /// Bytes of lines and metadata.
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
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

/// How an ingester is.
#[derive(Clone, PartialEq, Message)]
pub struct Health {
    /// Streams in memory.
    #[prost(uint64, tag = "1")]
    pub streams: u64,
    /// Bytes in memory.
    #[prost(uint64, tag = "2")]
    pub memory_bytes: u64,
    /// Bytes of the log on disk.
    #[prost(uint64, tag = "3")]
    pub wal_bytes: u64,
    // Tags 4 to 8 were counters, 9 and 10 what its state in the ring says.
    /// Why its log takes nothing any more until it is opened again; empty if it does.
    #[prost(string, tag = "11")]
    pub failure: String,
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

impl Piece {
    /// A chunk from one time to another.
    pub fn new(from_ns: i64, through_ns: i64, tally: Option<&tally::Tally>) -> Self {
        Self { from_ns, through_ns, tally: tally.map(Tally::from) }
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

/// The labels in canonical `bytes`.
///
/// # Errors
/// [`WireError`] where they are not canonical.
pub fn labels(bytes: &[u8]) -> Result<Labels, WireError> {
    Labels::from_canonical(bytes).ok_or_else(|| WireError("labels that are not canonical".to_owned()))
}

impl From<&Matcher> for LabelMatcher {
    fn from(matcher: &Matcher) -> Self {
        let op = match matcher.op {
            MatchOp::Equal => 0,
            MatchOp::NotEqual => 1,
            MatchOp::Regex => 2,
            MatchOp::NotRegex => 3,
        };
        Self { name: matcher.name.clone(), op, value: matcher.value.clone() }
    }
}

/// The matchers of a message.
///
/// # Errors
/// [`WireError`] for an unknown operator or an expression that does not compile.
pub fn matchers(messages: &[LabelMatcher]) -> Result<Vec<Matcher>, WireError> {
    let one = |m: &LabelMatcher| {
        let op = match m.op {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            other => return Err(WireError(format!("label operator {other}"))),
        };
        Matcher::new(&m.name, op, &m.value).map_err(WireError)
    };
    messages.iter().map(one).collect()
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

impl Select {
    /// The selector and the filters.
    ///
    /// # Errors
    /// [`WireError`] where a part does not compile.
    pub fn logs(&self) -> Result<Logs, WireError> {
        logs(&self.matchers, &self.filters)
    }
}

impl Tail {
    /// The selector and the filters.
    ///
    /// # Errors
    /// [`WireError`] where a part does not compile.
    pub fn logs(&self) -> Result<Logs, WireError> {
        logs(&self.matchers, &self.filters)
    }
}

fn logs(selector: &[LabelMatcher], filters: &[Filter]) -> Result<Logs, WireError> {
    let filter = |f: &Filter| LineFilter::new(f.negated, f.regex, f.patterns.clone()).map_err(WireError);
    let filters = filters.iter().map(filter).collect::<Result<_, _>>()?;
    Ok(Logs { matchers: matchers(selector)?, filters })
}

impl From<&LineFilter> for Filter {
    fn from(filter: &LineFilter) -> Self {
        Self { negated: filter.negated, regex: filter.regex, patterns: filter.patterns.clone() }
    }
}
