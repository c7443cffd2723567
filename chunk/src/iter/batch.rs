//! Entries that are lent together.

use std::ops::Range;

use crate::block::Body;
use crate::columnar::rows::Plain;
use crate::entry::Entry;
use crate::range::Direction;
use crate::symbols::SymbolTable;

/// Entries that [`EntryIter::next_batch`](crate::EntryIter::next_batch) lends together.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    pub(super) body: &'a Body,
    pub(super) symbols: &'a SymbolTable,
    pub(super) ranks: Range<usize>,
    /// All of these entries, where they are made and have no metadata.
    pub(super) plain: Option<Plain<'a>>,
    pub(super) direction: Direction,
}

impl<'a> Iterator for Batch<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if let Some(plain) = &mut self.plain {
            return plain.next(self.direction);
        }
        let rank = match self.direction {
            Direction::Forward => self.ranks.next(),
            Direction::Backward => self.ranks.next_back(),
        };
        Some(self.body.entry(rank?, self.symbols).expect("a rank below the length has an entry"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match &self.plain {
            Some(plain) => plain.size_hint(),
            None => self.ranks.size_hint(),
        }
    }
}

impl ExactSizeIterator for Batch<'_> {}
