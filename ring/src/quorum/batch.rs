//! The calls of a batch on the tokio runtime. Invariant: each call that has to wait runs in a task of its own, which
//! ends by its deadline, gives its slot back and then reports exactly once, whether or not anyone waits.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Timeout;

use super::finish::{Finish, Finished};
use super::outcome::{BatchOutcome, Cause, Classify, Family};
use super::plan::{Call, Item, Plan};
use super::targets::{Slot, Targets};
use super::tracker::{Answer, Tracker};
use crate::instance::Instance;
use crate::operation::Operation;
use crate::replication::GetOptions;
use crate::ring::Ring;

/// How a batch is judged and bounded.
pub struct BatchOptions<E> {
    /// How many replicas an item has, and how many of them must acknowledge it. Default a quorum of those that the ring
    /// is configured for, and of those that extension adds.
    pub replicas: GetOptions,
    /// How long a call may take, be it awaited or a straggler; then it is dropped and has failed.
    /// Default 10 s. Too short gives up copies that were about to be made, too long lets calls to a
    /// hanging instance fill its bound.
    pub deadline: Duration,
    /// What may be in flight; shared by all batches of the process.
    pub targets: Targets,
    /// Whose fault an error is.
    pub classify: Classify<E>,
}

impl<E> BatchOptions<E> {
    /// A quorum within 10 s.
    pub fn new(targets: Targets, classify: impl Fn(&E) -> Family + Send + Sync + 'static) -> Self {
        Self {
            replicas: GetOptions::default(),
            deadline: Duration::from_secs(10),
            targets,
            classify: Arc::new(classify),
        }
    }
}

impl<E> Clone for BatchOptions<E> {
    fn clone(&self) -> Self {
        Self { targets: self.targets.clone(), classify: Arc::clone(&self.classify), ..*self }
    }
}

impl<E> fmt::Debug for BatchOptions<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchOptions")
            .field("replicas", &self.replicas)
            .field("deadline", &self.deadline)
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

/// What an instance answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaResult<E> {
    /// It stored all items.
    Ok,
    /// It stored none, for one reason.
    Err(E),
    /// It stored all items but these, by their numbers in the batch. Of several errors for an item the
    /// first counts.
    PerItem(Vec<(usize, E)>),
}

/// The items one call carries: ascending numbers in the batch. A clone shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct Items {
    of_all_calls: Arc<[usize]>,
    range: Range<usize>,
}

impl Items {
    pub(super) fn new(of_all_calls: &Arc<[usize]>, range: Range<usize>) -> Self {
        Self { of_all_calls: Arc::clone(of_all_calls), range }
    }
}

impl Deref for Items {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.of_all_calls[self.range.clone()]
    }
}

impl fmt::Debug for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Writes `items` to their replica sets: one `call` per instance, with all items that go there.
///
/// The calls have begun when this returns; the [`Batch`] only waits for them. Dropping it cancels
/// nothing. An item whose replica set cannot succeed is sent to nobody and fails alone. A `call` that
/// the [`Targets`] have no room for is not made and counts as a failure of [`Family::Server`]; so does
/// one that panics or misses the deadline.
///
/// Each call is polled here until it first has to wait, one after the other, and goes on in a task of its own then. So
/// one that is answered at once costs no task, and one that works long before it waits keeps the others from beginning:
/// let it spawn that.
///
/// O(items · replicas + instances) expected, where replica sets are precomputed.
///
/// # Panics
///
/// If a call has to wait outside of a tokio runtime with its timer enabled.
pub fn do_batch<K, E, F, Fut>(
    ring: &Ring,
    op: Operation,
    items: &[K],
    mut call: F,
    options: &BatchOptions<E>,
) -> Batch<E>
where
    K: Copy + Into<Item>,
    E: Send + 'static,
    F: FnMut(&Instance, Items) -> Fut,
    Fut: Future<Output = ReplicaResult<E>> + Send + 'static,
{
    let plan = Plan::new(ring, op, options.replicas, items);
    let mut tracker = Tracker::new(plan.needs(), Arc::clone(&options.classify));
    let mut ended = Finished::default();
    let mut waiting = Vec::new();
    for Call { instance, items, size_bytes } in plan.calls() {
        let slot = match options.targets.acquire(&instance.id, size_bytes) {
            Ok(slot) => slot,
            Err(full) => {
                tracker.record(instance, &items, Answer::Missing(Cause::Full(full)));
                continue;
            }
        };
        match begin(|| call(instance, items.clone())) {
            Begun::Ended(answer) => {
                drop(slot);
                ended.calls += 1;
                ended.failed += usize::from(!answer.is_ok());
                tracker.record(instance, &items, answer);
            }
            Begun::Waits(future) => {
                let future = tokio::time::timeout(options.deadline, future);
                waiting.push((future, slot, Arc::clone(instance), items));
            }
        }
    }
    let running = waiting.len();
    let finish = Arc::new(Finish::new(ended, running));
    // Unbounded in type only: every call sends one report.
    let (reports, inbox) = unbounded_channel();
    for (future, slot, instance, items) in waiting {
        let (reports, finish, deadline) = (reports.clone(), Arc::clone(&finish), options.deadline);
        tokio::spawn(run(future, Reporter { slot: Some(slot), reports, finish, instance, items, deadline }));
    }
    Batch { tracker, finish, stragglers: Some(Stragglers { inbox, running }) }
}

