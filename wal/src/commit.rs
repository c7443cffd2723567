//! Group commit as a state machine without threads: records are taken in, one leader at a time writes what there is,
//! and whoever waits is answered exactly once.
//!
//! Whoever finds work and no leader leads; a leader that leaves says whom to wake.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::Durability;
use crate::error::{AppendError, Failure, Reject};
use crate::frames::Frames;
use crate::intake::Intake;
use crate::parker::Parker;
use crate::payload::Payload;
use crate::policy::{SyncPolicy, Unsynced};
use crate::progress::{Waiters, Waiting};
use crate::truncate::Truncated;

/// What is asked for besides records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Truncate(u64),
    /// Of records below this LSN; the body of the frame.
    Checkpoint(u64, Bytes),
    Rotate,
    Close,
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub(crate) enum Done {
    Truncated(Truncated),
    Other,
}

pub(crate) type Outcome = Result<Done, AppendError>;

/// Where the answer goes.
pub(crate) enum Waiter {
    Thread(Arc<Parker<Outcome>>),
    #[cfg(feature = "tokio")]
    Task(tokio::sync::oneshot::Sender<Outcome>),
}

impl Waiter {
    pub(crate) fn answer(self, outcome: Outcome) {
        match self {
            Self::Thread(parker) => parker.answer(outcome),
            #[cfg(feature = "tokio")]
            // Nobody listens where the future was dropped: the record is in the log all the same.
            Self::Task(sender) => drop(sender.send(outcome)),
        }
    }

    fn thread(&self) -> Option<Arc<Parker<Outcome>>> {
        match self {
            Self::Thread(parker) => Some(parker.clone()),
            #[cfg(feature = "tokio")]
            Self::Task(_) => None,
        }
    }

    pub(crate) fn is_task(&self) -> bool {
        !matches!(self, Self::Thread(_))
    }
}

/// Work in the queue: it comes after all records below `at`, and before all others.
pub(crate) struct Request {
    pub(crate) work: Work,
    pub(crate) at: u64,
    pub(crate) owed: Owed,
}

/// An answer that somebody waits for, and gets also where the file system panics.
pub(crate) struct Owed(Option<Waiter>);

impl Owed {
    fn waiter(&self) -> Option<&Waiter> {
        self.0.as_ref()
    }

    /// For whoever answers.
    pub(crate) fn take(mut self) -> Option<Waiter> {
        self.0.take()
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(waiter) = self.0.take() {
            let cause = std::io::Error::other("the file system panicked");
            waiter.answer(Err(AppendError::Indeterminate(Failure::new("committing", cause))));
        }
    }
}

/// What a leader takes along.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) frames: Frames,
    pub(crate) works: VecDeque<Request>,
}

/// Whom a leader that leaves must wake.
#[derive(Default)]
pub(crate) struct Handoff {
    thread: Option<Arc<Parker<Outcome>>>,
    /// Tasks to be refused.
    #[cfg(feature = "tokio")]
    pub(crate) orphans: Vec<Waiter>,
    /// Whether the committer of the async front has work, or none any more.
    #[cfg(feature = "tokio")]
    pub(crate) work_left: bool,
}

impl Handoff {
    pub(crate) fn wake(&self) {
        if let Some(parker) = &self.thread {
            parker.offer_lead();
        }
    }
}

/// Bytes in memory of somebody who waits: the place in the queue, and where the answer goes.
const WAITER_COST: u64 = 256;

/// What was taken in, who waits, and who works on it.
pub(crate) struct Queue {
    pub(crate) intake: Intake,
    waiters: Waiters<Waiter>,
    works: VecDeque<Request>,
    leading: bool,
    /// LSN after the last record that the leader took, or that was written, and the bytes it took.
    taken: (u64, u64),
    /// Those of them that are still in memory.
    held: u64,
    policy: SyncPolicy,
    unsynced: Unsynced,
    /// Bytes of frames that are written and not synced.
    unsynced_bytes: u64,
    /// How many waited for the last sync.
    last_group: usize,
    /// A leader waits until so many wait for a sync.
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
    pub(crate) fn new(intake: Intake, max_inflight: u64, policy: SyncPolicy) -> Self {
        Self {
            taken: (intake.next_lsn(), 0),
            held: 0,
            policy,
            unsynced: Unsynced::default(),
            unsynced_bytes: 0,
            last_group: 0,
            gathering: None,
            intake,
            waiters: Waiters::default(),
            works: VecDeque::new(),
            leading: false,
            max_inflight,
            closing: false,
            poison: None,
            tasks_closed: false,
            tasks_gone: false,
        }
    }

    /// Bytes of records that are not done with, and of those who wait.
    pub(crate) fn inflight(&self) -> u64 {
        self.intake.bytes() + self.taken.1 + self.waiters.len() as u64 * WAITER_COST
    }

