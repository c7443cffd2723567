//! The calls of a time, in slices.
//!
//! Time is cut into slices, numbered from the clock's origin; slice `i` lives in slot `i mod n` and bears its lap,
//! `i / n`. A slot is one word:
//!
//! ```text
//! [lap 24 | calls 20 | hits 20]
//! ```
//!
//! An addition to the slot's lap is a `fetch_add`; the first addition of a new lap puts a new word in the place of
//! the old. That is tried again only if another thread changed the slot in between, which each does at most once
//! for a lap: wait-free. A slot whose lap is not the one that is looked for has left the window.
//!
//! * T1: `newest` never goes back and is raised before a slot bears its lap. A clock that goes back adds to the
//!   newest slice.
//! * T2: calls are halved, with the hits, before they reach into the lap: at half of what fits, with room for half
//!   a million additions under way. A slice by itself: the rate within it stays, more or less, but newer calls count
//!   for more than older ones of it, and a slice that was not halved counts for more beside it than it should.
//! * T3: laps are told apart for 16,777,216 windows. A breaker without one call for exactly so long may count one
//!   slice again.

use crate::sync::{AtomicU64, Ordering};
use crate::window::Totals;

/// A ring of slices.
#[derive(Debug)]
pub(crate) struct TimeWindow {
    slice_ns: u64,
    newest: AtomicU64,
    slots: Box<[AtomicU64]>,
}

const COUNT_BITS: u32 = 20;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const LAP_SHIFT: u32 = 2 * COUNT_BITS;
const LAP_MASK: u64 = u64::MAX >> LAP_SHIFT;
const HALVED_AT: u64 = 1 << (COUNT_BITS - 1);

impl TimeWindow {
    /// What a slice is sure to hold of those that ended in it.
    pub(crate) const CALLS_OF_A_SLICE: u32 = 1 << (COUNT_BITS - 2);

    /// No calls; `slices` of them, at least 1, last for `span_ns` or a little longer.
    pub(crate) fn new(span_ns: u64, slices: u32) -> Self {
        Self::from_slices(span_ns.div_ceil(u64::from(slices.max(1))).max(1), slices)
    }

    fn from_slices(slice_ns: u64, slices: u32) -> Self {
        let slots = (0..slices.max(1)).map(|_| AtomicU64::new(0)).collect();
        Self { slice_ns, newest: AtomicU64::new(0), slots }
    }

