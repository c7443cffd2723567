//! What is to be done once the last call of a batch has ended, whoever is still there then.
//!
//! Invariant: everything that was asked for is run once, when no call is under way any more, on whatever thread that
//! turns out to be.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::quorum::sync::{Mutex, MutexGuard, locked};

/// All calls of a batch have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Finished {
    /// Calls that were made.
    pub calls: usize,
    /// Those that did not store all of their items.
    pub failed: usize,
}

pub(crate) type Then = Box<dyn FnOnce(Finished) + Send>;

/// Counts calls, and knows what comes after the last.
#[derive(Default)]
pub(crate) struct Finish {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    so_far: Finished,
    running: usize,
    then: Vec<Then>,
}

impl Finish {
    /// Of which some calls ended before others began.
    pub(crate) fn new(so_far: Finished, running: usize) -> Self {
        let so_far = Finished { calls: so_far.calls + running, ..so_far };
        Self { state: Mutex::new(State { so_far, running, then: Vec::new() }) }
    }

    /// A call has ended.
    pub(crate) fn ended(&self, is_ok: bool) {
        let mut state = self.lock();
        state.running -= 1;
        state.so_far.failed += usize::from(!is_ok);
        run_if_over(state);
    }

    /// Runs `then` after the last call, or now if that has ended.
    pub(crate) fn then(&self, then: Then) {
        let mut state = self.lock();
        state.then.push(then);
        run_if_over(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// Without the lock, as it is the caller's code; whoever ended last may be unwinding, and a second panic would abort.
fn run_if_over(mut state: MutexGuard<'_, State>) {
    if state.running > 0 {
        return;
    }
    let (so_far, all) = (state.so_far, std::mem::take(&mut state.then));
    drop(state);
    for then in all {
        let _ = catch_unwind(AssertUnwindSafe(|| then(so_far)));
    }
}
