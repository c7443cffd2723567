//! What ingesters are sent, and what they answer.

use bytes::Bytes;
use prost::Message;

use super::selector::logs;
use super::{Filter, LabelMatcher, Tally, WireError};
use crate::logql::Logs;
use crate::tally;

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

impl Piece {
    /// A chunk from one time to another.
    pub fn new(from_ns: i64, through_ns: i64, tally: Option<&tally::Tally>) -> Self {
        Self { from_ns, through_ns, tally: tally.map(Tally::from) }
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