enum Begun<E, Fut> {
    Ended(Answer<E>),
    Waits(Pin<Box<Fut>>),
}

/// Makes a call and polls it once. Whoever polls it next leaves a waker of theirs.
fn begin<E, Fut>(call: impl FnOnce() -> Fut) -> Begun<E, Fut>
where
    Fut: Future<Output = ReplicaResult<E>>,
{
    let begun = catch_unwind(AssertUnwindSafe(|| {
        let mut future = Box::pin(call());
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Begun::Ended(Answer::Result(result)),
            Poll::Pending => Begun::Waits(future),
        }
    }));
    begun.unwrap_or(Begun::Ended(Answer::Missing(Cause::Lost)))
}

async fn run<E, Fut>(future: Timeout<Pin<Box<Fut>>>, reporter: Reporter<E>)
where
    Fut: Future<Output = ReplicaResult<E>>,
{
    let answer = match future.await {
        Ok(result) => Answer::Result(result),
        Err(_) => Answer::Missing(Cause::Deadline(reporter.deadline)),
    };
    reporter.report(answer);
}

/// Reports for a call; if its task ends early, on drop.
struct Reporter<E> {
    /// Taken by the report.
    slot: Option<Slot>,
    reports: UnboundedSender<Report<E>>,
    finish: Arc<Finish>,
    instance: Arc<Instance>,
    items: Items,
    deadline: Duration,
}

struct Report<E> {
    instance: Arc<Instance>,
    items: Items,
    answer: Answer<E>,
}

impl<E> Reporter<E> {
    fn report(mut self, answer: Answer<E>) {
        self.send(answer);
    }

    /// The slot goes first, so that who hears the report finds the room it made; what comes after the last call, last.
    fn send(&mut self, answer: Answer<E>) {
        if self.slot.take().is_some() {
            let is_ok = answer.is_ok();
            let (instance, items) = (Arc::clone(&self.instance), self.items.clone());
            // Nobody listens to a straggler whose batch was dropped.
            let _ = self.reports.send(Report { instance, items, answer });
            self.finish.ended(is_ok);
        }
    }
}

impl<E> Drop for Reporter<E> {
    fn drop(&mut self) {
        self.send(Answer::Missing(Cause::Lost));
    }
}

/// Calls under way; resolves when every item is decided.
#[must_use = "the calls run anyway, but their outcome is lost"]
pub struct Batch<E> {
    tracker: Tracker<E>,
    finish: Arc<Finish>,
    /// Taken by the outcome.
    stragglers: Option<Stragglers<E>>,
}

impl<E> Batch<E> {
    /// Has `then` run once after the last call has ended, stragglers included, even if the batch is dropped or never
    /// awaited; now if there is none under way. For what the calls borrow from the caller: buffers, a permit, a span.
    /// It runs where the last call ends, so let it be short; a panic in it goes no further.
    pub fn on_finished(self, then: impl FnOnce(Finished) + Send + 'static) -> Self {
        self.finish.then(Box::new(then));
        self
    }
}

/// Nothing in it is pinned: the calls have tasks of their own.
impl<E> Unpin for Batch<E> {}

impl<E> Future for Batch<E> {
    type Output = BatchOutcome<E>;

    /// # Panics
    ///
    /// If polled again after it resolved.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BatchOutcome<E>> {
        let this = self.get_mut();
        let calls = this.stragglers.as_mut().expect("a batch is not polled after it resolved");
        while !this.tracker.is_decided() {
            let report = ready!(calls.inbox.poll_recv(cx));
            let report = report.expect("each call reports once, and with the last one all is decided");
            calls.running -= 1;
            this.tracker.record(&report.instance, &report.items, report.answer);
        }
        let (items, errors) = this.tracker.take();
        let stragglers = this.stragglers.take().expect("checked above");
        Poll::Ready(BatchOutcome { items, errors, stragglers })
    }
}

impl<E> fmt::Debug for Batch<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("calls", &self.stragglers).finish_non_exhaustive()
    }
}

/// The calls of a batch that have not ended. Dropping this lets them go on unwatched.
pub struct Stragglers<E> {
    inbox: UnboundedReceiver<Report<E>>,
    running: usize,
}

impl<E> Stragglers<E> {
    /// How many calls had not ended when the batch was decided.
    pub fn len(&self) -> usize {
        self.running
    }

    /// Whether all calls had ended by then.
    pub fn is_empty(&self) -> bool {
        self.running == 0
    }

    /// Waits until every call has ended, at the latest by its deadline; returns how many of the
    /// stragglers did not store all of their items.
    pub async fn finished(mut self) -> usize {
        let mut failed = 0;
        while let Some(report) = self.inbox.recv().await {
            failed += usize::from(!report.answer.is_ok());
        }
        failed
    }
}

impl<E> fmt::Debug for Stragglers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stragglers").field("running", &self.running).finish()
    }
}
