//! What all handles of a log share, and how what is asked for gets to the one who does it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::checkpoint;
use crate::commit::{Handoff, Queue};
use crate::error::{AppendError, Failure, Pinned, Reject};
use crate::follow::{Followers, Interest};
use crate::fs::Fs;
use crate::home::Home;
use crate::intake::Intake;
use crate::keeper::Doorbell;
use crate::lasts::Lasts;
use crate::log::{Log, Quota};
use crate::pins::{Pin, Pins};
use crate::progress::Progress;
use crate::request::{Done, Waiter, Work};
use crate::reserve::Reserve;
use crate::{Durability, Lsn};

/// A disk that refuses is asked no sooner again, however short the interval between syncs.
const LEAST_RETRY_NS: u64 = 1_000_000;

/// What handles, readers and the committer share.
pub(crate) struct Inner<F: Fs> {
    pub(crate) home: Home<F>,
    pub(crate) log: Mutex<Log<F>>,
    pub(crate) reserve: Mutex<Reserve<F>>,
    pub(crate) queue: Mutex<Queue>,
    /// As many wait for a sync as the leader waits for, or there is something else to do.
    pub(crate) gathered: Condvar,
    pub(crate) progress: Progress,
    pub(crate) followers: Followers<Waiter>,
    pub(crate) pins: Arc<Mutex<Pins>>,
    pub(crate) lock: Mutex<Option<F::Lock>>,
    pub(crate) doorbell: Doorbell,
    /// Rung when there may be work for the committer of the async front.
    #[cfg(feature = "tokio")]
    pub(crate) committer: Arc<tokio::sync::Notify>,
}

impl<F: Fs> Inner<F> {
    pub(crate) fn new(
        home: Home<F>,
        (mut log, lasts): (Log<F>, Lasts),
        reserve: Reserve<F>,
        lock: F::Lock,
    ) -> Self {
        let options = &home.options;
        let mut pins = Pins::new(log.low);
        log.defs().for_each(|def| drop(pins.add_stream(&def, lasts.end(def.id))));
        log.highest_stream = lasts.highest();
        let intake = Intake::new(log.next_lsn, options.max_frame, options.segment_bytes);
        Self {
            queue: Mutex::new(Queue::new((intake, lasts.end(0)), options.max_inflight_bytes, options.sync)),
            gathered: Condvar::new(),
            progress: log.progress(),
            followers: Followers::default(),
            pins: Arc::new(Mutex::new(pins)),
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

    /// A checkpoint of records below `upto`, as far as there are any.
    pub(crate) fn checkpoint(&self, upto: Lsn, meta: &[u8]) -> Result<Work, AppendError> {
        let lsn = upto.0.min(self.progress.appended());
        let body = checkpoint::body(lsn, meta, self.home.options.segment_bytes);
        body.map(|body| Work::Checkpoint(lsn, body))
            .or_else(|(len, limit)| self.reject(Reject::TooLarge { dir: self.home.dir.clone(), len, limit }))
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

    /// Syncs what the policy wants synced by now; in how many nanoseconds it wants more.
    pub(crate) fn maintain(&self) -> Result<Option<u64>, AppendError> {
        let due_in_ns = || self.queue.lock().due_in_ns(|| self.home.options.time.monotonic_ns());
        if due_in_ns() != Some(0) {
            return Ok(due_in_ns());
        }
        // Also what a leader is writing, or a task has brought: nobody was told of that, and it is due all the same.
        let end = self.queue.lock().intake.next_lsn();
        self.until(Durability::Synced, end)?;
        Ok(due_in_ns())
    }

    /// When to try again what the policy wanted synced and could not be.
    pub(crate) fn retry_in_ns(&self) -> Option<u64> {
        let interval_ns = self.home.options.sync.due_in_ns(Some(0), 0);
        interval_ns.filter(|_| self.poisoned().is_none()).map(|ns| ns.max(LEAST_RETRY_NS))
    }

    /// Makes the next segment if there is none; whether there was none.
    pub(crate) fn prepare(&self) -> Result<bool, AppendError> {
        let none = self.with_reserve(|reserve, _, _| Ok(!reserve.is_ready()))?;
        while !self.prepare_some()? {}
        Ok(none)
    }

    /// Does a share of that, and lets others at it before it answers whether there is a segment.
    pub(crate) fn prepare_some(&self) -> Result<bool, AppendError> {
        self.with_reserve(Reserve::make_some)
    }

    fn with_reserve(
        &self,
        make: impl FnOnce(&mut Reserve<F>, &Home<F>, Quota<'_>) -> Result<bool, AppendError>,
    ) -> Result<bool, AppendError> {
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
        let made = make(&mut reserve, &self.home, Some(&|| self.pinned_by()));
        if let Err(AppendError::Indeterminate(failure)) = &made {
            self.poison(failure, None);
        }
        MutexGuard::unlock_fair(reserve);
        made
    }

    /// Ends all writing. What the leader has taken is its own to answer: it says up to where a write was tried.
    pub(crate) fn poison(&self, failure: &Failure, attempted: Option<u64>) {
        self.home.counters.poisoned();
        let mut answers = Vec::new();
        self.queue.lock().fail(failure, attempted, &mut answers);
        self.gathered.notify_one();
        self.answer_all(&mut answers);
        self.end();
    }

    /// Whoever follows hears what is published now.
    #[inline]
    pub(crate) fn tell(&self) {
        self.followers.tell(&self.progress, |waiter| waiter.answer(Ok(Done::Other)));
    }

    /// Nothing comes behind what is published now.
    pub(crate) fn end(&self) {
        self.progress.end();
        self.tell();
    }

    /// Whether somebody is to wait for news; not where there is some.
    pub(crate) fn follow(&self, interest: Interest, waiter: Waiter) -> bool {
        self.followers.follow(&self.progress, interest, waiter, Waiter::is_there)
    }

    /// No handle is left that could append: what is only in memory is written where that is possible.
    pub(crate) fn handles_gone(&self) {
        if !std::thread::panicking() {
            let taken = {
                let mut queue = self.queue.lock();
                let idle = queue.is_leading() || queue.intake.is_empty();
                (!idle).then(|| queue.take())
            };
            // Nobody is left to be told.
            drop(taken.map(|taken| self.lead(taken, None)));
        }
        self.end();
    }

    /// Wakes the thread that makes segments where there is none ahead.
    #[inline]
    pub(crate) fn ring_for_reserve(&self) {
        if self.home.ahead.load(Ordering::Relaxed) || self.home.starved.load(Ordering::Relaxed) {
            return;
        }
        // Not waited for: whoever holds the reserve is making it.
        if self.reserve.try_lock().is_some_and(|reserve| reserve.is_empty()) {
            self.doorbell.ring();
        }
    }

    /// Lets whoever is next lead.
    #[inline]
    pub(crate) fn hand_off(&self, handoff: Handoff) {
        handoff.wake();
        #[cfg(feature = "tokio")]
        {
            if handoff.work_left {
                self.committer.notify_one();
            }
            self.refuse_tasks(handoff.orphans);
        }
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
