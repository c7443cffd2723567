//! Entries of several blocks in one order of time. Blocks are opened only when their turn comes, kept open
//! only while they overlap, and merged so that entries of one timestamp come by block and then by rank: the
//! order they were appended in, or its exact reverse.

mod batch;
mod open;
mod select;
mod slot;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

use crate::block::{Body, Source};
use crate::columnar::lines::Work;
use crate::cursor;
use crate::damage::{CorruptionPolicy, Damage};
use crate::entry::Entry;
use crate::error::to_u64;
use crate::filter::LineFilter;
use crate::loki::entries::Entries;
use crate::loki::format::Format;
use crate::range::{Direction, TimeRange};
use crate::shared::BlockCache;
use crate::symbols::SymbolTable;
use crate::{Codec, Error, Limits};

use slot::Slot;

pub use batch::Batch;
pub(crate) use slot::partition;

/// How to read the sources that are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) format: Format,
    pub(crate) codec: Codec,
    pub(crate) limits: Limits,
    pub(crate) policy: CorruptionPolicy,
}

/// What a read cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ReadStats {
    /// Blocks that were not touched because they are outside the range.
    pub blocks_skipped: u64,
    /// Blocks that were decompressed, be it in part.
    pub blocks_decoded: u64,
    /// Blocks that came decoded out of a [`BlockCache`](crate::BlockCache).
    pub blocks_shared: u64,
    /// Those of them that are columnar and were found to have no line that a filter wants without a look at any.
    pub blocks_pruned: u64,
    /// Lines that were looked at to find out whether a filter wants them.
    pub lines_tested: u64,
    /// Stored size of the blocks that were decompressed, in bytes.
    pub stored_bytes: u64,
    /// Their decompressed size in bytes.
    pub decoded_bytes: u64,
    /// Entries that were handed out.
    pub entries: u64,
}

/// Lends the entries of a chunk or a builder one after the other.
///
/// An entry is borrowed from the iterator until the next call, which is why this is not an [`Iterator`]:
///
/// ```
/// # fn main() -> Result<(), forebay_chunk::Error> {
/// # use forebay_chunk::{Builder, BuilderOptions, Direction, Entry};
/// # let mut builder = Builder::new(BuilderOptions::default())?;
/// # builder.append(Entry::new(1, "a"))?;
/// let mut entries = builder.snapshot(..).entries(Direction::Forward);
/// while let Some(entry) = entries.next()? {
///     println!("{} {}", entry.timestamp_ns, entry.line.escape_ascii());
/// }
/// # Ok(())
/// # }
/// ```
pub struct EntryIter {
    reading: Reading,
    symbols: SymbolTable,
    range: TimeRange,
    direction: Direction,
    /// What lines are wanted, if not all are.
    filter: Option<LineFilter>,
    /// Where decoded blocks are kept.
    cache: Option<Arc<dyn BlockCache>>,
    slots: Vec<Slot>,
    /// The next key of every slot but the current one, least first.
    heap: BinaryHeap<Reverse<Key>>,
    current: Option<usize>,
    /// How many entries of the current slot come before any of another slot.
    run: usize,
    /// Buffers to decompress into.
    spare: Option<Entries>,
    /// And to make lines of columns in.
    spare_work: Option<Work>,
    spent: u64,
    stats: ReadStats,
    damage: Vec<Damage>,
    failure: Option<Error>,
    /// Behind the last entry that was handed out.
    position: cursor::Cursor,
    /// How many entries of the time of `position` are still to be passed over.
    to_pass: u64,
}

/// Time and slot of an entry, both negated where the direction is backward: the least comes next.
type Key = (i64, usize);

