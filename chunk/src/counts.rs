//! How many entries there are in each step of time, by times alone: no line is made, and of a block that lies in one step
//! nothing is read.

use std::num::NonZeroU64;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use xxhash_rust::xxh3::xxh3_128;

use crate::Error;
use crate::block::Block;
use crate::chunk::Chunk;
use crate::columnar::lines::Work;
use crate::columnar::rows::Rows;
use crate::damage::{CorruptionPolicy, Damage, DamageKind};
use crate::error::to_u64;
use crate::iter::partition;
use crate::merge::key_of;
use crate::range::{Direction, TimeRange};

/// Entries by steps of time, from [`Chunk::counts`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// The steps that have entries, by time.
    pub steps: Vec<StepCount>,
    /// The first block, by its number, that starts before a block before it has ended: an entry may be in both then, so
    /// whoever drops duplicates has to look at the entries. `None` if no entry of the range is there twice, but for those
    /// that one block has twice. Where blocks have no more than one nanosecond in common, its entries are compared, as far
    /// as the limits go.
    pub overlap: Option<usize>,
    /// Blocks that could not be read and are not counted; only with a policy that skips them. Those that were found on
    /// opening are told by [`Chunk::damage`].
    pub damage: Vec<Damage>,
}

/// How many entries a step has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepCount {
    /// Where the step starts, nanoseconds since 1970: a multiple of its length, or the least time there is.
    pub start_ns: i64,
    /// Entries from there on, up to the next step.
    pub entries: u64,
}

impl Chunk {
    /// How many entries of a range of time there are in each step of `step_ns` nanoseconds. Steps start at multiples of
    /// their length since 1970; one that the range cuts counts what is in the range. Of a chunk of [some
    /// groups](crate::columnar::Index::open) only these are counted.
    ///
    /// A block that lies in the range and in one step as a whole counts by what the index says of it. Of other columnar
    /// ones only the times are decompressed, and where their form allows it only those are looked at that tell where a step
    /// ends: that all of them ascend is believed then, as a read of the entries does not. Loki's are decompressed as a whole. Where a block ends in the nanosecond that another one
    /// starts in, the blocks of that nanosecond are read to compare their entries, once for each such nanosecond. Takes
    /// memory for the times of a block, 16 bytes for each step of each, and about 20 for each entry that is compared.
    /// [`Limits::max_decoded_bytes`](crate::Limits) holds for all of it together.
    ///
    /// # Errors
    ///
    /// What a read of the range has, but only as far as times are concerned, and entries that are compared.
    pub fn counts(&self, range: impl Into<TimeRange>, step_ns: NonZeroU64) -> Result<Counts, Error> {
        let range = range.into();
        let mut counting = Counting {
            chunk: self,
            range,
            step_ns: step_ns.get().into(),
            left: self.limits().max_decoded_bytes,
            steps: Vec::new(),
        };
        let mut damage = Vec::new();
        for block in &self.parsed().blocks {
            if let Err(cause) = counting.block(block, &mut damage) {
                if !cause.is_damage() || self.policy() == CorruptionPolicy::Fail {
                    return Err(cause);
                }
                let kind = DamageKind::Lost { entries: block.meta().entries, cause };
                damage.push(block.meta().damage(block.number(), kind));
            }
        }
        let overlap = self.overlap(range, counting.left)?;
        Ok(Counts { steps: counting.finish(), overlap, damage })
    }

    /// The first block with entries of the range that may be in one before it too. To find out may take so many bytes;
    /// where it takes more, they may be.
    fn overlap(&self, range: TimeRange, mut left: u64) -> Result<Option<usize>, Error> {
        let mut newest: Option<i64> = None;
        let mut compared = None;
        for block in &self.parsed().blocks {
            let meta = block.meta();
            if !range.overlaps(meta.min_ns, meta.max_ns) {
                continue;
            }
            // The nanosecond that two blocks have in common is looked at, in all blocks at once.
            let repeats = match newest {
                Some(_) if newest == compared && newest == Some(meta.min_ns) => false,
                Some(newest) if newest == meta.min_ns && range.contains(newest) => {
                    compared = Some(newest);
                    self.repeats(newest, &mut left)?
                }
                Some(newest) => meta.min_ns < newest,
                None => false,
            };
            if repeats {
                return Ok(Some(block.number()));
            }
            newest = newest.max(Some(meta.max_ns));
        }
        Ok(None)
    }

