//! Structured metadata of a group: its own symbols, the different sets of pairs, and the set of each row.
//! `FORMAT.md` draws both streams.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod values;

use std::collections::{BTreeMap, HashMap, HashSet};

use foldhash::fast::RandomState;

use self::values::ColumnValues;
use super::fault::Fault;
use super::stream::{Kind, Streams};
use super::{column, planes};
use crate::entry::SymbolPair;
use crate::error::to_u64;
use crate::loki::format::{Reader, put_uvarint};
use crate::symbols::SymbolTable;
use crate::{Limits, Section};

/// A name has a column of its own where it has more distinct values than a quarter of the rows, and more than this.
const LEAST_DISTINCT: usize = 16;
/// Names that have a column at most.
const MAX_NAMES: usize = 1024;
/// In a pair: not a symbol but the next value of its name's column. Limits keep symbols below.
const IN_COLUMN: u32 = u32::MAX;

/// Metadata of rows that is going to be written.
pub(crate) struct MetadataWriter<'a> {
    rows: Vec<&'a [SymbolPair]>,
    symbols: &'a SymbolTable,
    /// Names whose values have a column, by first appearance.
    columns: Vec<u32>,
}

/// What is known of the values of a name.
#[derive(Default)]
struct Name {
    symbol: u32,
    distinct: HashSet<u32, RandomState>,
    distinct_bytes: usize,
    bytes: usize,
}

impl Name {
    fn add(&mut self, value: u32, symbols: &SymbolTable) {
        let bytes = symbols.lookup(value).map_or(0, <[u8]>::len);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.distinct.insert(value) {
            self.distinct_bytes = self.distinct_bytes.saturating_add(bytes);
        }
    }

    /// Whether its values differ so often that a column is better than sets, and not by much longer than them: a
    /// builder counts on that, `Builder::block_bound`.
    fn has_column(&self, rows: usize) -> bool {
        let distinct = self.distinct.len();
        distinct > LEAST_DISTINCT
            && distinct.saturating_mul(4) > rows
            && self.bytes <= self.distinct_bytes.saturating_mul(4)
    }
}

/// The names that have a column. A value that several of them share is in the column of each, so it is all columns
/// together that are not much longer than the symbols.
fn columns(names: &[Name], rows: usize, symbols: &SymbolTable) -> Vec<u32> {
    let length = |value: &u32| symbols.lookup(*value).map_or(0, <[u8]>::len);
    let mut known: HashSet<u32, RandomState> = HashSet::default();
    let mut left = 0usize;
    for value in names.iter().flat_map(|name| &name.distinct) {
        if known.insert(*value) {
            left = left.saturating_add(length(value).saturating_mul(4));
        }
    }
    let mut columns = Vec::new();
    for name in names.iter().filter(|name| name.has_column(rows)) {
        if let Some(rest) = left.checked_sub(name.bytes)
            && columns.len() < MAX_NAMES
        {
            left = rest;
            columns.push(name.symbol);
        }
    }
    columns
}

impl<'a> MetadataWriter<'a> {
    /// Looks at the metadata of rows, whose pairs are numbers in `symbols`.
    pub(crate) fn new(mut rows: Vec<&'a [SymbolPair]>, symbols: &'a SymbolTable) -> Self {
        if rows.iter().all(|pairs| pairs.is_empty()) {
            rows.clear();
        }
        let mut names: Vec<Name> = Vec::new();
        let mut places: HashMap<u32, usize, RandomState> = HashMap::default();
        for pair in rows.iter().copied().flatten() {
            let place = *places.entry(pair.name).or_insert_with(|| {
                names.push(Name { symbol: pair.name, ..Name::default() });
                names.len().saturating_sub(1)
            });
            if let Some(name) = names.get_mut(place) {
                name.add(pair.value, symbols);
            }
        }
        Self { columns: columns(&names, rows.len(), symbols), rows, symbols }
    }

    /// The same without columns.
    pub(crate) fn in_sets(&self) -> Self {
        Self { rows: self.rows.clone(), columns: Vec::new(), symbols: self.symbols }
    }

