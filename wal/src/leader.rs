//! What all handles of a log share, and how what is asked for gets to the one who does it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread_local;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::checkpoint;
use crate::commit::{Outcome, Queue, Waiter, Work};
use crate::error::{AppendError, Failure, Pinned, Reject};
use crate::frames::body_len;
use crate::fs::Fs;
use crate::gather::window_ns;
use crate::home::Home;
use crate::intake::Intake;
use crate::keeper::Doorbell;
use crate::log::Log;
use crate::parker::{self, Parker};
use crate::payload::Payload;
use crate::progress::Progress;
use crate::reserve::Reserve;
use crate::truncate::{Pin, Pins};
use crate::{Durability, Lsn};

thread_local! {
    static PARKER: Arc<Parker<Outcome>> = Arc::default();
}

/// What handles, readers and the committer share.
pub(crate) struct Inner<F: Fs> {
    pub(crate) home: Home<F>,
    pub(crate) log: Mutex<Log<F>>,
    pub(crate) reserve: Mutex<Reserve<F>>,
    pub(crate) queue: Mutex<Queue>,
    /// As many wait for a sync as the leader waits for.
    gathered: Condvar,
    pub(crate) progress: Progress,
    pub(crate) pins: Arc<Mutex<Pins>>,
    lock: Mutex<Option<F::Lock>>,
    pub(crate) doorbell: Doorbell,
    /// Rung when there may be work for the committer of the async front.
    #[cfg(feature = "tokio")]
    pub(crate) committer: Arc<tokio::sync::Notify>,
}

impl<F: Fs> Inner<F> {
    pub(crate) fn new(home: Home<F>, log: Log<F>, reserve: Reserve<F>, lock: F::Lock) -> Self {
        let options = &home.options;
        let intake = Intake::new(log.next_lsn, options.max_frame, options.segment_bytes);
        Self {
            queue: Mutex::new(Queue::new(intake, options.max_inflight_bytes, options.sync)),
            gathered: Condvar::new(),
            progress: Progress::new(log.next_lsn, log.low),
            pins: Arc::new(Mutex::new(Pins::new(log.low))),
            home,
            log: Mutex::new(log),
            reserve: Mutex::new(reserve),
            lock: Mutex::new(Some(lock)),
            doorbell: Doorbell::default(),
            #[cfg(feature = "tokio")]
            committer: Arc::default(),
        }
    }

    /// Bytes on their way, and bytes that are not synced.
    pub(crate) fn inflight(&self) -> (u64, u64) {
        let queue = self.queue.lock();
        (queue.inflight(), queue.unsynced_bytes())
    }

    pub(crate) fn poisoned(&self) -> Option<Failure> {
        self.queue.lock().poison().cloned()
    }

    pub(crate) fn durable(&self) -> u64 {
        self.progress.durable()
    }

    pub(crate) fn pin(&self, name: Arc<str>, lsn: Lsn) -> Pin {
        Pins::pin(&self.pins, name, lsn.0)
    }

    pub(crate) fn pinned_by(&self) -> Option<Pinned> {
        let pins = self.pins.lock();
        let directory = self.home.directory.lock();
        pins.oldest(&directory)
    }

    /// Counts a refusal on its way out.
    pub(crate) fn reject<T>(&self, reason: Reject) -> Result<T, AppendError> {
        self.home.counters.rejected(&reason);
        Err(reason.into())
    }

