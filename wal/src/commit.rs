//! Group commit as a state machine without threads: records are taken in, one leader at a time writes what there is,
//! and whoever waits is answered exactly once.
//!
//! Whoever finds work and no leader leads; a leader that leaves says whom to wake.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::Durability;
use crate::error::{AppendError, Failure, Reject};
use crate::frames::Frames;
use crate::intake::Intake;
use crate::parker::Parker;
use crate::payload::Payload;
use crate::progress::{Waiters, Waiting};
use crate::truncate::Truncated;

/// What is asked for besides records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Truncate(u64),
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
    pub(crate) waiter: Waiter,
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
    /// Whether work is left that the committer of the async front may take.
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
    max_inflight: u64,
    /// Set by the first request to close; nothing is taken in after it.
    closing: bool,
    poison: Option<Failure>,
    tasks_closed: bool,
    /// No task is left that could ask for more.
    tasks_gone: bool,
}

impl Queue {
    pub(crate) fn new(intake: Intake, max_inflight: u64) -> Self {
        Self {
            taken: (intake.next_lsn(), 0),
            held: 0,
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
    pub(crate) fn refusal(&self, by_task: bool) -> Option<Reject> {
        if self.closing || by_task && self.tasks_closed {
            Some(Reject::Closed)
        } else {
            self.poison.as_ref().map(|_| Reject::Poisoned)
        }
    }

    /// Whether `bytes` more are too many; one record always goes when nothing else is in flight. Where nobody waits
    /// for a sync, only memory counts.
    pub(crate) fn overfull(&self, bytes: u64, level: Durability) -> Option<Reject> {
        let inflight = match level {
            Durability::Buffered => self.intake.bytes() + self.held,
            Durability::Written | Durability::Synced => self.inflight(),
        };
        let over = inflight > 0 && inflight + bytes > self.max_inflight;
        over.then_some(Reject::Backpressure { inflight, limit: self.max_inflight })
    }

    /// Takes records in, for which there is room.
    pub(crate) fn push(
        &mut self,
        records: &mut [Payload<'_>],
        level: Durability,
    ) -> Result<Range<u64>, Reject> {
        self.intake.push(records, level == Durability::Buffered)
    }

    /// Somebody waits for records below `end`: those it `brought`, or others.
    pub(crate) fn wait(&mut self, level: Durability, end: u64, brought: bool, waiter: Waiter) {
        self.waiters.add(level, Waiting { end, brought, waiter });
    }

    /// Takes a request in, or gives it back with the reason.
    pub(crate) fn ask(&mut self, work: Work, waiter: Waiter) -> Result<(), (Waiter, Reject)> {
        if let Some(reason) = self.refusal(waiter.is_task()) {
            return Err((waiter, reason));
        }
        self.closing |= work == Work::Close;
        self.intake.close();
        self.works.push_back(Request { work, at: self.intake.next_lsn(), waiter });
        Ok(())
    }

    fn has_work(&self) -> bool {
        let asked = !self.works.is_empty() || !self.waiters.is_empty();
        asked || self.intake.is_full() || self.tasks_gone && !self.intake.is_idle()
    }

    /// Makes the caller the leader if there is work and nobody leads.
    pub(crate) fn lead(&mut self) -> Option<Taken> {
        (!self.leading && self.has_work()).then(|| self.take())
    }

    /// Makes the caller the leader, of all there is; nobody leads.
    pub(crate) fn take(&mut self) -> Taken {
        self.leading = true;
        self.taken = (self.intake.next_lsn(), self.intake.bytes());
        self.held = self.taken.1;
        Taken { frames: self.intake.take(), works: std::mem::take(&mut self.works) }
    }

    /// Answers those whose records have come as far as they want; whether somebody waits for a sync.
    pub(crate) fn reached(
        &mut self,
        (written, durable): (u64, u64),
        answers: &mut Vec<(Waiter, Outcome)>,
    ) -> bool {
        while let Some(waiter) = self.waiters.pop_reached(written, durable) {
            answers.push((waiter, Ok(Done::Other)));
        }
        self.waiters.want_sync(written)
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
        let works = self.works.drain(..).map(|request| (request.waiter, Err(Reject::Poisoned.into())));
        answers.extend(works);
        self.intake.clear();
    }

    /// What the leader took is done with.
    pub(crate) fn landed(&mut self, frames: Frames, room: u64) {
        self.intake.landed(frames, room);
        self.held = 0;
    }

    /// Ends the lead.
    pub(crate) fn leave(&mut self) -> Handoff {
        self.leading = false;
        self.taken.1 = 0;
        self.held = 0;
        let thread = self.waiters.find(Waiter::thread);
        let works = || self.works.iter().find_map(|request| request.waiter.thread());
        Handoff {
            thread: thread.or_else(works),
            #[cfg(feature = "tokio")]
            orphans: self.orphans(),
            #[cfg(feature = "tokio")]
            work_left: self.has_work(),
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
            || self.works.iter().any(|request| !request.waiter.is_task());
        if !self.tasks_closed || self.leading || thread {
            return Vec::new();
        }
        let works = self.works.drain(..).map(|request| request.waiter);
        let mut orphans: Vec<_> = works.collect();
        while let Some(waiting) = self.waiters.pop_behind(0) {
            orphans.push(waiting.waiter);
        }
        if !orphans.is_empty() {
            self.intake.refused(&Frames::default(), self.taken.0);
        }
        orphans
    }
}
