//! A limiter that those who may not pass now wait at, in line.
//!
//! One timer serves the whole line, and its waker is the line itself: when it rings, whoever is due is granted
//! on the spot, whether their task is running, slow or never polled again, and only they are woken. So one
//! that waits costs two polls however long the line is, and nobody's sleep delays the next.
//!
//! Q5: a release is seen by whoever joins at the same time: the joiner shows itself in `queued` and then reads
//! the bucket, the other changes the bucket and then reads `queued`, with a fence in between. What is changed
//! while somebody waits is changed by who holds the line.
//! Q6: the bell is never missed: who cannot look because somebody else holds the line leaves it rung, and the
//! holder looks at it after letting go.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::cell::Cell;
use crate::decision::{Bound, Denied, Snapshot};
use crate::limiter::Limiter;
use crate::permit::{Permit, Release};
use crate::quota::{Inherit, Quota};
use crate::sync::{AtomicBool, Mutex, Ordering, fence};

mod future;
mod line;
mod runtime;

pub use future::Wait;
use line::{Line, Outcome};

type Clock = Box<dyn Fn() -> u64 + Send + Sync>;
type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who may wait, and how exactly they are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueOptions {
    /// Most that wait at once; 65,536 by default. The next is refused. Each takes some hundred bytes.
    pub capacity: usize,
    /// Whether [`Queue::try_acquire`] and [`Queue::allow`] may take tokens while others wait for them; not by
    /// default. Where they may, those who ask for much may wait for ever. Who waits overtakes nobody in any case.
    pub barging: bool,
    /// How late the timer may ring without costing those who wait any tokens; 100 ms by default. Windows may
    /// hold that much more: `burst + rate·(t + lateness)`. At zero a late timer costs what was minted beyond the
    /// burst, and that is most of it where the burst is less than the rate mints in the timer's granularity.
    pub lateness: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { capacity: 1 << 16, barging: false, lateness: Duration::from_millis(100) }
    }
}

/// A [`Limiter`] with a line: whoever may not pass now can wait their turn. Clones are the same queue.
///
/// First come, first served, whatever the size of the request, from the first poll on. A request beyond the
/// burst passes as [`Oversize`](crate::Oversize) says: `Split` ones when all their tokens were minted.
///
/// ```
/// use forebay_ratelimit::{Queue, Quota, Rate};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), forebay_ratelimit::Denied> {
/// let queue = Queue::new(Quota::new(Rate::per_second(10), 5));
/// queue.wait(5).await?.keep(); // there at once
/// queue.wait(3).await?.keep(); // 300 ms later
/// let denied = queue.wait_within(3, Duration::from_millis(299)).await.unwrap_err(); // at once
/// assert_eq!(denied.retry_after.duration(), Some(Duration::from_millis(300)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    limiter: Limiter<Clock>,
    options: QueueOptions,
    sleep: Box<dyn Fn(Duration) -> Sleep + Send + Sync>,
    /// Whether anybody waits (Q5).
    queued: AtomicBool,
    /// Whether somebody has to look after the line (Q6).
    rung: AtomicBool,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    line: Line,
    /// The one timer, and when it is to ring.
    alarm: Option<(u64, Sleep)>,
}

impl Queue {
    /// A full limiter on a clock and a timer of the caller's: `clock` returns monotonic nanoseconds since
    /// whenever, `sleep` a future that ends when as much has passed on that clock. It may end late, within
    /// [`QueueOptions::lateness`]; one that ends early is asked for again, on the spot. The waker it gets never
    /// blocks. Both are called while the line is locked, and must not ask the queue.
    pub fn with_timer<F>(
        quota: Quota,
        options: QueueOptions,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
        sleep: impl Fn(Duration) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let clock: Clock = Box::new(clock);
        let shared = Shared {
            limiter: Limiter::with_clock(quota, clock),
            options,
            sleep: Box::new(move |delay| Box::pin(sleep(delay))),
            queued: AtomicBool::new(false),
            rung: AtomicBool::new(false),
            waiting: Mutex::new(Waiting { line: Line::new(options.lateness), alarm: None }),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes `tokens` if they may pass now and nobody waits (or [barging](QueueOptions::barging) is allowed).
    pub fn allow(&self, tokens: u64) -> bool {
        (self.is_open(tokens) || self.waiting() == 0) && self.shared.limiter.allow(tokens)
    }

    /// Takes `tokens` if they may pass now and nobody waits (or [barging](QueueOptions::barging) is allowed).
    ///
    /// # Errors
    /// [`Denied`], with [`Bound::Queue`] when others wait; nothing was taken.
    pub fn try_acquire(&self, tokens: u64) -> Result<QueuePermit<'_>, Denied> {
        if !self.is_open(tokens) {
            let (cell, now_ns) = (&self.shared.limiter.cell, self.now_ns());
            if let Some(denied) = self.shared.hold(|waiting| waiting.line.passed_by(cell, now_ns, tokens)) {
                return Err(denied);
            }
        }
        let refundable = self.shared.limiter.try_acquire(tokens)?.tokens();
        Ok(Permit::new(self, tokens, refundable))
    }

    /// Waits for `tokens` in line. Dropping the future leaves the line; all behind move forward, and what was
    /// granted but not fetched goes to them.
    ///
    /// The future fails with [`Denied`] at once when no time under the quota in force would serve it, or the
    /// line is full; and later, when a new quota says so.
    pub fn wait(&self, tokens: u64) -> Wait<'_> {
        Wait::new(self, tokens, None)
    }

