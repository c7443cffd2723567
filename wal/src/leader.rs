//! What the leader of a commit does, and what all handles of a log share.
//!
//! Exactly one thread at a time leads; it alone touches the log's end. Durable LSNs are published only after the
//! sync that made them so (I5).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::Lsn;
use crate::commit::{Done, Outcome, Queue, Request, Slot, Waiter, Work};
use crate::error::{AppendError, Failure, Pinned, Reject};
use crate::format::MAX_NUMBER;
use crate::frame::{Kind, frame_len};
use crate::fs::Fs;
use crate::group::Batch;
use crate::home::Home;
use crate::log::{Log, Need, Tail};
use crate::payload::Payload;
use crate::reserve::{Doorbell, Reserve};
use crate::truncate::{Pin, Pins};

/// What handles, readers and the committer share.
pub(crate) struct Inner<F: Fs> {
    pub(crate) home: Home<F>,
    log: Mutex<Log<F>>,
    reserve: Mutex<Reserve<F>>,
    queue: Mutex<Queue>,
    pins: Arc<Mutex<Pins>>,
    lock: Mutex<Option<F::Lock>>,
    durable: AtomicU64,
    low: AtomicU64,
    pub(crate) doorbell: Doorbell,
    /// Rung when there may be work for the committer of the async front.
    #[cfg(feature = "tokio")]
    pub(crate) committer: Arc<tokio::sync::Notify>,
}

impl<F: Fs> Inner<F> {
    pub(crate) fn new(home: Home<F>, log: Log<F>, reserve: Reserve<F>, lock: F::Lock) -> Self {
        Self {
            queue: Mutex::new(Queue::new(home.options.max_inflight_bytes)),
            pins: Arc::new(Mutex::new(Pins::new(log.low))),
            durable: AtomicU64::new(log.next_lsn),
            low: AtomicU64::new(log.low),
            home,
            log: Mutex::new(log),
            reserve: Mutex::new(reserve),
            lock: Mutex::new(Some(lock)),
            doorbell: Doorbell::default(),
            #[cfg(feature = "tokio")]
            committer: Arc::default(),
        }
    }

    pub(crate) fn low(&self) -> u64 {
        self.low.load(Ordering::Acquire)
    }

    pub(crate) fn inflight(&self) -> u64 {
        self.queue.lock().inflight()
    }

