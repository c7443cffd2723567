//! Records in a frame's body: `uvarint length, bytes`, over and over, each with the number of its stream before it
//! where there are streams. No length is believed beyond the body.

use bytes::Bytes;

use crate::frame::Kind;

/// The records in a body.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    kind: Kind,
    body: Bytes,
    stream: u32,
}

impl Records {
    /// Those of a data frame's body.
    pub(crate) fn new(body: Bytes) -> Self {
        Self::of(Kind::DATA, body)
    }

    /// Those of a body of this kind of frame.
    pub(crate) fn of(kind: Kind, body: Bytes) -> Self {
        Self { kind, body, stream: 0 }
    }

    /// The next record; `None` at the end, `Some(None)` where the body breaks off.
    pub(crate) fn next(&mut self) -> Option<Option<Bytes>> {
        if self.body.is_empty() {
            return None;
        }
        let Some(head) = head(self.kind, &self.body) else { return Some(None) };
        self.stream = head.stream;
        let mut record = self.body.split_to(head.len + head.record);
        Some(Some(record.split_off(head.len)))
    }

    /// The stream of the record that was given out last.
    pub(crate) fn stream(&self) -> u32 {
        self.stream
    }
}

/// How many records a body of this kind of frame holds; `None` where it breaks off.
pub(crate) fn count_records(kind: Kind, mut body: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !body.is_empty() {
        let head = head(kind, body)?;
        body = body.get(head.len + head.record..)?;
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
pub(crate) fn take_uvarint(bytes: &[u8]) -> Option<(u64, usize)> {
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
                let mut records = Records::of(kind, Bytes::from(body.clone()));
                let mut count = 0;
                let whole = loop {
                    match records.next() {
                        None => break true,
                        Some(None) => break false,
                        Some(Some(_)) => count += 1,
                    }
                };
                prop_assert_eq!(count_records(kind, &body), whole.then_some(count));
            }
        }
    }

    #[test]
    fn records_of_streams_have_their_number_before_them() {
        let all = |body: &'static [u8]| {
            let mut records = Records::of(Kind::STREAM_DATA, Bytes::from_static(body));
            std::iter::from_fn(move || records.next().map(|record| (records.stream(), record.unwrap())))
                .collect::<Vec<_>>()
        };
        let bytes = Bytes::from_static;
        assert_eq!(
            all(b"\x00\x01a\xAC\x02\x00\x07\x02bc"),
            [(0, bytes(b"a")), (300, bytes(b"")), (7, bytes(b"bc"))]
        );
        let count = |body| count_records(Kind::STREAM_DATA, body);
        assert_eq!(count(b"\xFF\xFF\xFF\xFF\x0F\x00"), Some(1), "the highest number");
        assert_eq!(count(b"\x80\x80\x80\x80\x10\x00"), None, "one too high");
        assert_eq!(count(b"\x07"), None);
    }
}
