//! Structured metadata of a group: its own symbols, the different sets of pairs, and the set of each row.
//! `FORMAT.md` draws both streams.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::fault::Fault;
use super::planes;
use super::stream::{Kind, Streams};
use crate::entry::SymbolPair;
use crate::error::to_u64;
use crate::loki::format::{Reader, put_uvarint};
use crate::symbols::SymbolTable;
use crate::{Limits, Section};

/// Writes the metadata of rows, whose pairs are numbers in `symbols`. Nothing if no row has any.
pub(crate) fn encode<'a>(
    rows: impl Iterator<Item = &'a [SymbolPair]> + Clone,
    symbols: &SymbolTable,
    out: &mut Streams,
) {
    if rows.clone().all(<[SymbolPair]>::is_empty) {
        return;
    }
    // Numbered by first appearance; the seeds of the maps reach nothing that is written.
    let mut locals: HashMap<u32, u64, RandomState> = HashMap::default();
    let mut list = Vec::new();
    let mut sets: HashMap<&[SymbolPair], u32, RandomState> = HashMap::default();
    let mut set_list = Vec::new();
    let mut ids = Vec::new();
    sets.insert(&[], 0);
    for pairs in rows {
        let next = u32::try_from(sets.len()).expect("a block has less than 2^32 rows");
        let id = *sets.entry(pairs).or_insert(next);
        ids.push(id);
        if id < next {
            continue;
        }
        put_uvarint(&mut set_list, to_u64(pairs.len()));
        for number in pairs.iter().flat_map(|pair| [pair.name, pair.value]) {
            let next = to_u64(locals.len());
            let local = *locals.entry(number).or_insert_with(|| {
                let symbol = symbols.lookup(number).unwrap_or_default();
                put_uvarint(&mut list, to_u64(symbol.len()));
                list.extend_from_slice(symbol);
                next
            });
            put_uvarint(&mut set_list, local);
        }
    }
    let stream = out.out(Kind::Metadata);
    put_uvarint(stream, to_u64(locals.len()));
    stream.extend_from_slice(&list);
    put_uvarint(stream, to_u64(sets.len().saturating_sub(1)));
    stream.extend_from_slice(&set_list);
    planes::put(ids.iter().copied(), out.out(Kind::MetadataIds));
}

/// The metadata of a group's rows.
#[derive(Debug, Default)]
pub(crate) struct RowMetadata {
    symbols: SymbolTable,
    pairs: Vec<SymbolPair>,
    /// Where the pairs of each set end; the first set is empty.
    ends: Vec<usize>,
    /// The set of each row; empty if no row has metadata.
    ids: Vec<u32>,
}

impl RowMetadata {
    pub(crate) fn open(streams: &Streams, group: usize, rows: usize, limits: &Limits) -> Result<Self, Fault> {
        let section = |kind: Kind| Section::Values { group, kind: kind.byte() };
        let stream = streams.get(Kind::Metadata)?;
        if stream.is_empty() && streams.len(Kind::MetadataIds) == 0 {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(stream, 0, section(Kind::Metadata));
        let symbols = symbols(&mut reader, limits)?;
        let (pairs, ends) = sets(&mut reader, &symbols, rows, limits)?;

        let stream = streams.get(Kind::MetadataIds)?;
        let corrupt = |what| Fault::corrupt(Kind::MetadataIds, 0, what);
        let count = planes::count(stream).filter(|count| *count == rows);
        let Some(ids) = count.and_then(|_| planes::numbers(stream)) else {
            return Err(corrupt(format!("{} bytes for the sets of {rows} rows", stream.len())));
        };
        match ids.iter().max().filter(|id| usize::try_from(**id).map_or(true, |id| id >= ends.len())) {
            Some(id) => Err(corrupt(format!("set {id} of {}", ends.len()))),
            None => Ok(Self { symbols, pairs, ends, ids }),
        }
    }

    pub(crate) fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    pub(crate) fn pairs(&self, row: usize) -> &[SymbolPair] {
        let set = self.ids.get(row).and_then(|id| usize::try_from(*id).ok()).unwrap_or(0);
        let end = self.ends.get(set).copied().unwrap_or(0);
        let start = set.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.pairs.get(start..end).unwrap_or_default()
    }

    /// What it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        let sizes = [
            self.symbols.memory_bytes(),
            size_of_val(&self.pairs[..]),
            size_of_val(&self.ends[..]),
            size_of_val(&self.ids[..]),
        ];
        sizes.into_iter().fold(0, usize::saturating_add)
    }
}

fn symbols(reader: &mut Reader<'_>, limits: &Limits) -> Result<SymbolTable, Fault> {
    let count = reader.size()?;
    if count > limits.max_symbols {
        return Err(Fault::limit("max_symbols", count, limits.max_symbols));
    }
    let mut symbols = SymbolTable::default();
    for _ in 0..count {
        let length = reader.size()?;
        symbols.push(reader.bytes(length)?);
    }
    if symbols.bytes() > limits.max_symbol_bytes {
        return Err(Fault::limit("max_symbol_bytes", symbols.bytes(), limits.max_symbol_bytes));
    }
    Ok(symbols)
}