    /// Whether there are columns, which a reader may refuse.
    pub(crate) fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// Writes the streams, and the columns behind those that `out` has. Nothing if no row has metadata.
    pub(crate) fn write(&self, out: &mut Streams) {
        if self.rows.is_empty() {
            return;
        }
        let mut columns = column::Encoder::resume(out);
        let first = to_u64(columns.columns());
        let places: HashMap<u32, usize, RandomState> = self.columns.iter().copied().zip(0..).collect();
        let mut values = vec![Vec::new(); self.columns.len()];
        for pair in self.rows.iter().copied().flatten() {
            if let Some(values) = places.get(&pair.name).and_then(|place| values.get_mut(*place)) {
                values.push(pair.value);
            }
        }
        for values in &values {
            let text = |value: &u32| self.symbols.lookup(*value).unwrap_or_default();
            values::encode(values.iter().map(text), &mut columns);
        }
        columns.finish();
        let column_of = |name| places.get(&name).map(|place| first.saturating_add(to_u64(*place)));

        // Numbered by first appearance; the seeds of the maps reach nothing that is written.
        let mut locals: HashMap<u32, u64, RandomState> = HashMap::default();
        let mut list = Vec::new();
        let mut sets: HashMap<Vec<SymbolPair>, u32, RandomState> = HashMap::default();
        let (mut set, mut set_list, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        sets.insert(Vec::new(), 0);
        for pairs in &self.rows {
            set.clear();
            set.extend(pairs.iter().map(|pair| match column_of(pair.name) {
                Some(_) => SymbolPair { value: IN_COLUMN, ..*pair },
                None => *pair,
            }));
            if let Some(id) = sets.get(&set[..]) {
                ids.push(*id);
                continue;
            }
            let id = u32::try_from(sets.len()).expect("a block has less than 2^32 rows");
            ids.push(id);
            sets.insert(set.clone(), id);
            let mut local = |number: u32| {
                let next = to_u64(locals.len());
                *locals.entry(number).or_insert_with(|| {
                    let symbol = self.symbols.lookup(number).unwrap_or_default();
                    put_uvarint(&mut list, to_u64(symbol.len()));
                    list.extend_from_slice(symbol);
                    next
                })
            };
            put_uvarint(&mut set_list, to_u64(set.len()));
            for pair in &set {
                put_uvarint(&mut set_list, local(pair.name));
                match column_of(pair.name) {
                    Some(column) => {
                        set_list.push(0);
                        put_uvarint(&mut set_list, column);
                    }
                    None => put_uvarint(&mut set_list, local(pair.value).saturating_add(1)),
                }
            }
        }
        let stream = out.out(Kind::Metadata);
        put_uvarint(stream, to_u64(locals.len()));
        stream.extend_from_slice(&list);
        put_uvarint(stream, to_u64(sets.len().saturating_sub(1)));
        stream.extend_from_slice(&set_list);
        planes::put(ids.iter().copied(), out.out(Kind::MetadataIds));
    }
}

/// The metadata of a group's rows.
#[derive(Debug, Default)]
pub(crate) struct RowMetadata {
    /// Those of the stream, and behind them the values out of columns.
    symbols: SymbolTable,
    pairs: Vec<SymbolPair>,
    /// Where the pairs of each set end; the first set is empty. A row with values out of columns has a set of its own.
    ends: Vec<usize>,
    /// The set of each row; empty if no row has metadata.
    ids: Vec<u32>,
    /// Columns that values are taken out of.
    columns: Vec<u32>,
    /// What all of it takes.
    memory: usize,
}

impl RowMetadata {
    /// Reads the metadata of all rows. What is read in vain adds to `vain`, in bytes.
    pub(crate) fn open(
        streams: &Streams,
        group: usize,
        rows: usize,
        limits: &Limits,
        vain: &mut usize,
    ) -> Result<Self, Fault> {
        let section = |kind: Kind| Section::Values { group, kind: kind.byte() };
        let stream = streams.get(Kind::Metadata)?;
        if stream.is_empty() && streams.len(Kind::MetadataIds) == 0 {
            return Ok(Self::default());
        }
        let mut reader = Reader::new(stream, 0, section(Kind::Metadata));
        let symbols = symbols(&mut reader, limits)?;
        let sets = sets(&mut reader, &symbols, rows, limits)?;

        let stream = streams.get(Kind::MetadataIds)?;
        let corrupt = |what| Fault::corrupt(Kind::MetadataIds, 0, what);
        let count = planes::count(stream).filter(|count| *count == rows);
        let Some(ids) = count.and_then(|_| planes::numbers(stream)) else {
            return Err(corrupt(format!("{} bytes for the sets of {rows} rows", stream.len())));
        };
        let known = sets.ends.len();
        if let Some(id) = ids.iter().max().filter(|id| usize::try_from(**id).map_or(true, |id| id >= known)) {
            return Err(corrupt(format!("set {id} of {known}")));
        }
        let mut metadata = Self { symbols, pairs: sets.pairs, ends: sets.ends, ids, ..Self::default() };
        let filled =
            if sets.columns.is_empty() { Ok(()) } else { metadata.fill(streams, &sets.columns, limits) };
        metadata.memory = metadata.memory_now();
        match filled {
            Ok(()) => Ok(metadata),
            Err(fault) => {
                *vain = vain.saturating_add(metadata.memory);
                Err(fault)
            }
        }
    }