    /// `more` calls, at most a few at once, ended at `now_ns`.
    #[inline]
    pub(crate) fn add(&self, more: Totals, now_ns: u64) {
        let more = more.calls << COUNT_BITS | more.hits;
        let mut slice = self.advance(now_ns);
        loop {
            let (lap, place) = self.split(slice);
            let Some(slot) = self.slots.get(place) else { return };
            // Acquire: whoever sees a newer lap sees `newest` that belongs to it (T1).
            let seen = slot.load(Ordering::Acquire);
            if seen >> LAP_SHIFT == lap & LAP_MASK {
                return thin(slot, slot.fetch_add(more, Ordering::AcqRel) + more);
            }
            let newest = self.newest.load(Ordering::Relaxed);
            if newest > slice {
                slice = newest;
                continue;
            }
            let fresh = (lap & LAP_MASK) << LAP_SHIFT | more;
            if slot.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// What ended in the slice of `now_ns` and in those before it that belong to the window.
    pub(crate) fn totals(&self, now_ns: u64) -> Totals {
        let (lap, place) = self.split(self.current(now_ns));
        let mut totals = Totals::default();
        for (index, slot) in self.slots.iter().enumerate() {
            let word = slot.load(Ordering::Relaxed);
            let wanted = if index <= place { Some(lap) } else { lap.checked_sub(1) };
            if wanted.is_some_and(|lap| word >> LAP_SHIFT == lap & LAP_MASK) {
                totals.calls += word >> COUNT_BITS & COUNT_MASK;
                totals.hits += word & COUNT_MASK;
            }
        }
        totals
    }

    /// Adds what `old` holds, each of its slices at its last instant or now.
    pub(crate) fn inherit(&self, old: &Self, now_ns: u64) {
        let current = old.current(now_ns);
        let (lap, place) = old.split(current);
        let slots = old.slots.iter().enumerate();
        let mut held: Vec<(u64, u64)> = slots
            .filter_map(|(index, slot)| {
                let lap = if index <= place { lap } else { lap.checked_sub(1)? };
                let word = slot.load(Ordering::Relaxed);
                let slice = lap * old.slots.len() as u64 + index as u64;
                (word >> LAP_SHIFT == lap & LAP_MASK).then_some((slice, word))
            })
            .collect();
        held.sort_unstable();
        self.advance(now_ns);
        for (slice, word) in held {
            let ended_ns = (slice.saturating_add(1)).saturating_mul(old.slice_ns) - 1;
            self.place(word, ended_ns.min(now_ns), now_ns);
        }
    }

    /// Adds the counts of `word` to the slice of `at_ns`, if that is in the window of `now_ns`. Nobody else adds yet.
    fn place(&self, word: u64, at_ns: u64, now_ns: u64) {
        let slice = at_ns / self.slice_ns;
        if self.current(now_ns) - slice >= self.slots.len() as u64 {
            return;
        }
        let (lap, place) = self.split(slice);
        let Some(slot) = self.slots.get(place) else { return };
        let seen = slot.load(Ordering::Relaxed);
        let lap = lap & LAP_MASK;
        let seen = if seen >> LAP_SHIFT == lap { seen & (u64::MAX >> (64 - LAP_SHIFT)) } else { 0 };
        let calls = (seen >> COUNT_BITS) + (word >> COUNT_BITS & COUNT_MASK);
        let hits = (seen & COUNT_MASK) + (word & COUNT_MASK);
        // Slices that were merged may hold more than one (T2).
        let shift = u32::from(calls >= HALVED_AT) * 2;
        slot.store(lap << LAP_SHIFT | calls >> shift << COUNT_BITS | hits >> shift, Ordering::Release);
    }

    /// The slice of `now_ns`, or the newest (T1).
    fn current(&self, now_ns: u64) -> u64 {
        (now_ns / self.slice_ns).max(self.newest.load(Ordering::Relaxed))
    }

    #[inline]
    fn advance(&self, now_ns: u64) -> u64 {
        let newest = self.newest.load(Ordering::Relaxed);
        // Nearly always, and without a division.
        if now_ns.wrapping_sub(newest.wrapping_mul(self.slice_ns)) < self.slice_ns {
            return newest;
        }
        self.advance_to(now_ns / self.slice_ns, newest)
    }

    #[cold]
    fn advance_to(&self, slice: u64, newest: u64) -> u64 {
        if slice <= newest { newest } else { self.newest.fetch_max(slice, Ordering::AcqRel).max(slice) }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a remainder of the number of slots")]
    fn split(&self, slice: u64) -> (u64, usize) {
        let slots = self.slots.len() as u64;
        (slice / slots, (slice % slots) as usize)
    }
}

/// Halves the counts of a slot whose word has become `word`, if it is time (T2). If another thread was faster, that
/// one has done it or the next one will.
#[inline]
fn thin(slot: &AtomicU64, word: u64) {
    let calls = word >> COUNT_BITS & COUNT_MASK;
    if calls >= HALVED_AT {
        halve(slot, word);
    }
}

#[cold]
fn halve(slot: &AtomicU64, word: u64) {
    let (calls, hits) = (word >> COUNT_BITS & COUNT_MASK, word & COUNT_MASK);
    let lap = word >> LAP_SHIFT << LAP_SHIFT;
    let halved = lap | (calls / 2) << COUNT_BITS | (hits / 2);
    // Relaxed failure: nothing is made of what is there instead.
    _ = slot.compare_exchange(word, halved, Ordering::AcqRel, Ordering::Relaxed);
}
