//! Opens columns. What is stored in a fixed number of bits stays as it is until rows are wanted; what is not is read
//! once, into eight bytes a value at most. What a column takes in memory is known before it is opened.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::bits::{unpack, unpack_from};
use super::cells::{Cells, Numbers, print, width_of_class};
use super::{Column, Encoding, Place};
use crate::columnar::class::{Class, MAX_DIGITS, decimal_digits, digits_of_code};
use crate::columnar::fault::Fault;
use crate::columnar::planes;
use crate::columnar::stream::{Kind, Streams};
use crate::loki::format::{take_uvarint, take_varint};

/// A table of ready text has a value for each so many rows at most: so it takes no more than eight bytes a row.
const ROWS_PER_CELL: usize = 4;

/// The values of a column that is open.
#[derive(Debug)]
pub(crate) enum Values {
    /// The same in every row.
    Const(Vec<u8>),
    /// A number for each row, and the text of each number.
    Dict { ids: Ids, words: Words },
    /// A number for each row, to be printed.
    Numbers(Numbers),
    /// Pieces of the column's text; and where in it the first one starts.
    Text { pieces: Vec<(u32, u32)>, start: usize },
    /// The binary form of each value, of so many bytes as text.
    Fixed { width: usize },
    /// The row's time.
    RowTime { unit_ns: i64, delta: i64 },
    /// An earlier slot.
    Same(usize),
}

/// Numbers of the values of a dictionary.
#[derive(Debug)]
pub(crate) enum Ids {
    /// A byte each, as they are stored.
    Bytes,
    Wide(Vec<u16>),
    /// Packed, of so many bits.
    Packed(u8),
}

/// The values of a dictionary.
#[derive(Debug)]
pub(crate) enum Words {
    /// Short ones, each in as much room as every other.
    Cells(Cells),
    Pieces(Text),
}

/// Pieces of text, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    /// Where each piece starts, and its bytes.
    pub(crate) pieces: Vec<(u32, u32)>,
}

impl Text {
    /// Makes what was appended from `start` on a piece.
    fn piece_from(&mut self, start: usize) {
        let bytes = self.bytes.len().saturating_sub(start);
        self.pieces.push((u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(bytes).unwrap_or(0)));
    }

    fn longest(&self) -> usize {
        self.pieces.iter().map(|&(_, bytes)| bytes as usize).max().unwrap_or(0)
    }
}

impl Column {
    /// Bytes of memory that the column takes when it is open, at most.
    pub(crate) fn memory(&self) -> usize {
        let rows = self.rows;
        let words = |distinct: usize, bytes: usize| {
            let ids = if distinct > 256 { rows.saturating_mul(2) } else { 0 };
            let cells = if has_cells(distinct, rows) { Cells::bytes_of(distinct) } else { 0 };
            distinct.saturating_mul(8).saturating_add(bytes).saturating_add(ids).saturating_add(cells)
        };
        match self.encoding {
            Encoding::Const { bytes } => bytes,
            Encoding::Dict { distinct, bytes } => words(distinct, bytes),
            Encoding::FixedDict { distinct } => {
                words(distinct, distinct.saturating_mul(self.class.text_bytes()))
            }
            Encoding::Text { .. } | Encoding::Delta { .. } | Encoding::DeltaFor { .. } => {
                rows.saturating_mul(8)
            }
            Encoding::For { width, .. } => printed_count(width, rows).map_or(0, Cells::bytes_of),
            Encoding::Planes { .. } | Encoding::Fixed | Encoding::RowTime { .. } | Encoding::Same { .. } => 0,
        }
    }

    /// Bytes of the rows' part, as they are stored.
    pub(crate) fn part<'a>(&self, streams: &'a Streams) -> Result<&'a [u8], Fault> {
        let kind = match self.encoding {
            Encoding::Const { .. } | Encoding::RowTime { .. } | Encoding::Same { .. } => return Ok(&[]),
            Encoding::Dict { .. } | Encoding::FixedDict { .. } => Kind::Ids,
            Encoding::Text { .. } => Kind::Text,
            Encoding::Delta { .. } | Encoding::Planes { .. } => Kind::Numbers,
            Encoding::For { .. } | Encoding::DeltaFor { .. } | Encoding::Fixed => Kind::Bits,
        };
        self.values.of(streams, kind)
    }
}

impl Column {
    /// Bytes of the longest text that a value may have, where that is known without opening it.
    pub(crate) fn longest(&self) -> Option<usize> {
        let of = |greatest| longest_of(self.class, greatest);
        match self.encoding {
            Encoding::Const { bytes } => Some(bytes),
            Encoding::Dict { .. } | Encoding::Text { .. } | Encoding::Same { .. } => None,
            Encoding::For { base, width } => Some(of(greatest(base, width.into()))),
            Encoding::Planes { base, bytes } => Some(of(greatest(base, u32::from(bytes).saturating_mul(8)))),
            Encoding::Delta { .. } | Encoding::DeltaFor { .. } | Encoding::RowTime { .. } => Some(of(None)),
            Encoding::Fixed | Encoding::FixedDict { .. } => Some(self.class.text_bytes()),
        }
    }

