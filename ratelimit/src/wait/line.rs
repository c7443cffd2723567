//! The line itself, without futures and without a clock: who waits, who is next, and when.
//!
//! Q1: tokens go to the one who waits longest, whole requests only; nobody in the line overtakes.
//! Q2: while somebody waits, what is minted is theirs, even if nobody looks in time: the head is served as of
//! the instant `since` at which it became the head, so a late timer delays waking and costs no rate. How
//! late that may be is bounded, and so is what passes at once. What comes back meanwhile, and a new quota, leave
//! it what it has, be it more than the bucket holds.
//! Q3: nothing is taken before a request is granted, so leaving the line gives nothing back and moves all
//! behind forward.
//! Q4: whoever cannot be served in time, by the quota in force and those ahead, is told at once.

use std::cell;
use std::collections::{BTreeMap, BTreeSet};
use std::task::Waker;
use std::time::Duration;

use crate::bucket::{Claim, Segment, Since};
use crate::cell::Cell;
use crate::decision::{Bound, Denied};
use crate::quota::{Inherit, Quota};

/// What a waiter is told in the end: the tokens that were taken (none from an unlimited bucket), or why not.
pub(super) type Outcome = Result<u64, Denied>;

pub(super) struct Line {
    /// In the order of tickets, which is the order of arrival.
    waiting: BTreeMap<u64, Waiter>,
    /// Deadlines and their tickets.
    deadlines: BTreeSet<(u64, u64)>,
    /// Outcomes that were not yet fetched.
    settled: BTreeMap<u64, Outcome>,
    /// The sum of what all who wait asked for.
    tokens: u64,
    /// What is minted from here on belongs to those who wait (Q2).
    since: Since,
    /// How far back that may lie for those whose tokens a bucket can hold.
    lateness_ns: u64,
    next_ticket: u64,
}

struct Waiter {
    tokens: u64,
    deadline_ns: Option<u64>,
    waker: Waker,
}

impl Line {
    pub(super) fn new(lateness: Duration) -> Self {
        Self {
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            settled: BTreeMap::new(),
            tokens: 0,
            since: Since::instant(0),
            lateness_ns: u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX),
            next_ticket: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What somebody who comes now can be told at once: the tokens are there, to whoever comes to an empty line,
    /// or will not be in time. `None` is a case for [`enter`](Self::enter).
    pub(super) fn quote(
        &mut self,
        cell: &Cell,
        now_ns: u64,
        tokens: u64,
        deadline_ns: Option<u64>,
    ) -> Option<Outcome> {
        self.since = self.since(now_ns);
        loop {
            let (segment, spent) = cell.read();
            match segment.claim(spent, self.since, self.tokens, tokens) {
                Claim::Turn => self.turn(cell),
                Claim::Never => return Some(Err(self.refuse(&segment, spent, now_ns, tokens, None))),
                Claim::At { at_ns, spent: taken } if self.is_empty() && at_ns <= now_ns => {
                    if taken == spent {
                        return Some(Ok(0));
                    }
                    if cell.swap(spent, taken) {
                        return Some(Ok(tokens));
                    }
                }
                Claim::At { at_ns, .. } => {
                    let late = deadline_ns.is_some_and(|deadline_ns| deadline_ns < at_ns);
                    return late.then(|| Err(self.refuse(&segment, spent, now_ns, tokens, Some(at_ns))));
                }
            }
        }
    }

    /// Takes a place at the end and returns its ticket.
    pub(super) fn enter(&mut self, tokens: u64, deadline_ns: Option<u64>, waker: Waker) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.tokens = self.tokens.saturating_add(tokens);
        self.deadlines.extend(deadline_ns.map(|deadline_ns| (deadline_ns, ticket)));
        self.waiting.insert(ticket, Waiter { tokens, deadline_ns, waker });
        ticket
    }

    /// Serves everybody whose tokens are there, in order, refuses whoever's deadline is over, and returns when
    /// to look again. The wakers of those who were settled are for the caller, when nobody is locked out.
    pub(super) fn serve(&mut self, cell: &Cell, now_ns: u64, woken: &mut Vec<Waker>) -> Option<u64> {
        loop {
            let head_ns = self.serve_heads(cell, now_ns, woken);
            if !self.expire(cell, now_ns, woken) {
                let deadline_ns = self.deadlines.first().map(|&(deadline_ns, _)| deadline_ns);
                return [head_ns, deadline_ns].into_iter().flatten().min();
            }
        }
    }