/// All pairs, and where those of each set end.
fn sets(
    reader: &mut Reader<'_>,
    symbols: &SymbolTable,
    rows: usize,
    limits: &Limits,
) -> Result<(Vec<SymbolPair>, Vec<usize>), Fault> {
    let at = reader.clone();
    let count = reader.size()?;
    if count > rows {
        return Err(at.corrupt(format!("{count} sets of {rows} rows")).into());
    }
    let max_pairs = limits.block_bytes().checked_div(size_of::<SymbolPair>()).unwrap_or(0);
    let (mut pairs, mut ends) = (Vec::new(), vec![0]);
    for _ in 0..count {
        for _ in 0..reader.size()? {
            let mut symbol = || {
                let at = reader.clone();
                let symbol = u32::try_from(reader.uvarint()?).unwrap_or(u32::MAX);
                match symbols.lookup(symbol) {
                    Some(_) => Ok(symbol),
                    None => Err(at.corrupt(format!("symbol {symbol} of {}", symbols.len()))),
                }
            };
            pairs.push(SymbolPair { name: symbol()?, value: symbol()? });
            if pairs.len() > max_pairs {
                return Err(Fault::limit("max_block_bytes", size_of_val(&pairs[..]), limits.block_bytes()));
            }
        }
        ends.push(pairs.len());
    }
    if !reader.is_empty() {
        return Err(reader
            .corrupt(format!("{} bytes behind the last of {count} sets", reader.rest().len()))
            .into());
    }
    Ok((pairs, ends))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::symbols::Interner;

    fn pairs(interner: &mut Interner, text: &[(&str, &str)]) -> Vec<SymbolPair> {
        let mut pair = |name: &str, value: &str| SymbolPair {
            name: interner.intern(name.as_bytes()),
            value: interner.intern(value.as_bytes()),
        };
        text.iter().map(|(name, value)| pair(name, value)).collect()
    }

    fn written(rows: &[&[(&str, &str)]]) -> (Streams, Interner) {
        let mut interner = Interner::default();
        interner.intern(b"a symbol of another block");
        let rows: Vec<_> = rows.iter().map(|text| pairs(&mut interner, text)).collect();
        let mut streams = Streams::default();
        encode(rows.iter().map(Vec::as_slice), interner.table(), &mut streams);
        (streams, interner)
    }

    fn read(streams: &Streams, rows: usize) -> Result<Vec<Vec<(String, String)>>, Fault> {
        let metadata = RowMetadata::open(streams, 0, rows, &Limits::default())?;
        let text = |number| String::from_utf8(metadata.symbols().lookup(number).unwrap().to_vec()).unwrap();
        let row = |row| metadata.pairs(row).iter().map(|pair| (text(pair.name), text(pair.value))).collect();
        Ok((0..rows).map(row).collect())
    }

    #[test]
    fn every_row_gets_its_pairs_back_in_their_order() {
        let rows: [&[(&str, &str)]; 5] = [
            &[],
            &[("a", "1"), ("a", "1")],
            &[("b", ""), ("a", "1")],
            &[("a", "1"), ("a", "1")],
            &[("a", "1"), ("b", "")],
        ];
        let (streams, _) = written(&rows);
        let expected: Vec<Vec<(String, String)>> =
            rows.map(|row| row.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()).into();
        assert_eq!(read(&streams, 5), Ok(expected));
        assert_eq!(streams.get(Kind::MetadataIds).unwrap(), [1, 0, 1, 2, 1, 3], "equal sets are stored once");
        assert!(read(&streams, 4).is_err());
    }

    #[test]
    fn rows_without_metadata_take_nothing() {
        let (streams, _) = written(&[&[], &[]]);
        assert_eq!(streams.written().count(), 0);
        assert_eq!(read(&streams, 2), Ok(vec![vec![], vec![]]));
    }

    #[test]
    fn metadata_that_lies_is_refused() {
        let (good, _) = written(&[&[("a", "1")], &[]]);
        let stream = good.get(Kind::Metadata).unwrap();
        assert_eq!(stream, [2, 1, b'a', 1, b'1', 1, 1, 0, 1]);
        let with = |metadata: &[u8], ids: &[u8]| {
            let mut streams = Streams::default();
            *streams.out(Kind::Metadata) = metadata.to_vec();
            *streams.out(Kind::MetadataIds) = ids.to_vec();
            read(&streams, 2)
        };
        assert!(with(stream, &[1, 1, 0]).is_ok());
        for ids in [&[][..], &[1, 1], &[1, 2, 0], &[1, 1, 0, 0], &[0, 1, 0]] {
            assert!(with(stream, ids).is_err(), "{ids:?}");
        }
        for end in 0..stream.len() {
            assert!(with(&stream[..end], &[1, 1, 0]).is_err());
        }
        for (at, byte) in [(0, 3), (0, 1), (1, 9), (5, 2), (5, 0), (6, 200), (7, 2), (8, 2), (5, 3)] {
            let mut broken = stream.to_vec();
            broken[at] = byte;
            assert!(with(&broken, &[1, 1, 0]).is_err(), "{broken:?}");
        }
    }
}
