//! Waiting for answers, and giving them: for records to be as safe as asked for, or for other work to be done.

use std::sync::Arc;
use std::thread_local;

use parking_lot::MutexGuard;

use crate::commit::Queue;
use crate::error::{AppendError, Reject};
use crate::fs::Fs;
use crate::leader::Inner;
use crate::parker::{self, Parker};
use crate::request::{Outcome, Waiter, Work};
use crate::{Durability, Lsn};

thread_local! {
    static PARKER: Arc<Parker<Outcome>> = Arc::default();
}

impl<F: Fs> Inner<F> {
    /// Waits for records that this thread has just brought, behind a leader.
    pub(crate) fn wait_for_own(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        level: Durability,
        end: u64,
    ) -> Result<(), AppendError> {
        parker::with_own(&PARKER, |parker| {
            let enough = queue.wait(level, end, true, Waiter::Thread(parker.clone()));
            drop(queue);
            self.tell_gathering(enough);
            self.await_answer(parker, level).map(drop)
        })
    }

    /// Returns when all records below `end` are as safe as asked for, and does what is missing.
    pub(crate) fn until(&self, level: Durability, end: u64) -> Result<(), AppendError> {
        parker::with_own(&PARKER, |parker| {
            if let Some(answer) = self.enlist(level, end, Waiter::Thread(parker.clone())) {
                return answer;
            }
            self.await_answer(parker, level).map(drop)
        })
    }

    /// As [`until`](Self::until) for somebody who waits elsewhere, unless the answer is known.
    pub(crate) fn enlist(
        &self,
        level: Durability,
        end: u64,
        waiter: Waiter,
    ) -> Option<Result<(), AppendError>> {
        let mut queue = self.queue.lock();
        let reached = match level {
            Durability::Buffered => self.progress.appended(),
            Durability::Written => self.progress.written(),
            Durability::Synced => self.progress.durable(),
        };
        if let Some(failure) = queue.poison()
            && self.progress.durable() < end
        {
            // Nobody knows what is left of that which was only written.
            return Some(Err(AppendError::Indeterminate(failure.clone())));
        }
        if reached >= end {
            return Some(Ok(()));
        }
        if let Some(reason) = queue.refusal(waiter.is_task()) {
            return Some(Err(reason.into()));
        }
        let next = queue.intake.next_lsn();
        if end > next {
            // The number was taken back: nobody will ever come so far for the sake of it.
            return Some(Err(Reject::NotAppended { lsn: Lsn(end - 1), next: Lsn(next) }.into()));
        }
        let enough = queue.wait(level, end, false, waiter);
        drop(queue);
        self.tell_gathering(enough);
        None
    }

    /// LSN after a record that `wait` asks for.
    pub(crate) fn end_of(&self, lsn: Lsn) -> Result<u64, AppendError> {
        let next = self.queue.lock().intake.next_lsn();
        if lsn.0 < next { Ok(lsn.0 + 1) } else { self.reject(Reject::NotAppended { lsn, next: Lsn(next) }) }
    }

    /// Does work, when all that was taken in before is written, or waits for whoever does.
    pub(crate) fn submit(&self, work: Work) -> Outcome {
        parker::with_own(&PARKER, |parker| {
            self.ask(work, Waiter::Thread(parker.clone()));
            self.await_answer(parker, Durability::Synced)
        })
    }

    /// Queues work; a refusal is its answer.
    pub(crate) fn ask(&self, work: Work, waiter: Waiter) {
        let asked = self.queue.lock().ask(work, waiter);
        match asked {
            Ok(gathering) => self.tell_gathering(gathering),
            Err((waiter, reason)) => self.answer(waiter, Err(reason.into())),
        }
    }

    fn await_answer(&self, parker: &Parker<Outcome>, level: Durability) -> Outcome {
        loop {
            if let Some(outcome) = parker.take() {
                return outcome;
            }
            if self.commit(true) {
                continue;
            }
            if level < Durability::Synced {
                parker.watch();
            }
            if let Some(outcome) = parker.wait() {
                return outcome;
            }
        }
    }

    #[inline]
    pub(crate) fn answer_all(&self, answers: &mut Vec<(Waiter, Outcome)>) {
        for (waiter, outcome) in answers.drain(..) {
            self.answer(waiter, outcome);
        }
    }

    pub(crate) fn answer(&self, waiter: Waiter, outcome: Outcome) {
        if let Err(AppendError::Rejected(reason)) = &outcome {
            self.home.counters.rejected(reason);
        }
        waiter.answer(outcome);
    }
}
