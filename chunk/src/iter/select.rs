//! Whose turn it is: the block with the next entry, and how many of its entries come before any of another one.

use std::cmp::Reverse;

use super::slot::{Cursor, Slot, partition};
use super::{EntryIter, Key};
use crate::Error;
use crate::block::Body;
use crate::chunk::BlockMeta;
use crate::damage::{CorruptionPolicy, DamageKind};
use crate::error::to_u64;
use crate::range::Direction;

impl EntryIter {
    /// Makes the slot with the least key current and counts how far it can be read. False at the end.
    pub(super) fn select(&mut self) -> Result<bool, Error> {
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
    pub(super) fn skip(&mut self, meta: BlockMeta, number: usize, cause: Error) -> Result<(), Error> {
        if !cause.is_damage() || self.reading.policy == CorruptionPolicy::Fail {
            return Err(cause);
        }
        let kind = DamageKind::Lost { entries: meta.entries, cause };
        self.damage.push(meta.damage(number, kind));
        Ok(())
    }

    /// Takes into account what a block has cost since it was last asked.
    pub(super) fn count(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
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

    pub(super) fn key(&self, timestamp: i64, slot: usize) -> Key {
        match self.direction {
            Direction::Forward => (timestamp, slot),
            Direction::Backward => (!timestamp, !slot),
        }
    }

    fn slot_of(&self, key: Key) -> usize {
        if self.direction == Direction::Forward { key.1 } else { !key.1 }
    }
}