    /// How many pairs rows have that take values out of columns; and how many values they take of each.
    fn taken(&self, columns: &BTreeMap<usize, u32>) -> (usize, BTreeMap<u32, usize>) {
        let mut rows_of = vec![0usize; self.ends.len()];
        for id in &self.ids {
            if let Some(rows) = usize::try_from(*id).ok().and_then(|id| rows_of.get_mut(id)) {
                *rows = rows.saturating_add(1);
            }
        }
        let (mut pairs, mut taken, mut start) = (0usize, BTreeMap::new(), 0);
        for (&end, &rows) in self.ends.iter().zip(&rows_of) {
            let mut values = columns.range(start..end).peekable();
            if rows > 0 && values.peek().is_some() {
                pairs = pairs.saturating_add(rows.saturating_mul(end.saturating_sub(start)));
            }
            for (_, &column) in values {
                let taken = taken.entry(column).or_insert(0usize);
                *taken = taken.saturating_add(rows);
            }
            start = end;
        }
        (pairs, taken)
    }

    /// Gives each row that has values out of columns a set of its own.
    fn fill(
        &mut self,
        streams: &Streams,
        columns: &BTreeMap<usize, u32>,
        limits: &Limits,
    ) -> Result<(), Fault> {
        let max_pairs = max_pairs(limits);
        let (pairs, taken) = self.taken(columns);
        if pairs.saturating_add(self.pairs.len()) > max_pairs {
            let bytes = pairs.saturating_add(self.pairs.len()).saturating_mul(size_of::<SymbolPair>());
            return Err(Fault::limit("max_block_bytes", bytes, limits.block_bytes()));
        }
        self.columns.extend(taken.keys());
        // Known before any value is made.
        let mut open = ColumnValues::new(streams, taken, limits)?;
        for row in 0..self.ids.len() {
            let (start, end) = self.place(row);
            if columns.range(start..end).next().is_none() {
                continue;
            }
            for place in start..end {
                let Some(mut pair) = self.pairs.get(place).copied() else { continue };
                if let Some(column) = columns.get(&place) {
                    pair.value = open.next(*column, streams, &mut self.symbols)?;
                }
                self.pairs.push(pair);
            }
            if let (Some(id), Ok(set)) = (self.ids.get_mut(row), u32::try_from(self.ends.len())) {
                *id = set;
            }
            self.ends.push(self.pairs.len());
        }
        Ok(())
    }

    /// The columns that it takes values out of.
    pub(crate) fn columns(&self) -> &[u32] {
        &self.columns
    }

    /// Whether no row has any.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    pub(crate) fn pairs(&self, row: usize) -> &[SymbolPair] {
        let (start, end) = self.place(row);
        self.pairs.get(start..end).unwrap_or_default()
    }

