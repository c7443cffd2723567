//! How far the log has come, and who waits for it to come further.
//!
//! Watermarks never decrease, and `durable <= written <= appended` whenever nobody is in between two of them (I5).
//! So whoever waits is answered from the front of a queue.

use std::collections::VecDeque;

use crate::Durability;
use crate::sync::{AtomicU64, Ordering};

/// LSNs after the last record that got that far. The appended one is set under the lock of the queue, the
/// others under that of the log; all are read without it.
#[derive(Debug)]
pub(crate) struct Progress {
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    low: AtomicU64,
    /// Number of the segment that takes what is written; 0 before there is one.
    segment: AtomicU64,
    ended: AtomicU64,
}

impl Progress {
    /// Of a log whose records are all durable.
    pub(crate) fn new(next_lsn: u64, low: u64) -> Self {
        let at = AtomicU64::new;
        Self {
            appended: at(next_lsn),
            written: at(next_lsn),
            durable: at(next_lsn),
            low: at(low),
            segment: at(0),
            ended: at(0),
        }
    }

    /// Somebody was told the numbers below, or will be: what is written is not taken back.
    #[inline]
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire).max(self.written())
    }

    #[inline]
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn low(&self) -> u64 {
        self.low.load(Ordering::Acquire)
    }

    pub(crate) fn segment(&self) -> u64 {
        self.segment.load(Ordering::Acquire)
    }

    /// Whether the log broke, was closed, or was let go by all who could append: nothing comes behind what is published.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) != 0
    }

    pub(crate) fn set_segment(&self, number: u64) {
        self.segment.store(number, Ordering::Release);
    }

    pub(crate) fn end(&self) {
        self.ended.store(1, Ordering::Release);
    }

    #[inline]
    pub(crate) fn set_appended(&self, lsn: u64) {
        self.appended.store(lsn, Ordering::Release);
    }

    #[inline]
    pub(crate) fn set_written(&self, lsn: u64) {
        self.written.store(lsn, Ordering::Release);
    }

    #[inline]
    pub(crate) fn set_durable(&self, lsn: u64) {
        self.durable.store(lsn, Ordering::Release);
    }

    #[inline]
    pub(crate) fn set_low(&self, lsn: u64) {
        self.low.store(lsn, Ordering::Release);
    }
}

/// Somebody who waits for all records below an LSN.
#[derive(Debug)]
pub(crate) struct Waiting<W> {
    pub(crate) end: u64,
    /// Whether it brought records, which nobody was told of yet, or asks for those of others.
    pub(crate) brought: bool,
    pub(crate) waiter: W,
}

/// All who wait, for each level in the order of LSNs.
#[derive(Debug)]
pub(crate) struct Waiters<W> {
    written: VecDeque<Waiting<W>>,
    synced: VecDeque<Waiting<W>>,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Self { written: VecDeque::new(), synced: VecDeque::new() }
    }
}

impl<W> Waiters<W> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.written.len() + self.synced.len()
    }

    /// How many wait for a sync.
    #[inline]
    pub(crate) fn synced(&self) -> usize {
        self.synced.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.written.is_empty() && self.synced.is_empty()
    }

    /// Costs nothing for a record that was just taken in; one that was before moves those who wait for later ones.
    pub(crate) fn add(&mut self, level: Durability, waiting: Waiting<W>) {
        let list = match level {
            Durability::Buffered | Durability::Written => &mut self.written,
            Durability::Synced => &mut self.synced,
        };
        let at = match list.back() {
            Some(last) if last.end > waiting.end => list.partition_point(|other| other.end <= waiting.end),
            _ => list.len(),
        };
        list.insert(at, waiting);
    }

    /// Takes out one whose records have got where it wants them.
    #[inline]
    pub(crate) fn pop_reached(&mut self, written: u64, durable: u64) -> Option<W> {
        pop(&mut self.written, written).or_else(|| pop(&mut self.synced, durable))
    }

    /// Takes out one who waits for a record at or behind `lsn`.
    pub(crate) fn pop_behind(&mut self, lsn: u64) -> Option<Waiting<W>> {
        [&mut self.written, &mut self.synced]
            .into_iter()
            .find(|list| list.back().is_some_and(|last| last.end > lsn))
            .and_then(VecDeque::pop_back)
    }

    /// Whether somebody waits for the sync of records below `written`.
    #[inline]
    pub(crate) fn want_sync(&self, written: u64) -> bool {
        self.synced.front().is_some_and(|first| first.end <= written)
    }

    /// The oldest for whom `found` has an answer.
    #[inline]
    pub(crate) fn find<T>(&self, found: impl Fn(&W) -> Option<T>) -> Option<T> {
        let first = |list: &VecDeque<Waiting<W>>| {
            list.iter().find_map(|waiting| found(&waiting.waiter).map(|found| (waiting.end, found)))
        };
        match (first(&self.written), first(&self.synced)) {
            (Some(a), Some(b)) => Some(if a.0 < b.0 { a.1 } else { b.1 }),
            (a, b) => a.or(b).map(|(_, found)| found),
        }
    }
}

#[inline]
fn pop<W>(list: &mut VecDeque<Waiting<W>>, reached: u64) -> Option<W> {
    let first = list.front()?;
    if first.end > reached { None } else { list.pop_front().map(|waiting| waiting.waiter) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability::{Synced, Written};

    fn waiters(of: &[(Durability, u64)]) -> Waiters<usize> {
        let mut waiters = Waiters::default();
        for (waiter, (level, end)) in of.iter().enumerate() {
            waiters.add(*level, Waiting { end: *end, brought: true, waiter });
        }
        waiters
    }

    fn reached(waiters: &mut Waiters<usize>, written: u64, durable: u64) -> Vec<usize> {
        std::iter::from_fn(|| waiters.pop_reached(written, durable)).collect()
    }

    #[test]
    fn each_is_answered_at_its_own_level_and_not_before() {
        let mut waiters = waiters(&[(Synced, 2), (Written, 3), (Synced, 4), (Written, 5)]);
        assert!(!waiters.want_sync(1) && waiters.want_sync(2));
        assert_eq!(reached(&mut waiters, 4, 1), [1]);
        assert_eq!(reached(&mut waiters, 4, 4), [0, 2]);
        assert!(!waiters.want_sync(9));
        assert_eq!(reached(&mut waiters, 5, 4), [3]);
        assert!(waiters.is_empty());
    }

    #[test]
    fn who_asks_for_an_older_record_is_not_answered_later_for_it() {
        let mut waiters = waiters(&[(Synced, 9), (Synced, 3), (Synced, 3)]);
        assert_eq!(reached(&mut waiters, 9, 3), [1, 2]);
    }

    #[test]
    fn those_behind_a_number_are_found_at_both_levels() {
        let mut waiters = waiters(&[(Written, 2), (Synced, 3), (Written, 4), (Synced, 5)]);
        let behind: Vec<_> = std::iter::from_fn(|| waiters.pop_behind(2)).map(|w| w.waiter).collect();
        assert_eq!(behind, [2, 3, 1]);
        assert_eq!(waiters.find(|waiter| Some(*waiter)), Some(0));
    }
}
