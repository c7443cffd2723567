//! Writes columns, each in the encoding that is likely to be smallest.

use super::choose::{self, Distinct, MAX_DISTINCT, Numbers};
use super::{ALONE, Encoding};
use crate::columnar::bits::pack;
use crate::columnar::class::{Class, POWERS, digits_of_code};
use crate::columnar::planes;
use crate::columnar::skeleton::Table;
use crate::columnar::stream::{Kind, Streams};
use crate::loki::format::{put_uvarint, put_varint, take_uvarint};

/// A column of so many bytes has a stream of its own, so that it can be read without the others.
const LARGE: usize = 16 << 10;

/// Writes the table of columns and their values.
pub(crate) struct Encoder<'a> {
    streams: &'a mut Streams,
    table: Vec<u8>,
    columns: usize,
    distinct: Distinct,
    numbers: Vec<u64>,
    lengths: Vec<u32>,
    part: Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(crate) fn new(streams: &'a mut Streams) -> Self {
        Self {
            streams,
            table: Vec::new(),
            columns: 0,
            distinct: Distinct::default(),
            numbers: Vec::new(),
            lengths: Vec::new(),
            part: Vec::new(),
        }
    }

    /// Goes on behind the columns that these streams have.
    pub(crate) fn resume(streams: &'a mut Streams) -> Self {
        let table = std::mem::take(streams.out(Kind::Columns));
        let mut rest = &table[..];
        let columns = take_uvarint(&mut rest).and_then(|columns| usize::try_from(columns).ok()).unwrap_or(0);
        Self { table: rest.to_vec(), columns, ..Self::new(streams) }
    }

    /// How many columns were written; the number of the next one.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Writes the table. Nothing, if there are no columns.
    pub(crate) fn finish(self) {
        if self.columns > 0 {
            let out = self.streams.out(Kind::Columns);
            put_uvarint(out, self.columns as u64);
            out.extend_from_slice(&self.table);
        }
    }

    /// A column that is another slot of the same line again.
    pub(crate) fn same(&mut self, class: Class, rows: usize, slot: usize) {
        self.column(class, Encoding::Same { slot }, false, rows);
    }

    /// A column of the rows' times.
    pub(crate) fn row_time(&mut self, class: Class, rows: usize, exponent: u8, delta: i64) {
        self.column(class, Encoding::RowTime { exponent, delta }, false, rows);
    }

    /// A column of numbers, of [`Class::Digits`] or another numeric class.
    pub(crate) fn numbers(&mut self, class: Class, values: &[u64]) {
        let mut numbers = std::mem::take(&mut self.numbers);
        let class = if class == Class::Digits { plain_digits(values, &mut numbers) } else { class };
        let values = if class == Class::Digits || numbers.is_empty() { values } else { &numbers };
        self.numeric(class, values);
        numbers.clear();
        self.numbers = numbers;
    }

    fn numeric(&mut self, class: Class, values: &[u64]) {
        let rows = values.len();
        let first = values.first().copied().unwrap_or_default();
        if values.iter().all(|&value| value == first) {
            let mut text = [0; 40];
            let width = class.print(first, &mut text);
            return self.constant(class, rows, text.get(..width).unwrap_or_default());
        }
        let is_time = matches!(class, Class::Time(_));
        let mut part = std::mem::take(&mut self.part);
        match choose::numbers(values, is_time, &mut self.distinct) {
            Numbers::Dict => {
                let mut distinct = std::mem::take(&mut self.distinct);
                let start = self.streams.out(Kind::Values).len();
                for &value in &distinct.values {
                    let mut text = [0; 40];
                    let width = class.print(value, &mut text);
                    put_value(self.streams.out(Kind::Values), text.get(..width).unwrap_or_default());
                }
                self.dictionary(class, &mut distinct, start, &mut part);
                self.distinct = distinct;
            }
            Numbers::For { base, width } => {
                pack(values.iter().map(|value| value - base), width.into(), &mut part);
                self.placed(class, Encoding::For { base, width }, Kind::Bits, &mut part, rows);
            }
            Numbers::Delta => {
                let mut before = 0;
                for &value in values {
                    put_varint(&mut part, value.wrapping_sub(before).cast_signed());
                    before = value;
                }
                let encoding = Encoding::Delta { bytes: part.len() };
                self.placed(class, encoding, Kind::Numbers, &mut part, rows);
            }
            Numbers::DeltaFor { least, width } => {
                let steps = values.windows(2).map(|pair| {
                    pair[1].wrapping_sub(pair[0]).cast_signed().wrapping_sub(least).cast_unsigned()
                });
                pack(steps, width.into(), &mut part);
                self.placed(class, Encoding::DeltaFor { first, least, width }, Kind::Bits, &mut part, rows);
            }
            Numbers::Planes { base, bytes } => {
                for plane in 0..u32::from(bytes) {
                    part.extend(values.iter().map(|value| ((value - base) >> (8 * plane)).to_le_bytes()[0]));
                }
                self.placed(class, Encoding::Planes { base, bytes }, Kind::Numbers, &mut part, rows);
            }
        }
        self.part = part;
    }

    /// A column of bytes: numbers of `strings`.
    pub(crate) fn strings(&mut self, class: Class, values: &[u64], strings: &Table) {
        let rows = values.len();
        let string = |value: u64| strings.key(u32::try_from(value).unwrap_or(u32::MAX));
        let first = values.first().copied().unwrap_or_default();
        if values.iter().all(|&value| value == first) {
            return self.constant(class, rows, string(first));
        }
        let mut distinct = std::mem::take(&mut self.distinct);
        let numbered = distinct.number(values, MAX_DISTINCT.min(rows / 2));
        let mut part = std::mem::take(&mut self.part);
        let bytes_of = |values: &[u64]| values.iter().map(|&value| string(value).len() as u64 + 1).sum();
        if class.fixed_bytes().is_some() {
            if numbered {
                for &value in &distinct.values {
                    Class::scan_bytes(string(value), self.streams.out(Kind::Bits));
                }
                let encoding = Encoding::FixedDict { distinct: distinct.values.len() };
                put_ids(&distinct, &mut part);
                self.placed(class, encoding, Kind::Ids, &mut part, rows);
            } else {
                values.iter().for_each(|&value| Class::scan_bytes(string(value), &mut part));
                self.placed(class, Encoding::Fixed, Kind::Bits, &mut part, rows);
            }
        } else if numbered
            && choose::text_has_dictionary(&distinct, bytes_of(values), bytes_of(&distinct.values))
        {
            let start = self.streams.out(Kind::Values).len();
            for &value in &distinct.values {
                put_value(self.streams.out(Kind::Values), string(value));
            }
            self.dictionary(class, &mut distinct, start, &mut part);
        } else {
            let length =
                |&value: &u64| u32::try_from(string(value).len()).expect("a line is shorter than 2^32 bytes");
            let mut lengths = std::mem::take(&mut self.lengths);
            lengths.extend(values.iter().map(length));
            planes::put(lengths.iter().copied(), &mut part);
            lengths.clear();
            self.lengths = lengths;
            values.iter().for_each(|&value| part.extend_from_slice(string(value)));
            let encoding = Encoding::Text { bytes: part.len() };
            self.placed(class, encoding, Kind::Text, &mut part, rows);
        }
        self.part = part;
        self.distinct = distinct;
    }

    /// A column whose values in VALUES are written from `start` on.
    fn dictionary(&mut self, class: Class, distinct: &mut Distinct, start: usize, part: &mut Vec<u8>) {
        let bytes = self.streams.out(Kind::Values).len() - start;
        let encoding = Encoding::Dict { distinct: distinct.values.len(), bytes };
        put_ids(distinct, part);
        self.placed(class, encoding, Kind::Ids, part, distinct.ids.len());
    }

    fn constant(&mut self, class: Class, rows: usize, text: &[u8]) {
        self.streams.out(Kind::Values).extend_from_slice(text);
        self.column(class, Encoding::Const { bytes: text.len() }, false, rows);
    }

    /// Puts the values of a column where they belong, and empties `part`.
    fn placed(&mut self, class: Class, encoding: Encoding, kind: Kind, part: &mut Vec<u8>, rows: usize) {
        let alone = part.len() >= LARGE;
        if alone {
            self.streams.push(Kind::Column, std::mem::take(part));
        } else {
            self.streams.out(kind).extend_from_slice(part);
            part.clear();
        }
        self.column(class, encoding, alone, rows);
    }

    fn column(&mut self, class: Class, encoding: Encoding, alone: bool, rows: usize) {
        let out = &mut self.table;
        out.extend_from_slice(&class.to_bytes());
        out.push(encoding.number() | if alone { ALONE } else { 0 });
        put_uvarint(out, rows as u64);
        match encoding {
            Encoding::Const { bytes } | Encoding::Text { bytes } | Encoding::Delta { bytes } => {
                put_uvarint(out, bytes as u64);
            }
            Encoding::Dict { distinct, bytes } => {
                put_uvarint(out, distinct as u64);
                put_uvarint(out, bytes as u64);
            }
            Encoding::For { base, width } => {
                put_uvarint(out, base);
                out.push(width);
            }
            Encoding::DeltaFor { first, least, width } => {
                put_uvarint(out, first);
                put_varint(out, least);
                out.push(width);
            }
            Encoding::Planes { base, bytes } => {
                put_uvarint(out, base);
                out.push(bytes);
            }
            Encoding::Fixed => {}
            Encoding::FixedDict { distinct } => put_uvarint(out, distinct as u64),
            Encoding::RowTime { exponent, delta } => {
                out.push(exponent);
                put_varint(out, delta);
            }
            Encoding::Same { slot } => put_uvarint(out, slot as u64),
        }
        self.columns += 1;
    }
}

fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    put_uvarint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Numbers of distinct values: a byte each, or all low bytes and then all high ones.
fn put_ids(distinct: &Distinct, out: &mut Vec<u8>) {
    out.extend(distinct.ids.iter().map(|id| id.to_le_bytes()[0]));
    if distinct.values.len() > 256 {
        out.extend(distinct.ids.iter().map(|id| id.to_le_bytes()[1]));
    }
}

/// The class that strings of digits have in common, and their values in it, unless it is `Digits`.
fn plain_digits(codes: &[u64], values: &mut Vec<u64>) -> Class {
    values.clear();
    let (least, greatest) = codes.iter().fold((u64::MAX, 0), |(a, b), &code| (a.min(code), b.max(code)));
    // Codes of one width follow each other, so it takes two of them to know that all have one.
    if let (Some((low, narrowest)), Some((_, widest))) = (digits_of_code(least), digits_of_code(greatest))
        && narrowest == widest
        && let Ok(width) = u8::try_from(widest)
    {
        values.extend(codes.iter().map(|code| code - (least - low)));
        let is_padded = width > 1 && POWERS.get(widest - 1).is_some_and(|&power| low < power);
        return if is_padded { Class::Padded(width) } else { Class::Number };
    }
    let (mut padded, mut narrowest, mut widest) = (false, usize::MAX, 0);
    for &code in codes {
        let Some((value, width)) = digits_of_code(code) else { return Class::Digits };
        padded |= width > 1 && POWERS.get(width - 1).is_some_and(|&power| value < power);
        narrowest = narrowest.min(width);
        widest = widest.max(width);
        values.push(value);
    }
    match (padded, u8::try_from(widest)) {
        (false, _) => Class::Number,
        (true, Ok(width)) if narrowest == widest => Class::Padded(width),
        _ => Class::Digits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columnar::class::digits_code;

    /// As it is found one by one.
    fn by_each(numbers: &[(u64, usize)]) -> Class {
        let printed: Vec<String> = numbers.iter().map(|&(value, width)| format!("{value:0width$}")).collect();
        let is_padded = printed.iter().any(|text| text.len() > 1 && text.starts_with('0'));
        let widths: std::collections::BTreeSet<usize> = printed.iter().map(String::len).collect();
        match (is_padded, widths.len()) {
            (false, _) => Class::Number,
            (true, 1) => Class::Padded(u8::try_from(printed[0].len()).unwrap_or(u8::MAX)),
            _ => Class::Digits,
        }
    }

    #[test]
    fn numbers_of_one_width_are_told_by_two_of_them() {
        for numbers in [
            &[(7, 1), (0, 1)][..],
            &[(7, 2), (42, 2)],
            &[(10, 2), (99, 2), (42, 2)],
            &[(0, 3), (999, 3), (100, 3)],
            &[(10, 2), (100, 3), (7, 1)],
            &[(10, 2), (7, 3)],
            &[(0, 19), (9_999_999_999_999_999_999, 19)],
            &[(1_000_000_000_000_000_000, 19), (9_999_999_999_999_999_999, 19)],
        ] {
            let codes: Vec<u64> = numbers.iter().map(|&(value, width)| digits_code(value, width)).collect();
            let mut values = vec![5];
            let class = plain_digits(&codes, &mut values);
            assert_eq!(class, by_each(numbers), "{numbers:?}");
            if class != Class::Digits {
                assert!(values.iter().eq(numbers.iter().map(|(value, _)| value)), "{values:?}");
            }
        }
    }
}
