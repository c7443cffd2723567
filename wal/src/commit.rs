//! Group commit as a state machine without threads: records are taken in, one leader at a time writes what there is,
//! and whoever waits is answered exactly once.
//!
//! Whoever finds work and no leader leads; a leader that leaves says whom to wake.

mod handoff;

use std::ops::Range;

pub(crate) use self::handoff::Handoff;
use crate::Durability;
use crate::error::{AppendError, Failure, Reject};
use crate::frames::{Class, Frames};
use crate::intake::Intake;
use crate::lasts::LastEnd;
use crate::payload::Payload;
use crate::policy::{SyncPolicy, Unsynced};
use crate::progress::{Waiters, Waiting};
use crate::request::{Done, Outcome, Owed, Request, Waiter, Work};

/// What a leader takes along.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) frames: Frames,
    pub(crate) works: Vec<Request>,
}

/// Bytes in memory of somebody who waits: the place in the queue, and where the answer goes.
const WAITER_COST: u64 = 256;

/// What was taken in, who waits, and who works on it.
pub(crate) struct Queue {
    pub(crate) intake: Intake,
    waiters: Waiters<Waiter>,
    works: Vec<Request>,
    leading: bool,
    /// LSN after the last record that the leader took, or that was written, and the bytes it took.
    taken: (u64, u64),
    /// Those of them that are still in memory.
    held: u64,
    /// LSN after the last record that belongs to no stream.
    plain_end: LastEnd,
    policy: SyncPolicy,
    unsynced: Unsynced,
    /// Bytes of frames that are written and not synced.
    unsynced_bytes: u64,
    /// How many the last sync served, and how many may want the next: they, and those who came meanwhile.
    last_group: usize,
    expected: usize,
    /// A leader waits until so many wait for a sync, or somebody asks for more.
    gathering: Option<usize>,
    max_inflight: u64,
    /// Set by the first request to close; nothing is taken in after it.
    closing: bool,
    poison: Option<Failure>,
    tasks_closed: bool,
    /// No task is left that could ask for more.
    tasks_gone: bool,
}

impl Queue {
    /// After records of which the last that belongs to no stream is before `plain_end`.
    pub(crate) fn new((intake, plain_end): (Intake, u64), max_inflight: u64, policy: SyncPolicy) -> Self {
        Self {
            taken: (intake.next_lsn(), 0),
            held: 0,
            plain_end: LastEnd::new(plain_end),
            policy,
            unsynced: Unsynced::default(),
            unsynced_bytes: 0,
            last_group: 0,
            expected: 0,
            gathering: None,
            intake,
            waiters: Waiters::default(),
            works: Vec::new(),
            leading: false,
            max_inflight,
            closing: false,
            poison: None,
            tasks_closed: false,
            tasks_gone: false,
        }
    }

    /// Bytes of records that are not done with, and of those who wait.
    #[inline]
    pub(crate) fn inflight(&self) -> u64 {
        self.intake.bytes() + self.taken.1 + self.waiters.len() as u64 * WAITER_COST
    }

    #[inline]
    pub(crate) fn plain_end(&self) -> u64 {
        self.plain_end.get()
    }

