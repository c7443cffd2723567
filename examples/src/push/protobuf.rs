//! Loki's push message, as far as a receiver needs it. Lines stay slices of the body.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;

use super::{LabelSet, Line, PushError, Stream};

/// `logproto.PushRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct PushRequest {
    /// The streams.
    #[prost(message, repeated, tag = "1")]
    pub streams: Vec<StreamAdapter>,
}

/// `logproto.StreamAdapter`.
#[derive(Clone, PartialEq, Message)]
pub struct StreamAdapter {
    /// Labels as text.
    #[prost(string, tag = "1")]
    pub labels: String,
    /// The lines.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<EntryAdapter>,
}

/// `logproto.EntryAdapter`. The line is `string` in the schema, but real lines are not always UTF-8.
#[derive(Clone, PartialEq, Message)]
pub struct EntryAdapter {
    /// When it was logged.
    #[prost(message, optional, tag = "1")]
    pub timestamp: Option<Timestamp>,
    /// The line.
    #[prost(bytes = "bytes", tag = "2")]
    pub line: Bytes,
    /// Structured metadata.
    #[prost(message, repeated, tag = "3")]
    pub structured_metadata: Vec<LabelPair>,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds within the second.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `logproto.LabelPairAdapter`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct LabelPair {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// Decodes the message.
pub(super) fn decode(bytes: Bytes) -> Result<PushRequest, PushError> {
    PushRequest::decode(bytes)
        .map_err(|e| PushError::Malformed { what: "protobuf message", why: e.to_string() })
}

impl Timestamp {
    /// The split of `timestamp_ns` into seconds and nanoseconds.
    pub fn from_ns(timestamp_ns: i64) -> Self {
        let nanos = i32::try_from(timestamp_ns.rem_euclid(1_000_000_000)).expect("below 10^9");
        Self { seconds: timestamp_ns.div_euclid(1_000_000_000), nanos }
    }

    fn ns(self) -> Option<i64> {
        self.seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(self.nanos))
    }
}

impl PushRequest {
    /// The streams, borrowed.
    pub(super) fn streams(&self) -> Result<Vec<Stream<'_>>, PushError> {
        self.streams
            .iter()
            .map(|stream| {
                let lines = stream.entries.iter().map(EntryAdapter::line).collect::<Result<_, _>>()?;
                Ok(Stream { labels: LabelSet::Text(&stream.labels), lines })
            })
            .collect()
    }
}

impl EntryAdapter {
    fn line(&self) -> Result<Line<'_>, PushError> {
        let timestamp = self.timestamp.unwrap_or_default();
        let timestamp_ns = timestamp.ns().ok_or_else(|| PushError::Malformed {
            what: "timestamp",
            why: format!(
                "{} s and {} ns do not fit 64 bits of nanoseconds",
                timestamp.seconds, timestamp.nanos
            ),
        })?;
        let metadata = self.structured_metadata.iter();
        Ok(Line {
            timestamp_ns,
            line: Cow::Borrowed(&self.line),
            metadata: metadata
                .map(|p| (Cow::Borrowed(p.name.as_str()), Cow::Borrowed(p.value.as_str())))
                .collect(),
        })
    }
}
