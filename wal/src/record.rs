//! Records in a frame's body: `uvarint length, bytes`, over and over, each with the number of its stream before it
//! where there are streams. No length is believed beyond the body.

use std::ops::Range;

use crate::frame::Kind;

/// The records of a body that lies somewhere in a buffer, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    kind: Kind,
    /// What is still to be given out.
    rest: Range<usize>,
    stream: u32,
}

impl Records {
    /// None.
    pub(crate) const NONE: Self = Self { kind: Kind::DATA, rest: 0..0, stream: 0 };

    /// Those of a data frame's body.
    pub(crate) fn of(kind: Kind, body: Range<usize>) -> Self {
        Self { kind, rest: body, stream: 0 }
    }

    /// Where in the buffer the next record lies; `None` at the end, `Some(None)` where the body breaks off.
    #[inline]
    pub(crate) fn next(&mut self, buf: &[u8]) -> Option<Option<Range<usize>>> {
        if self.rest.is_empty() {
            return None;
        }
        let head = buf.get(self.rest.clone()).and_then(|body| head(self.kind, body));
        let Some(head) = head else { return Some(None) };
        self.stream = head.stream;
        let begin = self.rest.start + head.len;
        self.rest.start = begin + head.record;
        Some(Some(begin..self.rest.start))
    }

    /// The stream of the record that was given out last.
    #[inline]
    pub(crate) fn stream(&self) -> u32 {
        self.stream
    }
}

/// How many records a body of this kind of frame holds; `None` where it breaks off. Each one's stream goes to `sink`,
/// with how many there were before it.
pub(crate) fn count_records(kind: Kind, mut body: &[u8], mut sink: impl FnMut(u64, u32)) -> Option<u64> {
    let mut count = 0;
    while !body.is_empty() {
        let head = head(kind, body)?;
        body = body.get(head.len + head.record..)?;
        sink(count, head.stream);
        count += 1;
    }
    Some(count)
}

/// What stands before a record, and how long it is.
struct Head {
    stream: u32,
    len: usize,
    record: usize,
}

/// The head of the record that begins here, if it and the record are inside.
#[inline]
fn head(kind: Kind, body: &[u8]) -> Option<Head> {
    let (stream, before) = if kind == Kind::STREAM_DATA { take_uvarint(body)? } else { (0, 0) };
    let (record, head) = take_uvarint(body.get(before..)?)?;
    let (len, record) = (before + head, usize::try_from(record).ok()?);
    (record <= body.len() - len).then_some(Head { stream: u32::try_from(stream).ok()?, len, record })
}

/// Appends `value` in groups of seven bits, lowest first (LEB128).
#[inline]
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Bytes that [`put_uvarint`] takes.
#[inline]
pub(crate) fn uvarint_len(value: u64) -> u64 {
    u64::from((64 - (value | 1).leading_zeros()).div_ceil(7))
}

/// The number at the start and how many bytes it takes.
#[inline]
pub(crate) fn take_uvarint(bytes: &[u8]) -> Option<(u64, usize)> {
    // Nearly all are this short.
    match *bytes {
        [low, ..] if low < 0x80 => return Some((low.into(), 1)),
        [low, high, ..] if high < 0x80 => return Some((u64::from(low & 0x7F) | u64::from(high) << 7, 2)),
        _ => {}
    }
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        let bits = u64::from(byte & 0x7F);
        if index == 9 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte < 0x80 {
            return Some((value, index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_read_as_they_were_written(value: u64, shift in 0..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_uvarint(&mut bytes, value);
            prop_assert_eq!(bytes.len() as u64, uvarint_len(value));
            prop_assert_eq!(take_uvarint(&bytes), Some((value, bytes.len())));
            prop_assert_eq!(take_uvarint(&bytes[..bytes.len() - 1]), None);
        }

        #[test]
        fn hostile_bodies_end(body: Vec<u8>) {
            for kind in [Kind::DATA, Kind::STREAM_DATA] {
                let mut records = Records::of(kind, 0..body.len());
                let mut count = 0;
                let whole = loop {
                    match records.next(&body) {
                        None => break true,
                        Some(None) => break false,
                        Some(Some(_)) => count += 1,
                    }
                };
                prop_assert_eq!(count_records(kind, &body, |_, _| {}), whole.then_some(count));
            }
        }
    }

    #[test]
    fn records_of_streams_have_their_number_before_them() {
        let all = |body: &'static [u8]| {
            let mut records = Records::of(Kind::STREAM_DATA, 0..body.len());
            std::iter::from_fn(move || {
                let record = records.next(body)?;
                Some((records.stream(), &body[record.unwrap()]))
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(all(b"\x00\x01a\xAC\x02\x00\x07\x02bc"), [(0, &b"a"[..]), (300, b""), (7, b"bc")]);
        let count = |body| count_records(Kind::STREAM_DATA, body, |_, _| {});
        assert_eq!(count(b"\xFF\xFF\xFF\xFF\x0F\x00"), Some(1), "the highest number");
        assert_eq!(count(b"\x80\x80\x80\x80\x10\x00"), None, "one too high");
        assert_eq!(count(b"\x07"), None);
    }
}
