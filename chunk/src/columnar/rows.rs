//! The rows of a group that is read. Times are there from the start; lines and metadata are made for a range of
//! rows when somebody is about to ask for them, from the streams that these rows need.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::iter::Zip;
use std::ops::Range;
use std::slice;

use super::fault::Fault;
use super::group::Group;
use super::lines::{Decoder, Made, Work};
use super::metadata::RowMetadata;
use super::pick;
use super::raw::RawLines;
use super::stream::{Kind, Streams};
use super::time::{self, Times};
use crate::entry::{Entry, Metadata};
use crate::range::Direction;
use crate::{Error, Limits};

/// Rows that are made at once at most: a small part of a group.
const PIECE: usize = 2048;

/// A group that is open. Where only some of its rows are wanted, the others are none of its rows.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(super) group: usize,
    pub(super) limits: Limits,
    /// Bytes of memory that it may take in its life.
    pub(super) budget: usize,
    pub(super) streams: Streams,
    /// How many rows the group has, and their times once they are read.
    pub(super) count: usize,
    pub(super) times: Vec<i64>,
    pub(super) lines: Option<Lines>,
    metadata: Option<RowMetadata>,
    /// Which rows are wanted, if not all are.
    pub(super) picked: Option<Vec<u32>>,
    /// Those of them that are made.
    ready: Range<usize>,
    /// Where their lines are among those that were made: counted from this row of the group on or, if there is none, from
    /// the first that is ready.
    made_from: Option<usize>,
    pub(super) work: Work,
    /// What that took before.
    work_before: usize,
    /// Bytes of text that were made so far.
    pub(super) made: usize,
    /// Bytes of what was made in vain, or only to find out which rows are wanted.
    pub(super) vain: usize,
    /// Lines that were looked at to find out whether they are wanted.
    pub(super) tested: usize,
    /// How often rows were made.
    pieces: usize,
}

#[derive(Debug)]
pub(super) enum Lines {
    Split(Box<Decoder>),
    Raw(RawLines),
}

impl Rows {
    /// A group whose times are read.
    #[cfg(test)]
    pub(crate) fn open(group: &Group, limits: &Limits, budget: usize, work: Work) -> Result<Self, Error> {
        let mut rows = Self::new(group, limits, budget, work)?;
        rows.read_times(group)?;
        Ok(rows)
    }

    /// A group of which nothing is read yet, within `budget` bytes of memory that it may take in its life. `work` is
    /// what lines are made in.
    pub(crate) fn new(group: &Group, limits: &Limits, budget: usize, mut work: Work) -> Result<Self, Error> {
        let count = usize::try_from(group.meta.entries).unwrap_or(usize::MAX);
        let taken = count.saturating_mul(size_of::<i64>());
        let left = budget.checked_sub(taken).ok_or(Error::limit("max_decoded_bytes", taken, budget))?;
        let streams = group.streams(left)?;
        work.clear();
        Ok(Self {
            group: group.number,
            limits: *limits,
            budget,
            streams,
            count,
            times: Vec::new(),
            lines: None,
            metadata: None,
            picked: None,
            ready: 0..0,
            made_from: None,
            work_before: work.memory_bytes(),
            work,
            made: 0,
            vain: 0,
            tested: 0,
            pieces: 0,
        })
    }

    /// Reads the times of all rows.
    pub(crate) fn read_times(&mut self, group: &Group) -> Result<(), Error> {
        let bounds = (group.meta.min_ns, group.meta.max_ns);
        let stream = self.streams.get(Kind::Time).map_err(|fault| fault.into_error(group.number))?;
        let times = time::decode(stream, group.number, self.count, bounds);
        if times.is_err() {
            self.vain = self.vain.saturating_add(self.times_bytes());
        }
        self.times = times?;
        Ok(())
    }

