//! A [`Machine`] under a lock, and what readers need of it in one word beside it.
//!
//! Closed and healthy, nothing is written: a call is admitted by one load of the word, and its success is
//! another. A rejection loads the word and the end of the wait. Only failures, probes and transitions take the
//! lock, and whoever holds it publishes the word before letting go.
//!
//! B1: the ends of the waits are stored before the word that needs them, so a reader of the word sees that end
//! or a later one; a later one means that the breaker has opened (or issued its last slot) again since, and
//! rejecting is right.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::machine::{Machine, Snapshot, Summary, Ticket};
use crate::observer::{Observer, Outbox, Transition};
use crate::options::Policy;
use crate::permit::Settle;
use crate::state::{Outcome, Phase, Rejected, State};

/// One breaker.
pub(crate) struct Shared<C> {
    /// The latest [`Summary`] but for its end: generation, busy, phase.
    word: AtomicU64,
    open_until_ns: AtomicU64,
    round_until_ns: AtomicU64,
    core: Mutex<Core>,
    observer: Option<Box<dyn Observer>>,
    observer_panics: AtomicU64,
    clock: C,
}

struct Core {
    machine: Machine,
    outbox: Outbox,
    /// Under the lock time does not go back, though threads come in another order than they read the clock.
    latest_ns: u64,
}

impl<C: Fn() -> u64> Shared<C> {
    pub(crate) fn new(policy: Policy, clock: C, observer: Option<Box<dyn Observer>>) -> Self {
        let now_ns = clock();
        let machine = Machine::with_policy(policy, now_ns);
        let word = AtomicU64::new(pack(machine.summary()));
        let core = Mutex::new(Core { machine, outbox: Outbox::default(), latest_ns: now_ns });
        let (open_until_ns, round_until_ns) = (AtomicU64::new(0), AtomicU64::new(0));
        let observer_panics = AtomicU64::new(0);
        Self { word, open_until_ns, round_until_ns, core, observer, observer_panics, clock }
    }

    #[inline]
    pub(crate) fn admit(&self) -> Result<Ticket, Rejected> {
        let summary = unpack(self.word.load(Ordering::Acquire));
        match (summary.phase, summary.busy) {
            (Phase::Closed, _) => return Ok(Ticket::of(summary.generation)),
            (Phase::Open, true) => {
                return Err(Rejected { retry_after: None, state: State::Open { retry_after: None } });
            }
            (Phase::Open, false) => {
                if let Some(wait) = self.wait(&self.open_until_ns) {
                    let retry_after = Some(wait);
                    return Err(Rejected { retry_after, state: State::Open { retry_after } });
                }
            }
            (Phase::HalfOpen, true) => {
                if let Some(wait) = self.wait(&self.round_until_ns) {
                    return Err(Rejected { retry_after: Some(wait), state: State::HalfOpen });
                }
            }
            (Phase::HalfOpen, false) => {}
        }
        self.update(Machine::admit)
    }

    pub(crate) fn state(&self) -> State {
        let now_ns = (self.clock)();
        self.core.lock().machine.state(now_ns)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now_ns = (self.clock)();
        self.core.lock().machine.snapshot(now_ns)
    }

    /// Whether a new breaker would behave the same.
    pub(crate) fn is_as_new(&self, now_ns: u64) -> bool {
        self.core.lock().machine.is_as_new(now_ns)
    }

    pub(crate) fn observer_panics(&self) -> u64 {
        self.observer_panics.load(Ordering::Relaxed)
    }

    /// How long until `until_ns`, if that is not over.
    fn wait(&self, until_ns: &AtomicU64) -> Option<Duration> {
        let left_ns = until_ns.load(Ordering::Relaxed).checked_sub((self.clock)())?;
        (left_ns > 0).then(|| Duration::from_nanos(left_ns))
    }

    /// Takes the machine a step further, publishes what has become of it, and tells the observer.
    #[cold]
    pub(crate) fn update<R>(&self, step: impl FnOnce(&mut Machine, u64) -> (R, Option<Transition>)) -> R {
        let now_ns = (self.clock)();
        let mut core = self.core.lock();
        core.latest_ns = core.latest_ns.max(now_ns);
        let now_ns = core.latest_ns;
        let (result, transition) = step(&mut core.machine, now_ns);
        let summary = core.machine.summary();
        match summary.phase {
            Phase::Closed => {}
            Phase::Open => self.open_until_ns.store(summary.until_ns, Ordering::Relaxed),
            Phase::HalfOpen => self.round_until_ns.store(summary.until_ns, Ordering::Relaxed),
        }
        self.word.store(pack(summary), Ordering::Release);
        let deliver = match (&self.observer, transition) {
            (Some(observer), Some(transition)) => core.outbox.push(transition).then_some(observer),
            _ => None,
        };
        drop(core);
        if let Some(observer) = deliver {
            self.deliver(&**observer);
        }
        result
    }

    fn deliver(&self, observer: &dyn Observer) {
        loop {
            let next = self.core.lock().outbox.pop();
            let Some(transition) = next else { return };
            // The observer is called again only by calls of its own choosing: what it left half done is its own.
            if catch_unwind(AssertUnwindSafe(|| observer.on_transition(transition))).is_err() {
                self.observer_panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl<C: Fn() -> u64> Settle for Shared<C> {
    #[inline]
    fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let summary = unpack(self.word.load(Ordering::Acquire));
        let late = summary.generation != ticket.generation();
        let idle = summary.phase == Phase::Closed && !summary.busy && outcome == Outcome::Success;
        let nothing = summary.phase == Phase::Closed && outcome == Outcome::Ignored;
        if !(late || idle || nothing) {
            self.update(|machine, now_ns| ((), machine.settle(ticket, outcome, now_ns)));
        }
    }
}

/// `[generation 61 | busy 1 | phase 2]`. At a billion transitions a second the generation lasts 73 years.
fn pack(summary: Summary) -> u64 {
    let phase = match summary.phase {
        Phase::Closed => 0,
        Phase::Open => 1,
        Phase::HalfOpen => 2,
    };
    summary.generation << 3 | u64::from(summary.busy) << 2 | phase
}

/// The inverse of [`pack`], without an end.
fn unpack(word: u64) -> Summary {
    let phase = match word & 3 {
        0 => Phase::Closed,
        1 => Phase::Open,
        _ => Phase::HalfOpen,
    };
    Summary { phase, busy: word >> 2 & 1 == 1, generation: word >> 3, until_ns: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_survives_its_word() {
        for phase in Phase::ALL {
            for busy in [false, true] {
                for generation in [0, 1, u64::MAX >> 3] {
                    let summary = Summary { phase, busy, generation, until_ns: 0 };
                    assert_eq!(unpack(pack(summary)), summary);
                }
            }
        }
    }
}
