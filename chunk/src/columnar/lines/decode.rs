//! Puts lines together again. Columns are read when a row first needs them; then a line is some ten short
//! copies, and nothing is allocated for it.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::assemble::{Cursor, Work};
use super::{MAX_SKELETONS, MAX_VALUES};
use crate::Limits;
use crate::columnar::column::{self, Column, Encoding, PADDING, Values};
use crate::columnar::fault::Fault;
use crate::columnar::raw::RawLines;
use crate::columnar::stream::{Kind, Streams};
use crate::loki::format::take_uvarint;

/// Parts of one skeleton at most.
const MAX_PARTS: usize = 4096;
/// Rows between two places where it is known how many values of each column come before.
const STEP: usize = 1024;
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
pub(super) struct Skeleton {
    first: usize,
    end: usize,
    rows: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Literal { start: usize, bytes: usize },
    Slot { column: usize },
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
            self.skeletons.push(Skeleton { first, end: self.parts.len(), rows: 0 });
        }
        self.literals.resize(self.literals.len().saturating_add(PADDING), 0);
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
            for part in self.parts(skeleton) {
                if let Part::Slot { column } = *part {
                    add(column, rows);
                }
            }
        }
    }

    /// The parts of a skeleton.
    pub(super) fn parts(&self, skeleton: &Skeleton) -> &[Part] {
        self.parts.get(skeleton.first..skeleton.end).unwrap_or_default()
    }

    /// Literal text from there on, padded.
    pub(super) fn literal(&self, start: usize) -> &[u8] {
        self.literals.get(start..).unwrap_or_default()
    }

    /// Whether a column repeats an earlier slot.
    pub(super) fn repeats(&self, column: usize) -> bool {
        self.columns.get(column).is_some_and(|column| matches!(column.encoding, Encoding::Same { .. }))
    }

    /// The values of a column, read when first asked for.
    pub(super) fn values(&self, number: usize, streams: &Streams) -> Result<&Values, Fault> {
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
        let limit = out.len().saturating_add(self.limits.block_bytes());
        ends.reserve(of_row.len());
        for (row, &skeleton) in rows.zip(of_row) {
            let start = out.len();
            if skeleton == 0 {
                work.raw_line(streams, out)?;
            } else {
                let time = times.get(row).copied().unwrap_or_default();
                work.line(skeleton, time, out)?;
            }
            let bytes = out.len().saturating_sub(start);
            if bytes > self.limits.max_line_bytes {
                return Err(Fault::limit("max_line_bytes", bytes, self.limits.max_line_bytes));
            }
            match u32::try_from(out.len()) {
                Ok(end) if out.len() <= limit => ends.push(end),
                _ => return Err(Fault::limit("max_block_bytes", out.len(), limit)),
            }
        }
        Ok(())
    }

    /// What it takes to put together these rows, the first of which is row `first`.
    fn start<'a>(&'a self, streams: &'a Streams, of_row: &[u16], first: usize) -> Result<Work<'a>, Fault> {
        let mark = first.checked_div(self.step).unwrap_or(0);
        let width = self.columns.len().saturating_add(1);
        let marks = self.marks.chunks_exact(width).nth(mark).unwrap_or_default();
        let mut cursors: Vec<Cursor> = marks.iter().map(|&before| Cursor::at(before as usize)).collect();
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
        let mut work = Work {
            cursors,
            plans: vec![(0, 0)],
            steps: Vec::new(),
            raw: None,
            places: Vec::new(),
            max: self.limits.max_line_bytes.min(self.limits.block_bytes()),
        };
        if seen.first() == Some(&1) {
            work.raw = Some(self.raw(streams)?);
        }
        for (skeleton, seen) in self.skeletons.iter().zip(seen.iter().skip(1)) {
            let first = work.steps.len();
            if *seen > 0 {
                work.plan(self, streams, skeleton)?;
            }
            work.plans.push((first, work.steps.len()));
        }
        Ok(work)
    }
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