    pub(crate) fn poison(&self) -> Option<&Failure> {
        self.poison.as_ref()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(crate) fn is_leading(&self) -> bool {
        self.leading
    }

    /// Why nothing more is taken from anybody, or from tasks.
    #[inline]
    pub(crate) fn refusal(&self, by_task: bool) -> Option<Reject> {
        if self.closing || by_task && self.tasks_closed {
            Some(Reject::Closed)
        } else {
            self.poison.as_ref().map(|_| Reject::Poisoned)
        }
    }

    /// Whether `bytes` more are too many; one record always goes when nothing else is in flight. Where nobody waits
    /// for a sync, only memory counts.
    #[inline]
    pub(crate) fn overfull(&self, bytes: u64, level: Durability) -> Option<Reject> {
        let inflight = match level {
            Durability::Buffered => self.intake.bytes() + self.held,
            Durability::Written | Durability::Synced => self.inflight(),
        };
        let over = inflight > 0 && inflight + bytes > self.max_inflight;
        over.then_some(Reject::Backpressure { inflight, limit: self.max_inflight })
    }

    /// Takes records in, for which there is room; whether they are the first for whose sync a time is set.
    #[inline]
    pub(crate) fn push(
        &mut self,
        records: &mut [Payload<'_>],
        level: Durability,
        now_ns: impl FnOnce() -> u64,
    ) -> Result<(Range<u64>, bool), Reject> {
        let lsns = self.intake.push(records, level == Durability::Buffered)?;
        let timed = level < Durability::Synced && self.policy.is_timed();
        Ok((lsns, timed && self.unsynced.came(now_ns)))
    }

    /// Somebody waits for records below `end`: those it `brought`, or others. Whether a leader waited for that.
    pub(crate) fn wait(&mut self, level: Durability, end: u64, brought: bool, waiter: Waiter) -> bool {
        self.waiters.add(level, Waiting { end, brought, waiter });
        self.gathering.is_some_and(|enough| self.waiters.synced() >= enough)
    }

    /// How many wait for a sync, and how many did for the last.
    pub(crate) fn waiting_for_sync(&self) -> (usize, usize) {
        (self.waiters.synced(), self.last_group)
    }

    /// The leader waits until so many wait for a sync, or does not any more.
    pub(crate) fn gather(&mut self, enough: Option<usize>) {
        self.leading = true;
        self.gathering = enough;
    }

    /// Bytes of frames, and of records in memory, that are not synced.
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

    /// Takes a request in, or gives it back with the reason.
    pub(crate) fn ask(&mut self, work: Work, waiter: Waiter) -> Result<(), (Waiter, Reject)> {
        if let Some(reason) = self.refusal(waiter.is_task()) {
            return Err((waiter, reason));
        }
        self.closing |= work == Work::Close;
        self.intake.close();
        self.works.push_back(Request { work, at: self.intake.next_lsn(), owed: Owed(Some(waiter)) });
        Ok(())
    }

    fn has_work(&self) -> bool {
        let asked = !self.works.is_empty() || !self.waiters.is_empty();
        asked || self.intake.is_full() || self.is_due() || self.tasks_gone && !self.intake.is_idle()
    }

    /// Whether there is work and nobody leads.
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
    pub(crate) fn landed(&mut self, frames: Frames, room: u64) {
        self.intake.landed(frames, room);
        self.held = 0;
    }

    /// So many bytes of what is written are not synced.
    pub(crate) fn synced_but(&mut self, bytes: u64) {
        self.unsynced_bytes = bytes;
        if bytes == 0 {
            self.unsynced.synced();
        }
    }

    /// A sync serves so many.
    pub(crate) fn serves(&mut self, waiting: usize) {
        self.last_group = waiting;
    }

    /// Ends the lead.
    #[inline]
    pub(crate) fn leave(&mut self) -> Handoff {
        self.leading = false;
        self.taken.1 = 0;
        self.held = 0;
        let thread = self.waiters.find(Waiter::thread);
        let works = || self.works.iter().find_map(|request| request.owed.waiter().and_then(Waiter::thread));
        Handoff {
            thread: thread.or_else(works),
            #[cfg(feature = "tokio")]
            orphans: self.orphans(),
            #[cfg(feature = "tokio")]
            work_left: self.has_work() || self.is_done(),
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn tasks_gone(&mut self) {
        self.tasks_gone = true;
    }

    /// Whether there is nothing to do for tasks, now and later.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_done(&self) -> bool {
        let idle = self.waiters.is_empty() && self.works.is_empty();
        let idle = idle && (self.closing || self.intake.is_idle());
        self.poison.is_some() || (self.closing || self.tasks_gone) && idle
    }

    /// Nobody commits for tasks any more. Those whose records no thread takes along are refused.
    #[cfg(feature = "tokio")]
    pub(crate) fn close_tasks(&mut self) -> Vec<Waiter> {
        self.tasks_closed = true;
        self.orphans()
    }

    /// Tasks for which nobody will ever commit.
    #[cfg(feature = "tokio")]
    fn orphans(&mut self) -> Vec<Waiter> {
        let thread = self.waiters.find(Waiter::thread).is_some()
            || self.works.iter().any(|request| request.owed.waiter().is_some_and(|waiter| !waiter.is_task()));
        if !self.tasks_closed || self.leading || thread {
            return Vec::new();
        }
        let works = self.works.drain(..).filter_map(|request| request.owed.take());
        let mut orphans: Vec<_> = works.collect();
        while let Some(waiting) = self.waiters.pop_behind(0) {
            orphans.push(waiting.waiter);
        }
        if !orphans.is_empty() {
            self.intake.refused(&Frames::default(), self.taken.0);
            self.unsynced.refused(!self.intake.is_empty());
        }
        orphans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability::{Buffered, Synced, Written};

    fn queue(policy: SyncPolicy) -> Queue {
        Queue::new(Intake::new(1, 512, 1 << 16), 1000, policy)
    }

    /// Brings a record and waits for it.
    fn append(queue: &mut Queue, len: usize, level: Durability) -> Arc<Parker<Outcome>> {
        let (lsns, _) = queue.push(&mut [vec![0; len].into()], level, || 0).unwrap();
        let parker = Arc::<Parker<Outcome>>::default();
        queue.wait(level, lsns.end, true, Waiter::Thread(parker.clone()));
        parker
    }

    #[test]
    fn one_leads_and_the_next_is_woken_when_it_leaves() {
        let mut queue = queue(SyncPolicy::Always);
        let first = append(&mut queue, 10, Synced);
        assert!(queue.may_lead());
        let taken = queue.take();
        assert_eq!(taken.frames.spans().len(), 1);
        assert!(!queue.may_lead(), "there is a leader");
        let second = append(&mut queue, 20, Synced);
        queue.landed(taken.frames, 1 << 10);
        let mut answers = Vec::new();
        assert!(queue.reached((2, 1), &mut answers) && answers.is_empty());
        assert!(!queue.reached((2, 2), &mut answers), "the second is not even written");
        answers.into_iter().for_each(|(waiter, outcome)| waiter.answer(outcome));
        assert!(matches!(first.take(), Some(Ok(_))));
        queue.leave().wake();
        assert!(second.wait().is_none(), "it is offered the lead");
        assert!(queue.may_lead());
    }

    #[test]
    fn bytes_in_flight_are_bounded_but_one_record_always_goes() {
        let mut queue = queue(SyncPolicy::Always);
        assert_eq!(queue.overfull(5000, Synced), None);
        append(&mut queue, 600, Synced);
        let inflight = 602 + WAITER_COST;
        assert_eq!(queue.overfull(500, Synced), Some(Reject::Backpressure { inflight, limit: 1000 }));
        assert_eq!(queue.overfull(398, Buffered), None, "only memory counts where nobody waits");
        let taken = queue.take();
        assert!(queue.overfull(500, Buffered).is_some());
        queue.landed(taken.frames, 0);
        assert_eq!(queue.overfull(500, Buffered), None);
        assert!(queue.overfull(500, Synced).is_some(), "until its sync");
    }

    #[test]
    fn nothing_is_taken_after_a_close_or_a_failure() {
        let mut queue = queue(SyncPolicy::Always);
        let failure = Failure::new("testing", std::io::Error::other("x"));
        let taken = append(&mut queue, 1, Synced);
        queue.take();
        let untouched = append(&mut queue, 1, Written);
        let mut answers = Vec::new();
        queue.fail(&failure, None, &mut answers);
        assert_eq!(answers.len(), 1, "the leader answers for what it took");
        queue.fail(&failure, Some(2), &mut answers);
        answers.into_iter().for_each(|(waiter, outcome)| waiter.answer(outcome));
        assert!(matches!(untouched.take(), Some(Err(AppendError::Rejected(Reject::Poisoned)))));
        assert!(matches!(taken.take(), Some(Err(AppendError::Indeterminate(_)))));
        assert_eq!(queue.refusal(false), Some(Reject::Poisoned));
        let mut queue = self::queue(SyncPolicy::Always);
        let waiter = || Waiter::Thread(Arc::default());
        assert!(queue.ask(Work::Close, waiter()).is_ok());
        assert!(matches!(queue.ask(Work::Rotate, waiter()), Err((_, Reject::Closed))));
    }

    #[test]
    fn a_leader_that_gathers_hears_of_the_last_it_waits_for() {
        let mut queue = queue(SyncPolicy::Always);
        queue.gather(Some(2));
        let mut wait = |end| queue.wait(Synced, end, false, Waiter::Thread(Arc::default()));
        assert_eq!([wait(2), wait(2), wait(2)], [false, true, true]);
        queue.take();
        assert!(!queue.wait(Synced, 2, false, Waiter::Thread(Arc::default())));
    }

    #[test]
    fn bytes_that_are_due_are_work() {
        let mut queue = queue(SyncPolicy::Bytes(300));
        queue.push(&mut [vec![0; 200].into()], Buffered, || 0).unwrap();
        assert!(!queue.may_lead());
        queue.push(&mut [vec![0; 100].into()], Buffered, || 0).unwrap();
        assert!(queue.may_lead());
        let taken = queue.take();
        queue.landed(taken.frames, 0);
        queue.synced_but(340);
        assert!(queue.reached((3, 1), &mut Vec::new()), "a sync is due");
        queue.synced_but(0);
        assert!(!queue.reached((3, 3), &mut Vec::new()));
    }
}
