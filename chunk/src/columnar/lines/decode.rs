//! The lines of a group that are in columns. What it takes to read them is known, and held against the limits, before
//! any column is opened; columns are opened when a row first needs them.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::MAX_VALUES;
use super::fill::Sources;
use super::piece::Piece;
use super::template::{Step, Template, Templates};
use super::work::Work;
use crate::Limits;
use crate::columnar::column::{self, Column, Encoding, Values};
use crate::columnar::fault::Fault;
use crate::columnar::raw::RawLines;
use crate::columnar::stream::{Kind, Streams};
use crate::range::Direction;

/// Rows between two places where it is known how many values of each column come before.
const STEP: usize = 1024;
/// What is made at once has about so many bytes of room at most.
pub(super) const MAX_ROOM: usize = 1 << 20;

/// Skeletons and columns of a group, and which row has which.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// The skeleton of each row from 1; 0 for none.
    pub(super) of_row: Vec<u16>,
    pub(super) templates: Templates,
    pub(super) columns: Vec<Column>,
    pub(super) open: Vec<Option<Open>>,
    /// At each step: for each column, and at last for raw lines, how many values come before.
    pub(super) marks: Vec<u32>,
    pub(super) step: usize,
    pub(super) raw: Option<RawLines>,
    /// Bytes that all of it takes, of columns only those that are open.
    pub(super) memory: usize,
    /// And all columns.
    most: usize,
    /// The most room that a line takes.
    most_room: usize,
    pub(super) limits: Limits,
}

/// A column that is open.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) values: Values,
    /// Bytes of the longest value, but of pieces of text.
    pub(super) longest: usize,
}

impl Decoder {
    /// Reads the skeletons, and which row has which. Columns and raw lines are not read yet.
    pub(crate) fn new(streams: &Streams, rows: usize, limits: &Limits) -> Result<Self, Fault> {
        let mut decoder = Self::outline(streams, limits)?;
        decoder.count(streams, rows)?;
        Ok(decoder)
    }

    /// Reads the skeletons alone.
    pub(crate) fn outline(streams: &Streams, limits: &Limits) -> Result<Self, Fault> {
        let columns = column::table(streams)?;
        let templates = Templates::read(streams, &columns, limits.block_bytes())?;
        let mut decoder = Self {
            of_row: Vec::new(),
            open: columns.iter().map(|_| None).collect(),
            columns,
            marks: Vec::new(),
            step: STEP,
            raw: None,
            memory: 0,
            most: 0,
            most_room: templates.list().iter().map(|template| template.room).max().unwrap_or(0),
            limits: *limits,
            templates,
        };
        decoder.check_memory(0)?;
        Ok(decoder)
    }

    /// Reads which row has which skeleton, and holds the columns against that: before any of them is opened.
    pub(crate) fn count(&mut self, streams: &Streams, rows: usize) -> Result<(), Fault> {
        self.of_row = read_ids(streams.get(Kind::SkeletonIds)?, rows, self.templates.list().len())?;
        self.place()
    }

