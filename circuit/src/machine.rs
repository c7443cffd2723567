//! The breaker as a state machine: no clock, no lock, no atomics. Time comes in as `now_ns`.
//!
//! Keeps M1 to M3 of `state.rs`, where the arrows are drawn.

use std::time::Duration;

use crate::observer::{Cause, Transition};
use crate::options::{Options, OptionsError, Policy};
use crate::state::{Outcome, Phase, Rejected, State};

/// The right to one call, bound to a generation. Goes back to [`Machine::settle`] of the machine that issued it, once.
#[derive(Debug)]
#[must_use = "a ticket that is not settled keeps a half-open slot until the round is over"]
pub struct Ticket {
    generation: u64,
    round: u64,
}

/// What became of the probes, since the breaker was made. The tickets issued are the sum of the others and of
/// [`Snapshot::in_flight`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Probes {
    /// Slots given out.
    pub issued: u64,
    /// Ended in success while it counted.
    pub succeeded: u64,
    /// Ended in failure while it counted.
    pub failed: u64,
    /// Said nothing, and gave their slots back.
    pub ignored: u64,
    /// Were still under way when the breaker closed or opened, or are taken for lost.
    pub void: u64,
}

/// A breaker at one instant, for display.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// What the next call meets.
    pub state: State,
    /// Whether somebody forced it open or closed.
    pub forced: bool,
    /// Which generation; a new one begins with every transition.
    pub generation: u64,
    /// Which half-open round of the generation: how often its probes were taken for lost.
    pub round: u64,
    /// Transitions so far: the latest [`Transition::sequence`].
    pub transitions: u64,
    /// Failures in a row while closed.
    pub consecutive_failures: u32,
    /// Openings in a row that came to nothing: the exponent of the next wait.
    pub attempt: u32,
    /// Probes of this round that have not come back.
    pub in_flight: u32,
    /// Probes of this generation that succeeded.
    pub successes: u32,
    /// All probes of all rounds.
    pub probes: Probes,
}

/// A breaker for a caller that has it to itself; [`Breaker`](crate::Breaker) shares one.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    mode: Mode,
    forced: bool,
    generation: u64,
    transitions: u64,
    attempt: u32,
    probes: Probes,
}

#[derive(Clone, Copy, Debug)]
enum Mode {
    Closed {
        failures: u32,
        since_ns: u64,
    },
    Open {
        until_ns: u64,
    },
    HalfOpen {
        round: u64,
        in_flight: u32,
        successes: u32,
        /// When the last slot was issued, and how long that counts.
        until_ns: u64,
    },
}

