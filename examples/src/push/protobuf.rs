//! A reader of Loki's push message, which borrows everything from the body and asks for room before it keeps anything.
//! `forebay_agent::logproto` has the types for who sends it.

use std::borrow::Cow;

use forebay_agent::logproto::Timestamp;

use super::fields::Fields;
use super::room::Room;
use super::{LabelSet, Line, Pair, PushError, Stream};

/// The time in nanoseconds since 1970.
fn ns(time: Timestamp) -> Result<i64, PushError> {
    let ns = time.seconds.checked_mul(1_000_000_000).and_then(|s| s.checked_add(i64::from(time.nanos)));
    ns.ok_or_else(|| PushError::Malformed {
        what: "timestamp",
        why: format!("{} s and {} ns do not fit 64 bits of nanoseconds", time.seconds, time.nanos),
    })
}

/// Gives the streams of a push message, borrowed, to `take`, one after the other and in the same memory.
pub(super) fn each_stream<'a>(
    request: &'a [u8],
    room: &mut Room,
    mut take: impl FnMut(&Stream<'a>, &mut Room) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let mut stream = Stream { labels: LabelSet::Text(Cow::Borrowed("")), lines: Vec::new() };
    let mut fields = Fields(request);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        if number == 1 {
            stream.lines.clear();
            read_stream(value.bytes().map_err(malformed)?, &mut stream, room)?;
            take(&stream, room)?;
        }
    }
    Ok(())
}

fn malformed(why: &'static str) -> PushError {
    PushError::Malformed { what: "protobuf message", why: why.to_owned() }
}

/// Reads a `StreamAdapter` into `stream`, which has no lines.
fn read_stream<'a>(message: &'a [u8], stream: &mut Stream<'a>, room: &mut Room) -> Result<(), PushError> {
    let mut labels = "";
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        match number {
            1 => labels = value.text().map_err(malformed)?,
            2 => {
                let line = entry(value.bytes().map_err(malformed)?, room)?;
                room.push(&mut stream.lines, line)?;
            }
            _ => {}
        }
    }
    stream.labels = LabelSet::Text(Cow::Borrowed(labels));
    Ok(())
}

/// An `EntryAdapter`. One without a time is of 1970, and the limits say what becomes of it.
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
    Ok(Line { timestamp_ns: ns(time)?, line: Cow::Borrowed(line), metadata })
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

/// A `LabelPair`.
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
