//! Reads the table of columns: what each is and where its values lie. Whatever the bytes say is held against the bytes
//! that are there before memory is taken.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::bits::packed_bytes;
use super::{ALONE, Column, Encoding, Place};
use crate::columnar::class::Class;
use crate::columnar::fault::Fault;
use crate::columnar::stream::{Kind, Streams};
use crate::loki::format::{take_uvarint, take_varint};

/// Columns of a group at most.
const MAX_COLUMNS: usize = 1 << 16;

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