    /// [`wait`](Self::wait) no longer than until `deadline_ns` of the queue's clock. It fails at once if those
    /// ahead and the quota in force say that the tokens will not be there by then; the wait it names is the one
    /// it would take. Tokens that are there at once are taken even after the deadline.
    pub fn wait_until(&self, tokens: u64, deadline_ns: u64) -> Wait<'_> {
        Wait::new(self, tokens, Some(deadline_ns))
    }

    /// [`wait_until`](Self::wait_until) a time from now.
    pub fn wait_within(&self, tokens: u64, time: Duration) -> Wait<'_> {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.wait_until(tokens, self.now_ns().saturating_add(time_ns))
    }

    /// Gives back `tokens` that were taken, to those who wait first. It is the caller's care not to give back
    /// more than was taken; a [`QueuePermit`] cannot.
    pub fn release(&self, tokens: u64) {
        self.shared.give_back(tokens);
    }

    /// Puts another quota in force, rate and burst as one; tokens and debt stay. Those who wait are served by
    /// the new quota from now on, or refused if it cannot serve them in time.
    pub fn reconfigure(&self, quota: Quota) {
        self.reconfigure_with(quota, Inherit::AsIs);
    }

    /// [`reconfigure`](Self::reconfigure) with a say in what becomes of tokens and debt. What a `Split` request
    /// has saved up beyond the burst stays [as it is](Inherit::AsIs), and is forgotten otherwise.
    pub fn reconfigure_with(&self, quota: Quota, inherit: Inherit) {
        let quota = quota.clamped();
        if self.quota() == quota && inherit != Inherit::Reset {
            return;
        }
        self.shared.change(|line, cell, now_ns, woken| line.reconfigure(cell, now_ns, quota, inherit, woken));
    }

    /// The bucket now; takes nothing. What is available may be others' who wait.
    pub fn peek(&self) -> Snapshot {
        self.shared.limiter.peek()
    }

    /// The quota in force.
    pub fn quota(&self) -> Quota {
        self.shared.limiter.quota()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.shared.hold(|waiting| waiting.line.len())
    }

    /// The queue's clock, for deadlines.
    pub fn now_ns(&self) -> u64 {
        (self.shared.limiter.clock)()
    }

    /// Whether those who do not wait may take tokens.
    fn is_open(&self, tokens: u64) -> bool {
        tokens == 0 || self.shared.options.barging || self.is_free()
    }

    /// Whether nobody waits. May say that somebody does for a moment after they have gone, or before they come.
    fn is_free(&self) -> bool {
        !self.shared.queued.load(Ordering::Acquire)
    }
}

/// Tokens taken from a [`Queue`]; what is given back goes to those who wait.
pub type QueuePermit<'a> = Permit<&'a Queue>;

impl Release for Queue {
    type Tokens = u64;

    fn give_back(&self, tokens: u64) {
        self.release(tokens);
    }
}

impl QueuePermit<'_> {
    /// The same permit with the queue in hand.
    pub fn into_owned(self) -> Permit<Queue> {
        Permit::new(Queue::clone(self.source()), self.granted(), self.tokens())
    }
}

