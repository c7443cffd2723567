//! The breaker as a state machine: no clock, no lock, no atomics of its own. Time comes in as `now_ns`, and what was
//! measured as [`Meters`].
//!
//! Keeps M1 to M3 of `state.rs`, where the arrows are drawn. Small on purpose: there is one for each endpoint.

use std::sync::Arc;
use std::time::Duration;

use crate::meters::{Meters, consecutive};
use crate::observer::{Cause, Transition};
use crate::options::{OnDrop, Verdict};
use crate::policy::{Policy, Rule, saturating_ns};
use crate::snapshot::{Probes, Reading, Snapshot};
use crate::state::{Control, Outcome, Phase, Rejected, State};
use crate::ticket::Ticket;
use crate::word::Word;

/// A breaker for a caller that has it to itself; [`Breaker`](crate::Breaker) shares one.
#[derive(Debug)]
pub(crate) struct Machine {
    policy: Arc<Policy>,
    /// What only breakers need that have opened.
    history: Option<Box<History>>,
    /// Time does not go back, though threads come in another order than they read the clock.
    latest_ns: u64,
    /// Closed: since when. Open: until when. Half-open: how long the slot that was issued last counts.
    edge_ns: u64,
    generation: u64,
    /// Generations that began without a change of phase.
    resets: u32,
    /// Of this breaker among those that share the policy.
    number: u32,
    round: u32,
    /// Closed: in a row. Half-open: of this generation's probes.
    failures: u32,
    in_flight: u16,
    successes: u16,
    /// Openings in a row that came to nothing. 64 doublings are beyond every cap.
    attempt: u8,
    control: Control,
    phase: Phase,
    spared: bool,
}

#[derive(Debug, Default)]
struct History {
    probes: Probes,
    /// How long the endpoint asked to be left alone.
    hint_until_ns: u64,
    suppressed_trips: u64,
}

impl Machine {
    /// A closed breaker.
    pub(crate) fn new(policy: Arc<Policy>, number: u32, now_ns: u64) -> Self {
        Self {
            policy,
            history: None,
            latest_ns: now_ns,
            edge_ns: now_ns,
            generation: 0,
            resets: 0,
            number,
            round: 0,
            failures: 0,
            in_flight: 0,
            successes: 0,
            attempt: 0,
            control: Control::Automatic,
            phase: Phase::Closed,
            spared: false,
        }
    }

    /// `now_ns`, or the latest that was seen.
    pub(crate) fn at(&mut self, now_ns: u64) -> u64 {
        self.latest_ns = self.latest_ns.max(now_ns);
        self.latest_ns
    }

    /// The right to one call, or a rejection; and the transition that asking brought about, if any.
    pub(crate) fn admit(&mut self, now_ns: u64) -> (Result<Ticket, Rejected>, Option<Transition>) {
        match self.phase {
            Phase::Closed => (Ok(self.ticket(now_ns)), None),
            Phase::Open if self.control == Control::ForcedOpen || now_ns < self.edge_ns => {
                (Err(self.rejection(now_ns)), None)
            }
            Phase::Open => {
                let transition = self.change(Phase::HalfOpen, Cause::WaitOver, now_ns);
                (Ok(self.issue(now_ns)), transition)
            }
            Phase::HalfOpen if self.in_flight < self.policy.half_open_probes => {
                (Ok(self.issue(now_ns)), None)
            }
            Phase::HalfOpen if now_ns < self.edge_ns => (Err(self.rejection(now_ns)), None),
            Phase::HalfOpen => {
                // M3: the probes under way are lost, or slow; then their results still come.
                let lost = u64::from(std::mem::take(&mut self.in_flight));
                self.history().probes.void += lost;
                self.round = self.round.wrapping_add(1);
                (Ok(self.issue(now_ns)), None)
            }
        }
    }

