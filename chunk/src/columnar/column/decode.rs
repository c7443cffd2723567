//! Reads columns. Whatever the bytes say is held against the bytes that are there before memory is taken.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::bits::{packed_bytes, unpack};
use super::{ALONE, Column, Encoding, Place};
use crate::columnar::class::Class;
use crate::columnar::fault::Fault;
use crate::columnar::stream::{Kind, Streams};
use crate::loki::format::{take_uvarint, take_varint};

/// Columns of a group at most.
const MAX_COLUMNS: usize = 1 << 16;
/// Zero bytes behind all text, so that short pieces can be copied with a few behind them.
pub(crate) const PADDING: usize = 64;

/// The values of a column, ready to be put into lines.
#[derive(Debug)]
pub(crate) enum Values {
    /// The same in every row.
    Const(Text),
    /// A number for each row, and the text of each number.
    Dict { ids: Vec<u16>, text: Text },
    /// A number for each row, to be printed.
    Numbers { class: Class, values: Vec<u64> },
    /// A text for each row.
    Text(Text),
    /// The row's time.
    RowTime { class: Class, unit_ns: i64, delta: i64 },
    /// An earlier slot.
    Same(usize),
}

impl Values {
    /// The text of the value of that number, which is printed to `room` if it is not there yet. `None` where it
    /// depends on a line.
    pub(crate) fn text<'a>(&'a self, number: usize, room: &'a mut [u8; 40]) -> Option<&'a [u8]> {
        let (text, bytes) = match self {
            Self::Const(text) => text.piece(0),
            Self::Dict { ids, text } => text.piece(usize::from(*ids.get(number)?)),
            Self::Text(text) => text.piece(number),
            Self::Numbers { class, values } => {
                let bytes = class.print(*values.get(number)?, room);
                return room.get(..bytes).filter(|text| !text.is_empty());
            }
            Self::RowTime { .. } | Self::Same(_) => return None,
        };
        text.get(..bytes)
    }
}

/// Pieces of text, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// With [`PADDING`] at the end.
    bytes: Vec<u8>,
    /// Where each piece starts, and its bytes.
    pieces: Vec<(u32, u32)>,
}

impl Text {
    fn push(&mut self, piece: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(piece);
        self.piece_from(start);
    }

    /// Makes what was appended from `start` on a piece.
    fn piece_from(&mut self, start: usize) {
        let bytes = self.bytes.len().saturating_sub(start);
        self.pieces.push((u32::try_from(start).unwrap_or(u32::MAX), u32::try_from(bytes).unwrap_or(0)));
    }

    fn padded(mut self) -> Self {
        self.bytes.resize(self.bytes.len().saturating_add(PADDING), 0);
        self
    }

    /// Text that starts with the piece of that number, and how many bytes of it are the piece.
    #[inline]
    pub(crate) fn piece(&self, number: usize) -> (&[u8], usize) {
        let (start, bytes) = self.pieces.get(number).copied().unwrap_or_default();
        (self.bytes.get(start as usize..).unwrap_or_default(), bytes as usize)
    }
}

/// Reads the table of columns. Each stream must be exactly as long as the columns in it say.
pub(crate) fn table(streams: &Streams) -> Result<Vec<Column>, Fault> {
    let bytes = streams.get(Kind::Columns)?;
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut parser = Parser { whole: bytes.len(), rest: bytes, cursors: [0; 5], alone: 0 };
    let count = parser.size()?;
    if count > MAX_COLUMNS {
        return Err(Fault::limit("columns of a group", count, MAX_COLUMNS));
    }
    // Each takes four bytes at least.
    let mut columns = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        columns.push(parser.column(streams)?);
    }
    if !parser.rest.is_empty() {
        return Err(parser.corrupt("bytes behind the last column"));
    }
    for (kind, used) in POOLS.into_iter().zip(parser.cursors) {
        if streams.len(kind) != used {
            let what = format!("{} bytes, but the columns have {used}", streams.len(kind));
            return Err(Fault::corrupt(kind, used, what));
        }
    }
    if streams.lens(Kind::Column).len() != parser.alone {
        let what = format!(
            "{} columns alone, but {} streams of them",
            parser.alone,
            streams.lens(Kind::Column).len()
        );
        return Err(parser.corrupt(what));
    }
    Ok(columns)
}

/// The streams that columns share.
const POOLS: [Kind; 5] = [Kind::Bits, Kind::Numbers, Kind::Values, Kind::Ids, Kind::Text];

struct Parser<'a> {
    whole: usize,
    rest: &'a [u8],
    /// How much of each of [`POOLS`] the columns so far have.
    cursors: [usize; 5],
    alone: usize,
}