impl EntryIter {
    pub(crate) fn new(
        reading: Reading,
        symbols: SymbolTable,
        sources: impl Iterator<Item = Source>,
        range: TimeRange,
        direction: Direction,
    ) -> Self {
        let mut iter = Self {
            reading,
            symbols,
            range,
            direction,
            filter: None,
            cache: None,
            slots: Vec::new(),
            heap: BinaryHeap::new(),
            current: None,
            run: 0,
            spare: None,
            spare_work: None,
            spent: 0,
            stats: ReadStats::default(),
            damage: Vec::new(),
            failure: None,
            position: cursor::Cursor::start(direction),
            to_pass: 0,
        };
        for source in sources {
            match source.bounds() {
                Some((min, max)) if range.overlaps(min, max) => {
                    let edge = if direction == Direction::Forward { min } else { max };
                    iter.heap.push(Reverse(iter.key(edge, iter.slots.len())));
                    iter.slots.push(Slot::Waiting(source));
                }
                _ => iter.stats.blocks_skipped += 1,
            }
        }
        iter
    }

    /// The entries of `range` that come behind a cursor.
    pub(crate) fn behind(
        reading: Reading,
        symbols: SymbolTable,
        sources: impl Iterator<Item = Source>,
        range: TimeRange,
        cursor: cursor::Cursor,
    ) -> Self {
        let iter = Self::new(reading, symbols, sources, cursor.rest_of(range), cursor.direction());
        Self { position: cursor, to_pass: cursor.passed(), ..iter }
    }

    /// With so many bytes to decode. Before the first entry is read.
    pub(crate) fn within(mut self, max_decoded_bytes: u64) -> Self {
        self.reading.limits.max_decoded_bytes = max_decoded_bytes;
        self
    }

    /// Only those entries whose lines are wanted. Before the first one is read.
    pub(crate) fn wanted(self, filter: &LineFilter) -> Self {
        Self { filter: Some(filter.clone()).filter(|filter| !filter.is_empty()), ..self }
    }

    /// Takes blocks out of a cache that are decoded, and leaves those there that it has to decode. To be called before
    /// the first entry is read.
    ///
    /// The read gives the same entries and has the same errors, whatever the cache gives: a block counts for
    /// [`Limits::max_decoded_bytes`] in either case, and one that is not the one that was asked for is decoded anew. For
    /// Loki's formats, whose blocks are decompressed as a whole; of a columnar one a read opens only the columns that its
    /// lines need, so there is no block that the next read would have the same use for.
    #[must_use]
    pub fn through(self, cache: Arc<dyn BlockCache>) -> Self {
        Self { cache: Some(cache), ..self }
    }

    /// Where the read is: behind the last entry that was handed out. [`Chunk::resume`](crate::Chunk::resume) and
    /// [`Snapshot::resume`](crate::Snapshot::resume) go on there.
    pub fn cursor(&self) -> cursor::Cursor {
        self.position
    }