    /// Takes note of how a call ended, if that still matters (M1), and returns the transition that follows.
    /// `meters` are those of this generation, and have counted the call already.
    pub(crate) fn settle(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now_ns: u64,
        meters: Option<&Meters>,
    ) -> Option<Transition> {
        if ticket.generation() != self.generation {
            return None;
        }
        if let Outcome::Throttled(Some(wait)) = outcome {
            let until_ns = now_ns.saturating_add(saturating_ns(wait));
            let history = self.history();
            history.hint_until_ns = history.hint_until_ns.max(until_ns);
        }
        let elapsed_ns = ticket.elapsed_ns(now_ns).unwrap_or(0);
        let slow = elapsed_ns >= self.policy.slow_call_ns && self.policy.minds_slow();
        match self.phase {
            // Entering Open began a generation that issues no tickets.
            Phase::Open => None,
            Phase::Closed => {
                if outcome == Outcome::Success {
                    self.failures = 0;
                } else if outcome.is_failure() && self.counts_failures() {
                    self.failures = self.failures.saturating_add(1);
                }
                let bad = outcome.is_failure() || slow && outcome != Outcome::Ignored;
                if bad { self.judge(now_ns, meters) } else { None }
            }
            Phase::HalfOpen => self.settle_probe(ticket.round(), outcome, slow, now_ns),
        }
    }

    /// Opens, if the trip condition holds.
    pub(crate) fn judge(&mut self, now_ns: u64, meters: Option<&Meters>) -> Option<Transition> {
        if self.phase != Phase::Closed || !matches!(self.control, Control::Automatic | Control::MetricsOnly) {
            return None;
        }
        let cause = match meters {
            Some(meters) => meters.holds(self.failures, now_ns),
            None => self.policy.rule.holds(&|condition| match condition {
                Rule::Consecutive(most) => consecutive(self.failures, *most),
                _ => None,
            }),
        }?;
        if self.control == Control::MetricsOnly {
            self.history().suppressed_trips += 1;
            return None;
        }
        if now_ns.saturating_sub(self.edge_ns) >= self.policy.reset_after_ns {
            self.attempt = 0;
        }
        self.open(cause, now_ns)
    }