    /// The times of all rows as they are stored.
    pub(crate) fn stored_times(&self, group: &Group) -> Result<Times<'_>, Error> {
        let bounds = (group.meta.min_ns, group.meta.max_ns);
        let stream = self.streams.get(Kind::Time).map_err(|fault| fault.into_error(group.number))?;
        time::open(stream, group.number, self.count, bounds)
    }

    /// How many rows the group has, wanted or not.
    pub(crate) fn row_count(&self) -> usize {
        self.count
    }

    /// What the times of all rows take, once they are read.
    pub(crate) fn times_bytes(&self) -> usize {
        self.count.saturating_mul(size_of::<i64>())
    }

    /// Makes lines and metadata of the first of these rows ready, or backward of the last, and says how many are. They
    /// are made in pieces, however few are read of one before those of another group.
    pub(crate) fn prepare(&mut self, rows: Range<usize>, direction: Direction) -> Result<usize, Error> {
        let ready = match direction {
            Direction::Forward if self.ready.contains(&rows.start) => {
                self.ready.end.min(rows.end).saturating_sub(rows.start)
            }
            Direction::Backward if self.ready.contains(&rows.end.wrapping_sub(1)) => {
                rows.end.saturating_sub(self.ready.start.max(rows.start))
            }
            _ => 0,
        };
        if ready > 0 || rows.is_empty() {
            return Ok(ready);
        }
        let rows = match direction {
            Direction::Forward => rows.start..rows.end.min(rows.start.saturating_add(PIECE)),
            Direction::Backward => rows.start.max(rows.end.saturating_sub(PIECE))..rows.end,
        };
        self.ready = 0..0;
        self.pieces = self.pieces.saturating_add(1);
        let made = self.make(rows, direction);
        // What was made in vain has cost the same.
        self.made = self.made.saturating_add(self.work.made.bytes());
        self.ready = made.map_err(|fault| fault.into_error(self.group))?;
        Ok(self.ready.len())
    }

    fn make(&mut self, rows: Range<usize>, direction: Direction) -> Result<Range<usize>, Fault> {
        if self.metadata.is_none() {
            let vain = &mut self.vain;
            let metadata = RowMetadata::open(&self.streams, self.group, self.count, &self.limits, vain)?;
            self.open_lines()?;
            if let Some(Lines::Split(lines)) = &self.lines {
                lines.check_others(metadata.columns())?;
            }
            self.metadata = Some(metadata);
        }
        let Some(picked) = &self.picked else {
            self.made_from = Some(rows.start);
            let made =
                make(self.lines.as_mut(), &self.streams, &self.times, rows, direction, &mut self.work)?;
            self.made_from = Some(made.start);
            return Ok(made);
        };
        let some = pick::some(rows, direction);
        let wanted = picked.get(some.clone()).unwrap_or_default();
        let (streams, times, work) = (&self.streams, &self.times, &mut self.work);
        match self.lines.as_mut() {
            Some(Lines::Raw(lines)) => {
                for row in wanted {
                    lines.line(streams, *row as usize)?;
                }
                Ok(some)
            }
            Some(Lines::Split(lines)) if !pick::are_dense(wanted) => {
                self.made_from = None;
                let done = pick::make_single(lines, streams, times, wanted, direction, &mut work.made)?;
                Ok(some.start.saturating_add(done.start)..some.start.saturating_add(done.end))
            }
            lines => {
                let made = make(lines, streams, times, pick::span(wanted), direction, work)?;
                self.made_from = Some(made.start);
                let before = |row: usize| {
                    let inside = wanted.partition_point(|wanted| (*wanted as usize) < row);
                    some.start.saturating_add(inside)
                };
                Ok(before(made.start)..before(made.end))
            }
        }
    }

    /// Whether some lines have a skeleton.
    pub(super) fn are_split(&self) -> bool {
        self.streams.len(Kind::SkeletonIds) > 0
    }

    pub(super) fn open_lines(&mut self) -> Result<(), Fault> {
        if self.lines.is_some() {
            return Ok(());
        }
        let rows = self.count;
        if self.are_split() {
            let lines = Decoder::new(&self.streams, rows, &self.limits)?;
            self.lines = Some(Lines::Split(Box::new(lines)));
            return Ok(());
        }
        let lines = RawLines::open(&self.streams, rows, &self.limits)?;
        if lines.len() != rows {
            return Err(Fault::corrupt(Kind::RawLengths, 0, format!("{} lines of {rows} rows", lines.len())));
        }
        self.lines = Some(Lines::Raw(lines));
        Ok(())
    }

    /// The row of the group that a row is.
    pub(crate) fn row_of(&self, row: usize) -> Option<usize> {
        match &self.picked {
            None => Some(row),
            Some(picked) => picked.get(row).map(|row| *row as usize),
        }
    }

    /// The time of a row of the group, wanted or not.
    pub(crate) fn time_of(&self, row: usize) -> Option<i64> {
        self.times.get(row).copied()
    }

    /// How many lines were looked at to find out which are wanted; `None` if all are.
    pub(crate) fn tested(&self) -> Option<usize> {
        self.picked.as_ref().map(|_| self.tested)
    }

    pub(crate) fn len(&self) -> usize {
        self.picked.as_ref().map_or(self.times.len(), Vec::len)
    }

    pub(crate) fn timestamp(&self, row: usize) -> Option<i64> {
        self.time_of(self.row_of(row)?)
    }

    /// A row that is made.
    #[inline]
    pub(crate) fn entry(&self, row: usize) -> Option<Entry<'_>> {
        let of_group = self.row_of(row)?;
        let timestamp_ns = self.time_of(of_group)?;
        let line = match self.lines.as_ref()? {
            Lines::Split(_) => self.work.made.line(match self.made_from {
                Some(first) => of_group.checked_sub(first)?,
                None => row.checked_sub(self.ready.start)?,
            })?,
            Lines::Raw(lines) => lines.line(&self.streams, of_group).ok()?,
        };
        let metadata = match &self.metadata {
            Some(metadata) if !metadata.is_empty() => {
                Metadata::interned(metadata.symbols(), metadata.pairs(of_group))
            }
            _ => Metadata::EMPTY,
        };
        Some(Entry { timestamp_ns, line, metadata })
    }

    /// These rows, if they were made one behind the other and have no metadata.
    pub(crate) fn plain(&self, rows: Range<usize>) -> Option<Plain<'_>> {
        let has_metadata = self.metadata.as_ref().is_some_and(|metadata| !metadata.is_empty());
        if self.picked.is_some() || has_metadata || !matches!(self.lines, Some(Lines::Split(_))) {
            return None;
        }
        let times = self.times.get(rows.clone())?;
        let Made { text, lines } = &self.work.made;
        let first = self.made_from?;
        let lines = lines.get(rows.start.checked_sub(first)?..rows.end.checked_sub(first)?)?;
        Some(Plain { rows: times.iter().zip(lines), text })
    }

    /// What its lines were made in, for the next group.
    pub(crate) fn into_work(self) -> Work {
        self.work
    }

    /// What it has cost so far.
    pub(crate) fn cost(&self) -> Cost {
        let (stored, decoded) = self.streams.opened();
        let metadata = self.metadata.as_ref().map_or(0, RowMetadata::memory_bytes);
        let times = self.times.len().saturating_mul(size_of::<i64>());
        let lines = match &self.lines {
            Some(Lines::Split(lines)) => lines.memory_bytes(),
            Some(Lines::Raw(lines)) => lines.memory_bytes(),
            None => 0,
        };
        let work = self.work.memory_bytes().saturating_sub(self.work_before);
        let picked = self.picked.as_ref().map_or(0, |picked| size_of_val(&picked[..]));
        let memory = [decoded, self.made, self.vain, metadata, times, lines, work, picked]
            .into_iter()
            .fold(0, usize::saturating_add);
        Cost { stored, decoded, memory }
    }
}