    pub(crate) fn poison(&self) -> Option<&Failure> {
        self.poison.as_ref()
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    #[inline]
    pub(crate) fn is_leading(&self) -> bool {
        self.leading
    }

    /// Why nothing more is taken from anybody, or from tasks. A log that broke says so to all: their closing unlocks it.
    #[inline]
    pub(crate) fn refusal(&self, by_task: bool) -> Option<Reject> {
        match self.poison {
            _ if self.closing => Some(Reject::Closed),
            Some(_) => Some(Reject::Poisoned),
            None => (by_task && self.tasks_closed).then_some(Reject::Closed),
        }
    }

    /// What is in flight and the limit, where `bytes` more are too many; one record always goes when nothing else is in
    /// flight. Where nobody waits for a sync, only memory counts.
    #[inline]
    pub(crate) fn overfull(&self, bytes: u64, level: Durability) -> Option<(u64, u64)> {
        let inflight = match level {
            Durability::Buffered => self.intake.bytes() + self.held,
            Durability::Written | Durability::Synced => self.inflight(),
        };
        let over = inflight > 0 && inflight + bytes > self.max_inflight;
        over.then_some((inflight, self.max_inflight))
    }

    /// Takes records in, for which there is room, when all below `written` was; whether they are the first for whose sync a time is set.
    #[inline]
    pub(crate) fn push(
        &mut self,
        records: &mut [Payload<'_>],
        (level, stream, written): (Durability, u32, u64),
        now_ns: impl FnOnce() -> u64,
    ) -> Result<(Range<u64>, bool), Reject> {
        let lsns = self.intake.push(records, Class { told: level == Durability::Buffered, stream })?;
        if stream == 0 {
            self.plain_end.came(&lsns, written);
        }
        let timed = level < Durability::Synced && self.policy.is_timed();
        Ok((lsns, timed && self.unsynced.came(now_ns)))
    }

    /// Somebody waits for records below `end`: those it `brought`, or others. Whether a leader waited for that.
    #[inline]
    pub(crate) fn wait(&mut self, level: Durability, end: u64, brought: bool, waiter: Waiter) -> bool {
        self.waiters.add(level, Waiting { end, brought, waiter });
        self.gathering.is_some_and(|enough| self.waiters.synced() >= enough)
    }

    /// Whether somebody waits for records.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// How many wait for a sync, and how many may soon.
    #[inline]
    pub(crate) fn waiting_for_sync(&self) -> (usize, usize) {
        (self.waiters.synced(), self.expected)
    }

    /// A leader waits until so many wait for a sync, or does not any more, nor lead.
    #[inline]
    pub(crate) fn gather(&mut self, enough: Option<usize>) {
        self.leading = enough.is_some();
        self.gathering = enough;
    }

    #[inline]
    pub(crate) fn is_gathering(&self) -> bool {
        self.gathering.is_some()
    }

    /// Bytes of frames, and of records in memory, that are not synced.
    #[inline]
    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes + self.held + self.intake.bytes()
    }

    /// Whether the policy wants a sync because there is so much to be synced.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        // What cannot be written is not tried for ever.
        let stuck = self.intake.is_idle();
        self.wants_sync_of(if stuck { self.unsynced_bytes } else { self.unsynced_bytes() })
    }

    /// Of a log that broke nothing is due: a sync could succeed and mean nothing.
    #[inline]
    fn wants_sync_of(&self, bytes: u64) -> bool {
        self.poison.is_none() && self.policy.is_due_at(bytes)
    }

    /// In how many nanoseconds the policy wants a sync, as far as that is a matter of time.
    pub(crate) fn due_in_ns(&self, now_ns: impl FnOnce() -> u64) -> Option<u64> {
        let since_ns = self.unsynced.since_ns().filter(|_| self.poison.is_none() && !self.closing);
        since_ns.and_then(|since_ns| self.policy.due_in_ns(Some(since_ns), now_ns()))
    }

    /// Whether there is more to do than to write and sync, or nothing to be done any more.
    #[inline]
    pub(crate) fn is_asked(&self) -> bool {
        !self.works.is_empty() || self.poison.is_some()
    }

    /// Takes a request in, or gives it back with the reason; whether a leader waits for others meanwhile.
    pub(crate) fn ask(&mut self, work: Work, waiter: Waiter) -> Result<bool, (Waiter, Reject)> {
        if let Some(reason) = self.refusal(waiter.is_task()) {
            return Err((waiter, reason));
        }
        self.closing |= work == Work::Close;
        self.intake.close();
        self.works.push(Request { work, at: self.intake.next_lsn(), owed: Owed::to(waiter) });
        Ok(self.is_gathering())
    }