impl Shared {
    fn give_back(self: &Arc<Self>, tokens: u64) {
        // The instant first: whoever is not seen below joins later, and has nothing from the time before.
        let now_ns = (self.limiter.clock)();
        if self.queued.load(Ordering::Acquire) {
            self.change(|line, cell, now_ns, _| line.give_back(cell, now_ns, tokens));
            return;
        }
        self.limiter.release_at(now_ns, tokens);
        fence(Ordering::SeqCst);
        if self.queued.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Serves whoever is due, does `work` on line and bucket, and serves whoever is due then.
    fn change(self: &Arc<Self>, work: impl FnOnce(&mut Line, &Cell, u64, &mut Vec<Waker>)) {
        let mut woken = Vec::new();
        self.hold(|waiting| {
            let (cell, now_ns) = (&self.limiter.cell, (self.limiter.clock)());
            waiting.line.serve(cell, now_ns, &mut woken);
            work(&mut waiting.line, cell, now_ns, &mut woken);
            self.look_after(waiting, &mut woken);
        });
        woken.into_iter().for_each(Waker::wake);
    }

    /// Does `work` on the line, and afterwards what others could not do meanwhile (Q6).
    fn hold<T>(self: &Arc<Self>, work: impl FnOnce(&mut Waiting) -> T) -> T {
        let done = work(&mut self.waiting.lock());
        fence(Ordering::SeqCst);
        if self.rung.load(Ordering::Relaxed) {
            self.ring();
        }
        done
    }

    /// Has the line looked after: here and now, or by whoever holds it. Never blocks.
    fn ring(self: &Arc<Self>) {
        // An exchange and not a store, so that it comes before the one below, and is seen by it, or after it.
        self.rung.swap(true, Ordering::AcqRel);
        loop {
            fence(Ordering::SeqCst);
            let mut woken = Vec::new();
            let Some(mut waiting) = self.waiting.try_lock() else { return };
            // Either this finds the bell rung, and so also why; or it rings later, and is found below.
            self.rung.swap(false, Ordering::AcqRel);
            self.look_after(&mut waiting, &mut woken);
            drop(waiting);
            woken.into_iter().for_each(Waker::wake);
            fence(Ordering::SeqCst);
            if !self.rung.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    /// Serves whoever is due and sets the timer for the next.
    fn look_after(self: &Arc<Self>, waiting: &mut Waiting, woken: &mut Vec<Waker>) {
        let Waiting { line, alarm } = waiting;
        loop {
            let now_ns = (self.limiter.clock)();
            let next_ns = line.serve(&self.limiter.cell, now_ns, woken);
            self.queued.store(!line.is_empty(), Ordering::Release);
            let Some(next_ns) = next_ns else {
                *alarm = None;
                return;
            };
            if alarm.as_ref().is_none_or(|&(at_ns, _)| at_ns != next_ns) {
                let delay = Duration::from_nanos(next_ns.saturating_sub(now_ns));
                *alarm = Some((next_ns, (self.sleep)(delay)));
            }
            let Some((_, sleep)) = alarm else { return };
            // It may ring here and now: `wake` below then finds the line held, and the bell rung.
            let waker = Waker::from(Arc::clone(self));
            if sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                return;
            }
            *alarm = None;
        }
    }

    /// A place in line, unless that is not needed or of no use.
    fn join(self: &Arc<Self>, tokens: u64, deadline_ns: Option<u64>, waker: &Waker) -> Result<u64, Outcome> {
        let (joined, alone) = self.hold(|Waiting { line, .. }| {
            let joined = self.join_line(line, tokens, deadline_ns, waker);
            self.queued.store(!line.is_empty(), Ordering::Release);
            (joined, line.len() == 1)
        });
        // Behind others nothing is to be done before the timer rings, but for a deadline.
        if joined.is_ok() && (alone || deadline_ns.is_some()) {
            self.ring();
        }
        joined
    }

    fn join_line(
        &self,
        line: &mut Line,
        tokens: u64,
        deadline_ns: Option<u64>,
        waker: &Waker,
    ) -> Result<u64, Outcome> {
        let (cell, now_ns) = (&self.limiter.cell, (self.limiter.clock)());
        if line.len() >= self.options.capacity {
            let denied = line.turned_away(cell, now_ns, tokens);
            return Err(Err(Denied { bound: Bound::Queue, ..denied }));
        }
        let mut told = line.quote(cell, now_ns, tokens, deadline_ns);
        if told.is_none() && line.is_empty() {
            // Shown before the bucket is read once more (Q5).
            self.queued.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            told = line.quote(cell, now_ns, tokens, deadline_ns);
        }
        match told {
            Some(outcome) => Err(outcome),
            None => Ok(line.enter(tokens, deadline_ns, waker.clone())),
        }
    }
}

/// The timer rings.
impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("limiter", &self.shared.limiter)
            .field("waiting", &self.waiting())
            .field("options", &self.shared.options)
            .finish_non_exhaustive()
    }
}
