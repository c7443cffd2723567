//! A block in its turn: waiting, open with the entries that are left of it, or done.

use crate::block::{Body, Source};
use crate::chunk::BlockMeta;
use crate::columnar::rows::Cost;
use crate::error::to_u64;
use crate::range::Direction;

pub(super) enum Slot {
    /// Not opened yet. The key in the heap is a lower bound of its first.
    Waiting(Source),
    Open(Cursor),
    Done,
}

/// The entries `start..end` by rank that were not handed out yet.
pub(super) struct Cursor {
    pub(super) body: Body,
    pub(super) start: usize,
    pub(super) end: usize,
    /// What is told of the block if the rest of it is lost; `None` for one in memory.
    pub(super) lost: Option<Lost>,
    /// What of its cost is in the statistics.
    pub(super) counted: Cost,
}

/// A block that is open and may still turn out to be damaged.
#[derive(Clone, Copy)]
pub(super) struct Lost {
    pub(super) number: usize,
    pub(super) meta: BlockMeta,
    /// The ranks that were asked for.
    pub(super) first: usize,
    pub(super) end: usize,
}

impl Cursor {
    /// The rank that comes next, if there is one.
    pub(super) fn next_rank(&self, direction: Direction) -> usize {
        match direction {
            Direction::Forward => self.start,
            Direction::Backward => self.end.wrapping_sub(1),
        }
    }

    /// Takes the rank that comes next, which is there.
    #[inline]
    pub(super) fn step(&mut self, direction: Direction) -> usize {
        match direction {
            Direction::Forward => {
                self.start += 1;
                self.start - 1
            }
            Direction::Backward => {
                self.end -= 1;
                self.end
            }
        }
    }

    /// The number of the block, and what its index says of it, but only of entries that were not handed out.
    pub(super) fn rest(&self, direction: Direction) -> (usize, BlockMeta) {
        let Some(Lost { number, mut meta, first, end }) = self.lost else {
            unreachable!("a block in memory is always ready");
        };
        if (self.start, self.end) != (first, end) {
            match direction {
                Direction::Forward => {
                    // Behind the last that was handed out, whether wanted or not.
                    let start = self.start.checked_sub(1).map_or(0, |last| self.body.place(last) + 1);
                    meta.entries -= to_u64(start);
                    meta.min_ns = self.body.time_at(start).unwrap_or(meta.min_ns);
                }
                Direction::Backward => {
                    let end = self.body.place(self.end);
                    meta.entries = to_u64(end);
                    meta.max_ns = self.body.time_at(end.wrapping_sub(1)).unwrap_or(meta.max_ns);
                }
            }
        }
        (number, meta)
    }
}

/// The first of `start..end` for which `before` is false, if it is true for all before that one.
pub(crate) fn partition(start: usize, end: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (start, end);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
