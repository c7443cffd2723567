//! Records in a frame's body: `uvarint length, bytes`, over and over. No length is believed beyond the body.

use bytes::Bytes;

/// The records in a body: `uvarint len, bytes` over and over.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    body: Bytes,
}

impl Records {
    pub(crate) fn new(body: Bytes) -> Self {
        Self { body }
    }

    /// The next record; `None` at the end, `Some(None)` where the body breaks off.
    pub(crate) fn next(&mut self) -> Option<Option<Bytes>> {
        if self.body.is_empty() {
            return None;
        }
        let Some((len, head)) = record_len(&self.body) else { return Some(None) };
        let mut record = self.body.split_to(head + len);
        Some(Some(record.split_off(head)))
    }
}

/// How many records a body holds; `None` where it breaks off.
pub(crate) fn count_records(mut body: &[u8]) -> Option<u64> {
    let mut count = 0;
    while !body.is_empty() {
        let (len, head) = record_len(body)?;
        body = body.get(head + len..)?;
        count += 1;
    }
    Some(count)
}

/// Length of the record that begins here and of the number before it, if both are inside.
fn record_len(body: &[u8]) -> Option<(usize, usize)> {
    let (len, head) = take_uvarint(body)?;
    let len = usize::try_from(len).ok()?;
    (len <= body.len() - head).then_some((len, head))
}

/// Appends `value` in groups of seven bits, lowest first (LEB128).
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Bytes that [`put_uvarint`] takes.
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
            let mut records = Records::new(Bytes::from(body.clone()));
            let mut count = 0;
            let whole = loop {
                match records.next() {
                    None => break true,
                    Some(None) => break false,
                    Some(Some(_)) => count += 1,
                }
            };
            prop_assert_eq!(count_records(&body), whole.then_some(count));
        }
    }
}
