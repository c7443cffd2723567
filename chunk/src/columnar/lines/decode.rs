//! Puts lines together again. Columns are read when a row first needs them; then a line is some ten short
//! copies, and nothing is allocated for it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{MAX_SKELETONS, MAX_VALUES};
use crate::Limits;
use crate::columnar::class::Class;
use crate::columnar::column::{self, Column, Encoding, Values};
use crate::columnar::fault::Fault;
use crate::columnar::raw::RawLines;
use crate::columnar::stream::{Kind, Streams};
use crate::loki::format::take_uvarint;

/// Parts of one skeleton at most.
const MAX_PARTS: usize = 4096;
/// Rows between two places where it is known how many values of each column come before.
const STEP: usize = 1024;
/// Room that short copies may write to beyond what they mean.
const SLACK: usize = 40;
/// Lines that may be longer than this are put together piece by piece.
const LONG: usize = 64 << 10;

/// Skeletons and columns of a group, and which row has which.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The skeleton of each row from 1; 0 for none.
    of_row: Vec<u16>,
    skeletons: Vec<Skeleton>,
    parts: Vec<Part>,
    /// All literal text, padded.
    literals: Vec<u8>,
    columns: Vec<Column>,
    values: Vec<OnceLock<Result<Values, Fault>>>,
    /// At each step: for each column, and at last for raw lines, how many values come before.
    marks: Vec<u32>,
    step: usize,
    raw: OnceLock<Result<RawLines, Fault>>,
    /// What columns may still take when read, in bytes.
    budget: AtomicUsize,
    limits: Limits,
}

#[derive(Debug, Clone, Copy)]
struct Skeleton {
    first: usize,
    end: usize,
    literal_bytes: usize,
    rows: usize,
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Literal { start: usize, bytes: usize },
    Slot { column: usize },
}

/// What a column printed last, and how far it is.
#[derive(Clone)]
struct Cursor {
    next: usize,
    printed: u64,
    width: usize,
    text: [u8; SLACK],
}

impl Decoder {
    /// Reads the skeletons, and which row has which. Columns and raw lines are not read yet.
    pub(crate) fn new(streams: &Streams, rows: usize, limits: &Limits) -> Result<Self, Fault> {
        let columns = column::table(streams)?;
        let values = columns.iter().map(|_| OnceLock::new()).collect();
        let mut decoder = Self {
            of_row: Vec::new(),
            skeletons: Vec::new(),
            parts: Vec::new(),
            literals: Vec::new(),
            columns,
            values,
            marks: Vec::new(),
            step: STEP,
            raw: OnceLock::new(),
            budget: AtomicUsize::new(limits.block_bytes()),
            limits: *limits,
        };
        decoder.read_skeletons(streams.get(Kind::Skeletons)?)?;
        decoder.of_row = read_ids(streams.get(Kind::SkeletonIds)?, rows, decoder.skeletons.len())?;
        decoder.place()?;
        Ok(decoder)
    }

