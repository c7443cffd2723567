//! Short text in cells of one size: a value is copied with what is behind it in its cell, which takes one move of a
//! register, and then counts for its length.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::bits::unpack_each;
use crate::columnar::class::{Class, MAX_DIGITS, POWERS, digits_of_code};
use crate::columnar::digits::{put_hex, put_ip4, put_number, put_padded};
use crate::columnar::timestamp;

/// The sizes of cells. The last byte of each is the length of its text.
pub(crate) const NARROW: usize = 16;
pub(crate) const WIDE: usize = 32;

/// The cell that holds so many bytes.
pub(crate) fn size_for(longest: usize) -> usize {
    if longest < NARROW { NARROW } else { WIDE }
}

/// A table of short text.
#[derive(Debug)]
pub(crate) struct Cells {
    size: usize,
    bytes: Vec<u8>,
}

impl Cells {
    /// What so many of them take, at most.
    pub(crate) fn bytes_of(count: usize) -> usize {
        count.saturating_mul(WIDE)
    }

    /// The pieces of some text, if all of them are short.
    pub(crate) fn of(text: &[u8], pieces: &[(u32, u32)], longest: usize) -> Option<Self> {
        let mut pieces = pieces.iter();
        Self::fill(pieces.len(), longest, || {
            let &(start, length) = pieces.next()?;
            Some((text.get(start as usize..)?, length as usize))
        })
    }

    /// So many texts, if all of them are short: `next` gives some text that starts with each, and its length.
    pub(crate) fn fill<'a>(
        count: usize,
        longest: usize,
        next: impl FnMut() -> Option<(&'a [u8], usize)>,
    ) -> Option<Self> {
        if longest >= WIDE {
            return None;
        }
        let size = size_for(longest);
        let mut bytes = vec![0; count.checked_mul(size)?];
        match size {
            NARROW => fill::<NARROW>(&mut bytes, next),
            _ => fill::<WIDE>(&mut bytes, next),
        }?;
        Some(Self { size, bytes })
    }

