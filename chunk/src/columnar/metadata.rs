//! Structured metadata of a group: its own symbols, the different sets of pairs, and the set of each row.
//! `FORMAT.md` draws both streams.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod sets;
#[cfg(test)]
mod tests;
mod values;
mod write;

use std::collections::BTreeMap;

use self::sets::{max_pairs, sets, symbols};
use self::values::ColumnValues;
use super::fault::Fault;
use super::planes;
use super::stream::{Kind, Streams};
use crate::entry::SymbolPair;
use crate::loki::format::Reader;
use crate::symbols::SymbolTable;
use crate::{Limits, Section};

pub(crate) use self::write::MetadataWriter;

/// In a pair: not a symbol but the next value of its name's column. Limits keep symbols below.
const IN_COLUMN: u32 = u32::MAX;

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
