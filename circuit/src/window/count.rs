//! The last so many calls, a bit each.
//!
//! An addition takes the next place, puts its bit there, and corrects the total by what that changed. Whoever
//! changes a bit knows what was there before, so the total is the number of bits set once all additions have
//! ended, in whatever order they came.

use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::window::Totals;

/// A ring of outcomes.
#[derive(Debug)]
pub(crate) struct CountWindow {
    capacity: u32,
    /// Calls so far.
    next: AtomicU64,
    /// Bits set. Wraps below zero while a subtraction overtakes its addition.
    hits: AtomicU64,
    bits: Box<[AtomicU64]>,
}

impl CountWindow {
    /// No calls; holds up to `capacity`, which is at least 1.
    pub(crate) fn new(capacity: u32) -> Self {
        let bits = (0..capacity.div_ceil(u64::BITS)).map(|_| AtomicU64::new(0)).collect();
        Self { capacity, next: AtomicU64::new(0), hits: AtomicU64::new(0), bits }
    }

    /// A call ended. Wait-free: one addition, and two more where the outcome differs from the one it replaces.
    #[inline]
    pub(crate) fn add(&self, hit: bool) {
        let place = self.next.fetch_add(1, Relaxed) % u64::from(self.capacity);
        let Some((bits, mask)) = self.bit(place) else { return };
        if (bits.load(Relaxed) & mask != 0) == hit {
            return;
        }
        // Another thread, a whole window ahead or behind, may have changed the bit since it was looked at.
        if hit {
            if bits.fetch_or(mask, Relaxed) & mask == 0 {
                self.hits.fetch_add(1, Relaxed);
            }
        } else if bits.fetch_and(!mask, Relaxed) & mask != 0 {
            self.hits.fetch_sub(1, Relaxed);
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        let calls = self.next.load(Relaxed).min(u64::from(self.capacity));
        let hits = self.hits.load(Relaxed);
        // As a signed number it would be below zero.
        let hits = if hits > u64::MAX / 2 { 0 } else { hits.min(calls) };
        Totals { calls, hits }
    }

    /// Adds the newest of what `old` holds, oldest first.
    pub(crate) fn inherit(&self, old: &Self) {
        let next = old.next.load(Relaxed);
        let held = next.min(u64::from(old.capacity)).min(u64::from(self.capacity));
        for call in next - held..next {
            let hit = old
                .bit(call % u64::from(old.capacity))
                .is_some_and(|(bits, mask)| bits.load(Relaxed) & mask != 0);
            self.add(hit);
        }
    }

    #[inline]
    fn bit(&self, place: u64) -> Option<(&AtomicU64, u64)> {
        let word = usize::try_from(place / u64::from(u64::BITS)).ok()?;
        Some((self.bits.get(word)?, 1 << (place % u64::from(u64::BITS))))
    }
}
