//! Loki's push message: the types for who sends it, and a reader for who receives it, which borrows everything from
//! the body and asks for room before it keeps anything.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message;

use super::fields::Fields;
use super::room::Room;
use super::{LabelSet, Line, Pair, PushError, Stream};

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

    fn ns(self) -> Result<i64, PushError> {
        let ns = self.seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(i64::from(self.nanos)));
        ns.ok_or_else(|| PushError::Malformed {
            what: "timestamp",
            why: format!("{} s and {} ns do not fit 64 bits of nanoseconds", self.seconds, self.nanos),
        })
    }
}

/// The streams of a [`PushRequest`], borrowed.
pub(super) fn streams<'a>(request: &'a [u8], room: &mut Room) -> Result<Vec<Stream<'a>>, PushError> {
    let mut streams = Vec::new();
    let mut fields = Fields(request);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        if number == 1 {
            let stream = stream(value.bytes().map_err(malformed)?, room)?;
            room.push(&mut streams, stream)?;
        }
    }
    Ok(streams)
}

fn malformed(why: &'static str) -> PushError {
    PushError::Malformed { what: "protobuf message", why: why.to_owned() }
}

/// A [`StreamAdapter`].
fn stream<'a>(message: &'a [u8], room: &mut Room) -> Result<Stream<'a>, PushError> {
    let (mut labels, mut lines) = ("", Vec::new());
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        match number {
            1 => labels = value.text().map_err(malformed)?,
            2 => {
                let line = entry(value.bytes().map_err(malformed)?, room)?;
                room.push(&mut lines, line)?;
            }
            _ => {}
        }
    }
    Ok(Stream { labels: LabelSet::Text(labels), lines })
}

/// An [`EntryAdapter`]. One without a time is of 1970, and the limits say what becomes of it.
fn entry<'a>(message: &'a [u8], room: &mut Room) -> Result<Line<'a>, PushError> {
    let (mut time, mut line, mut metadata) = (Timestamp::default(), [].as_slice(), Vec::new());
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        match number {
            1 => value.bytes().and_then(|message| timestamp(message, &mut time)).map_err(malformed)?,
            2 => line = value.bytes().map_err(malformed)?,
            3 => {
                let pair = value.bytes().and_then(pair).map_err(malformed)?;
                room.push(&mut metadata, pair)?;
            }
            _ => {}
        }
    }
    Ok(Line { timestamp_ns: time.ns()?, line: Cow::Borrowed(line), metadata })
}

/// Reads a [`Timestamp`] over `time`: as a message that comes twice, it is merged.
fn timestamp(message: &[u8], time: &mut Timestamp) -> Result<(), &'static str> {
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => time.seconds = value.varint()?.cast_signed(),
            2 => time.nanos = low_half(value.varint()?),
            _ => {}
        }
    }
    Ok(())
}

/// As protobuf reads an `int32`, which is sent in 64 bits where it is negative.
#[expect(clippy::cast_possible_truncation, reason = "the upper half repeats the sign")]
fn low_half(value: u64) -> i32 {
    value as i32
}

/// A [`LabelPair`].
fn pair(message: &[u8]) -> Result<Pair<'_>, &'static str> {
    let (mut name, mut text) = ("", "");
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => text = value.text()?,
            _ => {}
        }
    }
    Ok((Cow::Borrowed(name), Cow::Borrowed(text)))
}