    /// Returns when the first of those who are left is due.
    fn serve_heads(&mut self, cell: &Cell, now_ns: u64, woken: &mut Vec<Waker>) -> Option<u64> {
        loop {
            let (&ticket, &Waiter { tokens, .. }) = self.waiting.first_key_value()?;
            let (segment, spent) = cell.read();
            if !segment.splits(tokens) {
                self.forfeit(now_ns);
            }
            match segment.claim(spent, self.since, 0, tokens) {
                Claim::Turn => self.turn(cell),
                Claim::Never => {
                    let denied = self.refuse(&segment, spent, now_ns, tokens, None);
                    self.settle(ticket, now_ns, Err(denied), woken);
                }
                Claim::At { at_ns, .. } if at_ns > now_ns => return Some(at_ns),
                Claim::At { at_ns, spent: taken } => {
                    let tokens = if taken == spent { 0 } else { tokens };
                    if tokens == 0 || cell.swap(spent, taken) {
                        self.since = Since::instant(at_ns);
                        self.settle(ticket, now_ns, Ok(tokens), woken);
                    }
                }
            }
        }
    }

    /// Gives `tokens` back, to be taken by those who wait (Q2). To be [served](Self::serve) before and after.
    pub(super) fn give_back(&mut self, cell: &Cell, now_ns: u64, tokens: u64) {
        self.since = self.since(now_ns);
        loop {
            let (segment, spent) = cell.read();
            let back = segment.give_back_since(spent, self.since, tokens);
            if back == spent || cell.swap(spent, back) {
                return;
            }
        }
    }

    /// Puts `quota` in force and refuses whoever it cannot serve in time (Q4). To be [served](Self::serve) before
    /// and after. Looks at all who wait.
    pub(super) fn reconfigure(
        &mut self,
        cell: &Cell,
        now_ns: u64,
        quota: Quota,
        inherit: Inherit,
        woken: &mut Vec<Waker>,
    ) {
        let old = self.since(now_ns);
        let since = cell::Cell::new(old);
        cell.replace(|segment, spent| {
            if inherit == Inherit::AsIs {
                let (next, kept) = segment.turn_since(spent, old, now_ns, quota);
                since.set(kept);
                return Some(next);
            }
            let (segment, word) = segment.inherit(spent, now_ns, quota, inherit);
            since.set(Since::instant(now_ns));
            Some((segment, word))
        });
        self.since = since.into_inner();
        self.recheck(cell, now_ns, woken);
    }

    fn recheck(&mut self, cell: &Cell, now_ns: u64, woken: &mut Vec<Waker>) {
        let (segment, spent) = cell.read();
        let mut ahead = 0_u64;
        let mut hopeless = Vec::new();
        for (&ticket, waiter) in &self.waiting {
            let at_ns = match segment.claim(spent, self.since, ahead, waiter.tokens) {
                Claim::At { at_ns, .. } => Some(at_ns),
                Claim::Never => None,
                // So much was minted that nobody waits any longer.
                Claim::Turn => return,
            };
            if at_ns.is_none_or(|at_ns| waiter.deadline_ns.is_some_and(|deadline_ns| deadline_ns < at_ns)) {
                hopeless.push((ticket, self.refuse(&segment, spent, now_ns, waiter.tokens, at_ns)));
            } else {
                ahead = ahead.saturating_add(waiter.tokens);
            }
        }
        for (ticket, denied) in hopeless {
            self.settle(ticket, now_ns, Err(denied), woken);
        }
    }

    /// The outcome for `ticket`, if there is one; otherwise `waker` is who is woken by it. The old waker is
    /// handed out, to be dropped when nobody is locked out: dropping may run anything.
    pub(super) fn poll(&mut self, ticket: u64, waker: &Waker) -> Result<Outcome, Option<Waker>> {
        if let Some(outcome) = self.settled.remove(&ticket) {
            return Ok(outcome);
        }
        let waiter = self.waiting.get_mut(&ticket).filter(|waiter| !waiter.waker.will_wake(waker));
        Err(waiter.map(|waiter| std::mem::replace(&mut waiter.waker, waker.clone())))
    }