    fn settle_probe(&mut self, round: u64, outcome: Outcome, slow: bool, now_ns: u64) -> Option<Transition> {
        let late = round != u64::from(self.round);
        let failed = outcome.is_failure() || outcome == Outcome::Success && slow;
        // M3: it has hung since before the endpoint answered.
        if late && failed && self.successes > 0 {
            return None;
        }
        if late {
            // It was taken for lost, and was not.
            let probes = &mut self.history().probes;
            probes.void = probes.void.saturating_sub(1);
        } else {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        if failed {
            self.history().probes.failed += 1;
            self.failures = self.failures.saturating_add(1);
        } else if outcome == Outcome::Success {
            self.history().probes.succeeded += 1;
            self.successes = self.successes.saturating_add(1);
        } else {
            self.history().probes.ignored += 1;
            return None;
        }
        let (successes, failures) = (u32::from(self.successes), self.failures);
        let (max_failures, closes) = match self.policy.verdict {
            Verdict::Successes(needed) => (0, successes >= needed),
            Verdict::Rate { of, max_failures } => (max_failures, successes.saturating_add(failures) >= of),
        };
        if failures > max_failures {
            return self.open(Cause::ProbeFailed, now_ns);
        }
        if closes { self.change(Phase::Closed, Cause::ProbesSucceeded, now_ns) } else { None }
    }

    /// Hands over to `control`: open if forced to be, and else closed as new, whose next wait is the first.
    pub(crate) fn control(&mut self, control: Control, now_ns: u64) -> Option<Transition> {
        self.attempt = 0;
        self.control = control;
        let to = if control == Control::ForcedOpen { Phase::Open } else { Phase::Closed };
        self.change(to, Cause::Manual, now_ns)
    }

    /// Goes by `policy` from here on. What has been counted stays, but for another verdict, by which a success might
    /// open; and a wait under way is shortened to the cap.
    pub(crate) fn reconfigure(&mut self, policy: Arc<Policy>, now_ns: u64) {
        if self.phase == Phase::HalfOpen && self.policy.verdict != policy.verdict {
            (self.successes, self.failures) = (0, 0);
        }
        self.policy = policy;
        let longest_ns = match self.phase {
            Phase::Closed => {
                if !self.counts_failures() {
                    self.failures = 0;
                }
                return;
            }
            Phase::Open => self.policy.backoff.cap_ns(),
            Phase::HalfOpen => self.policy.half_open_max_wait_ns,
        };
        if self.control != Control::ForcedOpen {
            self.edge_ns = self.edge_ns.min(now_ns.saturating_add(longest_ns));
        }
    }

    /// What the next call meets.
    pub(crate) fn state(&self, now_ns: u64) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open if self.control == Control::ForcedOpen => State::Open { retry_after: None },
            Phase::Open if now_ns < self.edge_ns => {
                State::Open { retry_after: Some(Duration::from_nanos(self.edge_ns - now_ns)) }
            }
            Phase::Open | Phase::HalfOpen => State::HalfOpen,
        }
    }

    /// Everything about the breaker at `now_ns` but for its calls.
    pub(crate) fn snapshot(&self, now_ns: u64, meters: Option<&Meters>) -> Snapshot {
        let closed = self.phase == Phase::Closed;
        let consecutive_failures = if closed { self.failures } else { 0 };
        let readings = match meters {
            _ if !closed => Vec::new(),
            Some(meters) => meters.readings(consecutive_failures, now_ns),
            None => {
                let mut readings = Vec::new();
                self.policy.rule.for_each(&mut |_| readings.push(Reading::failures(consecutive_failures)));
                readings
            }
        };
        let history = self.history.as_deref();
        Snapshot {
            state: self.state(now_ns),
            control: self.control,
            spared: self.spared,
            generation: self.generation,
            round: self.round,
            transitions: self.transitions(),
            consecutive_failures,
            attempt: u32::from(self.attempt),
            in_flight: u32::from(self.in_flight),
            successes: u32::from(self.successes),
            failures: if closed { 0 } else { self.failures },
            probes: history.map_or_else(Probes::default, |history| history.probes),
            suppressed_trips: history.map_or(0, |history| history.suppressed_trips),
            readings,
            calls: None,
        }
    }

    /// Whether a new breaker would behave the same: closed, without failures, and for so long that the next
    /// wait is the first.
    pub(crate) fn is_as_new(&self, now_ns: u64, meters: Option<&Meters>) -> bool {
        let stable = now_ns.saturating_sub(self.edge_ns) >= self.policy.reset_after_ns;
        let hint_until_ns = self.history.as_ref().map_or(0, |history| history.hint_until_ns);
        self.phase == Phase::Closed
            && self.control == Control::Automatic
            && self.failures == 0
            && hint_until_ns <= now_ns
            && (self.attempt == 0 || stable)
            && meters.is_none_or(|meters| meters.is_clean(now_ns))
    }

    /// Whether nothing that it knows is of use any more, if it was asked for at `asked_ns` last: by the clock alone,
    /// the next wait would be the first, and what was counted is older than that, or has left its window.
    pub(crate) fn is_forgotten(&self, now_ns: u64, asked_ns: u64, meters: Option<&Meters>) -> bool {
        let lately = |meters: &Meters| self.phase == Phase::Closed && meters.has_hits_in_time(now_ns);
        if meters.is_some_and(lately) {
            return false;
        }
        let hint_until_ns = self.history.as_ref().map_or(0, |history| history.hint_until_ns);
        let hint_ns = hint_until_ns.min(self.latest_ns.saturating_add(self.policy.backoff.cap_ns()));
        let since_ns = asked_ns.max(self.latest_ns).max(self.edge_ns).max(hint_ns);
        self.control == Control::Automatic && now_ns.saturating_sub(since_ns) >= self.policy.reset_after_ns
    }

    /// What a reader without the lock has to know. All calls are to be counted but for those of a breaker that is
    /// switched off; whether they are is not the machine's affair.
    pub(crate) fn word(&self) -> Word {
        let policy = self.policy.flags;
        let mut flags = match self.control {
            Control::Automatic | Control::MetricsOnly => policy | Word::TALLIED,
            Control::ForcedClosed => policy & !(Word::JUDGED | Word::COUNTED) | Word::TALLIED,
            Control::ForcedOpen => Word::TALLIED,
            Control::Disabled => 0,
        };
        let busy = match self.phase {
            Phase::Closed => self.failures > 0,
            Phase::Open => self.control == Control::ForcedOpen,
            Phase::HalfOpen => self.in_flight >= self.policy.half_open_probes,
        };
        flags |= if busy { Word::BUSY } else { 0 };
        flags |= if self.spared { Word::SPARED } else { 0 };
        Word::new(self.generation, self.phase, flags)
    }

    /// When a breaker that rejects admits again.
    pub(crate) fn until_ns(&self) -> u64 {
        self.edge_ns
    }

    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// What it means that `ticket` is dropped.
    pub(crate) fn on_drop(&self, ticket: &Ticket, now_ns: u64) -> Outcome {
        let slow = ticket.elapsed_ns(now_ns).is_some_and(|elapsed_ns| elapsed_ns >= self.policy.slow_call_ns);
        match self.policy.on_drop {
            OnDrop::Fail => Outcome::Failure,
            OnDrop::FailIfSlow if slow => Outcome::Failure,
            OnDrop::Ignore | OnDrop::FailIfSlow => Outcome::Ignored,
        }
    }

    /// Whether it rejects because of what its calls did, so that it needs a seat to do so.
    pub(crate) fn wants_seat(&self) -> bool {
        self.phase != Phase::Closed && self.control == Control::Automatic
    }

    /// Whether it has found none, and admits.
    pub(crate) fn spare(&mut self, spared: bool) {
        self.spared = spared;
    }

    fn counts_failures(&self) -> bool {
        self.word().has(Word::COUNTED)
    }

    fn transitions(&self) -> u64 {
        self.generation.wrapping_sub(u64::from(self.resets))
    }

    fn history(&mut self) -> &mut History {
        self.history.get_or_insert_default()
    }

    fn ticket(&self, now_ns: u64) -> Ticket {
        Ticket::of(self.generation).started(now_ns).in_round(self.round)
    }

    /// A probe; the machine is half-open and has a slot.
    fn issue(&mut self, now_ns: u64) -> Ticket {
        self.in_flight += 1;
        self.edge_ns = now_ns.saturating_add(self.policy.half_open_max_wait_ns);
        self.history().probes.issued += 1;
        self.ticket(now_ns)
    }

    fn rejection(&self, now_ns: u64) -> Rejected {
        let state = self.state(now_ns);
        let retry_after = match state {
            State::Open { retry_after } => retry_after,
            _ => Some(Duration::from_nanos(self.edge_ns.saturating_sub(now_ns))),
        };
        Rejected { retry_after, state }
    }

    fn open(&mut self, cause: Cause, now_ns: u64) -> Option<Transition> {
        let Policy { backoff, .. } = &*self.policy;
        let own_ns = now_ns.saturating_add(backoff.wait_ns(self.number, u32::from(self.attempt), now_ns));
        let longest_ns = now_ns.saturating_add(backoff.cap_ns());
        let hint_ns = std::mem::take(&mut self.history().hint_until_ns).min(longest_ns);
        self.attempt = self.attempt.saturating_add(1);
        let transition = self.change(Phase::Open, cause, now_ns);
        self.edge_ns = own_ns.max(hint_ns);
        transition
    }

    /// Begins a generation in `phase`, in which no earlier ticket counts.
    fn change(&mut self, phase: Phase, cause: Cause, now_ns: u64) -> Option<Transition> {
        let from = std::mem::replace(&mut self.phase, phase);
        if self.in_flight > 0 {
            let void = u64::from(self.in_flight);
            self.history().probes.void += void;
        }
        if let Some(history) = &mut self.history {
            history.hint_until_ns = 0;
        }
        (self.in_flight, self.successes, self.failures, self.round) = (0, 0, 0, 0);
        self.edge_ns = now_ns;
        self.generation += 1;
        if from == phase {
            self.resets = self.resets.wrapping_add(1);
            return None;
        }
        Some(Transition { sequence: self.transitions(), from, to: phase, cause, at_ns: now_ns })
    }
}

#[cfg(test)]
#[path = "machine/tests.rs"]
mod tests;