    /// How many columns there are.
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn read_skeletons(&mut self, whole: &[u8]) -> Result<(), Fault> {
        let mut rest = whole;
        let corrupt = |rest: &[u8], what: &str| {
            Fault::corrupt(Kind::Skeletons, whole.len().saturating_sub(rest.len()), what)
        };
        let size = |rest: &mut &[u8]| {
            let value = take_uvarint(rest).and_then(|value| u32::try_from(value).ok());
            value.map(|value| value as usize).ok_or_else(|| corrupt(rest, "no size of 32 bits"))
        };
        let count = size(&mut rest)?;
        if count > usize::from(u16::MAX) {
            return Err(Fault::limit("skeletons of a group", count, usize::from(u16::MAX)));
        }
        for _ in 0..count {
            let parts = size(&mut rest)?;
            if parts > MAX_PARTS {
                return Err(Fault::limit("parts of a skeleton", parts, MAX_PARTS));
            }
            let first = self.parts.len();
            let literals = self.literals.len();
            let mut slots = 0usize;
            for _ in 0..parts {
                let part = size(&mut rest)?;
                if let Some(column) = part.checked_sub(1) {
                    let Some(known) = self.columns.get(column) else {
                        return Err(corrupt(rest, "a slot of a column that is not there"));
                    };
                    if matches!(known.encoding, Encoding::Same { slot } if slot >= slots) {
                        return Err(corrupt(rest, "a slot that repeats one behind it"));
                    }
                    slots = slots.saturating_add(1);
                    self.parts.push(Part::Slot { column });
                    continue;
                }
                let bytes = size(&mut rest)?;
                let Some((text, after)) = rest.split_at_checked(bytes) else {
                    return Err(corrupt(rest, "literal text is cut short"));
                };
                self.parts.push(Part::Literal { start: self.literals.len(), bytes });
                self.literals.extend_from_slice(text);
                rest = after;
            }
            let literal_bytes = self.literals.len().saturating_sub(literals);
            self.skeletons.push(Skeleton { first, end: self.parts.len(), literal_bytes, rows: 0 });
        }
        self.literals.resize(self.literals.len().saturating_add(SLACK), 0);
        if rest.is_empty() { Ok(()) } else { Err(corrupt(rest, "bytes behind the last skeleton")) }
    }

    /// Counts rows, so that each column is known to have as many values as its slots take, and reading can
    /// start at any row.
    fn place(&mut self) -> Result<(), Fault> {
        let width = self.columns.len().saturating_add(1);
        // At most four bytes a row for the marks, whatever the number of columns.
        self.step = STEP.max(width);
        let mut counts = vec![0u32; width];
        let mut seen = vec![0u32; self.skeletons.len().saturating_add(1)];
        for rows in self.of_row.chunks(self.step) {
            self.marks.extend_from_slice(&counts);
            for &skeleton in rows {
                if let Some(seen) = seen.get_mut(usize::from(skeleton)) {
                    *seen = seen.saturating_add(1);
                }
            }
            self.advance(&mut seen, |column, rows| {
                if let Some(count) = counts.get_mut(column) {
                    *count = count.saturating_add(rows);
                }
            });
        }
        for &skeleton in &self.of_row {
            let number = usize::from(skeleton).checked_sub(1);
            if let Some(skeleton) = number.and_then(|number| self.skeletons.get_mut(number)) {
                skeleton.rows = skeleton.rows.saturating_add(1);
            }
        }
        let mut total = 0usize;
        for (number, (column, &count)) in self.columns.iter().zip(&counts).enumerate() {
            // A column that no slot names belongs to the metadata.
            if count != 0 && column.rows != count as usize {
                let what = format!("column {number} has {} values, but rows take {count}", column.rows);
                return Err(Fault::corrupt(Kind::Columns, 0, what));
            }
            if !matches!(column.encoding, Encoding::Const { .. } | Encoding::Same { .. }) {
                total = total.saturating_add(count as usize);
            }
        }
        if total > MAX_VALUES {
            return Err(Fault::limit("values of a group", total, MAX_VALUES));
        }
        Ok(())
    }

    /// Tells for each column how many values the counted rows take, and sets their counts to 0. Raw lines
    /// count as the column behind the last.
    fn advance(&self, seen: &mut [u32], mut add: impl FnMut(usize, u32)) {
        let Some((raw, seen)) = seen.split_first_mut() else { return };
        if *raw > 0 {
            add(self.columns.len(), std::mem::take(raw));
        }
        for (skeleton, rows) in self.skeletons.iter().zip(seen) {
            if *rows == 0 {
                continue;
            }
            let rows = std::mem::take(rows);
            for part in self.parts.get(skeleton.first..skeleton.end).unwrap_or_default() {
                if let Part::Slot { column } = *part {
                    add(column, rows);
                }
            }
        }
    }

