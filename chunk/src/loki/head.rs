//! The bytes of an open block, as they lie in Loki's log and in this crate's checkpoints: entries by time, uncompressed,
//! behind a byte that says how. `FORMAT.md` has them.

#![warn(clippy::indexing_slicing)]

use super::format::{Format, Reader, put_uvarint, put_varint};
use crate::entry::SymbolPair;
use crate::error::to_u64;
use crate::head::Head;
use crate::symbols::SymbolTable;
use crate::{Error, Limits};

/// Entries in order, behind their number, the bytes of their lines and their times.
const ORDERED: u8 = 3;
/// Entries behind their number.
const UNORDERED: u8 = 4;
/// The same, with metadata.
const WITH_METADATA: u8 = 5;

/// Appends an open block, in the form that goes with chunks of that format.
pub(crate) fn put(out: &mut Vec<u8>, head: &Head, format: Format) {
    out.push(if format.has_metadata() { WITH_METADATA } else { UNORDERED });
    put_uvarint(out, to_u64(head.len()));
    for (timestamp_ns, line, pairs) in head.ranks() {
        put_varint(out, timestamp_ns);
        put_uvarint(out, to_u64(line.len()));
        out.extend_from_slice(line);
        if format.has_metadata() {
            put_uvarint(out, to_u64(pairs.len()));
            for pair in pairs {
                put_uvarint(out, pair.name.into());
                put_uvarint(out, pair.value.into());
            }
        }
    }
}

/// Takes an open block of a chunk of that format, with these symbols.
pub(crate) fn take(
    reader: &mut Reader<'_>,
    format: Format,
    symbols: &SymbolTable,
    limits: &Limits,
) -> Result<Head, Error> {
    let at = reader.clone();
    let [kind] = reader.array()?;
    let kinds: &[u8] = match format {
        Format::LokiV1 | Format::LokiV2 => &[ORDERED],
        Format::LokiV3 => &[ORDERED, UNORDERED],
        Format::LokiV4 | Format::Columnar => &[WITH_METADATA],
    };
    if !kinds.contains(&kind) {
        return Err(at.corrupt(format!("open block of kind {kind} in a chunk of format {format}")));
    }
    let at = reader.clone();
    let count = reader.size()?;
    if count > limits.max_entries_per_block {
        return Err(Error::limit("max_entries_per_block", count, limits.max_entries_per_block));
    }
    let bounds = if kind == ORDERED {
        let _line_bytes = reader.uvarint()?;
        Some((reader.varint()?, reader.varint()?))
    } else {
        None
    };
    let mut head = Head::default();
    let mut pairs = Vec::new();
    for number in 0..count {
        let at = reader.clone();
        let timestamp_ns = reader.varint()?;
        let length = reader.size()?;
        if length > limits.max_line_bytes {
            return Err(Error::limit("max_line_bytes", length, limits.max_line_bytes));
        }
        let line = reader.bytes(length)?;
        pairs.clear();
        if kind == WITH_METADATA {
            take_pairs(reader, symbols, &mut pairs)?;
        }
        if kind == ORDERED && head.bounds().is_some_and(|(_, newest)| timestamp_ns < newest) {
            return Err(at.corrupt(format!("entry {number} at {timestamp_ns} ns is out of order")));
        }
        if head.is_full() {
            return Err(at.corrupt(format!("entry {number} is behind more than an open block can hold")));
        }
        // Some blocks hold what they were given twice as often; here it is there once.
        head.append(timestamp_ns, line, &pairs);
        let bound = head.encoded_bound();
        if bound > limits.block_bytes() {
            return Err(Error::limit("max_block_bytes", bound, limits.block_bytes()));
        }
    }
    match (bounds, head.bounds()) {
        (Some(named), Some(found)) if named != found => {
            Err(at.corrupt(format!("open block from {named:?} ns, its entries are from {found:?} ns")))
        }
        _ => Ok(head),
    }
}