    #[inline]
    fn has_work(&self) -> bool {
        let asked = !self.works.is_empty() || !self.waiters.is_empty();
        asked || self.intake.is_full() || self.is_due() || self.tasks_gone && !self.intake.is_idle()
    }

    /// Whether there is work and nobody leads.
    #[inline]
    pub(crate) fn may_lead(&self) -> bool {
        !self.leading && self.has_work()
    }

    /// Makes the caller the leader, of all there is; nobody else leads.
    #[inline]
    pub(crate) fn take(&mut self) -> Taken {
        self.leading = true;
        self.taken = (self.intake.next_lsn(), self.intake.bytes());
        self.held = self.taken.1;
        self.gathering = None;
        self.unsynced.taken();
        Taken { frames: self.intake.take(), works: std::mem::take(&mut self.works) }
    }

    /// Answers those whose records have come as far as they want; whether somebody, or the policy, wants a sync.
    #[inline]
    pub(crate) fn reached(
        &mut self,
        (written, durable): (u64, u64),
        answers: &mut Vec<(Waiter, Outcome)>,
    ) -> bool {
        while let Some(waiter) = self.waiters.pop_reached(written, durable) {
            answers.push((waiter, Ok(Done::Other)));
        }
        self.waiters.want_sync(written) || self.wants_sync_of(self.unsynced_bytes)
    }

    /// All records were refused, from `written` on: those who wait for them are, and what nobody was told of goes.
    pub(crate) fn refused(
        &mut self,
        rest: &Frames,
        written: u64,
        reason: &Reject,
        answers: &mut Vec<(Waiter, Outcome)>,
    ) {
        while let Some(waiting) = self.waiters.pop_behind(written) {
            answers.push((waiting.waiter, Err(reason.clone().into())));
        }
        self.intake.refused(rest, written);
        self.taken = (written, 0);
        self.held = 0;
        self.unsynced.refused(!self.intake.is_empty());
        let next = self.intake.next_lsn();
        self.plain_end.took_back(next);
        self.works.iter_mut().for_each(|request| request.at = request.at.min(next));
    }

    /// Refuses everything from now on, by the leader, who knows from where on no write was `attempted`, or by somebody
    /// else, who leaves to the leader what that has taken. Whoever brought records of which no write was tried knows
    /// that nothing happened.
    pub(crate) fn fail(
        &mut self,
        failure: &Failure,
        attempted: Option<u64>,
        answers: &mut Vec<(Waiter, Outcome)>,
    ) {
        self.poison.get_or_insert(failure.clone());
        let (from, tried) = match attempted {
            Some(attempted) => (0, attempted),
            None if self.leading => (self.taken.0, self.taken.0),
            None => (0, self.taken.0),
        };
        while let Some(waiting) = self.waiters.pop_behind(from) {
            let untouched = waiting.brought && waiting.end > tried;
            let outcome =
                if untouched { Reject::Poisoned.into() } else { AppendError::Indeterminate(failure.clone()) };
            answers.push((waiting.waiter, Err(outcome)));
        }
        let works = self.works.drain(..).filter_map(|request| request.owed.take());
        answers.extend(works.map(|waiter| (waiter, Err(Reject::Poisoned.into()))));
        self.intake.clear();
    }

    /// What the leader took is written.
    #[inline]
    pub(crate) fn landed(&mut self, frames: &mut Frames, room: u64) {
        self.intake.landed(frames, room);
        self.held = 0;
    }

    /// So many bytes of what is written are not synced.
    #[inline]
    pub(crate) fn synced_but(&mut self, bytes: u64) {
        self.unsynced_bytes = bytes;
        if bytes == 0 {
            self.unsynced.synced();
        }
    }

    /// A sync serves so many.
    #[inline]
    pub(crate) fn serves(&mut self, waiting: usize) {
        self.last_group = waiting;
    }

    /// Those were answered.
    #[inline]
    pub(crate) fn served(&mut self) {
        self.expected = self.last_group + self.waiters.synced();
    }
}

#[cfg(test)]
mod tests;