/// Rows that are made: their times and lines.
#[derive(Debug, Clone)]
pub(crate) struct Plain<'a> {
    rows: Zip<slice::Iter<'a, i64>, slice::Iter<'a, (u32, u32)>>,
    text: &'a [u8],
}

impl<'a> Plain<'a> {
    /// The next of them, or backward the last.
    #[inline]
    pub(crate) fn next(&mut self, direction: Direction) -> Option<Entry<'a>> {
        let (&timestamp_ns, &(start, bytes)) = match direction {
            Direction::Forward => self.rows.next(),
            Direction::Backward => self.rows.next_back(),
        }?;
        let line = self.text.get(start as usize..).and_then(|text| text.get(..bytes as usize));
        Some(Entry { timestamp_ns, line: line.unwrap_or_default(), metadata: Metadata::EMPTY })
    }

    pub(crate) fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

/// Makes some of these rows of a group, or what is at hand of their lines; says which.
pub(super) fn make(
    lines: Option<&mut Lines>,
    streams: &Streams,
    times: &[i64],
    rows: Range<usize>,
    direction: Direction,
    work: &mut Work,
) -> Result<Range<usize>, Fault> {
    match lines {
        Some(Lines::Split(lines)) => lines.make(streams, times, rows, direction, work),
        // They are lent as they are; but it is known before that they can be.
        Some(Lines::Raw(lines)) => {
            for row in rows.clone() {
                lines.line(streams, row)?;
            }
            Ok(rows)
        }
        None => Ok(0..0),
    }
}