    fn values(&self, number: usize, streams: &Streams) -> Result<&Values, Fault> {
        let (Some(place), Some(column)) = (self.values.get(number), self.columns.get(number)) else {
            return Err(Fault::corrupt(Kind::Columns, 0, format!("no column {number}")));
        };
        let values = place.get_or_init(|| {
            let left = self.budget.load(Ordering::Relaxed);
            let values = column::decode(column, streams, left)?;
            let spent = column.rows.saturating_mul(8);
            self.budget
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(spent)))
                .ok();
            Ok(values)
        });
        values.as_ref().map_err(Fault::clone)
    }

    /// The lines that have no skeleton.
    fn raw(&self, streams: &Streams) -> Result<&RawLines, Fault> {
        let lines = self.raw.get_or_init(|| {
            let rows = self.of_row.iter().filter(|&&skeleton| skeleton == 0).count();
            let lines = RawLines::open(streams, rows, &self.limits)?;
            if lines.len() == rows {
                return Ok(lines);
            }
            let what = format!("{} raw lines for {rows} rows", lines.len());
            Err(Fault::corrupt(Kind::RawLengths, 0, what))
        });
        lines.as_ref().map_err(Fault::clone)
    }

    /// Appends the lines of some rows to `out`, and to `ends` where each ends in it. `times` are those of all
    /// rows of the group.
    ///
    /// Linear in the bytes of the lines, and in the values of columns that are read for the first time.
    pub(crate) fn materialise(
        &self,
        streams: &Streams,
        times: &[i64],
        rows: Range<usize>,
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) -> Result<(), Fault> {
        let Some(of_row) = self.of_row.get(rows.clone()) else {
            let what = format!("rows {rows:?} of {}", self.of_row.len());
            return Err(Fault::corrupt(Kind::SkeletonIds, 0, what));
        };
        let mut work = self.start(streams, of_row, rows.start)?;
        let mut at = out.len();
        let limit = at.saturating_add(self.limits.block_bytes());
        ends.reserve(of_row.len());
        for (row, &skeleton) in rows.zip(of_row) {
            let bound = work.bounds.get(usize::from(skeleton)).copied().unwrap_or(usize::MAX);
            let start = at;
            if skeleton == 0 {
                out.truncate(at);
                work.raw_line(self, streams, out)?;
                at = out.len();
            } else if bound <= LONG {
                let need = at.saturating_add(bound);
                if out.len() < need {
                    out.resize(need.max(out.len().saturating_add(LONG).min(limit)), 0);
                }
                let time = times.get(row).copied().unwrap_or_default();
                at = work.line(self, skeleton, time, out, at)?;
            } else {
                out.truncate(at);
                let time = times.get(row).copied().unwrap_or_default();
                work.long_line(self, skeleton, time, out)?;
                at = out.len();
            }
            if at > limit {
                return Err(Fault::limit("max_block_bytes", at, limit));
            }
            if at.saturating_sub(start) > self.limits.max_line_bytes {
                return Err(Fault::limit(
                    "max_line_bytes",
                    at.saturating_sub(start),
                    self.limits.max_line_bytes,
                ));
            }
            ends.push(u32::try_from(at).map_err(|_| Fault::limit("max_block_bytes", at, limit))?);
        }
        out.truncate(at);
        Ok(())
    }

    /// What it takes to put together these rows, the first of which is row `first`.
    fn start<'a>(&'a self, streams: &'a Streams, of_row: &[u16], first: usize) -> Result<Work<'a>, Fault> {
        let mark = first.checked_div(self.step).unwrap_or(0);
        let width = self.columns.len().saturating_add(1);
        let marks = self.marks.chunks_exact(width).nth(mark).unwrap_or_default();
        let fresh = Cursor { next: 0, printed: 0, width: 0, text: [0; SLACK] };
        let mut cursors = vec![fresh; width];
        for (cursor, &before) in cursors.iter_mut().zip(marks) {
            cursor.next = before as usize;
        }
        let mut seen = vec![0u32; self.skeletons.len().saturating_add(1)];
        let before = self.of_row.get(mark.saturating_mul(self.step)..first).unwrap_or_default();
        for &skeleton in before {
            if let Some(seen) = seen.get_mut(usize::from(skeleton)) {
                *seen = seen.saturating_add(1);
            }
        }
        self.advance(&mut seen, |column, rows| {
            if let Some(cursor) = cursors.get_mut(column) {
                cursor.next = cursor.next.saturating_add(rows as usize);
            }
        });
        for &skeleton in of_row {
            if let Some(seen) = seen.get_mut(usize::from(skeleton)) {
                *seen = 1;
            }
        }
        let mut work =
            Work { values: vec![None; width], cursors, bounds: vec![0], raw: None, starts: [(0, 0); 256] };
        if seen.first() == Some(&1) {
            work.raw = Some(self.raw(streams)?);
        }
        for (skeleton, seen) in self.skeletons.iter().zip(seen.iter().skip(1)) {
            let bound = if *seen == 0 { 0 } else { work.open(self, streams, skeleton)? };
            work.bounds.push(bound);
        }
        Ok(work)
    }
}

