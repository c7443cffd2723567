//! A [`Segment`] and its word `spent`, shared between threads without `unsafe`: a sequence lock for the
//! segment, compare-and-swap for the word.
//!
//! Why not a reader-writer lock: every request would write to the lock's word, and a flood of refusals would
//! fight for that cache line. Here a reader only loads, and the epoch tells it whether what it loaded belongs
//! together (Boehm, "Can seqlocks get along with programming language memory models?", 2012). Readers that
//! meet a writer wait on its mutex instead of spinning. What an ordinary decision loads, the epoch, the word
//! and the [`Gauge`], is one cache line.
//!
//! Invariant: [`read`](Cell::read) and [`glance`](Cell::glance) return a segment and a word that were current
//! at the same time. So a [`swap`](Cell::swap) that succeeds has found the very word its decision was made for,
//! however long the thread slept in between: were the segment turned so often meanwhile that positions became
//! ambiguous, turning would have moved the word.

use crate::bucket::{Gauge, Segment};
use crate::sync::{AtomicU64, Mutex, Ordering, fence};

#[repr(C)]
pub(crate) struct Cell {
    /// Odd while `gauge` and `rest` are being written.
    epoch: AtomicU64,
    spent: AtomicU64,
    gauge: [AtomicU64; 6],
    rest: [AtomicU64; 5],
    writer: Mutex<()>,
}

impl Cell {
    pub(crate) fn new((segment, spent): (Segment, u64)) -> Self {
        Self {
            epoch: AtomicU64::new(0),
            spent: AtomicU64::new(spent),
            gauge: Gauge::of(&segment).to_words().map(AtomicU64::new),
            rest: segment.rest().map(AtomicU64::new),
            writer: Mutex::new(()),
        }
    }

    /// The segment and the word, as they were together at one instant.
    #[inline]
    pub(crate) fn read(&self) -> (Segment, u64) {
        self.consistent(Self::segment)
    }

    /// The segment's gauge and the word, as they were together at one instant.
    #[inline]
    pub(crate) fn glance(&self) -> (Gauge, u64) {
        self.consistent(Self::gauge)
    }

    /// Makes the word `new` if it is still `current`.
    #[inline]
    pub(crate) fn swap(&self, current: u64, new: u64) -> bool {
        self.spent.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Puts the segment and word in place that `next` makes of the present ones, if it makes any. `next` may
    /// be asked again when the word changes meanwhile.
    pub(crate) fn replace(&self, next: impl Fn(Segment, u64) -> Option<(Segment, u64)>) {
        let _writer = self.writer.lock();
        let segment = self.segment();
        let epoch = self.epoch.load(Ordering::Relaxed);
        loop {
            let spent = self.spent.load(Ordering::Relaxed);
            let Some((new_segment, new_spent)) = next(segment, spent) else { return };
            self.epoch.store(epoch | 1, Ordering::Relaxed);
            fence(Ordering::Release);
            if self.swap(spent, new_spent) {
                store(&self.gauge, Gauge::of(&new_segment).to_words());
                store(&self.rest, new_segment.rest());
                self.epoch.store(epoch.wrapping_add(2), Ordering::Release);
                return;
            }
            self.epoch.store(epoch, Ordering::Release);
        }
    }

    #[inline]
    fn consistent<T>(&self, part: impl Fn(&Self) -> T) -> (T, u64) {
        loop {
            let epoch = self.epoch.load(Ordering::Acquire);
            if epoch.is_multiple_of(2) {
                let part = part(self);
                let spent = self.spent.load(Ordering::Relaxed);
                // Whoever wrote a value just loaded did so after it knew of its epoch and released it
                // (`swap`, `replace`), so the load below cannot miss that epoch.
                fence(Ordering::Acquire);
                if self.epoch.load(Ordering::Relaxed) == epoch {
                    return (part, spent);
                }
            } else {
                self.await_writer();
            }
        }
    }

    #[cold]
    fn await_writer(&self) {
        drop(self.writer.lock());
    }

    /// Consistent only under the writer's lock or between two equal, even epochs.
    #[inline]
    fn gauge(&self) -> Gauge {
        Gauge::from_words(load(&self.gauge))
    }

    /// Consistent only under the writer's lock or between two equal, even epochs.
    fn segment(&self) -> Segment {
        Segment::of(&self.gauge(), load(&self.rest))
    }
}

#[inline]
fn load<const N: usize>(words: &[AtomicU64; N]) -> [u64; N] {
    words.each_ref().map(|word| word.load(Ordering::Relaxed))
}

fn store<const N: usize>(words: &[AtomicU64; N], values: [u64; N]) {
    for (word, value) in words.iter().zip(values) {
        word.store(value, Ordering::Relaxed);
    }
}
