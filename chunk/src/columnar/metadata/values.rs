//! Values of metadata that are in columns: identifiers of traces and the like, another one in each row.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;

use crate::Limits;
use crate::columnar::class::Class;
use crate::columnar::column::{self, Column, Encoder, Values};
use crate::columnar::fault::Fault;
use crate::columnar::skeleton::Table;
use crate::columnar::stream::{Kind, Streams};
use crate::symbols::SymbolTable;

/// Writes the next column.
pub(super) fn encode<'a>(values: impl Iterator<Item = &'a [u8]> + Clone, columns: &mut Encoder<'_>) {
    let class = class(values.clone());
    if class.is_numeric() {
        let numbers: Vec<u64> = values.filter_map(number).collect();
        columns.numbers(class, &numbers);
    } else {
        let mut strings = Table::default();
        let numbers: Vec<u64> = values.map(|value| u64::from(strings.add(value))).collect();
        columns.strings(class, &numbers, &strings);
    }
}

/// The class that all values are of.
fn class<'a>(mut values: impl Iterator<Item = &'a [u8]> + Clone) -> Class {
    let first = values.clone().next().unwrap_or_default();
    let class = match u8::try_from(first.len()) {
        Ok(width @ 1..=16) => Class::Hex(width),
        Ok(36) => Class::Uuid,
        Ok(width @ 18..=254) if width.is_multiple_of(2) => Class::HexBytes(width),
        _ => return Class::Text,
    };
    let mut room = [0; 40];
    let mut binary = Vec::new();
    let mut printed = Vec::new();
    let is_of_it = |value: &[u8]| {
        if class.is_numeric() {
            let width = number(value).map_or(0, |number| class.print(number, &mut room));
            return room.get(..width) == Some(value);
        }
        binary.clear();
        printed.clear();
        Class::scan_bytes(value, &mut binary);
        class.print_bytes(&binary, &mut printed);
        Some(binary.len()) == class.fixed_bytes() && printed == value
    };
    if values.all(is_of_it) { class } else { Class::Text }
}

fn number(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

/// The columns that metadata has, and how far each was read.
pub(super) struct ColumnValues {
    columns: BTreeMap<u32, (Column, Values, usize)>,
    /// Bytes that values may still take.
    left: usize,
    max: usize,
    text: Vec<u8>,
}

impl ColumnValues {
    /// Opens columns, of each of which so many values are going to be taken: all that it has.
    pub(super) fn new(
        streams: &Streams,
        taken: impl IntoIterator<Item = (u32, usize)>,
        limits: &Limits,
    ) -> Result<Self, Fault> {
        let table = column::table(streams)?;
        let max = limits.block_bytes();
        // What values take in memory: a file of few bytes may name many columns of many values that take none.
        let mut room = max;
        let mut columns = BTreeMap::new();
        for (number, taken) in taken {
            let column = usize::try_from(number).ok().and_then(|number| table.get(number));
            let column = column.ok_or_else(|| {
                Fault::corrupt(Kind::Metadata, 0, format!("column {number} of {}", table.len()))
            })?;
            if column.rows != taken {
                let what = format!("column {number} has {} values, metadata takes {taken}", column.rows);
                return Err(Fault::corrupt(Kind::Columns, 0, what));
            }
            let (values, _) = column::decode(column, streams, room)?;
            room = room.saturating_sub(column.memory());
            columns.insert(number, (column.clone(), values, 0));
        }
        Ok(Self { columns, left: max, max, text: Vec::new() })
    }

    /// Adds the next value of a column to the symbols, and gives its number.
    pub(super) fn next(
        &mut self,
        number: u32,
        streams: &Streams,
        symbols: &mut SymbolTable,
    ) -> Result<u32, Fault> {
        let corrupt = |what| Fault::corrupt(Kind::Columns, 0, format!("column {number} {what}"));
        let Some((column, values, next)) = self.columns.get_mut(&number) else {
            return Err(corrupt("is not there"));
        };
        if !values.text(column, streams, *next, &mut self.text)? {
            return Err(corrupt("has a value without text"));
        }
        let value = &self.text[..];
        *next = next.saturating_add(1);
        self.left = self.left.checked_sub(value.len()).ok_or(Fault::limit(
            "max_block_bytes",
            self.max.saturating_add(value.len()),
            self.max,
        ))?;
        let symbol = u32::try_from(symbols.len()).map_err(|_| corrupt("has more than 2^32 values"))?;
        symbols.push(value);
        Ok(symbol)
    }
}