/// Bytes that were read, that were decompressed, and that were made in all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) stored: usize,
    pub(crate) decoded: usize,
    pub(crate) memory: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Profile;
    use crate::head::Head;
    use crate::symbols::SymbolTable;

    /// Four bytes for each line were nobody's.
    #[test]
    fn where_whole_lines_end_is_paid_for_too() {
        let mut head = Head::default();
        for n in 0..3000u64 {
            let noise = xxhash_rust::xxh3::xxh3_128_with_seed(&[], n).to_le_bytes();
            assert!(head.append(0, &noise, &[]));
        }
        let limits = Limits::default();
        let group = Group::encode(&head, &SymbolTable::default(), Profile::Fast, &limits);
        let mut rows = Rows::open(&group, &limits, usize::MAX, Work::default()).unwrap();
        rows.prepare(0..3000, Direction::Forward).unwrap();
        assert!(matches!(rows.lines, Some(Lines::Raw(_))));
        let cost = rows.cost();
        assert!(cost.memory >= cost.decoded + 3000 * (8 + 4), "{cost:?}");
    }

    /// A hundred groups that were open at once took a hundred times this, and nobody was told.
    #[test]
    fn what_lines_are_made_in_is_paid_for_once() {
        let mut head = Head::default();
        for n in 0..3000i64 {
            head.append(n, format!("line {n} of {} and {}", n * n, n * 7919 % 1000).as_bytes(), &[]);
        }
        let limits = Limits::default();
        let group = Group::encode(&head, &SymbolTable::default(), Profile::Fast, &limits);
        let mut costs = Vec::new();
        let mut work = Work::default();
        for _ in 0..2 {
            let before = work.memory_bytes();
            let mut rows = Rows::open(&group, &limits, usize::MAX, work).unwrap();
            rows.prepare(0..3000, Direction::Forward).unwrap();
            costs.push((rows.cost().memory, before));
            work = rows.into_work();
        }
        let taken = work.memory_bytes();
        let [(first, 0), (second, before)] = costs[..] else { panic!("{costs:?}") };
        assert!(taken > 40_000 && before == taken, "{before} of {taken} bytes were kept");
        assert_eq!(first, second + taken);
        assert!(second > head.len() * 8 + 5000, "times, streams, skeletons and text");
    }

    /// A group of which every second row comes before the next of another one: each took as long as a piece.
    #[test]
    fn rows_that_are_read_one_by_one_are_made_in_pieces() {
        const ROWS: usize = 3 * PIECE + 5;
        let mut head = Head::default();
        for n in 0..ROWS {
            head.append(i64::try_from(n).unwrap(), format!("line {n} of {}", n * n).as_bytes(), &[]);
        }
        let group = Group::encode(&head, &SymbolTable::default(), Profile::Fast, &Limits::default());
        for direction in [Direction::Forward, Direction::Backward] {
            let mut rows = Rows::open(&group, &Limits::default(), usize::MAX, Work::default()).unwrap();
            for n in 0..ROWS {
                let (row, left) = match direction {
                    Direction::Forward => (n, n..ROWS),
                    Direction::Backward => (ROWS - 1 - n, 0..ROWS - n),
                };
                assert!(rows.prepare(left, direction).unwrap() > 0);
                assert_eq!(rows.entry(row).unwrap().line, format!("line {row} of {}", row * row).as_bytes());
            }
            assert_eq!(rows.pieces, ROWS.div_ceil(512), "one skeleton, in pieces of the least size");
        }
    }
}