/// The columns that are open while lines are put together.
struct Work<'a> {
    values: Vec<Option<&'a Values>>,
    cursors: Vec<Cursor>,
    /// The most bytes that a line of each skeleton can have, and may write to.
    bounds: Vec<usize>,
    raw: Option<&'a RawLines>,
    /// Where the slots of the line start and end in what was written.
    starts: [(usize, usize); 256],
}

impl<'a> Work<'a> {
    /// Opens the columns of a skeleton, and gives the most bytes that its lines take.
    fn open(
        &mut self,
        decoder: &'a Decoder,
        streams: &'a Streams,
        skeleton: &Skeleton,
    ) -> Result<usize, Fault> {
        let mut bound = skeleton.literal_bytes.saturating_add(SLACK);
        let mut longest = Vec::new();
        for part in decoder.parts.get(skeleton.first..skeleton.end).unwrap_or_default() {
            let Part::Slot { column } = *part else { continue };
            let values = decoder.values(column, streams)?;
            if let Some(place) = self.values.get_mut(column) {
                *place = Some(values);
            }
            let bytes = match values {
                Values::Same(slot) => longest.get(*slot).copied().unwrap_or(usize::MAX),
                other => other.longest().unwrap_or(usize::MAX),
            };
            longest.push(bytes);
            bound = bound.saturating_add(bytes);
        }
        // Only so many slots are remembered for others to repeat.
        Ok(if longest.len() > self.starts.len() { usize::MAX } else { bound })
    }

    fn raw_line(&mut self, decoder: &Decoder, streams: &Streams, out: &mut Vec<u8>) -> Result<(), Fault> {
        let (Some(lines), Some(cursor)) = (self.raw, self.cursors.get_mut(decoder.columns.len())) else {
            return Ok(());
        };
        out.extend_from_slice(lines.line(streams, cursor.next)?);
        cursor.next = cursor.next.saturating_add(1);
        Ok(())
    }