    /// How many columns there are.
    #[cfg(test)]
    pub(crate) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Bytes of memory that it has taken so far.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory
    }

    /// The most that it takes, when all columns are open.
    pub(crate) fn max_memory_bytes(&self) -> usize {
        self.most
    }

    /// Counts rows, so that each column is known to have as many values as its slots take, and reading can
    /// start at any row.
    fn place(&mut self) -> Result<(), Fault> {
        let width = self.columns.len().saturating_add(1);
        // At most four bytes a row for the marks, whatever the number of columns.
        self.step = STEP.max(width);
        let mut counts = vec![0u32; width];
        let mut seen = vec![0u32; self.templates.list().len().saturating_add(1)];
        let mut work = 0;
        for rows in self.of_row.chunks(self.step) {
            self.marks.extend_from_slice(&counts);
            for &skeleton in rows {
                if let Some(seen) = seen.get_mut(usize::from(skeleton)) {
                    *seen = seen.saturating_add(1);
                }
            }
            work = self.templates.check_work(seen.get(1..).unwrap_or_default(), work, self.of_row.len())?;
            self.advance(&mut seen, &mut counts);
        }
        let (mut total, mut memory) = (0usize, 0usize);
        for (number, (column, &count)) in self.columns.iter().zip(&counts).enumerate() {
            // A column that no slot names belongs to the metadata.
            if count != 0 && column.rows != count as usize {
                let what = format!("column {number} has {} values, but rows take {count}", column.rows);
                return Err(Fault::corrupt(Kind::Columns, 0, what));
            }
            if !matches!(column.encoding, Encoding::Const { .. } | Encoding::Same { .. }) {
                total = total.saturating_add(count as usize);
            }
            if count != 0 {
                memory = memory.saturating_add(column.memory());
            }
        }
        if total > MAX_VALUES {
            return Err(Fault::limit("values of a group", total, MAX_VALUES));
        }
        self.check_memory(memory)
    }

    /// Adds for each column how many values the counted rows take, and sets their counts to 0. Raw lines count as the
    /// column behind the last.
    fn advance(&self, seen: &mut [u32], counts: &mut [u32]) {
        let Some((raw, seen)) = seen.split_first_mut() else { return };
        if let Some(count) = counts.last_mut() {
            *count = count.saturating_add(std::mem::take(raw));
        }
        for (template, rows) in self.templates.list().iter().zip(seen).filter(|(_, rows)| **rows > 0) {
            let rows = std::mem::take(rows);
            for column in self.templates.steps(template).iter().filter_map(Step::column) {
                if let Some(count) = counts.get_mut(column as usize) {
                    *count = count.saturating_add(rows);
                }
            }
        }
    }

    /// Refuses columns that are named by something else, and by slots too.
    pub(crate) fn check_others(&self, others: &[u32]) -> Result<(), Fault> {
        if others.is_empty() {
            return Ok(());
        }
        let mut named = vec![false; self.columns.len()];
        for &column in others {
            if let Some(named) = named.get_mut(column as usize) {
                *named = true;
            }
        }
        let steps = self.templates.list().iter().flat_map(|template| self.templates.steps(template));
        let is_named = |column: &u32| named.get(*column as usize) == Some(&true);
        match steps.filter_map(Step::column).find(is_named) {
            Some(column) => {
                Err(Fault::corrupt(Kind::Columns, 0, format!("column {column} of slots and of metadata")))
            }
            None => Ok(()),
        }
    }

    /// Refuses a group that would take more memory than a block may, all its columns open.
    fn check_memory(&mut self, columns: usize) -> Result<(), Fault> {
        let ids = size_of_val(&self.of_row[..]).saturating_add(size_of_val(&self.marks[..]));
        let tables = size_of_val(&self.columns[..])
            .saturating_add(size_of_val(&self.open[..]))
            .saturating_add(Piece::COLUMN_BYTES.saturating_mul(self.columns.len()));
        self.memory = [ids, tables, self.templates.memory()].into_iter().fold(0, usize::saturating_add);
        self.most = self.memory.saturating_add(columns);
        let (memory, max) = (self.most, self.limits.block_bytes());
        if memory > max { Err(Fault::limit("max_block_bytes", memory, max)) } else { Ok(()) }
    }

    /// Opens the columns of a skeleton.
    pub(super) fn open(&mut self, template: &Template, streams: &Streams) -> Result<(), Fault> {
        let Self { templates, open, columns, memory, .. } = self;
        for number in templates.steps(template).iter().filter_map(Step::column) {
            open_column(number as usize, columns, open, memory, streams)?;
        }
        Ok(())
    }

    /// Opens a column.
    pub(super) fn open_column(&mut self, number: usize, streams: &Streams) -> Result<(), Fault> {
        open_column(number, &self.columns, &mut self.open, &mut self.memory, streams)
    }

    /// Makes lines of some of these rows, from the first on or backward from the last, in `work`; says which. `times`
    /// are those of all rows of the group.
    ///
    /// Linear in the bytes of the lines, and in the values of columns that are read for the first time.
    pub(crate) fn make(
        &mut self,
        streams: &Streams,
        times: &[i64],
        rows: Range<usize>,
        direction: Direction,
        work: &mut Work,
    ) -> Result<Range<usize>, Fault> {
        let Work { piece, scratch, made } = work;
        let count = rows.len().min(self.piece_rows());
        let rows = match direction {
            Direction::Forward => rows.start..rows.start.saturating_add(count),
            Direction::Backward => rows.end.saturating_sub(count)..rows.end,
        };
        let rows = if self.fits(rows.clone()) { rows } else { self.fitting(rows, direction) };
        let Some(of_row) = self.of_row.get(rows.clone()) else {
            let what = format!("rows {rows:?} of {}", self.of_row.len());
            return Err(Fault::corrupt(Kind::SkeletonIds, 0, what));
        };
        piece.sort(of_row, self.templates.list().len());
        if piece.has_raw() {
            self.open_raw(streams)?;
        }
        for &kind in piece.kinds() {
            let template =
                usize::from(kind).checked_sub(1).and_then(|at| self.templates.list().get(at)).copied();
            if let Some(template) = template {
                self.open(&template, streams)?;
            }
        }
        if piece.at != Some(rows.start) {
            self.seek(rows.start, piece);
        }
        let times = times.get(rows.clone()).unwrap_or_default();
        let Self { templates, columns, open, raw, limits, of_row, .. } = self;
        let of_row = of_row.get(rows.clone()).unwrap_or_default();
        piece.at = None;
        piece.number(of_row, templates, columns.len());
        let raw = raw.as_ref();
        Sources { templates, columns, open, raw, streams, times, limits }.fill(piece, scratch, made)?;
        piece.at = Some(rows.end);
        Ok(rows)
    }

    /// Rows that are made at once: few enough that their lines stay in a near cache, and enough of each skeleton that what it
    /// costs to begin with one does not count.
    pub(crate) fn piece_rows(&self) -> usize {
        self.templates.list().len().saturating_mul(16).clamp(512, 2048)
    }

    /// Whether all of these rows are small enough to be made at once, as far as the longest skeleton tells.
    fn fits(&self, rows: Range<usize>) -> bool {
        self.most_room.saturating_mul(rows.len()) <= MAX_ROOM
    }

    /// The first of these rows, or backward the last, that are small enough to be made at once.
    fn fitting(&self, rows: Range<usize>, direction: Direction) -> Range<usize> {
        let mut left = MAX_ROOM;
        let mut fits = |&skeleton: &u16| {
            let template = usize::from(skeleton).checked_sub(1).and_then(|at| self.templates.list().get(at));
            let room = template.map_or(0, |template| template.room);
            let fits = room <= left || left == MAX_ROOM;
            left = left.saturating_sub(room.max(1));
            fits
        };
        let of_row = self.of_row.get(rows.clone()).unwrap_or_default();
        match direction {
            Direction::Forward => {
                let count = of_row.iter().take_while(|skeleton| fits(skeleton)).count();
                rows.start..rows.start.saturating_add(count)
            }
            Direction::Backward => {
                let count = of_row.iter().rev().take_while(|skeleton| fits(skeleton)).count();
                rows.end.saturating_sub(count)..rows.end
            }
        }
    }

    /// Finds out how many values of each column come before a row.
    fn seek(&self, row: usize, piece: &mut Piece) {
        let mark = row.checked_div(self.step).unwrap_or(0);
        let width = self.columns.len().saturating_add(1);
        let mut counts = std::mem::take(&mut piece.next);
        counts.clear();
        counts.extend(self.marks.chunks_exact(width).nth(mark).unwrap_or_default());
        let mut seen = vec![0u32; self.templates.list().len().saturating_add(1)];
        for &skeleton in self.of_row.get(mark.saturating_mul(self.step)..row).unwrap_or_default() {
            if let Some(seen) = seen.get_mut(usize::from(skeleton)) {
                *seen = seen.saturating_add(1);
            }
        }
        self.advance(&mut seen, &mut counts);
        piece.next = counts;
    }

    /// Opens the lines that have no skeleton.
    pub(super) fn open_raw(&mut self, streams: &Streams) -> Result<(), Fault> {
        if self.raw.is_some() {
            return Ok(());
        }
        let rows = self.of_row.iter().filter(|&&skeleton| skeleton == 0).count();
        let lines = RawLines::open(streams, rows, &self.limits)?;
        if lines.len() != rows {
            let what = format!("{} raw lines for {rows} rows", lines.len());
            return Err(Fault::corrupt(Kind::RawLengths, 0, what));
        }
        self.memory = self.memory.saturating_add(lines.memory_bytes());
        self.raw = Some(lines);
        Ok(())
    }
}

pub(super) fn open_column(
    number: usize,
    columns: &[Column],
    open: &mut [Option<Open>],
    memory: &mut usize,
    streams: &Streams,
) -> Result<(), Fault> {
    let (Some(place @ None), Some(column)) = (open.get_mut(number), columns.get(number)) else {
        return Ok(());
    };
    let (values, longest) = column::decode(column, streams, usize::MAX)?;
    *memory = memory.saturating_add(column.memory());
    *place = Some(Open { values, longest });
    Ok(())
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
    let greatest = usize::from(of_row.iter().fold(0, |greatest, &id| greatest.max(id)));
    if greatest > skeletons {
        return Err(corrupt(format!("skeleton {greatest} of {skeletons}")));
    }
    Ok(of_row)
}