    /// Whether two entries of a time are the same, or may be.
    fn repeats(&self, time_ns: i64, left: &mut u64) -> Result<bool, Error> {
        let mut seen = HashSet::<u128, RandomState>::default();
        let mut key = Vec::new();
        let mut entries = self.entries(time_ns..=time_ns, Direction::Forward).within(*left);
        loop {
            let entry = match entries.next() {
                Ok(Some(entry)) => entry,
                Ok(None) => break,
                Err(Error::LimitExceeded { .. }) => return Ok(true),
                Err(error) => return Err(error),
            };
            key_of(&entry, &mut key);
            if !seen.insert(xxh3_128(&key)) {
                return Ok(true);
            }
        }
        *left = left.saturating_sub(entries.spent_bytes());
        // Nobody knows what was in a block that is skipped.
        Ok(!entries.damage().is_empty())
    }
}

struct Counting<'a> {
    chunk: &'a Chunk,
    range: TimeRange,
    step_ns: i128,
    /// What may still be decoded.
    left: u64,
    /// Of each block in order of time.
    steps: Vec<StepCount>,
}

impl Counting<'_> {
    fn block(&mut self, block: &Block, damage: &mut Vec<Damage>) -> Result<(), Error> {
        let meta = block.meta();
        if !self.range.overlaps(meta.min_ns, meta.max_ns) || meta.entries == 0 {
            return Ok(());
        }
        let is_inside = self.range.contains(meta.min_ns) && self.range.contains(meta.max_ns);
        if is_inside && self.start_of(meta.min_ns) == self.start_of(meta.max_ns) {
            self.steps.push(StepCount { start_ns: self.start_of(meta.min_ns), entries: meta.entries });
            return Ok(());
        }
        match block {
            Block::Columnar(group) => {
                let left = usize::try_from(self.left).unwrap_or(usize::MAX);
                let rows = Rows::new(group, self.chunk.limits(), left, Work::default())?;
                let times = rows.stored_times(group);
                // It costs as much as if all times were made, also where they are read in vain.
                let cost = rows.cost().memory.saturating_add(rows.times_bytes());
                self.left = self.left.saturating_sub(to_u64(cost));
                let times = times?;
                self.times(rows.row_count(), |row| times.at(row));
            }
            Block::Loki(_) => {
                let mut entries = self.chunk.entries_of(block, self.left);
                let mut times = Vec::new();
                while let Some(batch) = entries.next_batch()? {
                    times.extend(batch.map(|entry| entry.timestamp_ns));
                }
                self.left = self.left.saturating_sub(entries.spent_bytes());
                damage.extend_from_slice(entries.damage());
                self.times(times.len(), |row| times.get(row).copied().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Counts so many times, which ascend.
    fn times(&mut self, count: usize, at: impl Fn(usize) -> i64) {
        let (Some(first), Some(last)) = (self.range.first(), self.range.last()) else { return };
        let mut row = partition(0, count, |row| at(row) < first);
        let end = partition(row, count, |row| at(row) <= last);
        while row < end {
            let time = at(row);
            let start_ns = self.start_of(time);
            let next = (i128::from(time).div_euclid(self.step_ns) + 1) * self.step_ns;
            // If the step reaches beyond the last time there is, all of them are in it.
            let entries = match i64::try_from(next) {
                Ok(next) => count_while(row, end, |row| at(row) < next),
                Err(_) => end - row,
            };
            self.steps.push(StepCount { start_ns, entries: to_u64(entries) });
            row += entries;
        }
    }

    fn start_of(&self, time: i64) -> i64 {
        let start = i128::from(time).div_euclid(self.step_ns) * self.step_ns;
        i64::try_from(start).unwrap_or(i64::MIN)
    }

    /// All steps, those of several blocks together.
    fn finish(mut self) -> Vec<StepCount> {
        if !self.steps.is_sorted_by_key(|step| step.start_ns) {
            self.steps.sort_by_key(|step| step.start_ns);
        }
        self.steps.dedup_by(|step, before| {
            let is_same = step.start_ns == before.start_ns;
            if is_same {
                before.entries = before.entries.saturating_add(step.entries);
            }
            is_same
        });
        self.steps
    }
}

/// How many rows from `first` on come before the end of a step, of which the first does. Steps may be short, so the end is
/// looked for from the start on, in strides that double.
fn count_while(first: usize, end: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let mut stride = 1;
    while first + stride < end && is_before(first + stride) {
        stride *= 2;
    }
    // Of what does not ascend at least one row is counted.
    (partition(first + stride / 2, end.min(first + stride + 1), is_before) - first).max(1)
}