fn take_pairs(
    reader: &mut Reader<'_>,
    symbols: &SymbolTable,
    pairs: &mut Vec<SymbolPair>,
) -> Result<(), Error> {
    let at = reader.clone();
    let count = reader.size()?;
    if count > reader.rest().len() / 2 {
        return Err(at.corrupt(format!("{count} pairs in {} bytes", reader.rest().len())));
    }
    let mut symbol = || {
        let at = reader.clone();
        let number = reader.uvarint()?;
        let known = u32::try_from(number).ok().filter(|&number| symbols.lookup(number).is_some());
        known.ok_or_else(|| at.corrupt(format!("symbol {number} of a table of {}", symbols.len())))
    };
    for _ in 0..count {
        pairs.push(SymbolPair { name: symbol()?, value: symbol()? });
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that goes past the end should fail")]
mod tests {
    use super::*;
    use crate::Section;

    fn read(bytes: &[u8], format: Format) -> Result<Head, Error> {
        let mut symbols = SymbolTable::default();
        [b"pod", b"a-1"].iter().for_each(|symbol| symbols.push(*symbol));
        let mut reader = Reader::new(bytes, 0, Section::Checkpoint);
        let head = take(&mut reader, format, &symbols, &Limits::default())?;
        if reader.is_empty() { Ok(head) } else { Err(reader.corrupt("bytes are left")) }
    }

    fn entries(head: &Head) -> Vec<(i64, &[u8], usize)> {
        head.ranks().map(|(time, line, pairs)| (time, line, pairs.len())).collect()
    }

    // Two entries, at 1 and at -2 ns; times are zigzag-coded.
    const UNORDERED_BYTES: [u8; 10] = [4, 2, 3, 2, b'a', b'b', 2, 1, b'c', 0];
    const METADATA_BYTES: [u8; 13] = [5, 2, 3, 2, b'a', b'b', 1, 0, 1, 2, 1, b'c', 0];
    const ORDERED_BYTES: [u8; 12] = [3, 2, 3, 3, 2, 3, 2, b'a', b'b', 2, 1, b'c'];

    #[test]
    fn each_of_the_three_kinds_is_read() {
        let [unordered, plain] = [&METADATA_BYTES[..], &UNORDERED_BYTES[..9]];
        let head = read(unordered, Format::LokiV4).unwrap();
        assert_eq!(entries(&head), [(-2, &b"ab"[..], 1), (1, b"c", 0)]);
        let mut again = Vec::new();
        put(&mut again, &head, Format::LokiV4);
        assert_eq!(again, unordered);

        let head = read(plain, Format::LokiV3).unwrap();
        assert_eq!(entries(&head), [(-2, &b"ab"[..], 0), (1, b"c", 0)]);
        let mut again = Vec::new();
        put(&mut again, &head, Format::LokiV3);
        assert_eq!(again, plain);

        for format in [Format::LokiV2, Format::LokiV3] {
            let head = read(&ORDERED_BYTES, format).unwrap();
            assert_eq!(entries(&head), [(-2, &b"ab"[..], 0), (1, b"c", 0)]);
        }
    }

    #[test]
    fn a_block_that_is_cut_or_longer_or_of_another_kind_is_refused() {
        for (bytes, format) in [
            (&METADATA_BYTES[..], Format::LokiV4),
            (&UNORDERED_BYTES[..9], Format::LokiV3),
            (&ORDERED_BYTES[..], Format::LokiV3),
        ] {
            for end in 0..bytes.len() {
                assert!(read(&bytes[..end], format).is_err(), "{format} cut to {end} bytes");
            }
            assert!(read(&[bytes, &[0]].concat(), format).is_err());
        }
        assert!(read(&METADATA_BYTES, Format::LokiV3).is_err());
        assert!(read(&UNORDERED_BYTES[..9], Format::LokiV4).is_err());
        assert!(read(&UNORDERED_BYTES[..9], Format::LokiV2).is_err());
    }

    #[test]
    fn entries_that_contradict_their_block_are_refused() {
        let with = |at: usize, byte: u8| {
            let mut bytes = METADATA_BYTES;
            bytes[at] = byte;
            read(&bytes, Format::LokiV4)
        };
        assert!(with(8, 1).is_ok());
        assert!(with(8, 2).is_err(), "a symbol that is not there");
        assert!(with(6, 100).is_err(), "more pairs than bytes");
        let twice = [4, 2, 3, 1, b'a', 3, 1, b'a'];
        assert_eq!(entries(&read(&twice, Format::LokiV3).unwrap()), [(-2, &b"a"[..], 0)], "a duplicate");
        let mut bytes = ORDERED_BYTES;
        bytes[3] = 5;
        assert!(read(&bytes, Format::LokiV3).is_err(), "another oldest time");
        let back = [3, 2, 2, 3, 2, 2, 1, b'a', 3, 1, b'b'];
        assert!(read(&back, Format::LokiV3).is_err(), "out of order");
    }
}