    /// The bytes that records are encoded to, if they are not too many.
    pub(crate) fn measure(&self, records: &mut [Payload<'_>]) -> Result<u64, AppendError> {
        records.iter_mut().for_each(Payload::settle);
        let (len, limit) = (body_len(records), self.home.options.max_record_bytes);
        if len <= limit { Ok(len) } else { self.reject(Reject::TooLarge { len, limit }) }
    }

    /// A checkpoint of records below `upto`, as far as there are any.
    pub(crate) fn checkpoint(&self, upto: Lsn, meta: &[u8]) -> Result<Work, AppendError> {
        let lsn = upto.0.min(self.progress.appended());
        let body = checkpoint::body(lsn, meta, self.home.options.segment_bytes);
        body.map(|body| Work::Checkpoint(lsn, body)).or_else(|reason| self.reject(reason))
    }

    /// The numbers of no records.
    pub(crate) fn nothing(&self) -> Range<u64> {
        let next = self.progress.appended();
        next..next
    }

    /// Takes records in, and returns when they are as safe as asked for.
    pub(crate) fn append(
        &self,
        records: &mut [Payload<'_>],
        level: Durability,
    ) -> Result<Range<u64>, AppendError> {
        let bytes = self.measure(records)?;
        let mut queue = self.queue.lock();
        loop {
            if let Some(reason) = queue.refusal(false) {
                drop(queue);
                return self.reject(reason);
            }
            // What fills a frame goes out with what fills the next, if it has not gone before.
            let idle = !queue.is_leading() && !queue.intake.is_empty();
            let Some(reason) = queue.overfull(bytes, level) else { break };
            if level != Durability::Buffered && !idle {
                drop(queue);
                return self.reject(reason);
            }
            let end = queue.intake.next_lsn();
            drop(queue);
            match self.until(Durability::Written, end) {
                // What was in the way was taken back meanwhile.
                Ok(()) | Err(AppendError::Rejected(Reject::NotAppended { .. })) => {}
                Err(error) => return Err(error),
            }
            queue = self.queue.lock();
        }
        let (lsns, timed) = match queue.push(records, level, || self.home.options.time.monotonic_ns()) {
            Ok(pushed) => pushed,
            Err(reason) => {
                drop(queue);
                return self.reject(reason);
            }
        };
        if timed {
            self.doorbell.ring_for_sync();
        }
        if level == Durability::Buffered {
            self.progress.set_appended(lsns.end);
            if queue.is_leading() || !queue.intake.is_full() && !queue.is_due() {
                return Ok(lsns);
            }
            let taken = queue.take();
            drop(queue);
            // The record is taken in, whatever comes of writing: who needs to know asks for more than that.
            let _ = self.lead(taken, None);
            return Ok(lsns);
        }
        if queue.is_leading() {
            let answer = parker::with_own(&PARKER, |parker| {
                let enough = queue.wait(level, lsns.end, true, Waiter::Thread(parker.clone()));
                drop(queue);
                self.tell_gathering(enough);
                self.await_answer(parker)
            });
            return answer.map(|_| lsns);
        }
        if level == Durability::Synced {
            self.gather(&mut queue, 1);
        }
        let taken = queue.take();
        drop(queue);
        self.lead(taken, Some((level, lsns.end))).map(|()| lsns)
    }

    /// Takes in records of a task, which must not block; where to be told when they are as safe as asked for, unless
    /// they are.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_in(
        &self,
        records: &mut [Payload<'_>],
        level: Durability,
    ) -> Result<(Range<u64>, Option<tokio::sync::oneshot::Receiver<Outcome>>), AppendError> {
        if records.is_empty() {
            return Ok((self.nothing(), None));
        }
        let bytes = self.measure(records)?;
        let mut queue = self.queue.lock();
        let refusal = queue.refusal(true).or_else(|| queue.overfull(bytes, level));
        let now_ns = || self.home.options.time.monotonic_ns();
        let pushed = refusal.map_or_else(|| queue.push(records, level, now_ns), Err);
        let (lsns, timed) = match pushed {
            Ok(pushed) => pushed,
            Err(reason) => {
                drop(queue);
                return self.reject(reason);
            }
        };
        if timed {
            self.doorbell.ring_for_sync();
        }
        if level == Durability::Buffered {
            self.progress.set_appended(lsns.end);
            if queue.intake.is_full() || queue.is_due() {
                self.committer.notify_one();
            }
            return Ok((lsns, None));
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let enough = queue.wait(level, lsns.end, true, Waiter::Task(sender));
        drop(queue);
        self.tell_gathering(enough);
        self.committer.notify_one();
        Ok((lsns, Some(receiver)))
    }

    /// Returns when all records below `end` are as safe as asked for, and does what is missing.
    pub(crate) fn until(&self, level: Durability, end: u64) -> Result<(), AppendError> {
        parker::with_own(&PARKER, |parker| {
            if let Some(answer) = self.enlist(level, end, Waiter::Thread(parker.clone())) {
                return answer;
            }
            self.await_answer(parker).map(drop)
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
            self.await_answer(parker)
        })
    }

    /// Queues work; a refusal is its answer.
    pub(crate) fn ask(&self, work: Work, waiter: Waiter) {
        let refused = self.queue.lock().ask(work, waiter);
        if let Err((waiter, reason)) = refused {
            self.answer(waiter, Err(reason.into()));
        }
    }

    fn await_answer(&self, parker: &Parker<Outcome>) -> Outcome {
        loop {
            if let Some(outcome) = parker.take() {
                return outcome;
            }
            if !self.commit(true)
                && let Some(outcome) = parker.wait()
            {
                return outcome;
            }
        }
    }

    /// Commits what there is, if there is anything and nobody else does; whether it did. A thread may wait for others
    /// to join.
    pub(crate) fn commit(&self, may_wait: bool) -> bool {
        let mut queue = self.queue.lock();
        if !queue.may_lead() {
            return false;
        }
        if may_wait {
            self.gather(&mut queue, 0);
        }
        let taken = queue.take();
        drop(queue);
        // Whoever waits is answered where it waits.
        let _ = self.lead(taken, None);
        true
    }

    /// Leads, and waits for others to join, where the time of a sync says that this is worth it.
    fn gather(&self, queue: &mut MutexGuard<'_, Queue>, own: usize) {
        let (waiting, last) = queue.waiting_for_sync();
        let sync_ns = self.home.counters.sync_ewma_ns();
        if !self.home.options.gather || waiting + own == 0 {
            return;
        }
        let Some(window_ns) = window_ns(sync_ns, last, waiting + own) else { return };
        let until_ns = self.home.options.time.monotonic_ns().saturating_add(window_ns);
        queue.gather(Some(last - own));
        // A clock that stands still must not hold up a log.
        for _ in 0..1000 {
            let left_ns = until_ns.saturating_sub(self.home.options.time.monotonic_ns());
            if left_ns == 0 || queue.waiting_for_sync().0 >= last - own || queue.refusal(false).is_some() {
                break;
            }
            self.gathered.wait_for(queue, Duration::from_nanos(left_ns));
        }
        queue.gather(None);
    }

    fn tell_gathering(&self, enough: bool) {
        if enough {
            self.gathered.notify_one();
        }
    }

    /// Syncs what the policy wants synced by now; in how many nanoseconds it wants more.
    pub(crate) fn maintain(&self) -> Result<Option<u64>, AppendError> {
        let due_in_ns = || self.queue.lock().due_in_ns(|| self.home.options.time.monotonic_ns());
        if due_in_ns() != Some(0) {
            return Ok(due_in_ns());
        }
        self.until(Durability::Synced, self.progress.appended())?;
        Ok(due_in_ns())
    }

    /// When to try again what the policy wanted synced and could not be.
    pub(crate) fn retry_in_ns(&self) -> Option<u64> {
        let policy = self.home.options.sync;
        self.poisoned().is_none().then(|| policy.due_in_ns(Some(0), 0)).flatten()
    }

    pub(crate) fn prepare(&self) -> Result<bool, AppendError> {
        let mut reserve = self.reserve.lock();
        // Under the lock: nothing is made after the directory was unlocked.
        let refusal = {
            let queue = self.queue.lock();
            let poisoned = queue.poison().map(|_| Reject::Poisoned);
            poisoned.or(queue.is_closing().then_some(Reject::Closed))
        };
        if let Some(reason) = refusal {
            return Err(reason.into());
        }
        reserve.prepare(&self.home, Some(&|| self.pinned_by())).inspect_err(|error| {
            if let AppendError::Indeterminate(failure) = error {
                self.poison(failure, None);
            }
        })
    }

    /// Ends all writing. What the leader has taken is its own to answer: it says up to where a write was tried.
    pub(crate) fn poison(&self, failure: &Failure, attempted: Option<u64>) {
        self.home.counters.poisoned();
        let mut answers = Vec::new();
        self.queue.lock().fail(failure, attempted, &mut answers);
        self.answer_all(&mut answers);
    }

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

    /// Wakes the thread that makes segments where there is none ahead.
    pub(crate) fn ring_for_reserve(&self) {
        // Not waited for: whoever holds the reserve is making it.
        if !self.home.starved.load(Ordering::Relaxed)
            && self.reserve.try_lock().is_some_and(|reserve| reserve.is_empty())
        {
            self.doorbell.ring();
        }
    }

    /// Lets the next opener in, when nobody writes or makes a segment any more: whoever made the log fail need not
    /// be the one who leads. Waits for one write at most.
    pub(crate) fn unlock(&self) {
        self.let_go(&mut self.log.lock());
    }

    /// As [`unlock`](Self::unlock) where nobody writes or makes a segment just now; whether it did.
    #[cfg(feature = "tokio")]
    pub(crate) fn try_unlock(&self) -> bool {
        let idle = (self.log.try_lock(), self.reserve.try_lock());
        let (Some(mut log), Some(_)) = idle else { return false };
        log.released = true;
        *self.lock.lock() = None;
        true
    }

    /// As [`unlock`](Self::unlock), by the one who holds the log's end.
    pub(crate) fn let_go(&self, log: &mut Log<F>) {
        let _idle = self.reserve.lock();
        log.released = true;
        *self.lock.lock() = None;
    }

    /// Refuses what tasks wait for, now and later: nobody commits for them.
    #[cfg(feature = "tokio")]
    pub(crate) fn close_tasks(&self) {
        let orphans = self.queue.lock().close_tasks();
        self.refuse_tasks(orphans);
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn refuse_tasks(&self, orphans: Vec<Waiter>) {
        for waiter in orphans {
            self.answer(waiter, Err(Reject::Closed.into()));
        }
    }

    /// No task is left that could ask for more: the committer ends when all is committed.
    #[cfg(feature = "tokio")]
    pub(crate) fn tasks_gone(&self) {
        self.queue.lock().tasks_gone();
        self.committer.notify_one();
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn is_done(&self) -> bool {
        self.queue.lock().is_done()
    }
}

impl<F: Fs> Drop for Inner<F> {
    /// What is only in memory is written where that is possible.
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.queue.get_mut().intake.is_empty() {
            let taken = self.queue.get_mut().take();
            let _ = self.lead(taken, None);
        }
    }
}