    /// Writes a line at `at`, where there is room for the most that it can take.
    #[inline]
    fn line(
        &mut self,
        decoder: &Decoder,
        skeleton: u16,
        time: i64,
        out: &mut [u8],
        mut at: usize,
    ) -> Result<usize, Fault> {
        let number = usize::from(skeleton).saturating_sub(1);
        let Some(skeleton) = decoder.skeletons.get(number) else { return Ok(at) };
        let mut slots = 0usize;
        for part in decoder.parts.get(skeleton.first..skeleton.end).unwrap_or_default() {
            let column = match *part {
                Part::Literal { start, bytes } => {
                    at = put(out, at, &decoder.literals, start, bytes);
                    continue;
                }
                Part::Slot { column } => column,
            };
            let (Some(cursor), Some(Some(values))) = (self.cursors.get_mut(column), self.values.get(column))
            else {
                continue;
            };
            let before = at;
            let index = cursor.next;
            cursor.next = index.wrapping_add(1);
            at = match *values {
                Values::Dict { ids, text } => {
                    let id = ids.get(index).copied().unwrap_or_default();
                    let (start, end) = text.piece(usize::from(id)).unwrap_or_default();
                    put(out, at, &text.bytes, start, end.saturating_sub(start))
                }
                Values::Numbers { class, values } => {
                    let value = values.get(index).copied().unwrap_or_default();
                    cursor.number(*class, value, out, at)?
                }
                Values::Text(text) => {
                    let (start, end) = text.piece(index).unwrap_or_default();
                    put(out, at, &text.bytes, start, end.saturating_sub(start))
                }
                Values::Const(text) => {
                    let (start, end) = text.piece(0).unwrap_or_default();
                    put(out, at, &text.bytes, start, end.saturating_sub(start))
                }
                Values::RowTime { class, unit_ns, delta } => {
                    let value = time.div_euclid(*unit_ns).wrapping_add(*delta).cast_unsigned();
                    cursor.number(*class, value, out, at)?
                }
                Values::Same(slot) => {
                    let (start, end) = self.starts.get(*slot).copied().unwrap_or_default();
                    again(out, at, start, end)
                }
            };
            if let Some(place) = self.starts.get_mut(slots) {
                *place = (before, at);
            }
            slots = slots.wrapping_add(1);
        }
        Ok(at)
    }

    /// Appends a line of any length.
    fn long_line(
        &mut self,
        decoder: &Decoder,
        skeleton: u16,
        time: i64,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let number = usize::from(skeleton).saturating_sub(1);
        let Some(skeleton) = decoder.skeletons.get(number) else { return Ok(()) };
        let first = out.len();
        let mut places = Vec::new();
        for part in decoder.parts.get(skeleton.first..skeleton.end).unwrap_or_default() {
            let before = out.len();
            let column = match *part {
                Part::Literal { start, bytes } => {
                    let text = decoder.literals.get(start..start.saturating_add(bytes));
                    out.extend_from_slice(text.unwrap_or_default());
                    continue;
                }
                Part::Slot { column } => column,
            };
            let (Some(cursor), Some(Some(values))) = (self.cursors.get_mut(column), self.values.get(column))
            else {
                continue;
            };
            let index = cursor.next;
            cursor.next = index.wrapping_add(1);
            let piece = match *values {
                Values::Dict { ids, text } => {
                    let id = ids.get(index).copied().unwrap_or_default();
                    text.piece(usize::from(id)).and_then(|(start, end)| text.bytes.get(start..end))
                }
                Values::Text(text) => text.piece(index).and_then(|(start, end)| text.bytes.get(start..end)),
                Values::Const(text) => text.piece(0).and_then(|(start, end)| text.bytes.get(start..end)),
                Values::Numbers { class, values } => {
                    cursor.print(*class, values.get(index).copied().unwrap_or_default())?;
                    cursor.text.get(..cursor.width)
                }
                Values::RowTime { class, unit_ns, delta } => {
                    let value = time.div_euclid(*unit_ns).wrapping_add(*delta).cast_unsigned();
                    cursor.print(*class, value)?;
                    cursor.text.get(..cursor.width)
                }
                Values::Same(slot) => {
                    let (start, end): (usize, usize) = places.get(*slot).copied().unwrap_or_default();
                    within(decoder, first, before.saturating_add(end.saturating_sub(start)))?;
                    out.extend_from_within(start..end);
                    places.push((before, out.len()));
                    continue;
                }
            };
            let piece = piece.unwrap_or_default();
            within(decoder, first, before.saturating_add(piece.len()))?;
            out.extend_from_slice(piece);
            places.push((before, out.len()));
        }
        Ok(())
    }
}

