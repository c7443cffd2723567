//! Writes metadata: names of many values as columns, the rest as sets.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;

use super::{IN_COLUMN, values};
use crate::columnar::stream::{Kind, Streams};
use crate::columnar::{column, planes};
use crate::entry::SymbolPair;
use crate::error::to_u64;
use crate::loki::format::put_uvarint;
use crate::symbols::SymbolTable;

/// A name has a column of its own where it has more distinct values than a quarter of the rows, and more than this.
const LEAST_DISTINCT: usize = 16;
/// Names that have a column at most.
const MAX_NAMES: usize = 1024;
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
