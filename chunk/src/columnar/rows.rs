//! The rows of a group that is read. Times are there from the start; lines and metadata are made for a range of
//! rows when somebody is about to ask for them, from the streams that these rows need.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::ops::Range;

use super::fault::Fault;
use super::group::Group;
use super::lines::{Decoder, Work};
use super::metadata::RowMetadata;
use super::raw::RawLines;
use super::stream::{Kind, Streams};
use super::time;
use crate::entry::{Entry, Metadata};
use crate::range::Direction;
use crate::{Error, Limits};

/// Rows that are made at once at most: a small part of a group.
const PIECE: usize = 2048;

/// A group that is open.
#[derive(Debug)]
pub(crate) struct Rows {
    group: usize,
    limits: Limits,
    streams: Streams,
    times: Vec<i64>,
    lines: Option<Lines>,
    metadata: Option<RowMetadata>,
    /// The rows that are made.
    ready: Range<usize>,
    work: Work,
    /// What that took before.
    work_before: usize,
    /// Bytes of text that were made so far.
    made: usize,
    /// Bytes of metadata that were made in vain.
    vain: usize,
    /// How often rows were made.
    pieces: usize,
}

#[derive(Debug)]
enum Lines {
    Split(Box<Decoder>),
    Raw(RawLines),
}

impl Rows {
    /// Opens a group, within `budget` bytes of memory that it may take in its life. `work` is what lines are made in.
    pub(crate) fn open(group: &Group, limits: &Limits, budget: usize, mut work: Work) -> Result<Self, Error> {
        let rows = usize::try_from(group.meta.entries).unwrap_or(usize::MAX);
        let taken = rows.saturating_mul(size_of::<i64>());
        let left = budget.checked_sub(taken).ok_or(Error::limit("max_decoded_bytes", taken, budget))?;
        let streams = group.streams(left)?;
        let bounds = (group.meta.min_ns, group.meta.max_ns);
        let stream = streams.get(Kind::Time).map_err(|fault| fault.into_error(group.number))?;
        let times = time::decode(stream, group.number, rows, bounds)?;
        work.clear();
        Ok(Self {
            group: group.number,
            limits: *limits,
            streams,
            times,
            lines: None,
            metadata: None,
            ready: 0..0,
            work_before: work.memory_bytes(),
            work,
            made: 0,
            vain: 0,
            pieces: 0,
        })
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
        let (count, limits) = (self.times.len(), &self.limits);
        if self.metadata.is_none() {
            let vain = &mut self.vain;
            self.metadata = Some(RowMetadata::open(&self.streams, self.group, count, limits, vain)?);
        }
        if self.lines.is_none() {
            self.lines = Some(self.open_lines()?);
        }
        match self.lines.as_mut().expect("they were just opened") {
            Lines::Split(lines) => lines.make(&self.streams, &self.times, rows, direction, &mut self.work),
            // They are lent as they are; but it is known before that they can be.
            Lines::Raw(lines) => {
                for row in rows.clone() {
                    lines.line(&self.streams, row)?;
                }
                Ok(rows)
            }
        }
    }

    fn open_lines(&self) -> Result<Lines, Fault> {
        let rows = self.times.len();
        if self.streams.len(Kind::SkeletonIds) > 0 {
            let lines = Decoder::new(&self.streams, rows, &self.limits)?;
            lines.check_others(self.metadata.as_ref().map_or(&[], RowMetadata::columns))?;
            return Ok(Lines::Split(Box::new(lines)));
        }
        let lines = RawLines::open(&self.streams, rows, &self.limits)?;
        if lines.len() != rows {
            return Err(Fault::corrupt(Kind::RawLengths, 0, format!("{} lines of {rows} rows", lines.len())));
        }
        Ok(Lines::Raw(lines))
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn timestamp(&self, row: usize) -> Option<i64> {
        self.times.get(row).copied()
    }

    /// A row that is made.
    #[inline]
    pub(crate) fn entry(&self, row: usize) -> Option<Entry<'_>> {
        let timestamp_ns = *self.times.get(row)?;
        let line = match self.lines.as_ref()? {
            Lines::Split(_) => self.work.made.line(row.checked_sub(self.ready.start)?)?,
            Lines::Raw(lines) => lines.line(&self.streams, row).ok()?,
        };
        let metadata = match &self.metadata {
            Some(metadata) if !metadata.is_empty() => {
                Metadata::interned(metadata.symbols(), metadata.pairs(row))
            }
            _ => Metadata::EMPTY,
        };
        Some(Entry { timestamp_ns, line, metadata })
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
        let memory = [decoded, self.made, self.vain, metadata, times, lines, work]
            .into_iter()
            .fold(0, usize::saturating_add);
        Cost { stored, decoded, memory }
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
