//! Entries of several blocks in one order of time. Blocks are opened only when their turn comes, kept open
//! only while they overlap, and merged so that entries of one timestamp come by block and then by rank: the
//! order they were appended in, or its exact reverse.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::block::{Block, Body, Source};
use crate::chunk::BlockMeta;
use crate::columnar::group::Group;
use crate::columnar::lines::Work;
use crate::columnar::rows::{Cost, Plain, Rows};
use crate::cursor;
use crate::damage::{CorruptionPolicy, Damage, DamageKind};
use crate::entry::Entry;
use crate::error::to_u64;
use crate::filter::LineFilter;
use crate::head::Head;
use crate::loki::decode::StoredBlock;
use crate::loki::entries::{Context, Entries};
use crate::loki::format::Format;
use crate::range::{Direction, TimeRange};
use crate::shared::{BlockCache, BlockId, DecodedBlock};
use crate::symbols::SymbolTable;
use crate::{Codec, Error, Limits};

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

enum Slot {
    /// Not opened yet. The key in the heap is a lower bound of its first.
    Waiting(Source),
    Open(Cursor),
    Done,
}

/// The entries `start..end` by rank that were not handed out yet.
struct Cursor {
    body: Body,
    start: usize,
    end: usize,
    /// What is told of the block if the rest of it is lost; `None` for one in memory.
    lost: Option<Lost>,
    /// What of its cost is in the statistics.
    counted: Cost,
}

