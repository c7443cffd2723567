//! One commit: what was taken in is written, synced where somebody wants that, and whoever waits is answered.
//!
//! Exactly one thread at a time leads; it alone touches the log's end. Durable LSNs are published only after the
//! sync that made them so (I5).

mod serve;

use std::cell::Cell;
use std::io;
use std::thread_local;

use parking_lot::MutexGuard;

use crate::Durability;
use crate::commit::{Handoff, Taken};
use crate::error::{AppendError, Failure, Reject};
use crate::frames::Frames;
use crate::fs::Fs;
use crate::leader::Inner;
use crate::log::Log;
use crate::request::{Outcome, Waiter};

thread_local! {
    /// Memory for the answers of a commit.
    static ANSWERS: Cell<Vec<(Waiter, Outcome)>> = const { Cell::new(Vec::new()) };
}

impl<F: Fs> Inner<F> {
    /// Commits what was taken. The answer is that of the leader itself, where it wants its records below an LSN as
    /// safe as it says.
    #[inline]
    pub(crate) fn lead(&self, taken: Taken, own: Option<(Durability, u64)>) -> Result<(), AppendError> {
        let mut lead = Lead { inner: self, answers: Vec::new(), handoff: None };
        let mut turn = Turn {
            inner: self,
            log: self.log.lock(),
            frames: taken.frames,
            answers: &mut lead.answers,
            outcome: Ok(()),
        };
        if turn.log.released {
            turn.settle(Err(self.gone().into()));
        }
        if !taken.works.is_empty() {
            for request in taken.works {
                turn.write(request.at);
                turn.serve(request);
            }
        }
        turn.write(u64::MAX);
        let handoff = turn.finish(own);
        let answer = turn.answer(own);
        lead.handoff = Some(handoff);
        drop(lead);
        self.ring_for_reserve();
        answer
    }

    /// Why the log was let go.
    fn gone(&self) -> Reject {
        let poisoned = self.queue.lock().poison().is_some();
        if poisoned { Reject::Poisoned } else { Reject::Closed }
    }
}

/// What a leader works with. Once the outcome is an error no more records are written.
struct Turn<'a, F: Fs> {
    inner: &'a Inner<F>,
    log: MutexGuard<'a, Log<F>>,
    frames: Frames,
    answers: &'a mut Vec<(Waiter, Outcome)>,
    outcome: Result<(), AppendError>,
}

impl<F: Fs> Turn<'_, F> {
    /// Writes the records below `upto`.
    #[inline]
    fn write(&mut self, upto: u64) {
        if self.outcome.is_ok() && !self.frames.is_empty() {
            let (inner, quota) = (self.inner, || self.inner.pinned_by());
            let frames = (&mut self.frames, upto);
            let wrote = self.log.write(&inner.home, &inner.reserve, Some(&quota), frames);
            self.settle(wrote);
        }
    }

    /// Syncs what was written, where somebody wants that, and ends the lead.
    #[inline]
    fn finish(&mut self, own: Option<(Durability, u64)>) -> Handoff {
        if cfg!(wal_mutant = "ack_before_fsync") {
            self.log.durable = self.log.next_lsn;
        }
        let own_sync = own.is_some_and(|(level, end)| {
            level == Durability::Synced && self.log.durable < end && end <= self.log.next_lsn
        });
        let inner = self.inner;
        let mut queue = inner.queue.lock();
        if self.outcome.is_ok() {
            queue.landed(&mut self.frames, self.log.room());
        }
        queue.synced_but(self.log.unsynced());
        if queue.is_awaited() && self.answers.capacity() == 0 {
            *self.answers = ANSWERS.try_with(Cell::take).unwrap_or_default();
        }
        let woken = if cfg!(wal_mutant = "wake_too_early") { self.log.next_lsn } else { self.log.durable };
        let others_sync = queue.reached((self.log.next_lsn, woken), self.answers);
        // A sync of a log that broke could succeed and mean nothing.
        let broke = matches!(self.outcome, Err(AppendError::Indeterminate(_)));
        if (own_sync || others_sync) && !broke {
            let (waiting, _) = queue.waiting_for_sync();
            queue.serves(waiting + usize::from(own_sync));
            drop(queue);
            // Who wants no more than a write does not wait for the sync.
            inner.answer_all(self.answers);
            let synced = self.log.sync(&inner.home);
            self.settle(synced);
            queue = inner.queue.lock();
            queue.synced_but(self.log.unsynced());
            queue.reached((self.log.next_lsn, self.log.durable), self.answers);
            queue.served();
        }
        queue.leave()
    }

    #[inline]
    fn publish(&self) {
        let progress = &self.inner.progress;
        progress.set_written(self.log.next_lsn);
        progress.set_durable(self.log.durable);
        progress.set_low(self.log.low);
        progress.set_segment(self.log.segment());
        self.inner.tell();
    }

    /// Publishes how far the log has come. On an error whoever waits for more is answered: a log that broke is
    /// poisoned, what was refused is given up, or kept for another try where somebody was told of it.
    #[inline]
    fn settle(&mut self, result: Result<(), AppendError>) {
        self.publish();
        if let Err(error) = result {
            self.fail(error);
        }
    }

    #[cold]
    fn fail(&mut self, error: AppendError) {
        let log = &self.log;
        let rest = std::mem::take(&mut self.frames);
        match &error {
            AppendError::Rejected(reason) => {
                let mut queue = self.inner.queue.lock();
                queue.refused(&rest, log.next_lsn, reason, self.answers);
                self.inner.pins.lock().took_back(queue.intake.next_lsn());
            }
            AppendError::Indeterminate(failure) => self.inner.poison(failure, Some(log.attempted)),
        }
        self.outcome = Err(error);
    }

    #[inline]
    fn answer(self, own: Option<(Durability, u64)>) -> Result<(), AppendError> {
        let Some((level, end)) = own else { return Ok(()) };
        let reached = if level == Durability::Synced { self.log.durable } else { self.log.next_lsn };
        match self.outcome {
            Err(error) if end > reached => match error {
                AppendError::Indeterminate(_) if end > self.log.attempted => {
                    self.inner.reject(Reject::Poisoned)
                }
                AppendError::Rejected(reason) => self.inner.reject(reason),
                error => Err(error),
            },
            // What it took in was thrown away before it was taken along: the log broke elsewhere meanwhile.
            Ok(()) if end > reached => self.inner.reject(Reject::Poisoned),
            _ => Ok(()),
        }
    }
}

/// The lead of one commit. If it ends by a panic the log is poisoned; in any case somebody else may lead.
struct Lead<'a, F: Fs> {
    inner: &'a Inner<F>,
    answers: Vec<(Waiter, Outcome)>,
    handoff: Option<Handoff>,
}

impl<F: Fs> Lead<'_, F> {
    fn broken(&self) -> Handoff {
        let failure = Failure::new("committing", io::Error::other("the file system panicked"));
        let attempted = self.inner.log.lock().attempted;
        self.inner.poison(&failure, Some(attempted));
        self.inner.queue.lock().leave()
    }
}

impl<F: Fs> Drop for Lead<'_, F> {
    fn drop(&mut self) {
        let handoff = self.handoff.take().unwrap_or_else(|| self.broken());
        self.inner.hand_off(handoff);
        if self.answers.capacity() > 0 {
            self.inner.answer_all(&mut self.answers);
            // Where the thread ends there is none to keep it.
            let _ = ANSWERS.try_with(|kept| kept.set(std::mem::take(&mut self.answers)));
        }
    }
}