impl Parser<'_> {
    fn corrupt(&self, what: impl Into<String>) -> Fault {
        Fault::corrupt(Kind::Columns, self.whole.saturating_sub(self.rest.len()), what)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.corrupt("a column is cut short"))?;
        self.rest = rest;
        Ok(byte)
    }

    fn uvarint(&mut self) -> Result<u64, Fault> {
        take_uvarint(&mut self.rest).ok_or_else(|| self.corrupt("no integer of 64 bits"))
    }

    fn varint(&mut self) -> Result<i64, Fault> {
        take_varint(&mut self.rest).ok_or_else(|| self.corrupt("no integer of 64 bits"))
    }

    fn size(&mut self) -> Result<usize, Fault> {
        let value = self.uvarint()?;
        u32::try_from(value)
            .map(|value| value as usize)
            .map_err(|_| self.corrupt(format!("a size of {value} is above 32 bits")))
    }

    fn width(&mut self, most: u8) -> Result<u8, Fault> {
        let width = self.byte()?;
        if width > most {
            return Err(self.corrupt(format!("a width of {width} is above {most}")));
        }
        Ok(width)
    }

    fn column(&mut self, streams: &Streams) -> Result<Column, Fault> {
        let class = [self.byte()?, self.byte()?];
        let class = Class::from_bytes(class)
            .ok_or_else(|| self.corrupt(format!("no class is {}, {}", class[0], class[1])))?;
        let number = self.byte()?;
        let rows = self.size()?;
        let encoding = self.encoding(number & !ALONE)?;
        let fits = match encoding {
            Encoding::Const { .. } | Encoding::Dict { .. } | Encoding::Same { .. } => true,
            Encoding::Text { .. } => class == Class::Text,
            Encoding::Fixed | Encoding::FixedDict { .. } => class.fixed_bytes().is_some(),
            _ => class.is_numeric(),
        };
        if !fits {
            return Err(self.corrupt(format!("{class:?} is not written as {encoding:?}")));
        }
        let (values, distinct) = self.sizes(class, encoding, rows)?;
        let values = match values {
            None if number & ALONE != 0 => return Err(self.corrupt("nothing has a stream of its own")),
            None => Place::default(),
            Some((_, bytes)) if number & ALONE != 0 => self.alone(streams, bytes)?,
            Some((kind, bytes)) => self.place(streams, kind, bytes)?,
        };
        let distinct = match distinct {
            Some((kind, bytes)) => self.place(streams, kind, bytes)?,
            None => Place::default(),
        };
        Ok(Column { class, encoding, rows, values, distinct })
    }

    fn encoding(&mut self, number: u8) -> Result<Encoding, Fault> {
        Ok(match number {
            0 => Encoding::Const { bytes: self.size()? },
            1 => Encoding::Dict { distinct: self.size()?, bytes: self.size()? },
            2 => Encoding::Text { bytes: self.size()? },
            3 => Encoding::For { base: self.uvarint()?, width: self.width(64)? },
            4 => Encoding::Delta { bytes: self.size()? },
            5 => Encoding::DeltaFor { first: self.uvarint()?, least: self.varint()?, width: self.width(64)? },
            6 => Encoding::Planes { base: self.uvarint()?, bytes: self.width(8)? },
            7 => Encoding::Fixed,
            8 => Encoding::FixedDict { distinct: self.size()? },
            9 => Encoding::RowTime { exponent: self.width(9)?, delta: self.varint()? },
            10 => Encoding::Same { slot: self.size()? },
            _ => return Err(self.corrupt(format!("no encoding is {number}"))),
        })
    }

    /// Stream and bytes of the rows' values, and of the distinct ones.
    #[expect(clippy::type_complexity, reason = "a pair of two optional places, used once")]
    fn sizes(
        &self,
        class: Class,
        encoding: Encoding,
        rows: usize,
    ) -> Result<(Option<(Kind, usize)>, Option<(Kind, usize)>), Fault> {
        let too_large = || self.corrupt(format!("{rows} values take more bytes than can be counted"));
        let fixed = class.fixed_bytes().unwrap_or(0);
        let ids =
            |distinct: usize| rows.checked_mul(if distinct > 256 { 2 } else { 1 }).ok_or_else(too_large);
        let packed = |rows, width| packed_bytes(rows, width).ok_or_else(too_large);
        Ok(match encoding {
            Encoding::Const { bytes } => (None, Some((Kind::Values, bytes))),
            Encoding::Dict { distinct, bytes } => {
                (Some((Kind::Ids, ids(distinct)?)), Some((Kind::Values, bytes)))
            }
            Encoding::Text { bytes } => (Some((Kind::Text, bytes)), None),
            Encoding::For { width, .. } => (Some((Kind::Bits, packed(rows, width)?)), None),
            Encoding::Delta { bytes } => (Some((Kind::Numbers, bytes)), None),
            Encoding::DeltaFor { width, .. } => {
                (Some((Kind::Bits, packed(rows.saturating_sub(1), width)?)), None)
            }
            Encoding::Planes { bytes, .. } => {
                let bytes = rows.checked_mul(usize::from(bytes)).ok_or_else(too_large)?;
                (Some((Kind::Numbers, bytes)), None)
            }
            Encoding::Fixed => (Some((Kind::Bits, rows.checked_mul(fixed).ok_or_else(too_large)?)), None),
            Encoding::FixedDict { distinct } => {
                let bytes = distinct.checked_mul(fixed).ok_or_else(too_large)?;
                (Some((Kind::Ids, ids(distinct)?)), Some((Kind::Bits, bytes)))
            }
            Encoding::RowTime { .. } | Encoding::Same { .. } => (None, None),
        })
    }

    fn place(&mut self, streams: &Streams, kind: Kind, bytes: usize) -> Result<Place, Fault> {
        let cursor = POOLS.iter().position(|&pool| pool == kind).and_then(|pool| self.cursors.get_mut(pool));
        let Some(cursor) = cursor else { return Err(self.corrupt("no pooled stream")) };
        let start = *cursor;
        let left = streams.len(kind).saturating_sub(start);
        if bytes > left {
            return Err(Fault::corrupt(kind, start, format!("{left} bytes left, but a column has {bytes}")));
        }
        *cursor = start.saturating_add(bytes);
        Ok(Place { alone: None, start, bytes })
    }

    fn alone(&mut self, streams: &Streams, bytes: usize) -> Result<Place, Fault> {
        let number = self.alone;
        self.alone = number.saturating_add(1);
        let found = streams.lens(Kind::Column).nth(number).unwrap_or(0);
        if found != bytes {
            return Err(Fault::corrupt(
                Kind::Column,
                0,
                format!("{found} bytes, but the column has {bytes}"),
            ));
        }
        Ok(Place { alone: Some(number), start: 0, bytes })
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

/// Reads the values of a column, into at most `max` bytes of memory.
pub(crate) fn decode(column: &Column, streams: &Streams, max: usize) -> Result<Values, Fault> {
    let rows = column.rows;
    let memory = match column.encoding {
        Encoding::Const { bytes } => bytes,
        Encoding::Dict { distinct, bytes } => {
            rows.saturating_mul(2).saturating_add(distinct.saturating_mul(8)).saturating_add(bytes)
        }
        Encoding::Text { bytes } => rows.saturating_mul(8).saturating_add(bytes),
        Encoding::Fixed => rows.saturating_mul(260),
        Encoding::FixedDict { distinct } => {
            rows.saturating_mul(2).saturating_add(distinct.saturating_mul(260))
        }
        Encoding::RowTime { .. } | Encoding::Same { .. } => 0,
        _ => rows.saturating_mul(8),
    };
    if memory > max {
        return Err(Fault::limit("max_block_bytes", memory, max));
    }
    let numbers = |values| Ok(Values::Numbers { class: column.class, values });
    match column.encoding {
        Encoding::Const { .. } => {
            let mut text = Text::default();
            text.push(column.distinct.of(streams, Kind::Values)?);
            Ok(Values::Const(text.padded()))
        }
        Encoding::Dict { distinct, .. } => {
            let ids = ids(column, streams, distinct)?;
            Ok(Values::Dict { ids, text: dictionary(column, streams, distinct)? })
        }
        Encoding::Text { .. } => text(column, streams),
        Encoding::For { base, width } => {
            let packed = column.values.of(streams, Kind::Bits)?;
            match printed(column.class, base, width, rows) {
                Some(text) => Ok(Values::Dict { ids: unpack(packed, width, rows).map(low).collect(), text }),
                None => numbers(unpack(packed, width, rows).map(|value| value.wrapping_add(base)).collect()),
            }
        }
        Encoding::Delta { .. } => deltas(column, streams).and_then(numbers),
        Encoding::DeltaFor { first, least, width } => {
            let packed = column.values.of(streams, Kind::Bits)?;
            let steps = unpack(packed, width, rows.saturating_sub(1));
            let mut value = first;
            let first = (rows > 0).then_some(first);
            let rest = steps.map(|step| {
                value = value.wrapping_add(step).wrapping_add(least.cast_unsigned());
                value
            });
            numbers(first.into_iter().chain(rest).collect())
        }
        Encoding::Planes { base, bytes } => {
            let planes = column.values.of(streams, Kind::Numbers)?;
            let mut values = vec![base; rows];
            for (plane, bytes) in (0..u32::from(bytes)).zip(planes.chunks(rows.max(1))) {
                let shift = plane.saturating_mul(8);
                for (value, &byte) in values.iter_mut().zip(bytes) {
                    *value = value.wrapping_add(u64::from(byte) << (shift & 63));
                }
            }
            numbers(values)
        }
        Encoding::Fixed => {
            let bytes = column.values.of(streams, Kind::Bits)?;
            Ok(Values::Text(fixed(column.class, bytes)))
        }
        Encoding::FixedDict { distinct } => {
            let ids = ids(column, streams, distinct)?;
            let bytes = column.distinct.of(streams, Kind::Bits)?;
            Ok(Values::Dict { ids, text: fixed(column.class, bytes) })
        }
        Encoding::RowTime { exponent, delta } => {
            let unit_ns = 10i64.saturating_pow(u32::from(exponent));
            Ok(Values::RowTime { class: column.class, unit_ns, delta })
        }
        Encoding::Same { slot } => Ok(Values::Same(slot)),
    }
}

/// All numbers of so many bits above `base` in print, if they are few beside the rows.
fn printed(class: Class, base: u64, width: u8, rows: usize) -> Option<Text> {
    let count = 1u64.checked_shl(u32::from(width)).filter(|_| width <= 12)?;
    if usize::try_from(count).ok()? > rows {
        return None;
    }
    let mut text = Text::default();
    for value in 0..count {
        let mut print = [0; 40];
        let bytes = class.print(base.wrapping_add(value), &mut print);
        // What does not print may not be there: then it is found out row by row.
        text.push(print.get(..bytes).filter(|print| !print.is_empty())?);
    }
    Some(text.padded())
}

fn low(value: u64) -> u16 {
    u16::try_from(value & 0xFFFF).unwrap_or_default()
}

fn ids(column: &Column, streams: &Streams, distinct: usize) -> Result<Vec<u16>, Fault> {
    let bytes = column.values.of(streams, Kind::Ids)?;
    let ids: Vec<u16> = if distinct > 256 {
        let (low, high) = bytes.split_at_checked(column.rows).unwrap_or_default();
        low.iter().zip(high).map(|(&low, &high)| u16::from_le_bytes([low, high])).collect()
    } else {
        bytes.iter().map(|&id| u16::from(id)).collect()
    };
    let greatest = ids.iter().max().copied().map_or(0, usize::from);
    if greatest >= distinct && !ids.is_empty() {
        let what = format!("value {greatest} of a dictionary of {distinct}");
        return Err(Fault::corrupt(Kind::Ids, column.values.start, what));
    }
    Ok(ids)
}

fn dictionary(column: &Column, streams: &Streams, distinct: usize) -> Result<Text, Fault> {
    let whole = column.distinct.of(streams, Kind::Values)?;
    let mut rest = whole;
    let mut text = Text::default();
    let at = |rest: &[u8]| column.distinct.start.saturating_add(whole.len().saturating_sub(rest.len()));
    let corrupt = |rest: &[u8]| Fault::corrupt(Kind::Values, at(rest), "a dictionary is cut short");
    for _ in 0..distinct {
        let length = take_uvarint(&mut rest).and_then(|length| usize::try_from(length).ok());
        let (piece, after) =
            length.and_then(|length| rest.split_at_checked(length)).ok_or_else(|| corrupt(rest))?;
        text.push(piece);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(Fault::corrupt(Kind::Values, at(rest), "bytes behind the last value of a dictionary"));
    }
    Ok(text.padded())
}

fn text(column: &Column, streams: &Streams) -> Result<Values, Fault> {
    let whole = column.values.of(streams, Kind::Text)?;
    let corrupt = |what| Fault::corrupt(Kind::Text, column.values.start, what);
    let mut rest = whole;
    let mut text = Text { bytes: Vec::new(), pieces: Vec::with_capacity(column.rows.min(whole.len())) };
    let mut end = 0usize;
    for _ in 0..column.rows {
        let length = take_uvarint(&mut rest).and_then(|length| u32::try_from(length).ok());
        let length = length.ok_or_else(|| corrupt("the lengths of values are cut short"))?;
        text.pieces.push((u32::try_from(end).unwrap_or(u32::MAX), length));
        end = end.saturating_add(length as usize);
    }
    if end != rest.len() {
        return Err(corrupt("the lengths of values are not those of the text"));
    }
    text.bytes.reserve_exact(rest.len().saturating_add(PADDING));
    text.bytes.extend_from_slice(rest);
    Ok(Values::Text(text.padded()))
}

fn deltas(column: &Column, streams: &Streams) -> Result<Vec<u64>, Fault> {
    let mut rest = column.values.of(streams, Kind::Numbers)?;
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
    text.padded()
}