    /// Leaves the line. An outcome that nobody fetched comes back: if it is a grant, the tokens are to be
    /// given back.
    pub(super) fn leave(&mut self, ticket: u64, now_ns: u64) -> (Option<Outcome>, Option<Waker>) {
        let waker = self.remove(ticket, now_ns).map(|waiter| waiter.waker);
        (self.settled.remove(&ticket), waker)
    }

    /// The refusal of somebody who does not want to wait behind all who do; none if nobody does. A request that is
    /// saved up for has to wait.
    pub(super) fn passed_by(&self, cell: &Cell, now_ns: u64, tokens: u64) -> Option<Denied> {
        if self.is_empty() {
            return None;
        }
        let (segment, spent) = cell.read();
        if segment.splits(tokens) {
            return Some(segment.refusal(spent, now_ns, tokens, Bound::Burst, None));
        }
        Some(self.turned_away(cell, now_ns, tokens))
    }

    /// The refusal of somebody for whom there is no place, or no time, behind all who wait.
    pub(super) fn turned_away(&self, cell: &Cell, now_ns: u64, tokens: u64) -> Denied {
        let (segment, spent) = cell.read();
        let at_ns = match segment.claim(spent, self.since(now_ns), self.tokens, tokens) {
            Claim::At { at_ns, .. } => Some(at_ns),
            Claim::Never | Claim::Turn => None,
        };
        self.refuse(&segment, spent, now_ns, tokens, at_ns)
    }

    /// An empty line has no claim to what was minted before.
    fn since(&self, now_ns: u64) -> Since {
        if self.is_empty() { Since::instant(now_ns) } else { self.since }
    }

    /// What was minted longer ago than the timer may be late is nobody's, but for what the bucket holds of it.
    fn forfeit(&mut self, now_ns: u64) {
        self.since = Since::instant(self.since.at_ns.max(now_ns.saturating_sub(self.lateness_ns)));
    }

    /// Begins a new segment under the same quota, as of `since`: what was minted since is not lost.
    #[cold]
    fn turn(&mut self, cell: &Cell) {
        let since = self.since;
        cell.replace(|segment, spent| {
            let due = segment.claim(spent, since, 0, 1) == Claim::Turn;
            due.then(|| segment.turn_since(spent, since, since.at_ns, segment.quota()).0)
        });
    }

    fn remove(&mut self, ticket: u64, now_ns: u64) -> Option<Waiter> {
        if self.waiting.first_key_value().is_some_and(|(&first, _)| first == ticket) {
            // What somebody saved up over many bursts is not for the next.
            self.forfeit(now_ns);
        }
        let waiter = self.waiting.remove(&ticket)?;
        self.tokens = self.tokens.saturating_sub(waiter.tokens);
        if let Some(deadline_ns) = waiter.deadline_ns {
            self.deadlines.remove(&(deadline_ns, ticket));
        }
        Some(waiter)
    }

    fn settle(&mut self, ticket: u64, now_ns: u64, outcome: Outcome, woken: &mut Vec<Waker>) {
        if let Some(waiter) = self.remove(ticket, now_ns) {
            self.settled.insert(ticket, outcome);
            woken.push(waiter.waker);
        }
    }

    /// Whether anybody's time was over. Only who may be overtaken ever waits in vain: others were told when they
    /// came, or when the quota changed.
    fn expire(&mut self, cell: &Cell, now_ns: u64, woken: &mut Vec<Waker>) -> bool {
        let mut expired = false;
        while let Some(&(deadline_ns, ticket)) = self.deadlines.first()
            && deadline_ns <= now_ns
            && let Some(waiter) = self.remove(ticket, now_ns)
        {
            let denied = self.turned_away(cell, now_ns, waiter.tokens);
            self.settled.insert(ticket, Err(denied));
            woken.push(waiter.waker);
            expired = true;
        }
        expired
    }

    /// `at_ns` is when the tokens would be there.
    fn refuse(&self, segment: &Segment, spent: u64, now_ns: u64, tokens: u64, at_ns: Option<u64>) -> Denied {
        let bound = match at_ns {
            None if tokens > segment.quota().burst => Bound::Burst,
            _ if self.is_empty() => Bound::Rate,
            _ => Bound::Queue,
        };
        segment.refusal(spent, now_ns, tokens, bound, at_ns)
    }
}
