//! How many calls in flight are slow already.
//!
//! Calls are counted by the slice of time in which they began, an eighth of `slow_call` each, in a ring of 16
//! slots `[lap 44 | calls 20]`. What is left in a slot when its next lap begins are calls that are slow since long:
//! they are counted as *old*. A call knows its slice, so when it ends it leaves its slot, or, if that has gone on,
//! the old ones.
//!
//! I1: at rest, the calls in the slots and the old ones are those that entered and did not leave.
//! I2: a call is slow when nine slices have begun since its own did, so at least `slow_call` after it began and at
//! most an eighth of it later.

use std::num::{NonZeroU16, NonZeroU64};

use crate::sync::{AtomicU64, Ordering};

/// Calls by the slice in which they began.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// Tells this ring from the next, after a change of options; at least 1.
    id: NonZeroU16,
    slice_ns: u64,
    newest: AtomicU64,
    /// Wraps below zero while a call that leaves overtakes the one that moves it here.
    old: AtomicU64,
    slots: [AtomicU64; SLOTS],
}

/// Where a call is counted: `[ring 16 | slice 48]`. Rings are told apart for 65,535 periods, which no call outlasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(NonZeroU64);

impl Place {
    const SLICE_BITS: u32 = 48;
    const RING: NonZeroU64 = NonZeroU64::new(1 << Self::SLICE_BITS).expect("a power of two");

    fn new(ring: NonZeroU16, slice: u64) -> Self {
        Self(NonZeroU64::from(ring).saturating_mul(Self::RING) | slice)
    }

    pub(crate) fn bits(self) -> u64 {
        self.0.get()
    }

    /// The inverse of [`bits`](Self::bits); none if those are no place's.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).filter(|bits| bits.get() >> Self::SLICE_BITS > 0).map(Self)
    }

    fn slice(self) -> u64 {
        self.0.get() & (u64::MAX >> (u64::BITS - Self::SLICE_BITS))
    }

    fn is_of(self, ring: NonZeroU16) -> bool {
        self.0.get() >> Self::SLICE_BITS == u64::from(ring.get())
    }
}

const SLOTS: usize = 16;
const SLOT_BITS: u32 = SLOTS.trailing_zeros();
const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// The slices that have to begin after a call's own.
const SLOW_SLICES: u64 = 9;

impl InFlight {
    /// The least `slow_call` for which the laps of all instants fit a slot, and the slices a place.
    pub(crate) const LEAST_SLOW_CALL_NS: u64 = 1_000_000;

    /// None; a call is slow after `slow_call_ns`.
    pub(crate) fn new(id: NonZeroU16, slow_call_ns: u64) -> Self {
        let slots = std::array::from_fn(|_| AtomicU64::new(0));
        let slice_ns = slow_call_ns.div_ceil(8).max(1);
        Self { id, slice_ns, newest: AtomicU64::new(0), old: AtomicU64::new(0), slots }
    }

    /// Whether `now_ns` is the first to be seen of its slice: then the slow ones may be more than before.
    pub(crate) fn advance(&self, now_ns: u64) -> bool {
        let slice = now_ns / self.slice_ns;
        slice > self.newest.load(Ordering::Relaxed) && slice > self.newest.fetch_max(slice, Ordering::AcqRel)
    }

    /// A call begins. Beyond a million of one slice they are not counted.
    pub(crate) fn enter(&self, now_ns: u64) -> Option<Place> {
        self.advance(now_ns);
        let mut slice = self.current(now_ns);
        loop {
            let slot = self.slot(slice)?;
            let seen = slot.load(Ordering::Acquire);
            let lap = lap(slice);
            if seen >> COUNT_BITS == lap {
                if seen & COUNT_MASK == COUNT_MASK {
                    return None;
                }
                // Not `fetch_add`: a slot that has gone on must not get a call whose place is the lap before.
                if slot.compare_exchange(seen, seen + 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                    return Some(Place::new(self.id, slice));
                }
            } else if seen >> COUNT_BITS > lap {
                slice = self.current(now_ns);
            } else if slot
                .compare_exchange(seen, lap << COUNT_BITS | 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
            {
                self.old.fetch_add(seen & COUNT_MASK, Ordering::AcqRel);
                return Some(Place::new(self.id, slice));
            }
        }
    }

    /// The call that entered at `place` has ended. One of another ring is nothing to this one.
    pub(crate) fn leave(&self, place: Place) {
        let Some(slot) = self.slot(place.slice()).filter(|_| place.is_of(self.id)) else { return };
        loop {
            let seen = slot.load(Ordering::Acquire);
            if seen >> COUNT_BITS != lap(place.slice()) {
                self.old.fetch_sub(1, Ordering::AcqRel);
                return;
            }
            if slot.compare_exchange(seen, seen - 1, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// Calls in flight that are slow at `now_ns` (I2).
    pub(crate) fn slow(&self, now_ns: u64) -> u64 {
        let current = self.current(now_ns);
        let slots = self.slots.iter().zip(0_u64..).map(|(slot, index)| {
            let word = slot.load(Ordering::Relaxed);
            let slice = (word >> COUNT_BITS) << SLOT_BITS | index;
            if current.saturating_sub(slice) >= SLOW_SLICES { word & COUNT_MASK } else { 0 }
        });
        let slow = slots.sum::<u64>().wrapping_add(self.old.load(Ordering::Relaxed));
        // As a signed number it would be below zero.
        if slow > u64::MAX / 2 { 0 } else { slow }
    }

    /// All calls in flight.
    pub(crate) fn all(&self) -> u64 {
        let slots = self.slots.iter().map(|slot| slot.load(Ordering::Relaxed) & COUNT_MASK);
        let all = slots.sum::<u64>().wrapping_add(self.old.load(Ordering::Relaxed));
        if all > u64::MAX / 2 { 0 } else { all }
    }

    /// A clock that goes back stands still.
    fn current(&self, now_ns: u64) -> u64 {
        (now_ns / self.slice_ns).max(self.newest.load(Ordering::Relaxed))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a remainder of the number of slots")]
    fn slot(&self, slice: u64) -> Option<&AtomicU64> {
        self.slots.get((slice % SLOTS as u64) as usize)
    }
}

fn lap(slice: u64) -> u64 {
    slice >> SLOT_BITS
}

#[cfg(test)]
#[path = "in_flight/tests.rs"]
mod tests;