    /// The distinct values, as they are stored.
    pub(crate) fn distinct_part<'a>(&self, streams: &'a Streams) -> Result<&'a [u8], Fault> {
        match self.encoding {
            Encoding::Const { .. } | Encoding::Dict { .. } => self.distinct.of(streams, Kind::Values),
            Encoding::FixedDict { .. } => self.distinct.of(streams, Kind::Bits),
            _ => Ok(&[]),
        }
    }
}

impl Place {
    fn of(self, streams: &Streams, kind: Kind) -> Result<&[u8], Fault> {
        let whole = match self.alone {
            Some(number) => streams.nth(Kind::Column, number)?,
            None => streams.get(kind)?,
        };
        let end = self.start.saturating_add(self.bytes);
        whole.get(self.start..end).ok_or_else(|| Fault::corrupt(kind, self.start, "a column is cut short"))
    }
}

/// Opens a column, which takes at most `max` bytes of memory, and gives the length of its longest value in bytes. That is
/// not counted for values that are pieces of text, and 0 for one that depends on the line.
pub(crate) fn decode(column: &Column, streams: &Streams, max: usize) -> Result<(Values, usize), Fault> {
    let (rows, class, memory) = (column.rows, column.class, column.memory());
    if memory > max {
        return Err(Fault::limit("max_block_bytes", memory, max));
    }
    let numbers = |numbers: Numbers, greatest| (Values::Numbers(numbers), longest_of(class, greatest));
    Ok(match column.encoding {
        Encoding::Const { bytes } => (Values::Const(column.distinct_part(streams)?.to_vec()), bytes),
        Encoding::Dict { distinct, .. } => {
            let ids = ids(column, streams, distinct)?;
            let bytes = column.distinct_part(streams)?;
            let longest = longest_of_dictionary(column, bytes, distinct)?;
            let cells =
                if has_cells(distinct, rows) { cells_of_dictionary(bytes, distinct, longest) } else { None };
            let words = cells.map_or_else(|| Words::Pieces(dictionary(bytes, distinct)), Words::Cells);
            (Values::Dict { ids, words }, longest)
        }
        Encoding::FixedDict { distinct } => {
            let ids = ids(column, streams, distinct)?;
            words(ids, fixed(class, column.distinct_part(streams)?), rows)
        }
        Encoding::Text { .. } => (text(column, streams)?, 0),
        Encoding::For { base, width } => match printed(class, base, width, rows) {
            Some((cells, longest)) => {
                (Values::Dict { ids: Ids::Packed(width), words: Words::Cells(cells) }, longest)
            }
            None => numbers(Numbers::Packed { base, width }, greatest(base, width.into())),
        },
        Encoding::Delta { .. } => {
            let values = deltas(column, streams)?;
            let greatest = values.iter().max().copied();
            numbers(Numbers::List(values), greatest)
        }
        Encoding::DeltaFor { first, least, width } => {
            let steps = unpack(column.part(streams)?, width, rows.saturating_sub(1));
            let mut value = first;
            let first = (rows > 0).then_some(first);
            let rest = steps.map(|step| {
                value = value.wrapping_add(step).wrapping_add(least.cast_unsigned());
                value
            });
            let values: Vec<u64> = first.into_iter().chain(rest).collect();
            let greatest = values.iter().max().copied();
            numbers(Numbers::List(values), greatest)
        }
        Encoding::Planes { base, bytes } => {
            numbers(Numbers::Planes { base }, greatest(base, u32::from(bytes).saturating_mul(8)))
        }
        Encoding::Fixed => (Values::Fixed { width: class.text_bytes() }, class.text_bytes()),
        Encoding::RowTime { exponent, delta } => {
            let unit_ns = 10i64.saturating_pow(u32::from(exponent));
            (Values::RowTime { unit_ns, delta }, width_of_class(class))
        }
        Encoding::Same { slot } => (Values::Same(slot), 0),
    })
}

/// The greatest number of so many bits above a base, if it does not wrap.
fn greatest(base: u64, bits: u32) -> Option<u64> {
    base.checked_add(1u64.checked_shl(bits).map_or(u64::MAX, |all| all.wrapping_sub(1)))
}

