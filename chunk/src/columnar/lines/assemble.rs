//! Puts lines together from literal text and the values of columns. A line is some ten short copies, each of a
//! fixed number of bytes of which the meant ones are kept; nothing is allocated for it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::decode::{Decoder, Part, Skeleton};
use crate::columnar::class::{Class, SMALL};
use crate::columnar::column::{Text, Values};
use crate::columnar::fault::Fault;
use crate::columnar::raw::RawLines;
use crate::columnar::stream::{Kind, Streams};

/// Bytes that a printed number may write.
const PRINTED: usize = 40;

/// What it takes to put together the rows of one range, in order.
pub(super) struct Work<'a> {
    /// How far each column is, and at last the raw lines.
    pub(super) cursors: Vec<Cursor>,
    /// Where the steps of each skeleton start and end; 0 is none.
    pub(super) plans: Vec<(usize, usize)>,
    pub(super) steps: Vec<Step<'a>>,
    pub(super) raw: Option<&'a RawLines>,
    /// Where the slots of the line start and end in what was written.
    pub(super) places: Vec<(usize, usize)>,
    /// The most bytes that a line may have.
    pub(super) max: usize,
}

/// One part of a line.
pub(super) enum Step<'a> {
    /// So many bytes of some text.
    Literal(&'a [u8], usize),
    /// The next value of a column. If `watched`, a later slot repeats one of this line.
    Slot { column: usize, values: &'a Values, watched: bool },
}

/// How far a column is, and what it printed last.
pub(super) struct Cursor {
    pub(super) next: usize,
    printed: u64,
    width: usize,
    text: [u8; PRINTED],
}

impl<'a> Work<'a> {
    /// Opens the columns of a skeleton, and appends its steps.
    pub(super) fn plan(
        &mut self,
        decoder: &'a Decoder,
        streams: &'a Streams,
        skeleton: &Skeleton,
    ) -> Result<(), Fault> {
        let parts = decoder.parts(skeleton);
        let repeats = |part: &Part| matches!(*part, Part::Slot { column } if decoder.repeats(column));
        let watched = parts.iter().any(repeats);
        for part in parts {
            self.steps.push(match *part {
                Part::Literal { start, bytes } => Step::Literal(decoder.literal(start), bytes),
                Part::Slot { column } => {
                    Step::Slot { column, values: decoder.values(column, streams)?, watched }
                }
            });
        }
        Ok(())
    }

    pub(super) fn raw_line(&mut self, streams: &Streams, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (Some(lines), Some(cursor)) = (self.raw, self.cursors.last_mut()) else { return Ok(()) };
        out.extend_from_slice(lines.line(streams, cursor.next)?);
        cursor.next = cursor.next.saturating_add(1);
        Ok(())
    }

    /// Appends the next line of a skeleton, of a row of that time.
    #[inline]
    pub(super) fn line(&mut self, skeleton: u16, time: i64, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (first, end) = self.plans.get(usize::from(skeleton)).copied().unwrap_or_default();
        let start = out.len();
        let limit = start.saturating_add(self.max);
        self.places.clear();
        for step in self.steps.get(first..end).unwrap_or_default() {
            let (column, values, watched) = match *step {
                Step::Literal(text, bytes) => {
                    put(out, text, bytes, limit)?;
                    continue;
                }
                Step::Slot { column, values, watched } => (column, values, watched),
            };
            let Some(cursor) = self.cursors.get_mut(column) else { continue };
            let before = out.len();
            let index = cursor.next;
            cursor.next = index.wrapping_add(1);
            match values {
                Values::Dict { ids, text } => {
                    let id = ids.get(index).copied().unwrap_or_default();
                    put_piece(out, text, usize::from(id), limit)?;
                }
                Values::Numbers { class, values } => {
                    cursor.print(*class, values.get(index).copied().unwrap_or_default(), out)?;
                }
                Values::Text(text) => put_piece(out, text, index, limit)?,
                Values::Const(text) => put_piece(out, text, 0, limit)?,
                Values::RowTime { class, unit_ns, delta } => {
                    let value = time.div_euclid(*unit_ns).wrapping_add(*delta).cast_unsigned();
                    cursor.print(*class, value, out)?;
                }
                Values::Same(slot) => {
                    let (start, end) = self.places.get(*slot).copied().unwrap_or_default();
                    within(before.saturating_add(end.saturating_sub(start)), limit)?;
                    out.extend_from_within(start..end);
                }
            }
            if watched {
                self.places.push((before, out.len()));
            }
        }
        Ok(())
    }
}

impl Cursor {
    pub(super) fn at(next: usize) -> Self {
        Self { next, printed: 0, width: 0, text: [0; PRINTED] }
    }

    /// Appends a number in print.
    #[inline]
    fn print(&mut self, class: Class, value: u64, out: &mut Vec<u8>) -> Result<(), Fault> {
        if class == Class::Number
            && let Some(small) = usize::try_from(value).ok().and_then(|value| SMALL.get(value))
        {
            let end = out.len().saturating_add(usize::from(small[3]));
            out.extend_from_slice(small);
            out.truncate(end);
            return Ok(());
        }
        if let Class::Time(format) = class {
            // Times are close to each other: most print as a few other digits.
            if self.width == 0 || self.printed != value {
                self.width = format.print_after(value, self.printed, self.width, &mut self.text);
                self.printed = value;
            }
        } else {
            self.width = class.print(value, &mut self.text);
        }
        if self.width == 0 {
            return Err(unprintable(class, value));
        }
        let end = out.len().saturating_add(self.width);
        out.extend_from_slice(&self.text);
        out.truncate(end);
        Ok(())
    }
}

#[cold]
fn unprintable(class: Class, value: u64) -> Fault {
    Fault::corrupt(Kind::Columns, 0, format!("{class:?} has no value {value}"))
}

#[inline]
fn put_piece(out: &mut Vec<u8>, text: &Text, number: usize, limit: usize) -> Result<(), Fault> {
    let (from, bytes) = text.piece(number);
    put(out, from, bytes, limit)
}

/// Appends so many bytes of a text. Short pieces are copied with what follows them, which is then taken back.
#[inline]
fn put(out: &mut Vec<u8>, from: &[u8], bytes: usize, limit: usize) -> Result<(), Fault> {
    let end = out.len().wrapping_add(bytes);
    if let Some(chunk) = from.first_chunk::<32>().filter(|_| bytes <= 32) {
        out.extend_from_slice(chunk);
        out.truncate(end);
        return Ok(());
    }
    within(end, limit)?;
    if let Some(chunk) = from.first_chunk::<64>().filter(|_| bytes <= 64) {
        out.extend_from_slice(chunk);
        out.truncate(end);
    } else {
        out.extend_from_slice(from.get(..bytes).unwrap_or_default());
    }
    Ok(())
}

/// Refuses a line that becomes longer than lines may be, before it takes the memory.
#[inline]
fn within(end: usize, limit: usize) -> Result<(), Fault> {
    if end > limit { Err(Fault::limit("max_line_bytes", end, limit)) } else { Ok(()) }
}