impl Machine {
    /// A closed breaker.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn new(options: Options, now_ns: u64) -> Result<Self, OptionsError> {
        Ok(Self::with_policy(Policy::try_from(options)?, now_ns))
    }

    /// A closed breaker under options that have been parsed.
    pub(crate) fn with_policy(policy: Policy, now_ns: u64) -> Self {
        Self {
            policy,
            mode: Mode::Closed { failures: 0, since_ns: now_ns },
            forced: false,
            generation: 0,
            transitions: 0,
            attempt: 0,
            probes: Probes::default(),
        }
    }

    /// The right to one call, or a rejection; and the transition that asking brought about, if any.
    pub fn admit(&mut self, now_ns: u64) -> (Result<Ticket, Rejected>, Option<Transition>) {
        match self.mode {
            Mode::Closed { .. } => (Ok(self.ticket()), None),
            Mode::Open { until_ns } if self.forced || now_ns < until_ns => {
                (Err(self.rejection(now_ns)), None)
            }
            Mode::Open { .. } => {
                let half_open = Mode::HalfOpen { round: 0, in_flight: 0, successes: 0, until_ns: now_ns };
                let transition = self.change(half_open, Cause::WaitOver, now_ns);
                (Ok(self.issue(now_ns)), transition)
            }
            Mode::HalfOpen { in_flight, .. } if in_flight < self.policy.half_open_probes => {
                (Ok(self.issue(now_ns)), None)
            }
            Mode::HalfOpen { until_ns, .. } if now_ns < until_ns => (Err(self.rejection(now_ns)), None),
            Mode::HalfOpen { round, in_flight, successes, .. } => {
                // M3: the probes under way are lost, or slow; then their results still come.
                self.probes.void += u64::from(in_flight);
                self.mode = Mode::HalfOpen { round: round + 1, in_flight: 0, successes, until_ns: now_ns };
                (Ok(self.issue(now_ns)), None)
            }
        }
    }

    /// Takes note of how a call ended, if that still matters (M1), and returns the transition that follows.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is used up by settling it")]
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome, now_ns: u64) -> Option<Transition> {
        if ticket.generation != self.generation || self.forced {
            return None;
        }
        match &mut self.mode {
            Mode::Closed { failures, since_ns } => match outcome {
                Outcome::Success => *failures = 0,
                Outcome::Ignored => {}
                Outcome::Failure => {
                    *failures += 1;
                    if *failures >= self.policy.failure_threshold {
                        if now_ns.saturating_sub(*since_ns) >= self.policy.reset_after_ns {
                            self.attempt = 0;
                        }
                        return self.open(Cause::Failures, now_ns);
                    }
                }
            },
            Mode::HalfOpen { round, in_flight, successes, .. } => {
                if ticket.round == *round {
                    *in_flight = in_flight.saturating_sub(1);
                } else {
                    // It was taken for lost, and was not.
                    self.probes.void = self.probes.void.saturating_sub(1);
                }
                match outcome {
                    Outcome::Ignored => self.probes.ignored += 1,
                    Outcome::Failure => {
                        self.probes.failed += 1;
                        return self.open(Cause::ProbeFailed, now_ns);
                    }
                    Outcome::Success => {
                        self.probes.succeeded += 1;
                        *successes += 1;
                        if *successes >= self.policy.close_after {
                            let closed = Mode::Closed { failures: 0, since_ns: now_ns };
                            return self.change(closed, Cause::ProbesSucceeded, now_ns);
                        }
                    }
                }
            }
            // Entering Open began a generation that issues no tickets.
            Mode::Open { .. } => {}
        }
        None
    }

    /// Open until [`reset`](Self::reset) or [`force_close`](Self::force_close).
    pub fn force_open(&mut self, now_ns: u64) -> Option<Transition> {
        let transition = self.change(Mode::Open { until_ns: u64::MAX }, Cause::Manual, now_ns);
        self.forced = true;
        transition
    }

    /// Closed, whatever fails, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn force_close(&mut self, now_ns: u64) -> Option<Transition> {
        let transition = self.reset(now_ns);
        self.forced = true;
        transition
    }

    /// Closed as new: not forced, no failures, and the next wait is the first.
    pub fn reset(&mut self, now_ns: u64) -> Option<Transition> {
        self.attempt = 0;
        self.forced = false;
        self.change(Mode::Closed { failures: 0, since_ns: now_ns }, Cause::Manual, now_ns)
    }

    /// What the next call meets.
    pub fn state(&self, now_ns: u64) -> State {
        match self.mode {
            Mode::Closed { .. } => State::Closed,
            Mode::Open { .. } if self.forced => State::Open { retry_after: None },
            Mode::Open { until_ns } if now_ns < until_ns => {
                State::Open { retry_after: Some(Duration::from_nanos(until_ns - now_ns)) }
            }
            Mode::Open { .. } | Mode::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Everything about the breaker at `now_ns`.
    pub fn snapshot(&self, now_ns: u64) -> Snapshot {
        let (consecutive_failures, in_flight, successes) = match self.mode {
            Mode::Closed { failures, .. } => (failures, 0, 0),
            Mode::Open { .. } => (0, 0, 0),
            Mode::HalfOpen { in_flight, successes, .. } => (0, in_flight, successes),
        };
        Snapshot {
            state: self.state(now_ns),
            forced: self.forced,
            generation: self.generation,
            round: self.round(),
            transitions: self.transitions,
            consecutive_failures,
            attempt: self.attempt,
            in_flight,
            successes,
            probes: self.probes,
        }
    }

    /// Whether a new breaker would behave the same: closed, without failures, and for so long that the next
    /// wait is the first.
    pub fn is_as_new(&self, now_ns: u64) -> bool {
        let stable = |since_ns| now_ns.saturating_sub(since_ns) >= self.policy.reset_after_ns;
        match self.mode {
            Mode::Closed { failures: 0, since_ns } => !self.forced && (self.attempt == 0 || stable(since_ns)),
            _ => false,
        }
    }

    /// What a reader without the lock has to know.
    pub(crate) fn summary(&self) -> Summary {
        let (phase, busy, until_ns) = match self.mode {
            Mode::Closed { failures, .. } => (Phase::Closed, failures > 0 && !self.forced, 0),
            Mode::Open { until_ns } => (Phase::Open, self.forced, until_ns),
            Mode::HalfOpen { in_flight, until_ns, .. } => {
                (Phase::HalfOpen, in_flight >= self.policy.half_open_probes, until_ns)
            }
        };
        Summary { phase, busy, generation: self.generation, until_ns }
    }

    fn ticket(&self) -> Ticket {
        Ticket { generation: self.generation, round: self.round() }
    }

    fn round(&self) -> u64 {
        if let Mode::HalfOpen { round, .. } = self.mode { round } else { 0 }
    }

    /// A probe; the machine is half-open and has a slot.
    fn issue(&mut self, now_ns: u64) -> Ticket {
        if let Mode::HalfOpen { in_flight, until_ns, .. } = &mut self.mode {
            *in_flight += 1;
            *until_ns = now_ns.saturating_add(self.policy.half_open_max_wait_ns);
            self.probes.issued += 1;
        }
        self.ticket()
    }

    fn rejection(&self, now_ns: u64) -> Rejected {
        let state = self.state(now_ns);
        let retry_after = match (state, self.mode) {
            (State::Open { retry_after }, _) => retry_after,
            (_, Mode::HalfOpen { until_ns, .. }) => {
                Some(Duration::from_nanos(until_ns.saturating_sub(now_ns)))
            }
            _ => Some(Duration::ZERO),
        };
        Rejected { retry_after, state }
    }

    fn open(&mut self, cause: Cause, now_ns: u64) -> Option<Transition> {
        let until_ns = now_ns.saturating_add(self.policy.backoff.wait_ns(self.attempt, now_ns));
        self.attempt = self.attempt.saturating_add(1);
        self.change(Mode::Open { until_ns }, cause, now_ns)
    }

    /// Begins a generation in `mode`, in which no earlier ticket counts.
    fn change(&mut self, mode: Mode, cause: Cause, now_ns: u64) -> Option<Transition> {
        let from = self.summary().phase;
        if let Mode::HalfOpen { in_flight, .. } = self.mode {
            self.probes.void += u64::from(in_flight);
        }
        self.mode = mode;
        self.generation += 1;
        let to = self.summary().phase;
        if from == to {
            return None;
        }
        self.transitions += 1;
        Some(Transition { sequence: self.transitions, from, to, cause, at_ns: now_ns })
    }
}

/// See [`Machine::summary`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) phase: Phase,
    /// Closed: failures have been counted. Open: forced. Half-open: every slot is taken.
    pub(crate) busy: bool,
    pub(crate) generation: u64,
    /// When an open or busy half-open breaker admits again.
    pub(crate) until_ns: u64,
}

impl Ticket {
    /// Of a closed breaker.
    pub(crate) fn of(generation: u64) -> Self {
        Self { generation, round: 0 }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests;