    /// Numbers in print, if all of them are short and the class has them.
    pub(crate) fn printed(class: Class, values: &[u64], longest: usize) -> Option<Self> {
        if longest >= WIDE {
            return None;
        }
        let size = size_for(longest);
        let mut bytes = vec![0; values.len().checked_mul(size)?];
        print(class, values, &mut bytes).ok()?;
        Some(Self { size, bytes })
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The text of a number.
    pub(crate) fn text(&self, number: usize) -> &[u8] {
        let cell = self.bytes.chunks_exact(self.size).nth(number).unwrap_or_default();
        let length = cell.last().copied().map_or(0, usize::from);
        cell.get(..length).unwrap_or_default()
    }
}

fn fill<'a, const N: usize>(
    cells: &mut [u8],
    mut next: impl FnMut() -> Option<(&'a [u8], usize)>,
) -> Option<()> {
    for cell in cells.as_chunks_mut::<N>().0 {
        let (text, length) = next()?;
        match text.first_chunk::<N>() {
            // With what is behind it.
            Some(chunk) => *cell = *chunk,
            None => {
                let piece = text.get(..length)?;
                cell.get_mut(..piece.len())?.copy_from_slice(piece);
            }
        }
        *cell.last_mut()? = u8::try_from(length).ok()?;
    }
    Some(())
}

/// Numbers of a column, and how they are read.
#[derive(Debug)]
pub(crate) enum Numbers {
    /// Packed differences from a base.
    Packed {
        base: u64,
        width: u8,
    },
    /// Planes of differences from a base.
    Planes {
        base: u64,
    },
    List(Vec<u64>),
}

impl Numbers {
    /// Reads the numbers `first..first + count` of `rows`, whose part of a stream this is.
    pub(crate) fn read(&self, part: &[u8], rows: usize, first: usize, count: usize, out: &mut Vec<u64>) {
        out.clear();
        match self {
            Self::Packed { base, width } => {
                out.resize(count, *base);
                let mut places = out.iter_mut();
                unpack_each(part, *width, first, count, |value| {
                    if let Some(place) = places.next() {
                        *place = place.wrapping_add(value);
                    }
                });
            }
            Self::Planes { base } => {
                out.resize(count, *base);
                for (plane, bytes) in (0u32..8).zip(part.chunks(rows.max(1))) {
                    let shift = plane.wrapping_mul(8) & 63;
                    let bytes = bytes.get(first..).unwrap_or_default();
                    for (value, &byte) in out.iter_mut().zip(bytes) {
                        *value = value.wrapping_add(u64::from(byte) << shift);
                    }
                }
            }
            Self::List(values) => {
                out.extend(values.get(first..).unwrap_or_default().iter().take(count));
            }
        }
    }
}

/// Bytes of the longest text that a class of numbers has.
pub(crate) fn width_of_class(class: Class) -> usize {
    match class {
        Class::Number => 20,
        Class::Digits => MAX_DIGITS,
        Class::Padded(width) | Class::Hex(width) | Class::HexUpper(width) => width.into(),
        Class::Ip4 => 15,
        Class::Time(format) => format.width(),
        Class::Text | Class::HexBytes(_) | Class::Uuid => 0,
    }
}

/// Prints numbers of a class, each into a cell, which is large enough for all of them. Fails with a number that the class
/// has not.
pub(crate) fn print(class: Class, values: &[u64], cells: &mut [u8]) -> Result<(), u64> {
    if cells.len() >= values.len().saturating_mul(WIDE) {
        print_sized::<WIDE>(class, values, cells)
    } else {
        print_sized::<NARROW>(class, values, cells)
    }
}

fn print_sized<const N: usize>(class: Class, values: &[u64], cells: &mut [u8]) -> Result<(), u64> {
    let rows = values.iter().zip(cells.as_chunks_mut::<N>().0);
    match class {
        Class::Number => each(rows, |value, cell| {
            if value < POWERS[16] || N >= WIDE { put_number(value, cell) } else { long(class, value, cell) }
        }),
        Class::Digits => each(rows, |value, cell| match digits_of_code(value) {
            Some((value, width)) if width <= NARROW || N >= WIDE => {
                put_padded(value, width, cell);
                width
            }
            _ => long(class, value, cell),
        }),
        Class::Padded(width) if usize::from(width) <= NARROW || N >= WIDE => {
            let width = usize::from(width);
            let limit = POWERS.get(width).copied().unwrap_or(u64::MAX);
            each(rows, |value, cell| {
                if value >= limit {
                    return 0;
                }
                put_padded(value, width, cell);
                width
            })
        }
        Class::Ip4 => {
            each(rows, |value, cell| u32::try_from(value).map_or(0, |address| put_ip4(address, cell)))
        }
        Class::Hex(width) | Class::HexUpper(width) => {
            let (width, upper) = (usize::from(width), matches!(class, Class::HexUpper(_)));
            each(rows, |value, cell| {
                if width < 16 && value >> (width.wrapping_mul(4) & 63) != 0 {
                    return 0;
                }
                put_hex(value, width, upper, cell);
                width
            })
        }
        Class::Time(format) => print_times(format, rows),
        _ => each(rows, |value, cell| long(class, value, cell)),
    }
}

#[inline]
fn each<'a, const N: usize>(
    rows: impl Iterator<Item = (&'a u64, &'a mut [u8; N])>,
    mut print: impl FnMut(u64, &mut [u8; N]) -> usize,
) -> Result<(), u64> {
    for (&value, cell) in rows {
        match (u8::try_from(print(value, cell)), cell.last_mut()) {
            (Ok(width @ 1..), Some(length)) if usize::from(width) < N => *length = width,
            _ => return Err(value),
        }
    }
    Ok(())
}

/// Times are close to each other: most print as a few other digits.
fn print_times<'a, const N: usize>(
    format: timestamp::Format,
    rows: impl Iterator<Item = (&'a u64, &'a mut [u8; N])>,
) -> Result<(), u64> {
    let digits = format.fraction_digits();
    let scale = 1_000_000_000u64.checked_div(format.unit_ns()).unwrap_or(1);
    let (clock, units_of_day) = (format.clock(), format.units_of_day());
    // What is printed so far: a time in units, and the second and the day that it is in.
    let (mut before, mut second, mut day, mut width, mut room) = (0u64, 0u64, 0u64, 0usize, [0; 40]);
    each(rows, |value, cell| {
        if width == 0 || value.wrapping_sub(day) >= units_of_day {
            width = format.print(value, &mut room);
            day = value.wrapping_sub(value.checked_rem(units_of_day).unwrap_or(0));
            second = value.wrapping_sub(value.checked_rem(scale).unwrap_or(0));
        } else if value != before {
            if value.wrapping_sub(second) >= scale {
                let since = value.wrapping_sub(day);
                let seconds = if scale == 1 { since } else { since.checked_div(scale).unwrap_or(0) };
                clock.print(seconds, width, &mut room);
                second = day.wrapping_add(seconds.wrapping_mul(scale));
            }
            if digits > 0 {
                let at = width.saturating_sub(digits);
                put_padded(value.wrapping_sub(second), digits, room.get_mut(at..).unwrap_or_default());
            }
        }
        before = value;
        if let Some(text) = room.first_chunk::<N>() {
            *cell = *text;
        }
        width
    })
}

/// What is seldom, or long.
fn long<const N: usize>(class: Class, value: u64, cell: &mut [u8; N]) -> usize {
    let mut room = [0; 40];
    let width = class.print(value, &mut room);
    if width >= N {
        return 0;
    }
    if let Some(text) = room.first_chunk::<N>() {
        *cell = *text;
    }
    width
}
