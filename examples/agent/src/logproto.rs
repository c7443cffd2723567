//! Loki's push message, for who sends it.

use bytes::Bytes;
use prost::Message;

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

impl Timestamp {
    /// The split of `timestamp_ns` into seconds and nanoseconds.
    pub fn from_ns(timestamp_ns: i64) -> Self {
        let nanos = i32::try_from(timestamp_ns.rem_euclid(1_000_000_000)).expect("below 10^9");
        Self { seconds: timestamp_ns.div_euclid(1_000_000_000), nanos }
    }
}