    /// The next entry; `None` after the last.
    ///
    /// Takes constant time, but for the time to decompress a block when one is entered, and two thousand lines of
    /// one where it is columnar.
    ///
    /// # Errors
    ///
    /// A block that cannot be decoded, or more to decode than the limits allow. The iterator stays at the
    /// error: what it handed out before is good, but not all there is.
    #[expect(clippy::should_implement_trait, reason = "an entry is lent until the next call")]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, Error> {
        if self.to_pass > 0 {
            self.pass_over()?;
        }
        if self.run == 0 && !self.select()? {
            return Ok(None);
        }
        self.run -= 1;
        self.stats.entries += 1;
        let Self { slots, current, symbols, direction, position, .. } = self;
        let Some(Slot::Open(cursor)) = current.and_then(|current| slots.get_mut(current)) else {
            unreachable!("a run is counted only in the slot that is current, which is open");
        };
        let rank = cursor.step(*direction);
        let entry = cursor.body.entry(rank, symbols).expect("a rank below the length has an entry");
        position.pass(entry.timestamp_ns, 1);
        Ok(Some(entry))
    }

    /// Passes over the entries that were handed out before the cursor was taken.
    #[cold]
    fn pass_over(&mut self) -> Result<(), Error> {
        while self.to_pass > 0 && (self.run > 0 || self.select()?) {
            let current = self.current.and_then(|current| self.slots.get_mut(current));
            let Some(Slot::Open(cursor)) = current else { break };
            if cursor.body.timestamp(cursor.next_rank(self.direction)) != Some(self.position.timestamp_ns()) {
                break;
            }
            cursor.step(self.direction);
            self.run -= 1;
            self.to_pass -= 1;
        }
        self.to_pass = 0;
        Ok(())
    }

    /// The next entries, as many as are at hand: those of [`next`](Self::next) in the same order, for less of a price each.
    /// `None` after the last.
    ///
    /// ```
    /// # fn main() -> Result<(), forebay_chunk::Error> {
    /// # use forebay_chunk::{Builder, BuilderOptions, Direction, Entry};
    /// # let mut builder = Builder::new(BuilderOptions::default())?;
    /// # builder.append(Entry::new(1, "a"))?;
    /// let mut entries = builder.snapshot(..).entries(Direction::Forward);
    /// let mut bytes = 0;
    /// while let Some(batch) = entries.next_batch()? {
    ///     bytes += batch.map(|entry| entry.line.len()).sum::<usize>();
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next). All of a batch count as handed out, however few are taken from it.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, Error> {
        if self.to_pass > 0 {
            self.pass_over()?;
        }
        if self.run == 0 && !self.select()? {
            return Ok(None);
        }
        let count = std::mem::take(&mut self.run);
        self.stats.entries += to_u64(count);
        let Self { slots, current, symbols, direction, position, .. } = self;
        let Some(Slot::Open(cursor)) = current.and_then(|current| slots.get_mut(current)) else {
            unreachable!("a run is counted only in the slot that is current, which is open");
        };
        let ranks = match direction {
            Direction::Forward => {
                cursor.start += count;
                cursor.start - count..cursor.start
            }
            Direction::Backward => {
                cursor.end -= count;
                cursor.end..cursor.end + count
            }
        };
        let at = |rank| cursor.body.timestamp(rank).unwrap_or_default();
        let (last, same) = match direction {
            Direction::Forward => {
                let last = at(ranks.end - 1);
                (last, ranks.end - partition(ranks.start, ranks.end, |rank| at(rank) < last))
            }
            Direction::Backward => {
                let last = at(ranks.start);
                (last, partition(ranks.start, ranks.end, |rank| at(rank) <= last) - ranks.start)
            }
        };
        position.pass(last, to_u64(same));
        let plain = match &cursor.body {
            Body::Columnar(rows) => rows.plain(ranks.clone()),
            _ => None,
        };
        Ok(Some(Batch { body: &cursor.body, symbols, ranks, plain, direction: *direction }))
    }

    /// The time of what [`next`](Self::next) gives. Nothing is passed over where a cursor was: for reads from the start.
    pub(crate) fn next_time(&mut self) -> Result<Option<i64>, Error> {
        if self.run == 0 && !self.select()? {
            return Ok(None);
        }
        let current = self.current.and_then(|current| self.slots.get(current));
        let Some(Slot::Open(cursor)) = current else { return Ok(None) };
        Ok(cursor.body.timestamp(cursor.next_rank(self.direction)))
    }

    /// Whether the next call of [`next`](Self::next) may decompress a block; otherwise it takes constant
    /// time.
    pub fn at_edge(&self) -> bool {
        self.run == 0
    }

    /// What the read has cost so far.
    pub fn stats(&self) -> ReadStats {
        self.stats
    }

    /// What of [`Limits::max_decoded_bytes`] is spent.
    pub(crate) fn spent_bytes(&self) -> u64 {
        self.spent
    }

    /// The blocks that were skipped because they could not be decoded, which happens only with
    /// [`CorruptionPolicy::SkipBlock`]; those that were found on opening are told by
    /// [`Chunk::damage`](crate::Chunk::damage).
    pub fn damage(&self) -> &[Damage] {
        &self.damage
    }
}

impl fmt::Debug for EntryIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryIter")
            .field("range", &self.range)
            .field("direction", &self.direction)
            .field("stats", &self.stats)
            .field("damage", &self.damage)
            .finish_non_exhaustive()
    }
}
