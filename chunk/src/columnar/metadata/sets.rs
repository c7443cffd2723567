//! The symbols and the sets of pairs, as they are read.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use super::IN_COLUMN;
use crate::Limits;
use crate::columnar::fault::Fault;
use crate::entry::SymbolPair;
use crate::loki::format::Reader;
use crate::symbols::SymbolTable;

pub(super) fn symbols(reader: &mut Reader<'_>, limits: &Limits) -> Result<SymbolTable, Fault> {
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
pub(super) struct Sets {
    pub(super) pairs: Vec<SymbolPair>,
    pub(super) ends: Vec<usize>,
    pub(super) columns: BTreeMap<usize, u32>,
}

/// What a pair takes besides in [`Sets::columns`].
const COLUMN_BYTES: usize = 24;

pub(super) fn max_pairs(limits: &Limits) -> usize {
    limits.block_bytes().checked_div(size_of::<SymbolPair>()).unwrap_or(0)
}

pub(super) fn sets(
    reader: &mut Reader<'_>,
    symbols: &SymbolTable,
    rows: usize,
    limits: &Limits,
) -> Result<Sets, Fault> {
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
