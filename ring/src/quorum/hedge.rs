//! When to ask one unit more than is needed because those that were asked are slow, and how often at most.
//!
//! Invariant: the calls of hedges are never more than the budget's share of the calls of reads.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::quorum::sync::{Mutex, MutexGuard, locked};

/// Whether a slow read asks another unit, if it has not asked all.
#[derive(Debug, Clone, Default)]
pub enum Hedge {
    /// Never.
    #[default]
    Off,
    /// Each time this long has passed. When everything is slow this doubles the load, so keep it well above what reads
    /// usually take.
    After(Duration),
    /// When it takes longer than most reads of late, and within a budget.
    Adaptive(Hedger),
}

/// What a [`Hedger`] goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct HedgeOptions {
    /// A read is slow if it takes longer than so many of a thousand. Default 950. Above 1,000 is the same.
    pub permille: u16,
    /// The shortest time after which a read is slow. Default 10 ms. Too short asks twice for what would have come.
    pub floor: Duration,
    /// How many calls of hedges there may be for 100 calls of reads. Default 10.
    pub budget_percent: u8,
    /// How many hedges in a row, saved up while none were needed. Default 10.
    pub burst: u8,
}

impl Default for HedgeOptions {
    fn default() -> Self {
        Self { permille: 950, floor: Duration::from_millis(10), budget_percent: 10, burst: 10 }
    }
}

/// How long the units of reads took of late, and how many more calls the budget allows. Share one among all reads of a
/// kind: a clone counts with the original.
#[derive(Clone)]
pub struct Hedger {
    options: HedgeOptions,
    state: Arc<Mutex<State>>,
}

/// Times that are remembered.
const SAMPLES: usize = 128;

/// With fewer nothing is known yet.
const ENOUGH: usize = 16;

struct State {
    times: [Duration; SAMPLES],
    len: usize,
    next: usize,
    /// Hundredths of a call.
    budget: u64,
}

impl Default for State {
    fn default() -> Self {
        Self { times: [Duration::ZERO; SAMPLES], len: 0, next: 0, budget: 0 }
    }
}

impl Default for Hedger {
    fn default() -> Self {
        Self::new(HedgeOptions::default())
    }
}

impl Hedger {
    /// Nothing is known, and the budget is empty.
    pub fn new(options: HedgeOptions) -> Self {
        Self { options, state: Arc::default() }
    }

    /// After how long a read is slow; `None` until 16 have been seen.
    pub fn delay(&self) -> Option<Duration> {
        let state = self.lock();
        let mut times = state.times;
        let known = &mut times[..state.len];
        drop(state);
        if known.len() < ENOUGH {
            return None;
        }
        let permille = usize::from(self.options.permille.min(1_000));
        let at = (known.len() * permille / 1_000).min(known.len() - 1);
        let (_, &mut time, _) = known.select_nth_unstable(at);
        Some(time.max(self.options.floor))
    }

    /// A unit of a read took so long, or longer.
    pub(super) fn took(&self, time: Duration) {
        let mut state = self.lock();
        let next = state.next;
        state.times[next] = time;
        state.next = (next + 1) % SAMPLES;
        state.len = (state.len + 1).min(SAMPLES);
    }

    /// A read makes `calls`; a unit takes at most `unit` of them.
    pub(super) fn earn(&self, calls: usize, unit: usize) {
        let percent = u64::from(self.options.budget_percent);
        let most = u64::from(self.options.burst).saturating_mul(100).saturating_mul(unit as u64);
        let mut state = self.lock();
        let earned = state.budget.saturating_add(percent.saturating_mul(calls as u64));
        state.budget = earned.min(most.max(state.budget));
    }

    /// Whether there is budget for a hedge of so many calls, which is spent then.
    pub(super) fn spend(&self, calls: usize) -> bool {
        let mut state = self.lock();
        let left = state.budget.checked_sub((calls as u64).saturating_mul(100));
        state.budget = left.unwrap_or(state.budget);
        left.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl fmt::Debug for Hedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hedger")
            .field("options", &self.options)
            .field("delay", &self.delay())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_read_is_slow_beyond_what_most_took_of_late() {
        let hedger = Hedger::default();
        for count in 1..=15 {
            hedger.took(count * 100 * MS);
            assert_eq!(hedger.delay(), None, "{count} are too few to tell");
        }
        hedger.took(1_600 * MS);
        assert_eq!(hedger.delay(), Some(1_600 * MS));
        // 95 of 100 of the last 128.
        (1..=128).for_each(|count| hedger.took(count * 100 * MS));
        assert_eq!(hedger.delay(), Some(12_200 * MS));
        (0..128).for_each(|_| hedger.took(MS));
        assert_eq!(hedger.delay(), Some(10 * MS), "no sooner than that");
    }

    #[test]
    fn hedges_are_a_tenth_of_the_calls_and_ten_at_once() {
        let hedger = Hedger::default();
        assert!(!hedger.spend(1), "nothing is saved up");
        let mut hedges = 0;
        for reads in 1..=1_000 {
            hedger.earn(6, 3);
            hedges += usize::from(hedger.spend(3));
            assert!(hedges * 3 * 10 <= reads * 6, "{hedges} hedges of {reads} reads");
        }
        assert_eq!(hedges, 200);
        (0..10_000).for_each(|_| hedger.earn(6, 3));
        assert_eq!((0..).take_while(|_| hedger.spend(3)).count(), 10);
        hedger.earn(usize::MAX, usize::MAX);
        assert!(hedger.spend(1));
    }
}