    pub(crate) fn poisoned(&self) -> Option<Failure> {
        self.queue.lock().poison().cloned()
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn pin(&self, name: Arc<str>, lsn: Lsn) -> Pin {
        Pins::pin(&self.pins, name, lsn.0)
    }

    pub(crate) fn pinned_by(&self) -> Option<Pinned> {
        let pins = self.pins.lock();
        let directory = self.home.directory.lock();
        pins.oldest(&directory)
    }

    pub(crate) fn batch<I>(&self, records: I) -> Result<Batch, AppendError>
    where
        I: IntoIterator,
        I::Item: Into<Payload>,
    {
        let batch = Batch::new(records.into_iter().map(|record| record.into().0).collect());
        let limit = self.home.options.max_record_bytes;
        if batch.body() <= limit {
            return Ok(batch);
        }
        let reason = Reject::TooLarge { len: batch.body(), limit };
        self.home.counters.rejected(&reason);
        Err(reason.into())
    }

    /// The answer to an append of no records.
    pub(crate) fn nothing(&self) -> Done {
        let next = self.durable();
        Done::Appended(next..next)
    }

    /// Queues a request; a refusal is its answer.
    pub(crate) fn push(&self, request: Request) {
        let refused = self.queue.lock().push(request);
        if let Err((request, reason)) = refused {
            self.answer(request, Err(reason.into()));
        }
    }

    /// Queues work and commits until it is done, or waits for whoever does.
    pub(crate) fn submit(&self, work: Work) -> Outcome {
        let slot = Arc::new(Slot::default());
        self.push(Request::new(work, Waiter::Thread(slot.clone())));
        loop {
            if let Some(outcome) = slot.take() {
                return outcome;
            }
            if !self.commit()
                && let Some(outcome) = slot.wait()
            {
                return outcome;
            }
        }
    }

    /// Commits one group, or one other request, if there is one and nobody else does; whether it did.
    pub(crate) fn commit(&self) -> bool {
        if !self.queue.lock().lead() {
            return false;
        }
        let mut lead = Lead { inner: self, done: false };
        let max_frame = self.home.options.max_frame;
        // Before the queue is asked: what it answers holds while the log cannot be unlocked for the next opener.
        let mut log = self.log.lock();
        let need = match self.queue.lock().first() {
            Some(Work::Append(batch)) => Some((batch.alone(max_frame), batch.count())),
            _ => None,
        };
        match need {
            Some(need) => self.commit_group(&mut log, need, max_frame),
            None => self.commit_other(&mut log),
        }
        drop(log);
        // Not waited for: whoever holds the reserve is making it.
        if !self.home.starved.load(Ordering::Relaxed)
            && self.reserve.try_lock().is_some_and(|reserve| reserve.is_empty())
        {
            self.doorbell.ring();
        }
        lead.done = true;
        true
    }

    fn commit_group(&self, log: &mut Log<F>, (bytes, records): (u64, u64), max_frame: u32) {
        let quota = || self.pinned_by();
        let room = log
            .numbers_for(records)
            .map_err(AppendError::from)
            .and_then(|()| log.make_room(&self.home, &self.reserve, Need::Records(bytes), Some(&quota)));
        if let Err(error) = room {
            let first = self.queue.lock().take_first();
            if let Some(request) = first {
                // Nothing of it was written, even where making room broke the log.
                let reason = self.broken(error).map_or_else(|reason| reason, |_| Reject::Poisoned);
                self.answer(request, Err(reason.into()));
            }
            return;
        }
        let group = {
            let mut queue = self.queue.lock();
            let count = queue.group(log.room(), MAX_NUMBER.saturating_sub(log.next_lsn), max_frame);
            queue.take(count)
        };
        let batches = || group.iter().filter_map(Request::batch);
        let outcome = log.append(&self.home, batches());
        if let Ok(first) = outcome {
            let bytes = batches().map(Batch::bytes).sum();
            self.home.counters.appended(log.next_lsn - first, bytes);
            self.durable.store(log.next_lsn, Ordering::Release);
        }
        self.queue.lock().landed(&group);
        let mut next = self.settled(outcome);
        for request in group {
            let count = request.batch().map_or(0, Batch::count);
            let lsns = next.clone().map(|first| first..first + count);
            next = next.map(|first| first + count);
            self.answer(request, lsns.map(Done::Appended));
        }
    }

    fn commit_other(&self, log: &mut Log<F>) {
        let request = self.queue.lock().take_first();
        let Some(request) = request else { return };
        let (home, quota) = (&self.home, || self.pinned_by());
        let outcome = match request.work {
            Work::Truncate(lsn) => {
                let done = log.truncate(home, &self.reserve, &self.pins, (lsn, Some(&quota)));
                self.low.store(log.low, Ordering::Release);
                done.map(Done::Truncated)
            }
            Work::Rotate if log.is_started() => {
                let capacity = home.options.segment_bytes;
                log.rotate(home, &mut self.reserve.lock(), capacity, Some(&quota)).map(|()| Done::Other)
            }
            Work::Close if !log.clean && !matches!(log.tail, Tail::Empty) => {
                let need = Need::Control(frame_len(0));
                log.make_room(home, &self.reserve, need, Some(&quota))
                    .and_then(|()| log.control(home, (Kind::CLEAN_CLOSE, &[])))
                    .map(|()| Done::Other)
            }
            _ => Ok(Done::Other),
        };
        let outcome = self.settled(outcome);
        if matches!(request.work, Work::Close) {
            self.let_go(log);
        }
        self.answer(request, outcome);
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
        self.settled(reserve.prepare(&self.home, Some(&|| self.pinned_by())))
    }

    /// Poisons the log where the error says that it broke; otherwise gives back why not.
    fn broken(&self, error: AppendError) -> Result<Failure, Reject> {
        match error {
            AppendError::Rejected(reason) => Err(reason),
            AppendError::Indeterminate(failure) => {
                self.poison(failure.clone());
                Ok(failure)
            }
        }
    }

    /// Poisons the log where the outcome says that it broke.
    fn settled<T>(&self, outcome: Result<T, AppendError>) -> Result<T, AppendError> {
        outcome.map_err(|error| match self.broken(error) {
            Ok(failure) => AppendError::Indeterminate(failure),
            Err(reason) => reason.into(),
        })
    }

    fn poison(&self, failure: Failure) {
        self.home.counters.poisoned();
        let orphans = self.queue.lock().fail(failure);
        for request in orphans {
            self.answer(request, Err(Reject::Poisoned.into()));
        }
    }

    pub(crate) fn answer(&self, request: Request, outcome: Outcome) {
        if let Err(AppendError::Rejected(reason)) = &outcome {
            self.home.counters.rejected(reason);
        }
        request.answer(outcome);
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
        let is_idle = idle.0.is_some() && idle.1.is_some();
        if is_idle {
            *self.lock.lock() = None;
        }
        is_idle
    }

    /// As [`unlock`](Self::unlock), by the one who holds the log's end.
    fn let_go(&self, _log: &mut Log<F>) {
        let _idle = self.reserve.lock();
        *self.lock.lock() = None;
    }

    /// Refuses what tasks wait for, now and later: nobody commits for them.
    #[cfg(feature = "tokio")]
    pub(crate) fn close_tasks(&self) {
        let orphans = self.queue.lock().close_tasks();
        for request in orphans {
            self.answer(request, Err(Reject::Closed.into()));
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

/// The lead of one commit. If it ends by a panic the log is poisoned; in any case somebody else may lead.
struct Lead<'a, F: Fs> {
    inner: &'a Inner<F>,
    done: bool,
}

impl<F: Fs> Drop for Lead<'_, F> {
    fn drop(&mut self) {
        if !self.done {
            self.inner.poison(Failure::new("committing", io::Error::other("the file system panicked")));
        }
        let handoff = self.inner.queue.lock().leave();
        handoff.wake();
        #[cfg(feature = "tokio")]
        if handoff.work_left || self.inner.is_done() {
            self.inner.committer.notify_one();
        }
    }
}