/// A block that is open and may still turn out to be damaged.
#[derive(Clone, Copy)]
struct Lost {
    number: usize,
    meta: BlockMeta,
    /// The ranks that were asked for.
    first: usize,
    end: usize,
}

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

    /// Makes the slot with the least key current and counts how far it can be read. False at the end.
    fn select(&mut self) -> Result<bool, Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        if let Some(number) = self.current.take() {
            self.put_back(number);
        }
        while let Some(Reverse(key)) = self.heap.pop() {
            let number = self.slot_of(key);
            let Some(slot) = self.slots.get_mut(number) else { continue };
            match std::mem::replace(slot, Slot::Done) {
                Slot::Done => {}
                Slot::Waiting(source) => {
                    let cursor = self.open(source).inspect_err(|error| self.failure = Some(error.clone()))?;
                    if let (Some(cursor), Some(slot)) = (cursor, self.slots.get_mut(number)) {
                        *slot = Slot::Open(cursor);
                        self.put_back(number);
                    }
                }
                Slot::Open(mut cursor) => {
                    let bound = self.heap.peek().map(|&Reverse(bound)| bound);
                    let run = self.run_of(&cursor, number, bound);
                    let Some(run) = self.prepare(&mut cursor, run)? else { continue };
                    self.run = run;
                    self.current = Some(number);
                    if let Some(slot) = self.slots.get_mut(number) {
                        *slot = Slot::Open(cursor);
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Returns a slot to the heap, or its buffers to the next block if it has come to its end.
    fn put_back(&mut self, number: usize) {
        let Some(slot) = self.slots.get_mut(number) else { return };
        let Slot::Open(cursor) = slot else { return };
        let rank = cursor.next_rank(self.direction);
        let timestamp = if cursor.start < cursor.end { cursor.body.timestamp(rank) } else { None };
        if let Some(timestamp) = timestamp {
            self.heap.push(Reverse(self.key(timestamp, number)));
        } else if let Slot::Open(Cursor { body, .. }) = std::mem::replace(slot, Slot::Done) {
            match body {
                Body::Loki(entries) => self.spare = Some(entries),
                Body::Columnar(rows) => self.spare_work = Some(rows.into_work()),
                Body::Shared(..) | Body::Memory(_) | Body::Picked(..) => {}
            }
        }
    }

    /// How many entries of `cursor` come before `bound`.
    fn run_of(&self, cursor: &Cursor, number: usize, bound: Option<Key>) -> usize {
        let Some(bound) = bound else { return cursor.end - cursor.start };
        let comes_first =
            |rank| cursor.body.timestamp(rank).is_some_and(|timestamp| self.key(timestamp, number) < bound);
        match self.direction {
            Direction::Forward => partition(cursor.start, cursor.end, comes_first) - cursor.start,
            Direction::Backward => {
                cursor.end - partition(cursor.start, cursor.end, |rank| !comes_first(rank))
            }
        }
    }

    /// Opens a source, if its turn has come; `None` if it is damaged and the policy is to skip it.
    fn open(&mut self, source: Source) -> Result<Option<Cursor>, Error> {
        let (body, of) = match source {
            Source::Memory(head) => (self.pick(head), None),
            Source::Stored(block) => {
                let body = match &block {
                    Block::Loki(block) => match self.cache.clone() {
                        None => self.decode(block).map(Body::Loki),
                        Some(cache) => self.share(block, &*cache),
                    },
                    Block::Columnar(group) => {
                        self.open_group(group).map(|rows| Body::Columnar(Box::new(rows)))
                    }
                };
                let of = (block.number(), *block.meta());
                match body {
                    Ok(body) => (body, Some(of)),
                    Err(cause) => {
                        self.skip(of.1, of.0, cause)?;
                        return Ok(None);
                    }
                }
            }
        };
        let len = body.len();
        let at = |rank| body.timestamp(rank);
        let first = self.range.first().unwrap_or(i64::MAX);
        let last = self.range.last().unwrap_or(i64::MIN);
        let start = partition(0, len, |rank| at(rank).is_some_and(|timestamp| timestamp < first));
        let end = partition(start, len, |rank| at(rank).is_some_and(|timestamp| timestamp <= last));
        let lost = of.map(|(number, meta)| Lost { number, meta, first: start, end });
        if let Body::Columnar(rows) = &body {
            self.stats.blocks_decoded += 1;
            if let Some(tested) = rows.tested() {
                self.stats.lines_tested += to_u64(tested);
                self.stats.blocks_pruned += u64::from(tested == 0 && rows.len() == 0);
            }
        }
        let mut cursor = Cursor { body, start, end, lost, counted: Cost::default() };
        self.count(&mut cursor)?;
        Ok(Some(cursor))
    }

    fn open_group(&mut self, group: &Group) -> Result<Rows, Error> {
        let (budget, work) = (self.budget(), self.spare_work.take().unwrap_or_default());
        let mut rows = Rows::new(group, &self.reading.limits, budget, work)?;
        let opened = match &self.filter {
            None => rows.read_times(group),
            Some(filter) => rows.pick(group, filter, self.range),
        };
        if let Err(error) = opened {
            // What was opened in vain has cost the same.
            self.spent = self.spent.saturating_add(to_u64(rows.cost().memory));
            self.spare_work = Some(rows.into_work());
            return Err(error);
        }
        Ok(rows)
    }

    /// The entries of a block in memory that are wanted.
    fn pick(&mut self, head: Arc<Head>) -> Body {
        let Some(filter) = &self.filter else { return Body::Memory(head) };
        self.stats.lines_tested += to_u64(head.len());
        let ranks = (0..).zip(head.ranks()).filter(|(_, (_, line, _))| filter.matches(line));
        let ranks = ranks.map(|(rank, _)| rank).collect();
        Body::Picked(head, ranks)
    }

    /// Makes the next entries of a cursor ready; says how many, of `run` at most. `None` if they are damaged and the
    /// policy is to skip the rest of their block.
    fn prepare(&mut self, cursor: &mut Cursor, run: usize) -> Result<Option<usize>, Error> {
        let prepared = cursor.body.prepare(cursor.start..cursor.end, self.direction);
        self.count(cursor)?;
        let cause = match prepared {
            Ok(ready) => return Ok(Some(run.min(ready))),
            Err(cause) => cause,
        };
        let (number, meta) = cursor.rest(self.direction);
        self.skip(meta, number, cause).inspect_err(|error| self.failure = Some(error.clone()))?;
        Ok(None)
    }

    /// Reports a block, or what is left of it, as damaged, if that is the policy and `cause` is damage.
    fn skip(&mut self, meta: BlockMeta, number: usize, cause: Error) -> Result<(), Error> {
        if !cause.is_damage() || self.reading.policy == CorruptionPolicy::Fail {
            return Err(cause);
        }
        let kind = DamageKind::Lost { entries: meta.entries, cause };
        self.damage.push(meta.damage(number, kind));
        Ok(())
    }

    /// Takes into account what a block has cost since it was last asked.
    fn count(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
        let (now, before) = (cursor.body.cost(), cursor.counted);
        self.stats.stored_bytes += to_u64(now.stored.saturating_sub(before.stored));
        self.stats.decoded_bytes += to_u64(now.decoded.saturating_sub(before.decoded));
        self.spent = self.spent.saturating_add(to_u64(now.memory.saturating_sub(before.memory)));
        cursor.counted = now;
        let max = self.reading.limits.max_decoded_bytes;
        if self.spent > max {
            let error = Error::LimitExceeded { limit: "max_decoded_bytes", value: self.spent, max };
            self.failure = Some(error.clone());
            return Err(error);
        }
        Ok(())
    }

    /// What may still be decoded.
    fn budget(&self) -> usize {
        let left = self.reading.limits.max_decoded_bytes.saturating_sub(self.spent);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn decode(&mut self, block: &StoredBlock) -> Result<Entries, Error> {
        let Reading { format, codec, limits, .. } = self.reading;
        let budget = self.budget();
        let mut entries = self.spare.take().unwrap_or_default();
        let context = Context { format, codec, symbols: &self.symbols, limits: &limits, budget };
        let decoded = entries.decode(block, context);
        // What was decoded in vain has cost the same.
        self.spent = self.spent.saturating_add(to_u64(entries.memory_bytes()));
        decoded?;
        self.stats.blocks_decoded += 1;
        self.stats.stored_bytes += to_u64(block.data.len());
        self.stats.decoded_bytes += to_u64(entries.payload_bytes());
        if let Some(filter) = &self.filter {
            self.stats.lines_tested += to_u64(entries.len());
            entries.keep(filter);
        }
        Ok(entries)
    }

    /// As [`decode`](Self::decode), unless the cache has the block.
    fn share(&mut self, block: &StoredBlock, cache: &dyn BlockCache) -> Result<Body, Error> {
        let Reading { format, codec, limits, .. } = self.reading;
        let budget = self.budget();
        let context = Context { format, codec, symbols: &self.symbols, limits: &limits, budget };
        let id = BlockId::of(block, &context);
        let (mut taken, mut was_decoded) = (0usize, false);
        let mut decode = || {
            let mut entries = Entries::default();
            let decoded = entries.decode(block, context);
            (taken, was_decoded) = (taken.saturating_add(entries.memory_bytes()), true);
            decoded.map(|()| DecodedBlock::new(id, entries))
        };
        let mut shared = cache.get_or_decode(id, &mut decode);
        if shared.as_ref().is_ok_and(|shared| shared.id() != id) {
            shared = decode();
        }
        if let (Ok(shared), false) = (&shared, was_decoded) {
            let payload = shared.entries().payload_bytes();
            if payload > budget {
                return Err(Error::limit("max_decoded_bytes", payload, budget));
            }
            taken = shared.entries().memory_bytes();
        }
        // What was decoded in vain has cost the same.
        self.spent = self.spent.saturating_add(to_u64(taken));
        let shared = shared?;
        if was_decoded {
            self.stats.blocks_decoded += 1;
            self.stats.stored_bytes += to_u64(block.data.len());
            self.stats.decoded_bytes += to_u64(shared.entries().payload_bytes());
        } else {
            self.stats.blocks_shared += 1;
        }
        let picked = self.filter.as_ref().map(|filter| shared.entries().wanted(filter));
        if picked.is_some() {
            self.stats.lines_tested += to_u64(shared.entries().len());
        }
        Ok(Body::Shared(shared, picked))
    }

    fn key(&self, timestamp: i64, slot: usize) -> Key {
        match self.direction {
            Direction::Forward => (timestamp, slot),
            Direction::Backward => (!timestamp, !slot),
        }
    }

    fn slot_of(&self, key: Key) -> usize {
        if self.direction == Direction::Forward { key.1 } else { !key.1 }
    }
}

/// Entries that [`EntryIter::next_batch`] lends together.
#[derive(Debug, Clone)]
pub struct Batch<'a> {
    body: &'a Body,
    symbols: &'a SymbolTable,
    ranks: Range<usize>,
    /// All of these entries, where they are made and have no metadata.
    plain: Option<Plain<'a>>,
    direction: Direction,
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

impl Cursor {
    /// The rank that comes next, if there is one.
    fn next_rank(&self, direction: Direction) -> usize {
        match direction {
            Direction::Forward => self.start,
            Direction::Backward => self.end.wrapping_sub(1),
        }
    }

    /// Takes the rank that comes next, which is there.
    #[inline]
    fn step(&mut self, direction: Direction) -> usize {
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
    fn rest(&self, direction: Direction) -> (usize, BlockMeta) {
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