/// Bytes of the longest text of a number up to `greatest`; where that is not known, of any of the class.
fn longest_of(class: Class, greatest: Option<u64>) -> usize {
    match (class, greatest) {
        (Class::Number, Some(greatest)) => decimal_digits(greatest),
        // Codes ascend with the number of digits.
        (Class::Digits, Some(greatest)) => digits_of_code(greatest).map_or(MAX_DIGITS, |(_, digits)| digits),
        _ => width_of_class(class),
    }
}

fn has_cells(distinct: usize, rows: usize) -> bool {
    distinct.saturating_mul(ROWS_PER_CELL) <= rows
}

/// A dictionary of these pieces.
fn words(ids: Ids, text: Text, rows: usize) -> (Values, usize) {
    let longest = text.longest();
    let has_cells = has_cells(text.pieces.len(), rows);
    let cells = if has_cells { Cells::of(&text.bytes, &text.pieces, longest) } else { None };
    let words = cells.map_or(Words::Pieces(text), Words::Cells);
    (Values::Dict { ids, words }, longest)
}

/// How many numbers of so many bits there are, if they are few beside the rows.
fn printed_count(width: u8, rows: usize) -> Option<usize> {
    let count = 1usize.checked_shl(u32::from(width)).filter(|_| width <= 12)?;
    has_cells(count, rows).then_some(count)
}

/// All numbers of so many bits above `base` in print, and the length of the longest, if they are few.
fn printed(class: Class, base: u64, width: u8, rows: usize) -> Option<(Cells, usize)> {
    let count = printed_count(width, rows)?;
    let longest = longest_of(class, Some(greatest(base, width.into())?));
    let values: Vec<u64> = (0..count as u64).map(|value| base.wrapping_add(value)).collect();
    // What does not print may not be there: then it is found out row by row.
    Some((Cells::printed(class, &values, longest)?, longest))
}

fn ids(column: &Column, streams: &Streams, distinct: usize) -> Result<Ids, Fault> {
    let bytes = column.part(streams)?;
    let (ids, greatest) = if distinct > 256 {
        let (low, high) = bytes.split_at_checked(column.rows).unwrap_or_default();
        let ids: Vec<u16> =
            low.iter().zip(high).map(|(&low, &high)| u16::from_le_bytes([low, high])).collect();
        let greatest = ids.iter().fold(0, |greatest, &id| greatest.max(id));
        (Ids::Wide(ids), greatest)
    } else {
        (Ids::Bytes, bytes.iter().fold(0, |greatest, &id| greatest.max(id)).into())
    };
    if usize::from(greatest) >= distinct && !bytes.is_empty() {
        let what = format!("value {greatest} of a dictionary of {distinct}");
        return Err(Fault::corrupt(Kind::Ids, column.values.start, what));
    }
    Ok(ids)
}

/// The length of the longest value of a dictionary, which has as many as it says and nothing behind them.
fn longest_of_dictionary(column: &Column, whole: &[u8], distinct: usize) -> Result<usize, Fault> {
    let (mut rest, mut longest) = (whole, 0usize);
    let corrupt = |rest: &[u8], what| {
        let at = column.distinct.start.saturating_add(whole.len().saturating_sub(rest.len()));
        Fault::corrupt(Kind::Values, at, what)
    };
    for _ in 0..distinct {
        let Some(piece) = take_piece(&mut rest) else {
            return Err(corrupt(rest, "a dictionary is cut short"));
        };
        longest = longest.max(piece.len());
    }
    if !rest.is_empty() {
        return Err(corrupt(rest, "bytes behind the last value of a dictionary"));
    }
    Ok(longest)
}

/// A length, and as many bytes.
#[inline]
pub(super) fn take_piece<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_uvarint(rest)?).ok()?;
    let (piece, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(piece)
}

/// The values of a dictionary, which were looked at.
fn dictionary(whole: &[u8], distinct: usize) -> Text {
    let (mut rest, mut pieces) = (whole, Vec::with_capacity(distinct));
    for _ in 0..distinct {
        let Some(piece) = take_piece(&mut rest) else { break };
        let start = whole.len().saturating_sub(rest.len()).saturating_sub(piece.len());
        let [start, length] = [start, piece.len()].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        pieces.push((start, length));
    }
    Text { bytes: whole.to_vec(), pieces }
}

/// The same in cells, if all of them are short.
fn cells_of_dictionary(whole: &[u8], distinct: usize, longest: usize) -> Option<Cells> {
    let mut rest = whole;
    Cells::fill(distinct, longest, || {
        let length = usize::try_from(take_uvarint(&mut rest)?).ok()?;
        let text = rest;
        rest = rest.get(length..)?;
        Some((text, length))
    })
}