/// Refuses a line that becomes longer than lines may be.
fn within(decoder: &Decoder, first: usize, end: usize) -> Result<(), Fault> {
    let bytes = end.saturating_sub(first);
    let max = decoder.limits.max_line_bytes.min(decoder.limits.block_bytes());
    if bytes > max { Err(Fault::limit("max_line_bytes", bytes, max)) } else { Ok(()) }
}

impl Cursor {
    /// Prints a number where there is room, and gives where it ends.
    #[inline]
    fn number(&mut self, class: Class, value: u64, out: &mut [u8], at: usize) -> Result<usize, Fault> {
        if !matches!(class, Class::Time(_)) {
            let room = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<SLACK>);
            let width = room.map_or(0, |room| class.print(value, room));
            return if width == 0 { Err(unprintable(class, value)) } else { Ok(at.saturating_add(width)) };
        }
        // Times repeat: to print one costs more than to copy it.
        self.print(class, value)?;
        if let Some(room) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<SLACK>) {
            *room = self.text;
        }
        Ok(at.saturating_add(self.width))
    }

    fn print(&mut self, class: Class, value: u64) -> Result<(), Fault> {
        if self.width == 0 || self.printed != value {
            self.width = class.print(value, &mut self.text);
            self.printed = value;
        }
        if self.width == 0 { Err(unprintable(class, value)) } else { Ok(()) }
    }
}

#[cold]
fn unprintable(class: Class, value: u64) -> Fault {
    Fault::corrupt(Kind::Columns, 0, format!("{class:?} has no value {value}"))
}

/// Copies a piece of text to `at`, and gives where it ends. Short pieces are copied with what follows them.
#[inline]
fn put(out: &mut [u8], at: usize, from: &[u8], start: usize, bytes: usize) -> usize {
    let end = at.saturating_add(bytes);
    if bytes <= 32 {
        let to = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<32>);
        let from = from.get(start..).and_then(<[u8]>::first_chunk::<32>);
        if let (Some(to), Some(from)) = (to, from) {
            *to = *from;
            return end;
        }
    }
    let to = out.get_mut(at..end);
    let from = from.get(start..start.saturating_add(bytes));
    if let (Some(to), Some(from)) = (to, from) {
        to.copy_from_slice(from);
    }
    end
}

/// Copies what was written before to `at`, and gives where it ends.
#[inline]
fn again(out: &mut [u8], at: usize, start: usize, end: usize) -> usize {
    let bytes = end.saturating_sub(start);
    if let Some(piece) = out.get(start..).and_then(<[u8]>::first_chunk::<32>).copied()
        && bytes <= 32
        && let Some(to) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<32>)
    {
        *to = piece;
    } else if end <= at && at.saturating_add(bytes) <= out.len() {
        out.copy_within(start..end, at);
    }
    at.saturating_add(bytes)
}

/// The skeleton of each row.
fn read_ids(bytes: &[u8], rows: usize, skeletons: usize) -> Result<Vec<u16>, Fault> {
    let corrupt = |what: String| Fault::corrupt(Kind::SkeletonIds, 0, what);
    let (&mode, ids) = bytes.split_first().ok_or_else(|| corrupt("no skeletons of rows".into()))?;
    let of_row: Vec<u16> = match mode {
        1 if ids.len() == rows => ids.iter().map(|&id| u16::from(id)).collect(),
        2 if Some(ids.len()) == rows.checked_mul(2) => {
            let (low, high) = ids.split_at_checked(rows).unwrap_or_default();
            low.iter().zip(high).map(|(&low, &high)| u16::from_le_bytes([low, high])).collect()
        }
        1 | 2 => return Err(corrupt(format!("{} bytes for {rows} rows", ids.len()))),
        _ => return Err(corrupt(format!("mode {mode} is neither 1 nor 2"))),
    };
    let greatest = of_row.iter().max().copied().map_or(0, usize::from);
    if greatest > skeletons.min(MAX_SKELETONS) {
        return Err(corrupt(format!("skeleton {greatest} of {skeletons}")));
    }
    Ok(of_row)
}