    /// Where the pairs of a row start and end.
    fn place(&self, row: usize) -> (usize, usize) {
        let set = self.ids.get(row).and_then(|id| usize::try_from(*id).ok()).unwrap_or(0);
        let end = self.ends.get(set).copied().unwrap_or(0);
        (set.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0), end)
    }

    /// What it takes in memory, about.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory
    }

    fn memory_now(&self) -> usize {
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

/// All pairs, where those of each set end, and which of them have their value in which column.
struct Sets {
    pairs: Vec<SymbolPair>,
    ends: Vec<usize>,
    columns: BTreeMap<usize, u32>,
}

/// What a pair takes besides in [`Sets::columns`].
const COLUMN_BYTES: usize = 24;

fn max_pairs(limits: &Limits) -> usize {
    limits.block_bytes().checked_div(size_of::<SymbolPair>()).unwrap_or(0)
}

fn sets(reader: &mut Reader<'_>, symbols: &SymbolTable, rows: usize, limits: &Limits) -> Result<Sets, Fault> {
    let at = reader.clone();
    let count = reader.size()?;
    if count > rows {
        return Err(at.corrupt(format!("{count} sets of {rows} rows")).into());
    }
    let mut sets = Sets { pairs: Vec::new(), ends: vec![0], columns: BTreeMap::new() };
    let symbol = |reader: &Reader<'_>, symbol: u64| {
        let known = u32::try_from(symbol).ok().filter(|symbol| symbols.lookup(*symbol).is_some());
        known.ok_or_else(|| reader.corrupt(format!("symbol {symbol} of {}", symbols.len())))
    };
    for _ in 0..count {
        for _ in 0..reader.size()? {
            let at = reader.clone();
            let name = symbol(&at, reader.uvarint()?)?;
            let value = match reader.uvarint()?.checked_sub(1) {
                Some(value) => symbol(&at, value)?,
                None => {
                    let column = reader.uvarint()?;
                    let number = u32::try_from(column);
                    let number = number.map_err(|_| at.corrupt(format!("column {column}")))?;
                    sets.columns.insert(sets.pairs.len(), number);
                    IN_COLUMN
                }
            };
            sets.pairs.push(SymbolPair { name, value });
            let columns = sets.columns.len().saturating_mul(COLUMN_BYTES);
            let bytes = size_of_val(&sets.pairs[..]).saturating_add(columns);
            if bytes > limits.block_bytes() {
                return Err(Fault::limit("max_block_bytes", bytes, limits.block_bytes()));
            }
        }
        sets.ends.push(sets.pairs.len());
    }
    if !reader.is_empty() {
        let what = format!("{} bytes behind the last of {count} sets", reader.rest().len());
        return Err(reader.corrupt(what).into());
    }
    Ok(sets)
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
        MetadataWriter::new(rows.iter().map(Vec::as_slice).collect(), interner.table()).write(&mut streams);
        (streams, interner)
    }

    fn read(streams: &Streams, rows: usize) -> Result<Vec<Vec<(String, String)>>, Fault> {
        let metadata = RowMetadata::open(streams, 0, rows, &Limits::default(), &mut 0)?;
        let text = |number| String::from_utf8(metadata.symbols().lookup(number).unwrap().to_vec()).unwrap();
        let row = |row| metadata.pairs(row).iter().map(|pair| (text(pair.name), text(pair.value))).collect();
        Ok((0..rows).map(row).collect())
    }

    #[test]
    fn columns_of_metadata_share_what_a_block_may_take() {
        let text: Vec<_> =
            (1000..1200).map(|number| (number.to_string(), (9000 - number).to_string())).collect();
        let rows: Vec<_> = text.iter().map(|(a, b)| [("a", a.as_str()), ("b", b.as_str())]).collect();
        let (streams, _) = written(&rows.iter().map(<[_; 2]>::as_slice).collect::<Vec<_>>());
        assert!(streams.len(Kind::Columns) > 2);
        let open = |numbers: &[u32], max| {
            let limits = Limits { max_block_bytes: max, ..Limits::default() };
            ColumnValues::new(&streams, numbers.iter().map(|&number| (number, 200)), &limits).map(drop)
        };
        assert!(open(&[0], 2000).is_ok() && open(&[1], 2000).is_ok(), "200 values of some bytes");
        assert!(open(&[0, 1], 2000).is_err(), "each fits, both do not");
        assert!(open(&[0, 1], 3300).is_ok());
    }

    /// The map of them was not counted.
    #[test]
    fn pairs_that_have_their_value_in_a_column_count_for_what_they_take() {
        let open = |marks: &[u8], max_block_bytes| {
            let mut stream = vec![1];
            put_uvarint(&mut stream, 1000);
            (0..1000).for_each(|_| stream.extend_from_slice(marks));
            let mut symbols = SymbolTable::default();
            symbols.push(b"name");
            let limits = Limits { max_block_bytes, ..Limits::default() };
            let section = Section::Values { group: 0, kind: Kind::Metadata.byte() };
            sets(&mut Reader::new(&stream, 0, section), &symbols, 1, &limits).map(drop)
        };
        let (in_column, in_set) = ([0, 0, 0], [0, 1]);
        assert!(open(&in_set, 8_000).is_ok());
        assert!(open(&in_column, 20_000).is_err());
        assert!(open(&in_column, 32_000).is_ok());
    }

    /// There was no bound to them, and a reader has one.
    #[test]
    fn names_beyond_the_first_thousand_have_no_column() {
        let text: Vec<_> = (0..1100u32).map(|n| format!("{n:x}")).collect();
        let row = |n: usize| -> Vec<_> {
            text.iter().enumerate().map(|(k, name)| (&name[..], &text[(k * 17 + n) % 1100][..])).collect()
        };
        let rows: Vec<_> = (0..17).map(row).collect();
        let (streams, _) = written(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert!(column::table(&streams).unwrap().len() <= 1024);
        let expected: Vec<Vec<(String, String)>> =
            rows.iter().map(|row| row.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()).collect();
        assert!(read(&streams, 17) == Ok(expected));
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
        assert_eq!(stream, [2, 1, b'a', 1, b'1', 1, 1, 0, 2]);
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
        for (at, byte) in [(0, 3), (0, 1), (1, 9), (5, 2), (5, 0), (6, 200), (7, 2), (8, 3), (8, 0), (5, 3)] {
            let mut broken = stream.to_vec();
            broken[at] = byte;
            assert!(with(&broken, &[1, 1, 0]).is_err(), "{broken:?}");
        }
    }

    /// Half a second of work for a group of some kilobytes, of which the last value was one too many.
    #[test]
    fn values_that_are_not_all_taken_are_found_out_before_one_is_made() {
        let text: Vec<_> = (1000..1200).map(|number| number.to_string()).collect();
        let rows: Vec<_> = text.iter().map(|text| [("a", text.as_str())]).collect();
        let (mut streams, _) = written(&rows.iter().map(<[_; 1]>::as_slice).collect::<Vec<_>>());
        let open = |streams: &Streams, vain: &mut usize| {
            RowMetadata::open(streams, 0, 200, &Limits::default(), vain)
                .map(|metadata| metadata.memory_bytes())
        };
        let mut vain = 0;
        let whole = open(&streams, &mut vain).unwrap();
        assert!(whole > 200 * size_of::<SymbolPair>() && vain == 0);
        // The last row has no metadata any more, so a value is left.
        *streams.out(Kind::MetadataIds).last_mut().unwrap() = 0;
        assert!(matches!(open(&streams, &mut vain), Err(Fault::Corrupt { .. })));
        assert!(vain < whole / 2, "{vain} of {whole} bytes were made");
    }

    /// A trace and a span a row, as text and as numbers; a pod of a few; some rows without.
    #[test]
    fn names_of_many_values_have_columns() {
        let hex = |n: u64, width: usize| format!("{:0width$x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 1);
        let text: Vec<Vec<(&str, String)>> = (0..400u64)
            .map(|n| match n % 5 {
                0 => vec![],
                _ => vec![
                    ("trace", format!("{}{}", hex(n, 16), hex(n + 1, 16))),
                    ("pod", format!("web-{}", n % 3)),
                    ("span", hex(n * 3, 16)),
                    ("text", format!("a {n} b")),
                    ("span", hex(n * 7, 16)),
                ],
            })
            .collect();
        let rows: Vec<Vec<(&str, &str)>> =
            text.iter().map(|row| row.iter().map(|(name, value)| (*name, &value[..])).collect()).collect();
        let rows: Vec<&[(&str, &str)]> = rows.iter().map(Vec::as_slice).collect();
        let (streams, _) = written(&rows);
        let expected: Vec<Vec<(String, String)>> =
            rows.iter().map(|row| row.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()).collect();
        assert_eq!(read(&streams, 400), Ok(expected));
        assert!(streams.len(Kind::Metadata) < 100);
        assert_eq!(column::table(&streams).unwrap().len(), 3);
        // A column that ends early, or that is not there.
        assert!(read(&streams, 399).is_err());
        let mut broken = written(&rows).0;
        broken.out(Kind::Columns).clear();
        assert!(read(&broken, 400).is_err());
    }
}