fn text(column: &Column, streams: &Streams) -> Result<Values, Fault> {
    let whole = column.part(streams)?;
    let corrupt = |what| Fault::corrupt(Kind::Text, column.values.start, what);
    let start =
        whole.first().map_or(0, |&width| usize::from(width).saturating_mul(column.rows).saturating_add(1));
    let Some((lengths, text)) = whole.split_at_checked(start) else {
        return Err(corrupt("the lengths of values are cut short"));
    };
    let mut end = 0u32;
    let mut pieces = Vec::with_capacity(column.rows.min(lengths.len()));
    let mut push = |length: u32| {
        pieces.push((end, length));
        end = end.checked_add(length)?;
        Some(())
    };
    let are_added = match lengths {
        [1, lengths @ ..] if column.rows > 0 && lengths.len() == column.rows => {
            lengths.iter().try_for_each(|&length| push(length.into()))
        }
        _ => {
            let numbers = planes::numbers(lengths).filter(|lengths| lengths.len() == column.rows);
            let numbers = numbers.ok_or_else(|| corrupt("the lengths of values are no planes"))?;
            numbers.into_iter().try_for_each(push)
        }
    };
    are_added.ok_or_else(|| corrupt("values of more than 2^32 bytes"))?;
    if end as usize != text.len() {
        return Err(corrupt("the lengths of values are not those of the text"));
    }
    Ok(Values::Text { pieces, start })
}

fn deltas(column: &Column, streams: &Streams) -> Result<Vec<u64>, Fault> {
    let mut rest = column.part(streams)?;
    let corrupt = |what| Fault::corrupt(Kind::Numbers, column.values.start, what);
    // Each has a byte at least.
    let mut values = Vec::with_capacity(column.rows.min(rest.len()));
    let mut value = 0u64;
    for _ in 0..column.rows {
        let delta = take_varint(&mut rest).ok_or_else(|| corrupt("distances are cut short"))?;
        value = value.wrapping_add(delta.cast_unsigned());
        values.push(value);
    }
    if !rest.is_empty() {
        return Err(corrupt("bytes behind the last distance"));
    }
    Ok(values)
}

fn fixed(class: Class, bytes: &[u8]) -> Text {
    let mut text = Text::default();
    for value in bytes.chunks_exact(class.fixed_bytes().unwrap_or(1)) {
        let start = text.bytes.len();
        class.print_bytes(value, &mut text.bytes);
        text.piece_from(start);
    }
    text
}

impl Values {
    /// Puts the text of the value of that number to `out`. False where it depends on a line, or there is none.
    pub(crate) fn text(
        &self,
        column: &Column,
        streams: &Streams,
        number: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool, Fault> {
        out.clear();
        let part = column.part(streams)?;
        let piece = |bytes: &[u8], pieces: &[(u32, u32)], number: usize, out: &mut Vec<u8>| {
            let (start, length) = pieces.get(number).copied().unwrap_or_default();
            let end = (start as usize).saturating_add(length as usize);
            out.extend_from_slice(bytes.get(start as usize..end).unwrap_or_default());
        };
        match self {
            Self::Const(text) => out.extend_from_slice(text),
            Self::Dict { ids, words } => {
                let id = match ids {
                    Ids::Bytes => part.get(number).copied().map_or(0, usize::from),
                    Ids::Wide(ids) => ids.get(number).copied().map_or(0, usize::from),
                    Ids::Packed(width) => {
                        let id = unpack_from(part, *width, number, 1).next().unwrap_or(0);
                        usize::try_from(id).unwrap_or(usize::MAX)
                    }
                };
                match words {
                    Words::Cells(cells) => out.extend_from_slice(cells.text(id)),
                    Words::Pieces(text) => piece(&text.bytes, &text.pieces, id, out),
                }
            }
            Self::Text { pieces, start } => {
                piece(part.get(*start..).unwrap_or_default(), pieces, number, out)
            }
            Self::Numbers(numbers) => {
                let mut value = Vec::new();
                numbers.read(part, column.rows, number, 1, &mut value);
                let mut room = [0; 40];
                let width = value.first().map_or(0, |&value| column.class.print(value, &mut room));
                out.extend_from_slice(room.get(..width).unwrap_or_default());
                return Ok(width > 0);
            }
            Self::Fixed { .. } => {
                let bytes = column.class.fixed_bytes().unwrap_or(1);
                column.class.print_bytes(part.chunks_exact(bytes).nth(number).unwrap_or_default(), out);
            }
            Self::RowTime { .. } | Self::Same(_) => return Ok(false),
        }
        Ok(true)
    }
}

/// Prints numbers of a column into cells that have room for its longest.
pub(crate) fn print_cells(class: Class, values: &[u64], cells: &mut [u8]) -> Result<(), Fault> {
    print(class, values, cells).map_err(|value| unprintable(class, value))
}

#[cold]
pub(super) fn unprintable(class: Class, value: u64) -> Fault {
    Fault::corrupt(Kind::Columns, 0, format!("{class:?} has no value {value}"))
}
