//! A builder's entries at one moment, shared with the builder and safe from what it does next.

use std::fmt;

use crate::block::Source;
use crate::cursor::Cursor;
use crate::filter::LineFilter;
use crate::iter::{EntryIter, Reading};
use crate::range::{Direction, TimeRange};
use crate::symbols::SymbolTable;

/// The entries of a builder as they were at one moment. Sees nothing of what is appended later.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) reading: Reading,
    pub(super) symbols: SymbolTable,
    pub(super) sources: Vec<Source>,
    pub(super) range: TimeRange,
}

impl Snapshot {
    /// The entries of the range that the snapshot was taken of.
    pub fn entries(&self, direction: Direction) -> EntryIter {
        self.entries_in(self.range, direction)
    }

    /// The entries of `range`, as far as the snapshot was taken of it.
    pub fn entries_in(&self, range: impl Into<TimeRange>, direction: Direction) -> EntryIter {
        let range = self.range.intersection(range.into());
        EntryIter::new(self.reading, self.symbols.clone(), self.sources.iter().cloned(), range, direction)
    }

    /// The entries of `range`, as far as the snapshot was taken of it, whose lines a filter wants; see
    /// [`Chunk::filter`](crate::Chunk::filter).
    pub fn filter_in(
        &self,
        range: impl Into<TimeRange>,
        filter: &LineFilter,
        direction: Direction,
    ) -> EntryIter {
        self.entries_in(range, direction).wanted(filter)
    }

    /// What is left of a read that was left at `cursor`, of this snapshot or another one of the same builder.
    pub fn resume(&self, cursor: Cursor) -> EntryIter {
        self.resume_in(self.range, cursor)
    }

    /// The same of `range`, as far as the snapshot was taken of it.
    pub fn resume_in(&self, range: impl Into<TimeRange>, cursor: Cursor) -> EntryIter {
        let range = self.range.intersection(range.into());
        EntryIter::behind(self.reading, self.symbols.clone(), self.sources.iter().cloned(), range, cursor)
    }

    /// What is left of a read of [`filter_in`](Self::filter_in), with the same filter.
    pub fn resume_filter_in(
        &self,
        range: impl Into<TimeRange>,
        filter: &LineFilter,
        cursor: Cursor,
    ) -> EntryIter {
        self.resume_in(range, cursor).wanted(filter)
    }

    /// What its blocks take in memory, in bytes. The builder has the same blocks until it drops them, and pages of the
    /// open block are shared with it, so that this is no more than what would be left of the builder if it were gone.
    pub fn memory_bytes(&self) -> usize {
        let sizes = self.sources.iter().map(|source| match source {
            Source::Stored(block) => block.data().len(),
            Source::Memory(head) => head.memory_bytes(),
        });
        sizes.sum()
    }

    /// The part of [`memory_bytes`](Self::memory_bytes) of blocks that are not compressed: the builder drops these when
    /// what they were compressed to is [attached](crate::Builder::attach).
    pub fn plain_bytes(&self) -> usize {
        let sizes = self.sources.iter().map(|source| match source {
            Source::Stored(_) => 0,
            Source::Memory(head) => head.memory_bytes(),
        });
        sizes.sum()
    }

    /// Times of the oldest and the newest entry of its blocks; `None` if there are none. Blocks reach beyond
    /// the range that the snapshot was taken of.
    pub fn bounds(&self) -> Option<(i64, i64)> {
        let bounds = self.sources.iter().filter_map(Source::bounds);
        bounds.reduce(|(min, max), (from, through)| (min.min(from), max.max(through)))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("range", &self.range)
            .field("blocks", &self.sources.len())
            .finish_non_exhaustive()
    }
}
